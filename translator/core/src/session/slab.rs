//! Entries with stable indices, in chunks: growing never moves or copies what is there, and a chunk whose entries are
//! all gone is given back.

/// Entries per chunk.
const CHUNK: usize = 1024;
const WORDS: usize = CHUNK / 64;

/// A growing array of `T` whose entries are reused after removal, those of the first chunks first.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    /// Each with its entries up to the last that was ever used, or without memory.
    chunks: Vec<Vec<T>>,
    uses: Vec<Uses>,
    /// No chunk before this one has room.
    with_room: usize,
    /// A chunk that is kept, so that an entry more and an entry less do not cost memory from the system each time.
    spare: Option<Vec<T>>,
    len: u32,
}

/// Which entries of a chunk are in use.
#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    bits: [u64; WORDS],
    count: u16,
}

impl<T: Copy> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), uses: Vec::new(), with_room: 0, spare: None, len: 0 }
    }

    /// An index that no entry has, nor any higher one.
    pub(crate) fn end(&self) -> u32 {
        u32::try_from(self.chunks.len() * CHUNK).unwrap_or(u32::MAX)
    }

    /// Whether there is no entry.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is at an index: an entry, or one that was removed, which its owner has marked as such, or nothing.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)
    }

    /// As [`Slab::get`], to be changed.
    #[inline(always)]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)
    }

    /// Puts an entry in and returns its index.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        while self.uses.get(self.with_room).is_some_and(|uses| usize::from(uses.count) == CHUNK) {
            self.with_room += 1;
        }
        let chunk = self.with_room;
        if chunk == self.chunks.len() {
            self.chunks.push(Vec::new());
            self.uses.push(Uses::default());
        }
        // The first place that is not in use is one that was, or the next.
        let place = self.uses[chunk].take_first();
        let entries = self.provide(chunk);
        match entries.get_mut(place) {
            Some(entry) => *entry = value,
            None => entries.push(value),
        }
        self.len += 1;
        u32::try_from(chunk * CHUNK + place).unwrap_or(u32::MAX)
    }

    /// Puts an entry in at an index, unless that is in use. What has to be in memory before it and never was gets `blank`.
    pub(crate) fn insert_at(&mut self, index: u32, value: T, blank: T) -> bool {
        let (chunk, place) = (index as usize / CHUNK, index as usize % CHUNK);
        if chunk >= self.chunks.len() {
            self.chunks.resize_with(chunk + 1, Vec::new);
            self.uses.resize(chunk + 1, Uses::default());
        }
        if !self.uses[chunk].take(place) {
            return false;
        }
        let entries = self.provide(chunk);
        if place >= entries.len() {
            entries.resize(place + 1, blank);
        }
        entries[place] = value;
        self.len += 1;
        true
    }

    /// The entries of a chunk, which gets memory if it has none.
    fn provide(&mut self, chunk: usize) -> &mut Vec<T> {
        let entries = &mut self.chunks[chunk];
        if entries.capacity() == 0 {
            *entries = self.spare.take().unwrap_or_else(|| Vec::with_capacity(CHUNK));
        }
        entries
    }

    /// Takes an entry out. The index must be in use.
    pub(crate) fn remove(&mut self, index: u32) -> T {
        let value = self[index];
        let (chunk, place) = (index as usize / CHUNK, index as usize % CHUNK);
        let uses = &mut self.uses[chunk];
        uses.bits[place / 64] &= !(1 << (place % 64));
        uses.count -= 1;
        self.len -= 1;
        self.with_room = self.with_room.min(chunk);
        if uses.count == 0 {
            self.give_back(chunk);
        }
        value
    }

    /// Gives a chunk back that has no entry, and the last ones of the list that have no memory.
    fn give_back(&mut self, chunk: usize) {
        let mut entries = std::mem::take(&mut self.chunks[chunk]);
        entries.clear();
        self.spare.get_or_insert(entries);
        while self.chunks.last().is_some_and(Vec::is_empty) {
            self.chunks.pop();
            self.uses.pop();
        }
        self.with_room = self.with_room.min(self.chunks.len());
    }
}

impl<T> Slab<T> {
    /// Bytes that `entries` of them take in `slabs` slabs at the most, if each chunk but the last is full.
    pub(crate) const fn bytes(entries: u64, slabs: u64) -> u64 {
        let chunks = entries.div_ceil(CHUNK as u64) + 2 * slabs;
        let lists = 3 * (size_of::<Vec<T>>() + size_of::<Uses>());
        chunks * (CHUNK * size_of::<T>() + lists) as u64
    }
}

impl Uses {
    /// Takes an entry, unless it is in use.
    const fn take(&mut self, place: usize) -> bool {
        let (word, bit) = (&mut self.bits[place / 64], 1 << (place % 64));
        let is_free = *word & bit == 0;
        *word |= bit;
        self.count += is_free as u16;
        is_free
    }

    /// Takes the first entry that is not in use, which there must be.
    fn take_first(&mut self) -> usize {
        let word = self.bits.iter().position(|word| *word != u64::MAX).unwrap_or(0);
        let place = word * 64 + self.bits[word].trailing_ones() as usize;
        self.take(place);
        place
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, index: u32) -> &T {
        let index = index as usize;
        &self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    #[inline(always)]
    fn index_mut(&mut self, index: u32) -> &mut T {
        let index = index as usize;
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_stable_and_reused() {
        let mut slab = Slab::new();
        let indices: Vec<u32> = (0..3000).map(|value| slab.insert(value)).collect();
        assert!(indices.iter().enumerate().all(|(value, &index)| slab[index] as usize == value));
        assert_eq!(slab.remove(1500), 1500);
        assert_eq!(slab.remove(7), 7);
        assert_eq!((slab.len, slab.end()), (2998, 3072));
        assert_eq!((slab.get(8), slab.get(3000), slab.get(9999)), (Some(&8), None, None));
        assert_eq!((slab.insert(-1), slab.insert(-2)), (7, 1500));
        assert_eq!(slab.insert(-3), 3000);
        assert_eq!(slab[2999], 2999);
    }

    #[test]
    fn an_entry_is_put_at_an_index_that_is_free() {
        let mut slab = Slab::new();
        assert!(slab.insert_at(2050, 7, 0) && slab.insert_at(2048, 8, 0) && slab.insert_at(1, 9, 0));
        assert!(!slab.insert_at(2050, 6, 0));
        let at = |slab: &Slab<i32>, index| slab.get(index).copied();
        assert_eq!(
            [0, 1, 2, 2048, 2049, 2050].map(|index| at(&slab, index)),
            [Some(0), Some(9), None, Some(8), Some(0), Some(7)]
        );
        assert_eq!((slab.len, slab.end()), (3, 3072));
        assert_eq!((slab.insert(5), slab.insert(4)), (0, 2), "what is free is found");
        assert_eq!((slab.remove(2050), slab.remove(2048), slab.end()), (7, 8, 1024));
        assert!(slab.insert_at(1030, 3, 0) && at(&slab, 1029) == Some(0));
    }

    #[test]
    fn chunks_without_entries_are_given_back_but_for_one() {
        let chunks = |slab: &Slab<u32>| slab.chunks.iter().filter(|chunk| !chunk.is_empty()).count();
        let mut slab = Slab::new();
        let indices: Vec<u32> = (0..10_240).map(|value| slab.insert(value)).collect();
        assert_eq!((chunks(&slab), slab.end()), (10, 10_240));
        for &index in &indices[1024..9216] {
            slab.remove(index);
        }
        assert_eq!((chunks(&slab), slab.end()), (2, 10_240), "the last one is still used");
        assert_eq!((slab[0], slab[10_239]), (0, 10_239));
        for &index in &indices[9216..] {
            slab.remove(index);
        }
        assert_eq!((chunks(&slab), slab.end(), slab.len), (1, 1024, 1024));
        assert!(slab.spare.is_some());
        let again: Vec<u32> = (0..2048).map(|value| slab.insert(value)).collect();
        assert_eq!(again, (1024..3072).collect::<Vec<_>>());
        assert!(slab.spare.is_none());
    }
}
