//! A model of the translator: plain maps, no speed, written from RFC 6146 and RFC 7915.
//!
//! It is told which pool ports the implementation chose, and checks that they may be chosen; all else it knows itself.

mod errors;
pub(crate) mod expected;
mod fragments;
mod packet;
mod ports;
mod state;
mod translate;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nat64_core::event::EventKind;
use nat64_core::policy::UdpZeroChecksum;
use nat64_core::{Direction, DropReason, Event, LinkMtus, Policy, Protocol, Timestamp, Verdict};
use pref64::special;

use self::expected::Expected;
use self::fragments::{Admission, Fragments};
use self::packet::{Segment, Stop, Upper, View, read, read_embedded};
use self::state::{Due, End4, End6, Packet, State, is_opening};
pub(crate) use self::state::{Note, SessionKey};
use self::translate::To;
use crate::support::build::Ends;
use crate::support::check::ends_of;

/// The model: a policy, the tables and the fragments.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) policy: Policy,
    pub(crate) state: State,
    /// MTUs of the next hops.
    pub(crate) links: LinkMtus,
    fragments: Fragments,
    now: Timestamp,
    /// What the implementation said that it did with the packet in hand.
    learned: Vec<Event>,
    made: Made,
}

/// What is to happen.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// What is to be in the buffer.
    pub(crate) packet: Option<Expected>,
    pub(crate) spilled: Vec<Expected>,
    pub(crate) drops: Vec<DropReason>,
}

#[derive(Debug)]
enum Passed {
    Translated(Expected),
    Hairpinned(Expected),
    Held,
    Refused(DropReason, Expected),
}

/// Where a packet from the IPv6 side goes.
#[derive(Clone, Copy)]
struct Target {
    prefix: usize,
    remote: Ipv4Addr,
}

impl Model {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            state: State::new(&policy),
            policy,
            links: LinkMtus::default(),
            fragments: Fragments::default(),
            now: Timestamp::ZERO,
            learned: Vec::new(),
            made: Made::default(),
        }
    }

    /// When something is to happen next. It may be up to a tenth of a second late.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.state.deadlines().chain(self.fragments.deadlines()).min()
    }

    /// Whether a timer may or may not have run out at that time.
    pub(crate) fn is_ambiguous(&self, at: Timestamp) -> bool {
        let late = |deadline: Timestamp| at.since(deadline).as_millis() <= 100 && at >= deadline;
        self.state.deadlines().chain(self.fragments.deadlines()).any(late)
    }

    /// Lets time pass, up to the next deadline at most.
    pub(crate) fn advance(&mut self, now: Timestamp) -> Made {
        self.now = now;
        let lost = self.fragments.expire(now);
        self.made.drops.extend(std::iter::repeat_n(DropReason::FragmentTimeout, lost));
        let Due { probes, syns } = self.state.expire(&self.policy, now);
        for ((host, port), (remote, remote_port), prefix) in probes {
            let ends = Ends::new(self.policy.prefixes[prefix].embed(remote), host);
            self.made.spilled.push(errors::probe(ends, remote_port, port));
        }
        for syn in syns {
            self.made.drops.push(DropReason::StoredSynTimeout);
            let answer = errors::answer(&self.policy, &syn, (3, 3, 0));
            let answer = answer.and_then(|error| self.towards_sender(error));
            self.made.spilled.extend(answer);
        }
        std::mem::take(&mut self.made)
    }

    /// Takes a packet. `learned` are the events that the implementation reported for it.
    pub(crate) fn packet(&mut self, bytes: &[u8], learned: Vec<Event>) -> (Verdict, Made) {
        self.learned = learned;
        let six = bytes.first().is_some_and(|first| first >> 4 == 6);
        let passed = match read(bytes) {
            Ok(view) if six => self.six_to_four(&view, bytes),
            Ok(view) => self.four_to_six(&view, bytes, false),
            Err(stop) => Err(stop),
        };
        // Whose packet cannot be read is told so only if it could have been translated otherwise.
        let unread = |reason| matches!(reason, DropReason::RoutingHeader | DropReason::SourceRoute);
        let passed = passed.map_err(|stop| {
            let silent = stop.silent || (unread(stop.reason) && !self.addresses_are_ours(bytes));
            Stop { silent, ..stop }
        });
        let direction = if six { Direction::SixToFour } else { Direction::FourToSix };
        let (verdict, packet) = match passed {
            Ok(Passed::Translated(packet)) => (Verdict::Translated(direction), Some(packet)),
            Ok(Passed::Hairpinned(packet)) => (Verdict::Hairpinned, Some(packet)),
            Ok(Passed::Held) => (Verdict::Held, None),
            Ok(Passed::Refused(reason, packet)) => {
                self.made.drops.push(reason);
                (Verdict::Refused(reason), Some(packet))
            }
            Err(stop) => {
                self.made.drops.push(stop.reason);
                match self.answer(bytes, stop).filter(|_| !stop.silent) {
                    Some(packet) => (Verdict::Refused(stop.reason), Some(packet)),
                    None => (Verdict::Dropped(stop.reason), None),
                }
            }
        };
        self.made.packet = packet;
        (verdict, std::mem::take(&mut self.made))
    }

    /// What the sender of a dropped packet is told.
    fn answer(&self, bytes: &[u8], stop: Stop) -> Option<Expected> {
        let six = bytes.first().is_some_and(|first| first >> 4 == 6);
        if six && stop.reason == DropReason::NoSession {
            return read(bytes).ok().filter(|_| self.policy.reset_unknown_tcp).and_then(|view| errors::reset(&view));
        }
        let protocol = if six { 0 } else { *bytes.get(9)? };
        let refusal = errors::refusal(six, stop.reason, stop.pointer, protocol)?;
        errors::answer(&self.policy, bytes, refusal)
    }

    /// RFC 6146 §3.4 to §3.8.
    fn six_to_four(&mut self, view: &View, bytes: &[u8]) -> Result<Passed, Stop> {
        let upper = view.upper().ok_or(DropReason::Malformed)?;
        let target = self.admit6(view.source6(), view.destination6())?;
        if view.hops <= 1 {
            return Err(DropReason::HopLimitExceeded.into());
        }
        if view.payload_len + 20 > 65_535 {
            return Err(DropReason::TooBig.into());
        }
        if self.in_pool(target.remote) && !self.policy.hairpinning {
            return Err(DropReason::AdministrativelyProhibited.into());
        }
        if view.fragment.is_some() {
            return self.fragment(view, upper, bytes);
        }
        let packet = if let Upper::Error { .. } = upper {
            self.error6(view, target)?
        } else {
            self.send_to_ipv4(view, upper, target, bytes.len())?
        };
        self.hairpin(packet, target)
    }

    /// Whether a packet's addresses are such that it could be translated.
    fn addresses_are_ours(&self, bytes: &[u8]) -> bool {
        match ends_of(bytes) {
            Ends { source: IpAddr::V6(source), destination: IpAddr::V6(destination) } => {
                self.admit6(source, destination).is_ok()
            }
            Ends { source: IpAddr::V4(source), destination: IpAddr::V4(destination) } => {
                self.in_pool(destination) && special::is_routable_unicast(source) && !self.in_pool(source)
            }
            mixed => panic!("one IP version at a time: {mixed:?}"),
        }
    }

    fn admit6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Result<Target, DropReason> {
        let link_local = source.segments()[0] & 0xffc0 == 0xfe80;
        let old = source.segments()[..5] == [0; 5];
        if source.is_multicast() || link_local || old {
            return Err(DropReason::IllegalSource);
        }
        if self.prefix_of(source).is_some() {
            return Err(DropReason::Loop);
        }
        let Target { prefix, remote } = self.target(destination).ok_or(DropReason::NotOurPrefix)?;
        if !special::is_routable_unicast(remote) {
            return Err(DropReason::IllegalDestination);
        }
        self.represent(prefix, remote)?;
        Ok(Target { prefix, remote })
    }

    fn prefix_of(&self, address: Ipv6Addr) -> Option<usize> {
        self.policy.prefixes.iter().position(|prefix| prefix.contains(address))
    }

    fn target(&self, address: Ipv6Addr) -> Option<Target> {
        let of = |(prefix, pref64): (usize, &pref64::Pref64)| {
            pref64.extract(address).map(|remote| Target { prefix, remote })
        };
        self.policy.prefixes.iter().enumerate().find_map(of)
    }

    /// RFC 6052 §3.1.
    fn represent(&self, prefix: usize, address: Ipv4Addr) -> Result<(), DropReason> {
        let permitted = self.policy.well_known.permits(self.policy.prefixes[prefix], address);
        if permitted { Ok(()) } else { Err(DropReason::WellKnownPrefix) }
    }

    fn in_pool(&self, address: Ipv4Addr) -> bool {
        self.policy.pool.iter().any(|range| (range.first..=range.last).contains(&address))
    }

    fn send_to_ipv4(&mut self, view: &View, upper: Upper, target: Target, len: usize) -> Result<Expected, Stop> {
        let (packet, from, to) = seen(upper, true, len)?;
        let internal = (view.source6(), from);
        let remote = (target.remote, to);
        let learned = self.learned.iter().find_map(|event| {
            let ours = event.kind == EventKind::MappingCreated
                && event.protocol == packet.protocol
                && event.internal == internal;
            ours.then_some(event.external)
        });
        if let Some(silent) = self.excluded(&packet, internal, remote) {
            return Err(Stop { silent, ..DropReason::AdministrativelyProhibited.into() });
        }
        let external =
            self.state.outbound(&self.policy, self.now, packet, (internal, remote, target.prefix), learned)?;
        let to = To { ends: Ends::new(external.0, remote.0), ports: (external.1, remote.1), id: external.1 };
        let own = view.upper().ok_or(DropReason::Malformed)?;
        Ok(translate::translated(&self.policy, view, own, &to))
    }

    /// Whether policy excludes a packet (RFC 6888 REQ-6), and if so whether silently.
    fn excluded(&self, packet: &Packet, internal: End6, remote: End4) -> Option<bool> {
        let rule = self.policy.exclusions.iter().find(|rule| {
            rule.source.is_none_or(|net| net.contains(&internal.0))
                && rule.destination.is_none_or(|net| net.contains(&remote.0))
                && rule.protocol.is_none_or(|protocol| protocol == packet.protocol)
                && rule
                    .ports
                    .is_none_or(|(first, last)| packet.protocol != Protocol::Icmp && (first..=last).contains(&remote.1))
        });
        rule.map(|rule| rule.silent)
    }

    /// RFC 6146 §3.8.
    fn hairpin(&mut self, packet: Expected, target: Target) -> Result<Passed, Stop> {
        if !self.in_pool(target.remote) {
            return Ok(Passed::Translated(packet));
        }
        let turned = read(&packet.bytes).and_then(|view| self.four_to_six(&view, &packet.bytes, true));
        match turned {
            Ok(Passed::Held) => Ok(Passed::Held),
            Ok(Passed::Translated(packet) | Passed::Hairpinned(packet) | Passed::Refused(_, packet)) => {
                Ok(Passed::Hairpinned(packet))
            }
            Err(stop) => match self.answer(&packet.bytes, stop).and_then(|error| self.towards_sender(error)) {
                Some(error) => Ok(Passed::Refused(stop.reason, error)),
                None => Err(Stop { silent: true, ..stop }),
            },
        }
    }

    /// An error of our own, which may be for a host behind the translator.
    fn towards_sender(&mut self, error: Expected) -> Option<Expected> {
        let view = read(&error.bytes).ok()?;
        if view.is_v6() || !self.in_pool(view.destination4()) {
            return Some(error);
        }
        match self.four_to_six(&view, &error.bytes, true) {
            Ok(Passed::Translated(error)) => Some(error),
            _ => None,
        }
    }

    /// RFC 6146 §3.4 to §3.7, from the other side.
    fn four_to_six(&mut self, view: &View, bytes: &[u8], hairpinned: bool) -> Result<Passed, Stop> {
        let upper = view.upper().ok_or(DropReason::Malformed)?;
        if !self.in_pool(view.destination4()) {
            return Err(DropReason::NotOurPool.into());
        }
        // RFC 7915 §4.1: errors are translated whoever sends them.
        let is_error = matches!(upper, Upper::Error { .. }) && view.fragment.is_none();
        if !is_error && !special::is_routable_unicast(view.source4()) {
            return Err(DropReason::IllegalSource.into());
        }
        if !hairpinned && self.in_pool(view.source4()) {
            return Err(DropReason::Loop.into());
        }
        if view.hops <= 1 {
            return Err(DropReason::HopLimitExceeded.into());
        }
        if view.fragment.is_some() {
            return self.fragment(view, upper, bytes);
        }
        if let Upper::Error { .. } = upper {
            return self.error4(view, hairpinned);
        }
        self.send_to_ipv6(view, upper, bytes)
    }

    fn send_to_ipv6(&mut self, view: &View, upper: Upper, bytes: &[u8]) -> Result<Passed, Stop> {
        let (packet, from, to) = seen(upper, false, bytes.len())?;
        let own = view.upper().ok_or(DropReason::Malformed)?;
        if matches!(upper, Upper::Udp { checksum: 0, .. })
            && self.policy.header.udp_zero_checksum == UdpZeroChecksum::Drop
        {
            return Err(DropReason::ZeroUdpChecksum.into());
        }
        let remote = (view.source4(), from);
        let external = (view.destination4(), to);
        let (policy, state) = (&self.policy, &mut self.state);
        let permitted = |prefix: usize| {
            let permitted = policy.well_known.permits(policy.prefixes[prefix], remote.0);
            if permitted { Ok(()) } else { Err(DropReason::WellKnownPrefix) }
        };
        let (internal, prefix) = match state.inbound(policy, self.now, packet, (external, remote), permitted) {
            Ok(found) => found,
            Err(DropReason::NoMapping | DropReason::Filtered) if is_opening(&packet) => {
                let deadline = self.now + policy.timers.tcp_incoming_syn;
                state.stored.entry((external, remote)).or_insert_with(|| (deadline, bytes.to_vec()));
                return Ok(Passed::Held);
            }
            Err(reason) => return Err(reason.into()),
        };
        let ends = Ends::new(policy.prefixes[prefix].embed(remote.0), internal.0);
        let to = To { ends, ports: (remote.1, internal.1), id: internal.1 };
        let packet = translate::translated(policy, view, own, &to);
        let split = if view.dont_fragment {
            None
        } else {
            let lowest = u32::from(policy.mtu.lowest_ipv6).min(self.links.ipv6.unwrap_or(u32::MAX));
            translate::split(&packet, view.identification, usize::try_from(lowest).unwrap())
        };
        match split {
            None => Ok(Passed::Translated(packet)),
            Some(fragments) => {
                self.made.spilled.extend(fragments);
                Ok(Passed::Held)
            }
        }
    }

    fn error6(&self, view: &View, target: Target) -> Result<Expected, Stop> {
        let inner = read_embedded(errors::original(view).0, true).ok_or(DropReason::BadEmbeddedPacket)?;
        let upper = inner.embedded_upper().ok_or(DropReason::BadEmbeddedPacket)?;
        let remote = self.target(inner.source6()).ok_or(DropReason::BadEmbeddedPacket)?.remote;
        let (packet, far, near) = seen(upper, false, 0).map_err(|_| DropReason::BadEmbeddedPacket)?;
        let host = inner.destination6();
        let mapping = self.state.mapping_towards(packet.protocol, (host, near), (remote, far));
        let external = self.state.mappings[&mapping.ok_or(DropReason::NoMapping)?].external;
        // RFC 6791: a router's own address has no counterpart.
        let router = self.policy.errors.source4.filter(|_| view.source6() != host);
        let ends = Ends::new(router.unwrap_or(external.0), target.remote);
        let to = To { ends: Ends::new(remote, external.0), ports: (far, external.1), id: external.1 };
        let links = self.links_of(self.in_pool(target.remote));
        Ok(errors::translated(&self.policy, links, view, ends, (&inner, &to))?)
    }

    fn error4(&self, view: &View, hairpinned: bool) -> Result<Passed, Stop> {
        let inner = read_embedded(errors::original(view).0, false).ok_or(DropReason::BadEmbeddedPacket)?;
        let upper = inner.embedded_upper().ok_or(DropReason::BadEmbeddedPacket)?;
        if !self.in_pool(inner.source4()) {
            return Err(DropReason::BadEmbeddedPacket.into());
        }
        let (packet, near, far) = seen(upper, true, 0).map_err(|_| DropReason::BadEmbeddedPacket)?;
        let external = (inner.source4(), near);
        let internal =
            self.state.owner(packet.protocol, external, (inner.destination4(), far)).ok_or(DropReason::NoMapping)?;
        let session = self.state.sessions.get(&(packet.protocol, internal, (inner.destination4(), far)));
        let prefix = session.map_or(0, |session| session.prefix);
        let embed = |address| IpAddr::V6(self.policy.prefixes[prefix].embed(address));
        let source = match self.represent(prefix, view.source4()) {
            Err(_) if !hairpinned => self.policy.errors.source6.map_or_else(|| embed(inner.destination4()), IpAddr::V6),
            _ => embed(view.source4()),
        };
        let ends = Ends { source, destination: internal.0.into() };
        let inner_ends = Ends { source: internal.0.into(), destination: embed(inner.destination4()) };
        let to = To { ends: inner_ends, ports: (internal.1, far), id: internal.1 };
        let links = self.links_of(hairpinned);
        Ok(Passed::Translated(errors::translated(&self.policy, links, view, ends, (&inner, &to))?))
    }

    /// The links that a packet goes over; one that is turned round goes over none of IPv4.
    fn links_of(&self, hairpinned: bool) -> LinkMtus {
        if hairpinned { LinkMtus { ipv4: None, ..self.links } } else { self.links }
    }

    fn fragment(&mut self, view: &View, upper: Upper, bytes: &[u8]) -> Result<Passed, Stop> {
        if upper == Upper::Other {
            return Err(DropReason::UnsupportedProtocol.into());
        }
        let lifetime = self.policy.timers.fragment;
        let computes = !view.is_v6() && self.policy.header.udp_zero_checksum == UdpZeroChecksum::Compute;
        let admission = self.fragments.admit(view, upper, self.now, lifetime, computes);
        match admission.map_err(|(reason, held)| self.lost(held)(reason.into()))? {
            Admission::Held => Ok(Passed::Held),
            Admission::Whole(whole, held) => {
                let whole_bytes = vec![0; whole.headers + whole.payload.len()];
                let passed = if whole.is_v6() {
                    self.six_to_four(&whole, &whole_bytes)
                } else {
                    self.four_to_six(&whole, &whole_bytes, true)
                };
                let passed = passed.map_err(self.lost(held))?;
                if let Passed::Translated(packet) | Passed::Hairpinned(packet) | Passed::Refused(_, packet) = passed {
                    self.made.spilled.push(packet);
                }
                Ok(Passed::Held)
            }
            Admission::Translate(first, early) => {
                let own = if upper == Upper::Tail { later(first) } else { upper };
                let passed = self.piece(view, own, first, bytes).map_err(self.lost(early.len()))?;
                for held in early {
                    let bytes = vec![0; held.headers + held.payload.len()];
                    match self.piece(&held, later(first), first, &bytes) {
                        Ok(Passed::Translated(packet) | Passed::Hairpinned(packet) | Passed::Refused(_, packet)) => {
                            self.made.spilled.push(packet);
                        }
                        Ok(Passed::Held) => {}
                        Err(stop) => self.made.drops.push(stop.reason),
                    }
                }
                Ok(passed)
            }
        }
    }

    /// Counts fragments that were held for one that is dropped.
    fn lost(&mut self, held: usize) -> impl FnOnce(Stop) -> Stop + '_ {
        move |stop| {
            self.made.drops.extend(std::iter::repeat_n(stop.reason, held));
            stop
        }
    }

    /// One fragment of a datagram that carries `upper`, and whose first fragment carried `first`.
    fn piece(&mut self, view: &View, upper: Upper, first: Upper, bytes: &[u8]) -> Result<Passed, Stop> {
        if view.is_v6() {
            let target = self.admit6(view.source6(), view.destination6())?;
            let protocol = match first {
                Upper::Tcp { .. } => 6,
                Upper::Udp { .. } => 17,
                _ => view.protocol,
            };
            let view = &View { protocol, ..view.clone() };
            let packet = self.send_to_ipv4(view, upper, target, bytes.len())?;
            self.hairpin(packet, target)
        } else {
            self.send_to_ipv6(view, upper, bytes)
        }
    }
}

/// A packet as the tables see it, and its source and destination port; the identifier is on the subscriber's side.
fn seen(upper: Upper, six: bool, bytes: usize) -> Result<(Packet, u16, u16), DropReason> {
    let packet = |protocol, segment| Packet { protocol, segment, bytes };
    let none = Segment::default();
    match upper {
        Upper::Tcp { from, to, segment } => Ok((packet(Protocol::Tcp, segment), from, to)),
        Upper::Udp { from, to, .. } => Ok((packet(Protocol::Udp, none), from, to)),
        Upper::Echo { id, .. } if six => Ok((packet(Protocol::Icmp, none), id, 0)),
        Upper::Echo { id, .. } => Ok((packet(Protocol::Icmp, none), 0, id)),
        Upper::OtherIcmp | Upper::Error { .. } => Err(DropReason::UntranslatableIcmp),
        Upper::Other => Err(DropReason::UnsupportedProtocol),
        Upper::Tail => Err(DropReason::Malformed),
    }
}

/// A fragment that is not the first has its datagram's ports; its segment has been seen.
fn later(first: Upper) -> Upper {
    if let Upper::Tcp { from, to, .. } = first { Upper::Tcp { from, to, segment: Segment::default() } } else { first }
}
