//! Copying what a single packet could meet into another translator's tables.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::allocation::Block;
use super::entry::{Mapping, Session, Subscriber};
use super::overlap::Scope;
use super::pool::External;
use super::restore;
use super::shard::Shard;
use crate::listing::{MappingInfo, SessionInfo, describe_mapping, describe_session};
use crate::packet::Protocol;
use crate::saved::SavedSession;
use crate::terms::Terms;
use crate::time::Timestamp;

/// What is known of an end of a packet.
pub(crate) struct Found {
    pub(crate) mapping: MappingInfo,
    /// The session with the other end, if there is one.
    pub(crate) session: Option<SessionInfo>,
    /// The mapping with that session, or with one that is made up.
    pub(crate) saved: SavedSession,
}

/// A block of ports by addresses, which mean the same to every translator.
pub(crate) type CopiedBlock = (Ipv4Addr, Block);

impl Shard {
    /// What is known of a host's address and port towards a destination.
    pub(crate) fn found_from_inside(
        &self,
        terms: &Terms,
        now: Timestamp,
        protocol: Protocol,
        host: (Ipv6Addr, u16),
        remote: Scope,
    ) -> Option<Found> {
        let (index, mapping) = self.mapping_towards(&terms.policy, protocol, host, remote)?;
        Some(self.found(terms, now, (index, mapping), remote))
    }

    /// What is known of a pool address and port, whose slot names `mapping`, towards somebody outside.
    pub(crate) fn found_from_outside(
        &self,
        terms: &Terms,
        now: Timestamp,
        (index, protocol, external): (u32, Protocol, External),
        remote: Scope,
    ) -> Option<Found> {
        let mapping = self.owner(index, protocol, external, remote)?;
        Some(self.found(terms, now, (index, mapping), remote))
    }

    fn found(&self, terms: &Terms, now: Timestamp, (index, mapping): (u32, &Mapping), remote: Scope) -> Found {
        let session = self.session_of(index, mapping, remote).map(|index| &self.sessions[index]);
        let any = session.copied().unwrap_or(Session::BLANK);
        Found {
            mapping: describe_mapping(terms, mapping),
            session: session.map(|session| describe_session(terms, mapping, session, now)),
            saved: restore::saved(terms, mapping, &any),
        }
    }

    /// A subscriber with the pool address of its mappings, and its blocks.
    pub(crate) fn subscriber_to_copy(
        &self,
        terms: &Terms,
        prefix: u128,
    ) -> (Option<(Ipv4Addr, Subscriber)>, Vec<CopiedBlock>) {
        let subscriber = self.subscriber_of(prefix).map(|index| self.subscribers[index]);
        let blocks = self.blocks.of(prefix).iter().map(|block| (terms.pool.address(block.address), *block)).collect();
        (subscriber.map(|subscriber| (terms.pool.address(subscriber.address), subscriber)), blocks)
    }

    /// Takes a subscriber in, as it is elsewhere.
    pub(crate) fn adopt_subscriber(
        &mut self,
        terms: &Terms,
        prefix: u128,
        subscriber: Option<(Ipv4Addr, Subscriber)>,
        blocks: &[CopiedBlock],
    ) {
        if let Some((address, subscriber)) = subscriber
            && let Some(address) = terms.pool.index_of(address)
        {
            let index = self.subscriber_of(prefix).unwrap_or_else(|| self.insert_subscriber(prefix, address));
            self.subscribers[index] = Subscriber { address, ..subscriber };
        }
        let blocks = blocks
            .iter()
            .filter_map(|(address, block)| terms.pool.index_of(*address).map(|address| Block { address, ..*block }));
        if let Some(size) = super::allocation::block_size(&terms.policy) {
            self.blocks.adopt(prefix, size, blocks.collect());
        }
    }
}
