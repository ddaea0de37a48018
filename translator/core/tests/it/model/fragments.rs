//! Fragments (RFC 6146 §3.4): translated one by one once the first is there; echo and UDP without a checksum are put
//! together; overlaps condemn a datagram (RFC 5722).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use nat64_core::{DropReason, Timestamp};

use super::packet::{Upper, View};

type Key = (IpAddr, IpAddr, u32, u8);

#[derive(Debug, Default)]
pub(crate) struct Fragments(BTreeMap<Key, Datagram>);

#[derive(Debug)]
struct Datagram {
    deadline: Timestamp,
    seen: Vec<(usize, usize)>,
    length: Option<usize>,
    first: Option<Upper>,
    condemned: bool,
    held: Vec<View>,
}

#[derive(Debug)]
pub(crate) enum Admission {
    /// The fragment, then those that waited, with what their first carried.
    Translate(Upper, Vec<View>),
    /// The datagram, put together from this and so many that were held.
    Whole(View, usize),
    Held,
}

/// Why a fragment is dropped, and how many that were held are with it.
pub(crate) type Rejection = (DropReason, usize);

impl Fragments {
    pub(crate) fn admit(
        &mut self,
        view: &View,
        upper: Upper,
        now: Timestamp,
        lifetime: Duration,
        computes: bool,
    ) -> Result<Admission, Rejection> {
        // RFC 8200 §4.5: what the first fragment names as next header holds for all.
        let protocol = if view.is_v6() { 0 } else { view.protocol };
        let key = (view.ends.source, view.ends.destination, view.identification, protocol);
        let datagram = self.0.entry(key).or_insert_with(|| Datagram {
            deadline: now + lifetime,
            seen: Vec::new(),
            length: None,
            first: None,
            condemned: false,
            held: Vec::new(),
        });
        let admission = datagram.admit(view, upper, computes);
        // The identification may be used again at once (RFC 4963).
        if admission.is_ok() && datagram.is_complete() {
            self.0.remove(&key);
        }
        admission
    }

    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Timestamp> + '_ {
        self.0.values().map(|datagram| datagram.deadline)
    }

    /// Forgets what is due and returns how many fragments were lost with it.
    pub(crate) fn expire(&mut self, now: Timestamp) -> usize {
        let mut lost = 0;
        self.0.retain(|_, datagram| {
            let due = datagram.deadline <= now;
            lost += if due { datagram.held.len() } else { 0 };
            !due
        });
        lost
    }
}

impl Datagram {
    fn admit(&mut self, view: &View, upper: Upper, computes: bool) -> Result<Admission, Rejection> {
        let (offset, more) = view.fragment.unwrap();
        let (start, end) = (offset, offset + view.payload.len());
        if end > 65_535 || view.payload.is_empty() || (more && !view.payload.len().is_multiple_of(8)) {
            return Err((DropReason::Malformed, 0));
        }
        if self.condemned || self.seen.contains(&(start, end)) {
            return Err((DropReason::FragmentOverlap, 0));
        }
        let overlaps = self.seen.iter().any(|&(from, to)| start < to && from < end);
        let beyond = self.length.is_some_and(|length| end > length || !more);
        let short = !more && self.seen.iter().any(|&(_, to)| to > end);
        if overlaps || beyond || short {
            self.condemned = true;
            return Err((DropReason::FragmentOverlap, std::mem::take(&mut self.held).len()));
        }
        self.seen.push((start, end));
        if !more {
            self.length = Some(end);
        }
        if upper != Upper::Tail {
            self.first = Some(upper);
        }
        let Some(first) = self.first else {
            self.held.push(view.clone());
            return Ok(Admission::Held);
        };
        let only_whole = match first {
            Upper::Echo { .. } | Upper::Error { .. } => true,
            Upper::Udp { checksum: 0, .. } => computes,
            _ => false,
        };
        if !only_whole {
            return Ok(Admission::Translate(first, std::mem::take(&mut self.held)));
        }
        self.held.push(view.clone());
        if !self.is_complete() {
            return Ok(Admission::Held);
        }
        let mut pieces = std::mem::take(&mut self.held);
        let held = pieces.len() - 1;
        let headers = pieces.iter().min_by_key(|piece| piece.fragment).map_or(0, |piece| piece.headers);
        if !view.is_v6() && headers + self.length.unwrap_or(0) > 65_535 {
            return Err((DropReason::Malformed, held));
        }
        pieces.sort_by_key(|piece| piece.fragment);
        let mut whole = pieces[0].clone();
        // RFC 3168 §5.3.
        if whole.class & 3 != 0 && pieces.iter().any(|piece| piece.class & 3 == 3) {
            whole.class |= 3;
        }
        whole.payload = pieces.into_iter().flat_map(|piece| piece.payload).collect();
        whole.payload_len = whole.payload.len();
        (whole.fragment, whole.dont_fragment) = (None, whole.is_v6());
        Ok(Admission::Whole(whole, held))
    }

    fn is_complete(&self) -> bool {
        let covered: usize = self.seen.iter().map(|(start, end)| end - start).sum();
        self.length == Some(covered)
    }
}
