//! Where the validator gets records from, and how much it may ask for.
//!
//! `hickory`'s validator keeps the proofs of record sets in itself, so there is one for all questions; what belongs to one
//! question is with the task that judges it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream, StreamExt};
use hickory_net::NetError;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::xfer::DnsHandle;
use hickory_proto::op::{DnsRequest, DnsResponse, Query};
use tokio::time::Instant;

use super::pieces::Piece;
use super::signatures;
use crate::cache::Known;
use crate::wire::{Ask, Question, ede};

/// Further questions for one answer, at most: keys, delegations and zone cuts down to a name.
const MOST_LOOKUPS: usize = 64;

/// Signatures that are looked at for one answer, at most, in all messages (CVE-2023-50387: each costs as much as many
/// queries).
const MOST_SIGNATURES: usize = 128;

/// Records of one message at most; the largest honest sets are some dozens.
const MOST_RECORDS: usize = 512;

/// Where unvalidated answers come from.
pub(crate) trait Fetch: Send + Sync {
    /// What an upstream says, or the cache knows of it.
    fn fetch(&self, ask: Ask, deadline: Instant) -> BoxFuture<'static, Result<Known, u16>>;
}

tokio::task_local! {
    static WORK: Arc<Inner>;
}

/// The judging of one answer.
pub(super) struct Work(Arc<Inner>);

struct Inner {
    fetch: Arc<dyn Fetch>,
    /// The answer that is judged.
    pieces: Vec<Piece>,
    deadline: Instant,
    lookups: AtomicUsize,
    signatures: AtomicUsize,
    /// Whether something could not be had.
    has_failed: AtomicBool,
}

impl Work {
    pub(super) fn new(fetch: Arc<dyn Fetch>, pieces: Vec<Piece>, deadline: Instant) -> Self {
        Self(Arc::new(Inner {
            fetch,
            pieces,
            deadline,
            lookups: AtomicUsize::new(0),
            signatures: AtomicUsize::new(0),
            has_failed: AtomicBool::new(false),
        }))
    }

    /// Whether a message may be looked at beside those before it.
    pub(super) fn affords(&self, message: &DnsResponse) -> bool {
        self.0.affords(message)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.0.has_failed.load(Ordering::Relaxed)
    }

    /// Runs the validator on this answer.
    pub(super) fn scope<F: Future>(&self, validation: F) -> impl Future<Output = F::Output> {
        WORK.scope(Arc::clone(&self.0), validation)
    }
}

impl Inner {
    fn affords(&self, message: &DnsResponse) -> bool {
        let count = signatures(message).count();
        let before = self.signatures.fetch_add(count, Ordering::Relaxed);
        message.all_sections().count() <= MOST_RECORDS && before + count <= MOST_SIGNATURES
    }

    async fn look_up(self: Arc<Self>, query: Query) -> Result<DnsResponse, NetError> {
        let refused = |why: &str| NetError::from(why.to_owned());
        let asked = Question::new(query.name(), query.query_type().into()).ok_or_else(|| refused("no question"))?;
        let is_asked =
            |piece: &&Piece| piece.query.name() == query.name() && piece.query.query_type() == query.query_type();
        if let Some(piece) = self.pieces.iter().find(is_asked) {
            return Ok(piece.response.clone());
        }
        if self.lookups.fetch_add(1, Ordering::Relaxed) >= MOST_LOOKUPS {
            return Err(refused("too many questions for one answer"));
        }
        let ask = Ask { question: asked, recursion: true, checking_disabled: true, dnssec: true, only_known: false };
        let known = fetch(&*self.fetch, &ask, self.deadline).await.map_err(|_| {
            self.has_failed.store(true, Ordering::Relaxed);
            refused("no upstream answers")
        })?;
        if known.reply.is_failure() {
            self.has_failed.store(true, Ordering::Relaxed);
            return Err(refused("upstreams fail"));
        }
        let response = DnsResponse::from_buffer(known.bytes())?;
        if self.affords(&response) { Ok(response) } else { Err(refused("too many signatures for one answer")) }
    }
}

/// What an upstream says to a question, with everything that is needed to judge it.
pub(super) async fn fetch(fetch: &dyn Fetch, ask: &Ask, deadline: Instant) -> Result<Known, u16> {
    let ask = Ask { checking_disabled: true, dnssec: true, ..ask.clone() };
    match fetch.fetch(ask, deadline).await {
        // What was judged before it expired is told instead, if there is such.
        Ok(known) if known.is_stale => Err(ede::NO_REACHABLE_AUTHORITY),
        other => other,
    }
}

/// Answers the validator from the work of the task that it runs in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source;

impl DnsHandle for Source {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let work = WORK.try_with(Arc::clone).ok().zip(request.queries.first().cloned());
        let Some((work, query)) = work else {
            return stream::iter([Err(NetError::from("no question"))]).boxed();
        };
        stream::once(work.look_up(query)).boxed()
    }
}
