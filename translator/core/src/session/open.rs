//! How mappings and sessions come to be (RFC 6146 §3.5.1, §3.5.2.2 CLOSED, §3.5.3).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::allocation::{ALL_PORTS, FromBlock};
use super::close::report_block;
use super::entry::{Mapping, MappingKind, Session, Subscriber, Tally};
use super::overlap::{Claim, EVERYWHERE, Scope};
use super::pool::{AddressIndex, External, Pool, Wish};
use super::shard::{Context, INDEX_BITS, Incoming, Outgoing, Shard, Trigger, subscriber_prefix};
use super::tcp::TcpState;
use super::wheel::Links;
use crate::event::{Event, EventKind};
use crate::filter;
use crate::packet::{Protocol, tcp_flags};
use crate::policy::{Filtering, MappingBehavior, Policy, Pooling, PortAssignment};
use crate::verdict::DropReason;

/// Pool addresses that are tried for one packet at the most.
const MOST_ADDRESSES: usize = 256;

/// A mapping that is to be made once nothing can fail any more.
struct Plan {
    external: External,
    subscriber: Option<u32>,
    prefix: u128,
    scope: Scope,
    kind: MappingKind,
}

impl Shard {
    /// Makes a mapping that the configuration asks for. Its port must be the caller's.
    pub(crate) fn add_static(
        &mut self,
        context: &mut Context<'_>,
        protocol: Protocol,
        internal: (Ipv6Addr, u16),
        external: External,
    ) {
        let prefix = subscriber_prefix(context.policy.subscriber_length, internal.0);
        let subscriber = self.subscriber_of(prefix);
        let plan = Plan { external, subscriber, prefix, scope: EVERYWHERE, kind: MappingKind::Static };
        self.insert_mapping(context, plan, protocol, internal);
    }

    /// CLOSED, from inside, without a mapping.
    pub(super) fn open_mapping(
        &mut self,
        context: &mut Context<'_>,
        packet: &Outgoing,
    ) -> Result<External, DropReason> {
        may_open(packet.trigger)?;
        let policy = context.policy;
        if context.totals.mappings() >= policy.limits.mappings {
            return Err(self.refuse(context, packet, DropReason::TableFull));
        }
        let prefix = subscriber_prefix(policy.subscriber_length, packet.source);
        let subscriber = self.subscriber_of(prefix);
        if let (Some(index), Some(limit)) = (subscriber, policy.limits.mappings_per_subscriber)
            && self.subscribers[index].mappings >= limit
        {
            return Err(self.refuse(context, packet, DropReason::SubscriberLimit));
        }
        if let Err(reason) = self.room_for_session(context, subscriber).and_then(|()| self.pace(context, subscriber)) {
            return Err(self.refuse(context, packet, reason));
        }
        let wish = Wish { protocol: packet.protocol, like: packet.source_port };
        let (scope, kind) = match policy.mapping {
            MappingBehavior::EndpointIndependent => (EVERYWHERE, MappingKind::Dynamic),
            MappingBehavior::AddressAndPortDependent => ((packet.remote, packet.remote_port), MappingKind::Overlapping),
        };
        let external = match self.take_port(context, subscriber, (prefix, packet.source), (wish, scope)) {
            Ok(external) => external,
            Err(reason) => return Err(self.refuse(context, packet, reason)),
        };
        let plan = Plan { external, subscriber, prefix, scope, kind };
        let internal = (packet.source, packet.source_port);
        let mapping = self.insert_mapping(context, plan, packet.protocol, internal);
        self.insert_session_from_inside(context, mapping, packet);
        Ok(external)
    }

    /// CLOSED, from inside, with a mapping.
    pub(super) fn open_session_from_inside(
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
    pub(super) fn open_session_from_outside(
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
        filter::may_represent(context.policy, DEFAULT_PREFIX, packet.remote)?;
        let Mapping { subscriber, external, .. } = self.mappings[mapping];
        self.room_for_session(context, Some(subscriber))?;
        if packet.protocol == Protocol::Tcp {
            // It came before there was a mapping that lets it in. Its sender has an answer now, so must not get an error.
            let external = (context.pool.address(external.address), external.port);
            context.stored_syns.take(external, (packet.remote, packet.remote_port));
        }
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
            expected: [0; 2],
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

    /// Whether a subscriber may open one more mapping in this second (RFC 6888 REQ-4 c).
    fn pace(&self, context: &Context<'_>, subscriber: Option<u32>) -> Result<(), DropReason> {
        match (subscriber, context.policy.limits.new_mappings_per_second) {
            (Some(index), Some(limit)) if self.subscribers[index].opened_in(second(context)) >= limit => {
                Err(DropReason::SubscriberLimit)
            }
            _ => Ok(()),
        }
    }

    /// A port that policy lets the subscriber have: on the address it has already, or on another where it may.
    fn take_port(
        &mut self,
        context: &mut Context<'_>,
        subscriber: Option<u32>,
        (prefix, source): (u128, Ipv6Addr),
        (wish, scope): (Wish, Scope),
    ) -> Result<External, DropReason> {
        if let Some(arithmetic) = &context.allocation.deterministic {
            let share = arithmetic.share_of(source).ok_or(DropReason::AdministrativelyProhibited)?;
            let address = context.pool.index_of(share.address).ok_or(DropReason::PoolExhausted)?;
            let window = (share.first_port, share.last_port);
            return context.pool.take(address, window, wish, &mut self.random).ok_or(DropReason::PoolExhausted);
        }
        let addresses = context.allocation.addresses(source);
        let paired = subscriber.map(|index| self.subscribers[index].address).or_else(|| self.blocks.address_of(prefix));
        let at = paired.and_then(|address| addresses.binary_search(&address).ok());
        let most = addresses.len().min(MOST_ADDRESSES);
        let tries = if at.is_some() && context.policy.pooling == Pooling::Paired { 1 } else { most };
        let first = at.unwrap_or_else(|| self.least_loaded(context.pool, prefix, addresses));
        (0..tries)
            .find_map(|offset| {
                self.take_port_on(context, addresses[(first + offset) % addresses.len()], prefix, (wish, scope))
            })
            .ok_or(DropReason::PoolExhausted)
    }

    /// Where in a list of addresses a new subscriber starts to look: at the one least in use, of a few that its prefix
    /// names. With a single one, subscribers would pile up on some addresses, and be refused there, while others are
    /// half empty; the best of several is nearly as even as the best of all.
    fn least_loaded(&self, pool: &Pool, prefix: u128, addresses: &[AddressIndex]) -> usize {
        const CHOICES: u32 = 32;
        let len = u64::try_from(addresses.len().max(1)).unwrap_or(1);
        let hash = self.keys.subscriber(prefix).rotate_left(32);
        let place = |choice: u32| {
            let number = if len <= CHOICES.into() {
                (hash % len).wrapping_add(choice.into())
            } else {
                hash.rotate_left(choice * 13)
            };
            usize::try_from(number % len).unwrap_or(0)
        };
        let load = |place: &usize| addresses.get(*place).map_or(0, |address| pool.load(*address));
        (0..CHOICES).map(place).min_by_key(load).unwrap_or(0)
    }

    fn take_port_on(
        &mut self,
        context: &mut Context<'_>,
        address: AddressIndex,
        prefix: u128,
        (wish, scope): (Wish, Scope),
    ) -> Option<External> {
        if context.policy.mapping == MappingBehavior::AddressAndPortDependent {
            return context.overlap.take(context.pool, address, (wish, scope), &mut self.random);
        }
        let PortAssignment::Blocks(blocks) = context.policy.port_assignment else {
            return context.pool.take(address, ALL_PORTS, wish, &mut self.random);
        };
        let FromBlock { external, new_block } =
            self.blocks.take(context.pool, blocks, (prefix, address), wish, &mut self.random)?;
        if let Some(block) = new_block {
            report_block(context, prefix, (block, blocks.size), |last_port| EventKind::BlockAllocated { last_port });
        }
        Some(external)
    }

    fn refuse(&self, context: &mut Context<'_>, packet: &Outgoing, reason: DropReason) -> DropReason {
        context.events.push(Event {
            at: context.now,
            kind: EventKind::Refused(reason),
            protocol: packet.protocol,
            internal: (packet.source, packet.source_port),
            external: (Ipv4Addr::UNSPECIFIED, 0),
            remote: Some((packet.remote, packet.remote_port)),
            prefix: packet.prefix,
            began: context.now,
        });
        reason
    }

    fn insert_mapping(
        &mut self,
        context: &mut Context<'_>,
        plan: Plan,
        protocol: Protocol,
        internal: (Ipv6Addr, u16),
    ) -> u32 {
        let subscriber = plan.subscriber.unwrap_or_else(|| self.insert_subscriber(plan.prefix, plan.external.address));
        let entry = &mut self.subscribers[subscriber];
        entry.mappings += 1;
        // What the configuration asks for is nobody's haste.
        if plan.kind != MappingKind::Static {
            (entry.opened, entry.second) = (entry.opened_in(second(context)) + 1, second(context));
        }
        let index = self.mappings.insert(Mapping {
            internal: internal.0,
            internal_port: internal.1,
            external: plan.external,
            protocol,
            kind: plan.kind,
            scope: plan.scope,
            subscriber,
            sessions: 0,
            created: context.tick,
        });
        let Self { by_internal, mappings, keys, .. } = self;
        by_internal.insert_unique(keys.of_mapping(&mappings[index]), index, |&index| keys.of_mapping(&mappings[index]));
        let slot = (self.number << INDEX_BITS | index) + 1;
        if plan.kind == MappingKind::Overlapping {
            context.overlap.insert(Claim { protocol, external: plan.external, scope: plan.scope }, slot);
        } else {
            context.pool.set_slot(protocol, plan.external, slot);
        }
        context.totals.mapping_added(protocol);
        self.report(context, index, EventKind::MappingCreated, None);
        index
    }

    fn insert_subscriber(&mut self, prefix: u128, address: AddressIndex) -> u32 {
        let index =
            self.subscribers.insert(Subscriber { prefix, mappings: 0, sessions: 0, address, second: 0, opened: 0 });
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
            expected: [0; 2],
        };
        let session = self.insert_session(context, session);
        self.sessions[session].outbound.add(packet.packets, packet.bytes);
    }

    fn insert_session(&mut self, context: &mut Context<'_>, session: Session) -> u32 {
        let Session { mapping, remote, .. } = session;
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
        self.report(context, mapping, EventKind::SessionCreated, Some(&self.sessions[index]));
        index
    }
}

/// The second that it is, for the pace of subscribers.
fn second(context: &Context<'_>) -> u32 {
    u32::try_from(context.now.as_millis() / 1000).unwrap_or(u32::MAX)
}

/// Whether a packet may start a session.
const fn may_open(trigger: Trigger) -> Result<(), DropReason> {
    match trigger {
        Trigger::Datagram => Ok(()),
        // A SYN with RST is a reset, not an opening.
        Trigger::Tcp(tcp) if tcp.flags & (tcp_flags::SYN | tcp_flags::RST) == tcp_flags::SYN => Ok(()),
        Trigger::Tcp(_) => Err(DropReason::NoSession),
    }
}

const fn opening_lifetime(policy: &Policy, protocol: Protocol) -> Duration {
    match protocol {
        Protocol::Tcp => policy.timers.tcp_opening,
        Protocol::Udp => policy.timers.udp,
        Protocol::Icmp => policy.timers.icmp,
    }
}
