//! Pool addresses and their ports: which are ours, which are taken, and whose they are.
//!
//! Shared by all shards without a lock. A port is taken by setting its bit; whoever sets it owns the port until it
//! clears the bit. Beside the bits, a slot per port names the mapping, so that a packet from IPv4 finds its shard and
//! its mapping by one read.

mod blocks;
mod choice;
mod heirs;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hashbrown::HashMap;
use zerocopy::FromZeros;

pub(super) use self::choice::lowest;
use self::choice::{Class, choose};
use self::heirs::Heirs;
use crate::listing::PoolAddressInfo;
use crate::memory::ALLOCATION;
use crate::packet::Protocol;
use crate::policy::PoolRange;
use crate::random::Random;
use crate::terms::Settled;

const WORDS: usize = 1024;
const PORTS: usize = 65_536;
/// Blocks of the smallest size, 16 ports, on an address.
const MOST_BLOCKS: usize = PORTS / 16;
/// Set in the slot of a port that several mappings share; how many they are is in the other bits.
pub(crate) const SHARED: u32 = 1 << 31;
const EVEN: u64 = 0x5555_5555_5555_5555;

/// A pool address by its place in the pool.
pub(crate) type AddressIndex = u16;

/// An address and port of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct External {
    pub(crate) address: AddressIndex,
    pub(crate) port: u16,
}

/// Every pool address with the state of its ports. An address has the same place for as long as anything of it is left,
/// and the pools of two policies share the state of those that both have.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// Runs of addresses, ascending and disjoint, with the index of their first.
    runs: Vec<Run>,
    /// The first address of all, and how far from it the last one is.
    span: (u32, u32),
    addresses: Vec<PoolAddress>,
}

#[derive(Clone, Debug)]
struct Run {
    first: u32,
    last: u32,
    index: AddressIndex,
}

#[derive(Clone, Debug)]
struct PoolAddress {
    address: Ipv4Addr,
    /// Ranges of ports that are ours, ascending and disjoint; none of an address that was in the pool.
    ports: Vec<(u16, u16)>,
    /// How many ports these are.
    width: u32,
    state: Arc<AddressState>,
}

/// What is in use of an address.
#[derive(Debug)]
struct AddressState {
    protocols: [PortTable; Protocol::ALL.len()],
    /// Blocks that a subscriber has, by their number.
    blocks: Vec<AtomicU64>,
    /// How many these are.
    blocks_taken: AtomicU32,
    /// Mappings of shared ports.
    shared: AtomicU32,
    /// Ports that static mappings are to have when whoever has them now is done.
    heirs: Heirs,
}

/// Where addresses are while a pool is made.
struct Places {
    known: HashMap<u32, AddressIndex, foldhash::fast::FixedState>,
    free: Vec<AddressIndex>,
}

/// The ports of one address and protocol. The memory is zero pages of the system until it is used.
#[derive(Debug)]
struct PortTable {
    taken: Vec<AtomicU64>,
    slots: Vec<AtomicU32>,
    count: AtomicU32,
}

/// Which ports a mapping would like (RFC 6146 §3.5.1.1, RFC 4787 REQ-3 and REQ-4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) protocol: Protocol,
    /// The source port, whose class and parity are to be kept.
    pub(crate) like: u16,
}

impl Pool {
    /// The pool of a checked policy.
    pub(crate) fn new(ranges: &[PoolRange]) -> Self {
        let nothing = Self { runs: Vec::new(), span: (0, 0), addresses: Vec::new() };
        Self::after(&nothing, Settled(true), ranges).unwrap_or(nothing)
    }

    /// The pool of a checked policy, where `before` was in force, and nothing is in use but of addresses that `before` has.
    /// Places of which nothing is in use are used again, if all is settled. Nothing if there are too many addresses.
    pub(crate) fn after(before: &Self, settled: Settled, ranges: &[PoolRange]) -> Option<Self> {
        let mut all: Vec<(u32, u16, u16)> = ranges
            .iter()
            .flat_map(|range| {
                (range.first.to_bits()..=range.last.to_bits()).map(|bits| (bits, range.first_port, range.last_port))
            })
            .collect();
        all.sort_unstable();
        let mut places = before.places(settled);
        let mut pool = Self { runs: Vec::new(), span: (0, 0), addresses: before.addresses.clone() };
        pool.addresses.iter_mut().for_each(|entry| entry.ports.clear());
        for (bits, first_port, last_port) in all {
            pool.add(&mut places, bits, (first_port, last_port))?;
        }
        if let (Some(first), Some(last)) = (pool.runs.first(), pool.runs.last()) {
            pool.span = (first.first, last.last - first.first);
        }
        for entry in &mut pool.addresses {
            entry.width = entry.ports.iter().map(|&(first, last)| u32::from(last - first) + 1).sum();
        }
        Some(pool)
    }

    /// Where the addresses of this pool are, and which places have nothing that is in use or in force.
    fn places(&self, settled: Settled) -> Places {
        let mut places = Places { known: HashMap::default(), free: Vec::new() };
        for (index, entry) in (0..).zip(&self.addresses) {
            if settled.0 && entry.ports.is_empty() && entry.state.is_unused() {
                places.free.push(index);
            } else {
                places.known.insert(entry.address.to_bits(), index);
            }
        }
        places
    }

    /// Adds a range of ports; ascending by address.
    fn add(&mut self, places: &mut Places, bits: u32, ports: (u16, u16)) -> Option<()> {
        let index = match places.known.get(&bits) {
            Some(index) => *index,
            None => self.place(places, bits)?,
        };
        match self.runs.last_mut() {
            Some(run) if run.last == bits => {}
            Some(run) if run.last.checked_add(1) == Some(bits) && run.index_of(bits) == Some(index) => run.last = bits,
            _ => self.runs.push(Run { first: bits, last: bits, index }),
        }
        self.addresses[usize::from(index)].ports.push(ports);
        Some(())
    }

    /// Gives a new address a place.
    fn place(&mut self, places: &mut Places, bits: u32) -> Option<AddressIndex> {
        let address = PoolAddress { address: bits.into(), ports: Vec::new(), width: 0, state: Arc::default() };
        let index = match places.free.pop() {
            Some(index) => {
                self.addresses[usize::from(index)] = address;
                index
            }
            None => {
                self.addresses.push(address);
                AddressIndex::try_from(self.addresses.len() - 1).ok()?
            }
        };
        places.known.insert(bits, index);
        Some(index)
    }

    /// Whether every place of `next` has the same address here.
    pub(crate) fn knows(&self, next: &Self) -> bool {
        let addresses = |pool: &Self| pool.addresses.iter().map(|entry| entry.address).collect::<Vec<_>>();
        addresses(self).get(..next.addresses.len()) == Some(&addresses(next))
    }

    /// This pool, and the places of `next`, which comes after it.
    pub(crate) fn aware_of(&self, next: &Self) -> Self {
        let mut addresses = next.addresses.clone();
        for (place, entry) in addresses.iter_mut().enumerate() {
            match self.addresses.get(place).filter(|known| known.address == entry.address) {
                Some(known) => *entry = known.clone(),
                None => (entry.ports, entry.width) = (Vec::new(), 0),
            }
        }
        Self { addresses, ..self.clone() }
    }

    /// Bytes that this many addresses take, in this many ranges.
    pub(crate) const fn bytes(addresses: u64, ranges: u64) -> u64 {
        let tables = Protocol::ALL.len() * (WORDS * size_of::<AtomicU64>() + PORTS * size_of::<AtomicU32>());
        let blocks = MOST_BLOCKS / 64 * size_of::<AtomicU64>();
        // The list of addresses grows while it is made, as the lists of ranges do.
        let lists = 3 * (size_of::<PoolAddress>() + 4 * size_of::<(u16, u16)>() + size_of::<Run>())
            + size_of::<AddressState>()
            + 9 * ALLOCATION;
        addresses * (tables + blocks + lists) as u64 + 3 * ranges * addresses * size_of::<(u16, u16)>() as u64
    }

    /// How many addresses there are.
    pub(crate) fn len(&self) -> usize {
        self.live().count()
    }

    /// The places of all addresses, ascending by address.
    pub(crate) fn live(&self) -> impl Iterator<Item = AddressIndex> + '_ {
        self.runs.iter().flat_map(|run| (run.first..=run.last).filter_map(|bits| run.index_of(bits)))
    }

    /// Whether an address is in the pool still.
    pub(crate) fn is_live(&self, address: AddressIndex) -> bool {
        !self.addresses[usize::from(address)].ports.is_empty()
    }

    /// Copies which ports and blocks of some addresses are taken, those that this pool has, from another.
    pub(crate) fn copy_use(&self, other: &Self, addresses: &[Ipv4Addr]) {
        for address in addresses {
            if let (Some(to), Some(from)) = (self.index_of(*address), other.index_of(*address)) {
                let (to, from) = (&self.addresses[usize::from(to)].state, &other.addresses[usize::from(from)].state);
                to.copy_use(from);
            }
        }
    }

    /// How many addresses have a place, be they in the pool or not.
    #[cfg(test)]
    pub(crate) const fn places_in_all(&self) -> usize {
        self.addresses.len()
    }

    /// Whether a port is ours.
    pub(crate) fn has(&self, external: External) -> bool {
        let ports = &self.addresses[usize::from(external.address)].ports;
        ports.iter().any(|(first, last)| (*first..=*last).contains(&external.port))
    }

    /// The index of an address, if it is in the pool.
    #[inline(always)]
    pub(crate) fn index_of(&self, address: Ipv4Addr) -> Option<AddressIndex> {
        let bits = address.to_bits();
        let (first, width) = self.span;
        // Most addresses that are asked for are far from the pool.
        if bits.wrapping_sub(first) > width { None } else { self.index_within_span(bits) }
    }

    #[inline]
    fn index_within_span(&self, bits: u32) -> Option<AddressIndex> {
        let after = match self.runs.as_slice() {
            [only] => usize::from(only.first <= bits),
            runs => runs.partition_point(|run| run.first <= bits),
        };
        let run = self.runs.get(after.checked_sub(1)?)?;
        if bits <= run.last { run.index_of(bits) } else { None }
    }

    /// The address at an index.
    #[inline]
    pub(crate) fn address(&self, index: AddressIndex) -> Ipv4Addr {
        self.addresses[usize::from(index)].address
    }

    /// What the owner of a port has written beside it; zero if nothing.
    #[inline]
    pub(crate) fn slot(&self, protocol: Protocol, external: External) -> u32 {
        self.table(protocol, external.address).slots[usize::from(external.port)].load(Ordering::Acquire)
    }

    /// Writes beside a port that the caller owns.
    pub(crate) fn set_slot(&self, protocol: Protocol, external: External, value: u32) {
        self.table(protocol, external.address).slots[usize::from(external.port)].store(value, Ordering::Release);
    }

    /// Takes a free port of one address, from the first to the last of `window`: of the class and parity wished for,
    /// then of the class, then any.
    pub(crate) fn take(
        &self,
        address: AddressIndex,
        window: (u16, u16),
        wish: Wish,
        random: &mut Random,
    ) -> Option<External> {
        let table = self.table(wish.protocol, address);
        if table.count.load(Ordering::Relaxed) >= self.addresses[usize::from(address)].width {
            return None;
        }
        self.choose(address, window, wish, random, |word, allowed| table.take_bit(word, allowed))
    }

    /// Chooses a port as [`Pool::take`] does, where `take` takes one of 64 ports: it is given the number of their word and
    /// the bits of those that may be taken, and returns the port's place among them.
    pub(crate) fn choose(
        &self,
        address: AddressIndex,
        window: (u16, u16),
        wish: Wish,
        random: &mut Random,
        mut take: impl FnMut(u16, u64) -> Option<u16>,
    ) -> Option<External> {
        let ports = &self.addresses[usize::from(address)].ports;
        let parity = if wish.like.is_multiple_of(2) { EVEN } else { !EVEN };
        // ICMP identifiers have neither class nor parity.
        let (class, parity) = match wish.protocol {
            Protocol::Icmp => (Class::Any, u64::MAX),
            Protocol::Udp => (Class::of(wish.like), parity),
            Protocol::Tcp => (Class::of(wish.like), u64::MAX),
        };
        let preferences = [(class, parity), (class, u64::MAX), (Class::Any, u64::MAX)];
        preferences
            .into_iter()
            .find_map(|(class, parity)| choose(ports, (window, class), parity, random, &mut take))
            .map(|port| External { address, port })
    }

    /// How much of an address is in use, for comparison with others: its blocks, where there are blocks, or its ports.
    pub(crate) fn load(&self, address: AddressIndex, has_blocks: bool) -> u32 {
        let entry = &self.addresses[usize::from(address)];
        if has_blocks {
            return entry.state.blocks_taken.load(Ordering::Relaxed);
        }
        let taken = entry.state.protocols.iter().map(|table| table.count.load(Ordering::Relaxed)).sum();
        entry.state.shared.load(Ordering::Relaxed).max(taken)
    }

    /// The bits of 64 ports that are taken.
    pub(crate) fn taken_word(&self, protocol: Protocol, address: AddressIndex, word: u16) -> u64 {
        self.table(protocol, address).taken[usize::from(word)].load(Ordering::Relaxed)
    }

    /// Counts one more mapping that shares a port. The port is not taken for that.
    pub(crate) fn share(&self, protocol: Protocol, external: External) {
        let table = self.table(protocol, external.address);
        let slot = &table.slots[usize::from(external.port)];
        let before = slot.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |slot| Some((slot | SHARED) + 1));
        table.count.fetch_add((before == Ok(0)).into(), Ordering::Relaxed);
        self.addresses[usize::from(external.address)].state.shared.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one mapping less that shares a port.
    pub(crate) fn unshare(&self, protocol: Protocol, external: External) {
        let table = self.table(protocol, external.address);
        let slot = &table.slots[usize::from(external.port)];
        let less = |slot: u32| Some(slot - 1).filter(|slot| *slot != SHARED).or(Some(0));
        let before = slot.fetch_update(Ordering::AcqRel, Ordering::Relaxed, less);
        table.count.fetch_sub((before == Ok(SHARED | 1)).into(), Ordering::Relaxed);
        self.addresses[usize::from(external.address)].state.shared.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes this very port, unless it is taken.
    pub(crate) fn take_exactly(&self, protocol: Protocol, external: External) -> bool {
        let table = self.table(protocol, external.address);
        let bit = 1 << (external.port % 64);
        let taken = table.taken[usize::from(external.port / 64)].fetch_or(bit, Ordering::SeqCst) & bit == 0;
        table.count.fetch_add(taken.into(), Ordering::Relaxed);
        taken
    }

    /// Frees a port.
    fn release(&self, protocol: Protocol, external: External) {
        self.table(protocol, external.address).release(external.port);
    }

    /// Ports taken, of all addresses, by protocol; ports that rest after use count as taken.
    pub(crate) fn taken(&self, protocol: Protocol) -> u64 {
        let count = |entry: &PoolAddress| u64::from(entry.taken()[protocol as usize]);
        self.addresses.iter().map(count).sum()
    }

    /// Ports that are ours, of all addresses, for each protocol.
    pub(crate) fn ports(&self) -> u64 {
        self.addresses.iter().map(|entry| u64::from(entry.width)).sum()
    }

    /// The addresses, ascending, with their use.
    pub(crate) fn usage(&self) -> impl Iterator<Item = PoolAddressInfo> + '_ {
        self.live().map(|index| {
            let entry = &self.addresses[usize::from(index)];
            PoolAddressInfo { address: entry.address, ports: entry.width, taken: entry.taken() }
        })
    }

    #[inline]
    fn table(&self, protocol: Protocol, address: AddressIndex) -> &PortTable {
        &self.addresses[usize::from(address)].state.protocols[protocol as usize]
    }
}

impl Run {
    /// The place of an address that the run has or that is next to it.
    #[inline]
    fn index_of(&self, bits: u32) -> Option<AddressIndex> {
        #[expect(clippy::cast_possible_truncation, reason = "a policy's pool has 16,384 addresses at most")]
        self.index.checked_add((bits - self.first) as AddressIndex)
    }
}

impl PoolAddress {
    fn taken(&self) -> [u32; Protocol::ALL.len()] {
        Protocol::ALL.map(|protocol| self.state.protocols[protocol as usize].count.load(Ordering::Relaxed))
    }
}

impl Default for AddressState {
    fn default() -> Self {
        Self {
            protocols: Default::default(),
            blocks: AtomicU64::new_vec_zeroed(MOST_BLOCKS / 64).unwrap_or_default(),
            blocks_taken: AtomicU32::new(0),
            shared: AtomicU32::new(0),
            heirs: Heirs::default(),
        }
    }
}

impl AddressState {
    fn copy_use(&self, other: &Self) {
        let copy = |to: &AtomicU32, from: &AtomicU32| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        let copy_all = |to: &[AtomicU64], from: &[AtomicU64]| {
            to.iter().zip(from).for_each(|(to, from)| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed));
        };
        for (to, from) in self.protocols.iter().zip(&other.protocols) {
            copy_all(&to.taken, &from.taken);
            copy(&to.count, &from.count);
        }
        copy_all(&self.blocks, &other.blocks);
        copy(&self.blocks_taken, &other.blocks_taken);
        copy(&self.shared, &other.shared);
    }

    /// Whether no port is taken, shared or at rest, nor a block.
    fn is_unused(&self) -> bool {
        let counts = self.protocols.iter().map(|table| &table.count).chain([&self.blocks_taken, &self.shared]);
        counts.into_iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }
}

impl Default for PortTable {
    fn default() -> Self {
        Self {
            taken: AtomicU64::new_vec_zeroed(WORDS).unwrap_or_default(),
            slots: AtomicU32::new_vec_zeroed(PORTS).unwrap_or_default(),
            count: AtomicU32::new(0),
        }
    }
}

impl PortTable {
    /// Frees a port.
    #[inline]
    fn release(&self, port: u16) {
        self.taken[usize::from(port / 64)].fetch_and(!(1 << (port % 64)), Ordering::SeqCst);
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes the lowest port of a word that is free and in `allowed`, whatever other shards do meanwhile.
    fn take_bit(&self, word: u16, allowed: u64) -> Option<u16> {
        let taken = &self.taken[usize::from(word)];
        loop {
            let (bit, port) = lowest(!taken.load(Ordering::Relaxed) & allowed)?;
            if taken.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
                self.count.fetch_add(1, Ordering::Relaxed);
                return Some(port);
            }
        }
    }
}

#[cfg(test)]
mod tests;
