//! What is measured, each in a form that callgrind can count: the same preparation for any count, then `count` times
//! what is measured, so that the difference of two runs is the thing alone.

use std::process::ExitCode;
use std::time::Duration;

use nat64_core::{Gso, GsoKind, Offload, PartialChecksum};

use crate::flows::{Flow, Kind, Ready, lab, translate_all};
use crate::support::{Lab, MINUTE, Sent};

/// How often most things are done in the shorter of the two runs; the longer one does them twice as often.
const COUNT: usize = 1024;
/// The same for calls for timers, each of which is as much work as many packets.
const CALLS: usize = 8;
/// Flows that packets of established ones are of.
const FLOWS: u32 = 256;

/// Something to measure.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// How often it is done in the shorter run.
    pub(crate) count: usize,
    run: fn(usize),
}

/// All of them.
pub(crate) const SCENARIOS: [Scenario; 11] = [
    scenario("tcp-6to4", "a segment of an established TCP connection", |count| inside(count, Kind::Tcp)),
    scenario("tcp-4to6", "the same, from IPv4", |count| outside(count, Kind::Tcp)),
    scenario("udp-6to4", "a datagram of a known UDP flow", |count| inside(count, Kind::Udp)),
    scenario("udp-4to6", "the same, from IPv4", |count| outside(count, Kind::Udp)),
    scenario("echo-6to4", "an ICMP echo request with a known identifier", |count| inside(count, Kind::Echo)),
    scenario("echo-4to6", "its reply", |count| outside(count, Kind::Echo)),
    scenario("super-6to4", "a TCP super-packet of 16 segments", |count| super_packets(count, true)),
    scenario("super-4to6", "the same, from IPv4", |count| super_packets(count, false)),
    scenario("tcp-open-expire", "a SYN that makes a mapping and a session, and their end", |count| {
        open_and_expire(count, Kind::Tcp);
    }),
    scenario("udp-open-expire", "the same of UDP", |count| open_and_expire(count, Kind::Udp)),
    Scenario { count: CALLS, ..scenario("expire-call", "a call for timers that leaves sessions for the next", calls) },
];

const fn scenario(name: &'static str, what: &'static str, run: fn(usize)) -> Scenario {
    Scenario { name, what, count: COUNT, run }
}

/// Runs one scenario, for callgrind to count.
pub(crate) fn run(name: &str, count: usize) -> ExitCode {
    let Some(scenario) = SCENARIOS.iter().find(|scenario| scenario.name == name) else {
        println!("no such scenario: {name}");
        return ExitCode::FAILURE;
    };
    (scenario.run)(count);
    ExitCode::SUCCESS
}

fn inside(count: usize, kind: Kind) {
    let mut lab = lab(1);
    let flows: Vec<Flow> = (0..FLOWS).map(Flow::number).collect();
    for flow in &flows {
        flow.open(&mut lab, kind);
    }
    let packets = flows.iter().map(|flow| Ready::plain(flow.outbound(kind, b"data")));
    translate_some(&mut lab, &packets.collect::<Vec<_>>(), count);
}

fn outside(count: usize, kind: Kind) {
    let mut lab = lab(1);
    let packets = (0..FLOWS).map(Flow::number).map(|flow| {
        let pool = flow.open(&mut lab, kind);
        Ready::plain(flow.inbound(kind, pool, b"data"))
    });
    let packets: Vec<_> = packets.collect();
    translate_some(&mut lab, &packets, count);
}

fn super_packets(count: usize, from_inside: bool) {
    const SEGMENTS: usize = 16;
    const SEGMENT: u16 = 1440;
    let mut lab = lab(1);
    let data = vec![0; SEGMENTS * usize::from(SEGMENT)];
    let packets = (0..FLOWS).map(Flow::number).map(|flow| {
        let pool = flow.open(&mut lab, Kind::Tcp);
        let (bytes, kind, header) = if from_inside {
            (flow.outbound(Kind::Tcp, &data), GsoKind::TcpV6, 40)
        } else {
            (flow.inbound(Kind::Tcp, pool, &data), GsoKind::TcpV4, 20)
        };
        let gso = Gso { kind, segment_size: SEGMENT, header_len: header + 20, ecn: false };
        let checksum = PartialChecksum { start: header, offset: 16 };
        Ready::new(&Sent { bytes, offload: Offload { checksum: Some(checksum), gso: Some(gso), data_valid: false } })
    });
    let packets: Vec<_> = packets.collect();
    translate_some(&mut lab, &packets, count);
}

/// Translates the first `count` of twice [`COUNT`] copies of `packets`.
fn translate_some(lab: &mut Lab, packets: &[Ready], count: usize) {
    let mut copies: Vec<Ready> = packets.iter().cycle().take(2 * COUNT).cloned().collect();
    translate_all(lab, &mut copies[..count]);
}

/// Opens `count` flows with a mapping each, and lets them expire and their ports rest.
fn open_and_expire(count: usize, kind: Kind) {
    let mut lab = lab(1);
    let openings: Vec<Ready> =
        (0..).map(|number| Ready::plain(Flow::number(number).opening(kind))).take(2 * COUNT).collect();
    // The tables have their size before it counts.
    translate_all(&mut lab, &mut openings.clone());
    expire_all(&mut lab);
    let mut openings = openings;
    translate_all(&mut lab, &mut openings[..count]);
    expire_all(&mut lab);
    assert_eq!(lab.translator.usage().pool_ports_taken, [0; 3], "all is over");
}

fn expire_all(lab: &mut Lab) {
    for _ in 0..2 {
        lab.now = lab.now + 6 * MINUTE;
        while lab.translator.expire(lab.now, &mut lab.worker) {
            lab.worker.events.drain().for_each(drop);
        }
        lab.worker.events.drain().for_each(drop);
    }
}

/// Calls for timers `count` times, when each call has more to do than it does.
fn calls(count: usize) {
    const SESSIONS: u32 = 1 << 14;
    let mut lab = lab(1);
    for number in 0..SESSIONS {
        Flow::number(number).open(&mut lab, Kind::Udp);
    }
    // Almost due, they are in the near ring of the wheel: what is left to do for each is to end it.
    lab.expire_at(lab.now + (5 * MINUTE - Duration::from_millis(200)));
    lab.now = lab.now + Duration::from_secs(1);
    for _ in 0..count {
        assert!(lab.translator.expire(lab.now, &mut lab.worker), "there is more to do than is done");
        lab.worker.events.drain().for_each(drop);
    }
}
