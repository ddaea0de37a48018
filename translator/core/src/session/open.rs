//! How mappings and sessions come to be (RFC 6146 §3.5.1, §3.5.2.2 CLOSED, §3.5.3).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::entry::{Mapping, MappingKind, Session, Subscriber, Tally};
use super::overlap::{Claim, EVERYWHERE, Scope};
use super::pool::{AddressIndex, External, Wish};
use super::sessions::Sessions;
use super::shard::{Context, Incoming, Outgoing, Shard, Trigger, subscriber_prefix};
use super::tcp::TcpState;
use super::wheel::Links;
use crate::event::{Event, EventKind};
use crate::filter;
use crate::packet::{Protocol, tcp_flags};
use crate::policy::{Filtering, MappingBehavior, Policy};
use crate::verdict::DropReason;

/// Who opens a session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opener {
    Inside,
    Outside,
}

impl Opener {
    /// How much of a limit it may use up. Anyone outside can open sessions with a mapping from as many addresses and ports
    /// as it likes to write into its packets; a quarter of the sessions is left to those inside.
    const fn part_of(self, limit: u32) -> u32 {
        match self {
            Self::Inside => limit,
            Self::Outside => limit - limit / 4,
        }
    }
}

/// A mapping that is to be made once nothing can fail any more.
pub(super) struct Plan {
    pub(super) external: External,
    pub(super) subscriber: Option<u32>,
    pub(super) prefix: u128,
    pub(super) scope: Scope,
    pub(super) kind: MappingKind,
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
        let prefix = subscriber_prefix(context.terms.policy.subscriber_length, internal.0);
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
        let policy = &context.terms.policy;
        if policy.draining.everything {
            return Err(self.refuse(context, packet, DropReason::Draining));
        }
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
        if let Err(reason) =
            self.room_for_session(context, subscriber, Opener::Inside).and_then(|()| self.pace(context, subscriber))
        {
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
        let Mapping { subscriber, external, .. } = self.mappings[mapping];
        if let Err(reason) = takes_sessions(context, external)
            .and_then(|()| self.room_for_session(context, Some(subscriber), Opener::Inside))
        {
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
        if context.terms.policy.filtering == Filtering::AddressDependent
            && !self.peers.contains_key(&(mapping, packet.remote))
        {
            return Err(DropReason::Filtered);
        }
        if may_open(packet.trigger).is_err() {
            return Ok(context.terms.prefixes.first());
        }
        if packet.protocol == Protocol::Tcp && !context.terms.policy.inbound_tcp {
            return Err(DropReason::AdministrativelyProhibited);
        }
        let prefix = context.terms.prefixes.first();
        filter::may_represent(context.terms, prefix, packet.remote)?;
        let Mapping { subscriber, external, .. } = self.mappings[mapping];
        if let Err(reason) = takes_sessions(context, external)
            .and_then(|()| self.room_for_session(context, Some(subscriber), Opener::Outside))
        {
            return Err(self.refuse_from_outside(context, mapping, packet, reason));
        }
        if packet.protocol == Protocol::Tcp {
            // It came before there was a mapping that lets it in. Its sender has an answer now, so must not get an error.
            let external = (context.terms.pool.address(external.address), external.port);
            context.stored_syns.take(external, (packet.remote, packet.remote_port));
        }
        let session = Session {
            mapping,
            remote: packet.remote,
            remote_port: packet.remote_port,
            state: TcpState::V4Init,
            prefix,
            expires: context.tick.after(opening_lifetime(&context.terms.policy, packet.protocol)),
            links: Links::NEW,
            created: context.tick,
            outbound: Tally::ZERO,
            inbound: Tally::first(packet.packets, packet.bytes),
            expected: [0; 2],
        };
        self.insert_session(context, session);
        Ok(prefix)
    }

    fn room_for_session(
        &self,
        context: &Context<'_>,
        subscriber: Option<u32>,
        opener: Opener,
    ) -> Result<(), DropReason> {
        let limits = &context.terms.policy.limits;
        if context.totals.sessions() >= opener.part_of(limits.sessions) {
            return Err(DropReason::TableFull);
        }
        match (subscriber, limits.sessions_per_subscriber) {
            (Some(index), Some(limit)) if self.subscribers[index].sessions >= opener.part_of(limit) => {
                Err(DropReason::SubscriberLimit)
            }
            _ => Ok(()),
        }
    }

    /// Whether a subscriber may open one more mapping in this second (RFC 6888 REQ-4 c).
    fn pace(&self, context: &Context<'_>, subscriber: Option<u32>) -> Result<(), DropReason> {
        match (subscriber, context.terms.policy.limits.new_mappings_per_second) {
            (Some(index), Some(limit)) if self.subscribers[index].opened_in(second(context)) >= limit => {
                Err(DropReason::SubscriberLimit)
            }
            _ => Ok(()),
        }
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

    fn refuse_from_outside(
        &self,
        context: &mut Context<'_>,
        mapping: u32,
        packet: &Incoming,
        reason: DropReason,
    ) -> DropReason {
        let Mapping { internal, internal_port, external, protocol, .. } = self.mappings[mapping];
        context.events.push(Event {
            at: context.now,
            kind: EventKind::Refused(reason),
            protocol,
            internal: (internal, internal_port),
            external: (context.terms.pool.address(external.address), external.port),
            remote: Some((packet.remote, packet.remote_port)),
            prefix: context.terms.prefixes.first(),
            began: context.now,
        });
        reason
    }

    pub(super) fn insert_mapping(
        &mut self,
        context: &mut Context<'_>,
        plan: Plan,
        protocol: Protocol,
        internal: (Ipv6Addr, u16),
    ) -> u32 {
        let subscriber = plan.subscriber.unwrap_or_else(|| self.insert_subscriber(plan.prefix, plan.external.address));
        let entry = &mut self.subscribers[subscriber];
        entry.mappings += 1;
        if !context.terms.pool.is_live(entry.address) || context.terms.drain(entry.address) {
            // The address that it had is not for it any more; from now on it is paired with this one (RFC 4787 REQ-2).
            entry.address = plan.external.address;
        }
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
            ousted: false,
            scope: plan.scope,
            subscriber,
            sessions: 0,
            created: context.tick,
        });
        let Self { by_internal, mappings, keys, .. } = self;
        by_internal.insert_unique(keys.of_mapping(&mappings[index]), index, |&index| keys.of_mapping(&mappings[index]));
        let slot = self.slot_of(index);
        if plan.kind == MappingKind::Overlapping {
            context.overlap.insert(Claim { protocol, external: plan.external, scope: plan.scope }, slot);
        } else {
            context.terms.pool.set_slot(protocol, plan.external, slot);
        }
        context.totals.mapping_added(protocol);
        self.report(context, index, EventKind::MappingCreated, None);
        index
    }

    pub(super) fn insert_subscriber(&mut self, prefix: u128, address: AddressIndex) -> u32 {
        let index =
            self.subscribers.insert(Subscriber { prefix, mappings: 0, sessions: 0, address, second: 0, opened: 0 });
        let Self { by_prefix, subscribers, keys, .. } = self;
        by_prefix.insert_unique(keys.subscriber(prefix), index, |&index| keys.subscriber(subscribers[index].prefix));
        index
    }

    fn insert_session_from_inside(&mut self, context: &mut Context<'_>, mapping: u32, packet: &Outgoing) {
        let external = self.mappings[mapping].external;
        let external = (context.terms.pool.address(external.address), external.port);
        // V4 INIT and a V6 SYN: simultaneous open. The stored SYN is answered by this one and goes (RFC 5382 REQ-4).
        let simultaneous =
            packet.protocol == Protocol::Tcp && context.stored_syns.take(external, (packet.remote, packet.remote_port));
        let (state, lifetime) = if simultaneous {
            (TcpState::Established, context.terms.policy.timers.tcp_established)
        } else {
            (TcpState::V6Init, opening_lifetime(&context.terms.policy, packet.protocol))
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
            outbound: Tally::first(packet.packets, packet.bytes),
            inbound: Tally::ZERO,
            expected: [0; 2],
        };
        self.insert_session(context, session);
    }

    pub(super) fn insert_session(&mut self, context: &mut Context<'_>, session: Session) {
        let Session { mapping, remote, .. } = session;
        let index = self.sessions.insert(session);
        let Self { by_remote, sessions, mappings, keys, .. } = self;
        let entry = &mut mappings[mapping];
        if !Sessions::is_at_home(index) {
            let hash_of = |session: &Session| keys.remote(session.mapping, session.remote, session.remote_port);
            by_remote.insert_unique(hash_of(&session), index, |&index| hash_of(&sessions[index]));
        }
        self.wheel.insert(sessions, index);
        entry.sessions += 1;
        let (protocol, subscriber) = (entry.protocol, entry.subscriber);
        self.subscribers[subscriber].sessions += 1;
        if context.terms.policy.filtering == Filtering::AddressDependent {
            *self.peers.entry((mapping, remote)).or_default() += 1;
        }
        context.totals.session_added(protocol);
        if protocol == Protocol::Tcp {
            self.states.added(session.state);
        }
        self.report(context, mapping, EventKind::SessionCreated, Some(&session));
    }
}

/// Whether a pool address is not being drained.
fn takes_sessions(context: &Context<'_>, external: External) -> Result<(), DropReason> {
    if context.terms.drain(external.address) { Err(DropReason::Draining) } else { Ok(()) }
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
