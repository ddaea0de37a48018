//! Fragments: finding the ports of those that do not carry them (RFC 6146 §3.4).
//!
//! Fragments are translated one by one. One that comes before its first fragment is held until that has come. Where
//! translation needs the whole datagram (ICMP echo, whose checksum covers its length in IPv6 only, ICMP errors, and UDP
//! that is to be given a checksum), all are held and put together. Overlapping fragments condemn their datagram
//! (RFC 5722).

mod admission;
mod whole;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;

use crate::memory::ALLOCATION;
use crate::packet::{HEADROOM, Upper};
use crate::policy::Limits;
use crate::session::subscriber_prefix;
use crate::session::table::{self, shrink_map};
use crate::time::Timestamp;
use crate::verdict::DropReason;

pub(crate) use admission::{Admission, Arrival, Held, Key, Rejection};
pub(crate) use whole::allow_fragmentation;

/// Fragments of one datagram at the most; more than a datagram of 64 KB has in pieces of 512 bytes.
const MOST_PIECES: usize = 128;
/// One subscriber, or one IPv4 source, may hold this part of the limits.
const SHARE_OF_A_SOURCE: u32 = 4;
/// The longest datagram.
const LONGEST: usize = 65_535;

#[derive(Debug)]
struct Datagram {
    /// When it is forgotten if it is not complete before, and a number that no other has.
    deadline: (Timestamp, u64),
    /// What the first fragment carried, once it has come.
    upper: Option<Upper>,
    /// Held until complete.
    whole: bool,
    /// An overlap was seen, or a bound: whatever still comes is dropped.
    condemned: Option<DropReason>,
    /// Ranges of data seen, as they came: start, end.
    seen: Vec<(u32, u32)>,
    /// Length of all data, once the last fragment has come.
    length: Option<u32>,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    offset: u32,
    header_len: usize,
    held: Held,
}

/// Datagrams of which fragments have been seen lately.
#[derive(Debug)]
pub(crate) struct Fragments {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Bits of an IPv6 source that name the subscriber.
    subscriber_length: u8,
    datagrams: HashMap<Key, Datagram, foldhash::quality::RandomState>,
    deadlines: BTreeMap<(Timestamp, u64), Key>,
    /// How many datagrams there have been.
    serial: u64,
    /// Datagrams and held fragments by subscriber, or by IPv4 source.
    by_source: HashMap<IpAddr, u32, foldhash::quality::RandomState>,
    held: u32,
    held_bytes: u32,
}

impl Fragments {
    pub(crate) fn new(subscriber_length: u8) -> Self {
        Self { inner: Mutex::new(Inner { subscriber_length, ..Inner::default() }) }
    }

    /// Takes note of a fragment and says what to do with it.
    pub(crate) fn admit(
        &self,
        arrival: &Arrival<'_>,
        now: Timestamp,
        lifetime: Duration,
        limits: &Limits,
    ) -> Result<Admission, Rejection> {
        self.lock().admit(arrival, now + lifetime, limits)
    }

    /// Forgets up to `budget` datagrams whose time has passed. Returns how many held fragments were lost with them.
    pub(crate) fn expire(&self, now: Timestamp, budget: usize) -> usize {
        let mut inner = self.lock();
        let mut lost = 0;
        for _ in 0..budget {
            match inner.deadlines.first_key_value() {
                Some((&(deadline, _), &key)) if deadline <= now => lost += inner.forget(&key),
                _ => break,
            }
        }
        lost
    }

    /// Bytes that fragments within these limits take at the most, apart from [`Limits::fragment_bytes`].
    pub(crate) const fn bytes(limits: &Limits) -> u64 {
        let fragments = limits.fragments as u64;
        // A list that grows has room for twice as many, and its old memory beside that.
        let lists = MOST_PIECES * 3 * size_of::<(u32, u32)>() + 4 * size_of::<Piece>() + 2 * ALLOCATION;
        let deadline = 2 * size_of::<((Timestamp, u64), Key)>();
        let piece = HEADROOM + 3 * size_of::<Piece>() + ALLOCATION;
        table::bytes::<(Key, Datagram)>(fragments, 1)
            + table::bytes::<(IpAddr, u32)>(2 * fragments, 1)
            + fragments * (lists + deadline + piece) as u64
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn admit(&mut self, arrival: &Arrival<'_>, deadline: Timestamp, limits: &Limits) -> Result<Admission, Rejection> {
        let key = arrival.key;
        if !self.datagrams.contains_key(&key) {
            self.open(key, deadline, limits)?;
        }
        let room = self.room_for(arrival, limits);
        let Some(datagram) = self.datagrams.get_mut(&key) else { return Err(DropReason::FragmentLimit.into()) };
        if let Err(reason) = datagram.note(arrival) {
            let lost = if datagram.condemned.is_some() { self.release_pieces(&key).len() } else { 0 };
            return Err(Rejection { reason, lost });
        }
        if !datagram.whole
            && let Some(upper) = datagram.upper
        {
            let complete = datagram.is_complete();
            let early = self.release_pieces(&key);
            if complete {
                // The identification may be used again at once; a busy sender does so within seconds (RFC 4963).
                self.forget(&key);
            }
            return Ok(Admission::Translate(upper, early.into_iter().map(|piece| piece.held).collect()));
        }
        if !room {
            let reason = datagram.condemn(DropReason::FragmentLimit);
            let lost = self.release_pieces(&key).len();
            return Err(Rejection { reason, lost });
        }
        datagram.pieces.push(Piece::of(arrival));
        let complete = datagram.whole && datagram.is_complete();
        self.count_held(&key, arrival.packet.len());
        if complete {
            let pieces = self.release_pieces(&key);
            self.forget(&key);
            // The last of them is the one that has just come.
            let held = pieces.len() - 1;
            return assemble(pieces)
                .map(|whole| Admission::Whole(whole, held))
                .ok_or(Rejection { reason: DropReason::Malformed, lost: held });
        }
        Ok(Admission::Held)
    }

    /// Makes room for a datagram that was not seen before.
    fn open(&mut self, key: Key, deadline: Timestamp, limits: &Limits) -> Result<(), DropReason> {
        let holder = self.holder(key.source);
        let of_source = self.by_source.entry(holder).or_default();
        if self.datagrams.len() >= limits.fragments as usize || *of_source >= share(limits.fragments) {
            if *of_source == 0 {
                self.by_source.remove(&holder);
            }
            return Err(DropReason::FragmentLimit);
        }
        *of_source += 1;
        self.serial += 1;
        let deadline = (deadline, self.serial);
        self.datagrams.insert(key, Datagram::new(deadline));
        self.deadlines.insert(deadline, key);
        Ok(())
    }

    fn room_for(&self, arrival: &Arrival<'_>, limits: &Limits) -> bool {
        let of_source = self.by_source.get(&self.holder(arrival.key.source)).copied().unwrap_or(0);
        let bytes = u32::try_from(arrival.packet.len() + HEADROOM).unwrap_or(u32::MAX);
        self.held < limits.fragments
            && self.held_bytes.saturating_add(bytes) <= limits.fragment_bytes
            && of_source < share(limits.fragments)
    }

    fn count_held(&mut self, key: &Key, len: usize) {
        self.held += 1;
        self.held_bytes += u32::try_from(len + HEADROOM).unwrap_or(0);
        *self.by_source.entry(self.holder(key.source)).or_default() += 1;
    }

    /// Takes the held fragments of a datagram out.
    fn release_pieces(&mut self, key: &Key) -> Vec<Piece> {
        let Some(datagram) = self.datagrams.get_mut(key) else { return Vec::new() };
        let pieces = std::mem::take(&mut datagram.pieces);
        for piece in &pieces {
            self.held -= 1;
            self.held_bytes -= u32::try_from(piece.held.len + HEADROOM).unwrap_or(0);
            self.uncount(key.source);
        }
        pieces
    }

    fn forget(&mut self, key: &Key) -> usize {
        let pieces = self.release_pieces(key);
        if let Some(datagram) = self.datagrams.remove(key) {
            self.deadlines.remove(&datagram.deadline);
            self.uncount(key.source);
            shrink_map(&mut self.datagrams);
        }
        pieces.len()
    }

    /// Whose share of the limits a source's fragments count for: an address is easily changed, a subscriber is not.
    fn holder(&self, source: IpAddr) -> IpAddr {
        match source {
            IpAddr::V6(address) => IpAddr::V6(subscriber_prefix(self.subscriber_length, address).into()),
            IpAddr::V4(_) => source,
        }
    }

    fn uncount(&mut self, source: IpAddr) {
        let source = self.holder(source);
        if let Some(count) = self.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
                shrink_map(&mut self.by_source);
            }
        }
    }
}

impl Datagram {
    const fn new(deadline: (Timestamp, u64)) -> Self {
        Self {
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
    fn note(&mut self, arrival: &Arrival<'_>) -> Result<(), DropReason> {
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

    const fn condemn(&mut self, reason: DropReason) -> DropReason {
        self.condemned = Some(reason);
        reason
    }

    fn is_complete(&self) -> bool {
        let covered: u32 = self.seen.iter().map(|(start, end)| end - start).sum();
        self.length == Some(covered)
    }
}

impl Piece {
    fn of(arrival: &Arrival<'_>) -> Self {
        let mut storage = vec![0; HEADROOM];
        storage.extend_from_slice(arrival.packet);
        let held = Held { storage, len: arrival.packet.len() };
        Self { offset: arrival.place.offset.into(), header_len: arrival.header_len, held }
    }
}

/// One fragment's headers and all the data: lengths and fragment fields are still the first fragment's.
fn assemble(mut pieces: Vec<Piece>) -> Option<Held> {
    pieces.sort_unstable_by_key(|piece| piece.offset);
    let mut pieces = pieces.into_iter();
    let mut whole = pieces.next()?.held;
    for piece in pieces {
        whole.storage.extend_from_slice(&piece.held.storage[HEADROOM + piece.header_len..]);
    }
    whole.len = whole.storage.len() - HEADROOM;
    Some(whole)
}

const fn share(limit: u32) -> u32 {
    let share = limit / SHARE_OF_A_SOURCE;
    if share == 0 { 1 } else { share }
}

#[cfg(test)]
mod tests;
