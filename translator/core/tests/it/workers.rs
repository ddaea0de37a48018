//! Several workers at the same time: no tuple is ever in use twice, and nothing is lost when all has ended.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use etherparse::PacketBuilder;
use nat64_core::policy::{MappingBehavior, PoolRange, PortAssignment, PortBlocks, Timers};
use nat64_core::{HEADROOM, Offload, PacketBuf, Policy, Timestamp, Translator, Verdict, Worker};

const WORKERS: u16 = 4;
const HOSTS: u16 = 40;
const ROUNDS: u16 = 30;
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 80);

fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
    let second = Duration::from_secs(1);
    let pool = PoolRange {
        last: Ipv4Addr::new(192, 0, 2, 2),
        first_port: 1000,
        last_port: 2999,
        ..PoolRange::address(Ipv4Addr::new(192, 0, 2, 1))
    };
    let mut policy = Policy::new(vec!["2001:db8:64::/96".parse().unwrap()], vec![pool]);
    policy.timers = Timers { udp: second, port_quarantine: second, ..Timers::default() };
    policy.subscriber_length = 64;
    change(&mut policy);
    policy
}

/// Sends a datagram of a host, and returns the pool address and port it comes from; nothing if it is refused.
fn send(
    translator: &Translator,
    worker: &mut Worker,
    now: Timestamp,
    (host, port): (u16, u16),
) -> Option<(Ipv4Addr, u16)> {
    let source = Ipv6Addr::new(0x2001, 0xdb8, 0xa, host, 0, 0, 0, 1);
    let destination: Ipv6Addr = translator.policy().prefixes[0].embed(SERVER);
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv6(source.octets(), destination.octets(), 64).udp(port, 53);
    builder.write(&mut bytes, b"x").unwrap();
    let mut storage = vec![0; HEADROOM + bytes.len() + HEADROOM];
    storage[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(&bytes);
    let mut packet = PacketBuf::new(&mut storage, HEADROOM, bytes.len(), Offload::default());
    let verdict = translator.batch(now, worker).translate(&mut packet);
    worker.events.drain().for_each(drop);
    let sent = packet.bytes();
    let address: [u8; 4] = sent[12..16].try_into().unwrap();
    matches!(verdict, Verdict::Translated(_)).then(|| (address.into(), u16::from_be_bytes([sent[20], sent[21]])))
}

/// One worker's part of a round: hosts of its own open mappings, while everything that is due expires.
fn work(translator: &Translator, worker: u16, now: Timestamp) -> Vec<(Ipv4Addr, u16)> {
    let mut state = Worker::new();
    let mut given = Vec::new();
    for number in 0..HOSTS * 20 {
        let host = worker * HOSTS + number % HOSTS;
        given.extend(send(translator, &mut state, now, (host, 4000 + number / HOSTS)));
        if number % 16 == 0 {
            translator.expire(now, &mut state);
            state.events.drain().for_each(drop);
        }
    }
    given
}

fn stress(policy: Policy) {
    let translator = Translator::new(policy, 42).unwrap();
    for round in 0..ROUNDS {
        let now = Timestamp::from_millis(u64::from(round) * 700);
        let given: Vec<_> = thread::scope(|scope| {
            let translator = &translator;
            let workers: Vec<_> =
                (0..WORKERS).map(|worker| scope.spawn(move || work(translator, worker, now))).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        assert!(given.len() > 1000, "round {round}: {}", given.len());
        let distinct: HashSet<_> = given.iter().collect();
        assert_eq!(distinct.len(), given.len(), "round {round}: a tuple is in use twice");
    }
    let end = Timestamp::from_millis(u64::from(ROUNDS) * 700);
    let mut worker = Worker::new();
    for wait in [2, 4] {
        while translator.expire(end + Duration::from_secs(wait), &mut worker) {
            worker.events.drain().for_each(drop);
        }
    }
    let usage = translator.usage();
    assert_eq!((usage.mappings, usage.sessions, usage.pool_ports_taken), ([0; 3], [0; 3], [0; 3]));
}

#[test]
fn workers_that_take_ports_at_the_same_time_never_take_the_same() {
    stress(policy(|_| {}));
}

#[test]
fn workers_that_share_ports_at_the_same_time_never_share_a_tuple() {
    stress(policy(|policy| policy.mapping = MappingBehavior::AddressAndPortDependent));
}

#[test]
fn workers_that_take_blocks_at_the_same_time_never_take_the_same() {
    let blocks = PortBlocks { size: 16, per_subscriber: 2 };
    stress(policy(|policy| policy.port_assignment = PortAssignment::Blocks(blocks)));
}
