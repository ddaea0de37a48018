//! Counters of what the server does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::latency::{Histogram, Latency};
use crate::wire::{Head, rcode};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// Counters since the start; read them with [`Stats::snapshot`].
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[doc = $doc])+ pub(crate) $name: Counter,)*
            /// How long queries took that had to be worked on.
            pub(crate) answer_times: AnswerTimes,
            /// How long upstreams took for one question.
            pub(crate) upstream_times: Histogram,
        }

        /// The counters of [`Stats`] at one moment.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct StatsSnapshot {
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        impl StatsSnapshot {
            /// The name of each counter and what it counts, in a sentence.
            pub const DESCRIBED: &[(&str, &str)] = &[$((stringify!($name), concat!($($doc,)+).trim_ascii()),)*];
        }

        impl Stats {
            /// How long queries took by what they came to, from when they were read until their answer was made; those that are
            /// answered from what is ready to be sent, in microseconds, are not among them. SERVFAIL is `servfail`, whatever the
            /// reason; the other names are those of the counters, without `answers_`.
            #[must_use]
            pub fn answer_times(&self) -> [(&'static str, Latency); AnswerTimes::OUTCOMES.len()] {
                self.answer_times.snapshot()
            }

            /// How long upstreams took to answer a question.
            #[must_use]
            pub fn upstream_times(&self) -> Latency {
                self.upstream_times.snapshot()
            }

            /// The counters at this moment, each read by itself.
            #[must_use]
            pub fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot { $($name: self.$name.value(),)* }
            }
        }
    };
}

counters! {
    /// Queries that came over UDP.
    queries_udp,
    /// Queries that came over TCP.
    queries_tcp,
    /// Queries that came over TLS.
    queries_tls,
    /// Queries that came over HTTPS.
    queries_https,
    /// AAAA queries answered with synthetic records.
    answers_synthesised,
    /// AAAA queries answered with what the upstream said.
    answers_native,
    /// Queries of other types answered with what the upstream said.
    answers_passed,
    /// Queries answered without asking anybody: `ipv4only.arpa` and names under a prefix's reverse zone.
    answers_local,
    /// Queries answered with SERVFAIL because no upstream gave an answer.
    answers_servfail,
    /// Queries answered with NXDOMAIN: there is no such name.
    answers_nxdomain,
    /// Answers of upstreams that failed DNSSEC validation here.
    answers_bogus,
    /// AAAA queries not answered with addresses because no translator was there for them.
    answers_cut_off,
    /// Queries of clients refused: a type that is not forwarded, or a loop.
    answers_refused,
    /// Queries and connections of those who are no clients.
    clients_refused,
    /// Messages that could not be read as a query, or ask what is not implemented.
    malformed,
    /// Queries dropped because too many were under work.
    dropped_overload,
    /// Queries answered with SERVFAIL because too many of their client were under work.
    clients_over_share,
    /// UDP answers held back because too many went to the client's prefix.
    rate_limited,
    /// UDP answers that were too large and went out truncated.
    truncated,
    /// TCP connections closed at once because too many were open.
    tcp_refused,
    /// Questions answered from the cache.
    cache_hits,
    /// Questions that the cache could not answer.
    cache_misses,
    /// Questions that waited for the answer to the same question, asked before.
    coalesced,
    /// Questions answered from what has expired, because no upstream gave anything better.
    answers_stale,
    /// Questions asked anew before their cached answer expires.
    prefetches,
    /// Answers removed from the cache before their time to make room.
    cache_evictions,
    /// Answers in the cache now.
    cache_entries,
    /// Memory of the answers in the cache now, in bytes.
    cache_bytes,
    /// Queries sent to upstreams over UDP.
    upstream_udp,
    /// Queries sent to upstreams over TCP.
    upstream_tcp,
    /// Queries sent to upstreams over TLS.
    upstream_tls,
    /// Queries sent to upstreams over HTTPS.
    upstream_https,
    /// Queries sent over UDP once more, because no answer came within four times the usual time.
    upstream_repeats,
    /// Attempts that ended without any answer in time.
    upstream_timeouts,
    /// Attempts that failed otherwise: unreachable, refused connection, unreadable answer.
    upstream_failures,
    /// Datagrams from an upstream's address that answer nothing we asked.
    upstream_mismatched,
    /// Queries of our own that came back to us through an upstream.
    upstream_loops,
}

/// Histograms of answers by what they are made of, and of failures.
#[derive(Debug, Default)]
pub(crate) struct AnswerTimes([Histogram; Self::OUTCOMES.len()]);

impl AnswerTimes {
    /// The names, in the order of [`Told`], and of failures.
    pub(crate) const OUTCOMES: [&str; 7] =
        ["passed", "native", "synthesised", "local", "cut_off", "refused", "servfail"];
    const SERVFAIL: usize = Self::OUTCOMES.len() - 1;

    pub(crate) fn add(&self, answer: Head, took: Duration) {
        let outcome = if answer.rcode == rcode::SERVER_FAILURE { Self::SERVFAIL } else { answer.origin as usize };
        self.0[outcome].add(took);
    }

    fn snapshot(&self) -> [(&'static str, Latency); Self::OUTCOMES.len()] {
        std::array::from_fn(|outcome| (Self::OUTCOMES[outcome], self.0[outcome].snapshot()))
    }
}

/// One number that only moves by whole steps, shared between tasks.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
