//! Policies that change while several workers translate: nobody meets what it does not know, and a pool port is never two
//! hosts'.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use nat64_core::packet::{HEADROOM, Offload, PacketBuf};
use nat64_core::policy::{MappingBehavior, PoolRange, PortAssignment, PortBlocks};
use nat64_core::{Batch, Policy, Timestamp, Translator, Verdict, Worker};
use pref64::Pref64;

use crate::support::SERVER;
use crate::support::build::{Body, Ends, Ip, packet};
use crate::support::check::{ends_of, ports};

const FLOWS: u16 = 96;
const RELOADS: u32 = 200;
/// Packets of a batch, so many that policies come in between.
const BATCH: u16 = 64;

fn prefix(number: u32) -> Pref64 {
    format!("2001:db8:{:x}::/96", 0x64 + number % 40).parse().unwrap()
}

/// The one address and prefix that stay, and others that come and go.
fn policy(number: u32) -> Policy {
    let others = (0..number % 3).map(|other| Ipv4Addr::from(0xc612_0000 + (number * 3 + other) % 50));
    let pool = others.chain([Ipv4Addr::new(192, 0, 2, 1)]).map(PoolRange::address).collect();
    let mut prefixes = vec![prefix(0), prefix(1 + number % 39)];
    prefixes.rotate_left(usize::from(number.is_multiple_of(2)));
    Policy::new(prefixes, pool)
}

/// Which host each pool address and port was ever given to: none is free again in this time.
type Given = Mutex<HashMap<(IpAddr, u16), Ipv6Addr>>;

fn translate(batch: &mut Batch<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut storage = vec![0; HEADROOM + bytes.len() + HEADROOM];
    storage[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
    let mut buffer = PacketBuf::new(&mut storage, HEADROOM, bytes.len(), Offload::default());
    let verdict = batch.translate(&mut buffer);
    matches!(verdict, Verdict::Translated(_)).then(|| buffer.bytes().to_vec())
}

/// Sends packets of flows that other workers send packets of, too, and answers them.
fn work(translator: &Translator, seed: u16, given: &Given, done: &AtomicBool) -> u64 {
    let (mut worker, mut round, mut translated) = (Worker::new(), seed, 0);
    while !done.load(Ordering::Relaxed) {
        let now = Timestamp::ZERO;
        let mut batch = translator.batch(now, &mut worker);
        for number in 0..BATCH {
            round = round.wrapping_mul(25_173).wrapping_add(13_849);
            let (host, through) = (round % FLOWS, u32::from(number));
            let host = Ipv6Addr::new(0x2001, 0xdb8, 0xa, host, 0, 0, 0, 1);
            let to = prefix(if through % 2 == 0 { 0 } else { through }).embed(SERVER);
            let udp = Body::udp(4000, 53, b"question");
            let Some(out) = translate(&mut batch, &packet(Ends::new(host, to), &Ip::default(), &udp)) else { continue };
            let (address, port) = (ends_of(&out).source, ports(&out).0);
            let owner = *given.lock().unwrap_or_else(PoisonError::into_inner).entry((address, port)).or_insert(host);
            assert_eq!(owner, host, "{address}:{port}");
            let answer = packet(Ends::new(SERVER, address), &Ip::default(), &Body::udp(53, port, b"answer"));
            if let Some(back) = translate(&mut batch, &answer) {
                assert_eq!(ends_of(&back).destination, IpAddr::V6(host));
                translated += 1;
            }
            batch.worker().events.drain().for_each(drop);
        }
        drop(batch);
        translator.expire(now, &mut worker);
        worker.events.drain().for_each(drop);
    }
    translated
}

fn stress(layout: impl Fn(&mut Policy)) {
    let policy = |number| {
        let mut policy = policy(number);
        layout(&mut policy);
        policy
    };
    let translator = Translator::new(policy(0), 42).unwrap();
    let (given, done) = (Given::default(), AtomicBool::new(false));
    let translated: Vec<u64> = thread::scope(|scope| {
        let (translator, given, done) = (&translator, &given, &done);
        let workers: Vec<_> = (1..=3).map(|seed| scope.spawn(move || work(translator, seed, given, done))).collect();
        for number in 1..=RELOADS {
            translator.replace(policy(number)).unwrap();
            // Some come before the one before them has settled.
            while !number.is_multiple_of(3) && !translator.is_settled() && !workers.iter().any(|it| it.is_finished()) {
                thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert!(translated.iter().all(|count| *count > 1000), "{translated:?}");
}

#[test]
fn policies_may_change_under_workers_that_share_flows() {
    stress(|_| {});
}

#[test]
fn policies_may_change_under_workers_that_share_ports() {
    stress(|policy| policy.mapping = MappingBehavior::AddressAndPortDependent);
}

#[test]
fn policies_may_change_under_workers_that_take_blocks() {
    let blocks = PortBlocks { size: 64, per_subscriber: 4 };
    stress(|policy| policy.port_assignment = PortAssignment::Blocks(blocks));
}

#[test]
fn a_policy_with_other_addresses_comes_when_no_batch_is_left_that_does_not_know_them() {
    let translator = Translator::new(policy(0), 42).unwrap();
    let (mut slow, mut quick) = (Worker::new(), Worker::new());
    let next = Policy { prefixes: vec![prefix(7)], ..policy(2) };
    let question = |through| {
        let ends = Ends::new("2001:db8:a::1".parse::<Ipv6Addr>().unwrap(), prefix(through).embed(SERVER));
        packet(ends, &Ip::default(), &Body::udp(4000, 53, b"question"))
    };

    let old = translator.batch(Timestamp::ZERO, &mut slow);
    translator.replace(next.clone()).unwrap();
    assert_eq!(translator.policy(), next, "it is the one that counts for whoever asks");
    translator.expire(Timestamp::ZERO, &mut quick);
    assert!(translate(&mut translator.batch(Timestamp::ZERO, &mut quick), &question(7)).is_none());
    drop(old);
    while !translator.is_settled() {
        translator.expire(Timestamp::ZERO, &mut quick);
    }

    assert!(translate(&mut translator.batch(Timestamp::ZERO, &mut quick), &question(7)).is_some());
    assert!(translate(&mut translator.batch(Timestamp::ZERO, &mut quick), &question(0)).is_none());
}
