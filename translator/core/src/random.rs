//! Unpredictable numbers for ports and identifications, from a seed that the caller brings.

use std::hash::{DefaultHasher, Hasher};

/// SipHash of a secret and a counter: who has seen any number of outputs still cannot tell the next (RFC 6056 §3.3,
/// RFC 7739 §5.3 ask for no more).
#[derive(Clone, Debug)]
pub(crate) struct Random {
    secret: u64,
    counter: u64,
    /// Half of a number, of which the other half was enough.
    half: Option<u32>,
}

impl Random {
    pub(crate) const fn new(seed: u64, stream: u64) -> Self {
        Self { secret: seed, counter: stream << 48, half: None }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.secret);
        hasher.write_u64(self.counter);
        hasher.finish()
    }

    /// A number below `bound`, which is not zero; the bias is below `bound` / 2³².
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let half = self.half.take().unwrap_or_else(|| {
            let [now, later] = split(self.next_u64());
            self.half = Some(later);
            now
        });
        let [scaled, _] = split(u64::from(half) * u64::from(bound));
        scaled
    }
}

/// The high and the low half.
const fn split(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut random = Random::new(7, 0);
        let mut seen = [false; 10];
        for _ in 0..1000 {
            seen[random.below(10) as usize] = true;
        }
        assert_eq!(seen, [true; 10]);
    }

    #[test]
    fn streams_of_one_seed_differ() {
        assert_ne!(Random::new(7, 0).next_u64(), Random::new(7, 1).next_u64());
    }
}
