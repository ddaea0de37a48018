//! Whether it pays to look for packets that can be merged.

/// Packets that can be merged, by their kind, in one batch, from which on what became of them says something.
const ENOUGH: u16 = 32;
/// One that was merged pays for the look at so many: a write takes ten times as long as to keep a packet beside others.
const PAYS_FOR: u16 = 10;
/// Batches that go without, after one in which it did not pay.
const REST: u8 = 15;

/// What came of looking, in this batch.
#[derive(Debug, Default)]
pub(super) struct Trial {
    kept: u16,
    merged: u16,
    resting: u8,
}

impl Trial {
    /// Whether this batch goes without.
    #[inline]
    pub(super) const fn rests(&self) -> bool {
        self.resting > 0
    }

    /// A packet was kept, to be merged with others or by itself.
    #[inline]
    pub(super) const fn keep(&mut self) {
        self.kept = self.kept.saturating_add(1);
    }

    /// A packet that was kept was merged with an earlier one.
    #[inline]
    pub(super) const fn merge(&mut self) {
        self.merged = self.merged.saturating_add(1);
    }

    /// The batch is over.
    #[inline]
    pub(super) fn end_batch(&mut self) {
        // A batch that goes without keeps nothing.
        let failed = self.kept >= ENOUGH && self.merged < self.kept / PAYS_FOR;
        let resting = if failed { REST } else { self.resting.saturating_sub(1) };
        *self = Self { resting, ..Self::default() };
    }
}
