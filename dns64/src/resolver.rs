//! Where answers come from: the cache, upstreams by domain, and what is known of failures.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::cache::{self, Cache, Known};
use crate::chain::Lookup;
use crate::config::{self, Config};
use crate::crew::Crew;
use crate::domains::Suffixes;
use crate::failures::Failures;
use crate::flights::{Boarding, Flights, Landing, Waiting, landing};
use crate::stats::Stats;
use crate::upstream::address::Upstream;
use crate::upstream::{Forwarder, Trust};
use crate::validate::{Fetch, Validator};
use crate::wire::{Ask, Question, ede};

/// How long a client waits for upstreams while an expired answer is at hand (RFC 8767 §5).
const PATIENCE: Duration = Duration::from_millis(1800);

/// Answers to questions, from wherever they are had.
#[derive(Debug)]
pub(crate) struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cache: Cache,
    failures: Failures,
    flights: Flights,
    crew: Crew<(Flight, Ask, Landed)>,
    upstreams: ArcSwap<Upstreams>,
    validator: Option<Validator>,
    deadline: Duration,
    stats: Arc<Stats>,
}

/// Who is asked.
#[derive(Debug)]
struct Upstreams {
    general: Arc<Forwarder>,
    routes: Suffixes<Arc<Forwarder>>,
}

impl Upstreams {
    fn new(config: &Config, stats: &Arc<Stats>) -> Self {
        let is_encrypted = config.all_upstreams().any(Upstream::is_encrypted);
        let trust = is_encrypted.then(|| Trust::load_checked(config.upstream_ca.as_deref()));
        let forwarder =
            |upstreams: &[Upstream]| Arc::new(Forwarder::new(config, upstreams, trust.as_ref(), Arc::clone(stats)));
        let route = |route: &config::Route| Some((config::name(&route.domain)?, forwarder(&route.upstreams)));
        Self { general: forwarder(&config.upstreams), routes: config.routes.iter().filter_map(route).collect() }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Forwarder>> {
        std::iter::once(&self.general).chain(self.routes.values())
    }

    /// Who is asked about a name.
    fn of(&self, question: &Question) -> &Arc<Forwarder> {
        self.routes.find(question.name_bytes()).map_or(&self.general, |(_, forwarder)| forwarder)
    }
}

impl Resolver {
    pub(crate) fn new(config: &Config, stats: &Arc<Stats>) -> Self {
        Self(Arc::new(Inner {
            cache: Cache::new(config, Arc::clone(stats)),
            failures: Failures::new(config.failure_ttl),
            // A query for AAAA records is two questions; a chain's questions come one after the other. To judge an answer
            // takes it and some more, of which most are the same for many.
            flights: Flights::new(config.max_in_flight.saturating_mul(if config.dnssec { 8 } else { 2 })),
            crew: Crew::default(),
            upstreams: ArcSwap::from_pointee(Upstreams::new(config, stats)),
            validator: config.dnssec.then(|| Validator::new(config, Arc::clone(stats))),
            deadline: config.deadline,
            stats: Arc::clone(stats),
        }))
    }

    /// Whether the answer to this question is validated here.
    pub(crate) fn judges(&self, ask: &Ask) -> bool {
        self.0.validator.as_ref().is_some_and(|validator| validator.judges(ask))
    }

    /// Asks the upstreams of `config`, in its way, from the next question on. What is known stays, failures excepted.
    pub(crate) fn replace_upstreams(&self, config: &Config) {
        self.0.upstreams.store(Arc::new(Upstreams::new(config, &self.0.stats)));
        self.0.failures.retain(|_| false);
        self.probe_upstreams();
    }

    /// Looks whether upstreams lead back to us.
    pub(crate) fn probe_upstreams(&self) {
        self.0.upstreams.load().all().for_each(Forwarder::probe_all);
    }

    /// Whom a question goes to, for people.
    pub(crate) fn asked(&self, question: &Question) -> String {
        let upstreams = self.0.upstreams.load();
        match upstreams.routes.find(question.name_bytes()) {
            Some((_, forwarder)) => format!("{}, by a route of its domain", forwarder.names()),
            None => upstreams.general.names(),
        }
    }

    /// Whether who is asked about this name usually answers within a millisecond, as far as is known.
    pub(crate) fn is_near(&self, question: &Question) -> bool {
        self.0.upstreams.load().of(question).is_near()
    }

    /// Forgets what is known of a name and all below it, or of all names; returns how many answers that were.
    pub(crate) fn flush(&self, name: Option<&Question>) -> usize {
        let is_meant = |key: &[u8]| name.is_none_or(|name| name.has_below(Question::name_of(key)));
        self.0.failures.retain(|key| !is_meant(key));
        self.0.cache.retain(|key| !is_meant(key))
    }

    /// Makes what is known older.
    pub(crate) fn age(&self, by: Duration) {
        self.0.cache.age(by);
        self.0.failures.age(by);
    }

    /// Whether this question is one of our own probes, which then came back to us through an upstream.
    pub(crate) fn is_own_probe(&self, question: &Question) -> bool {
        self.0.upstreams.load().all().any(|forwarder| forwarder.is_own_probe(question))
    }
}

impl Lookup for Resolver {
    fn cached(&self, ask: &Ask) -> Option<Known> {
        let key = cache::key(ask);
        let (known, is_due) = self.0.cache.get(&key, Instant::now())?;
        if is_due && !ask.only_known {
            self.0.stats.prefetches.increment();
            // The answer goes into the cache; nobody waits for it.
            let _refreshed = Inner::ask(&self.0, &key, ask);
        }
        Some(known)
    }

    async fn look_up(&self, ask: &Ask, deadline: Instant) -> Landing {
        if let Some(known) = self.cached(ask) {
            return Ok(known);
        }
        if ask.only_known {
            return Err(ede::NOT_READY);
        }
        let this = &*self.0;
        this.stats.cache_misses.increment();
        let now = Instant::now();
        let (stale, begun) = Inner::begin(&self.0, ask, now);
        let fresh = match begun {
            Begun::Failed(failure) => failure,
            Begun::Asked(waiting) => {
                let patience = if stale.is_some() { deadline.min(now + this.patience(ask)) } else { deadline };
                arrived(waiting, patience).await
            }
        };
        match (fresh, stale) {
            (Ok(known), _) if !known.reply.is_failure() || known.reply.is_bogus() => Ok(known),
            (_, Some(stale)) => {
                this.stats.answers_stale.increment();
                Ok(stale)
            }
            (fresh, None) => fresh,
        }
    }
}

impl Fetch for Resolver {
    fn fetch(&self, ask: Ask, deadline: Instant) -> BoxFuture<'static, Landing> {
        let this = Self(Arc::clone(&self.0));
        async move { this.look_up(&ask, deadline).await }.boxed()
    }
}

impl Inner {
    /// Who is asked about a name.
    fn forwarder(&self, ask: &Ask) -> Arc<Forwarder> {
        Arc::clone(self.upstreams.load().of(&ask.question))
    }

    /// How long an expired answer is held back for a fresh one: not at all if nobody is there to give it.
    fn patience(&self, ask: &Ask) -> Duration {
        if self.forwarder(ask).is_down() { Duration::ZERO } else { PATIENCE }
    }

    /// What has expired, and the way to something better.
    fn begin(this: &Arc<Self>, ask: &Ask, now: Instant) -> (Option<Known>, Begun) {
        let key = cache::key(ask);
        let begun = match this.failures.get(&key, now) {
            Some(failure) => Begun::Failed(failure),
            None => Begun::Asked(Self::ask(this, &key, ask)),
        };
        (this.cache.stale(&key, now), begun)
    }

    /// Asks, unless somebody does already. The answer is waited for to the end and cached even if the asker goes away:
    /// who asked for AAAA records often asks for A records next.
    fn ask(this: &Arc<Self>, key: &[u8], ask: &Ask) -> Option<Waiting> {
        let (key, waiting, sender) = match this.flights.board(key) {
            Boarding::Joined(waiting) => {
                this.stats.coalesced.increment();
                return Some(waiting);
            }
            Boarding::Started(key, waiting, sender) => (key, waiting, sender),
            Boarding::Full => return None,
        };
        let flight = Flight { inner: Arc::clone(this), key };
        this.crew.give((flight, ask.clone(), sender), |(flight, ask, sender)| async move {
            let landing = flight.run(&ask).await;
            sender.send_replace(Some(landing));
        });
        Some(waiting)
    }
}

/// How a question that the cache cannot answer goes on.
enum Begun {
    /// It has failed lately.
    Failed(Landing),
    /// It is asked, unless too many are.
    Asked(Option<Waiting>),
}

/// Where a flight's end is told.
type Landed = watch::Sender<Option<Landing>>;

/// One question under way, which is off the list when this is dropped.
#[derive(Debug)]
struct Flight {
    inner: Arc<Inner>,
    key: Arc<[u8]>,
}

impl Flight {
    async fn run(&self, ask: &Ask) -> Landing {
        let inner = &*self.inner;
        let deadline = Instant::now() + inner.deadline;
        let result = match inner.validator.as_ref().filter(|validator| validator.judges(ask)) {
            Some(validator) => {
                let fetch = Arc::new(Resolver(Arc::clone(&self.inner)));
                validator.answer(fetch, ask, deadline).await
            }
            None => inner.forwarder(ask).ask(ask, deadline).await,
        };
        let landing = result.map(|reply| Known::fresh(reply.into()));
        let now = Instant::now();
        match &landing {
            Ok(known) if !known.reply.is_failure() => {
                inner.cache.insert(&self.key, &known.reply, now);
                inner.failures.remove(&self.key);
            }
            failure => inner.failures.insert(&self.key, failure.clone(), now),
        }
        landing
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.inner.flights.land(&self.key);
    }
}

async fn arrived(waiting: Option<Waiting>, deadline: Instant) -> Landing {
    let unanswered = Err(ede::NO_REACHABLE_AUTHORITY);
    let Some(waiting) = waiting else { return Err(ede::NOT_READY) };
    timeout_at(deadline, landing(waiting)).await.ok().flatten().unwrap_or(unanswered)
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;

    use super::*;
    use crate::wire::code;

    #[tokio::test]
    async fn a_question_under_way_takes_little_memory() {
        let config = Config::new(vec!["192.0.2.53:53".parse().unwrap()], vec![]);
        let resolver = Resolver::new(&config, &Arc::default());
        let question = Question::new(&Name::from_ascii("x.example.").unwrap(), code::A).unwrap();
        let ask = Ask { question, recursion: true, checking_disabled: false, dnssec: false, only_known: false };
        let flight = Flight { inner: Arc::clone(&resolver.0), key: Arc::from(&*cache::key(&ask)) };
        // A client can have hundreds of them.
        assert!(size_of_val(&flight.run(&ask)) < 4096);
    }
}
