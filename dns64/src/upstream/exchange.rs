//! One question to one upstream: UDP, and TCP if the answer does not fit.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::line::Unavailable;
use super::pool::Pool;
use super::streams::Streams;
use crate::stats::Stats;
use crate::wire::{Ask, HEADER_LEN, Reply, code, ede, flag};

/// Why an attempt gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing came in time.
    Timeout,
    /// The network or the upstream's host refused.
    Unreachable,
    /// What came cannot be read.
    Unreadable,
    /// UDP worked, but the whole answer could not be had over TCP.
    AfterUdp,
    /// The answer came with other letters than were asked with.
    OtherCase,
    /// No socket could be opened here, which says nothing about the upstream.
    Local,
}

impl Failure {
    /// The extended error that says so (RFC 8914 §4.23, §4.24).
    pub(super) const fn ede(self) -> u16 {
        match self {
            Self::Timeout | Self::Unreachable => ede::NO_REACHABLE_AUTHORITY,
            Self::Unreadable | Self::AfterUdp | Self::OtherCase | Self::Local => ede::NETWORK_ERROR,
        }
    }
}

/// How to ask one upstream.
pub(super) struct Exchange<'a> {
    pub(super) pool: &'a Pool,
    /// Connections for what does not fit a datagram.
    pub(super) streams: &'a Streams,
    /// Whether letters are sent in random case.
    pub(super) random_case: bool,
    /// The largest UDP payload that is offered, in bytes.
    pub(super) payload: u16,
    /// How long a datagram is waited for before it is sent once more.
    pub(super) patience: Duration,
    /// For both datagrams, and again for the connection.
    pub(super) timeout: Duration,
    /// For everything.
    pub(super) deadline: Instant,
    pub(super) stats: &'a Stats,
}

impl Exchange<'_> {
    /// The upstream's whole answer.
    pub(super) async fn run(&self, ask: &Ask) -> Result<Reply, Failure> {
        let result = self.run_uncounted(ask).await;
        match result {
            Ok(_) => {}
            Err(Failure::Timeout) => self.stats.upstream_timeouts.increment(),
            Err(_) => self.stats.upstream_failures.increment(),
        }
        result
    }

    async fn run_uncounted(&self, ask: &Ask) -> Result<Reply, Failure> {
        let mut with_edns = true;
        let mut reply = match self.udp(ask, with_edns).await {
            // Forged, or from an upstream that does not keep the case: over TCP it cannot be forged.
            Err(Failure::OtherCase) => return self.over_tcp(ask, with_edns).await,
            reply => reply?,
        };
        if reply.lacks_edns() {
            with_edns = false;
            reply = self.udp(ask, with_edns).await?;
        }
        if reply.truncated {
            reply = self.over_tcp(ask, with_edns).await?;
        }
        Ok(reply)
    }

    async fn over_tcp(&self, ask: &Ask, with_edns: bool) -> Result<Reply, Failure> {
        // Few questions come here, and none should carry the memory for it.
        match self.within_timeout(Box::pin(self.tcp(ask, with_edns))).await {
            // Nothing can be too large for a stream; what part of an answer lacks is not absent.
            Ok(reply) if !reply.truncated => Ok(reply),
            _ => Err(Failure::AfterUdp),
        }
    }

    async fn within_timeout(&self, attempt: impl Future<Output = Result<Reply, Failure>>) -> Result<Reply, Failure> {
        let end = self.deadline.min(Instant::now() + self.timeout);
        timeout_at(end, attempt).await.unwrap_or(Err(Failure::Timeout))
    }

    /// Asks by datagram, and once more if that or its answer seems to be lost.
    async fn udp(&self, ask: &Ask, with_edns: bool) -> Result<Reply, Failure> {
        let now = Instant::now();
        let end = self.deadline.min(now + self.timeout);
        let mut first = pin!(self.datagram(ask, with_edns));
        if let Ok(result) = timeout_at(end.min(now + self.patience), first.as_mut()).await {
            return result;
        }
        if Instant::now() >= end {
            return Err(Failure::Timeout);
        }
        self.stats.upstream_repeats.increment();
        let either = async {
            tokio::select! {
                result = first => result,
                result = self.datagram(ask, with_edns) => result,
            }
        };
        timeout_at(end, either).await.unwrap_or(Err(Failure::Timeout))
    }

    async fn datagram(&self, ask: &Ask, with_edns: bool) -> Result<Reply, Failure> {
        let line = self.pool.line(Instant::now()).map_err(|error| match error {
            Unavailable::Here(error) => self.local(&error),
            Unavailable::There(error) => self.unreachable(&error),
        })?;
        let mut query = encode(ask, 0, with_edns.then_some(self.payload));
        if self.random_case {
            mix_case(&mut query[HEADER_LEN..HEADER_LEN + ask.question.name_bytes().len()]);
        }
        line.ask(query, &ask.question, self.random_case).await
    }

    async fn tcp(&self, ask: &Ask, with_edns: bool) -> Result<Reply, Failure> {
        let id = rand::random();
        let query = encode(ask, id, with_edns.then_some(self.payload));
        let bytes = self.streams.exchange(query, self.stats).await.map_err(|error| self.unreachable(&error))?;
        Reply::parse(bytes, id, &ask.question).map_err(|_| Failure::Unreadable)
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        debug!(upstream = %self.pool.address(), %error, "upstream unreachable");
        Failure::Unreachable
    }

    fn local(&self, error: &io::Error) -> Failure {
        debug!(upstream = %self.pool.address(), %error, "no socket to ask upstream with");
        Failure::Local
    }
}

/// Bytes of our OPT record, which has no options.
const OPT_LEN: usize = 11;

/// Gives each letter a random case; length bytes are below 64 and no letters.
fn mix_case(name: &mut [u8]) {
    for byte in name.iter_mut().filter(|byte| byte.is_ascii_alphabetic()) {
        if rand::random() {
            *byte ^= 0x20;
        }
    }
}

/// The query in wire form, with EDNS if a payload size is given. AD is always set: the answer's AD bit is kept for those
/// clients that want it (RFC 6840 §5.7).
pub(super) fn encode(ask: &Ask, id: u16, payload: Option<u16>) -> Vec<u8> {
    let when = |condition, bit| if condition { bit } else { 0 };
    let flags = flag::AD | when(ask.recursion, flag::RD) | when(ask.checking_disabled, flag::CD);
    let words = [id, flags, 1, 0, 0, u16::from(payload.is_some())];
    let mut bytes = Vec::with_capacity(HEADER_LEN + ask.question.bytes().len() + OPT_LEN);
    bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    bytes.extend_from_slice(ask.question.bytes());
    if let Some(payload) = payload {
        bytes.push(0);
        bytes.extend_from_slice(&code::OPT.to_be_bytes());
        bytes.extend_from_slice(&payload.to_be_bytes());
        bytes.extend_from_slice(&[0, 0, if ask.dnssec { 0x80 } else { 0 }, 0, 0, 0]);
    }
    bytes
}
