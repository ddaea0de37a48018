//! Where answers come from: the cache, and upstreams.

use std::sync::Arc;

use tokio::time::Instant;

use crate::cache::{Cache, Known};
use crate::chain::Lookup;
use crate::config::Config;
use crate::stats::Stats;
use crate::upstream::Forwarder;
use crate::wire::{Ask, Question};

/// Answers to questions, from wherever they are had.
#[derive(Debug)]
pub(crate) struct Resolver {
    cache: Cache,
    forwarder: Arc<Forwarder>,
    stats: Arc<Stats>,
}

impl Resolver {
    pub(crate) fn new(config: &Config, stats: &Arc<Stats>) -> Self {
        Self {
            cache: Cache::new(config, Arc::clone(stats)),
            forwarder: Arc::new(Forwarder::new(config, Arc::clone(stats))),
            stats: Arc::clone(stats),
        }
    }

    /// Looks whether upstreams lead back to us.
    pub(crate) fn probe_upstreams(&self) {
        self.forwarder.probe_all();
    }

    /// Whether this question is one of our own probes, which then came back to us through an upstream.
    pub(crate) fn is_own_probe(&self, question: &Question) -> bool {
        self.forwarder.is_own_probe(question)
    }
}

impl Lookup for Resolver {
    fn cached(&self, ask: &Ask) -> Option<Known> {
        self.cache.get(ask, Instant::now())
    }

    async fn look_up(&self, ask: &Ask, deadline: Instant) -> Result<Known, u16> {
        if let Some(known) = self.cached(ask) {
            return Ok(known);
        }
        self.stats.cache_misses.increment();
        let reply = Arc::new(self.forwarder.ask(ask, deadline).await?);
        self.cache.insert(ask, &reply, Instant::now());
        Ok(Known::fresh(reply))
    }
}
