//! Fragments: finding the ports of those that do not carry them (RFC 6146 §3.4).
//!
//! Fragments are translated one by one. One that comes before its first fragment is held until that has come. Where
//! translation needs the whole datagram (ICMP echo, whose checksum covers its length in IPv6 only, ICMP errors, and UDP
//! that is to be given a checksum), all are held and put together. Overlapping fragments condemn their datagram
//! (RFC 5722).

mod admission;
mod datagram;
mod whole;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;

use self::datagram::{Datagram, MOST_PIECES, Order, Piece, assemble};
use crate::memory::ALLOCATION;
use crate::packet::HEADROOM;
use crate::policy::Limits;
use crate::session::subscriber_prefix;
use crate::session::table::{self, shrink_map};
use crate::time::Timestamp;
use crate::verdict::DropReason;

pub(crate) use admission::{Admission, Arrival, Held, Key, Rejection};
pub(crate) use whole::allow_fragmentation;

/// One subscriber, or one IPv4 source, may hold this part of the limits.
const SHARE_OF_A_SOURCE: u32 = 4;
/// This part of what may be held is for datagrams whose first fragment came first.
const SHARE_OF_ORDER: u32 = 4;
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
    /// By [`Order`].
    deadlines: [BTreeMap<(Timestamp, u64), Key>; 2],
    /// How many datagrams there have been.
    serial: u64,
    /// Held fragments, and datagrams that wait for their first, by subscriber or by IPv4 source.
    by_source: HashMap<IpAddr, u32, foldhash::quality::RandomState>,
    held: u32,
    held_bytes: u32,
    /// Held fragments that went with their datagrams and have not been told of.
    lost: usize,
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

    /// Forgets up to `budget` datagrams whose time has passed. Returns how many held fragments were lost with them, and with
    /// those that had to make room.
    pub(crate) fn expire(&self, now: Timestamp, budget: usize) -> usize {
        let mut inner = self.lock();
        let mut lost = std::mem::take(&mut inner.lost);
        for _ in 0..budget {
            let due =
                inner.deadlines.iter().filter_map(BTreeMap::first_key_value).min_by_key(|(deadline, _)| **deadline);
            match due {
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
        table::bytes::<(Key, Datagram)>(2 * fragments, 1)
            + table::bytes::<(IpAddr, u32)>(2 * fragments, 1)
            + fragments * (2 * (lists + deadline) + piece) as u64
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn admit(&mut self, arrival: &Arrival<'_>, deadline: Timestamp, limits: &Limits) -> Result<Admission, Rejection> {
        let key = arrival.key;
        if !self.datagrams.contains_key(&key) {
            let order = if arrival.upper.is_some() { Order::InOrder } else { Order::Early };
            self.open(key, order, deadline, limits)?;
        }
        let order = self.datagrams.get(&key).map_or(Order::Early, |datagram| datagram.order);
        let room = self.room_for(arrival, order, limits);
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
    fn open(&mut self, key: Key, order: Order, deadline: Timestamp, limits: &Limits) -> Result<(), DropReason> {
        let is_full = self.deadlines[order as usize].len() >= limits.fragments as usize;
        match order {
            Order::Early => {
                if is_full || self.held_by(key.source) >= share(limits.fragments) {
                    return Err(DropReason::FragmentLimit);
                }
                *self.by_source.entry(self.holder(key.source)).or_default() += 1;
            }
            // The oldest goes: the rest of a datagram follows its first fragment at once, or not at all.
            Order::InOrder if is_full => {
                let oldest = self.deadlines[order as usize].first_key_value().map(|(_, key)| *key);
                self.lost += self.forget(&oldest.ok_or(DropReason::FragmentLimit)?);
            }
            Order::InOrder => {}
        }
        self.serial += 1;
        let deadline = (deadline, self.serial);
        self.datagrams.insert(key, Datagram::new(order, deadline));
        self.deadlines[order as usize].insert(deadline, key);
        Ok(())
    }

    fn room_for(&self, arrival: &Arrival<'_>, order: Order, limits: &Limits) -> bool {
        let part = |limit: u32| if order == Order::Early { limit - limit / SHARE_OF_ORDER } else { limit };
        let bytes = u32::try_from(arrival.packet.len() + HEADROOM).unwrap_or(u32::MAX);
        self.held < part(limits.fragments)
            && self.held_bytes.saturating_add(bytes) <= part(limits.fragment_bytes)
            && self.held_by(arrival.key.source) < share(limits.fragments)
    }

    fn held_by(&self, source: IpAddr) -> u32 {
        self.by_source.get(&self.holder(source)).copied().unwrap_or(0)
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
            self.deadlines[datagram.order as usize].remove(&datagram.deadline);
            if datagram.order == Order::Early {
                self.uncount(key.source);
            }
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

const fn share(limit: u32) -> u32 {
    let share = limit / SHARE_OF_A_SOURCE;
    if share == 0 { 1 } else { share }
}

#[cfg(test)]
mod tests;
