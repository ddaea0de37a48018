//! No place in the code fills the log: of what it says, so much is let through each second, and the rest is counted.
//!
//! A neighbour who finds what makes the daemon warn can have it warn as often as it sends. What an operator asked for with a
//! more talkative level is not held back.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Level, Metadata, warn};

/// Warnings and errors of one place in the code, per second.
const WARNINGS: u32 = 10;

/// Other messages of one place, per second. A start says one of each address and route.
const OTHERS: u32 = 100;

const SECOND: Duration = Duration::from_secs(1);

/// What each place in the code has said in the second that runs. There are as many as the program has, so it is bounded.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<HashMap<Identifier, Place>>);

#[derive(Debug)]
struct Place {
    metadata: &'static Metadata<'static>,
    since: Instant,
    said: u32,
    left_out: u64,
}

/// What was left out of the log of one place.
#[derive(Debug, PartialEq, Eq)]
struct LeftOut {
    metadata: &'static Metadata<'static>,
    count: u64,
}

impl Repeats {
    /// Whether there is room for one more message of this place.
    pub(super) fn admits(&self, metadata: &'static Metadata<'static>) -> bool {
        self.admits_at(metadata, Instant::now())
    }

    /// Says what has been left out since the last time.
    pub(super) fn tell(&self) {
        for LeftOut { metadata, count } in self.take_left_out(Instant::now()) {
            warn!(
                count,
                level = %metadata.level(),
                module = metadata.target(),
                line = metadata.line(),
                "messages like those before were left out"
            );
        }
    }

    fn admits_at(&self, metadata: &'static Metadata<'static>, now: Instant) -> bool {
        let most = match *metadata.level() {
            Level::ERROR | Level::WARN => WARNINGS,
            Level::INFO => OTHERS,
            Level::DEBUG | Level::TRACE => return true,
        };
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(metadata.callsite()).or_insert(Place { metadata, since: now, said: 0, left_out: 0 });
        if now.duration_since(place.since) >= SECOND {
            (place.since, place.said) = (now, 0);
        }
        if place.said < most {
            place.said += 1;
            return true;
        }
        place.left_out += 1;
        false
    }

    /// Of places whose second is over, so that each is told of once a second at most.
    fn take_left_out(&self, now: Instant) -> Vec<LeftOut> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = places.values_mut().filter(|place| place.left_out > 0 && now >= place.since);
        ended.map(|place| LeftOut { metadata: place.metadata, count: std::mem::take(&mut place.left_out) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use tracing::Callsite;

    use super::*;

    fn place(level: Level) -> &'static Metadata<'static> {
        match level {
            Level::WARN => {
                tracing::callsite! { name: "warn", kind: tracing::metadata::Kind::EVENT, level: Level::WARN, fields: }
                    .metadata()
            }
            Level::INFO => {
                tracing::callsite! { name: "info", kind: tracing::metadata::Kind::EVENT, level: Level::INFO, fields: }
                    .metadata()
            }
            _ => {
                tracing::callsite! { name: "debug", kind: tracing::metadata::Kind::EVENT, level: Level::DEBUG, fields: }
                    .metadata()
            }
        }
    }

    #[test]
    fn what_one_place_says_is_bounded_each_second_and_the_rest_is_counted() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let said = |metadata, at| (0..1_000).filter(|_| repeats.admits_at(metadata, at)).count();

        assert_eq!(said(place(Level::WARN), start), 10);
        assert_eq!(said(place(Level::WARN), start + SECOND / 2), 0);
        assert_eq!(said(place(Level::INFO), start), 100, "another place has room of its own");
        assert_eq!(said(place(Level::DEBUG), start), 1_000);
        let mut counts: Vec<u64> = repeats.take_left_out(start + SECOND).iter().map(|left| left.count).collect();
        counts.sort_unstable();
        assert_eq!(counts, [900, 1_990]);

        assert_eq!(repeats.take_left_out(start + SECOND), []);
        assert_eq!(said(place(Level::WARN), start + SECOND), 10, "a new second");
    }
}
