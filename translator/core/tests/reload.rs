//! A million sessions, and a policy that ends half of them: in bounded pieces, while packets of the others pass.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "this is a test, of which most functions only help")]

mod million;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nat64_core::event::{EndReason, EventKind};
use nat64_core::policy::PoolRange;
use nat64_core::{Page, Policy, SessionInfo, Timestamp, Translator, Verdict, Worker};

use self::million::{MILLION, Sender, flow, policy};

/// Sessions that end in one call of the timers at the most: of two pages that are looked through, each under one lock.
const PIECE: u64 = 2 * 512;

/// The pool without its lower half.
fn half() -> Policy {
    let range = PoolRange { last: Ipv4Addr::new(192, 0, 2, 31), ..PoolRange::address(Ipv4Addr::new(192, 0, 2, 16)) };
    Policy { pool: vec![range], ..policy() }
}

fn is_kept(session: &SessionInfo) -> bool {
    session.external.0 >= Ipv4Addr::new(192, 0, 2, 16)
}

fn visit(translator: &Translator, mut visit: impl FnMut(&SessionInfo)) {
    let mut page = Some(Page::default());
    while let Some(this) = page {
        page = translator.page_of_sessions(this, Timestamp::ZERO, &mut visit);
    }
}

/// How many sessions are told to end, one call of the timers after the other, until all is settled.
fn settle(translator: &Translator) -> Vec<u64> {
    let mut worker = Worker::new();
    let mut pieces = Vec::new();
    while !translator.is_settled() {
        translator.expire(Timestamp::ZERO, &mut worker);
        let is_end = |kind| matches!(kind, EventKind::SessionEnded { reason: EndReason::Removed, .. });
        let ended = worker.events.drain().filter(|event| is_end(event.kind)).count();
        pieces.push(u64::try_from(ended).unwrap());
    }
    assert_eq!(worker.events.lost(), 0);
    pieces
}

#[test]
fn half_of_a_million_sessions_end_in_bounded_pieces_and_the_others_notice_nothing() {
    let translator = Translator::new(policy(), 42).unwrap();
    let mut sender = Sender::new();
    sender.open_all(&translator);
    let (mut kept, mut hosts) = (0_u64, HashSet::new());
    visit(&translator, |session| {
        if is_kept(session) {
            kept += 1;
            hosts.insert(session.internal.0);
        }
    });
    let million = u64::from(MILLION);
    assert!((million / 10..million).contains(&kept), "{kept} of {million} are kept");
    let spared: Vec<u32> = (0..MILLION).step_by(997).filter(|number| hosts.contains(&flow(*number).0)).collect();
    let (sent, is_over) = (AtomicU64::new(0), AtomicBool::new(false));

    let pieces = thread::scope(|scope| {
        scope.spawn(|| {
            for number in spared.iter().cycle() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                assert!(matches!(sender.send(&translator, *number), Verdict::Translated(_)), "{number}");
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        translator.replace(half()).unwrap();
        let before = sent.load(Ordering::Relaxed);
        let mut pieces = settle(&translator);
        // A policy that ends nobody is looked through as well, as often as it takes for that many packets to pass meanwhile.
        while sent.load(Ordering::Relaxed) < before + 1000 {
            translator.replace(half()).unwrap();
            pieces.extend(settle(&translator));
        }
        is_over.store(true, Ordering::Relaxed);
        pieces
    });

    assert_eq!(pieces.iter().sum::<u64>(), million - kept);
    assert!(pieces.iter().all(|piece| *piece <= PIECE), "{:?} in one piece", pieces.iter().max());
    let mut left = 0;
    visit(&translator, |session| {
        assert!(is_kept(session), "{session:?}");
        left += 1;
    });
    assert_eq!(left, kept);
    assert_eq!(translator.pool_addresses().len(), 16);
}
