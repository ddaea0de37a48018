//! RFC 7915 §4.2 and §5.2: the MTU that an error reports is none larger than those of the links of the translator.

use nat64_core::LinkMtus;

use crate::lab::*;
use crate::wire::{Icmp, V4, V6, pattern};

fn with_links(ipv4: Option<u32>, ipv6: Option<u32>) -> Lab {
    let lab = Lab::new();
    lab.translator.set_link_mtus(LinkMtus { ipv4, ipv6 });
    assert_eq!(lab.translator.link_mtus(), LinkMtus { ipv4, ipv6 });
    lab
}

/// The MTU that the client is told of when an IPv4 router has told `mtu`.
fn towards_ipv6(lab: &mut Lab, mtu: u32) -> u32 {
    let out = lab.pass6(&client_udp(&pattern(1400))).bytes();
    let got = lab.pass4(&V4::icmp(ROUTER4, POOL, &Icmp::error(3, 4, mtu, &out))).read_icmp();
    assert_eq!((got.kind, got.code), (2, 0));
    got.rest
}

/// The MTU that the server is told of when an IPv6 router has told `mtu`; the packet in error may be a fragment.
fn towards_ipv4(lab: &mut Lab, mtu: u32, is_fragment: bool) -> u32 {
    let port = lab.open_udp();
    let sent = server_udp(port, &pattern(1000));
    let sent = if is_fragment { sent.fragments(&[800], 1).remove(0) } else { sent };
    let delivered = lab.pass4(&sent).bytes();
    let got = lab.pass6(&V6::icmp(ROUTER6, six(SERVER), &Icmp::error(2, 0, mtu, &delivered))).read_icmp();
    assert_eq!((got.kind, got.code), (3, 4));
    got.rest
}

#[test]
fn packet_too_big_reports_the_least_of_what_was_told_and_both_next_hops() {
    for (told, ipv4, ipv6, expected) in [
        (1400, Some(1500), Some(1500), 1420),
        (1500, Some(1500), Some(1500), 1500),
        (9000, Some(1500), Some(9001), 1520),
        (9000, Some(9001), Some(1500), 1500),
        (9000, None, Some(1500), 1500),
        (9000, Some(1500), None, 1520),
        (9000, None, None, 9020),
        (65_535, Some(65_535), Some(65_535), 65_535),
        (1500, Some(1000), Some(1500), 1280),
        (0, Some(1500), Some(1400), 1280),
    ] {
        assert_eq!(towards_ipv6(&mut with_links(ipv4, ipv6), told), expected, "{told}, links of {ipv4:?} and {ipv6:?}");
    }
}

#[test]
fn fragmentation_needed_reports_the_least_of_what_was_told_and_both_next_hops() {
    for (told, ipv4, ipv6, expected) in [
        (1400, Some(1500), Some(1500), 1380),
        (1500, Some(1400), Some(1500), 1400),
        (9000, Some(9001), Some(1500), 1480),
        (9000, Some(1500), Some(9001), 1500),
        (9000, None, Some(1500), 1480),
        (9000, None, None, 8980),
        (1280, Some(576), Some(1280), 576),
    ] {
        let lab = &mut with_links(ipv4, ipv6);
        assert_eq!(towards_ipv4(lab, told, false), expected, "{told}, links of {ipv4:?} and {ipv6:?}");
    }
    // A Fragment header is counted in on the IPv6 link as well.
    assert_eq!(towards_ipv4(&mut with_links(Some(1500), Some(1500)), 9000, true), 1472);
}

#[test]
fn a_link_may_change_while_the_translator_runs() {
    let mut lab = with_links(Some(1500), Some(1500));
    assert_eq!(towards_ipv6(&mut lab, 9000), 1500);
    lab.translator.set_link_mtus(LinkMtus { ipv4: Some(1500), ipv6: Some(1400) });
    assert_eq!(towards_ipv6(&mut lab, 9000), 1400);
    lab.translator.set_link_mtus(LinkMtus::default());
    assert_eq!(towards_ipv6(&mut lab, 9000), 9020);
}

#[test]
fn what_is_turned_round_does_not_go_over_the_ipv4_link() {
    let mut lab = with_links(Some(1300), Some(9001));
    let port = lab.pass6(&V6::udp((OTHER, 7000), service6(), b"x")).ports().0;
    let outcome = lab.send6(&V6::udp((CLIENT, PORT), (six(POOL), port), &pattern(2000)));
    let delivered = V6::read(outcome.only());
    let error = V6::icmp(ROUTER6, delivered.source(), &Icmp::error(2, 0, 1500, &delivered.bytes()[..200]));
    let message = V6::read(lab.send6(&error).only()).read_icmp();
    assert_eq!((message.kind, message.rest), (2, 1500));
}
