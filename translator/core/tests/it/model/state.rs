//! Mappings, sessions, ports and their timers (RFC 6146 §3.1 and §3.5).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use nat64_core::event::{EndReason, EventKind, Traffic};
use nat64_core::policy::{Filtering, MappingBehavior};
use nat64_core::{DropReason, Policy, Protocol, Timestamp};

use super::packet::Segment;
use crate::support::build::{ACK, FIN, RST, SYN};

pub(crate) type End6 = (Ipv6Addr, u16);
pub(crate) type End4 = (Ipv4Addr, u16);

/// The states of RFC 6146 §3.5.2.1; `Active` is that of UDP and ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TcpState {
    Active,
    V4Init,
    V6Init,
    Established,
    V4FinRcv,
    V6FinRcv,
    V6FinV4FinRcv,
    Trans,
}

impl TcpState {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::V4Init => "V4_INIT",
            Self::V6Init => "V6_INIT",
            Self::Established => "ESTABLISHED",
            Self::V4FinRcv => "V4_FIN_RCV",
            Self::V6FinRcv => "V6_FIN_RCV",
            Self::V6FinV4FinRcv => "V6_FIN_V4_FIN_RCV",
            Self::Trans => "TRANS",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    pub(crate) external: End4,
    pub(crate) fixed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) state: TcpState,
    pub(crate) prefix: usize,
    pub(crate) deadline: Timestamp,
    pub(crate) outbound: Traffic,
    pub(crate) inbound: Traffic,
    /// What each side was told to send next, that of the IPv6 side first.
    expected: [Option<u32>; 2],
}

/// A packet as the tables see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) protocol: Protocol,
    /// For TCP.
    pub(crate) segment: Segment,
    pub(crate) bytes: usize,
}

impl Packet {
    fn opens(&self) -> bool {
        match self.protocol {
            Protocol::Tcp => self.segment.flags & (SYN | RST) == SYN,
            Protocol::Udp | Protocol::Icmp => true,
        }
    }
}

/// An event without its time.
pub(crate) type Note = (EventKind, Protocol, End6, End4, Option<End4>);

/// What a mapping is found by; the remote end only where mapping depends on it.
pub(crate) type MappingKey = (Protocol, End6, Option<End4>);
/// A port that rests, towards one remote end only where mapping depends on it.
pub(crate) type RestingKey = (Protocol, End4, Option<End4>);
/// What a session is found by.
pub(crate) type SessionKey = (Protocol, End6, End4);

/// What is to be sent because of the time.
#[derive(Debug)]
pub(crate) struct Due {
    /// Sessions to probe, with the prefix that the remote end is shown under.
    pub(crate) probes: Vec<(End6, End4, usize)>,
    /// SYNs to answer.
    pub(crate) syns: Vec<Vec<u8>>,
}

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) mappings: BTreeMap<MappingKey, Mapping>,
    pub(crate) sessions: BTreeMap<SessionKey, Session>,
    /// Ports that may not be used yet, and until when.
    pub(crate) resting: BTreeMap<RestingKey, Timestamp>,
    /// SYNs by pool end and remote end.
    pub(crate) stored: BTreeMap<(End4, End4), (Timestamp, Vec<u8>)>,
    /// The pool address of each subscriber that has mappings.
    pub(crate) paired: BTreeMap<u128, Ipv4Addr>,
    /// Blocks of ports, by their first, and whose they are.
    pub(crate) blocks: BTreeMap<End4, u128>,
    /// How many mappings a subscriber has opened in a second.
    opened: BTreeMap<(u128, u64), u32>,
    pub(crate) notes: Vec<Note>,
}

impl State {
    pub(crate) fn new(policy: &Policy) -> Self {
        let mut state = Self::default();
        for mapping in &policy.static_mappings {
            state.insert_mapping(policy, (mapping.protocol, mapping.internal, None), mapping.external, true);
        }
        // Nobody is told of what was there from the start.
        state.notes.clear();
        state
    }

    /// From the IPv6 side. `learn` tells which port the implementation chose for a new mapping, if it made one.
    pub(crate) fn outbound(
        &mut self,
        policy: &Policy,
        now: Timestamp,
        packet: Packet,
        (internal, remote, prefix): (End6, End4, usize),
        learned: Option<End4>,
    ) -> Result<End4, DropReason> {
        let protocol = packet.protocol;
        let key = (protocol, internal, remote);
        let mapping = self.mapping_towards(protocol, internal, remote);
        if let (Some(session), Some(mapping)) = (self.sessions.get_mut(&key), mapping) {
            session.refresh(policy, now, packet, Side::Six);
            return Ok(self.mappings[&mapping].external);
        }
        let external = match mapping.map(|mapping| self.mappings[&mapping].external) {
            // RFC 6146 §3.5.2.2, CLOSED: what is no SYN is translated by a mapping alone.
            Some(external) if !packet.opens() => return Ok(external),
            Some(external) => {
                self.room(policy, internal.0, Side::Six).inspect_err(|reason| self.refused(*reason, key))?;
                external
            }
            None if !packet.opens() => return Err(DropReason::NoSession),
            None => {
                let chosen = self
                    .room_for_mapping(policy, now, internal.0)
                    .and_then(|()| self.check_choice(policy, key, learned))
                    .inspect_err(|reason| self.refused(*reason, key))?;
                let scope = (policy.mapping == MappingBehavior::AddressAndPortDependent).then_some(remote);
                self.insert_mapping(policy, (protocol, internal, scope), chosen, false);
                let of = subscriber(policy, internal.0);
                *self.opened.entry((of, now.as_millis() / 1000)).or_default() += 1;
                chosen
            }
        };
        let simultaneous = protocol == Protocol::Tcp && self.stored.remove(&(external, remote)).is_some();
        let state = match protocol {
            Protocol::Tcp if simultaneous => TcpState::Established,
            Protocol::Tcp => TcpState::V6Init,
            Protocol::Udp | Protocol::Icmp => TcpState::Active,
        };
        let lifetime = if simultaneous { policy.timers.tcp_established } else { opening(policy, protocol) };
        let mut session = Session::new(state, prefix, now + lifetime);
        session.count(packet, Side::Six);
        self.insert_session(key, external, session);
        Ok(external)
    }

    /// From the IPv4 side. Returns the host inside and the prefix to show the sender under. `represent` says whether
    /// the prefix may stand for the sender.
    pub(crate) fn inbound(
        &mut self,
        policy: &Policy,
        now: Timestamp,
        packet: Packet,
        (external, remote): (End4, End4),
        represent: impl Fn(usize) -> Result<(), DropReason>,
    ) -> Result<(End6, usize), DropReason> {
        let protocol = packet.protocol;
        let internal = self.owner(protocol, external, remote).ok_or(DropReason::NoMapping)?;
        let key = (protocol, internal, remote);
        if let Some(session) = self.sessions.get_mut(&key) {
            session.refresh(policy, now, packet, Side::Four);
            represent(session.prefix)?;
            return Ok((internal, session.prefix));
        }
        let knows = |&(p, i, r): &SessionKey| p == protocol && i == internal && r.0 == remote.0;
        if policy.filtering == Filtering::AddressDependent && !self.sessions.keys().any(knows) {
            return Err(DropReason::Filtered);
        }
        represent(0)?;
        if packet.opens() {
            if let Err(reason) = self.room(policy, internal.0, Side::Four) {
                self.notes.push((EventKind::Refused(reason), protocol, internal, external, Some(remote)));
                return Err(reason);
            }
            if protocol == Protocol::Tcp {
                self.stored.remove(&(external, remote));
            }
            let state = if protocol == Protocol::Tcp { TcpState::V4Init } else { TcpState::Active };
            let mut session = Session::new(state, 0, now + opening(policy, protocol));
            session.count(packet, Side::Four);
            self.insert_session(key, external, session);
        }
        Ok((internal, 0))
    }

    /// The host that a pool end belongs to, for a remote end.
    pub(crate) fn owner(&self, protocol: Protocol, external: End4, remote: End4) -> Option<End6> {
        let mut all = self.mappings.iter();
        let ours = |key: &MappingKey| key.0 == protocol && key.2.is_none_or(|scope| scope == remote);
        all.find(|(key, mapping)| ours(key) && mapping.external == external).map(|(key, _)| key.1)
    }

    /// The mapping that a host's packets to a remote end use.
    pub(crate) fn mapping_towards(&self, protocol: Protocol, internal: End6, remote: End4) -> Option<MappingKey> {
        let keys = [(protocol, internal, None), (protocol, internal, Some(remote))];
        keys.into_iter().find(|key| self.mappings.contains_key(key))
    }

    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let sessions = self.sessions.values().map(|session| session.deadline);
        sessions.chain(self.resting.values().copied()).chain(self.stored.values().map(|(deadline, _)| *deadline))
    }

    /// Lets everything end that is due.
    pub(crate) fn expire(&mut self, policy: &Policy, now: Timestamp) -> Due {
        self.resting.retain(|_, until| *until > now);
        let answered: Vec<_> =
            self.stored.iter().filter(|(_, (deadline, _))| *deadline <= now).map(|(k, _)| *k).collect();
        let syns = answered.into_iter().filter_map(|ends| self.stored.remove(&ends)).map(|(_, syn)| syn).collect();
        let mut probes = Vec::new();
        let due: Vec<_> = self.sessions.iter().filter(|(_, s)| s.deadline <= now).map(|(key, _)| *key).collect();
        for key in due {
            let session = self.sessions.get_mut(&key).unwrap();
            if session.state == TcpState::Established {
                session.state = TcpState::Trans;
                session.deadline = now + policy.timers.tcp_transitory;
                probes.push((key.1, key.2, session.prefix));
            } else {
                self.end_session(policy, now, key);
            }
        }
        self.release_blocks(policy);
        Due { probes, syns }
    }

    /// Whether limits allow a session that a side opens; the last quarter is for the IPv6 side.
    fn room(&self, policy: &Policy, host: Ipv6Addr, opener: Side) -> Result<(), DropReason> {
        let part = |limit: u32| if opener == Side::Four { limit - limit / 4 } else { limit } as usize;
        let of = subscriber(policy, host);
        let own = self.sessions.keys().filter(|key| subscriber(policy, key.1.0) == of).count();
        if self.sessions.len() >= part(policy.limits.sessions) {
            return Err(DropReason::TableFull);
        }
        let full = policy.limits.sessions_per_subscriber.is_some_and(|limit| own >= part(limit));
        if full { Err(DropReason::SubscriberLimit) } else { Ok(()) }
    }

    /// Whether limits allow a mapping and its first session.
    fn room_for_mapping(&self, policy: &Policy, now: Timestamp, host: Ipv6Addr) -> Result<(), DropReason> {
        let of = subscriber(policy, host);
        let own = self.mappings.keys().filter(|key| subscriber(policy, key.1.0) == of).count();
        if self.mappings.len() >= policy.limits.mappings as usize {
            return Err(DropReason::TableFull);
        }
        if policy.limits.mappings_per_subscriber.is_some_and(|limit| own >= limit as usize) {
            return Err(DropReason::SubscriberLimit);
        }
        self.room(policy, host, Side::Six)?;
        let opened = self.opened.get(&(of, now.as_millis() / 1000)).copied().unwrap_or_default();
        let fast = policy.limits.new_mappings_per_second.is_some_and(|limit| opened >= limit);
        if fast { Err(DropReason::SubscriberLimit) } else { Ok(()) }
    }

    fn end_session(&mut self, policy: &Policy, now: Timestamp, key: SessionKey) {
        let (protocol, internal, remote) = key;
        let session = self.sessions.remove(&key).unwrap();
        let mapping_key = self.mapping_towards(protocol, internal, remote).unwrap();
        let Mapping { external, fixed } = self.mappings[&mapping_key];
        let Session { outbound, inbound, .. } = session;
        let ended = EventKind::SessionEnded { reason: EndReason::Timeout, outbound, inbound };
        self.notes.push((ended, protocol, internal, external, Some(remote)));
        let shares = |other: &&SessionKey| self.mapping_towards(other.0, other.1, other.2) == Some(mapping_key);
        if fixed || self.sessions.keys().any(|other| shares(&other)) {
            return;
        }
        self.mappings.remove(&mapping_key);
        self.notes.push((EventKind::MappingRemoved, protocol, internal, external, None));
        // RFC 6888 REQ-8: the port rests, unless TCP closed it.
        let rest = policy.timers.port_quarantine;
        if session.state != TcpState::V6FinV4FinRcv && !rest.is_zero() {
            self.resting.insert((protocol, external, mapping_key.2), now + rest);
        }
        let of = subscriber(policy, internal.0);
        if !self.mappings.keys().any(|key| subscriber(policy, key.1.0) == of) {
            self.paired.remove(&of);
            self.opened.retain(|(subscriber, _), _| *subscriber != of);
        }
    }

    fn insert_mapping(&mut self, policy: &Policy, key: MappingKey, external: End4, fixed: bool) {
        self.paired.entry(subscriber(policy, key.1.0)).or_insert(external.0);
        self.mappings.insert(key, Mapping { external, fixed });
        self.notes.push((EventKind::MappingCreated, key.0, key.1, external, None));
    }

    fn insert_session(&mut self, (protocol, internal, remote): SessionKey, external: End4, session: Session) {
        self.sessions.insert((protocol, internal, remote), session);
        self.notes.push((EventKind::SessionCreated, protocol, internal, external, Some(remote)));
    }

    fn refused(&mut self, reason: DropReason, (protocol, internal, remote): SessionKey) {
        let nowhere = (Ipv4Addr::UNSPECIFIED, 0);
        self.notes.push((EventKind::Refused(reason), protocol, internal, nowhere, Some(remote)));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Six,
    Four,
}

impl Session {
    const fn new(state: TcpState, prefix: usize, deadline: Timestamp) -> Self {
        let none = Traffic { packets: 0, bytes: 0 };
        Self { state, prefix, deadline, outbound: none, inbound: none, expected: [None; 2] }
    }

    fn count(&mut self, packet: Packet, side: Side) {
        let traffic = if side == Side::Six { &mut self.outbound } else { &mut self.inbound };
        traffic.packets += 1;
        traffic.bytes += packet.bytes as u64;
    }

    fn refresh(&mut self, policy: &Policy, now: Timestamp, packet: Packet, side: Side) {
        self.count(packet, side);
        let timers = &policy.timers;
        let lifetime = match packet.protocol {
            Protocol::Udp | Protocol::Icmp if side == Side::Four && !policy.inbound_refresh => None,
            Protocol::Udp => Some(timers.udp),
            Protocol::Icmp => Some(timers.icmp),
            Protocol::Tcp if !self.note(packet.segment, side) && policy.check_resets => None,
            Protocol::Tcp => self.segment(policy, packet.segment.flags, side),
        };
        if let Some(lifetime) = lifetime {
            self.deadline = now + lifetime;
        }
    }

    /// Whether a segment may change the state: a reset only if its sequence number is near what the other end said
    /// that it expects (RFC 7857 §2.2).
    fn note(&mut self, segment: Segment, side: Side) -> bool {
        let [from_six, from_four] = &mut self.expected;
        let (own, opposite) = if side == Side::Six { (from_six, from_four) } else { (from_four, from_six) };
        if segment.flags & RST != 0 {
            let distance = own.map(|expected| segment.sequence.wrapping_sub(expected).cast_signed().unsigned_abs());
            return distance.is_none_or(|distance| distance <= 16 << 20);
        }
        if segment.flags & ACK != 0 {
            *opposite = Some(segment.acknowledgment).filter(|expected| *expected != 0);
        }
        true
    }

    /// RFC 6146 §3.5.2.2, state by state. Returns the new lifetime, if it starts again.
    fn segment(&mut self, policy: &Policy, flags: u8, side: Side) -> Option<Duration> {
        let (established, transitory) = (Some(policy.timers.tcp_established), Some(policy.timers.tcp_transitory));
        let opening = Some(policy.timers.tcp_opening);
        let rst = flags & RST != 0;
        let syn = flags & SYN != 0 && !rst;
        let fin = flags & FIN != 0 && !syn && !rst;
        let other_side_syn = syn && (self.state == TcpState::V6Init) == (side == Side::Four);
        let other_side_fin = fin && (self.state == TcpState::V6FinRcv) == (side == Side::Four);
        let (state, lifetime) = match self.state {
            TcpState::V6Init | TcpState::V4Init if other_side_syn => (TcpState::Established, established),
            TcpState::V6Init if syn && side == Side::Six => (TcpState::V6Init, opening),
            // RFC 7857 §2.2: of connections that one side has closed, too.
            TcpState::Established | TcpState::V4FinRcv | TcpState::V6FinRcv if rst => (TcpState::Trans, transitory),
            TcpState::Established if fin && side == Side::Six => (TcpState::V6FinRcv, None),
            TcpState::Established if fin => (TcpState::V4FinRcv, None),
            TcpState::Established => (TcpState::Established, established),
            TcpState::V4FinRcv | TcpState::V6FinRcv if other_side_fin => {
                (TcpState::V6FinV4FinRcv, Some(policy.timers.tcp_closing))
            }
            TcpState::V4FinRcv | TcpState::V6FinRcv => (self.state, established),
            // A new connection between the same ends, for which the RFC has no row.
            TcpState::V6FinV4FinRcv if syn && side == Side::Six => (TcpState::V6Init, opening),
            TcpState::V6FinV4FinRcv if syn => (TcpState::V4Init, opening),
            TcpState::Trans if !rst => (TcpState::Established, established),
            unchanged @ (TcpState::V6FinV4FinRcv
            | TcpState::Trans
            | TcpState::V6Init
            | TcpState::V4Init
            | TcpState::Active) => (unchanged, None),
        };
        // RFC 7857 §5 and policy: what comes from outside keeps nothing alive, unless it changes the state.
        let keeps = policy.inbound_refresh || side == Side::Six || self.state != state;
        self.state = state;
        lifetime.filter(|_| keeps)
    }
}

/// Whether a segment from outside asks for a connection.
pub(crate) const fn is_opening(packet: &Packet) -> bool {
    matches!(packet.protocol, Protocol::Tcp) && packet.segment.flags & (SYN | ACK | RST) == SYN
}

fn opening(policy: &Policy, protocol: Protocol) -> Duration {
    match protocol {
        Protocol::Tcp => policy.timers.tcp_opening,
        Protocol::Udp => policy.timers.udp,
        Protocol::Icmp => policy.timers.icmp,
    }
}

/// The source prefix that names a subscriber.
pub(super) fn subscriber(policy: &Policy, host: Ipv6Addr) -> u128 {
    host.to_bits() >> (128 - u32::from(policy.subscriber_length))
}
