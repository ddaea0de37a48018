//! What flowed between two looks at the counters.

use std::time::Duration;

use crate::control::api::{ByProtocol, Status, Traffic};

/// Packets and bits in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    /// Packets.
    pub(super) packets: f64,
    /// Bits.
    pub(super) bits: f64,
}

/// A counter: how often something happened since the start, and how often in a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counted {
    /// What is counted.
    pub(super) name: String,
    /// Since the start.
    pub(super) total: u64,
    /// In a second.
    pub(super) per_second: f64,
}

/// Rates of all that is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// From IPv6 to IPv4.
    pub(super) outbound: Rate,
    /// From IPv4 to IPv6.
    pub(super) inbound: Rate,
    /// Drops by reason, what happens now first.
    pub(super) dropped: Vec<Counted>,
    /// What DNS64 counts, in the order of its counters.
    pub(super) dns: Vec<Counted>,
}

impl Rates {
    /// From one status to a later one of the same daemon; without an earlier one all rates are zero.
    pub(super) fn between(before: Option<&Status>, now: &Status, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "nobody reads more than four digits")]
        let per_second = |before: Option<u64>, now: u64| match before {
            Some(before) => now.saturating_sub(before) as f64 / seconds,
            None => 0.0,
        };
        let sides = |status: &Status| status.translator.as_ref().map(|side| (side.six_to_four, side.four_to_six));
        let (older, newer) = (before.and_then(sides), sides(now).unwrap_or_default());
        let rate = |older: Option<ByProtocol<Traffic>>, newer: ByProtocol<Traffic>| {
            let (older, newer) = (older.map(|side| sum(&side)), sum(&newer));
            Rate {
                packets: per_second(older.map(|sum| sum.packets), newer.packets),
                bits: 8.0 * per_second(older.map(|sum| sum.bytes), newer.bytes),
            }
        };
        let mut dropped = drops(before, now, &per_second);
        dropped.sort_by(|one, other| {
            other
                .per_second
                .total_cmp(&one.per_second)
                .then(other.total.cmp(&one.total))
                .then(one.name.cmp(&other.name))
        });
        Self {
            outbound: rate(older.map(|sides| sides.0), newer.0),
            inbound: rate(older.map(|sides| sides.1), newer.1),
            dropped,
            dns: dns(before, now, &per_second),
        }
    }

    /// What DNS64 counts under this name.
    pub(super) fn of_dns(&self, name: &str) -> Counted {
        self.dns.iter().find(|counted| counted.name == name).cloned().unwrap_or_default()
    }
}

fn sum(side: &ByProtocol<Traffic>) -> Traffic {
    side.all().iter().fold(Traffic::default(), |sum, one| Traffic {
        packets: sum.packets + one.packets,
        bytes: sum.bytes + one.bytes,
    })
}

/// Reasons that had not occurred before began at zero.
fn drops(before: Option<&Status>, now: &Status, per_second: &dyn Fn(Option<u64>, u64) -> f64) -> Vec<Counted> {
    let older = before.and_then(|before| before.translator.as_ref());
    let all = now.translator.iter().flat_map(|translator| &translator.dropped);
    let counted = all.map(|(name, &total)| {
        let before = older.map(|older| older.dropped.get(name).copied().unwrap_or(0));
        Counted { name: name.clone(), total, per_second: per_second(before, total) }
    });
    counted.collect()
}

fn dns(before: Option<&Status>, now: &Status, per_second: &dyn Fn(Option<u64>, u64) -> f64) -> Vec<Counted> {
    let older = before.and_then(|before| before.dns64.as_ref());
    let all = now.dns64.iter().flat_map(|dns64| &dns64.counters);
    let counted = all.map(|(name, &total)| {
        let before = older.map(|older| older.counters.get(name).copied().unwrap_or(0));
        Counted { name: name.clone(), total, per_second: per_second(before, total) }
    });
    counted.collect()
}
