//! RFC 7915 §4.1, RFC 6791, RFC 5508 REQ-4: who may be the source of an ICMP error, and what becomes of its address.

use std::net::Ipv4Addr;

use crate::bench::POOL;
use crate::case::HOPS;
use crate::groups::{OTHERWISE, STANDARD, STRICT};
use crate::rows::rows;
use crate::wire::{Icmp, V4, V6};

rows! { any_router_may_complain:
    the_server_may_be_the_source_of_an_error(198, 18);
    any_router_may_be_the_source_of_an_error(192, 88);
    a_router_with_a_private_address_may_be_the_source_of_an_error(10, 0);
    /// "The illegal source address will be translated for the purpose of trouble shooting" (RFC 7915 §4.1).
    a_router_with_a_reserved_address_may_be_the_source_of_an_error(240, 0);
    a_router_with_a_link_local_address_may_be_the_source_of_an_error(169, 254);
}

/// With filters, too (RFC 5508 REQ-4 as against REQ-6).
#[track_caller]
fn any_router_may_complain(first: u8, second: u8) {
    for group in [&STANDARD, &OTHERWISE] {
        let Some(mut case) = group.case() else { return };
        let out = case.pass6(&case.client_udp(b"x")).bytes();
        let router: Ipv4Addr = case.host4(first, second);
        let got = case.pass4(&V4::icmp(router, POOL, &Icmp::error(11, 0, 0, &out)));
        assert_eq!((got.source(), got.destination()), (case.six(router), case.client()));
        assert_eq!((got.read_icmp().kind, got.header.hop_limit), (3, 64 - HOPS));
    }
}

#[test]
fn an_error_of_the_client_itself_comes_from_its_mapping() {
    for group in [&STANDARD, &OTHERWISE] {
        let Some(mut case) = group.case() else { return };
        let port = case.open_udp();
        let delivered = case.pass4(&case.server_udp(port, b"x")).bytes();
        let error = V6::icmp(case.client(), case.service6().0, &Icmp::error(1, 4, 0, &delivered));
        assert_eq!(case.pass6(&error).source(), POOL);
    }
}

#[test]
fn an_error_of_an_ipv6_router_comes_from_the_configured_address() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let port = case.open_udp();
    let delivered = case.pass4(&case.server_udp(port, b"x")).bytes();
    let error = V6::icmp(case.router6(), case.service6().0, &Icmp::error(3, 0, 0, &delivered));
    assert_eq!(case.pass6(&error).source(), Ipv4Addr::new(203, 0, 113, 64));
}

#[test]
fn an_error_of_an_ipv6_router_comes_from_a_pool_and_names_the_router_where_policy_asks() {
    // RFC 6791 §4, §5; the Interface Information Object of RFC 5837.
    let Some(mut case) = STRICT.case() else { return };
    let port = case.open_udp();
    let delivered = case.pass4(&case.server_udp(port, b"x")).bytes();
    let error = V6::icmp(case.router6(), case.service6().0, &Icmp::error(3, 0, 0, &delivered));
    let mut sources = std::collections::BTreeSet::new();
    for _ in 0..16 {
        let got = case.pass6(&error);
        sources.insert(got.source());
        let message = got.read_icmp();
        assert_eq!((message.kind, message.rest, message.body.len()), (11, 32 << 16, 128 + 28));
        assert_eq!(message.body[132..140], [0, 24, 2, 4, 0, 2, 0, 0]);
        assert_eq!(message.body[140..], case.router6().octets());
    }
    assert_eq!(sources, [66, 67].map(|last| Ipv4Addr::new(203, 0, 113, last)).into());
}
