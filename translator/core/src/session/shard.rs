//! One shard of the state: the mappings and sessions of some subscribers (RFC 6146 §3.5).
//!
//! A new packet is checked in full before a table is touched, so that what is refused leaves nothing behind.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use hashbrown::{HashMap, HashTable};

use super::entry::{Mapping, MappingKind, Session, Subscriber, Tally};
use super::pool::{AddressIndex, External, Pool, Wish};
use super::slab::Slab;
use super::stored_syn::StoredSyns;
use super::tcp::{Lifetime, Segment, TcpState, step};
use super::totals::Totals;
use super::wheel::{Links, Step, Tick, Wheel};
use crate::event::{EndReason, Event, EventBuffer, EventKind};
use crate::packet::{Protocol, tcp_flags};
use crate::policy::{Filtering, Policy};
use crate::random::Random;
use crate::time::Timestamp;
use crate::verdict::{Direction, DropReason};

/// What a packet is to the session tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// UDP, or an echo request: it may start a session.
    Datagram,
    /// An echo reply: it belongs to a session or is nobody's.
    Reply,
    /// TCP, with the flags of the segment.
    Tcp(u8),
}

/// A packet from the IPv6 side, as the tables see it. ICMP has the identifier as source port and zero as remote port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    pub(crate) protocol: Protocol,
    pub(crate) source: Ipv6Addr,
    pub(crate) source_port: u16,
    pub(crate) remote: Ipv4Addr,
    pub(crate) remote_port: u16,
    /// Index of the translation prefix that the destination is under.
    pub(crate) prefix: u8,
    pub(crate) trigger: Trigger,
    pub(crate) packets: u32,
    pub(crate) bytes: u32,
}

/// A packet from the IPv4 side to a mapping, as the tables see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    pub(crate) protocol: Protocol,
    pub(crate) external: External,
    pub(crate) remote: Ipv4Addr,
    pub(crate) remote_port: u16,
    pub(crate) trigger: Trigger,
    pub(crate) packets: u32,
    pub(crate) bytes: u32,
}

/// Where a packet from the IPv4 side goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Internal {
    pub(crate) address: Ipv6Addr,
    pub(crate) port: u16,
    /// Index of the translation prefix to show the remote host under.
    pub(crate) prefix: u8,
}

/// An established TCP session that has been silent for its lifetime and is to be probed (RFC 6146 §3.5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) internal: Internal,
    pub(crate) remote: Ipv4Addr,
    pub(crate) remote_port: u16,
}

/// What the tables need from outside.
pub(crate) struct Context<'c> {
    pub(crate) policy: &'c Policy,
    pub(crate) pool: &'c Pool,
    pub(crate) totals: &'c Totals,
    pub(crate) stored_syns: &'c StoredSyns,
    pub(crate) now: Timestamp,
    pub(crate) tick: Tick,
    pub(crate) events: &'c mut EventBuffer,
}

/// Keyed hashes of what the tables are looked up by.
#[derive(Clone, Debug)]
pub(crate) struct Keys(SeedableRandomState);

impl Keys {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeedableRandomState::with_seed(seed, SharedSeed::global_random()))
    }

    #[inline]
    fn internal(&self, protocol: Protocol, address: Ipv6Addr, port: u16) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u128(address.to_bits());
        hasher.write_u32(u32::from(port) << 8 | protocol as u32);
        hasher.finish()
    }

    #[inline]
    fn remote(&self, mapping: u32, address: Ipv4Addr, port: u16) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(u64::from(mapping) << 32 | u64::from(address.to_bits()));
        hasher.write_u16(port);
        hasher.finish()
    }

    #[inline]
    pub(crate) fn subscriber(&self, prefix: u128) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u128(prefix);
        hasher.finish()
    }
}

/// The tables of one shard.
#[derive(Debug)]
pub(crate) struct Shard {
    /// This shard's number, which the slots of its ports carry.
    number: u32,
    keys: Keys,
    mappings: Slab<Mapping>,
    by_internal: HashTable<u32>,
    sessions: Slab<Session>,
    by_remote: HashTable<u32>,
    subscribers: Slab<Subscriber>,
    by_prefix: HashTable<u32>,
    /// How many sessions a mapping has with an IPv4 host; kept under address-dependent filtering only.
    peers: HashMap<(u32, Ipv4Addr), u32, SeedableRandomState>,
    wheel: Wheel,
    /// Ports that rest before they are free again, oldest first (RFC 6888 REQ-8).
    resting: VecDeque<(Tick, Protocol, External)>,
    random: Random,
}

/// Bits of a slot that hold a mapping's index; the shard's number is above them.
const INDEX_BITS: u32 = 26;

/// The shard and the mapping that a port's slot names.
#[inline]
pub(crate) const fn slot_owner(slot: u32) -> Option<(u32, u32)> {
    match slot.checked_sub(1) {
        Some(value) => Some((value >> INDEX_BITS, value & ((1 << INDEX_BITS) - 1))),
        None => None,
    }
}

/// A mapping that is to be made once nothing can fail any more.
struct Plan {
    external: External,
    subscriber: Option<u32>,
    prefix: u128,
}

impl Shard {
    pub(crate) fn new(number: u32, keys: Keys, seed: u64) -> Self {
        Self {
            number,
            peers: HashMap::with_hasher(keys.0.clone()),
            keys,
            mappings: Slab::new(),
            by_internal: HashTable::new(),
            sessions: Slab::new(),
            by_remote: HashTable::new(),
            subscribers: Slab::new(),
            by_prefix: HashTable::new(),
            wheel: Wheel::new(),
            resting: VecDeque::new(),
            random: Random::new(seed, u64::from(number) + 1),
        }
    }

    /// Takes a packet from the IPv6 side through the tables: the pool address and port to send it from.
    #[inline]
    pub(crate) fn outbound(&mut self, context: &mut Context<'_>, packet: &Outgoing) -> Result<External, DropReason> {
        let Some(mapping) = self.mapping_of(packet.protocol, packet.source, packet.source_port) else {
            return self.open_mapping(context, packet);
        };
        let external = self.mappings[mapping].external;
        match self.session_of(mapping, packet.remote, packet.remote_port) {
            Some(session) => {
                self.refresh(context, session, packet.protocol, packet.trigger, Direction::SixToFour);
                self.sessions[session].outbound.add(packet.packets, packet.bytes);
            }
            None => self.open_session_from_inside(context, mapping, packet)?,
        }
        Ok(external)
    }

    /// Takes a packet from the IPv4 side through the tables: the host to send it to.
    #[inline]
    pub(crate) fn inbound(
        &mut self,
        context: &mut Context<'_>,
        mapping: u32,
        packet: &Incoming,
    ) -> Result<Internal, DropReason> {
        if !self.owns(mapping, packet.protocol, packet.external) {
            return Err(DropReason::NoMapping);
        }
        let Mapping { internal, internal_port, .. } = self.mappings[mapping];
        let prefix = match self.session_of(mapping, packet.remote, packet.remote_port) {
            Some(session) => {
                self.refresh(context, session, packet.protocol, packet.trigger, Direction::FourToSix);
                self.sessions[session].inbound.add(packet.packets, packet.bytes);
                self.sessions[session].prefix
            }
            None => self.open_session_from_outside(context, mapping, packet)?,
        };
        Ok(Internal { address: internal, port: internal_port, prefix })
    }

    /// The pool address and port of a host's own, for the packet inside an ICMP error that the host's side sent.
    pub(crate) fn external_of(&self, protocol: Protocol, address: Ipv6Addr, port: u16) -> Option<External> {
        self.mapping_of(protocol, address, port).map(|mapping| self.mappings[mapping].external)
    }

    /// The host that a pool address and port belong to, for the packet inside an ICMP error from the IPv4 side.
    pub(crate) fn internal_of(
        &self,
        mapping: u32,
        protocol: Protocol,
        external: External,
        remote: (Ipv4Addr, u16),
    ) -> Option<Internal> {
        let session = || self.session_of(mapping, remote.0, remote.1);
        self.owns(mapping, protocol, external).then(|| Internal {
            address: self.mappings[mapping].internal,
            port: self.mappings[mapping].internal_port,
            prefix: session().map_or(0, |session| self.sessions[session].prefix),
        })
    }

    /// Does up to `budget` steps of what timers are due. Returns whether more is due.
    pub(crate) fn expire(&mut self, context: &mut Context<'_>, budget: u32, probe: &mut dyn FnMut(Probe)) -> bool {
        self.wake_rested_ports(context);
        for _ in 0..budget {
            match self.wheel.step(&mut self.sessions, context.tick) {
                Step::Due(session) => self.time_out(context, session, probe),
                Step::Moved => {}
                Step::Idle => return false,
            }
        }
        true
    }

    /// Calls `visit` for the mappings of one page and returns whether there are more pages.
    pub(crate) fn page_of_mappings(&self, page: u32, mut visit: impl FnMut(&Mapping)) -> bool {
        let end = self.mappings.end();
        let entries = page_range(page, end).map(|index| &self.mappings[index]);
        entries.filter(|mapping| mapping.kind != MappingKind::Free).for_each(&mut visit);
        page_range(page + 1, end).start < end
    }

    /// Calls `visit` for the sessions of one page, each with its mapping, and returns whether there are more pages.
    pub(crate) fn page_of_sessions(&self, page: u32, mut visit: impl FnMut(&Mapping, &Session)) -> bool {
        let end = self.sessions.end();
        let entries = page_range(page, end).map(|index| &self.sessions[index]);
        let live = entries.filter(|session| session.mapping != Session::REMOVED);
        live.for_each(|session| visit(&self.mappings[session.mapping], session));
        page_range(page + 1, end).start < end
    }

    /// Makes a mapping that the configuration asks for. Its port must be the caller's.
    pub(crate) fn add_static(
        &mut self,
        context: &mut Context<'_>,
        protocol: Protocol,
        internal: (Ipv6Addr, u16),
        external: External,
    ) {
        let prefix = subscriber_prefix(context.policy, internal.0);
        let plan = Plan { external, subscriber: self.subscriber_of(prefix), prefix };
        self.insert_mapping(context, plan, protocol, internal, MappingKind::Static);
    }

    #[inline]
    fn mapping_of(&self, protocol: Protocol, address: Ipv6Addr, port: u16) -> Option<u32> {
        let hash = self.keys.internal(protocol, address, port);
        let same = |&index: &u32| {
            let mapping = &self.mappings[index];
            mapping.internal == address && mapping.internal_port == port && mapping.protocol == protocol
        };
        self.by_internal.find(hash, same).copied()
    }

    #[inline]
    fn session_of(&self, mapping: u32, remote: Ipv4Addr, port: u16) -> Option<u32> {
        let hash = self.keys.remote(mapping, remote, port);
        let same = |&index: &u32| {
            let session = &self.sessions[index];
            session.mapping == mapping && session.remote == remote && session.remote_port == port
        };
        self.by_remote.find(hash, same).copied()
    }

    fn subscriber_of(&self, prefix: u128) -> Option<u32> {
        let hash = self.keys.subscriber(prefix);
        self.by_prefix.find(hash, |&index| self.subscribers[index].prefix == prefix).copied()
    }

    /// Whether a slot still says the truth: between reading it and locking the shard, the port may have changed hands.
    #[inline]
    fn owns(&self, mapping: u32, protocol: Protocol, external: External) -> bool {
        if mapping >= self.mappings.end() {
            return false;
        }
        let entry = &self.mappings[mapping];
        entry.kind != MappingKind::Free && entry.external == external && entry.protocol == protocol
    }

    #[inline]
    fn refresh(
        &mut self,
        context: &Context<'_>,
        index: u32,
        protocol: Protocol,
        trigger: Trigger,
        direction: Direction,
    ) {
        let session = &mut self.sessions[index];
        let timers = &context.policy.timers;
        let lifetime = match (trigger, protocol) {
            (Trigger::Tcp(flags), _) => {
                let (state, lifetime) = step(session.state, Segment::of(flags, direction));
                session.state = state;
                match lifetime {
                    Lifetime::Established => timers.tcp_established,
                    Lifetime::Transitory => timers.tcp_transitory,
                    Lifetime::Unchanged => return,
                }
            }
            (_, Protocol::Icmp) => timers.icmp,
            (_, Protocol::Udp | Protocol::Tcp) => timers.udp,
        };
        let deadline = context.tick.after(lifetime);
        if deadline >= session.expires {
            session.expires = deadline;
        } else {
            self.bring_forward(index, deadline);
        }
    }

    #[cold]
    fn bring_forward(&mut self, index: u32, deadline: Tick) {
        self.wheel.remove(&mut self.sessions, index);
        self.sessions[index].expires = deadline;
        self.wheel.insert(&mut self.sessions, index);
    }

    /// CLOSED, from inside, without a mapping.
    fn open_mapping(&mut self, context: &mut Context<'_>, packet: &Outgoing) -> Result<External, DropReason> {
        may_open(packet.trigger)?;
        let policy = context.policy;
        if context.totals.mappings() >= policy.limits.mappings {
            return Err(self.refuse(context, packet, DropReason::TableFull));
        }
        let prefix = subscriber_prefix(policy, packet.source);
        let subscriber = self.subscriber_of(prefix);
        if let (Some(index), Some(limit)) = (subscriber, policy.limits.mappings_per_subscriber)
            && self.subscribers[index].mappings >= limit
        {
            return Err(self.refuse(context, packet, DropReason::SubscriberLimit));
        }
        if let Err(reason) = self.room_for_session(context, subscriber) {
            return Err(self.refuse(context, packet, reason));
        }
        let wish = Wish { protocol: packet.protocol, like: packet.source_port };
        let Some(external) = self.take_port(context.pool, subscriber, prefix, wish) else {
            return Err(self.refuse(context, packet, DropReason::PoolExhausted));
        };
        let plan = Plan { external, subscriber, prefix };
        let internal = (packet.source, packet.source_port);
        let mapping = self.insert_mapping(context, plan, packet.protocol, internal, MappingKind::Dynamic);
        self.insert_session_from_inside(context, mapping, packet);
        Ok(external)
    }

    /// CLOSED, from inside, with a mapping.
    fn open_session_from_inside(
        &mut self,
        context: &mut Context<'_>,
        mapping: u32,
        packet: &Outgoing,
    ) -> Result<(), DropReason> {
        if may_open(packet.trigger).is_err() {
            // "If there is a corresponding entry in the TCP BIB, the packet SHOULD be translated and forwarded"
            // (RFC 6146 §3.5.2.2, CLOSED); no session comes of it.
            return Ok(());
        }
        let subscriber = Some(self.mappings[mapping].subscriber);
        if let Err(reason) = self.room_for_session(context, subscriber) {
            return Err(self.refuse(context, packet, reason));
        }
        self.insert_session_from_inside(context, mapping, packet);
        Ok(())
    }

    /// CLOSED, from outside, with a mapping. Returns the prefix to show the remote host under.
    fn open_session_from_outside(
        &mut self,
        context: &mut Context<'_>,
        mapping: u32,
        packet: &Incoming,
    ) -> Result<u8, DropReason> {
        const DEFAULT_PREFIX: u8 = 0;
        if context.policy.filtering == Filtering::AddressDependent
            && !self.peers.contains_key(&(mapping, packet.remote))
        {
            return Err(DropReason::Filtered);
        }
        if may_open(packet.trigger).is_err() {
            return Ok(DEFAULT_PREFIX);
        }
        self.room_for_session(context, Some(self.mappings[mapping].subscriber))?;
        let session = Session {
            mapping,
            remote: packet.remote,
            remote_port: packet.remote_port,
            state: TcpState::V4Init,
            prefix: DEFAULT_PREFIX,
            expires: context.tick.after(opening_lifetime(context.policy, packet.protocol)),
            links: Links::NEW,
            created: context.tick,
            outbound: Tally::ZERO,
            inbound: Tally::ZERO,
        };
        let session = self.insert_session(context, session);
        self.sessions[session].inbound.add(packet.packets, packet.bytes);
        Ok(DEFAULT_PREFIX)
    }

    fn room_for_session(&self, context: &Context<'_>, subscriber: Option<u32>) -> Result<(), DropReason> {
        let limits = &context.policy.limits;
        if context.totals.sessions() >= limits.sessions {
            return Err(DropReason::TableFull);
        }
        match (subscriber, limits.sessions_per_subscriber) {
            (Some(index), Some(limit)) if self.subscribers[index].sessions >= limit => Err(DropReason::SubscriberLimit),
            _ => Ok(()),
        }
    }

    /// A port on the subscriber's own address, or on any other when that has none left.
    fn take_port(&mut self, pool: &Pool, subscriber: Option<u32>, prefix: u128, wish: Wish) -> Option<External> {
        let count = u64::try_from(pool.len()).unwrap_or(1);
        let chosen = || self.keys.subscriber(prefix).rotate_left(32) % count;
        let first = subscriber.map_or_else(chosen, |index| u64::from(self.subscribers[index].address));
        let nth = |offset| AddressIndex::try_from((first + offset) % count).unwrap_or(0);
        (0..count).find_map(|offset| pool.take(nth(offset), wish, &mut self.random))
    }

    fn refuse(&self, context: &mut Context<'_>, packet: &Outgoing, reason: DropReason) -> DropReason {
        context.events.push(Event {
            at: context.now,
            kind: EventKind::Refused(reason),
            protocol: packet.protocol,
            internal: (packet.source, packet.source_port),
            external: (Ipv4Addr::UNSPECIFIED, 0),
            remote: Some((packet.remote, packet.remote_port)),
        });
        reason
    }

    fn insert_mapping(
        &mut self,
        context: &mut Context<'_>,
        plan: Plan,
        protocol: Protocol,
        internal: (Ipv6Addr, u16),
        kind: MappingKind,
    ) -> u32 {
        let subscriber = plan.subscriber.unwrap_or_else(|| self.insert_subscriber(plan.prefix, plan.external.address));
        self.subscribers[subscriber].mappings += 1;
        let index = self.mappings.insert(Mapping {
            internal: internal.0,
            internal_port: internal.1,
            external: plan.external,
            protocol,
            kind,
            subscriber,
            sessions: 0,
            created: context.tick,
        });
        let Self { by_internal, mappings, keys, .. } = self;
        let hash_of = |mapping: &Mapping| keys.internal(mapping.protocol, mapping.internal, mapping.internal_port);
        by_internal.insert_unique(hash_of(&mappings[index]), index, |&index| hash_of(&mappings[index]));
        context.pool.set_slot(protocol, plan.external, (self.number << INDEX_BITS | index) + 1);
        context.totals.mapping_added(protocol);
        self.report(context, index, EventKind::MappingCreated, None);
        index
    }

    fn insert_subscriber(&mut self, prefix: u128, address: AddressIndex) -> u32 {
        let index = self.subscribers.insert(Subscriber { prefix, mappings: 0, sessions: 0, address });
        let Self { by_prefix, subscribers, keys, .. } = self;
        by_prefix.insert_unique(keys.subscriber(prefix), index, |&index| keys.subscriber(subscribers[index].prefix));
        index
    }

    fn insert_session_from_inside(&mut self, context: &mut Context<'_>, mapping: u32, packet: &Outgoing) {
        let external = self.mappings[mapping].external;
        let external = (context.pool.address(external.address), external.port);
        // V4 INIT and a V6 SYN: simultaneous open. The stored SYN is answered by this one and goes (RFC 5382 REQ-4).
        let simultaneous =
            packet.protocol == Protocol::Tcp && context.stored_syns.take(external, (packet.remote, packet.remote_port));
        let (state, lifetime) = if simultaneous {
            (TcpState::Established, context.policy.timers.tcp_established)
        } else {
            (TcpState::V6Init, opening_lifetime(context.policy, packet.protocol))
        };
        let session = Session {
            mapping,
            remote: packet.remote,
            remote_port: packet.remote_port,
            state,
            prefix: packet.prefix,
            expires: context.tick.after(lifetime),
            links: Links::NEW,
            created: context.tick,
            outbound: Tally::ZERO,
            inbound: Tally::ZERO,
        };
        let session = self.insert_session(context, session);
        self.sessions[session].outbound.add(packet.packets, packet.bytes);
    }

    fn insert_session(&mut self, context: &mut Context<'_>, session: Session) -> u32 {
        let Session { mapping, remote, remote_port, .. } = session;
        let index = self.sessions.insert(session);
        let Self { by_remote, sessions, keys, .. } = self;
        let hash_of = |session: &Session| keys.remote(session.mapping, session.remote, session.remote_port);
        by_remote.insert_unique(hash_of(&session), index, |&index| hash_of(&sessions[index]));
        self.wheel.insert(&mut self.sessions, index);
        let entry = &mut self.mappings[mapping];
        entry.sessions += 1;
        let (protocol, subscriber) = (entry.protocol, entry.subscriber);
        self.subscribers[subscriber].sessions += 1;
        if context.policy.filtering == Filtering::AddressDependent {
            *self.peers.entry((mapping, remote)).or_default() += 1;
        }
        context.totals.session_added(protocol);
        self.report(context, mapping, EventKind::SessionCreated, Some((remote, remote_port)));
        index
    }

    /// A session's lifetime has passed; it is in no bucket of the wheel.
    fn time_out(&mut self, context: &mut Context<'_>, index: u32, probe: &mut dyn FnMut(Probe)) {
        let session = &mut self.sessions[index];
        let mapping = &self.mappings[session.mapping];
        if mapping.protocol == Protocol::Tcp && session.state == TcpState::Established {
            session.state = TcpState::Trans;
            session.expires = context.tick.after(context.policy.timers.tcp_transitory);
            let internal = Internal { address: mapping.internal, port: mapping.internal_port, prefix: session.prefix };
            probe(Probe { internal, remote: session.remote, remote_port: session.remote_port });
            self.wheel.insert(&mut self.sessions, index);
        } else {
            self.remove_session(context, index, EndReason::Timeout);
        }
    }

    /// Removes a session that is in no bucket of the wheel, and its mapping if that was the last one.
    fn remove_session(&mut self, context: &mut Context<'_>, index: u32, reason: EndReason) {
        let session = self.sessions[index];
        let hash = self.keys.remote(session.mapping, session.remote, session.remote_port);
        if let Ok(entry) = self.by_remote.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
        self.sessions[index].mapping = Session::REMOVED;
        self.sessions.remove(index);
        let peer = (session.mapping, session.remote);
        if let Some(count) = self.peers.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&peer);
            }
        }
        let ended =
            EventKind::SessionEnded { reason, outbound: session.outbound.total(), inbound: session.inbound.total() };
        self.report(context, session.mapping, ended, Some((session.remote, session.remote_port)));
        let mapping = &mut self.mappings[session.mapping];
        mapping.sessions -= 1;
        let (protocol, subscriber) = (mapping.protocol, mapping.subscriber);
        let last = mapping.sessions == 0 && mapping.kind == MappingKind::Dynamic;
        self.subscribers[subscriber].sessions -= 1;
        context.totals.session_removed(protocol);
        if last {
            let closed = protocol == Protocol::Tcp && session.state == TcpState::V6FinV4FinRcv;
            self.remove_mapping(context, session.mapping, closed);
        }
    }

    /// Removes a mapping without sessions. Its port rests, unless TCP closed cleanly (RFC 6888 REQ-8).
    fn remove_mapping(&mut self, context: &mut Context<'_>, index: u32, closed_cleanly: bool) {
        self.report(context, index, EventKind::MappingRemoved, None);
        let mapping = self.mappings[index];
        let hash = self.keys.internal(mapping.protocol, mapping.internal, mapping.internal_port);
        if let Ok(entry) = self.by_internal.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
        self.mappings[index].kind = MappingKind::Free;
        self.mappings.remove(index);
        context.pool.set_slot(mapping.protocol, mapping.external, 0);
        let rest = context.policy.timers.port_quarantine;
        if closed_cleanly || rest.is_zero() {
            context.pool.release(mapping.protocol, mapping.external);
        } else {
            self.resting.push_back((context.tick.after(rest), mapping.protocol, mapping.external));
        }
        context.totals.mapping_removed(mapping.protocol);
        let subscriber = &mut self.subscribers[mapping.subscriber];
        subscriber.mappings -= 1;
        if subscriber.mappings == 0 {
            self.remove_subscriber(mapping.subscriber);
        }
    }

    fn remove_subscriber(&mut self, index: u32) {
        let hash = self.keys.subscriber(self.subscribers[index].prefix);
        if let Ok(entry) = self.by_prefix.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
        self.subscribers.remove(index);
    }

    fn wake_rested_ports(&mut self, context: &Context<'_>) {
        while let Some(&(until, protocol, external)) = self.resting.front()
            && until <= context.tick
        {
            context.pool.release(protocol, external);
            self.resting.pop_front();
        }
    }

    fn report(&self, context: &mut Context<'_>, mapping: u32, kind: EventKind, remote: Option<(Ipv4Addr, u16)>) {
        let mapping = &self.mappings[mapping];
        context.events.push(Event {
            at: context.now,
            kind,
            protocol: mapping.protocol,
            internal: (mapping.internal, mapping.internal_port),
            external: (context.pool.address(mapping.external.address), mapping.external.port),
            remote,
        });
    }
}

/// Entries that are listed under one lock.
const PAGE: u32 = 512;

const fn page_range(page: u32, end: u32) -> std::ops::Range<u32> {
    let first = page.saturating_mul(PAGE);
    let last = first.saturating_add(PAGE);
    first..if last < end { last } else { end }
}

/// The bits of an address that name its subscriber.
#[inline]
pub(crate) fn subscriber_prefix(policy: &Policy, address: Ipv6Addr) -> u128 {
    address.to_bits() & u128::MAX.unbounded_shl(128 - u32::from(policy.subscriber_length))
}

/// Whether a packet may start a session.
const fn may_open(trigger: Trigger) -> Result<(), DropReason> {
    match trigger {
        Trigger::Datagram => Ok(()),
        // A SYN with RST is a reset, not an opening.
        Trigger::Tcp(flags) if flags & (tcp_flags::SYN | tcp_flags::RST) == tcp_flags::SYN => Ok(()),
        Trigger::Tcp(_) | Trigger::Reply => Err(DropReason::NoSession),
    }
}

const fn opening_lifetime(policy: &Policy, protocol: Protocol) -> Duration {
    match protocol {
        Protocol::Tcp => policy.timers.tcp_transitory,
        Protocol::Udp => policy.timers.udp,
        Protocol::Icmp => policy.timers.icmp,
    }
}
