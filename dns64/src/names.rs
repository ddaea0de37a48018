//! Which name a client was told a synthetic address for, so that a log of sessions can say what was meant by an address.
//!
//! Nothing is remembered unless somebody asks for it. A table of fixed size, four entries to a place, each place with its
//! own lock; what was told last counts.

use std::fmt::Write;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use foldhash::quality::RandomState;

use crate::wire::{Question, told_addresses};

/// Places of the table, a power of two.
const PLACES: usize = 32_768;

/// Entries in one place.
const WAYS: usize = 4;

/// How much longer than its TTL a client may use an address: programs keep what they have looked up.
const GRACE: Duration = Duration::from_mins(10);

/// No name is remembered for longer.
const LONGEST: Duration = Duration::from_hours(24);

/// How much later than a session began its name may have been learned: the clocks of packets and of names are read at other
/// moments.
const SLACK: Duration = Duration::from_secs(1);

/// The longest name that is remembered, in bytes of its text; others can only be meant to be a nuisance.
const LONGEST_NAME: usize = 255;

/// What a client may have been told an address for.
///
/// For each client it is the name that it asked for last when it was told this address; for hosts that ask from one address
/// of theirs and connect from another, the name that anybody in the same /64 was told last.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<ArcSwapOption<Table>>);

impl Names {
    /// Remembers names from now on, or forgets them all and remembers none.
    pub fn remember(&self, is_wanted: bool) {
        if is_wanted != self.0.load().is_some() {
            self.0.store(is_wanted.then(|| Arc::new(Table::new(PLACES))));
        }
    }

    /// The name that `client` was told `address` for, in lower case and without its last dot, if it knew it so long ago.
    #[must_use]
    pub fn find(&self, client: Ipv6Addr, address: Ipv6Addr, ago: Duration) -> Option<Arc<str>> {
        let table = self.0.load();
        let (table, now) = (table.as_ref()?, Instant::now());
        keys(client).into_iter().find_map(|who| table.find((who, address.to_bits()), ago, now))
    }

    /// Learns from an answer with synthetic records, as this client is sent it.
    pub(crate) fn learn(&self, client: IpAddr, answer: &[u8]) {
        let table = self.0.load();
        let (Some(table), IpAddr::V6(client)) = (table.as_ref(), client) else { return };
        // Who asks over IPv4 is not known by its IPv6 address.
        if client.to_ipv4_mapped().is_some() {
            return;
        }
        let Some(name) = crate::wire::Reply::question_of(answer).and_then(|question| text(Question::name_of(question)))
        else {
            return;
        };
        let (name, now) = (Arc::from(name), Instant::now());
        for (address, ttl) in told_addresses(answer) {
            for who in keys(client) {
                table.insert((who, address.to_bits()), &name, lifetime(ttl), now);
            }
        }
    }
}

/// Names by client and address.
#[derive(Debug)]
struct Table {
    places: Box<[Mutex<[Option<Entry>; WAYS]>]>,
    hasher: RandomState,
}

/// Who was told, and what.
type Key = (u128, u128);

#[derive(Debug)]
struct Entry {
    key: Key,
    name: Arc<str>,
    learned: Instant,
    ends: Instant,
}

impl Table {
    fn new(places: usize) -> Self {
        Self { places: (0..places).map(|_| Mutex::default()).collect(), hasher: RandomState::default() }
    }

    fn find(&self, key: Key, ago: Duration, now: Instant) -> Option<Arc<str>> {
        let place = self.place(key).lock().unwrap_or_else(PoisonError::into_inner);
        let entry = place.iter().flatten().find(|entry| entry.key == key && entry.ends > now)?;
        let was_known = now.saturating_duration_since(entry.learned) + SLACK >= ago;
        was_known.then(|| Arc::clone(&entry.name))
    }

    fn insert(&self, key: Key, name: &Arc<str>, lifetime: Duration, now: Instant) {
        let mut place = self.place(key).lock().unwrap_or_else(PoisonError::into_inner);
        let ends = now + lifetime;
        let known = place.iter_mut().flatten().find(|entry| entry.key == key);
        if let Some(same) = known.filter(|entry| entry.name == *name && entry.ends > now) {
            same.ends = same.ends.max(ends);
            return;
        }
        // The same key, else a free way or one whose time is over, else the one that ends first.
        let rank = |way: &Option<Entry>| match way {
            Some(entry) if entry.key == key => (0, now),
            Some(entry) => (2, entry.ends),
            None => (1, now),
        };
        if let Some(way) = place.iter_mut().min_by_key(|way| rank(way)) {
            *way = Some(Entry { key, name: Arc::clone(name), learned: now, ends });
        }
    }

    fn place(&self, key: Key) -> &Mutex<[Option<Entry>; WAYS]> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or_default();
        &self.places[hash & (self.places.len() - 1)]
    }
}

/// By what a client is known, the closest first: its address, and its link.
fn keys(client: Ipv6Addr) -> [u128; 2] {
    let bits = client.to_bits();
    // An interface identifier of all ones is nobody's own address (RFC 2526 reserves it).
    [bits, bits | u128::from(u64::MAX)]
}

fn lifetime(ttl: u32) -> Duration {
    (Duration::from_secs(ttl.into()) + GRACE).min(LONGEST)
}

/// A name in wire form as text: printable ASCII as it is, other bytes as `\DDD` (RFC 1035 §5.1). Nothing for the root, and
/// for what is too long.
fn text(name: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((&length @ 1.., after)) = rest.split_first() {
        let (label, next) = after.split_at_checked(length.into())?;
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            match byte.to_ascii_lowercase() {
                byte @ (b'.' | b'\\') => text.extend(['\\', byte.into()]),
                byte if byte.is_ascii_graphic() => text.push(byte.into()),
                // A string takes all that is written.
                byte => drop(write!(text, "\\{byte:03}")),
            }
        }
        rest = next;
    }
    (1..=LONGEST_NAME).contains(&text.len()).then_some(text)
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, AAAA};
    use hickory_proto::rr::{Name, RData, Record};

    use super::*;
    use crate::wire::{Message, Sections, code, rcode};

    const WEB: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0xc633, 0x640a);

    fn client(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn answer(name: &str, addresses: &[Ipv6Addr]) -> Vec<u8> {
        let name = Name::from_ascii(name).unwrap();
        let target = Name::from_ascii("target.example.").unwrap();
        let record = |address: &Ipv6Addr| Record::from_rdata(target.clone(), 60, RData::AAAA(AAAA(*address)));
        let answers = addresses.iter().map(record).collect();
        let question = Question::new(&name, code::AAAA).unwrap();
        let beside = Record::from_rdata(target.clone(), 60, RData::A(A([192, 0, 2, 1].into())));
        let sections = Sections { answers, additionals: vec![beside], ..Sections::default() };
        Message::from_sections(&question, rcode::NO_ERROR, sections).bytes().to_vec()
    }

    fn remembering() -> Names {
        let names = Names::default();
        names.remember(true);
        names
    }

    fn found(names: &Names, who: &str) -> Option<String> {
        names.find(client(who), WEB, Duration::ZERO).map(|name| name.to_string())
    }

    #[test]
    fn nothing_is_remembered_unless_it_is_wanted() {
        let names = Names::default();
        names.learn(client("2001:db8::1").into(), &answer("a.example.", &[WEB]));
        assert_eq!(found(&names, "2001:db8::1"), None);
        names.remember(true);
        names.learn(client("2001:db8::1").into(), &answer("a.example.", &[WEB]));
        names.remember(true);
        assert_eq!(found(&names, "2001:db8::1").as_deref(), Some("a.example"));
        names.remember(false);
        names.remember(true);
        assert_eq!(found(&names, "2001:db8::1"), None, "forgotten");
    }

    #[test]
    fn it_is_the_name_that_was_asked_for_and_the_last_one_counts() {
        let names = remembering();
        let other = client("64:ff9b::1");
        names.learn(client("2001:db8::1").into(), &answer("First.Example.", &[other, WEB]));
        assert_eq!(found(&names, "2001:db8::1").as_deref(), Some("first.example"), "not target.example");
        names.learn(client("2001:db8::1").into(), &answer("second.example.", &[WEB]));
        assert_eq!(found(&names, "2001:db8::1").as_deref(), Some("second.example"));
        assert_eq!(names.find(client("2001:db8::1"), other, Duration::ZERO).as_deref(), Some("first.example"));
    }

    #[test]
    fn a_client_has_its_own_names_and_one_that_did_not_ask_those_of_its_link() {
        let names = remembering();
        names.learn(client("2001:db8::1").into(), &answer("one.example.", &[WEB]));
        names.learn(client("2001:db8::2").into(), &answer("two.example.", &[WEB]));
        assert_eq!(found(&names, "2001:db8::1").as_deref(), Some("one.example"));
        assert_eq!(found(&names, "2001:db8::3").as_deref(), Some("two.example"), "the last one of the link");
        assert_eq!(found(&names, "2001:db8:0:1::1"), None, "another link");
        names.learn("192.0.2.1".parse().unwrap(), &answer("four.example.", &[WEB]));
        names.learn("::ffff:192.0.2.1".parse().unwrap(), &answer("four.example.", &[WEB]));
        assert_eq!(found(&names, "::1"), None, "asked over IPv4");
    }

    #[test]
    fn a_session_that_began_before_a_name_was_told_is_not_its() {
        let table = Table::new(1);
        let (key, begun) = ((1, 2), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        table.insert(key, &"old.example".into(), Duration::from_mins(1), at(0));
        table.insert(key, &"old.example".into(), Duration::from_mins(1), at(20));
        assert!(table.find(key, Duration::from_secs(30), at(30)).is_some(), "learned at 0 and told again at 20");
        assert!(table.find(key, Duration::from_secs(32), at(30)).is_none());
        table.insert(key, &"new.example".into(), Duration::from_mins(1), at(40));
        assert!(table.find(key, Duration::from_secs(10), at(45)).is_none(), "what it was for then is forgotten");
        assert_eq!(table.find(key, Duration::from_secs(5), at(45)).as_deref(), Some("new.example"));
    }

    #[test]
    fn names_are_forgotten_some_time_after_their_ttl_and_soonest_where_room_is_needed() {
        assert_eq!(lifetime(60), Duration::from_secs(660));
        assert_eq!(lifetime(u32::MAX), Duration::from_hours(24));
        let (table, now) = (Table::new(1), Instant::now());
        let after = |seconds: u64| Duration::from_secs(seconds);
        for number in 0..WAYS as u64 {
            table.insert((number.into(), 0), &"x".into(), after(100 + number), now);
        }
        assert!(table.find((0, 0), Duration::ZERO, now + after(99)).is_some());
        assert!(table.find((0, 0), Duration::ZERO, now + after(100)).is_none());
        table.insert((9, 0), &"y".into(), after(50), now);
        let is_left = |number: u128| table.find((number, 0), Duration::ZERO, now).is_some();
        assert_eq!([0, 1, 2, 3, 9].map(is_left), [false, true, true, true, true]);
        table.insert((1, 0), &"z".into(), after(1), now);
        assert_eq!([1, 2, 3, 9].map(is_left), [true; 4], "in its own place");
    }

    #[test]
    fn text_of_names_is_lower_case_ascii_and_bounded() {
        assert_eq!(text(b"\x03WwW\x07example\x00").as_deref(), Some("www.example"));
        assert_eq!(text(b"\x05a.\\ \xc3\x00").as_deref(), Some("a\\.\\\\\\032\\195"));
        assert_eq!(text(b"\x00"), None);
        let long: Vec<u8> = [&[63][..], &[0; 63], &[63], &[0; 63], &[0]].concat();
        assert_eq!(text(&long), None);
        assert_eq!(text(b"\x05abc"), None);
    }
}
