//! Entries with stable indices, in chunks: growing never moves or copies what is there.

/// Entries per chunk.
const CHUNK: usize = 1024;

/// A growing array of `T` whose entries are reused after removal.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
    len: u32,
}

impl<T: Copy> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }

    /// One more than the highest index ever used.
    pub(crate) fn end(&self) -> u32 {
        self.len + u32::try_from(self.free.len()).unwrap_or(0)
    }

    /// Puts an entry in and returns its index.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let index = if let Some(index) = self.free.pop() {
            self[index] = value;
            index
        } else {
            let index = self.len;
            if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
                self.chunks.push(Vec::with_capacity(CHUNK));
            }
            if let Some(chunk) = self.chunks.last_mut() {
                chunk.push(value);
            }
            index
        };
        self.len += 1;
        index
    }

    /// Takes an entry out. The index must be in use.
    pub(crate) fn remove(&mut self, index: u32) -> T {
        self.free.push(index);
        self.len -= 1;
        self[index]
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        let index = index as usize;
        &self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    #[inline]
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
        assert_eq!((slab.len, slab.end()), (2998, 3000));
        assert_eq!((slab.insert(-1), slab.insert(-2)), (7, 1500));
        assert_eq!(slab.insert(-3), 3000);
        assert_eq!(slab[2999], 2999);
    }
}
