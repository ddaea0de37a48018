use std::net::Ipv6Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::event::EventKind;
use crate::policy::{Draining, Filtering, Limits, Policy, PoolRange, PoolRule, PortAssignment, PortBlocks};
use crate::testing::{CLIENT, Flags, Lab, OTHER, POOL, Payload, SERVER, packet4, packet6, policy, ports, six};
use crate::verdict::DropReason;

fn preview(lab: &Lab, bytes: &[u8]) -> Preview {
    lab.translator.preview(lab.now, bytes).unwrap()
}

fn udp(from: u16, to: u16) -> Payload<'static> {
    Payload::Udp(from, to, b"data")
}

#[test]
fn a_first_packet_is_told_what_would_be_made_and_nothing_is() {
    let mut lab = Lab::new(policy());
    let packet = packet6(CLIENT, six(SERVER), udp(4000, 53));

    let told = preview(&lab, &packet);

    assert_eq!(told.verdict, Verdict::Translated(Direction::SixToFour));
    assert!((told.mapping, told.session) == (None, None) && told.candidates == [POOL]);
    let kinds: Vec<EventKind> = told.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::MappingCreated, EventKind::SessionCreated]);
    assert_eq!((told.prefix, told.subscriber), (Some(crate::testing::prefix()), Some(Ipv6Net::from(CLIENT))));
    assert_eq!((lab.sessions(), lab.mappings(), lab.translator.usage().pool_ports_taken), (vec![], 0, [0; 3]));
    lab.pass(&packet);
    assert_eq!(lab.mappings(), 1);
}

#[test]
fn a_packet_of_a_session_is_told_its_very_ports_both_ways() {
    let mut lab = Lab::new(policy());
    let packet = packet6(CLIENT, six(SERVER), udp(4000, 53));
    let out = lab.pass(&packet);
    let back = packet4(SERVER, POOL, udp(53, ports(&out).0));

    let (there, here) = (preview(&lab, &packet), preview(&lab, &back));

    assert_eq!(ports(there.packet.as_ref().unwrap()), ports(&out));
    assert_eq!(here.packet.unwrap(), lab.pass(&back));
    assert!(there.events.is_empty() && here.events.is_empty());
    assert_eq!(
        (there.session, here.mapping.unwrap().internal),
        (
            Some(lab.sessions()[0]).map(|s| SessionInfo {
                inbound: there.session.unwrap().inbound,
                expires_in: there.session.unwrap().expires_in,
                ..s
            }),
            (CLIENT, 4000)
        )
    );
    let stranger = preview(&lab, &packet4("203.0.113.9".parse().unwrap(), POOL, udp(53, ports(&out).0)));
    assert!(stranger.session.is_none() && stranger.mapping.is_some());
    assert_eq!(stranger.verdict, Verdict::Translated(Direction::FourToSix), "filtering is endpoint-independent");
}

#[test]
fn what_is_refused_is_told_with_its_reason_and_the_error() {
    let exclusion = Exclusion { ports: Some((25, 25)), ..Exclusion::default() };
    let mut limited = policy();
    limited.exclusions = vec![Exclusion { ports: Some((19, 19)), ..exclusion }, exclusion];
    limited.limits = Limits { sessions_per_subscriber: Some(1), ..Limits::default() };
    let mut lab = Lab::new(limited.clone());
    lab.pass(&packet6(CLIENT, six(SERVER), udp(4000, 53)));

    let excluded = preview(&lab, &packet6(CLIENT, six(SERVER), udp(4000, 25)));
    assert_eq!(
        (excluded.exclusion.unwrap().0, excluded.verdict),
        (1, Verdict::Refused(DropReason::AdministrativelyProhibited))
    );
    let full = preview(&lab, &packet6(CLIENT, six(SERVER), udp(4001, 53)));
    assert_eq!(full.verdict, Verdict::Refused(DropReason::SubscriberLimit));
    assert_eq!(full.packet.unwrap()[6], 58, "an ICMPv6 error");
    let other = preview(&lab, &packet6(OTHER, six(SERVER), udp(4001, 53)));
    assert_eq!(other.verdict, Verdict::Translated(Direction::SixToFour));
    let nobody = preview(&lab, &packet4(SERVER, POOL, udp(53, 9)));
    assert_eq!(nobody.verdict, Verdict::Refused(DropReason::NoMapping));
    let draining = Draining { everything: true, addresses: Vec::new() };
    lab.translator.replace(Policy { draining, ..limited }).unwrap();
    let drained = preview(&lab, &packet6(OTHER, six(SERVER), udp(1, 53)));
    assert_eq!(drained.verdict, Verdict::Refused(DropReason::Draining));
}

#[test]
fn a_full_address_or_block_is_seen() {
    let few = PoolRange { first_port: 1024, last_port: 1039, ..PoolRange::address(POOL) };
    let blocks = PortAssignment::Blocks(PortBlocks { size: 16, per_subscriber: 1 });
    for assignment in [PortAssignment::Single, blocks] {
        let mut lab = Lab::new(Policy { pool: vec![few], port_assignment: assignment, ..policy() });
        for port in 0..16 {
            assert!(matches!(
                preview(&lab, &packet6(CLIENT, six(SERVER), udp(port, 53))).verdict,
                Verdict::Translated(_)
            ));
            lab.pass(&packet6(CLIENT, six(SERVER), udp(port, 53)));
        }
        for host in [CLIENT, OTHER] {
            let told = preview(&lab, &packet6(host, six(SERVER), udp(9999, 53)));
            assert_eq!(told.verdict, Verdict::Refused(DropReason::PoolExhausted), "{assignment:?}");
        }
        assert!(matches!(preview(&lab, &packet6(CLIENT, six(SERVER), udp(3, 54))).verdict, Verdict::Translated(_)));
    }
}

#[test]
fn rules_and_shares_are_told() {
    let other: Ipv4Addr = "192.0.2.9".parse().unwrap();
    let rule = PoolRule { sources: "2001:db8:1::/48".parse().unwrap(), first: other, last: other };
    let pool = vec![PoolRange::address(POOL), PoolRange::address(other)];
    let lab = Lab::new(Policy { pool, pool_rules: vec![rule], ..policy() });
    let told = preview(&lab, &packet6(CLIENT, six(SERVER), udp(1, 2)));
    assert_eq!((told.pool_rule, told.candidates), (Some(rule.sources), vec![other]));

    let deterministic = PortAssignment::Deterministic("2001:db8:1::/120".parse().unwrap());
    let lab = Lab::new(Policy { port_assignment: deterministic, ..policy() });
    let told = preview(&lab, &packet6(CLIENT, six(SERVER), udp(1, 2)));
    assert_eq!(told.share, lab.translator.policy().share_of(CLIENT));
}

#[test]
fn a_hairpin_is_followed_to_its_end() {
    let mut lab = Lab::new(policy());
    let out = lab.pass(&packet6(CLIENT, six(SERVER), udp(4000, 53)));
    let told = preview(&lab, &packet6(OTHER, six(POOL), udp(5000, ports(&out).0)));
    assert_eq!(told.verdict, Verdict::Hairpinned);
    assert_eq!(told.packet.unwrap()[24..40], CLIENT.octets());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Out(u8, u8, u8),
    Back(u8, u8, bool),
    Wait(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_u8, 0..6_u8, 0..5_u8).prop_map(|(host, port, kind)| Step::Out(host, port, kind)),
        3 => (0..12_u8, 0..4_u8, any::<bool>()).prop_map(|(which, kind, known)| Step::Back(which, kind, known)),
        1 => (0..100_u8).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}

fn packet(lab: &Lab, step: Step) -> Option<Vec<u8>> {
    let tcp = |kind| [Flags::Syn, Flags::Ack, Flags::FinAck, Flags::Rst, Flags::SynAck][usize::from(kind)];
    match step {
        Step::Out(host, port, kind) => {
            let host = Ipv6Addr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(host)]);
            let port = 4000 + u16::from(port);
            let payload = match kind {
                0 => udp(port, 53),
                1 => Payload::EchoRequest(port),
                kind => Payload::Tcp(port, 80, tcp(kind - 2)),
            };
            Some(packet6(host, six(SERVER), payload))
        }
        Step::Back(which, kind, known) => {
            let sessions = lab.sessions();
            let session = sessions.get(usize::from(which) % sessions.len().max(1))?;
            let from = if known { SERVER } else { "203.0.113.7".parse().unwrap() };
            let payload = match session.protocol {
                Protocol::Udp => udp(53, session.external.1),
                Protocol::Icmp => Payload::EchoReply(session.external.1),
                Protocol::Tcp => Payload::Tcp(80, session.external.1, tcp(kind + 1)),
            };
            Some(packet4(from, session.external.0, payload))
        }
        Step::Wait(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn what_is_told_is_what_comes(
        steps in steps(), filtered in any::<bool>(), limit in prop::option::of(1..8_u32), blocks in any::<bool>(),
    ) {
        let mut policy = policy();
        policy.filtering = if filtered { Filtering::AddressDependent } else { Filtering::EndpointIndependent };
        policy.limits.sessions_per_subscriber = limit;
        policy.limits.stored_syns = 1;
        if blocks {
            policy.port_assignment = PortAssignment::Blocks(PortBlocks { size: 16, per_subscriber: 1 });
        }
        let mut lab = Lab::new(policy);
        for step in steps {
            if let Step::Wait(seconds) = step {
                lab.pass_time(Duration::from_secs(seconds.into()));
            }
            let Some(bytes) = packet(&lab, step) else { continue };
            let before = (lab.sessions(), lab.translator.usage());
            let told = preview(&lab, &bytes);
            prop_assert_eq!(&before, &(lab.sessions(), lab.translator.usage()), "nothing has happened");
            lab.worker.events.drain().for_each(drop);
            let came = lab.send(&bytes);
            let known = told.events.is_empty();
            let stored = came.verdict == Verdict::Held || came.verdict == Verdict::Dropped(DropReason::StoredSynLimit)
                || came.verdict == Verdict::Refused(DropReason::StoredSynLimit);
            prop_assert!(stored || told.verdict == came.verdict, "{:?} told, {:?} came", told.verdict, came.verdict);
            if known && matches!(came.verdict, Verdict::Translated(_)) {
                let mask = |mut packet: Vec<u8>| {
                    if packet[0] >> 4 == 4 {
                        // The identification, and the header checksum that covers it.
                        packet[4..6].fill(0);
                        packet[10..12].fill(0);
                    }
                    packet
                };
                prop_assert_eq!(mask(told.packet.unwrap()), mask(came.packet));
            }
            let made = |events: Vec<Event>| events.iter().map(|event| std::mem::discriminant(&event.kind)).collect::<Vec<_>>();
            if !stored {
                prop_assert_eq!(made(told.events), made(lab.worker.events.drain().collect()));
            }
        }
    }
}
