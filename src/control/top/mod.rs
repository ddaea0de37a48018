//! Who uses the translator most, right now.
//!
//! Sessions count their bytes since they began; what flows now is the difference between two looks at all of them. So that a
//! look costs little with a million sessions, it is taken a page at a time, ranks in bounded memory ([`heavy`]), and is not
//! taken again before nine times as long has passed as it took: watching takes a tenth of one CPU at the most.

mod heavy;
mod sampler;
mod watchers;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Session;

pub(super) use watchers::Watchers;

/// What is told of each ranking.
pub(crate) const RANKS: usize = 50;

/// Who uses the translator most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Top {
    /// Milliseconds that rates are the average of; none at the first look, when there are no rates yet.
    pub(crate) interval_milliseconds: Option<u64>,
    /// How many sessions there are that the filter takes.
    pub(crate) sessions: u64,
    /// Those inside.
    pub(crate) subscribers: Ranking,
    /// Those outside.
    pub(crate) destinations: Ranking,
    /// The sessions with the most traffic, and, where there is none, with the most bytes so far.
    pub(crate) busiest: Vec<BusySession>,
}

/// The first of many, by what they send and receive, and by how many sessions they have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Ranking {
    /// The most traffic first.
    pub(crate) by_traffic: Vec<Talker>,
    /// The most sessions first.
    pub(crate) by_sessions: Vec<Talker>,
}

/// One side of sessions, and all that goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Talker {
    /// A subscriber's prefix, or an address outside.
    #[schemars(with = "String")]
    pub(crate) who: IpNet,
    /// How many sessions it has; in the ranking by traffic, how many of these have traffic.
    pub(crate) sessions: u64,
    /// From inside to outside.
    pub(crate) outbound_bits_per_second: u64,
    /// From outside to inside.
    pub(crate) inbound_bits_per_second: u64,
}

/// A session and what goes through it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BusySession {
    /// The session.
    #[serde(flatten)]
    pub(crate) session: Session,
    /// From inside to outside.
    pub(crate) outbound_bits_per_second: u64,
    /// From outside to inside.
    pub(crate) inbound_bits_per_second: u64,
}
