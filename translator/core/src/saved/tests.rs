use std::net::Ipv6Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::policy::{Exclusion, Limits, MappingBehavior, Policy, PoolRange, PortAssignment, PortBlocks, StaticMapping};
use crate::testing::{
    CLIENT, Flags, Lab, OTHER, POOL, Payload, SERVER, destination6, packet4, packet6, policy, ports, six,
};
use crate::{SessionInfo, Verdict};

fn saved(lab: &Lab) -> Vec<SavedSession> {
    let mut sessions = Vec::new();
    for shard in 0..lab.translator.shards() {
        lab.translator.save_sessions(shard, &mut |session| sessions.push(*session));
    }
    sessions
}

/// The next process, at the same time, with what could be taken over and what could not.
fn next(lab: &Lab, policy: Policy) -> (Lab, Vec<NotRestored>) {
    let mut next = Lab::new(policy);
    next.now = lab.now;
    let bytes: Vec<_> = saved(lab).iter().map(SavedSession::to_bytes).collect();
    let sessions = bytes.iter().map(|bytes| SavedSession::from_bytes(bytes).unwrap());
    let refused = sessions.filter_map(|session| next.translator.restore(next.now, &session).err()).collect();
    (next, refused)
}

fn listed(lab: &Lab) -> Vec<SessionInfo> {
    let mut sessions = lab.sessions();
    sessions.sort_by_key(|session| (session.protocol as u8, session.internal, session.remote));
    sessions
}

fn host(number: u16) -> Ipv6Addr {
    Ipv6Addr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, number])
}

/// Some traffic of every kind.
fn traffic(lab: &mut Lab) {
    for number in 0..40 {
        lab.pass(&packet6(host(number), six(SERVER), Payload::Udp(4000 + number, 53, b"x")));
        lab.pass(&packet6(host(number), six(SERVER), Payload::Udp(4000 + number, 54, b"x")));
        let syn = lab.pass(&packet6(host(number), six(SERVER), Payload::Tcp(number, 80, Flags::Syn)));
        if number % 2 == 0 {
            let address = <[u8; 4]>::try_from(&syn[12..16]).unwrap().into();
            lab.pass(&packet4(SERVER, address, Payload::Tcp(80, ports(&syn).0, Flags::SynAck)));
        }
        lab.pass(&packet6(host(number), six(SERVER), Payload::EchoRequest(number)));
        lab.pass_time(Duration::from_millis(700));
    }
}

#[test]
fn the_next_process_goes_on_where_this_one_ends_whatever_the_policy() {
    let wide = vec![PoolRange { last: "192.0.2.8".parse().unwrap(), ..PoolRange::address(POOL) }];
    let blocks = PortAssignment::Blocks(PortBlocks { size: 64, per_subscriber: 4 });
    let deterministic = PortAssignment::Deterministic("2001:db8:1::/117".parse().unwrap());
    for policy in [
        policy(),
        Policy { pool: wide.clone(), ..policy() },
        Policy { pool: wide.clone(), port_assignment: blocks, ..policy() },
        Policy { pool: wide.clone(), port_assignment: deterministic, ..policy() },
        Policy { pool: wide, mapping: MappingBehavior::AddressAndPortDependent, ..policy() },
        Policy { filtering: crate::policy::Filtering::AddressDependent, ..policy() },
    ] {
        let mut lab = Lab::new(policy.clone());
        traffic(&mut lab);

        let (mut after, refused) = next(&lab, policy);

        assert_eq!(refused, []);
        assert_eq!(listed(&after), listed(&lab));
        assert_eq!(
            after.translator.usage(),
            crate::Usage { pool_ports_taken: after.translator.usage().pool_ports_taken, ..lab.translator.usage() }
        );
        for number in 0..40 {
            let packet = packet6(host(number), six(SERVER), Payload::Udp(4000 + number, 53, b"y"));
            assert_eq!(after.pass(&packet)[12..], lab.pass(&packet)[12..], "the same addresses, ports and checksums");
        }
        let session = listed(&lab)[0];
        let (address, port) = session.external;
        let back = after.send(&packet4(SERVER, address, Payload::Tcp(80, port, Flags::Ack)));
        assert!(matches!(back.verdict, Verdict::Translated(_)), "{back:?}");
        assert_eq!(destination6(&back.packet), session.internal.0);
        after.pass_time(Duration::from_secs(3 * 3600));
        assert_eq!(
            (after.sessions(), after.mappings(), after.translator.usage().pool_ports_taken),
            (vec![], 0, [0; 3])
        );
    }
}

#[test]
fn lifetimes_go_on_from_where_they_are() {
    let mut lab = Lab::new(policy());
    lab.now = Timestamp::from_millis(1_000_000_000);
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Udp(4000, 53, b"x")));
    lab.pass_time(Duration::from_secs(200));
    let sessions = saved(&lab);
    lab.now = lab.now + Duration::from_secs(50);

    let mut after = Lab::new(policy());
    after.now = lab.now;
    after.translator.restore(after.now, &sessions[0]).unwrap();

    after.pass_time(Duration::from_secs(45));
    assert_eq!(after.sessions().len(), 1);
    after.pass_time(Duration::from_secs(10));
    assert_eq!(after.sessions(), []);
    assert_eq!(after.translator.restore(after.now, &sessions[0]), Err(NotRestored::Expired));
}

#[test]
fn what_the_policy_does_not_allow_any_more_is_left_out_and_leaves_nothing_behind() {
    let mut lab = Lab::new(policy());
    traffic(&mut lab);
    let count = lab.sessions().len();
    let elsewhere = PoolRange::address("192.0.2.77".parse().unwrap());
    let no_dns = Exclusion { ports: Some((53, 53)), ..Exclusion::default() };
    let few = Limits { sessions: 10, ..Limits::default() };
    let moved = StaticMapping { protocol: Protocol::Udp, internal: (OTHER, 9), external: lab.sessions()[0].external };
    for (policy, left, why) in [
        (Policy { pool: vec![elsewhere], ..policy() }, 0, NotRestored::NotAllowed),
        (Policy { prefixes: vec!["64:ff9b:1::/96".parse().unwrap()], ..policy() }, 0, NotRestored::NotAllowed),
        (Policy { exclusions: vec![no_dns], ..policy() }, count - 40, NotRestored::NotAllowed),
        (Policy { limits: few, ..policy() }, 10, NotRestored::TableFull),
    ] {
        let (after, refused) = next(&lab, policy);
        assert_eq!((after.sessions().len(), refused.len()), (left, count - left), "{why}");
        assert!(refused.iter().all(|other| *other == why));
        let mappings: std::collections::HashSet<_> =
            after.sessions().iter().map(|session| (session.protocol, session.external)).collect();
        assert_eq!(after.mappings() as usize, mappings.len());
    }
    let (after, refused) = next(&lab, Policy { static_mappings: vec![moved], ..policy() });
    assert!(after.sessions().len() < count || refused.is_empty());
}

#[test]
fn a_session_is_taken_over_once() {
    let mut lab = Lab::new(policy());
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Udp(4000, 53, b"x")));
    let session = saved(&lab)[0];
    assert_eq!(lab.translator.restore(lab.now, &session), Err(NotRestored::Taken));
    let elsewhere = SavedSession { external: (POOL, session.external.1 ^ 1), ..session };
    assert_eq!(lab.translator.restore(lab.now, &elsewhere), Err(NotRestored::Taken));
    let of_another = SavedSession { internal: (OTHER, 4000), ..session };
    assert_eq!(lab.translator.restore(lab.now, &of_another), Err(NotRestored::Taken));
    assert_eq!((lab.sessions().len(), lab.mappings()), (1, 1));
}

#[test]
fn connections_through_static_mappings_go_on_with_and_without_these() {
    let mapping = StaticMapping { protocol: Protocol::Tcp, internal: (CLIENT, 443), external: (POOL, 443) };
    let fixed = Policy { static_mappings: vec![mapping], ..policy() };
    let mut lab = Lab::new(fixed.clone());
    lab.pass(&packet4(SERVER, POOL, Payload::Tcp(6000, 443, Flags::Syn)));
    for policy in [fixed, policy()] {
        let (mut after, refused) = next(&lab, policy);
        assert_eq!(refused, []);
        let back = after.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(443, 6000, Flags::SynAck)));
        assert_eq!(ports(&back), (443, 6000));
    }
}

proptest! {
    #[test]
    fn bytes_are_a_session_or_nothing(bytes in prop::collection::vec(any::<u8>(), SavedSession::BYTES)) {
        let bytes = bytes.try_into().unwrap();
        if let Some(session) = SavedSession::from_bytes(&bytes) {
            prop_assert_eq!(SavedSession::from_bytes(&session.to_bytes()), Some(session));
            let lab = Lab::new(policy());
            let _ = lab.translator.restore(Timestamp::ZERO, &session);
        }
    }
}
