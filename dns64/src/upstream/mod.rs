//! Asking upstream resolvers: which one, how often, and for how long.

pub(crate) mod address;
mod exchange;
mod health;
mod line;
mod pool;
mod probe;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::config::{Config, UpstreamOrder};
use crate::stats::Stats;
use crate::wire::{Ask, Question, Reply, ede};
use address::{Transport, Upstream as Address};
use exchange::{Exchange, Failure};
use health::{Change, Health};
use pool::Pool;
use probe::Marker;
use streams::Streams;
pub(crate) use streams::Trust;

/// The upstreams, and what is known of their health.
#[derive(Debug)]
pub(crate) struct Forwarder {
    upstreams: Vec<Upstream>,
    marker: Marker,
    timeout: Duration,
    attempts: u32,
    order: UpstreamOrder,
    random_case: bool,
    payload: u16,
    stats: Arc<Stats>,
}

#[derive(Debug)]
struct Upstream {
    address: Address,
    /// For datagrams, if it is asked by such.
    pool: Option<Pool>,
    /// Connections: for everything, or for what does not fit a datagram.
    streams: Streams,
    health: Health,
}

/// An upstream is near if it usually answers within this.
const NEAR: Duration = Duration::from_millis(1);

/// Of so many questions, one begins with an upstream that is not the fastest, to see whether it still is not.
const EXPLORED: u32 = 32;

impl Forwarder {
    pub(crate) fn new(config: &Config, upstreams: &[Address], trust: Option<&Trust>, stats: Arc<Stats>) -> Self {
        let upstream = |address: &Address| {
            let trust = trust.filter(|_| address.is_encrypted());
            let pool = (address.transport == Transport::Plain).then(|| Pool::new(address.address, Arc::clone(&stats)));
            Upstream {
                address: address.clone(),
                pool,
                streams: Streams::new(address, trust),
                health: Health::default(),
            }
        };
        Self {
            upstreams: upstreams.iter().map(upstream).collect(),
            marker: Marker::new(),
            timeout: config.timeout,
            attempts: config.attempts,
            order: config.upstream_order,
            random_case: config.random_case,
            payload: config.edns_payload,
            stats,
        }
    }

    /// Asks the upstreams in their order until one helps.
    ///
    /// An upstream that answers with a failure is not asked again, but others are: the failure is the answer only if
    /// nobody does better.
    ///
    /// # Errors
    /// No upstream gave an answer in time; the extended error says why.
    pub(crate) async fn ask(self: &Arc<Self>, ask: &Ask, deadline: Instant) -> Result<Reply, u16> {
        let mut candidates = self.candidates();
        let mut unhelpful = None;
        let mut error = ede::NO_REACHABLE_AUTHORITY;
        let mut next = 0;
        for _ in 0..self.attempts {
            if candidates.is_empty() || Instant::now() >= deadline {
                break;
            }
            next %= candidates.len();
            match self.attempt(candidates[next], ask, deadline).await {
                Ok(reply) if is_helpful(&reply) => return Ok(reply),
                Ok(reply) => {
                    unhelpful = Some(reply);
                    candidates.remove(next);
                }
                Err(failure) => {
                    next += 1;
                    error = failure.ede();
                }
            }
        }
        unhelpful.ok_or(error)
    }

    /// The upstreams, for people.
    pub(crate) fn names(&self) -> String {
        let names: Vec<String> = self.upstreams.iter().map(|upstream| upstream.address.to_string()).collect();
        names.join(" ")
    }

    /// Asks every upstream once whether it leads back to us; what it finds shows in the log and in who is asked.
    pub(crate) fn probe_all(self: &Arc<Self>) {
        for index in 0..self.upstreams.len() {
            self.probe(index);
        }
    }

    /// Whether this question is one of our own probes, which then came back to us through an upstream.
    pub(crate) fn is_own_probe(&self, question: &Question) -> bool {
        let Some(upstream) = self.marker.recognise(question).and_then(|index| self.upstreams.get(index)) else {
            return false;
        };
        self.stats.upstream_loops.increment();
        upstream.log(upstream.health.loops_back(Instant::now()));
        true
    }

    /// One attempt with one upstream, and what it tells about its health.
    async fn attempt(&self, index: usize, ask: &Ask, deadline: Instant) -> Result<Reply, Failure> {
        let upstream = &self.upstreams[index];
        let started = Instant::now();
        let (timeout, random_case, stats) = (self.timeout, self.random_case, &*self.stats);
        let payload = self.payload;
        let streams = &upstream.streams;
        let result = match &upstream.pool {
            Some(pool) => {
                let patience = upstream.health.patience();
                Exchange { pool, streams, random_case, payload, patience, timeout, deadline, stats }.run(ask).await
            }
            None => streams.run(ask, timeout, deadline, stats).await,
        };
        if result.is_ok() {
            let took = started.elapsed();
            upstream.health.took(took);
            self.stats.upstream_times.add(took);
        }
        let change = match &result {
            Ok(_) | Err(Failure::AfterUdp | Failure::OtherCase | Failure::Unreadable) => {
                upstream.health.answered(Instant::now())
            }
            Err(Failure::Timeout | Failure::Unreachable) => upstream.health.failed(Instant::now(), started),
            Err(Failure::Local) => Change::None,
        };
        upstream.log(change);
        result
    }

    /// Whether the upstream that is asked first usually answers within a millisecond, or nothing else is known of it.
    pub(crate) fn is_near(&self) -> bool {
        let first = self.upstreams.iter().find(|upstream| upstream.health.down_until().is_none());
        first.is_some_and(|upstream| upstream.health.usual_time() < NEAR)
    }

    /// Whether nobody is there to answer, as far as is known.
    pub(crate) fn is_down(&self) -> bool {
        self.upstreams.iter().all(|upstream| upstream.health.down_until().is_some())
    }

    /// Whom to ask in which order: the healthy ones as configured, then those whose last answer is least long overdue.
    fn candidates(self: &Arc<Self>) -> Vec<usize> {
        let now = Instant::now();
        let mut candidates: Vec<usize> =
            (0..self.upstreams.len()).filter(|&index| !self.upstreams[index].health.is_loop()).collect();
        let is_fastest_first = self.order == UpstreamOrder::Fastest && !rand::random_ratio(1, EXPLORED);
        if self.order == UpstreamOrder::Fastest && !is_fastest_first {
            candidates.shuffle(&mut rand::rng());
        }
        candidates.sort_by_key(|&index| {
            let health = &self.upstreams[index].health;
            (health.down_until(), if is_fastest_first { health.usual_time() } else { Duration::ZERO })
        });
        for index in 0..self.upstreams.len() {
            let is_alone = candidates.len() <= 1 && candidates.first() == Some(&index);
            if !is_alone && self.upstreams[index].health.wants_probe(now) {
                self.probe(index);
            }
        }
        candidates
    }

    /// Tests an upstream without any client waiting for it.
    fn probe(self: &Arc<Self>, index: usize) {
        let Some(ask) = self.marker.ask(index) else { return };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let upstream = &this.upstreams[index];
            upstream.health.probe_begins();
            let answer = this.attempt(index, &ask, Instant::now() + this.timeout).await;
            if answer.is_ok() {
                upstream.log(upstream.health.probe_succeeded());
            }
            debug!(upstream = %upstream.address, answered = answer.is_ok(), "probed upstream");
        });
    }
}

impl Upstream {
    fn log(&self, change: Change) {
        match change {
            Change::None => {}
            Change::Down => {
                warn!(upstream = %self.address, "upstream does not answer; others are asked before it")
            }
            Change::Up => info!(upstream = %self.address, "upstream answers again"),
            Change::Loop => error!(
                upstream = %self.address,
                "upstream sends our own queries back to us and is not asked any more; give a resolver elsewhere"
            ),
        }
    }
}

/// Whether another upstream cannot be expected to say something better.
///
/// One that does not validate would: that a name is bogus is therefore the answer.
fn is_helpful(reply: &Reply) -> bool {
    reply.is_bogus() || !reply.is_failure()
}
