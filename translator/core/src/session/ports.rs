//! Which address and port a new mapping is given (RFC 6146 §3.5.1.1, §3.5.2.3; RFC 4787 REQ-2).

use std::net::Ipv6Addr;

use super::allocation::{ALL_PORTS, FromBlock};
use super::close::report_block;
use super::overlap::{Claim, Scope};
use super::pool::{AddressIndex, External, Wish};
use super::shard::{Context, Shard};
use crate::event::EventKind;
use crate::policy::{MappingBehavior, Pooling, PortAssignment};
use crate::verdict::DropReason;

/// Pool addresses that are tried for one packet at the most.
const MOST_ADDRESSES: usize = 256;

impl Shard {
    /// A port that policy lets the subscriber have: on the address it has already, or on another where it may.
    pub(super) fn take_port(
        &mut self,
        context: &mut Context<'_>,
        subscriber: Option<u32>,
        source: (u128, Ipv6Addr),
        (wish, scope): (Wish, Scope),
    ) -> Result<External, DropReason> {
        for _ in 0..3 {
            let external = self.find_port(context, subscriber, source, (wish, scope))?;
            if !context.terms.statics.have_external(wish.protocol, external) {
                return Ok(external);
            }
            // It is a static mapping's that a new policy has, and that is about to be made.
            self.release_port(context, &Claim { protocol: wish.protocol, external, scope });
        }
        Err(DropReason::PoolExhausted)
    }

    fn find_port(
        &mut self,
        context: &mut Context<'_>,
        subscriber: Option<u32>,
        (prefix, source): (u128, Ipv6Addr),
        (wish, scope): (Wish, Scope),
    ) -> Result<External, DropReason> {
        if let Some(arithmetic) = &context.terms.allocation.deterministic {
            let share = arithmetic.share_of(source).ok_or(DropReason::AdministrativelyProhibited)?;
            let address = context.terms.pool.index_of(share.address).ok_or(DropReason::PoolExhausted)?;
            if context.terms.drain(address) {
                return Err(DropReason::Draining);
            }
            let window = (share.first_port, share.last_port);
            return context.terms.pool.take(address, window, wish, &mut self.random).ok_or(DropReason::PoolExhausted);
        }
        let addresses = context.terms.allocation.addresses(source);
        if addresses.is_empty() && context.terms.allocation.has_addresses(source) {
            return Err(DropReason::Draining);
        }
        let paired = subscriber.map(|index| self.subscribers[index].address).or_else(|| self.blocks.address_of(prefix));
        let at = paired.and_then(|address| addresses.binary_search(&address).ok());
        let most = addresses.len().min(MOST_ADDRESSES);
        let tries = if at.is_some() && context.terms.policy.pooling == Pooling::Paired { 1 } else { most };
        let first = at.unwrap_or_else(|| self.least_loaded(context, prefix, addresses));
        (0..tries)
            .find_map(|offset| {
                self.take_port_on(context, addresses[(first + offset) % addresses.len()], prefix, (wish, scope))
            })
            .ok_or(DropReason::PoolExhausted)
    }

    /// Where in a list of addresses a new subscriber starts to look: at the one least in use, of a few that its prefix
    /// names. With a single one, subscribers would pile up on some addresses, and be refused there, while others are
    /// half empty; the best of several is nearly as even as the best of all.
    pub(super) fn least_loaded(&self, context: &Context<'_>, prefix: u128, addresses: &[AddressIndex]) -> usize {
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
        let has_blocks = matches!(context.terms.policy.port_assignment, PortAssignment::Blocks(_));
        let load =
            |place: &usize| addresses.get(*place).map_or(0, |address| context.terms.pool.load(*address, has_blocks));
        (0..CHOICES).map(place).min_by_key(load).unwrap_or(0)
    }

    fn take_port_on(
        &mut self,
        context: &mut Context<'_>,
        address: AddressIndex,
        prefix: u128,
        (wish, scope): (Wish, Scope),
    ) -> Option<External> {
        if context.terms.policy.mapping == MappingBehavior::AddressAndPortDependent {
            return context.overlap.take(&context.terms.pool, address, (wish, scope), &mut self.random);
        }
        let PortAssignment::Blocks(blocks) = context.terms.policy.port_assignment else {
            return context.terms.pool.take(address, ALL_PORTS, wish, &mut self.random);
        };
        let FromBlock { external, new_block } =
            self.blocks.take(&context.terms.pool, blocks, (prefix, address), wish, &mut self.random)?;
        if let Some(block) = new_block {
            report_block(context, prefix, (block, blocks.size), |last_port| EventKind::BlockAllocated { last_port });
        }
        Some(external)
    }
}
