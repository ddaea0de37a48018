//! Many subscribers, one of them bad; a million sessions.

use std::net::{Ipv4Addr, Ipv6Addr};

use nat64_core::packet::{HEADROOM, Offload, PacketBuf};
use nat64_core::policy::{Limits, PoolRange};
use nat64_core::{Direction, DropReason, Policy, Timestamp, Verdict};

use crate::support::build::{Body, Ends, Ip, packet};
use crate::support::check::icmp_type;
use crate::support::{Lab, MINUTE, POOL, SERVER, policy, prefix};

fn subscriber(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 7, number, 0, 0, 0, 1)
}

fn udp(from: Ipv6Addr, port: u16, to: u16) -> Vec<u8> {
    packet(Ends::new(from, prefix().embed(SERVER)), &Ip::default(), &Body::udp(port, to, b"x"))
}

#[test]
fn a_subscriber_that_opens_ports_without_end_takes_them_from_nobody() {
    let limits = Limits { mappings_per_subscriber: Some(40), ..Limits::default() };
    let pool = PoolRange { first_port: 2000, last_port: 2199, ..PoolRange::address(POOL) };
    let mut lab = Lab::new(Policy { limits, pool: vec![pool], ..policy() });
    let good: Vec<_> = (1..=30).map(subscriber).collect();
    let bad = subscriber(99);
    let mut refused = 0;
    for round in 0..50_u16 {
        for attempt in 0..20 {
            let outcome = lab.send(&udp(bad, 10_000 + round * 20 + attempt, 53));
            match outcome.verdict {
                Verdict::Translated(_) => {}
                Verdict::Refused(DropReason::SubscriberLimit) => {
                    assert_eq!(icmp_type(&outcome.packet.unwrap().bytes), Some((1, 3)));
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        for host in &good {
            lab.pass(&udp(*host, 4000 + round % 5, 53));
        }
    }
    assert_eq!(refused, 1000 - 40);
    assert_eq!(lab.mappings().len(), 40 + 30 * 5);
    // What it has still works, and comes free when it stops.
    lab.pass(&udp(bad, 10_000, 53));
    lab.pass_time(8 * MINUTE);
    lab.pass(&udp(bad, 60_000, 53));
}

/// Sessions with one IPv4 host each, from a number of subscribers.
fn open(lab: &mut Lab, subscribers: u16, sessions_of_each: u32) {
    let template = udp(subscriber(0), 4000, 53);
    let mut storage = vec![0; HEADROOM + template.len()];
    for number in 0..subscribers {
        for session in 0..sessions_of_each {
            let remote = Ipv4Addr::from_bits(0x1000_0000 + session);
            storage[HEADROOM..].copy_from_slice(&template);
            storage[HEADROOM + 8..HEADROOM + 24].copy_from_slice(&subscriber(number).octets());
            storage[HEADROOM + 24..HEADROOM + 40].copy_from_slice(&prefix().embed(remote).octets());
            let mut packet = PacketBuf::new(&mut storage, HEADROOM, template.len(), Offload::default());
            let verdict = lab.translator.batch(lab.now, &mut lab.worker).translate(&mut packet);
            assert_eq!(verdict, Verdict::Translated(Direction::SixToFour));
        }
        lab.events();
    }
}

#[test]
fn a_million_sessions_that_end_at_once_end_in_small_steps() {
    const SUBSCRIBERS: u16 = 64;
    const EACH: u32 = 15_625;
    let limits = Limits { sessions: 1_000_100, ..Limits::default() };
    let mut lab = Lab::new(Policy { limits, ..policy() });
    open(&mut lab, SUBSCRIBERS, EACH);
    let count = |lab: &Lab| lab.translator.usage().sessions.iter().sum::<u32>();
    assert_eq!(count(&lab), 1_000_000);
    lab.now = Timestamp::from_millis(5 * 60_000 + 1000);
    let mut calls = 0;
    loop {
        let before = count(&lab);
        let more = lab.translator.expire(lab.now, &mut lab.worker);
        let ended = before - count(&lab);
        assert!(ended <= 512, "{ended} in one call");
        lab.events();
        calls += 1;
        assert!(calls < 10_000, "it ends");
        if !more {
            break;
        }
        if calls == 100 {
            // In between, packets go through.
            lab.pass(&udp(subscriber(u16::MAX), 1, 1));
        }
    }
    assert!(calls >= 1_000_000 / 512);
    assert_eq!(count(&lab), 1, "but the one that was opened meanwhile");
}
