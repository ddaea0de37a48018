//! Which ports a subscriber may have: pool rules, pairing, blocks, deterministic ranges.

use std::net::Ipv6Addr;

use foldhash::quality::SeedableRandomState;
use hashbrown::{HashMap, HashSet};
use ipnet::Ipv6Net;

use super::overlap::Claim;
use super::pool::{AddressIndex, External, Pool, Wish};
use super::table::{self, shrink_map};
use crate::deterministic::Deterministic;
use crate::policy::{Policy, PortAssignment, PortBlocks};
use crate::random::Random;

/// What follows from the policy alone.
#[derive(Clone, Debug)]
pub(crate) struct Allocation {
    /// Most specific first.
    rules: Vec<(Ipv6Net, Share)>,
    /// Addresses that no rule names.
    rest: Share,
    pub(crate) deterministic: Option<Deterministic>,
}

/// Addresses, ascending by index.
#[derive(Clone, Debug)]
struct Share {
    all: Vec<AddressIndex>,
    /// Those that take new sessions.
    open: Vec<AddressIndex>,
}

impl Share {
    fn new(mut all: Vec<AddressIndex>, closed: &[AddressIndex]) -> Self {
        all.sort_unstable();
        all.dedup();
        Self { open: all.iter().copied().filter(|index| !closed.contains(index)).collect(), all }
    }
}

impl Allocation {
    pub(crate) fn new(policy: &Policy, pool: &Pool) -> Self {
        let mut rules: Vec<(Ipv6Net, Vec<AddressIndex>)> = Vec::new();
        for rule in &policy.pool_rules {
            let named = (rule.first.to_bits()..=rule.last.to_bits()).filter_map(|bits| pool.index_of(bits.into()));
            match rules.iter_mut().find(|(sources, _)| *sources == rule.sources) {
                Some((_, addresses)) => addresses.extend(named),
                None => rules.push((rule.sources, named.collect())),
            }
        }
        rules.sort_by_key(|(sources, _)| std::cmp::Reverse(sources.prefix_len()));
        let named: HashSet<AddressIndex, _> =
            rules.iter().flat_map(|(_, addresses)| addresses.iter().copied()).collect();
        let named: &HashSet<AddressIndex, foldhash::fast::FixedState> = &named;
        let closed: Vec<AddressIndex> =
            policy.draining.addresses.iter().filter_map(|address| pool.index_of(*address)).collect();
        Self {
            rest: Share::new(pool.live().filter(|index| !named.contains(index)).collect(), &closed),
            rules: rules.into_iter().map(|(sources, all)| (sources, Share::new(all, &closed))).collect(),
            deterministic: Deterministic::new(policy).ok(),
        }
    }

    /// The pool addresses that a source may have new mappings on, ascending by index.
    pub(crate) fn addresses(&self, source: Ipv6Addr) -> &[AddressIndex] {
        &self.share(source).open
    }

    /// The sources of the rule that names a source's addresses, if there is one.
    pub(crate) fn rule(&self, source: Ipv6Addr) -> Option<Ipv6Net> {
        self.rules.iter().find(|(sources, _)| sources.contains(&source)).map(|(sources, _)| *sources)
    }

    /// Whether a source has addresses at all, be it that none of them takes new sessions.
    pub(crate) fn has_addresses(&self, source: Ipv6Addr) -> bool {
        !self.share(source).all.is_empty()
    }

    /// Whether a source may have a mapping on this address and port.
    pub(crate) fn permits(&self, pool: &Pool, source: Ipv6Addr, external: External) -> bool {
        match &self.deterministic {
            Some(arithmetic) => arithmetic.share_of(source).is_some_and(|share| {
                share.address == pool.address(external.address)
                    && (share.first_port..=share.last_port).contains(&external.port)
            }),
            None => self.share(source).all.binary_search(&external.address).is_ok(),
        }
    }

    fn share(&self, source: Ipv6Addr) -> &Share {
        let rule = self.rules.iter().find(|(sources, _)| sources.contains(&source));
        rule.map_or(&self.rest, |(_, share)| share)
    }
}

/// The blocks that subscribers of a shard hold.
#[derive(Debug)]
pub(crate) struct Blocks {
    of_subscriber: HashMap<u128, Vec<Block>, SeedableRandomState>,
    owners: HashMap<(AddressIndex, u16), u128, SeedableRandomState>,
}

/// A block of ports of one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) address: AddressIndex,
    pub(crate) first_port: u16,
    /// Ports in use or resting, of all protocols.
    pub(crate) used: u32,
}

/// A port from a block, and the block if it was taken for this.
pub(crate) struct FromBlock {
    pub(crate) external: External,
    pub(crate) new_block: Option<Block>,
}

impl Blocks {
    pub(crate) fn new(keys: SeedableRandomState) -> Self {
        Self { of_subscriber: HashMap::with_hasher(keys.clone()), owners: HashMap::with_hasher(keys) }
    }

    /// Bytes that `blocks` blocks of as many subscribers take at the most, in `shards` shards.
    pub(crate) const fn bytes(blocks: u64, shards: u64) -> u64 {
        /// Blocks that a list has room for from the start, or for each that is in it.
        const ROOM: u64 = 4;
        table::bytes::<(u128, Vec<Block>)>(blocks, shards)
            + table::bytes::<((AddressIndex, u16), u128)>(blocks, shards)
            + blocks * ROOM * size_of::<Block>() as u64
    }

    /// The address of a subscriber's blocks, which outlive its mappings while their ports rest.
    pub(crate) fn address_of(&self, subscriber: u128) -> Option<AddressIndex> {
        self.of_subscriber.get(&subscriber)?.first().map(|block| block.address)
    }

    /// A subscriber's blocks.
    pub(crate) fn of(&self, subscriber: u128) -> &[Block] {
        self.of_subscriber.get(&subscriber).map_or(&[], Vec::as_slice)
    }

    /// Makes these the subscriber's blocks.
    pub(crate) fn adopt(&mut self, subscriber: u128, size: u16, blocks: Vec<Block>) {
        self.owners.extend(blocks.iter().map(|block| ((block.address, block.first_port / size), subscriber)));
        if !blocks.is_empty() {
            self.of_subscriber.insert(subscriber, blocks);
        }
    }

    /// Takes a port of the subscriber's blocks on `address`, or of a new block if it may have another.
    pub(crate) fn take(
        &mut self,
        pool: &Pool,
        blocks: PortBlocks,
        (subscriber, address): (u128, AddressIndex),
        wish: Wish,
        random: &mut Random,
    ) -> Option<FromBlock> {
        let held = self.of_subscriber.entry(subscriber).or_default();
        let window = |first_port: u16| (first_port, first_port + (blocks.size - 1));
        for block in held.iter_mut().filter(|block| block.address == address) {
            if let Some(external) = pool.take(address, window(block.first_port), wish, random) {
                block.used += 1;
                return Some(FromBlock { external, new_block: None });
            }
        }
        let may_have_another = held.len() < usize::from(blocks.per_subscriber);
        let taken = may_have_another.then(|| pool.take_block(address, blocks.size, wish, random)).flatten();
        let port = taken.and_then(|first_port| {
            let external = pool.take(address, window(first_port), wish, random)?;
            let block = Block { address, first_port, used: 1 };
            held.push(block);
            Some(FromBlock { external, new_block: Some(block) })
        });
        if let Some(FromBlock { new_block: Some(block), .. }) = port {
            self.owners.insert((block.address, block.first_port / blocks.size), subscriber);
        } else if held.is_empty() {
            self.of_subscriber.remove(&subscriber);
        }
        port
    }

    /// Notes that a port is in use that the subscriber had, in its block. Returns false if the block is another's.
    pub(crate) fn take_back(&mut self, pool: &Pool, size: u16, subscriber: u128, external: External) -> bool {
        let External { address, port } = external;
        let first_port = port / size * size;
        let of_subscriber = self.of_subscriber.entry(subscriber).or_default();
        let is_same = |block: &&mut Block| block.address == address && block.first_port == first_port;
        if let Some(block) = of_subscriber.iter_mut().find(is_same) {
            block.used += 1;
            return true;
        }
        let taken = pool.take_this_block(address, first_port, size);
        if taken {
            of_subscriber.push(Block { address, first_port, used: 1 });
            self.owners.insert((address, first_port / size), subscriber);
        } else if of_subscriber.is_empty() {
            self.of_subscriber.remove(&subscriber);
        }
        taken
    }

    /// Notes that a port is free again. Returns the block and its subscriber if it was the block's last.
    pub(crate) fn port_released(&mut self, pool: &Pool, size: u16, external: External) -> Option<(u128, Block)> {
        let owner = *self.owners.get(&(external.address, external.port / size))?;
        let held = self.of_subscriber.get_mut(&owner)?;
        let has_port =
            |block: &Block| block.address == external.address && block.first_port / size == external.port / size;
        let place = held.iter().position(has_port)?;
        held[place].used -= 1;
        if held[place].used > 0 {
            return None;
        }
        let block = held.swap_remove(place);
        if held.is_empty() {
            self.of_subscriber.remove(&owner);
            shrink_map(&mut self.of_subscriber);
        }
        self.owners.remove(&(block.address, block.first_port / size));
        shrink_map(&mut self.owners);
        pool.release_block(block.address, block.first_port, size);
        Some((owner, block))
    }
}

/// Every port of an address.
pub(crate) const ALL_PORTS: (u16, u16) = (0, u16::MAX);

/// The block size of a policy, if it has blocks.
pub(crate) const fn block_size(policy: &Policy) -> Option<u16> {
    match policy.port_assignment {
        PortAssignment::Blocks(blocks) => Some(blocks.size),
        PortAssignment::Single | PortAssignment::Deterministic(_) => None,
    }
}

/// A port that rests before it is free again; a shared one rests towards its destination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resting {
    pub(crate) until: super::wheel::Tick,
    pub(crate) port: Claim,
}
