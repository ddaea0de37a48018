//! Looks at all sessions, again and again, and remembers what each had carried.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv6Net};
use nat64_core::{Page, SessionInfo, Timestamp, Translator};

use super::heavy::{Heavy, Share};
use super::{BusySession, RANKS, Ranking, Talker, Top};
use crate::control::filter::Filter;
use crate::control::server::session;

/// Two looks are so far apart at least.
const LEAST: Duration = Duration::from_millis(500);
/// A look is followed by a rest of so many times as long.
const REST: u32 = 9;

/// What is remembered of the sessions that one filter takes: up to 80 bytes of memory for each.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    keys: RandomState,
    seen: HashMap<u64, Seen, BuildHasherDefault<Identity>>,
    round: u32,
    looked: Option<Timestamp>,
    /// No look before.
    next: Timestamp,
    last: Top,
}

/// What a session had carried, in [`UNIT`]s that may wrap around, and in which round that was.
#[derive(Clone, Copy, Debug)]
struct Seen {
    outbound: u32,
    inbound: u32,
    round: u32,
}

/// Bytes. A session would have to carry a quarter of a terabyte between two looks to be mistaken for an idle one.
const UNIT: u64 = 64;

impl Sampler {
    /// What there is to be seen; what was seen, if that was a moment ago.
    pub(crate) fn look(&mut self, translator: &Translator, filter: &Filter, now: Timestamp) -> Top {
        if now >= self.next {
            let start = Instant::now();
            self.last = self.walk(translator, filter, now);
            self.next = now + (start.elapsed() * (REST + 1)).max(LEAST);
        }
        self.last.clone()
    }

    fn walk(&mut self, translator: &Translator, filter: &Filter, now: Timestamp) -> Top {
        self.round = self.round.wrapping_add(1);
        let interval = self.looked.replace(now).map(|before| now.since(before));
        let mut tally = Tally::new(translator.policy().subscriber_length, interval);
        // What is found is counted when its page is not locked any more.
        let mut found: Vec<SessionInfo> = Vec::new();
        let mut page = Some(Page::default());
        while let Some(at) = page {
            page = translator.page_of_sessions(at, now, &mut |session| {
                if filter.takes_session(session, now) {
                    found.push(*session);
                }
            });
            for session in found.drain(..) {
                let carried = self.carried(&session);
                tally.add(&session, carried);
            }
        }
        let round = self.round;
        self.seen.retain(|_, seen| seen.round == round);
        if self.seen.capacity() > 4 * self.seen.len() {
            self.seen.shrink_to(2 * self.seen.len());
        }
        tally.top(now)
    }

    /// Bytes that a session has carried since the last look, from inside to outside and back.
    fn carried(&mut self, session: &SessionInfo) -> [u64; 2] {
        #[expect(clippy::cast_possible_truncation, reason = "differences are right all the same")]
        let units = |bytes: u64| (bytes / UNIT) as u32;
        let SessionInfo { protocol, internal, remote, created, .. } = *session;
        let key = self.keys.hash_one((protocol as u8, internal, remote, created.as_millis()));
        let now =
            Seen { outbound: units(session.outbound.bytes), inbound: units(session.inbound.bytes), round: self.round };
        let before = self.seen.insert(key, now);
        let Some(before) = before else { return [session.outbound.bytes, session.inbound.bytes] };
        [(now.outbound, before.outbound), (now.inbound, before.inbound)]
            .map(|(now, before)| u64::from(now.wrapping_sub(before)) * UNIT)
    }
}

/// What one look adds up.
struct Tally {
    subscriber_length: u8,
    interval: Option<Duration>,
    sessions: u64,
    subscribers: [Heavy<Ipv6Net>; 2],
    destinations: [Heavy<Ipv4Addr>; 2],
    /// With what they carried; never more than [`Tally::BUSIEST`].
    busiest: Vec<(SessionInfo, [u64; 2])>,
}

impl Tally {
    const BUSIEST: usize = 8 * RANKS;

    fn new(subscriber_length: u8, interval: Option<Duration>) -> Self {
        Self {
            subscriber_length,
            interval,
            sessions: 0,
            subscribers: [Heavy::new(), Heavy::new()],
            destinations: [Heavy::new(), Heavy::new()],
            busiest: Vec::with_capacity(Self::BUSIEST),
        }
    }

    fn add(&mut self, session: &SessionInfo, carried: [u64; 2]) {
        self.sessions += 1;
        // Without an earlier look it is not known when that was.
        let [outbound, inbound] = if self.interval.is_some() { carried } else { [0, 0] };
        let share = Share { outbound, inbound, sessions: 1 };
        let subscriber = Ipv6Net::new_assert(session.internal.0, self.subscriber_length).trunc();
        let destination = session.remote.0;
        let traffic = outbound + inbound;
        if traffic > 0 {
            self.subscribers[0].add(subscriber, traffic, share);
            self.destinations[0].add(destination, traffic, share);
        }
        self.subscribers[1].add(subscriber, 1, share);
        self.destinations[1].add(destination, 1, share);
        if self.busiest.len() == Self::BUSIEST {
            self.keep_the_busiest();
        }
        self.busiest.push((*session, [outbound, inbound]));
    }

    fn keep_the_busiest(&mut self) {
        self.busiest.sort_by_key(|(session, [outbound, inbound])| {
            Reverse((outbound + inbound, session.outbound.bytes + session.inbound.bytes))
        });
        self.busiest.truncate(RANKS);
    }

    fn top(mut self, now: Timestamp) -> Top {
        self.keep_the_busiest();
        let milliseconds = self.interval.map(|interval| u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1));
        let rate = |bytes: u64| milliseconds.map_or(0, |milliseconds| bytes.saturating_mul(8000) / milliseconds);
        let busy = |(info, [outbound, inbound]): &(SessionInfo, [u64; 2])| BusySession {
            session: session(info, now),
            outbound_bits_per_second: rate(*outbound),
            inbound_bits_per_second: rate(*inbound),
        };
        Top {
            interval_milliseconds: milliseconds,
            sessions: self.sessions,
            subscribers: ranking(&self.subscribers, &rate, IpNet::V6),
            destinations: ranking(&self.destinations, &rate, |address| IpAddr::V4(address).into()),
            busiest: self.busiest.iter().map(busy).collect(),
        }
    }
}

fn ranking<K: Copy + Eq + Hash + Ord>(
    [by_traffic, by_sessions]: &[Heavy<K>; 2],
    rate: &dyn Fn(u64) -> u64,
    name: fn(K) -> IpNet,
) -> Ranking {
    let talkers = |heavy: &Heavy<K>| {
        let talker = |(who, share): (K, Share)| Talker {
            who: name(who),
            sessions: share.sessions,
            outbound_bits_per_second: rate(share.outbound),
            inbound_bits_per_second: rate(share.inbound),
        };
        heavy.ranked(RANKS).into_iter().map(talker).collect()
    };
    Ranking { by_traffic: talkers(by_traffic), by_sessions: talkers(by_sessions) }
}

/// For keys that are hashes.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, bytes: &[u8]) {
        unreachable!("keys are numbers, not {bytes:?}");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::flows::Flows;

    const SECOND: u64 = 1000;

    fn look(sampler: &mut Sampler, flows: &Flows, filter: &Filter, at: u64) -> Top {
        sampler.look(&flows.translator, filter, Timestamp::from_millis(at))
    }

    fn names(talkers: &[Talker]) -> Vec<(String, u64, u64)> {
        let row = |talker: &Talker| (talker.who.addr().to_string(), talker.outbound_bits_per_second, talker.sessions);
        talkers.iter().map(row).collect()
    }

    #[test]
    fn what_flowed_between_two_looks_is_ranked_by_both_ends() {
        let mut flows = Flows::new();
        let mut sampler = Sampler::default();
        // 40 and 8 bytes of headers, 1000 in all.
        for _ in 0..100 {
            flows.send(0, (1, 1000), 7, 952);
        }
        flows.send(0, (2, 1000), 7, 952);
        flows.send(0, (2, 1001), 8, 952);
        let first = look(&mut sampler, &flows, &Filter::default(), 0);
        assert_eq!((first.interval_milliseconds, first.sessions, first.busiest.len()), (None, 3, 3));
        assert!(first.subscribers.by_traffic.is_empty(), "nobody knows when that was");
        assert_eq!(first.busiest[0].session.internal.address, Flows::host(1), "the most so far");

        for _ in 0..8 {
            flows.send(500, (2, 1000), 7, 952);
        }
        flows.send(500, (3, 1000), 7, 952);
        let second = look(&mut sampler, &flows, &Filter::default(), SECOND);

        assert_eq!(second.interval_milliseconds, Some(1000));
        let hosts = |number: u16| Flows::host(number).to_string();
        // Counters are read in units of 64 bytes, but for a session that is seen for the first time.
        assert_eq!(names(&second.subscribers.by_traffic), [(hosts(2), 125 * 64 * 8, 1), (hosts(3), 8000, 1)]);
        assert_eq!(names(&second.destinations.by_traffic), [("198.51.100.7".to_owned(), 125 * 64 * 8 + 8000, 2)]);
        let sessions: Vec<u64> = second.subscribers.by_sessions.iter().map(|talker| talker.sessions).collect();
        assert_eq!((second.subscribers.by_sessions[0].who.addr(), sessions), (Flows::host(2).into(), vec![2, 1, 1]));
        assert_eq!(second.busiest[0].session.internal.address, Flows::host(2));

        let soon = look(&mut sampler, &flows, &Filter::default(), SECOND + 1);
        assert_eq!(soon, second, "no new look so soon after the last");
        let quiet = look(&mut sampler, &flows, &Filter::default(), 10 * SECOND);
        assert!(quiet.subscribers.by_traffic.is_empty());
    }

    #[test]
    fn a_filter_leaves_the_others_out_and_nothing_is_remembered_of_what_has_ended() {
        let mut flows = Flows::new();
        let mut sampler = Sampler::default();
        for port in 1..=1000 {
            flows.send(0, (1, port), 7, 10);
            flows.send(0, (2, port), 8, 10);
        }
        let filter = Filter { remote: Some("198.51.100.8".parse().unwrap()), ..Filter::default() };

        let top = look(&mut sampler, &flows, &filter, 0);

        assert_eq!((top.sessions, top.busiest.len(), sampler.seen.len()), (1000, RANKS, 1000));
        assert_eq!(names(&top.subscribers.by_sessions), [(Flows::host(2).to_string(), 0, 1000)]);
        flows.expire_all(1000 * SECOND);
        assert_eq!(look(&mut sampler, &flows, &filter, 1000 * SECOND).sessions, 0);
        assert_eq!((sampler.seen.len(), sampler.seen.capacity()), (0, 0));
    }
}
