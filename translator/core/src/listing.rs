//! Looking at the state from outside: mappings, sessions, use of the pool.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::Ipv6Net;

use crate::event::Traffic;
use crate::packet::Protocol;
use crate::session::{Mapping, MappingKind, Session};
use crate::time::Timestamp;
use crate::translator::Translator;

/// A mapping (BIB entry). Ports are in host order; for ICMP they are identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingInfo {
    /// Its protocol.
    pub protocol: Protocol,
    /// Address and port of the host behind the translator.
    pub internal: (Ipv6Addr, u16),
    /// Pool address and port.
    pub external: (Ipv4Addr, u16),
    /// How many sessions it has.
    pub sessions: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Whether the configuration asks for it, so that it stays without sessions.
    pub fixed: bool,
}

/// A session (STE). Ports are in host order; for ICMP `remote.1` is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its protocol.
    pub protocol: Protocol,
    /// Address and port of the host behind the translator.
    pub internal: (Ipv6Addr, u16),
    /// Pool address and port.
    pub external: (Ipv4Addr, u16),
    /// Address and port of the IPv4 host.
    pub remote: (Ipv4Addr, u16),
    /// The IPv4 host's address as the host behind the translator sees it.
    pub remote6: Ipv6Addr,
    /// The TCP state in the words of RFC 6146 §3.5.2.1; `ACTIVE` for UDP and ICMP.
    pub state: &'static str,
    /// How long it lives if no packet comes.
    pub expires_in: Duration,
    /// When it was made.
    pub created: Timestamp,
    /// From IPv6 to IPv4.
    pub outbound: Traffic,
    /// From IPv4 to IPv6.
    pub inbound: Traffic,
}

/// How much of everything is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Mappings, in the order of [`Protocol::ALL`].
    pub mappings: [u32; Protocol::ALL.len()],
    /// Sessions, in the order of [`Protocol::ALL`].
    pub sessions: [u32; Protocol::ALL.len()],
    /// Pool addresses.
    pub pool_addresses: u32,
    /// Ports of all pool addresses, for each protocol.
    pub pool_ports: u64,
    /// Of these taken, resting ones included, in the order of [`Protocol::ALL`].
    pub pool_ports_taken: [u64; Protocol::ALL.len()],
}

impl Translator {
    /// How many shards [`Translator::visit_mappings`] and [`Translator::visit_sessions`] can be asked for.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shard_count()
    }

    /// How much of everything is in use.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            mappings: self.totals.mappings_by_protocol(),
            sessions: self.totals.sessions_by_protocol(),
            pool_addresses: u32::try_from(self.pool.len()).unwrap_or(u32::MAX),
            pool_ports: self.pool.ports(),
            pool_ports_taken: Protocol::ALL.map(|protocol| self.pool.taken(protocol)),
        }
    }

    /// The subscriber that deterministic assignment gives this port to, now and at any other time under this policy
    /// (RFC 7422 §2.1); nothing where ports are not assigned so.
    #[must_use]
    pub fn subscriber_of(&self, address: Ipv4Addr, port: u16) -> Option<Ipv6Net> {
        self.allocation.deterministic.as_ref()?.subscriber_of(address, port)
    }

    /// Calls `visit` for the mappings of a shard, a few hundred under one lock, so that workers are not kept waiting.
    /// What is made or removed meanwhile may or may not be among them. `visit` must not call the translator.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn visit_mappings(&self, shard: usize, visit: &mut dyn FnMut(&MappingInfo)) {
        let mut describe = |mapping: &Mapping| visit(&self.describe_mapping(mapping));
        let mut page = 0;
        while self.shard(shard).page_of_mappings(page, &mut describe) {
            page += 1;
        }
    }

    /// As [`Translator::visit_mappings`], for the sessions of a shard.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn visit_sessions(&self, shard: usize, now: Timestamp, visit: &mut dyn FnMut(&SessionInfo)) {
        let mut describe = |mapping: &Mapping, session: &Session| visit(&self.describe_session(mapping, session, now));
        let mut page = 0;
        while self.shard(shard).page_of_sessions(page, &mut describe) {
            page += 1;
        }
    }

    fn describe_mapping(&self, mapping: &Mapping) -> MappingInfo {
        MappingInfo {
            protocol: mapping.protocol,
            internal: (mapping.internal, mapping.internal_port),
            external: (self.pool.address(mapping.external.address), mapping.external.port),
            sessions: mapping.sessions,
            created: mapping.created.start(),
            fixed: mapping.kind == MappingKind::Static,
        }
    }

    fn describe_session(&self, mapping: &Mapping, session: &Session, now: Timestamp) -> SessionInfo {
        let MappingInfo { protocol, internal, external, .. } = self.describe_mapping(mapping);
        SessionInfo {
            protocol,
            internal,
            external,
            remote: (session.remote, session.remote_port),
            remote6: self.policy.prefixes[usize::from(session.prefix)].embed(session.remote),
            state: if protocol == Protocol::Tcp { session.state.name() } else { "ACTIVE" },
            expires_in: session.expires.start().since(now),
            created: session.created.start(),
            outbound: session.outbound.total(),
            inbound: session.inbound.total(),
        }
    }
}
