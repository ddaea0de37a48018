//! One shard of the state: the mappings and sessions of some subscribers (RFC 6146 §3.5).
//!
//! A new packet is checked in full before a table is touched, so that what is refused leaves nothing behind.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::net::{Ipv4Addr, Ipv6Addr};

use foldhash::SharedSeed;
use foldhash::quality::{FoldHasher, SeedableRandomState};
use hashbrown::{HashMap, HashTable};

use super::allocation::{Allocation, Blocks, Resting};
use super::entry::{Mapping, MappingKind, Session, Subscriber};
use super::overlap::{EVERYWHERE, Overlap, Scope};
use super::pool::{External, Pool};
use super::slab::Slab;
use super::stored_syn::StoredSyns;
use super::tcp::{Lifetime, Segment, step};
use super::totals::Totals;
use super::wheel::{Tick, Wheel};
use crate::event::{Event, EventBuffer, EventKind};
use crate::packet::{Protocol, tcp_flags};
use crate::policy::{MappingBehavior, Policy};
use crate::random::Random;
use crate::time::Timestamp;
use crate::verdict::{Direction, DropReason};

/// What a packet is to the session tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// UDP or an echo message: it may start a session.
    Datagram,
    /// TCP.
    Tcp(Tcp),
}

/// What a TCP segment says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tcp {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
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
    pub(crate) allocation: &'c Allocation,
    pub(crate) totals: &'c Totals,
    pub(crate) stored_syns: &'c StoredSyns,
    pub(crate) overlap: &'c Overlap,
    pub(crate) now: Timestamp,
    pub(crate) tick: Tick,
    pub(crate) events: &'c mut EventBuffer,
}

/// Keyed hashes of what the tables are looked up by.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    secret: u64,
    shared: SharedSeed,
}

impl Keys {
    /// Hashes that depend on `random` alone, so that a history can be repeated.
    pub(crate) fn new(random: &mut Random) -> Self {
        Self { secret: random.next_u64(), shared: SharedSeed::from_u64(random.next_u64()) }
    }

    #[inline]
    pub(super) fn internal(&self, protocol: Protocol, address: Ipv6Addr, port: u16, scope: Scope) -> u64 {
        let mut hasher = self.hasher();
        hasher.write_u128(address.to_bits());
        hasher.write_u64(u64::from(scope.0.to_bits()) << 32 | u64::from(scope.1) << 16 | u64::from(port));
        hasher.write_u8(protocol as u8);
        hasher.finish()
    }

    pub(super) fn of_mapping(&self, mapping: &Mapping) -> u64 {
        self.internal(mapping.protocol, mapping.internal, mapping.internal_port, mapping.scope)
    }

    #[inline]
    pub(super) fn remote(&self, mapping: u32, address: Ipv4Addr, port: u16) -> u64 {
        let mut hasher = self.hasher();
        hasher.write_u64(u64::from(mapping) << 32 | u64::from(address.to_bits()));
        hasher.write_u16(port);
        hasher.finish()
    }

    #[inline]
    pub(crate) fn subscriber(&self, prefix: u128) -> u64 {
        let mut hasher = self.hasher();
        hasher.write_u128(prefix);
        hasher.finish()
    }

    /// For maps beside the tables.
    pub(super) fn state(&self) -> SeedableRandomState {
        SeedableRandomState::with_seed(self.secret, SharedSeed::global_random())
    }

    #[inline]
    const fn hasher(&self) -> FoldHasher<'_> {
        FoldHasher::with_seed(self.secret, &self.shared)
    }
}

/// The tables of one shard.
#[derive(Debug)]
pub(crate) struct Shard {
    /// This shard's number, which the slots of its ports carry.
    pub(super) number: u32,
    pub(super) keys: Keys,
    pub(super) mappings: Slab<Mapping>,
    pub(super) by_internal: HashTable<u32>,
    pub(super) sessions: Slab<Session>,
    pub(super) by_remote: HashTable<u32>,
    pub(super) subscribers: Slab<Subscriber>,
    pub(super) by_prefix: HashTable<u32>,
    /// How many sessions a mapping has with an IPv4 host; kept under address-dependent filtering only.
    pub(super) peers: HashMap<(u32, Ipv4Addr), u32, SeedableRandomState>,
    pub(super) wheel: Wheel,
    /// Ports that rest before they are free again, oldest first (RFC 6888 REQ-8).
    pub(super) resting: VecDeque<Resting>,
    pub(super) blocks: Blocks,
    pub(super) random: Random,
}

/// Bits of a slot that hold a mapping's index; the shard's number is above them.
pub(super) const INDEX_BITS: u32 = 26;

/// The shard and the mapping that a port's slot names.
#[inline]
pub(crate) const fn slot_owner(slot: u32) -> Option<(u32, u32)> {
    match slot.checked_sub(1) {
        Some(value) => Some((value >> INDEX_BITS, value & ((1 << INDEX_BITS) - 1))),
        None => None,
    }
}

impl Tcp {
    /// A segment of which nothing is known.
    pub(crate) const NONE: Self = Self { flags: 0, sequence: 0, acknowledgment: 0 };
}

impl Session {
    /// Keeps what a segment acknowledges. Returns false for a reset that cannot be the other end's: its sequence number
    /// is far from what the receiver expects (RFC 7857 §2.2).
    #[inline]
    const fn note(&mut self, tcp: Tcp, direction: Direction) -> bool {
        /// The largest receive window that is common, either way: a reset may be late or ahead.
        const NEAR: u32 = 16 << 20;
        if tcp.flags & tcp_flags::RST != 0 {
            let expected = self.expected[direction as usize];
            return expected == 0 || tcp.sequence.wrapping_sub(expected).wrapping_add(NEAR) <= 2 * NEAR;
        }
        if tcp.flags & tcp_flags::ACK != 0 {
            let opposite = 1 - direction as usize;
            self.expected[opposite] = tcp.acknowledgment;
        }
        true
    }
}

impl Shard {
    pub(crate) fn new(number: u32, keys: Keys, seed: u64) -> Self {
        Self {
            number,
            peers: HashMap::with_hasher(keys.state()),
            mappings: Slab::new(),
            by_internal: HashTable::new(),
            sessions: Slab::new(),
            by_remote: HashTable::new(),
            subscribers: Slab::new(),
            by_prefix: HashTable::new(),
            wheel: Wheel::new(),
            resting: VecDeque::new(),
            blocks: Blocks::new(keys.state()),
            random: Random::new(seed, u64::from(number) + 1),
            keys,
        }
    }

    /// Takes a packet from the IPv6 side through the tables: the pool address and port to send it from.
    #[inline]
    pub(crate) fn outbound(&mut self, context: &mut Context<'_>, packet: &Outgoing) -> Result<External, DropReason> {
        let scope = (packet.remote, packet.remote_port);
        let Some(mapping) = self.mapping_towards(context, packet.protocol, packet.source, packet.source_port, scope)
        else {
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
        let scope = (packet.remote, packet.remote_port);
        let mapping = self.owner(mapping, packet.protocol, packet.external, scope).ok_or(DropReason::NoMapping)?;
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

    /// The pool address and port of a host's own, for the packet inside an ICMP error that the host's side sent about
    /// what had come from `remote`.
    pub(crate) fn external_of(
        &self,
        context: &Context<'_>,
        protocol: Protocol,
        (address, port): (Ipv6Addr, u16),
        remote: Scope,
    ) -> Option<External> {
        let mapping = self.mapping_towards(context, protocol, address, port, remote)?;
        Some(self.mappings[mapping].external)
    }

    /// The host that a pool address and port belong to, for the packet inside an ICMP error from the IPv4 side.
    pub(crate) fn internal_of(
        &self,
        mapping: u32,
        protocol: Protocol,
        external: External,
        remote: Scope,
    ) -> Option<Internal> {
        let mapping = self.owner(mapping, protocol, external, remote)?;
        let session = self.session_of(mapping, remote.0, remote.1);
        Some(Internal {
            address: self.mappings[mapping].internal,
            port: self.mappings[mapping].internal_port,
            prefix: session.map_or(0, |session| self.sessions[session].prefix),
        })
    }

    /// Calls `visit` for the mappings of one page and returns whether there are more pages.
    pub(crate) fn page_of_mappings(&self, page: u32, mut visit: impl FnMut(&Mapping)) -> bool {
        let end = self.mappings.end();
        let entries = page_range(page, end).filter_map(|index| self.mappings.get(index));
        entries.filter(|mapping| mapping.kind != MappingKind::Free).for_each(&mut visit);
        page_range(page + 1, end).start < end
    }

    /// Calls `visit` for the sessions of one page, each with its mapping, and returns whether there are more pages.
    pub(crate) fn page_of_sessions(&self, page: u32, mut visit: impl FnMut(&Mapping, &Session)) -> bool {
        let end = self.sessions.end();
        let entries = page_range(page, end).filter_map(|index| self.sessions.get(index));
        let live = entries.filter(|session| session.mapping != Session::REMOVED);
        live.for_each(|session| visit(&self.mappings[session.mapping], session));
        page_range(page + 1, end).start < end
    }

    /// The mapping that a host's packets to a destination use.
    #[inline]
    fn mapping_towards(
        &self,
        context: &Context<'_>,
        protocol: Protocol,
        address: Ipv6Addr,
        port: u16,
        destination: Scope,
    ) -> Option<u32> {
        let mapping = self.mapping_of(protocol, address, port, EVERYWHERE);
        match context.policy.mapping {
            MappingBehavior::EndpointIndependent => mapping,
            // What is everywhere here is static.
            MappingBehavior::AddressAndPortDependent => {
                mapping.or_else(|| self.mapping_of(protocol, address, port, destination))
            }
        }
    }

    #[inline]
    fn mapping_of(&self, protocol: Protocol, address: Ipv6Addr, port: u16, scope: Scope) -> Option<u32> {
        let hash = self.keys.internal(protocol, address, port, scope);
        let same = |&index: &u32| {
            let mapping = &self.mappings[index];
            mapping.internal == address
                && mapping.internal_port == port
                && mapping.protocol == protocol
                && mapping.scope == scope
        };
        self.by_internal.find(hash, same).copied()
    }

    #[inline]
    pub(super) fn session_of(&self, mapping: u32, remote: Ipv4Addr, port: u16) -> Option<u32> {
        let hash = self.keys.remote(mapping, remote, port);
        let same = |&index: &u32| {
            let session = &self.sessions[index];
            session.mapping == mapping && session.remote == remote && session.remote_port == port
        };
        self.by_remote.find(hash, same).copied()
    }

    pub(super) fn subscriber_of(&self, prefix: u128) -> Option<u32> {
        let hash = self.keys.subscriber(prefix);
        self.by_prefix.find(hash, |&index| self.subscribers[index].prefix == prefix).copied()
    }

    /// The mapping that a slot names, if the slot still says the truth: between reading it and locking the shard, the
    /// port may have changed hands.
    #[inline]
    fn owner(&self, mapping: u32, protocol: Protocol, external: External, remote: Scope) -> Option<u32> {
        let entry = self.mappings.get(mapping)?;
        let alive = match entry.kind {
            MappingKind::Free => false,
            MappingKind::Overlapping => entry.scope == remote,
            MappingKind::Dynamic | MappingKind::Static => true,
        };
        (alive && entry.external == external && entry.protocol == protocol).then_some(mapping)
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
        let refreshes = context.policy.inbound_refresh || direction == Direction::SixToFour;
        let lifetime = match (trigger, protocol) {
            (Trigger::Tcp(tcp), _) => {
                if !session.note(tcp, direction) && context.policy.check_resets {
                    return;
                }
                let (state, lifetime) = step(session.state, Segment::of(tcp.flags, direction));
                let moved = std::mem::replace(&mut session.state, state) != state;
                if !refreshes && !moved {
                    return;
                }
                match lifetime {
                    Lifetime::Established => timers.tcp_established,
                    Lifetime::Opening => timers.tcp_opening,
                    Lifetime::Closing => timers.tcp_closing,
                    Lifetime::Transitory => timers.tcp_transitory,
                    Lifetime::Unchanged => return,
                }
            }
            _ if !refreshes => return,
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

    pub(super) fn report(&self, context: &mut Context<'_>, mapping: u32, kind: EventKind, session: Option<&Session>) {
        let mapping = &self.mappings[mapping];
        context.events.push(Event {
            at: context.now,
            kind,
            protocol: mapping.protocol,
            internal: (mapping.internal, mapping.internal_port),
            external: (context.pool.address(mapping.external.address), mapping.external.port),
            remote: session.map(|session| (session.remote, session.remote_port)),
            prefix: session.map_or(0, |session| session.prefix),
            began: session.map_or(mapping.created, |session| session.created).start(),
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

/// The first `length` bits of an address, which name its subscriber.
#[inline]
pub(crate) fn subscriber_prefix(length: u8, address: Ipv6Addr) -> u128 {
    address.to_bits() & u128::MAX.unbounded_shl(128 - u32::from(length))
}
