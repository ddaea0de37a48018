//! Datagrams that have come in pieces.

use crate::wire::{V4, V6};

/// The packet that IPv4 fragments make up; they must not overlap or leave a gap.
#[track_caller]
pub(crate) fn whole4(fragments: &[V4]) -> V4 {
    let parts = fragments.iter().map(|it| (usize::from(it.offset()), it.header.more_fragments, &it.payload[..]));
    let header = fragments[0].header.clone();
    V4::new(header.source.into(), header.destination.into(), header.protocol.0, &join(parts.collect()))
}

/// The packet that IPv6 fragments make up; they must not overlap or leave a gap.
#[track_caller]
pub(crate) fn whole6(fragments: &[V6]) -> V6 {
    let parts = fragments.iter().map(|it| {
        let header = it.fragment().expect("a fragment");
        (usize::from(header.offset), header.more, it.fragment_data())
    });
    let next = fragments[0].fragment().unwrap().next;
    V6::new(fragments[0].source(), fragments[0].destination(), next, &join(parts.collect()))
}

#[track_caller]
fn join(mut parts: Vec<(usize, bool, &[u8])>) -> Vec<u8> {
    parts.sort_by_key(|(offset, ..)| *offset);
    let mut whole = Vec::new();
    let last = parts.len() - 1;
    for (place, (offset, more, data)) in parts.into_iter().enumerate() {
        assert_eq!((offset, more), (whole.len(), place != last), "fragment {place}");
        whole.extend(data);
    }
    whole
}
