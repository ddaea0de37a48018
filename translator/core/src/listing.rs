//! Looking at the state from outside: mappings, sessions, use of the pool.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::Ipv6Net;

use crate::event::Traffic;
use crate::packet::Protocol;
use crate::session::{Mapping, MappingKind, Session, Subscriber, TcpState, block_size};
use crate::terms::Terms;
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

impl SessionInfo {
    /// The state of sessions that are not TCP.
    const ACTIVE: &'static str = "ACTIVE";

    /// Everything that `state` can be.
    pub fn states() -> impl Iterator<Item = &'static str> {
        TcpState::ALL.iter().map(|state| state.name()).chain([Self::ACTIVE])
    }
}

/// A subscriber: a source prefix of the policy's length that has mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriberInfo {
    /// Its prefix.
    pub prefix: Ipv6Net,
    /// The pool address that its mappings are on (RFC 6888 REQ-2).
    pub address: Ipv4Addr,
    /// How many mappings it has.
    pub mappings: u32,
    /// How many sessions it has.
    pub sessions: u32,
}

/// A pool address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolAddressInfo {
    /// The address.
    pub address: Ipv4Addr,
    /// Ports that belong to the translator, for each protocol.
    pub ports: u32,
    /// Of these taken, resting ones included, in the order of [`Protocol::ALL`].
    pub taken: [u32; Protocol::ALL.len()],
}

/// How much of everything is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Mappings, in the order of [`Protocol::ALL`].
    pub mappings: [u32; Protocol::ALL.len()],
    /// Sessions, in the order of [`Protocol::ALL`].
    pub sessions: [u32; Protocol::ALL.len()],
    /// TCP sessions by their state, in the words of RFC 6146 §3.5.2.1.
    pub tcp_states: [(&'static str, u32); TcpState::ALL.len()],
    /// Pool addresses.
    pub pool_addresses: u32,
    /// Ports of all pool addresses, for each protocol.
    pub pool_ports: u64,
    /// Of these taken, resting ones included, in the order of [`Protocol::ALL`].
    pub pool_ports_taken: [u64; Protocol::ALL.len()],
    /// Blocks of ports, where ports are assigned in blocks that subscribers take as they need them.
    pub pool_blocks: Option<BlockUse>,
}

/// Blocks of ports, of all pool addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockUse {
    /// Those that subscribers have.
    pub taken: u32,
    /// Those that there are.
    pub all: u32,
}

/// Some hundred entries that are listed under one lock. The default is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    shard: usize,
    number: u32,
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
        let terms = self.terms();
        let pool = &terms.pool;
        Usage {
            mappings: self.totals.mappings_by_protocol(),
            sessions: self.totals.sessions_by_protocol(),
            tcp_states: self.tcp_states(),
            pool_addresses: u32::try_from(pool.len()).unwrap_or(u32::MAX),
            pool_ports: pool.ports(),
            pool_ports_taken: Protocol::ALL.map(|protocol| pool.taken(protocol)),
            pool_blocks: block_size(&terms.policy).map(|size| pool.block_use(size)),
        }
    }

    fn tcp_states(&self) -> [(&'static str, u32); TcpState::ALL.len()] {
        let mut states = TcpState::ALL.map(|state| (state.name(), 0));
        for shard in 0..self.shard_count() {
            // One after the other, each for a moment.
            let counts = self.shard(shard).states();
            states.iter_mut().zip(counts.0).for_each(|((_, sum), count)| *sum += count);
        }
        states
    }

    /// The subscriber that deterministic assignment gives this port to, now and at any other time under this policy
    /// (RFC 7422 §2.1); nothing where ports are not assigned so.
    #[must_use]
    pub fn subscriber_of(&self, address: Ipv4Addr, port: u16) -> Option<Ipv6Net> {
        self.terms().allocation.deterministic.as_ref()?.subscriber_of(address, port)
    }

    /// Calls `visit` for the mappings of a shard, a few hundred under one lock, so that workers are not kept waiting.
    /// What is made or removed meanwhile may or may not be among them. `visit` must not call the translator.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn visit_mappings(&self, shard: usize, visit: &mut dyn FnMut(&MappingInfo)) {
        each_page(shard, |page| self.page_of_mappings(page, visit));
    }

    /// As [`Translator::visit_mappings`], for the sessions of a shard.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn visit_sessions(&self, shard: usize, now: Timestamp, visit: &mut dyn FnMut(&SessionInfo)) {
        each_page(shard, |page| self.page_of_sessions(page, now, visit));
    }

    /// As [`Translator::visit_mappings`], for the subscribers of a shard.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn visit_subscribers(&self, shard: usize, visit: &mut dyn FnMut(&SubscriberInfo)) {
        each_page(shard, |page| self.page_of_subscribers(page, visit));
    }

    /// Calls `visit` for the mappings of one page under one lock and returns the next page, if there is one: for those who
    /// hold on to no more than a page at a time. What is made or removed between two pages may or may not be on one.
    /// `visit` must not call the translator.
    pub fn page_of_mappings(&self, page: Page, visit: &mut dyn FnMut(&MappingInfo)) -> Option<Page> {
        let shard = self.shard(page.shard);
        // Not before the lock: what is in the shard was made under these terms or earlier ones.
        let terms = self.terms();
        let mut describe = |mapping: &Mapping| visit(&describe_mapping(&terms, mapping));
        self.page_after(page, shard.page_of_mappings(page.number, &mut describe))
    }

    /// As [`Translator::page_of_mappings`], for sessions.
    pub fn page_of_sessions(&self, page: Page, now: Timestamp, visit: &mut dyn FnMut(&SessionInfo)) -> Option<Page> {
        let shard = self.shard(page.shard);
        let terms = self.terms();
        let mut describe =
            |mapping: &Mapping, session: &Session| visit(&describe_session(&terms, mapping, session, now));
        self.page_after(page, shard.page_of_sessions(page.number, &mut describe))
    }

    /// As [`Translator::page_of_mappings`], for subscribers.
    pub fn page_of_subscribers(&self, page: Page, visit: &mut dyn FnMut(&SubscriberInfo)) -> Option<Page> {
        let shard = self.shard(page.shard);
        let terms = self.terms();
        let mut describe = |subscriber: &Subscriber| visit(&describe_subscriber(&terms, subscriber));
        self.page_after(page, shard.page_of_subscribers(page.number, &mut describe))
    }

    fn page_after(&self, Page { shard, number }: Page, has_more: bool) -> Option<Page> {
        if has_more {
            return Some(Page { shard, number: number + 1 });
        }
        (shard + 1 < self.shard_count()).then_some(Page { shard: shard + 1, number: 0 })
    }

    /// The pool addresses, ascending, with their use.
    #[must_use]
    pub fn pool_addresses(&self) -> Vec<PoolAddressInfo> {
        self.terms().pool.usage().collect()
    }
}

/// Asks for the pages of one shard, one after the other.
fn each_page(shard: usize, mut visit: impl FnMut(Page) -> Option<Page>) {
    let mut page = Some(Page { shard, number: 0 });
    while let Some(this) = page.filter(|page| page.shard == shard) {
        page = visit(this);
    }
}

fn describe_subscriber(terms: &Terms, subscriber: &Subscriber) -> SubscriberInfo {
    SubscriberInfo {
        prefix: Ipv6Net::new_assert(subscriber.prefix.into(), terms.policy.subscriber_length),
        address: terms.pool.address(subscriber.address),
        mappings: subscriber.mappings,
        sessions: subscriber.sessions,
    }
}

pub(crate) fn describe_mapping(terms: &Terms, mapping: &Mapping) -> MappingInfo {
    MappingInfo {
        protocol: mapping.protocol,
        internal: (mapping.internal, mapping.internal_port),
        external: (terms.pool.address(mapping.external.address), mapping.external.port),
        sessions: mapping.sessions,
        created: mapping.created.start(),
        fixed: mapping.kind == MappingKind::Static,
    }
}

pub(crate) fn describe_session(terms: &Terms, mapping: &Mapping, session: &Session, now: Timestamp) -> SessionInfo {
    let MappingInfo { protocol, internal, external, .. } = describe_mapping(terms, mapping);
    SessionInfo {
        protocol,
        internal,
        external,
        remote: (session.remote, session.remote_port),
        remote6: terms.prefixes.at(session.prefix).embed(session.remote),
        state: if protocol == Protocol::Tcp { session.state.name() } else { SessionInfo::ACTIVE },
        expires_in: session.expires.start().since(now),
        created: session.created.start(),
        outbound: session.outbound.total(),
        inbound: session.inbound.total(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, PortAssignment, PortBlocks};
    use crate::testing::{CLIENT, Lab, OTHER, POOL, Payload, SERVER, packet4, packet6, policy, six};

    fn subscribers(lab: &Lab) -> Vec<SubscriberInfo> {
        let mut found = Vec::new();
        for shard in 0..lab.translator.shards() {
            lab.translator.visit_subscribers(shard, &mut |subscriber| found.push(*subscriber));
        }
        found.sort_by_key(|subscriber| subscriber.prefix);
        found
    }

    #[test]
    fn subscribers_and_pool_addresses_are_listed_with_what_they_have() {
        let mut lab = Lab::new(Policy { subscriber_length: 64, ..policy() });
        for (host, port) in [(CLIENT, 1), (CLIENT, 2), (OTHER, 3)] {
            lab.pass(&packet6(host, six(SERVER), Payload::Udp(port, 53, b"")));
        }
        lab.pass(&packet6(CLIENT, six(SERVER), Payload::Udp(1, 54, b"")));

        let found = subscribers(&lab);
        let pool = lab.translator.pool_addresses();

        let counts = |one: &SubscriberInfo| (one.prefix.to_string(), one.address, one.mappings, one.sessions);
        assert_eq!(counts(&found[0]), ("2001:db8:1::/64".to_owned(), POOL, 2, 3));
        assert_eq!(counts(&found[1]), ("2001:db8:2::/64".to_owned(), POOL, 1, 1));
        assert_eq!(pool, [PoolAddressInfo { address: POOL, ports: 65_535, taken: [0, 3, 0] }]);
        lab.pass_time(Duration::from_secs(600));
        assert_eq!(subscribers(&lab), [], "nobody without mappings");
    }

    #[test]
    fn blocks_are_counted_that_subscribers_have_and_that_there_are() {
        let blocks = PortBlocks { size: 1024, per_subscriber: 2 };
        let mut lab = Lab::new(Policy { port_assignment: PortAssignment::Blocks(blocks), ..policy() });
        let used = |lab: &Lab| lab.translator.usage().pool_blocks;
        assert_eq!(used(&lab), Some(BlockUse { taken: 0, all: 64 }));
        for (host, port) in [(CLIENT, 1), (CLIENT, 2), (OTHER, 3)] {
            lab.pass(&packet6(host, six(SERVER), Payload::Udp(port, 53, b"")));
        }
        assert_eq!(used(&lab), Some(BlockUse { taken: 2, all: 64 }));
        lab.pass_time(Duration::from_secs(900));
        assert_eq!(used(&lab), Some(BlockUse { taken: 0, all: 64 }));
        assert_eq!(Lab::new(policy()).translator.usage().pool_blocks, None);
    }

    #[test]
    fn tcp_sessions_are_counted_by_state_wherever_they_go() {
        use crate::testing::{Flags, ports};
        let mut lab = Lab::new(policy());
        let counts = |lab: &Lab| -> Vec<(&str, u32)> {
            lab.translator.usage().tcp_states.into_iter().filter(|(_, count)| *count > 0).collect()
        };
        let tcp = |port, flags| packet6(CLIENT, six(SERVER), Payload::Tcp(port, 80, flags));
        for port in 1..=4 {
            let out = lab.pass(&tcp(port, Flags::Syn));
            if port > 1 {
                lab.pass(&packet4(SERVER, POOL, Payload::Tcp(80, ports(&out).0, Flags::SynAck)));
            }
        }
        assert_eq!(counts(&lab), [("V6_INIT", 1), ("ESTABLISHED", 3)]);
        lab.pass(&tcp(2, Flags::FinAck));
        lab.pass(&tcp(3, Flags::Rst));
        assert_eq!(counts(&lab), [("V6_INIT", 1), ("ESTABLISHED", 1), ("V6_FIN_RCV", 1), ("TRANS", 1)]);
        let listed = lab.sessions().iter().filter(|session| session.state == "TRANS").count();
        assert_eq!(listed, 1);
        lab.pass_time(Duration::from_secs(7441));
        assert_eq!(counts(&lab).iter().map(|(_, count)| count).sum::<u32>() as usize, lab.sessions().len());
        lab.pass_time(Duration::from_secs(3600));
        assert_eq!(counts(&lab), []);
    }
}
