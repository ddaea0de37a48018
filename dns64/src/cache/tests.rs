use std::time::Duration;

use hickory_proto::op::{Message as HickoryMessage, MessageType, OpCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{Name, RData, Record};
use proptest::prelude::*;

use super::*;
use crate::wire::{Question, code};

fn config(entries: usize, bytes: usize) -> Config {
    let mut config = Config::new(vec!["192.0.2.53:53".parse().unwrap()], vec![]);
    config.cache_entries = entries;
    config.cache_bytes = bytes;
    config
}

fn cache(entries: usize, bytes: usize) -> (Cache, Arc<Stats>) {
    let stats = Arc::<Stats>::default();
    (Cache::new(&config(entries, bytes), Arc::clone(&stats)), stats)
}

fn ask(name: &str) -> Ask {
    let question = Question::new(&Name::from_ascii(name).unwrap(), code::ANY).unwrap();
    Ask { question, recursion: true, checking_disabled: false, dnssec: false, only_known: false }
}

fn reply(ask: &Ask, ttl: u32, size: usize) -> Arc<Reply> {
    let mut message = HickoryMessage::new(1, MessageType::Response, OpCode::Query);
    message.add_query(ask.question.to_hickory().unwrap());
    let data = TXT::from_bytes(vec![&vec![b'x'; size]]);
    message.add_answer(Record::from_rdata(ask.question.name().unwrap(), ttl, RData::TXT(data)));
    Arc::new(Reply::parse(message.to_vec().unwrap(), 1, &ask.question).unwrap())
}

fn seconds_later(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn an_answer_is_known_with_its_age_until_its_ttl_is_over() {
    let (cache, stats) = cache(100, 1 << 20);
    let (now, ask) = (Instant::now(), ask("x.example."));
    assert!(cache.get(&key(&ask), now).is_none());
    cache.insert(&key(&ask), &reply(&ask, 60, 1), now);
    assert_eq!(cache.get(&key(&ask), seconds_later(now, 59)).unwrap().0.age, 59);
    assert!(cache.get(&key(&ask), seconds_later(now, 60)).is_none());
    assert_eq!(stats.snapshot().cache_hits, 1);
}

#[test]
fn names_are_told_apart_by_flags_and_not_by_case() {
    let (cache, _) = cache(100, 1 << 20);
    let (now, plain) = (Instant::now(), ask("x.example."));
    cache.insert(&key(&plain), &reply(&plain, 60, 1), now);
    assert!(cache.get(&key(&ask("X.eXaMpLe.")), now).is_some());
    assert!(cache.get(&key(&ask("y.example.")), now).is_none());
    for other in [
        Ask { recursion: false, ..plain.clone() },
        Ask { checking_disabled: true, ..plain.clone() },
        Ask { dnssec: true, ..plain.clone() },
        plain.about(plain.question.with_kind(code::A)),
    ] {
        assert!(cache.get(&key(&other), now).is_none(), "{other:?}");
    }
}

#[test]
fn an_answer_is_kept_with_what_its_opt_record_said_and_what_was_found_out() {
    let (cache, _) = cache(100, 1 << 20);
    let (now, ask) = (Instant::now(), ask("x.example."));
    // One more record: OPT, with extended error 4 and the upper bits of a response code.
    let mut bytes = reply(&ask, 60, 1).message().to_vec();
    bytes[11] = 1;
    bytes.extend_from_slice(b"\0\x00\x29\x04\xd0\x01\0\0\0\0\x06\x00\x0f\x00\x02\x00\x04");
    let mut reply = Reply::parse(bytes, 1, &ask.question).unwrap();
    assert_eq!((reply.rcode, reply.ede, reply.edns), (16, Some(4), true));
    assert_eq!(format!("{:?}", Reply::restore(reply.message(), reply.extended()).unwrap()), format!("{reply:?}"));
    // Such a code would not be kept.
    reply.rcode = rcode::NO_ERROR;
    let reply = Arc::new(reply.judged(true, true, Some(4)));
    cache.insert(&key(&ask), &reply, now);
    let known = cache.get(&key(&ask), now).unwrap().0;
    assert_eq!(format!("{:?}", known.reply), format!("{reply:?}"));
}

#[test]
fn a_newer_answer_takes_the_place_of_an_older_one() {
    let (cache, stats) = cache(100, 1 << 20);
    let (now, ask) = (Instant::now(), ask("x.example."));
    cache.insert(&key(&ask), &reply(&ask, 60, 1), now);
    cache.insert(&key(&ask), &reply(&ask, 60, 1), seconds_later(now, 50));
    assert_eq!(cache.get(&key(&ask), seconds_later(now, 70)).unwrap().0.age, 20);
    assert_eq!(stats.snapshot().cache_entries, 1);
}

#[test]
fn what_was_used_stays_when_room_is_needed() {
    let (cache, stats) = cache(3, 1 << 20);
    let now = Instant::now();
    let [a, b, c, d] = ["a.", "b.", "c.", "d."].map(ask);
    for ask in [&a, &b, &c] {
        cache.insert(&key(ask), &reply(ask, 60, 1), now);
    }
    assert!(cache.get(&key(&a), now).is_some());
    cache.insert(&key(&d), &reply(&d, 60, 1), now);
    assert!(cache.get(&key(&a), now).is_some() && cache.get(&key(&d), now).is_some());
    assert!(cache.get(&key(&b), now).is_none());
    assert_eq!((stats.snapshot().cache_entries, stats.snapshot().cache_evictions), (3, 1));
}

#[test]
fn no_entries_at_all_switches_it_off() {
    let (cache, _) = cache(0, 1 << 20);
    let (now, ask) = (Instant::now(), ask("x.example."));
    cache.insert(&key(&ask), &reply(&ask, 60, 1), now);
    assert!(cache.get(&key(&ask), now).is_none());
}

proptest! {
    #[test]
    fn bounds_hold_and_the_counts_are_right(
        steps in prop::collection::vec((0..40_u8, 0..200_usize, 1..100_u32, any::<bool>()), 1..300),
    ) {
        let (entries, bytes) = (10, 4000);
        let (cache, stats) = cache(entries, bytes);
        let mut now = Instant::now();
        for (name, size, ttl, is_read) in steps {
            let ask = ask(&format!("{name}.example."));
            now += Duration::from_secs(1);
            if is_read {
                let _ = cache.get(&key(&ask), now);
            } else {
                cache.insert(&key(&ask), &reply(&ask, ttl, size), now);
                prop_assert_eq!(cache.get(&key(&ask), now).unwrap().0.age, 0);
            }
            let counted = stats.snapshot();
            prop_assert!(counted.cache_entries <= entries as u64 && counted.cache_bytes <= bytes as u64);
            let shard = cache.shards[0].lock().unwrap();
            prop_assert_eq!(shard.slots.len() as u64, counted.cache_entries);
            prop_assert_eq!(shard.table.len(), shard.slots.len());
            prop_assert_eq!(shard.slots.iter().map(Slot::size).sum::<usize>() as u64, counted.cache_bytes);
        }
    }
}

#[test]
fn what_has_expired_is_kept_for_want_of_better_and_told_with_a_short_ttl() {
    let (cache, _) = cache(100, 1 << 20);
    let (now, key_of_x) = (Instant::now(), key(&ask("x.example.")));
    cache.insert(&key_of_x, &reply(&ask("x.example."), 60, 1), now);
    assert!(cache.get(&key_of_x, seconds_later(now, 61)).is_none());
    let stale = cache.stale(&key_of_x, seconds_later(now, 61)).unwrap();
    let message = HickoryMessage::from_vec(&stale.bytes()).unwrap();
    assert_eq!((message.answers[0].ttl, stale.errors()), (30, Errors::from(None).and(Some(ede::STALE))));
    assert!(cache.stale(&key_of_x, seconds_later(now, 60 + 86_400)).is_none());
}

#[test]
fn one_asker_in_the_last_tenth_is_told_to_refresh() {
    let (cache, _) = cache(100, 1 << 20);
    let (now, key_of_x) = (Instant::now(), key(&ask("x.example.")));
    cache.insert(&key_of_x, &reply(&ask("x.example."), 100, 1), now);
    let is_due = |seconds| cache.get(&key_of_x, seconds_later(now, seconds)).unwrap().1;
    assert_eq!([89, 90, 91].map(is_due), [false, true, false]);
}

#[test]
fn the_youngest_stay_when_room_is_needed() {
    let (cache, _) = cache(64, 1 << 20);
    let now = Instant::now();
    for number in 0..200 {
        let ask = ask(&format!("{number}.example."));
        cache.insert(&key(&ask), &reply(&ask, 60, 1), now);
    }
    let known = (150..200).filter(|number| cache.get(&key(&ask(&format!("{number}.example."))), now).is_some());
    assert!(known.count() > 30);
}
