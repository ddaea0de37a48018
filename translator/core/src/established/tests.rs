use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::packet::checksum::Sum;
use crate::packet::{Gso, GsoKind, HEADROOM, Offload, PartialChecksum};
use crate::policy::PoolRange;
use crate::testing::{CLIENT, Flags, OTHER, POOL, Payload, SERVER, packet4, packet6, ports, six};
use crate::{SessionInfo, Timestamp, Translator, Verdict, Worker};

/// A packet of one of a few flows, from inside or back to one of the pool ports that were given out.
#[derive(Clone, Copy, Debug)]
struct Sent {
    from_inside: bool,
    flow: u8,
    tcp: Option<Flags>,
    change: Change,
    /// Milliseconds since the packet before.
    pause: u32,
}

/// What is done to the packet before it is sent.
#[derive(Clone, Copy, Debug)]
enum Change {
    None,
    /// The traffic class, or TOS octet.
    Class(u8),
    /// A byte of the headers.
    Byte(u8, u8),
    /// Bytes cut off at the end.
    Cut(u8),
    /// Bytes behind the packet.
    Pad(u8),
    /// The transport checksum is left to the device.
    PartialChecksum,
    /// The packet stands for three segments.
    Super,
}

fn flags() -> impl Strategy<Value = Flags> {
    prop_oneof![
        3 => Just(Flags::Syn), 3 => Just(Flags::SynAck), 6 => Just(Flags::Ack), 1 => Just(Flags::FinAck), 1 => Just(Flags::Rst)
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => Just(Change::None),
        3 => any::<u8>().prop_map(Change::Class),
        3 => (0..60_u8, any::<u8>()).prop_map(|(at, value)| Change::Byte(at, value)),
        1 => (1..70_u8).prop_map(Change::Cut),
        1 => (1..70_u8).prop_map(Change::Pad),
        2 => Just(Change::PartialChecksum),
        2 => Just(Change::Super),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    (any::<bool>(), 0..4_u8, proptest::option::of(flags()), change(), 0..100_000_u32)
        .prop_map(|(from_inside, flow, tcp, change, pause)| Sent { from_inside, flow, tcp, change, pause })
}

fn policies() -> impl Strategy<Value = Policy> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(refresh, class, hairpinning, resets)| {
        let mut policy = Policy::new(vec![crate::testing::prefix()], vec![PoolRange::address(POOL)]);
        policy.inbound_refresh = refresh;
        policy.header.copy_traffic_class = class;
        policy.header.tos = 0x48;
        policy.mtu.clamp_mss_to_ipv6_mtu = Some(1280);
        policy.hairpinning = hairpinning;
        policy.check_resets = resets;
        policy
    })
}

/// A translator and what it has done.
struct Way {
    translator: Translator,
    worker: Worker,
}

impl Way {
    fn new(policy: &Policy, short: bool) -> Self {
        let translator = Translator::new(policy.clone(), 7).unwrap();
        let mut terms = translator.terms().as_ref().clone();
        assert!(terms.vouched.is_some(), "the short way is what is tested");
        if !short {
            terms.vouched = None;
            translator.swap_terms(terms.into());
        }
        Self { translator, worker: Worker::new() }
    }

    fn send(&mut self, now: Timestamp, bytes: &[u8], offload: Offload) -> (Verdict, Vec<u8>, Offload) {
        let mut storage = vec![0; HEADROOM + bytes.len() + HEADROOM];
        storage[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        let mut packet = PacketBuf::new(&mut storage, HEADROOM, bytes.len(), offload);
        let verdict = self.translator.batch(now, &mut self.worker).translate(&mut packet);
        (verdict, packet.bytes().to_vec(), packet.offload)
    }

    fn sessions(&self, now: Timestamp) -> Vec<SessionInfo> {
        let mut sessions = Vec::new();
        for shard in 0..self.translator.shards() {
            self.translator.visit_sessions(shard, now, &mut |session| sessions.push(*session));
        }
        sessions
    }
}

/// The packet and what the device says of it; nothing if it is one to a pool port that was not given out yet.
fn packet(sent: Sent, given: &[Option<u16>]) -> Option<(Vec<u8>, Offload)> {
    let Sent { from_inside, flow, tcp, .. } = sent;
    let (host, near) = if flow % 2 == 0 { (CLIENT, 4000) } else { (OTHER, 5000) };
    let far = if flow < 2 { 80 } else { 443 };
    let data = [7; 30];
    let payload = |from, to| tcp.map_or(Payload::Udp(from, to, &data), |flags| Payload::Tcp(from, to, flags));
    let bytes = if from_inside {
        // One flow is to another host behind the same translator.
        let destination = if flow == 3 { POOL } else { SERVER };
        packet6(host, six(destination), payload(near, far))
    } else {
        let port = given[usize::from(flow) * 2 + usize::from(tcp.is_some())]?;
        packet4(SERVER, POOL, payload(far, port))
    };
    Some((bytes, Offload::default()))
}

fn changed((mut bytes, mut offload): (Vec<u8>, Offload), change: Change, tcp: bool) -> (Vec<u8>, Offload) {
    let six = bytes[0] >> 4 == 6;
    let header = if six { 40 } else { 20 };
    let checksum = PartialChecksum { start: header, offset: if tcp { 16 } else { 6 } };
    match change {
        Change::None => {}
        Change::Class(value) if six => {
            bytes[0] = 0x60 | value >> 4;
            bytes[1] = value << 4;
        }
        Change::Class(value) => {
            bytes[1] = value;
            bytes[10..12].fill(0);
            let checksum = Sum::ZERO.bytes(&bytes[..20]).checksum();
            bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        Change::Byte(at, value) => {
            let at = usize::from(at).min(bytes.len() - 1);
            bytes[at] = value;
        }
        Change::Cut(count) => bytes.truncate(bytes.len().saturating_sub(count.into()).max(1)),
        Change::Pad(count) => bytes.extend(vec![0xaa; count.into()]),
        Change::PartialChecksum => offload.checksum = Some(checksum),
        Change::Super => {
            let kind = match (tcp, six) {
                (true, true) => GsoKind::TcpV6,
                (true, false) => GsoKind::TcpV4,
                (false, _) => GsoKind::Udp,
            };
            offload.checksum = Some(checksum);
            offload.gso = Some(Gso { kind, segment_size: 10, header_len: 0, ecn: false });
        }
    }
    (bytes, offload)
}

proptest! {
    #[test]
    fn the_short_way_comes_to_the_same_as_the_whole_one(
        policy in policies(),
        history in proptest::collection::vec(sent(), 1..60),
    ) {
        let (mut short, mut whole) = (Way::new(&policy, true), Way::new(&policy, false));
        let mut given = [None; 8];
        let mut millis = 0;
        for sent in history {
            millis += u64::from(sent.pause);
            let now = Timestamp::from_millis(millis);
            let Some(plain) = packet(sent, &given) else { continue };
            let (bytes, offload) = changed(plain, sent.change, sent.tcp.is_some());
            let outcome = short.send(now, &bytes, offload);
            prop_assert_eq!(&outcome, &whole.send(now, &bytes, offload), "{:?}", sent);
            if outcome.0 == Verdict::Translated(Direction::SixToFour) && matches!(sent.change, Change::None) {
                given[usize::from(sent.flow) * 2 + usize::from(sent.tcp.is_some())] = Some(ports(&outcome.1).0);
            }
            prop_assert_eq!(short.sessions(now), whole.sessions(now), "{:?}", sent);
            for way in [&mut short, &mut whole] {
                way.translator.expire(now, &mut way.worker);
            }
        }
        prop_assert_eq!(format!("{:?}", short.worker.counters), format!("{:?}", whole.worker.counters));
    }
}

#[test]
fn a_policy_that_asks_more_of_packets_than_their_session_told_allows_no_short_way() {
    let plain = crate::testing::policy();
    assert!(sessions_vouch(&plain));
    let mut excluding = plain.clone();
    excluding.exclusions.push(crate::policy::Exclusion::default());
    let mut labelling = plain.clone();
    labelling.header.flow_label = FlowLabel::Hash;
    let mut two = plain;
    two.prefixes.push("2001:db8:65::/96".parse().unwrap());
    for policy in [excluding, labelling, two] {
        assert!(!sessions_vouch(&policy), "{policy:?}");
    }
}

#[test]
fn a_packet_of_a_session_takes_the_short_way() {
    let mut way = Way::new(&crate::testing::policy(), true);
    let now = Timestamp::ZERO + Duration::from_secs(1);
    let opening = packet6(CLIENT, six(SERVER), Payload::Udp(4000, 53, b"query"));
    let mut storage = vec![0; HEADROOM + opening.len()];
    let mut short = |way: &mut Way, bytes: &[u8]| {
        storage[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        let mut packet = PacketBuf::new(&mut storage, HEADROOM, bytes.len(), Offload::default());
        let mut batch = way.translator.batch(now, &mut way.worker);
        if bytes[0] >> 4 == 6 {
            batch.pass().established_six_to_four(&mut packet)
        } else {
            batch.pass().established_four_to_six(&mut packet)
        }
    };
    assert_eq!(short(&mut way, &opening), None, "there is no session yet");
    let (verdict, out, _) = way.send(now, &opening, Offload::default());
    assert_eq!(verdict, Verdict::Translated(Direction::SixToFour));
    assert_eq!(short(&mut way, &opening), Some(()));
    let back = packet4(SERVER, POOL, Payload::Udp(53, ports(&out).0, b"reply"));
    assert_eq!(short(&mut way, &back), Some(()));
    let stranger = packet4(std::net::Ipv4Addr::new(198, 51, 100, 99), POOL, Payload::Udp(53, ports(&out).0, b"reply"));
    assert_eq!(short(&mut way, &stranger), None);
}
