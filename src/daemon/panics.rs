//! Panics: faults of the code. Each is told in the log and counted; what becomes of the thread is for its owner to say.

use std::panic::{PanicHookInfo, set_hook};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tracing::error;

/// The kinds of threads, as the metrics name them.
const KINDS: [&str; 5] = ["worker", "dns", "async", "log", "other"];

static COUNTS: [AtomicU64; KINDS.len()] = [const { AtomicU64::new(0) }; KINDS.len()];

/// Counts panics from now on.
pub(super) fn install() {
    set_hook(Box::new(note));
}

/// Panics since the start, by the kind of thread.
pub(crate) fn counts() -> Vec<(&'static str, u64)> {
    KINDS.into_iter().zip(&COUNTS).map(|(kind, count)| (kind, count.load(Ordering::Relaxed))).collect()
}

fn note(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    COUNTS[kind(thread)].fetch_add(1, Ordering::Relaxed);
    let message = panic.payload_as_str().unwrap_or("no message");
    let place = panic.location().map(tracing::field::display);
    error!(thread, place, message, "panic, a fault in nat64: please report it");
}

/// The place among [`KINDS`] of a thread with this name.
fn kind(thread: &str) -> usize {
    match thread {
        "dns64-udp" => 1,
        "nat64-async" => 2,
        "nat64-events" | "nat64-log" | "nat64-journal" => 3,
        _ if thread.strip_prefix("nat64-").is_some_and(|number| number.parse::<u16>().is_ok()) => 0,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_counted_by_the_kind_of_thread() {
        let named = |name: &str| KINDS[kind(name)];
        let names = ["nat64-0", "nat64-17", "dns64-udp", "nat64-async", "nat64-events", "nat64-log", "main"];
        let kinds = ["worker", "worker", "dns", "async", "log", "log", "other"];
        assert_eq!(names.map(named), kinds);
    }
}
