//! How much memory full tables take, against the bound that the policy tells.
//!
//! What a process has taken at the most is known to the kernel alone, and for the whole process: each case runs in a
//! process of its own, which is this program again.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "this is a test, of which most functions only help")]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use etherparse::PacketBuilder;
use nat64_core::policy::{Filtering, MappingBehavior, PoolRange, PortAssignment, PortBlocks};
use nat64_core::{HEADROOM, MemoryBound, Offload, PacketBuf, Policy, Timestamp, Translator, Verdict, Worker};
use pref64::Pref64;

/// Set in a process that is to run a case.
const CASE: &str = "NAT64_MEMORY_CASE";
const SESSIONS: u32 = 400_000;
const POOL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A shape of use that fills the tables.
struct Case {
    name: &'static str,
    change: fn(&mut Policy),
    /// How many hosts there are, and to how many destinations each port of theirs sends.
    hosts: u32,
    destinations: u32,
}

const CASES: [Case; 5] = [
    Case { name: "many sessions of few mappings", change: |_| {}, hosts: 1, destinations: 1000 },
    Case {
        name: "a mapping and a subscriber for each session",
        change: |policy| policy.pool[0].last = Ipv4Addr::new(192, 0, 2, 8),
        hosts: SESSIONS,
        destinations: 1,
    },
    Case {
        name: "filters",
        change: |policy| policy.filtering = Filtering::AddressDependent,
        hosts: 1000,
        destinations: 10,
    },
    Case {
        name: "shared ports",
        change: |policy| policy.mapping = MappingBehavior::AddressAndPortDependent,
        hosts: 1000,
        destinations: 20,
    },
    Case {
        name: "blocks",
        change: |policy| {
            policy.pool[0].last = Ipv4Addr::new(192, 0, 2, 8);
            policy.port_assignment = PortAssignment::Blocks(PortBlocks { size: 16, per_subscriber: 2 });
        },
        hosts: SESSIONS / 16,
        destinations: 1,
    },
];

fn prefix() -> Pref64 {
    "2001:db8:64::/96".parse().unwrap()
}

fn policy(case: &Case) -> Policy {
    let mut policy = Policy::new(vec![prefix()], vec![PoolRange::address(POOL)]);
    policy.limits.sessions = SESSIONS;
    policy.limits.mappings = SESSIONS;
    (case.change)(&mut policy);
    policy
}

#[test]
fn full_tables_take_no_more_memory_than_the_bound_tells_and_give_it_back() {
    if let Ok(name) = std::env::var(CASE) {
        return run(CASES.iter().find(|case| case.name == name).unwrap());
    }
    for case in &CASES {
        let this = std::env::current_exe().unwrap();
        let name = std::thread::current().name().unwrap().to_owned();
        let status = Command::new(this).args(["--exact", &name, "--nocapture"]).env(CASE, case.name).status().unwrap();
        assert!(status.success(), "{}", case.name);
    }
}

/// Fills the tables twice, and compares what that took.
fn run(case: &Case) {
    let policy = policy(case);
    let bound = policy.memory_bound(1);
    let before = kilobytes("VmRSS:");
    let translator = Translator::new(policy, 42).unwrap();
    let mut worker = Worker::new();
    // Others than before, so that other shards are filled.
    for (time, round) in [(0, 0), (1_000_000, 1)] {
        let opened = fill(case, round, &translator, &mut worker, Timestamp::from_millis(time));
        assert!(opened >= SESSIONS - SESSIONS / 20, "{}: only {opened} sessions", case.name);
        let (now, most) = (kilobytes("VmRSS:") - before, kilobytes("VmHWM:") - before);
        report(case, round, bound, now, most);
        assert!(most * 1024 <= bound.total(), "{}: {most} KiB are more than {bound:?}", case.name);
        empty(&translator, &mut worker, Timestamp::from_millis(time));
        assert_eq!(translator.usage().sessions, [0; 3]);
    }
    let left = kilobytes("VmRSS:") - before;
    assert!(left * 1024 <= bound.total() / 3, "{}: {left} KiB are left of {bound:?}", case.name);
}

fn report(case: &Case, round: u32, bound: MemoryBound, now: u64, most: u64) {
    let line = format!("{}, {round}: {now} KiB, at the most {most}, bound {}\n", case.name, bound.total() / 1024);
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).unwrap();
}

/// Opens sessions until there are as many as may be, or none comes of a packet. Returns how many there are.
fn fill(case: &Case, round: u32, translator: &Translator, worker: &mut Worker, now: Timestamp) -> u32 {
    let mut template = Vec::new();
    PacketBuilder::ipv6([0; 16], [0; 16], 64).udp(0, 53).write(&mut template, b"x").unwrap();
    let mut storage = vec![0; 2 * HEADROOM + template.len()];
    for number in 0..SESSIONS {
        let (flow, destination) = (number / case.destinations, number % case.destinations);
        let subnet = u64::from((round << 24) | (flow % case.hosts));
        let source = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(subnet) << 64 | 1);
        let remote = Ipv4Addr::from_bits(0xc633_6400 + destination);
        template[8..24].copy_from_slice(&source.octets());
        template[24..40].copy_from_slice(&prefix().embed(remote).octets());
        template[40..42].copy_from_slice(&u16::try_from(1024 + flow / case.hosts).unwrap().to_be_bytes());
        storage[HEADROOM..HEADROOM + template.len()].copy_from_slice(&template);
        let mut packet = PacketBuf::new(&mut storage, HEADROOM, template.len(), Offload::default());
        let verdict = translator.batch(now, worker).translate(&mut packet);
        assert!(matches!(verdict, Verdict::Translated(_) | Verdict::Refused(_)), "{verdict:?}");
        worker.events.drain().for_each(drop);
    }
    translator.usage().sessions.iter().sum()
}

/// Lets everything expire, and ports rest.
fn empty(translator: &Translator, worker: &mut Worker, filled: Timestamp) {
    for wait in [301, 422] {
        let now = filled + Duration::from_secs(wait);
        while translator.expire(now, worker) {
            worker.events.drain().for_each(drop);
            worker.spill.drain(|_, _| {});
        }
    }
}

/// A line of what the kernel knows of this process.
fn kilobytes(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
