//! A million sessions, listed and filtered a page at a time.
//!
//! A target of its own with one test, since what a process has taken at the most is known for the whole process alone.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "this is a test, of which most functions only help")]

mod million;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nat64_core::{Page, SessionInfo, Timestamp, Translator, Verdict, Worker};

use self::million::{GREEDY, MILLION, Sender, flow, policy};

/// Entries that are looked at under one lock, as the documentation of the pages says.
const PAGE: usize = 512;

/// How many sessions `wanted` says yes to, and the most that it was asked about under one lock.
fn sessions(translator: &Translator, wanted: impl Fn(&SessionInfo) -> bool) -> (usize, usize) {
    let (mut taken, mut most, mut page) = (0, 0, Some(Page::default()));
    while let Some(this) = page {
        let mut seen = 0;
        page = translator.page_of_sessions(this, Timestamp::ZERO, &mut |session| {
            seen += 1;
            taken += usize::from(wanted(session));
        });
        most = most.max(seen);
    }
    (taken, most)
}

/// The same for what another kind of page has.
fn entries(mut page_of: impl FnMut(Page, &mut dyn FnMut()) -> Option<Page>) -> (usize, usize) {
    let (mut all, mut most, mut page) = (0, 0, Some(Page::default()));
    while let Some(this) = page {
        let mut seen = 0;
        page = page_of(this, &mut || seen += 1);
        (all, most) = (all + seen, most.max(seen));
    }
    (all, most)
}

#[test]
fn a_million_sessions_are_listed_a_page_at_a_time_while_packets_pass() {
    let translator = Translator::new(policy(), 42).unwrap();
    let mut sender = Sender::new();
    sender.open_all(&translator);
    let before = peak();
    let (sent, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            // Sessions of the shard that is listed longest among them.
            for number in (0..MILLION).step_by(997).cycle() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                assert!(matches!(sender.send(&translator, number), Verdict::Translated(_)), "{number}");
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        let greedy = flow(0).0;
        let million = usize::try_from(MILLION).unwrap();
        assert_eq!(sessions(&translator, |_| true), (million, PAGE));
        assert_eq!(sessions(&translator, |session| session.internal.0 == greedy), (million / 2, PAGE));
        assert_eq!(sessions(&translator, |session| session.remote == (flow(GREEDY).2, 53)).0, million / 2 + 10);
        assert_eq!(sessions(&translator, |session| session.state == "ESTABLISHED").0, 0);
        let mappings = entries(|page, count| translator.page_of_mappings(page, &mut |_| count()));
        assert_eq!(mappings, (million / 2 + 10, PAGE));
        let subscribers = entries(|page, count| translator.page_of_subscribers(page, &mut |_| count()));
        assert_eq!(subscribers, (million / 32 + 1, PAGE));
        // As often as it takes for that many packets to pass meanwhile, which would be never if they had to wait for the end.
        let before = sent.load(Ordering::Relaxed);
        while sent.load(Ordering::Relaxed) < before + 1000 {
            sessions(&translator, |_| true);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(translator.pool_addresses().len(), 32);
    let grown = peak() - before;
    assert!(grown <= 4 << 10, "{grown} KiB for a listing that nobody keeps");
    half_is_closed(&translator);
}

/// An operator closes the half a million sessions of one host.
fn half_is_closed(translator: &Translator) {
    let (greedy, mut worker) = (flow(0).0, Worker::new());
    let (mut closed, mut most) = (0, 0);
    for shard in 0..translator.shards() {
        let mut page = Some(0);
        while let Some(number) = page {
            let mut wanted = |session: &SessionInfo| session.internal.0 == greedy;
            let (count, next) =
                translator.end_sessions((shard, number), Timestamp::ZERO, &mut worker, &mut wanted, None);
            // Two for each session at the most, which must not be more than a worker holds.
            worker.events.drain().for_each(drop);
            (closed, most, page) = (closed + count.sessions, most.max(count.sessions), next);
        }
    }
    assert_eq!((closed, worker.events.lost()), (u64::from(MILLION / 2), 0));
    assert!(usize::try_from(most).unwrap() <= PAGE, "{most} under one lock");
    assert_eq!(sessions(translator, |session| session.internal.0 != greedy).0, usize::try_from(MILLION).unwrap() / 2);
    assert_eq!(sessions(translator, |session| session.internal.0 == greedy).0, 0);
}

/// Kibibytes that this process has taken at the most.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
