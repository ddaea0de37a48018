use std::net::Ipv6Addr;

use super::*;
use crate::packet::Fragment;
use crate::packet::Upper;

const HEADER: usize = 48;
const UDP: Upper = Upper::Udp { source_port: 5000, destination_port: 53, checksum: 0x1234 };
const ECHO: Upper = Upper::Echo { identifier: 7, reply: false };
const LIFETIME: Duration = Duration::from_secs(2);

fn key(source: u16, identification: u32) -> Key {
    Key {
        source: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, source).into(),
        destination: Ipv6Addr::LOCALHOST.into(),
        identification,
        protocol: 17,
    }
}

struct Lab {
    fragments: Fragments,
    limits: Limits,
    now: Timestamp,
}

impl Lab {
    fn new() -> Self {
        Self { fragments: Fragments::new(128), limits: Limits::default(), now: Timestamp::ZERO }
    }

    fn send(
        &self,
        key: Key,
        offset: u16,
        len: usize,
        more: bool,
        upper: Option<Upper>,
    ) -> Result<Admission, Rejection> {
        let packet: Vec<u8> =
            std::iter::repeat_n(0, HEADER).chain((0..len).map(|at| tag(usize::from(offset) + at))).collect();
        let place = Fragment { offset, more };
        let only_whole = upper == Some(ECHO);
        let arrival = Arrival { key, place, header_len: HEADER, packet: &packet, upper, only_whole };
        self.fragments.admit(&arrival, self.now, LIFETIME, &self.limits)
    }
}

/// The byte that stands at a place of a datagram.
fn tag(at: usize) -> u8 {
    u8::try_from(at % 251).unwrap()
}

fn released(admission: Result<Admission, Rejection>) -> usize {
    match admission {
        Ok(Admission::Translate(_, early)) => early.len(),
        other => panic!("not translated: {other:?}"),
    }
}

#[test]
fn fragments_in_order_are_translated_as_they_come() {
    let lab = Lab::new();
    assert_eq!(released(lab.send(key(1, 1), 0, 1232, true, Some(UDP))), 0);
    assert_eq!(released(lab.send(key(1, 1), 1232, 1232, true, None)), 0);
    assert_eq!(released(lab.send(key(1, 1), 2464, 100, false, None)), 0);
}

#[test]
fn fragments_that_come_too_early_wait_for_the_first() {
    let lab = Lab::new();
    assert!(matches!(lab.send(key(1, 1), 2464, 100, false, None), Ok(Admission::Held)));
    assert!(matches!(lab.send(key(1, 1), 1232, 1232, true, None), Ok(Admission::Held)));
    assert_eq!(released(lab.send(key(1, 1), 0, 1232, true, Some(UDP))), 2);
    assert_eq!(lab.fragments.lock().held, 0);
    assert_eq!(lab.fragments.lock().held_bytes, 0);
}

#[test]
fn echo_is_put_together_in_whatever_order_it_comes() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let lab = Lab::new();
        let mut outcome = None;
        for index in order {
            let offset = index * 800;
            let (len, more) = if index == 2 { (57, false) } else { (800, true) };
            outcome = Some(lab.send(key(1, 1), offset, len, more, (index == 0).then_some(ECHO)));
        }
        let Some(Ok(Admission::Whole(held, 2))) = outcome else { panic!("{outcome:?}") };
        assert_eq!(held.len, HEADER + 1657);
        let data = &held.storage[HEADROOM + HEADER..];
        assert!(data.iter().enumerate().all(|(at, &byte)| byte == tag(at)));
    }
}

#[test]
fn an_overlap_condemns_the_datagram_and_frees_what_was_held() {
    let lab = Lab::new();
    assert!(matches!(lab.send(key(1, 1), 800, 800, true, None), Ok(Admission::Held)));
    let overlap = Rejection { reason: DropReason::FragmentOverlap, lost: 1 };
    assert_eq!(lab.send(key(1, 1), 1592, 800, true, None).unwrap_err(), overlap);
    assert_eq!(lab.fragments.lock().held, 0);
    assert_eq!(lab.send(key(1, 1), 0, 800, true, Some(UDP)).unwrap_err(), DropReason::FragmentOverlap.into());
    assert_eq!(released(lab.send(key(1, 2), 0, 800, true, Some(UDP))), 0, "another datagram is not touched");
}

#[test]
fn a_duplicate_is_dropped_and_harms_nobody() {
    let lab = Lab::new();
    assert_eq!(released(lab.send(key(1, 1), 0, 800, true, Some(UDP))), 0);
    assert_eq!(lab.send(key(1, 1), 0, 800, true, Some(UDP)).unwrap_err(), DropReason::FragmentOverlap.into());
    assert_eq!(released(lab.send(key(1, 1), 800, 100, false, None)), 0);
}

#[test]
fn a_complete_datagram_is_forgotten_so_that_its_identification_can_come_again() {
    let lab = Lab::new();
    for _ in 0..3 {
        assert_eq!(released(lab.send(key(1, 1), 0, 800, true, Some(UDP))), 0);
        assert_eq!(released(lab.send(key(1, 1), 800, 100, false, None)), 0);
        assert!(matches!(lab.send(key(1, 2), 800, 100, false, None), Ok(Admission::Held)));
        assert_eq!(released(lab.send(key(1, 2), 0, 800, true, Some(UDP))), 1);
        assert!(matches!(lab.send(key(1, 3), 0, 800, true, Some(ECHO)), Ok(Admission::Held)));
        assert!(matches!(lab.send(key(1, 3), 800, 100, false, None), Ok(Admission::Whole(_, 1))));
    }
    let inner = lab.fragments.lock();
    assert_eq!(
        (inner.datagrams.len(), inner.deadlines.iter().map(BTreeMap::len).sum::<usize>(), inner.by_source.len()),
        (0, 0, 0)
    );
}

#[test]
fn data_beyond_the_end_contradicts_it() {
    let lab = Lab::new();
    assert!(matches!(lab.send(key(1, 1), 800, 100, false, None), Ok(Admission::Held)));
    let contradiction = Rejection { reason: DropReason::FragmentOverlap, lost: 1 };
    assert_eq!(lab.send(key(1, 1), 904, 80, true, None).unwrap_err(), contradiction);
}

#[test]
fn sizes_that_cannot_be_are_malformed() {
    let lab = Lab::new();
    assert_eq!(lab.send(key(1, 1), 0, 801, true, Some(UDP)).unwrap_err(), DropReason::Malformed.into());
    assert_eq!(lab.send(key(1, 1), 65_528, 100, false, None).unwrap_err(), DropReason::Malformed.into());
    assert_eq!(lab.send(key(1, 1), 800, 0, false, None).unwrap_err(), DropReason::Malformed.into());
}

#[test]
fn one_source_cannot_take_the_room_of_others() {
    let lab = Lab::new();
    let mut refused = 0;
    for identification in 0..lab.limits.fragments {
        if lab.send(key(1, identification), 800, 8, true, None).is_err() {
            refused += 1;
        }
    }
    assert!(refused > 0);
    assert!(matches!(lab.send(key(2, 0), 800, 8, true, None), Ok(Admission::Held)));
}

#[test]
fn a_datagram_of_too_many_pieces_is_condemned() {
    let lab = Lab::new();
    let outcomes: Vec<_> = (1..=200).map(|index| lab.send(key(1, 1), index * 8, 8, true, None)).collect();
    let lost: usize =
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(|rejection| 1 + rejection.lost).sum();
    assert_eq!((lost, lab.fragments.lock().held), (200, 0), "each of them is counted");
    assert!(outcomes.last().unwrap().as_ref().is_err_and(|rejection| rejection.reason == DropReason::FragmentLimit));
}

#[test]
fn what_is_not_completed_in_time_is_forgotten_and_counted() {
    let mut lab = Lab::new();
    for offset in [800, 1600] {
        assert!(matches!(lab.send(key(1, 1), offset, 800, true, None), Ok(Admission::Held)));
    }
    lab.now = lab.now + Duration::from_millis(1999);
    assert_eq!(lab.fragments.expire(lab.now, 10), 0);
    lab.now = lab.now + Duration::from_millis(1);
    assert_eq!(lab.fragments.expire(lab.now, 10), 2);
    let inner = lab.fragments.lock();
    assert_eq!((inner.held, inner.held_bytes, inner.datagrams.len(), inner.by_source.len()), (0, 0, 0, 0));
}
