//! Blocks of ports: which are taken, and which can be.

use std::sync::atomic::Ordering;

use super::choice::{Class, overlap, words};
use super::{AddressIndex, PORTS, Pool, PoolAddress, Wish};
use crate::listing::BlockUse;
use crate::packet::Protocol;
use crate::random::Random;

impl Pool {
    /// Blocks of this size that subscribers have, of all addresses, and how many there are.
    pub(crate) fn block_use(&self, size: u16) -> BlockUse {
        let live = || self.addresses.iter().filter(|entry| !entry.ports.is_empty());
        BlockUse {
            taken: live().map(|entry| entry.state.blocks_taken.load(Ordering::Relaxed)).sum(),
            all: live().map(|entry| entry.block_count(size)).sum(),
        }
    }

    /// Takes a block of `size` ports: a random one or the next that is free, whole and of the class wished for; else one
    /// that is whole; else one of which only a part is ours. One in which static mappings have all is none. Returns its
    /// first port.
    pub(crate) fn take_block(&self, address: AddressIndex, size: u16, wish: Wish, random: &mut Random) -> Option<u16> {
        let entry = &self.addresses[usize::from(address)];
        if entry.state.blocks_taken.load(Ordering::Relaxed) >= entry.block_count(size) {
            return None;
        }
        let count = u32::try_from(PORTS).unwrap_or(0) / u32::from(size);
        let start = random.below(count);
        let class = if wish.protocol == Protocol::Icmp { Class::Any } else { Class::of(wish.like) };
        [(true, class), (true, Class::Any), (false, Class::Any)].into_iter().find_map(|(whole, class)| {
            (0..count).find_map(|offset| {
                let number = u16::try_from((start + offset) % count).ok()?;
                let block = (number * size, number * size + (size - 1));
                let offered = entry.is_free(number) && entry.offers(block, (whole, class), wish.protocol);
                (offered && entry.take_block(number)).then_some(block.0)
            })
        })
    }

    /// Takes this very block, unless it is taken.
    pub(crate) fn take_this_block(&self, address: AddressIndex, first_port: u16, size: u16) -> bool {
        self.addresses[usize::from(address)].take_block(first_port / size)
    }

    /// Gives a block back.
    pub(crate) fn release_block(&self, address: AddressIndex, first_port: u16, size: u16) {
        let number = first_port / size;
        let entry = &self.addresses[usize::from(address)];
        entry.state.blocks[usize::from(number / 64)].fetch_and(!(1 << (number % 64)), Ordering::AcqRel);
        entry.state.blocks_taken.fetch_sub(1, Ordering::Relaxed);
    }

    /// The first and the last port of a block that are ours.
    pub(crate) fn ours_of_block(&self, address: AddressIndex, block: (u16, u16)) -> (u16, u16) {
        let mut ours = self.addresses[usize::from(address)].ports.iter().filter_map(|range| overlap(*range, block));
        let Some((first, last)) = ours.next() else { return block };
        (first, ours.next_back().map_or(last, |(_, last)| last))
    }
}

impl PoolAddress {
    /// Whether a block is whole (or not wholly foreign), of a class, and has a port of this protocol that is free.
    fn offers(&self, block: (u16, u16), (whole, class): (bool, Class), protocol: Protocol) -> bool {
        let ours = || self.ports.iter().filter_map(|range| class.within(overlap(*range, block)?));
        let width = |(first, last): (u16, u16)| u32::from(last - first) + 1;
        let taken = &self.state.protocols[protocol as usize].taken;
        (!whole || ours().map(width).sum::<u32>() == width(block))
            && ours().flat_map(words).any(|(word, bits)| !taken[usize::from(word)].load(Ordering::Relaxed) & bits != 0)
    }

    /// Blocks of which a part at least is ours.
    pub(super) fn block_count(&self, size: u16) -> u32 {
        let mut counted = None;
        let blocks = self.ports.iter().map(|&(first, last)| {
            let again = counted == Some(first / size);
            counted = Some(last / size);
            u32::from(last / size - first / size) + u32::from(!again)
        });
        blocks.sum()
    }

    fn is_free(&self, number: u16) -> bool {
        self.state.blocks[usize::from(number / 64)].load(Ordering::Relaxed) >> (number % 64) & 1 == 0
    }

    fn take_block(&self, number: u16) -> bool {
        let bit = 1 << (number % 64);
        let taken = self.state.blocks[usize::from(number / 64)].fetch_or(bit, Ordering::AcqRel) & bit == 0;
        self.state.blocks_taken.fetch_add(taken.into(), Ordering::Relaxed);
        taken
    }
}
