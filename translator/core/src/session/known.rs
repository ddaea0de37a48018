//! Looking up what a packet belongs to.

use std::net::Ipv6Addr;

use super::entry::{Mapping, MappingKind, Session};
use super::overlap::{EVERYWHERE, Scope};
use super::pool::External;
use super::refresh::{Rules, States};
use super::shard::{Incoming, Internal, Outgoing, Shard, Trigger};
use super::wheel::Tick;
use crate::packet::Protocol;
use crate::policy::{MappingBehavior, Policy};
use crate::verdict::Direction;

/// What a packet adds to its session.
struct Passing {
    protocol: Protocol,
    trigger: Trigger,
    direction: Direction,
    packets: u32,
    bytes: u32,
}

impl Shard {
    /// Takes a packet from the IPv6 side to its session: the pool address and port to send it from. If it has no session,
    /// the mapping that it has, if any, for [`Shard::open_outbound`].
    #[inline(always)]
    pub(crate) fn known_outbound(&mut self, rules: Rules<'_>, packet: &Outgoing) -> Result<External, Option<u32>> {
        let Outgoing { protocol, trigger, packets, bytes, .. } = *packet;
        let scope = (packet.remote, packet.remote_port);
        let internal = (packet.source, packet.source_port);
        let (mapping, entry) = self.mapping_towards(&rules.terms.policy, protocol, internal, scope).ok_or(None)?;
        let external = entry.external;
        let passing = Passing { protocol, trigger, direction: Direction::SixToFour, packets, bytes };
        self.pass(mapping, scope, rules, passing).ok_or(Some(mapping))?;
        Ok(external)
    }

    /// Takes a packet from the IPv4 side, whose port's slot names `mapping`, to its session: the host to send it to. If it
    /// has no session, the mapping that it has, if any, for [`Shard::open_inbound`].
    #[inline(always)]
    pub(crate) fn known_inbound(
        &mut self,
        rules: Rules<'_>,
        mapping: u32,
        packet: &Incoming,
    ) -> Result<Internal, Option<u32>> {
        let Incoming { protocol, trigger, packets, bytes, .. } = *packet;
        let scope = (packet.remote, packet.remote_port);
        let entry = self.owner(mapping, protocol, packet.external, scope).ok_or(None)?;
        let (address, port) = (entry.internal, entry.internal_port);
        let passing = Passing { protocol, trigger, direction: Direction::FourToSix, packets, bytes };
        let prefix = self.pass(mapping, scope, rules, passing).ok_or(Some(mapping))?;
        Ok(Internal { address, port, prefix })
    }

    /// Lets a packet have its effect on the session of `mapping` with `remote`. Returns the prefix that the session is under,
    /// or nothing if there is no such session.
    #[inline(always)]
    fn pass(&mut self, mapping: u32, remote: Scope, rules: Rules<'_>, packet: Passing) -> Option<u8> {
        let Self { sessions, states, .. } = self;
        match sessions.at_home_mut(mapping) {
            Some(session) if (session.remote, session.remote_port) == remote => {
                let (prefix, sooner) = (session.prefix, session.pass(rules, packet, states));
                if let Some(sooner) = sooner {
                    self.bring_forward(mapping, sooner);
                }
                Some(prefix)
            }
            _ => self.pass_in_table(mapping, remote, rules, packet),
        }
    }

    /// As [`Shard::pass`], of a session that is not at its mapping's index.
    #[inline(never)]
    fn pass_in_table(&mut self, mapping: u32, remote: Scope, rules: Rules<'_>, packet: Passing) -> Option<u8> {
        let index = self.session_of(mapping, &self.mappings[mapping], remote)?;
        let Self { sessions, states, .. } = self;
        let session = &mut sessions[index];
        let (prefix, sooner) = (session.prefix, session.pass(rules, packet, states));
        if let Some(sooner) = sooner {
            self.bring_forward(index, sooner);
        }
        Some(prefix)
    }

    /// The pool address and port of a host's own, for the packet inside an ICMP error that the host's side sent about
    /// what had come from `remote`.
    pub(crate) fn external_of(
        &self,
        policy: &Policy,
        protocol: Protocol,
        internal: (Ipv6Addr, u16),
        remote: Scope,
    ) -> Option<External> {
        let (_, entry) = self.mapping_towards(policy, protocol, internal, remote)?;
        Some(entry.external)
    }

    /// The host that a pool address and port belong to, for the packet inside an ICMP error from the IPv4 side.
    pub(crate) fn internal_of(
        &self,
        mapping: u32,
        protocol: Protocol,
        external: External,
        remote: Scope,
    ) -> Option<Internal> {
        let entry = self.owner(mapping, protocol, external, remote)?;
        let session = self.session_of(mapping, entry, remote);
        let prefix = session.map_or(0, |session| self.sessions[session].prefix);
        Some(Internal { address: entry.internal, port: entry.internal_port, prefix })
    }

    /// The mapping that a host's packets to a destination use.
    #[inline(always)]
    pub(super) fn mapping_towards(
        &self,
        policy: &Policy,
        protocol: Protocol,
        internal: (Ipv6Addr, u16),
        destination: Scope,
    ) -> Option<(u32, &Mapping)> {
        let mapping = self.mapping_of(protocol, internal, EVERYWHERE);
        match policy.mapping {
            MappingBehavior::EndpointIndependent => mapping,
            // What is everywhere here is static.
            MappingBehavior::AddressAndPortDependent => {
                mapping.or_else(|| self.mapping_of(protocol, internal, destination))
            }
        }
    }

    #[inline(never)]
    pub(super) fn mapping_of(
        &self,
        protocol: Protocol,
        (address, port): (Ipv6Addr, u16),
        scope: Scope,
    ) -> Option<(u32, &Mapping)> {
        let hash = self.keys.internal(protocol, address, port, scope);
        let same = |&index: &u32| {
            let mapping = &self.mappings[index];
            mapping.internal == address
                && mapping.internal_port == port
                && mapping.protocol == protocol
                && mapping.scope == scope
        };
        let index = *self.by_internal.find(hash, same)?;
        Some((index, &self.mappings[index]))
    }

    /// The mapping that a slot names, if the slot still says the truth: between reading it and locking the shard, the
    /// port may have changed hands.
    #[inline(always)]
    pub(super) fn owner(
        &self,
        mapping: u32,
        protocol: Protocol,
        external: External,
        remote: Scope,
    ) -> Option<&Mapping> {
        let entry = self.mappings.get(mapping)?;
        let alive = match entry.kind {
            MappingKind::Free => false,
            MappingKind::Overlapping => entry.scope == remote,
            MappingKind::Dynamic | MappingKind::Static | MappingKind::Former => true,
        };
        (alive && entry.external == external && entry.protocol == protocol).then_some(entry)
    }

    /// The session of a mapping with `remote`.
    #[inline]
    pub(super) fn session_of(&self, mapping: u32, entry: &Mapping, remote: Scope) -> Option<u32> {
        let home = self.sessions.at_home(mapping);
        if home.is_some_and(|session| (session.remote, session.remote_port) == remote) {
            return Some(mapping);
        }
        if entry.sessions > home.is_some().into() { self.session_in_table(mapping, remote) } else { None }
    }

    #[inline(never)]
    fn session_in_table(&self, mapping: u32, (remote, port): Scope) -> Option<u32> {
        let hash = self.keys.remote(mapping, remote, port);
        let same = |&index: &u32| {
            let session = &self.sessions[index];
            session.mapping == mapping && session.remote == remote && session.remote_port == port
        };
        self.by_remote.find(hash, same).copied()
    }

    #[cold]
    pub(super) fn bring_forward(&mut self, index: u32, deadline: Tick) {
        self.wheel.remove(&mut self.sessions, index);
        self.sessions[index].expires = deadline;
        self.wheel.insert(&mut self.sessions, index);
    }
}

impl Session {
    #[inline(always)]
    fn pass(&mut self, rules: Rules<'_>, packet: Passing, states: &mut States) -> Option<Tick> {
        let Passing { protocol, trigger, direction, packets, bytes } = packet;
        let tally = match direction {
            Direction::SixToFour => &mut self.outbound,
            Direction::FourToSix => &mut self.inbound,
        };
        tally.add(packets, bytes);
        self.refresh(rules, protocol, trigger, direction, states)
    }
}
