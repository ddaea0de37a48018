//! How long packets stay, in a histogram that one worker writes.

use std::time::Duration;

use crate::stats::Cell;

/// Upper bounds of the buckets, in nanoseconds; what is beyond is in one more.
const BOUNDS: [u64; 11] =
    [5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000, 100_000_000];

/// A histogram with one writer and any readers.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Cell; BOUNDS.len() + 1],
    nanos: Cell,
}

/// A histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many fell into each bucket: its upper bound (none of the last one), and the number.
    pub buckets: Vec<(Option<Duration>, u64)>,
    /// All of them together.
    pub sum: Duration,
}

impl Histogram {
    pub(crate) fn add(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].add(1);
        self.nanos.add(nanos);
    }

    pub(crate) fn snapshot(&self) -> Latency {
        let bounds = BOUNDS.iter().map(|nanos| Some(Duration::from_nanos(*nanos))).chain([None]);
        let buckets = bounds.zip(&self.buckets).map(|(bound, count)| (bound, count.value())).collect();
        Latency { buckets, sum: Duration::from_nanos(self.nanos.value()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for nanos in [0, 5_000, 5_001, 99_000_000, 100_000_001, u64::MAX / 4] {
            histogram.add(Duration::from_nanos(nanos));
        }
        let latency = histogram.snapshot();
        let counts: Vec<u64> = latency.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(latency.buckets.last().map(|(bound, _)| *bound), Some(None));
    }
}
