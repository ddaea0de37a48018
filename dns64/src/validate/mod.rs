//! DNSSEC validation (RFC 4035 §5) of what upstreams say, by the validator of `hickory`.
//!
//! An answer is had with CD and DO set (RFC 6840 §5.9), judged as it came, and told as its bytes: the validator says what is
//! true and we keep what was said. What it has to look up for that comes through the same cache as everything else.

mod anchors;
mod clock;
mod pieces;
mod source;

use std::sync::Arc;

use hickory_net::dnssec::DnssecDnsHandle;
use hickory_net::xfer::{DnsHandle, FirstAnswer};
use hickory_net::{DnsError, NetError};
use hickory_proto::dnssec::Proof;
use hickory_proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_proto::op::{DnsRequestOptions, DnsResponse, Message as HickoryMessage};
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::cache::Known;
use crate::config::{self, Config};
use crate::domains::Suffixes;
use crate::stats::Stats;
use crate::wire::{Ask, HEADER_LEN, Reply, code, ede, rcode};
pub(crate) use anchors::load as load_anchors;
use clock::Clock;
use pieces::Piece;
pub(crate) use source::Fetch;
use source::{Source, Work};

/// Proofs of record sets that are remembered, so that the keys of zones are not verified anew for each of their names.
const PROOFS: usize = 16_384;

/// NSEC3 iterations from which a zone counts as not signed (RFC 9276 §3.2).
const NSEC3_INSECURE: u16 = 100;

/// NSEC3 iterations from which a zone's answers are refused (RFC 9276 §3.2).
const NSEC3_REFUSED: u16 = 500;

/// Judges answers.
pub(crate) struct Validator {
    handle: DnssecDnsHandle<Source>,
    /// Names that are told without being judged.
    unsigned: Suffixes<()>,
    clock: Clock,
    stats: Arc<Stats>,
}

/// What is known of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It has a chain of trust that holds for so many seconds.
    Secure(u32),
    /// It is proven that it needs none.
    Insecure,
    /// It should have one and has not.
    Bogus,
    /// What its chain of trust is made of could not be had.
    Unknown,
}

impl std::fmt::Debug for Validator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Validator").finish_non_exhaustive()
    }
}

impl Validator {
    /// A validator with the configured trust anchors. Names of routes and of `dnssec_unsigned` are not judged.
    pub(crate) fn new(config: &Config, stats: Arc<Stats>) -> Self {
        let anchors = anchors::load_checked(config.trust_anchors.as_deref());
        let handle = DnssecDnsHandle::with_trust_anchor(Source, Arc::new(anchors))
            .nsec3_iteration_limits(Some(NSEC3_INSECURE), Some(NSEC3_REFUSED))
            .validation_cache_size(PROOFS);
        let domains = config.routes.iter().map(|route| &route.domain).chain(&config.dnssec_unsigned);
        let unsigned = domains.filter_map(|domain| Some((config::name(domain)?, ()))).collect();
        let clock = Clock::new();
        clock.check();
        Self { handle, unsigned, clock, stats }
    }

    /// Whether the answer to this question is to be judged.
    pub(crate) fn judges(&self, ask: &Ask) -> bool {
        !ask.checking_disabled
            && ask.question.class() == code::CLASS_IN
            && !matches!(ask.question.kind(), code::ANY | code::RRSIG)
            && self.unsigned.find(ask.question.name_bytes()).is_none()
    }

    /// The answer to a question: with the validator's word on it, or that it is bogus.
    ///
    /// # Errors
    /// There is none, or it cannot be judged; the extended error says why.
    pub(crate) async fn answer(&self, fetch: Arc<dyn Fetch>, ask: &Ask, deadline: Instant) -> Result<Reply, u16> {
        let known = source::fetch(&*fetch, ask, deadline).await?;
        if !matches!(known.reply.rcode, rcode::NO_ERROR | rcode::NAME_ERROR) {
            return Ok(Reply::clone(&known.reply));
        }
        let response = DnsResponse::from_buffer(known.bytes()).map_err(|_| ede::NETWORK_ERROR)?;
        match self.verdict(fetch, ask, response, deadline).await {
            Verdict::Secure(lifetime) => told(&known, ask, lifetime, true),
            Verdict::Insecure => told(&known, ask, u32::MAX, false),
            Verdict::Bogus => {
                self.stats.answers_bogus.increment();
                Ok(Reply::failure(&ask.question, ede::DNSSEC_BOGUS))
            }
            Verdict::Unknown => Err(ede::NO_REACHABLE_AUTHORITY),
        }
    }

    async fn verdict(&self, fetch: Arc<dyn Fetch>, ask: &Ask, response: DnsResponse, deadline: Instant) -> Verdict {
        let Some(query) = ask.question.to_hickory() else { return Verdict::Bogus };
        let Some((pieces, is_complete)) = pieces::cut(&query, &response) else { return Verdict::Bogus };
        let work = Work::new(fetch, pieces.clone(), deadline);
        if !work.affords(&response) {
            return Verdict::Bogus;
        }
        let judged = work.scope(async {
            // A chain without its end is no lie, but nothing to vouch for.
            let mut verdict = if is_complete { Verdict::Secure(u32::MAX) } else { Verdict::Insecure };
            for piece in pieces {
                verdict = verdict.and(self.piece(piece).await);
                if verdict == Verdict::Bogus {
                    break;
                }
            }
            verdict
        });
        match timeout_at(deadline, judged).await.unwrap_or(Verdict::Unknown) {
            Verdict::Bogus if work.has_failed() => Verdict::Unknown,
            Verdict::Bogus => {
                self.clock.suspect(&response);
                Verdict::Bogus
            }
            known @ (Verdict::Secure(_) | Verdict::Insecure | Verdict::Unknown) => known,
        }
    }

    async fn piece(&self, piece: Piece) -> Verdict {
        match self.handle.lookup(piece.query, DnsRequestOptions::default()).first_answer().await {
            Ok(response) => verdict_on(&response),
            Err(NetError::Dns(DnsError::Nsec { proof: Proof::Insecure, .. })) => Verdict::Insecure,
            Err(error) => {
                debug!(%error, "answer does not validate");
                Verdict::Bogus
            }
        }
    }
}

impl Verdict {
    /// What is known of two parts together: the worse.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Bogus, _) | (_, Self::Bogus) => Self::Bogus,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Insecure, _) | (_, Self::Insecure) => Self::Insecure,
            (Self::Secure(one), Self::Secure(other)) => Self::Secure(one.min(other)),
        }
    }
}

/// What the proofs of single records come to: an answer is as good as its worst record.
fn verdict_on(response: &DnsResponse) -> Verdict {
    let sections = || response.answers.iter().chain(&response.authorities);
    let proofs = || sections().filter(|record| record.record_type() != RecordType::RRSIG).map(|record| record.proof);
    if proofs().any(|proof| matches!(proof, Proof::Bogus | Proof::Indeterminate)) {
        return Verdict::Bogus;
    }
    if proofs().next().is_none() || proofs().any(|proof| !proof.is_secure()) {
        return Verdict::Insecure;
    }
    let now = clock::now();
    // RFC 4035 §5.3.3: no longer than the signature; its times are numbers that wrap.
    let left = sections()
        .filter(|record| record.proof.is_secure())
        .filter_map(|record| record.try_borrow::<RRSIG>())
        .map(|signature| signature.data().input().sig_expiration.get().wrapping_sub(now));
    Verdict::Secure(left.min().unwrap_or(u32::MAX))
}

/// The answer as the asker gets it: without signatures and proofs unless they were asked for, and with AD only then
/// (RFC 6147 §5.5: never if DO is clear).
fn told(known: &Known, ask: &Ask, lifetime: u32, is_secure: bool) -> Result<Reply, u16> {
    let mut bytes = known.reply.with_ttls(|ttl| ttl.saturating_sub(known.age).min(lifetime));
    if !ask.dnssec {
        bytes = without_proofs(&bytes, ask).ok_or(ede::NETWORK_ERROR)?;
    }
    let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    let reply = Reply::parse(bytes, id, &ask.question).map_err(|_| ede::NETWORK_ERROR)?;
    Ok(reply.judged(is_secure, ask.dnssec, known.reply.ede))
}

fn without_proofs(bytes: &[u8], ask: &Ask) -> Option<Vec<u8>> {
    let mut message = HickoryMessage::from_vec(bytes).ok()?;
    let asked = RecordType::from(ask.question.kind());
    let stays = |record: &Record| {
        let kind = record.record_type();
        kind == asked || !matches!(kind, RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3)
    };
    message.answers.retain(stays);
    message.authorities.retain(stays);
    message.additionals.retain(stays);
    let mut bytes = message.to_vec().ok()?;
    // The question keeps its letters, which the encoder would keep too if it did not compress them.
    let question = ask.question.bytes();
    bytes.get_mut(HEADER_LEN..HEADER_LEN + question.len())?.copy_from_slice(question);
    Some(bytes)
}

/// The signatures in a message.
fn signatures(message: &HickoryMessage) -> impl Iterator<Item = &RRSIG> {
    message.all_sections().filter_map(|record| {
        if let RData::DNSSEC(DNSSECRData::RRSIG(signature)) = &record.data { Some(signature) } else { None }
    })
}
