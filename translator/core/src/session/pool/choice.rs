//! Which port of several ranges is taken: a random one of the class wished for, or the next after it that is free.

use crate::random::Random;

/// Ports below this are "well-known" (RFC 6146 §3.5.1.1).
const WELL_KNOWN_END: u16 = 1024;

/// A random port of all that are in these ranges, `window` and `class`, or the next after it that can be taken, as in
/// RFC 6056 §3.3.1.
pub(super) fn choose(
    ranges: &[(u16, u16)],
    (window, class): ((u16, u16), Class),
    parity: u64,
    random: &mut Random,
    take: &mut impl FnMut(u16, u64) -> Option<u16>,
) -> Option<u16> {
    let ranges = || ranges.iter().filter_map(|range| class.within(overlap(*range, window)?));
    let total: u32 = ranges().map(|(first, last)| u32::from(last - first) + 1).sum();
    if total == 0 {
        return None;
    }
    let mut offset = random.below(total);
    let mut start = None;
    for (index, (first, last)) in ranges().enumerate() {
        let width = u32::from(last - first) + 1;
        if offset < width {
            start = Some((index, first + u16::try_from(offset).unwrap_or(0)));
            break;
        }
        offset -= width;
    }
    let (index, port) = start?;
    let (first, last) = ranges().nth(index)?;
    let mut between =
        |first, last| words((first, last)).find_map(|(word, bits)| Some(word * 64 + take(word, bits & parity)?));
    between(port, last)
        .or_else(|| {
            let others = ranges().cycle().skip(index + 1).take(ranges().count() - 1);
            others.into_iter().find_map(|(first, last)| between(first, last))
        })
        .or_else(|| if port > first { between(first, port - 1) } else { None })
}

/// The words that a range of ports is in, and its bits in each.
pub(super) fn words((first, last): (u16, u16)) -> impl Iterator<Item = (u16, u64)> {
    (first / 64..=last / 64).map(move |word| {
        let from = if word == first / 64 { u64::MAX << (first % 64) } else { u64::MAX };
        let to = if word == last / 64 { u64::MAX >> (63 - last % 64) } else { u64::MAX };
        (word, from & to)
    })
}

/// The lowest bit that is set, alone, and its place.
pub(in crate::session) fn lowest(bits: u64) -> Option<(u64, u16)> {
    let bit = bits & bits.wrapping_neg();
    if bit == 0 { None } else { Some((bit, u16::try_from(bit.trailing_zeros()).ok()?)) }
}

#[derive(Clone, Copy)]
pub(super) enum Class {
    WellKnown,
    Other,
    Any,
}

impl Class {
    pub(super) const fn of(port: u16) -> Self {
        if port < WELL_KNOWN_END { Self::WellKnown } else { Self::Other }
    }

    /// The part of a range that is of this class.
    pub(super) fn within(self, (first, last): (u16, u16)) -> Option<(u16, u16)> {
        let (low, high) = match self {
            Self::WellKnown => (0, WELL_KNOWN_END - 1),
            Self::Other => (WELL_KNOWN_END, u16::MAX),
            Self::Any => (0, u16::MAX),
        };
        overlap((first, last), (low, high))
    }
}

/// The ports that two ranges share.
pub(super) fn overlap(one: (u16, u16), other: (u16, u16)) -> Option<(u16, u16)> {
    let both = (one.0.max(other.0), one.1.min(other.1));
    (both.0 <= both.1).then_some(both)
}
