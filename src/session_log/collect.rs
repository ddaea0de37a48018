//! From the workers' rings to the queues of the logs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nat64_core::event::EventKind;
use nat64_core::{DropReason, Event};
use nat64_dataplane::{Clock, Events};

use super::record::Record;
use super::sink::Inlets;
use super::{NameOf, Onlooker, PrefixOf};

/// How long the rings are left alone once they are empty. A ring has room for what a worker can do meanwhile.
const PAUSE: Duration = Duration::from_millis(20);
/// Events that are taken from one ring before the next has its turn.
const TURN: usize = 4096;
/// Refusals of one reason that are logged in a second; the counters have them all (RFC 8158 §5.2).
const REFUSALS_PER_SECOND: u32 = 10;

/// Takes the events of all workers. Without any log it takes them all the same, so that none counts as lost.
pub(super) struct Collector {
    rings: Vec<Events>,
    clock: Clock,
    prefix_of: PrefixOf,
    name_of: NameOf,
    onlooker: Onlooker,
    inlets: Inlets,
    stopping: Arc<AtomicBool>,
    refusals: Refusals,
}

impl Collector {
    pub(super) fn new(
        rings: Vec<Events>,
        clock: Clock,
        (prefix_of, name_of): (PrefixOf, NameOf),
        onlooker: Onlooker,
        inlets: Inlets,
        stopping: Arc<AtomicBool>,
    ) -> Self {
        Self { rings, clock, prefix_of, name_of, onlooker, inlets, stopping, refusals: Refusals::default() }
    }

    /// Works until told to stop; takes what is there by then.
    pub(super) fn run(mut self) {
        loop {
            let is_last = self.stopping.load(Ordering::Relaxed);
            // An event that the code is not up to is lost. The pause keeps a fault from filling the log of the daemon.
            let found = catch_unwind(AssertUnwindSafe(|| self.round())).unwrap_or(false);
            if !found {
                if is_last {
                    return;
                }
                thread::park_timeout(PAUSE);
            }
        }
    }

    /// Takes what is in the rings, each in its turn. Returns whether there was anything.
    fn round(&mut self) -> bool {
        // Read anew each time: whoever sets the system's time means the log, too.
        let (now, time) = (self.clock.now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let now_at = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut found = false;
        for ring in self.rings.clone() {
            for event in std::iter::from_fn(|| ring.pop()).take(TURN) {
                found = true;
                let age = now.as_millis().saturating_sub(event.at.as_millis());
                self.hand_on(event, now_at.saturating_sub(age), Duration::from_millis(age));
            }
        }
        found
    }

    /// Gives an event that happened `at` this time, `age` ago, to those who want it.
    fn hand_on(&mut self, event: Event, at: u64, age: Duration) {
        if let Some(look) = &self.onlooker {
            look(&event);
        }
        if let EventKind::Refused(reason) = event.kind
            && !self.refusals.admits(reason, at / 1000)
        {
            return;
        }
        let prefix = (self.prefix_of)(event.prefix);
        let remote6 = prefix.zip(event.remote).map(|(prefix, (remote, _))| prefix.embed(remote));
        // Here, where the event is fresh: a log that waits for its collector would find another name.
        let name = remote6.and_then(|address| {
            let lasted = event.at.as_millis().saturating_sub(event.began.as_millis());
            (self.name_of)(event.internal.0, address, age + Duration::from_millis(lasted))
        });
        let record = Record { at, event, remote6, name };
        for inlet in &*self.inlets.lock().unwrap_or_else(PoisonError::into_inner) {
            inlet.offer(&record);
        }
    }
}

/// How many refusals of each reason there were in this second.
#[derive(Debug, Default)]
struct Refusals {
    second: u64,
    counts: [u32; DropReason::ALL.len()],
}

impl Refusals {
    fn admits(&mut self, reason: DropReason, second: u64) -> bool {
        if self.second != second {
            *self = Self { second, counts: [0; DropReason::ALL.len()] };
        }
        let count = &mut self.counts[reason as usize];
        *count += 1;
        *count <= REFUSALS_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_one_reason_are_limited_each_second() {
        let mut refusals = Refusals::default();

        let admitted = (0..50).filter(|_| refusals.admits(DropReason::PoolExhausted, 7)).count();

        assert_eq!(admitted, 10);
        assert!(refusals.admits(DropReason::SubscriberLimit, 7), "another reason");
        assert!(refusals.admits(DropReason::PoolExhausted, 8), "another second");
    }
}
