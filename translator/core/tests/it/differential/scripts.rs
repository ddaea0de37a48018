//! Random packets and pauses, many of which belong to each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nat64_core::Protocol;

use crate::model::Model;
use crate::support::build::{ACK, Body, Ends, FIN, Ip, RST, SYN, fragments, packet};
use crate::support::check::ends_of;

/// Hosts behind the translator; the first two are of one /64.
pub(super) const HOSTS: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 2),
    Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 1),
];
const REMOTES: [Ipv4Addr; 4] = [
    Ipv4Addr::new(198, 51, 100, 7),
    Ipv4Addr::new(8, 8, 8, 8),
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(203, 0, 113, 9),
];
const PORTS: [u16; 6] = [53, 80, 443, 4000, 4001, 50_001];

/// Random bytes, used up one by one.
pub(super) struct Entropy<'e>(&'e [u8]);

impl<'e> Entropy<'e> {
    pub(super) const fn new(bytes: &'e [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number below `bound`, which is at most 256.
    pub(super) fn pick(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) * bound / 256
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.pick(100) < percent
    }
}

/// What happens next.
pub(super) enum Step {
    Wait(u64),
    Packets(Vec<Vec<u8>>),
}

pub(super) fn step(entropy: &mut Entropy<'_>, model: &Model, history: &[Vec<u8>]) -> Step {
    let packet = match entropy.pick(100) {
        0..14 => return Step::Wait(wait(entropy)),
        14..50 => outbound(entropy, model),
        50..60 => unsolicited(entropy, model),
        60..80 => answer(entropy, model),
        80..95 => error(entropy, model, history),
        _ => odd(entropy, model),
    };
    let packets = if entropy.chance(20) { in_pieces(entropy, &packet) } else { vec![packet] };
    Step::Packets(packets.into_iter().map(|packet| damaged(entropy, packet)).collect())
}

fn wait(entropy: &mut Entropy<'_>) -> u64 {
    let unit = [1, 100, 1000, 1000, 60_000, 1_800_000][entropy.pick(6)];
    unit * u64::from(entropy.byte() % 8)
}

/// From a host to an address, sometimes a strange one.
fn outbound(entropy: &mut Entropy<'_>, model: &Model) -> Vec<u8> {
    let prefix = model.policy.prefixes[entropy.pick(model.policy.prefixes.len())];
    let remote = match entropy.pick(20) {
        0 => [Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(224, 0, 0, 1)]
            [entropy.pick(4)],
        1..5 => model.policy.pool[entropy.pick(model.policy.pool.len())].first,
        _ => REMOTES[entropy.pick(4)],
    };
    let source = match entropy.pick(30) {
        0 => [Ipv6Addr::LOCALHOST, prefix.embed(REMOTES[0]), "fe80::1".parse().unwrap(), "ff02::1".parse().unwrap()]
            [entropy.pick(4)],
        _ => HOSTS[entropy.pick(4)],
    };
    let destination = if entropy.chance(2) { HOSTS[1] } else { prefix.embed(remote) };
    let ends = Ends::new(source, destination);
    // A port of the pool, where another host may be reached.
    let known: Vec<u16> = model.state.mappings.values().map(|mapping| mapping.external.1).collect();
    let hairpin = model.policy.pool.iter().any(|range| range.first == remote) && !known.is_empty();
    let to = if hairpin && entropy.chance(80) { known[entropy.pick(known.len())] } else { port(entropy) };
    let from = port(entropy);
    let body = body(entropy, from, to);
    packet(ends, &ip(entropy, true), &body)
}

fn port(entropy: &mut Entropy<'_>) -> u16 {
    PORTS[entropy.pick(PORTS.len())]
}

fn body(entropy: &mut Entropy<'_>, from: u16, to: u16) -> Body {
    let data = data(entropy);
    match entropy.pick(10) {
        0..4 => Body::Udp { from, to, checksum: !entropy.chance(20), data },
        4..8 => tcp(entropy, from, to, data),
        _ => Body::Echo { reply: entropy.chance(20), id: if entropy.chance(50) { from } else { to }, data },
    }
}

fn tcp(entropy: &mut Entropy<'_>, from: u16, to: u16, data: Vec<u8>) -> Body {
    let flags = [SYN, SYN, SYN | ACK, ACK, ACK, FIN | ACK, FIN | ACK, RST, RST | ACK, 0, SYN | RST, SYN | FIN];
    let flags = flags[entropy.pick(flags.len())];
    let mss = entropy.chance(50).then_some([536, 1220, 1460, 8960][entropy.pick(4)]);
    let sequence = u32::from(entropy.word()) << [0, 8, 12, 16][entropy.pick(4)];
    let acknowledgment = u32::from(entropy.word()) << [0, 12][entropy.pick(2)];
    Body::Tcp { from, to, flags, sequence, acknowledgment, mss, data }
}

fn data(entropy: &mut Entropy<'_>) -> Vec<u8> {
    let len = [0, 1, 8, 33, 100, 1180, 1232, 1233, 1240, 1400, 1460, 3001][entropy.pick(12)];
    let seed = entropy.byte();
    (0..len).map(|at| u8::try_from((at * 7 + usize::from(seed)) % 251).unwrap()).collect()
}

fn ip(entropy: &mut Entropy<'_>, six: bool) -> Ip {
    let mut ip = Ip {
        hop_limit: if entropy.chance(8) { [0, 1, 2, 255][entropy.pick(4)] } else { 64 },
        traffic_class: if entropy.chance(30) { entropy.byte() } else { 0 },
        identification: entropy.word().into(),
        dont_fragment: entropy.chance(50),
        ..Ip::default()
    };
    if six && entropy.chance(8) {
        let segments_left = u8::from(entropy.chance(20));
        ip.extensions = [
            vec![(0, vec![0, 0, 1, 4, 0, 0, 0, 0])],
            vec![(60, vec![0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
            vec![(43, vec![0, 0, 0, segments_left, 0, 0, 0, 0])],
            vec![(0, vec![0, 0, 1, 4, 0, 0, 0, 0]), (60, vec![0, 0, 1, 4, 0, 0, 0, 0])],
        ][entropy.pick(4)]
        .clone();
    }
    if six && entropy.chance(4) {
        // An atomic fragment.
        ip.fragment = Some((0, false));
    }
    if !six && entropy.chance(8) {
        let pointer = if entropy.chance(50) { 4 } else { 8 };
        ip.options =
            [vec![1, 1, 1, 0], vec![131, 7, pointer, 10, 0, 0, 1, 0], vec![148, 4, 0, 0]][entropy.pick(3)].clone();
    }
    ip
}

/// From outside to a port that somebody may have.
fn unsolicited(entropy: &mut Entropy<'_>, model: &Model) -> Vec<u8> {
    let range = model.policy.pool[entropy.pick(model.policy.pool.len())];
    let mappings: Vec<_> = model.state.mappings.values().map(|mapping| mapping.external).collect();
    let external = if mappings.is_empty() || entropy.chance(30) {
        (range.first, range.first_port + u16::from(entropy.byte() % 12))
    } else {
        mappings[entropy.pick(mappings.len())]
    };
    let source = match entropy.pick(20) {
        0 => [Ipv4Addr::LOCALHOST, range.first, Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED][entropy.pick(4)],
        _ => REMOTES[entropy.pick(4)],
    };
    let destination = if entropy.chance(3) { REMOTES[1] } else { external.0 };
    let from = port(entropy);
    let body = body(entropy, from, external.1);
    packet(Ends::new(source, destination), &ip(entropy, false), &body)
}

/// Of a session, from either side.
fn answer(entropy: &mut Entropy<'_>, model: &Model) -> Vec<u8> {
    let sessions: Vec<_> = model.state.sessions.iter().collect();
    if sessions.is_empty() {
        return unsolicited(entropy, model);
    }
    let (&(protocol, internal, remote), session) = sessions[entropy.pick(sessions.len())];
    let external = model.state.mappings[&model.state.mapping_towards(protocol, internal, remote).unwrap()].external;
    let six = entropy.chance(40);
    let (ends, from, to) = if six {
        let destination = model.policy.prefixes[session.prefix].embed(remote.0);
        (Ends::new(internal.0, destination), internal.1, remote.1)
    } else {
        (Ends::new(remote.0, external.0), remote.1, external.1)
    };
    let data = data(entropy);
    let body = match protocol {
        Protocol::Tcp => tcp(entropy, from, to, data),
        Protocol::Udp => Body::Udp { from, to, checksum: !entropy.chance(10), data },
        Protocol::Icmp => Body::Echo { reply: !six || entropy.chance(30), id: if six { from } else { to }, data },
    };
    packet(ends, &ip(entropy, six), &body)
}

/// An ICMP error about something that came out.
fn error(entropy: &mut Entropy<'_>, model: &Model, history: &[Vec<u8>]) -> Vec<u8> {
    if history.is_empty() {
        return outbound(entropy, model);
    }
    let about = &history[entropy.pick(history.len())];
    let inner = ends_of(about);
    let six = inner.source.is_ipv6();
    let cut = [8, 20, 100, 520, 9000][entropy.pick(5)] + if six { 40 } else { 20 };
    let mut data: Vec<u8> = about.iter().copied().take(cut).collect();
    let router: IpAddr = match (six, entropy.chance(50)) {
        (_, true) => inner.destination,
        (true, false) => HOSTS[3].into(),
        (false, false) => REMOTES[entropy.pick(4)].into(),
    };
    let kinds: &[u8] = if six { &[1, 2, 3, 4, 1, 2, 3, 4, 100] } else { &[3, 3, 3, 4, 5, 11, 12, 13] };
    let kind = kinds[entropy.pick(kinds.len())];
    let code = u8::try_from(entropy.pick(16)).unwrap();
    let mut rest = match kind {
        2 if six => [0, 68, 1280, 1300, 1500, 70_000][entropy.pick(6)],
        3 if !six && code == 4 => [0, 68, 576, 1260, 1280, 1480][entropy.pick(6)],
        4 if six => entropy.pick(48).try_into().unwrap(),
        12 => u32::try_from(entropy.pick(24)).unwrap() << 24,
        _ => 0,
    };
    if entropy.chance(15) && matches!((six, kind), (true, 1 | 3) | (false, 3 | 11 | 12)) {
        data.resize(data.len().next_multiple_of(8).clamp(128, 512), 0);
        rest |= u32::try_from(data.len() / if six { 8 } else { 4 }).unwrap() << if six { 24 } else { 16 };
        data.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 1, 2, 3, 4]);
    }
    let ends = Ends { source: router, destination: inner.source };
    let mut ip = ip(entropy, six);
    ip.fragment = None;
    packet(ends, &ip, &Body::Icmp { kind, code, rest, data })
}

/// Other transports, other ICMP.
fn odd(entropy: &mut Entropy<'_>, model: &Model) -> Vec<u8> {
    let remote = REMOTES[entropy.pick(4)];
    let six = entropy.chance(50);
    let ends = if six {
        Ends::new(HOSTS[entropy.pick(4)], model.policy.prefixes[0].embed(remote))
    } else {
        Ends::new(remote, model.policy.pool[0].first)
    };
    let data = data(entropy);
    let body = if entropy.chance(50) {
        Body::Raw { protocol: [132, 50, 51, 58, 1, 59, 41][entropy.pick(7)], data }
    } else {
        Body::Icmp { kind: entropy.byte(), code: 0, rest: 0, data }
    };
    packet(ends, &ip(entropy, six), &body)
}

/// The fragments of a packet, in some order, perhaps not all, perhaps one twice.
fn in_pieces(entropy: &mut Entropy<'_>, whole: &[u8]) -> Vec<Vec<u8>> {
    let plain =
        if whole[0] >> 4 == 6 { matches!(whole[6], 6 | 17 | 58) } else { whole[0] == 0x45 && whole[6] & 0x3f == 0 };
    if !plain || whole.len() < 70 {
        return vec![whole.to_vec()];
    }
    let size = [24, 64, 512, 1232][entropy.pick(4)];
    let size = if whole.len() / size > 30 { 512 } else { size };
    let mut pieces = fragments(whole, size, entropy.word().into());
    match entropy.pick(4) {
        0 => pieces.reverse(),
        1 => {
            let (one, other) = (entropy.pick(pieces.len()), entropy.pick(pieces.len()));
            pieces.swap(one, other);
        }
        2 => {
            let again = pieces[entropy.pick(pieces.len())].clone();
            pieces.insert(entropy.pick(pieces.len()), again);
        }
        _ => {}
    }
    if entropy.chance(10) {
        pieces.remove(entropy.pick(pieces.len()));
    }
    pieces
}

/// Mostly as it is.
fn damaged(entropy: &mut Entropy<'_>, mut packet: Vec<u8>) -> Vec<u8> {
    let header = if packet[0] >> 4 == 6 { 40 } else { 20 };
    match entropy.pick(40) {
        // A wrong transport checksum, or data that changed on the way.
        0 | 1 if packet.len() > header => {
            let at = header + entropy.pick(packet.len().min(header + 40) - header);
            packet[at] ^= entropy.byte();
        }
        2 => {
            let at = entropy.pick(header);
            packet[at] = entropy.byte();
            if header == 20 && entropy.chance(70) && packet[0] == 0x45 {
                crate::model::expected::set_header_checksum(&mut packet);
            }
        }
        3 => packet.truncate(entropy.pick(packet.len().min(120) + 1)),
        4 => packet.extend([0; 7]),
        _ => {}
    }
    packet
}
