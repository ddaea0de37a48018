//! What fragments may cost.

use std::net::Ipv6Addr;
use std::time::Duration;

use nat64_core::policy::Timers;
use nat64_core::{DropReason, Verdict};

use crate::lab::*;
use crate::wire::{Icmp, V6, pattern};

fn host(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 3, number, 0, 0, 0, 1)
}

fn datagram(source: Ipv6Addr, identification: u32) -> Vec<V6> {
    V6::udp((source, PORT), service6(), &pattern(2000)).fragments(&[1000], identification)
}

#[test]
fn fragments_may_come_over_two_seconds_and_no_longer() {
    assert!(Timers::default().fragment >= 2 * SECOND);
    for (wait, arrives) in [(1900, true), (2200, false)] {
        let mut lab = Lab::new();
        let fragments = datagram(CLIENT, 7);
        lab.send6(&fragments[1]).held();
        lab.pass_time(Duration::from_millis(wait));
        let got = lab.send6(&fragments[0]).all4();
        assert_eq!(got.len(), if arrives { 2 } else { 1 }, "{wait} ms");
        assert_eq!(lab.worker.counters.dropped(DropReason::FragmentTimeout), u64::from(!arrives));
    }
}

#[test]
fn the_time_is_configurable() {
    for seconds in [1, 10] {
        let mut lab = Lab::with(|policy| policy.timers.fragment = seconds * SECOND);
        let fragments = datagram(CLIENT, 7);
        lab.send6(&fragments[1]).held();
        lab.pass_time(seconds * SECOND - Duration::from_millis(200));
        assert_eq!(lab.send6(&fragments[0]).all4().len(), 2);
        lab.send6(&datagram(CLIENT, 8)[1]).held();
        lab.pass_time(seconds * SECOND + Duration::from_millis(200));
        assert_eq!(lab.send6(&datagram(CLIENT, 8)[0]).all4().len(), 1);
    }
}

#[test]
fn an_identification_may_come_again_when_its_datagram_is_forgotten() {
    let mut lab = Lab::new();
    for _ in 0..3 {
        for fragment in datagram(CLIENT, 7) {
            lab.pass6(&fragment);
        }
        lab.pass_time(3 * SECOND);
    }
}

#[test]
fn held_fragments_are_bounded_in_number() {
    let mut lab = Lab::with(|policy| policy.limits.fragments = 64);
    let held = (0..1000).filter(|number| lab.send6(&datagram(host(*number), 7)[1]).verdict == Verdict::Held).count();
    assert!((1..=64).contains(&held), "{held}");
    assert!(lab.worker.counters.dropped(DropReason::FragmentLimit) > 900);
    lab.pass_time(3 * SECOND);
    lab.send6(&datagram(CLIENT, 7)[1]).held();
}

#[test]
fn held_fragments_are_bounded_in_bytes() {
    let mut lab = Lab::with(|policy| policy.limits.fragment_bytes = 20_000);
    let held = (0..1000).filter(|number| lab.send6(&datagram(host(*number), 7)[1]).verdict == Verdict::Held).count();
    assert!((1..=20).contains(&held), "{held}");
}

#[test]
fn one_subscriber_cannot_take_what_others_need_by_changing_its_address() {
    let mut lab = Lab::with(|policy| policy.subscriber_length = 64);
    for number in 0..10_000 {
        let sibling = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number);
        lab.send6(&datagram(sibling, 7)[1]);
    }
    assert!(lab.worker.counters.dropped(DropReason::FragmentLimit) > 0);
    for number in 1..100 {
        lab.send6(&datagram(host(number), 7)[1]).held();
        assert_eq!(lab.send6(&datagram(host(number), 7)[0]).all4().len(), 2);
    }
}

#[test]
fn one_source_cannot_take_what_others_need() {
    let mut lab = Lab::new();
    for identification in 0..10_000 {
        lab.send6(&datagram(CLIENT, identification)[1]);
    }
    assert!(lab.worker.counters.dropped(DropReason::FragmentLimit) > 0);
    let fragments = datagram(OTHER, 7);
    lab.send6(&fragments[1]).held();
    assert_eq!(lab.send6(&fragments[0]).all4().len(), 2);
}

#[test]
fn an_attack_by_fragments_hinders_neither_whole_packets_nor_fragments_in_order() {
    // RFC 4787 REQ-14 a: while it goes on, whether the attackers send first fragments or others, and in whose name.
    for part in [0, 1] {
        let mut lab = Lab::new();
        for number in 0..20_000 {
            lab.send6(&datagram(host(number), u32::from(number))[part]);
        }
        for identification in 0..5000 {
            lab.send6(&datagram(CLIENT, 0x10_0000 + identification)[part]);
        }
        lab.pass6(&client_udp(b"whole"));
        for identification in 1..1000 {
            for fragment in datagram(CLIENT, identification) {
                lab.pass6(&fragment);
            }
            for fragment in datagram(OTHER, identification) {
                lab.pass6(&fragment);
            }
        }
        let echo = V6::icmp(OTHER, six(SERVER), &Icmp::echo(128, 1, 1, &pattern(2000)));
        let [first, second] = &echo.fragments(&[1000], 9)[..] else { panic!("not two") };
        lab.send6(first).held();
        assert_eq!(lab.send6(second).packets.len(), 1, "there is room to put an echo together");
    }
}

#[test]
fn datagrams_in_more_pieces_than_any_has_are_given_up() {
    let mut lab = Lab::new();
    let packet = client_udp(&pattern(8 * 1000));
    let cuts: Vec<usize> = (1..1000).map(|piece| piece * 8).collect();
    let passed = packet.fragments(&cuts, 7).iter().filter(|fragment| !lab.send6(fragment).packets.is_empty()).count();
    assert!(passed < 1000, "{passed}");
    assert!(lab.worker.counters.dropped(DropReason::FragmentLimit) > 0);
}
