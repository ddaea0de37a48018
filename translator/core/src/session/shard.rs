//! One shard of the state: the mappings and sessions of some subscribers (RFC 6146 §3.5).
//!
//! A new packet is checked in full before a table is touched, so that what is refused leaves nothing behind.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::net::{Ipv4Addr, Ipv6Addr};

use foldhash::SharedSeed;
use foldhash::quality::{FoldHasher, SeedableRandomState};
use hashbrown::{HashMap, HashTable};

use super::allocation::{Blocks, Resting};
use super::entry::{Mapping, MappingKind, Session, Subscriber};
use super::overlap::{Overlap, Scope};
use super::pool::External;
use super::refresh::States;
use super::sessions::Sessions;
use super::slab::Slab;
use super::stored_syn::StoredSyns;
use super::totals::Totals;
use super::wheel::{Tick, Wheel};
use crate::event::{Event, EventBuffer, EventKind};
use crate::packet::Protocol;
use crate::random::Random;
use crate::terms::Terms;
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

/// A TCP session that was ended, both ends of which are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reset {
    pub(crate) internal: Internal,
    pub(crate) external: External,
    pub(crate) remote: Ipv4Addr,
    pub(crate) remote_port: u16,
    expected: [u32; 2],
}

impl Reset {
    pub(super) const fn of(mapping: &Mapping, session: &Session) -> Self {
        let Session { prefix, remote, remote_port, expected, .. } = *session;
        let internal = Internal { address: mapping.internal, port: mapping.internal_port, prefix };
        Self { internal, external: mapping.external, remote, remote_port, expected }
    }

    /// The sequence number that the receiver of this direction has said it expects next, if it has.
    pub(crate) const fn expected(&self, direction: Direction) -> Option<u32> {
        match self.expected[direction as usize] {
            0 => None,
            sequence => Some(sequence),
        }
    }
}

/// What the tables need from outside.
pub(crate) struct Context<'c> {
    pub(crate) terms: &'c Terms,
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
        hasher.write_u128(u128::from_ne_bytes(address.octets()));
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
    pub(super) sessions: Sessions,
    /// Sessions that are not at their mapping's index.
    pub(super) by_remote: HashTable<u32>,
    pub(super) subscribers: Slab<Subscriber>,
    pub(super) by_prefix: HashTable<u32>,
    /// How many sessions a mapping has with an IPv4 host; kept under address-dependent filtering only.
    pub(super) peers: HashMap<(u32, Ipv4Addr), u32, SeedableRandomState>,
    pub(super) wheel: Wheel,
    /// Of TCP sessions.
    pub(super) states: States,
    /// Ports that rest before they are free again, oldest first (RFC 6888 REQ-8).
    pub(super) resting: VecDeque<Resting>,
    pub(super) blocks: Blocks,
    pub(super) random: Random,
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

impl Tcp {
    /// A segment of which nothing is known.
    pub(crate) const NONE: Self = Self { flags: 0, sequence: 0, acknowledgment: 0 };
}

impl Shard {
    pub(crate) fn new(number: u32, keys: Keys, seed: u64) -> Self {
        Self {
            number,
            peers: HashMap::with_hasher(keys.state()),
            mappings: Slab::new(),
            by_internal: HashTable::new(),
            sessions: Sessions::new(),
            by_remote: HashTable::new(),
            subscribers: Slab::new(),
            by_prefix: HashTable::new(),
            wheel: Wheel::new(),
            states: States::default(),
            resting: VecDeque::new(),
            blocks: Blocks::new(keys.state()),
            random: Random::new(seed, u64::from(number) + 1),
            keys,
        }
    }

    /// Takes a packet from the IPv6 side that has no session through the tables: the pool address and port to send it
    /// from.
    pub(crate) fn open_outbound(
        &mut self,
        context: &mut Context<'_>,
        mapping: Option<u32>,
        packet: &Outgoing,
    ) -> Result<External, DropReason> {
        let Some(mapping) = mapping else { return self.open_mapping(context, packet) };
        self.open_session_from_inside(context, mapping, packet)?;
        Ok(self.mappings[mapping].external)
    }

    /// Takes a packet from the IPv4 side that has no session through the tables: the host to send it to.
    pub(crate) fn open_inbound(
        &mut self,
        context: &mut Context<'_>,
        mapping: Option<u32>,
        packet: &Incoming,
    ) -> Result<Internal, DropReason> {
        let mapping = mapping.ok_or(DropReason::NoMapping)?;
        let prefix = self.open_session_from_outside(context, mapping, packet)?;
        let Mapping { internal, internal_port, .. } = self.mappings[mapping];
        Ok(Internal { address: internal, port: internal_port, prefix })
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
        let entries = self.sessions.page(page).filter_map(|index| self.sessions.get(index));
        entries.for_each(|session| visit(&self.mappings[session.mapping], session));
        self.sessions.has_more(page)
    }

    /// Calls `visit` for the subscribers of one page, and returns whether there are more pages.
    pub(crate) fn page_of_subscribers(&self, page: u32, visit: impl FnMut(&Subscriber)) -> bool {
        let end = self.subscribers.end();
        let entries = page_range(page, end).filter_map(|index| self.subscribers.get(index));
        // One that was removed has no mappings.
        entries.filter(|subscriber| subscriber.mappings > 0).for_each(visit);
        page_range(page + 1, end).start < end
    }

    /// What the slot of a mapping's port says.
    pub(super) const fn slot_of(&self, index: u32) -> u32 {
        (self.number << INDEX_BITS | index) + 1
    }

    /// How many TCP sessions are in each state.
    pub(crate) const fn states(&self) -> States {
        self.states
    }

    pub(super) fn subscriber_of(&self, prefix: u128) -> Option<u32> {
        let hash = self.keys.subscriber(prefix);
        self.by_prefix.find(hash, |&index| self.subscribers[index].prefix == prefix).copied()
    }

    pub(super) fn report(&self, context: &mut Context<'_>, mapping: u32, kind: EventKind, session: Option<&Session>) {
        let mapping = &self.mappings[mapping];
        context.events.push(Event {
            at: context.now,
            kind,
            protocol: mapping.protocol,
            internal: (mapping.internal, mapping.internal_port),
            external: (context.terms.pool.address(mapping.external.address), mapping.external.port),
            remote: session.map(|session| (session.remote, session.remote_port)),
            prefix: session.map_or(0, |session| session.prefix),
            began: session.map_or(mapping.created, |session| session.created).start(),
        });
    }
}

/// Entries that are listed under one lock.
const PAGE: u32 = 512;

pub(super) const fn page_range(page: u32, end: u32) -> std::ops::Range<u32> {
    let first = page.saturating_mul(PAGE);
    let last = first.saturating_add(PAGE);
    first..if last < end { last } else { end }
}

/// The first `length` bits of an address, which name its subscriber.
#[inline]
pub(crate) fn subscriber_prefix(length: u8, address: Ipv6Addr) -> u128 {
    address.to_bits() & u128::MAX.unbounded_shl(128 - u32::from(length))
}
