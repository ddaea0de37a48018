//! What becomes of a worker that panics: the packet in its hands is lost, and it goes on with the next.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nat64_core::Timestamp;

use crate::queue::Queue;
use crate::worker::{Engine, Worker, WorkerError, WorkerFailure};

/// So many panics of one worker are contained within [`WINDOW`]. More of them say that its state is broken, so that a new
/// process does better.
const MOST: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// Whom a worker tells.
type Tell<'t> = &'t (dyn Fn(WorkerFailure) + Send + Sync);

/// Runs a worker, and reports how it ended unless it was told to.
pub(crate) fn supervise<Q: Queue, E: Engine>(mut worker: Worker<Q, E>, on_failure: Tell<'_>, on_panic: Tell<'_>) {
    let index = worker.index;
    let mut recent = Recent::default();
    let error = loop {
        // Locks of the tables do not remember panics, and what else the worker was about to do is forgotten below.
        match catch_unwind(AssertUnwindSafe(|| worker.run())) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => break error,
            Err(panic) => {
                let error = WorkerError::Panic(panic_message(&*panic));
                if !recent.admits(worker.clock.now()) {
                    break error;
                }
                on_panic(WorkerFailure { worker: index, error });
                worker.forget_packets();
            }
        }
    };
    drop(worker);
    on_failure(WorkerFailure { worker: index, error });
}

/// Panics since the first of a minute.
#[derive(Debug, Default)]
struct Recent {
    since: Timestamp,
    count: u32,
}

impl Recent {
    fn admits(&mut self, now: Timestamp) -> bool {
        if now >= self.since + WINDOW {
            *self = Self { since: now, count: 0 };
        }
        self.count += 1;
        self.count <= MOST
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_panics_in_a_minute_are_contained() {
        let at = |seconds: u64| Timestamp::ZERO + Duration::from_secs(seconds);
        let mut recent = Recent::default();
        assert!((100..110).all(|second| recent.admits(at(second))));
        assert!(!recent.admits(at(159)), "the eleventh of a minute");
        assert!(recent.admits(at(160)), "another minute");
    }
}
