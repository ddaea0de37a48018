//! One datagram of which not all fragments have come.

use super::{Arrival, Held};
use crate::packet::{HEADROOM, Upper};
use crate::time::Timestamp;
use crate::verdict::DropReason;

/// Fragments of one datagram at the most; more than a datagram of 64 KB has in pieces of 512 bytes.
pub(super) const MOST_PIECES: usize = 128;
/// The longest datagram.
const LONGEST: usize = 65_535;

/// Whether the first fragment of a datagram came first. Those of which it did need no fragment to be held, as a rule, and
/// are not hindered by those of which it did not (RFC 4787 REQ-14 a).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Early,
    InOrder,
}

#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) order: Order,
    /// When it is forgotten if it is not complete before, and a number that no other has.
    pub(super) deadline: (Timestamp, u64),
    /// What the first fragment carried, once it has come.
    pub(super) upper: Option<Upper>,
    /// Held until complete.
    pub(super) whole: bool,
    /// An overlap was seen, or a bound: whatever still comes is dropped.
    pub(super) condemned: Option<DropReason>,
    /// Ranges of data seen, as they came: start, end.
    pub(super) seen: Vec<(u32, u32)>,
    /// Length of all data, once the last fragment has come.
    pub(super) length: Option<u32>,
    pub(super) pieces: Vec<Piece>,
}

#[derive(Debug)]
pub(super) struct Piece {
    pub(super) offset: u32,
    pub(super) header_len: usize,
    pub(super) held: Held,
}

impl Datagram {
    pub(super) const fn new(order: Order, deadline: (Timestamp, u64)) -> Self {
        Self {
            order,
            deadline,
            upper: None,
            whole: false,
            condemned: None,
            seen: Vec::new(),
            length: None,
            pieces: Vec::new(),
        }
    }

    /// Checks a fragment against those before it.
    pub(super) fn note(&mut self, arrival: &Arrival<'_>) -> Result<(), DropReason> {
        if let Some(reason) = self.condemned {
            return Err(reason);
        }
        let data = u32::try_from(arrival.packet.len() - arrival.header_len).unwrap_or(u32::MAX);
        let start = u32::from(arrival.place.offset);
        let end = start.saturating_add(data);
        if end as usize > LONGEST || (arrival.place.more && !data.is_multiple_of(8)) || data == 0 {
            return Err(DropReason::Malformed);
        }
        if self.seen.contains(&(start, end)) {
            // The network duplicated it. The first copy is on its way already.
            return Err(DropReason::FragmentOverlap);
        }
        let overlaps = self.seen.iter().any(|&(from, to)| start < to && from < end);
        let last = !arrival.place.more;
        let contradicts = self.length.is_some_and(|length| end > length || last)
            || (last && self.seen.iter().any(|&(_, to)| to > end));
        if overlaps || contradicts {
            return Err(self.condemn(DropReason::FragmentOverlap));
        }
        if self.seen.len() >= MOST_PIECES {
            return Err(self.condemn(DropReason::FragmentLimit));
        }
        self.seen.push((start, end));
        if last {
            self.length = Some(end);
        }
        if let Some(upper) = arrival.upper {
            self.upper = Some(upper);
            self.whole = arrival.only_whole;
        }
        Ok(())
    }

    pub(super) const fn condemn(&mut self, reason: DropReason) -> DropReason {
        self.condemned = Some(reason);
        reason
    }

    pub(super) fn is_complete(&self) -> bool {
        let covered: u32 = self.seen.iter().map(|(start, end)| end - start).sum();
        self.length == Some(covered)
    }
}

impl Piece {
    pub(super) fn of(arrival: &Arrival<'_>) -> Self {
        let mut storage = vec![0; HEADROOM];
        storage.extend_from_slice(arrival.packet);
        let held = Held { storage, len: arrival.packet.len() };
        Self { offset: arrival.place.offset.into(), header_len: arrival.header_len, held }
    }
}

/// One fragment's headers and all the data: lengths and fragment fields are still the first fragment's.
pub(super) fn assemble(mut pieces: Vec<Piece>) -> Option<Held> {
    pieces.sort_unstable_by_key(|piece| piece.offset);
    let mut pieces = pieces.into_iter();
    let mut whole = pieces.next()?.held;
    for piece in pieces {
        mark_congestion(&mut whole.storage[HEADROOM..], &piece.held.storage[HEADROOM..]);
        whole.storage.extend_from_slice(&piece.held.storage[HEADROOM + piece.header_len..]);
    }
    whole.len = whole.storage.len() - HEADROOM;
    // What no IPv4 header can tell the length of never was a packet. Too long an IPv6 one is refused when it is parsed.
    let is_v4 = whole.storage.get(HEADROOM).is_some_and(|first| first >> 4 == 4);
    (!is_v4 || whole.len <= LONGEST).then_some(whole)
}

/// Marks a datagram whose later `piece` has met congestion, if its sender takes part in ECN (RFC 3168 §5.3).
fn mark_congestion(first: &mut [u8], piece: &[u8]) {
    // The last two bits of the TOS octet, and of the traffic class, which begins in the byte before.
    let congestion = if first[0] >> 4 == 4 { 0b11 } else { 0b11 << 4 };
    if piece[1] & congestion == congestion && first[1] & congestion != 0 {
        first[1] |= congestion;
    }
}
