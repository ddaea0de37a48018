//! Answers ready to be sent: the bytes of what was told lately, found by what makes a query's answer and copied out with
//! no task and no allocation.
//!
//! It holds nothing that the policy and the cache would not give again; it is their memory of it. A table of fixed size,
//! four answers to a place, each place with its own lock.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use tokio::time::Instant;

use crate::wire::{Head, Message, Query, ttl_offsets};

/// Answers in one place of the table.
const WAYS: usize = 4;

/// Answers that are larger stay out, in bytes: few fit a datagram.
const LARGEST: usize = 1232;

/// The longest key: a name, type and class, the flags that count, and the view.
const LONGEST_KEY: usize = 255 + 4 + 1 + 2;

/// The time of the table's making, in seconds: what is kept can be made older than that.
const EPOCH: u32 = 1 << 30;

/// Answers by key.
#[derive(Debug)]
pub(crate) struct Hot {
    places: Box<[Mutex<Place>]>,
    hasher: RandomState,
    /// Where the search for memory to free goes on.
    hand: AtomicUsize,
    bytes: AtomicUsize,
    most_bytes: usize,
    start: Instant,
}

type Place = [Option<Ready>; WAYS];

/// One answer. Times are seconds since [`EPOCH`] seconds before the table was made.
#[derive(Debug)]
struct Ready {
    hash: u64,
    /// The key, the answer without OPT record, and where its TTLs are, two bytes each.
    data: Box<[u8]>,
    key_len: u16,
    body_len: u16,
    made: u32,
    ends: u32,
    generation: u32,
    head: Head,
}

/// What tells answers apart, but for what is put into each when it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    bytes: [u8; LONGEST_KEY],
    len: usize,
    generation: u32,
}

impl Key {
    /// The key of a query that is answered under this view, with this generation of the policy.
    pub(crate) fn new(query: &Query<'_>, view: u16, generation: u32) -> Self {
        let question = query.question();
        let flags =
            u8::from(query.recursion()) | u8::from(query.checking_disabled()) << 1 | u8::from(query.dnssec()) << 2;
        let [high, low] = view.to_be_bytes();
        let mut bytes = [0; LONGEST_KEY];
        let (name, rest) = bytes.split_at_mut(question.len());
        name.copy_from_slice(question);
        let name_len = question.len() - 4;
        name[..name_len].make_ascii_lowercase();
        rest[..3].copy_from_slice(&[flags, high, low]);
        Self { bytes, len: question.len() + 3, generation }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Hot {
    /// A table for about so many answers in so many bytes; none at all if either is zero.
    pub(crate) fn new(entries: usize, most_bytes: usize) -> Self {
        let count = if most_bytes == 0 { 0 } else { (entries / WAYS).next_power_of_two().min(entries) };
        Self {
            places: (0..count).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            hand: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            most_bytes,
            start: Instant::now(),
        }
    }

    /// Copies an answer to `out`, with the TTLs that are left; nothing if there is none that may still be told.
    pub(crate) fn get(&self, key: &Key, now: Instant, out: &mut Vec<u8>) -> Option<Head> {
        let hash = self.hasher.hash_one(key.bytes());
        let now = self.seconds(now);
        let place = self.place(hash)?;
        let ready = place.iter().flatten().find(|ready| ready.is(hash, key) && now < ready.ends)?;
        ready.copy(now.saturating_sub(ready.made), out);
        Some(ready.head)
    }

    /// Keeps an answer for so many seconds.
    pub(crate) fn insert(&self, key: &Key, message: &Message, lifetime: u32, now: Instant) {
        let body = message.bytes();
        if lifetime == 0 || body.len() > LARGEST {
            return;
        }
        let (hash, now) = (self.hasher.hash_one(key.bytes()), self.seconds(now));
        let Some(ready) = Ready::new(hash, key, message, now, lifetime) else { return };
        if !self.make_room(ready.data.len(), now) {
            return;
        }
        let Some(mut place) = self.place(hash) else { return };
        // The same key, else a free way, else the one that ends first.
        let rank = |way: &Option<Ready>| match way {
            Some(old) if old.is_same_key(&ready) => 0,
            None => 1,
            Some(old) => 2 + u64::from(old.ends),
        };
        let Some(way) = place.iter_mut().min_by_key(|way| rank(way)) else { return };
        self.bytes.fetch_add(ready.data.len(), Ordering::Relaxed);
        if let Some(old) = way.replace(ready) {
            self.bytes.fetch_sub(old.data.len(), Ordering::Relaxed);
        }
    }

    /// Forgets all answers.
    pub(crate) fn clear(&self) {
        for place in &self.places {
            for old in lock(place).iter_mut().filter_map(Option::take) {
                self.bytes.fetch_sub(old.data.len(), Ordering::Relaxed);
            }
        }
    }

    /// Makes all answers older, by whole seconds.
    pub(crate) fn age(&self, by: Duration) {
        let by = u32::try_from(by.as_secs()).unwrap_or(EPOCH);
        for place in &self.places {
            for ready in lock(place).iter_mut().flatten() {
                ready.made = ready.made.saturating_sub(by);
                ready.ends = ready.ends.saturating_sub(by);
            }
        }
    }

    /// Frees memory until so much more fits. What is freed is what a hand that goes around comes upon.
    fn make_room(&self, size: usize, now: u32) -> bool {
        let fits = || self.bytes.load(Ordering::Relaxed) + size <= self.most_bytes;
        for turn in 0..2 * self.places.len() {
            if fits() {
                return true;
            }
            let index = self.hand.fetch_add(1, Ordering::Relaxed) % self.places.len();
            let mut place = lock(&self.places[index]);
            let is_in_need = turn >= 8;
            for way in &mut *place {
                if way.as_ref().is_some_and(|ready| is_in_need || ready.ends <= now)
                    && let Some(old) = way.take()
                {
                    self.bytes.fetch_sub(old.data.len(), Ordering::Relaxed);
                }
            }
        }
        fits()
    }

    fn place(&self, hash: u64) -> Option<MutexGuard<'_, Place>> {
        // Where there is a table, its size is a power of two.
        let mask = self.places.len().checked_sub(1)?;
        let index = usize::try_from(hash >> 32).unwrap_or_default() & mask;
        Some(lock(&self.places[index]))
    }

    fn seconds(&self, now: Instant) -> u32 {
        let since = u32::try_from(now.saturating_duration_since(self.start).as_secs()).unwrap_or(u32::MAX);
        EPOCH.saturating_add(since)
    }
}

impl Ready {
    fn new(hash: u64, key: &Key, message: &Message, now: u32, lifetime: u32) -> Option<Self> {
        let body = message.bytes();
        let ttls = ttl_offsets(body)?;
        let mut data = Vec::with_capacity(key.len + body.len() + 2 * ttls.len());
        data.extend_from_slice(key.bytes());
        data.extend_from_slice(body);
        data.extend(ttls.iter().flat_map(|at| at.to_be_bytes()));
        Some(Self {
            hash,
            data: data.into(),
            key_len: u16::try_from(key.len).ok()?,
            body_len: u16::try_from(body.len()).ok()?,
            made: now,
            ends: now.saturating_add(lifetime),
            generation: key.generation,
            head: message.head(),
        })
    }

    fn is(&self, hash: u64, key: &Key) -> bool {
        self.hash == hash && self.generation == key.generation && self.key() == key.bytes()
    }

    fn is_same_key(&self, other: &Self) -> bool {
        self.hash == other.hash && self.key() == other.key()
    }

    fn key(&self) -> &[u8] {
        &self.data[..self.key_len.into()]
    }

    fn copy(&self, age: u32, out: &mut Vec<u8>) {
        let (body, ttls) = self.data[self.key_len.into()..].split_at(self.body_len.into());
        out.clear();
        out.extend_from_slice(body);
        for at in ttls.chunks_exact(2) {
            let at = usize::from(u16::from_be_bytes([at[0], at[1]]));
            if let Some(ttl) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) {
                *ttl = u32::from_be_bytes(*ttl).saturating_sub(age).to_be_bytes();
            }
        }
    }
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use hickory_proto::op::Message as HickoryMessage;
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{Name, RData, Record};

    use super::*;
    use crate::wire::{Question, Sections, code, rcode};

    fn query_bytes(name: &str) -> Vec<u8> {
        let question = Question::new(&Name::from_ascii(name).unwrap(), code::A).unwrap();
        [b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", question.bytes()].concat()
    }

    fn key(name: &str, view: u16, generation: u32) -> Key {
        Key::new(&Query::parse(&query_bytes(name)).unwrap(), view, generation)
    }

    fn message(name: &str) -> Message {
        let name = Name::from_ascii(name).unwrap();
        let question = Question::new(&name, code::A).unwrap();
        let answers = vec![Record::from_rdata(name, 60, RData::A(A(Ipv4Addr::LOCALHOST)))];
        Message::from_sections(&question, rcode::NO_ERROR, Sections { answers, ..Sections::default() })
    }

    fn ttl(hot: &Hot, key: &Key, now: Instant) -> Option<u32> {
        let mut out = Vec::new();
        hot.get(key, now, &mut out)?;
        Some(HickoryMessage::from_vec(&out).unwrap().answers[0].ttl)
    }

    #[test]
    fn an_answer_is_told_with_the_ttl_that_is_left_until_its_time_is_over() {
        let hot = Hot::new(64, 1 << 16);
        let (now, x) = (hot.start, key("x.", 0, 0));
        hot.insert(&x, &message("x."), 54, now);
        let after = |seconds| ttl(&hot, &x, now + Duration::from_secs(seconds));
        assert_eq!([0, 10, 53, 54].map(after), [Some(60), Some(50), Some(7), None]);
    }

    #[test]
    fn views_and_generations_of_the_policy_are_told_apart_and_case_is_not() {
        let hot = Hot::new(64, 1 << 16);
        let now = hot.start;
        hot.insert(&key("x.", 1, 1), &message("x."), 54, now);
        let found = [("X.", 1, 1), ("x.", 0, 1), ("x.", 1, 2), ("y.", 1, 1)];
        assert_eq!(
            found.map(|(name, view, it)| ttl(&hot, &key(name, view, it), now).is_some()),
            [true, false, false, false]
        );
    }

    #[test]
    fn memory_is_bounded_by_entries_and_by_bytes() {
        for hot in [Hot::new(64, 1 << 20), Hot::new(1 << 12, 4000)] {
            for number in 0..2000 {
                let name = format!("{number}.");
                hot.insert(&key(&name, 0, 0), &message(&name), 54, hot.start);
                assert!(ttl(&hot, &key(&name, 0, 0), hot.start).is_some());
            }
            let held: usize = hot
                .places
                .iter()
                .flat_map(|place| lock(place).each_ref().map(|way| way.as_ref().map_or(0, |ready| ready.data.len())))
                .sum();
            assert_eq!(hot.bytes.load(Ordering::Relaxed), held);
            assert!(held <= hot.most_bytes && held <= 64 * 100);
        }
    }

    #[test]
    fn a_table_of_no_size_holds_nothing() {
        for hot in [Hot::new(0, 1 << 20), Hot::new(64, 0)] {
            hot.insert(&key("x.", 0, 0), &message("x."), 54, hot.start);
            assert_eq!(ttl(&hot, &key("x.", 0, 0), hot.start), None);
        }
    }
}
