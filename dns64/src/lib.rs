//! DNS64 (RFC 6147): a forwarding DNS server that gives IPv6-only clients AAAA records for IPv4-only names.
//!
//! A query's way: a front in `listen` reads it. If `hot` has the bytes of its answer ready, they go out at once.
//! Otherwise `service` answers in a task: from what is known locally (`arpa`, `reverse`), or from what `resolver` gives,
//! which is the `cache`, a question under way (`flights`), a late failure (`failures`) or an `upstream`. What the cache
//! holds is what upstreams said, free of any prefix; `synthesis` decides on every read what a client is told, under the
//! `policy` for its group and its name's domain. Answers that need no synthesis keep the bytes that the upstream sent.
//!
//! [`Config`] and [`Server`] are what a daemon needs. While the server runs, [`PolicyHandle`] replaces what clients are
//! told and learns of translators, [`Explainer`] says why clients are told what they are told, [`Names`] what they
//! meant by an address, and [`Stats`] counts.

#![forbid(unsafe_code)]

mod arpa;
mod cache;
mod chain;
mod clients;
mod config;
mod cookies;
mod crew;
mod domains;
mod error;
mod explain;
mod failures;
mod flights;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod hot;
mod latency;
mod limiter;
mod listen;
mod loops;
mod names;
mod policy;
mod resolver;
mod reverse;
mod segments;
mod server;
mod service;
mod shares;
mod stats;
mod synthesis;
mod upstream;
mod validate;
mod wire;

pub use clients::DEFAULT_CLIENTS;
pub use config::{
    CertificateFiles, Config, DEFAULT_EXCLUSION, Domain, PtrMode, Route, UpstreamOrder, check_authorities,
    check_certificate, check_trust_anchors, is_domain_name, is_https_path,
};
pub use domains::Treatment;
pub use error::{Error, Protocol};
pub use explain::{Explanation, Rule, Verdict};
pub use latency::Latency;
pub use loops::find_upstream_loop;
pub use names::Names;
pub use policy::{Group, Policy, PrefixState, RangePrefixes, WhenUnusable};
pub use server::{CacheHandle, CertificateHandle, Explainer, PolicyHandle, Server, UpstreamsHandle};
pub use stats::{Stats, StatsSnapshot};
pub use upstream::address::{BadUpstream, Transport, Upstream};
