//! Looking at packets on their way: a bounded copy of each before and after translation, for whoever asked for such.
//!
//! Without a tap it costs a load for each batch of packets. With one, records that were made beforehand go round between the
//! workers and the reader; where none is free, the packet is counted as missed and goes its way.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use crossbeam_queue::ArrayQueue;
use ipnet::IpNet;
use nat64_core::{Direction, DropReason, Protocol, Verdict};

/// Which packets are of interest. What is not given takes every packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapFilter {
    /// An address of this range at any end, before or after translation.
    pub address: Option<IpNet>,
    /// This port, or ICMP identifier, at any end, before or after translation.
    pub port: Option<u16>,
    /// This protocol.
    pub protocol: Option<Protocol>,
    /// Packets that come from this side.
    pub direction: Option<Direction>,
    /// Only packets that are dropped.
    pub drops: bool,
    /// Only packets that are dropped for this reason.
    pub reason: Option<DropReason>,
}

/// A packet as it came, and what became of it.
#[derive(Clone, Debug)]
pub struct Tapped {
    /// When it was read.
    pub at: SystemTime,
    /// The worker that carried it.
    pub worker: usize,
    /// What was decided.
    pub verdict: Verdict,
    /// Its first bytes as it came.
    pub before: Vec<u8>,
    /// How many bytes it had. A super-packet is one.
    pub before_len: usize,
    /// The first bytes of what was written in its place; nothing if nothing was.
    pub after: Vec<u8>,
    /// How many bytes that had.
    pub after_len: usize,
    /// How many packets were written beside it: fragments, and those that had waited for it.
    pub beside: usize,
}

/// Packets that wait for the reader of a tap.
const RECORDS: usize = 1024;
/// Taps at the same time.
const TAPS: usize = 4;

/// There are as many taps as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{TAPS} traces are running already")]
pub struct TooManyTaps;

/// The taps of a data plane.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    any: AtomicBool,
    taps: ArcSwap<Vec<Arc<Tap>>>,
}

/// What one reader wants to see.
#[derive(Debug)]
pub(crate) struct Tap {
    filter: TapFilter,
    snap: usize,
    free: ArrayQueue<Box<Tapped>>,
    full: ArrayQueue<Box<Tapped>>,
    missed: AtomicU64,
}

/// The reading end of a tap, which closes it when it is dropped.
#[derive(Debug)]
pub struct TapReader {
    tap: Arc<Tap>,
    taps: Arc<Taps>,
}

impl Taps {
    /// Opens a tap that keeps `snap` bytes of each packet.
    pub(crate) fn open(self: &Arc<Self>, filter: TapFilter, snap: usize) -> Result<TapReader, TooManyTaps> {
        let tap = Arc::new(Tap::new(filter, snap));
        let mut fits = false;
        self.taps.rcu(|taps| {
            fits = taps.len() < TAPS;
            let new = fits.then(|| Arc::clone(&tap));
            taps.iter().cloned().chain(new).collect::<Vec<_>>()
        });
        if !fits {
            return Err(TooManyTaps);
        }
        self.any.store(true, Ordering::Release);
        Ok(TapReader { tap, taps: Arc::clone(self) })
    }

    /// The taps that are open, if any is.
    #[inline]
    pub(crate) fn current(&self) -> Option<Arc<Vec<Arc<Tap>>>> {
        if self.any.load(Ordering::Relaxed) { Some(self.taps.load_full()) } else { None }
    }

    fn close(&self, tap: &Arc<Tap>) {
        let left = |taps: &Arc<Vec<Arc<Tap>>>| -> Vec<Arc<Tap>> {
            taps.iter().filter(|other| !Arc::ptr_eq(other, tap)).cloned().collect()
        };
        self.taps.rcu(left);
        self.any.store(!self.taps.load().is_empty(), Ordering::Release);
        // Another may have been opened between the two.
        if !self.taps.load().is_empty() {
            self.any.store(true, Ordering::Release);
        }
    }
}

impl TapReader {
    /// The oldest packet that waits, shown to `look`. Returns what that returns, or nothing if none waits. Never blocks.
    pub fn next<T>(&self, look: impl FnOnce(&Tapped) -> T) -> Option<T> {
        let record = self.tap.full.pop()?;
        let seen = look(&record);
        // There is room for as many as there are.
        let _ = self.tap.free.push(record);
        Some(seen)
    }

    /// How many packets found no room since this was asked for the last time.
    #[must_use]
    pub fn take_missed(&self) -> u64 {
        self.tap.missed.swap(0, Ordering::Relaxed)
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        self.taps.close(&self.tap);
    }
}

/// What became of a packet, for taps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome<'p> {
    pub(crate) worker: usize,
    pub(crate) verdict: Verdict,
    pub(crate) before: &'p [u8],
    pub(crate) before_len: usize,
    pub(crate) after: &'p [u8],
    pub(crate) beside: usize,
}

impl Tap {
    /// Bytes of a packet that a tap keeps at the most.
    pub(crate) const MOST_BYTES: usize = 2048;

    fn new(filter: TapFilter, snap: usize) -> Self {
        let snap = snap.min(Self::MOST_BYTES);
        let tap = Self {
            filter,
            snap,
            free: ArrayQueue::new(RECORDS),
            full: ArrayQueue::new(RECORDS),
            missed: AtomicU64::new(0),
        };
        for _ in 0..RECORDS {
            let _ = tap.free.push(Box::new(Tapped::with_room(snap)));
        }
        tap
    }

    /// Keeps a packet if it is of interest and there is room.
    pub(crate) fn offer(&self, outcome: &Outcome<'_>) {
        if !self.filter.takes(outcome) {
            return;
        }
        let Some(mut record) = self.free.pop() else {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        record.fill(outcome, self.snap);
        if self.full.push(record).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Tapped {
    fn with_room(snap: usize) -> Self {
        Self {
            at: SystemTime::UNIX_EPOCH,
            worker: 0,
            verdict: Verdict::Held,
            before: Vec::with_capacity(snap),
            before_len: 0,
            after: Vec::with_capacity(snap),
            after_len: 0,
            beside: 0,
        }
    }

    fn fill(&mut self, outcome: &Outcome<'_>, snap: usize) {
        let keep = |to: &mut Vec<u8>, from: &[u8]| {
            to.clear();
            to.extend_from_slice(&from[..from.len().min(snap)]);
        };
        self.at = SystemTime::now();
        (self.worker, self.verdict, self.beside) = (outcome.worker, outcome.verdict, outcome.beside);
        (self.before_len, self.after_len) = (outcome.before_len, outcome.after.len());
        keep(&mut self.before, outcome.before);
        keep(&mut self.after, outcome.after);
    }
}

impl TapFilter {
    fn takes(&self, outcome: &Outcome<'_>) -> bool {
        let reason = match outcome.verdict {
            Verdict::Refused(reason) | Verdict::Dropped(reason) => Some(reason),
            Verdict::Translated(_) | Verdict::Hairpinned | Verdict::Held => None,
        };
        if (self.drops || self.reason.is_some()) && reason.is_none() || self.reason.is_some_and(|r| Some(r) != reason) {
            return false;
        }
        let (before, after) = (Flow::of(outcome.before), Flow::of(outcome.after));
        let flows = || [&before, &after].into_iter().flatten();
        self.direction.is_none_or(|direction| direction_of(outcome.before) == Some(direction))
            && self.protocol.is_none_or(|protocol| before.as_ref().is_some_and(|flow| flow.protocol == Some(protocol)))
            && self.address.is_none_or(|range| flows().any(|flow| flow.ends.iter().any(|end| range.contains(end))))
            && self.port.is_none_or(|port| flows().any(|flow| flow.ports.contains(&Some(port))))
    }
}

fn direction_of(packet: &[u8]) -> Option<Direction> {
    match packet.first()? >> 4 {
        6 => Some(Direction::SixToFour),
        4 => Some(Direction::FourToSix),
        _ => None,
    }
}

/// The ends of a packet, as far as its first headers tell.
#[derive(Debug)]
struct Flow {
    ends: [IpAddr; 2],
    protocol: Option<Protocol>,
    ports: [Option<u16>; 2],
}

impl Flow {
    fn of(packet: &[u8]) -> Option<Self> {
        let (ends, number, at): ([IpAddr; 2], u8, usize) = match packet.first()? >> 4 {
            4 => {
                let header = packet.first_chunk::<20>()?;
                let end = |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
                ([end(12), end(16)], header[9], usize::from(header[0] & 15) * 4)
            }
            6 => {
                let header = packet.first_chunk::<40>()?;
                let end = |at: usize| header[at..].first_chunk::<16>().copied().map(IpAddr::from);
                let is_fragment = header[6] == 44;
                let number = if is_fragment { *packet.get(40)? } else { header[6] };
                ([end(8)?, end(24)?], number, if is_fragment { 48 } else { 40 })
            }
            _ => return None,
        };
        let number_at = |at: usize| packet.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
        let (protocol, ports) = match number {
            6 => (Some(Protocol::Tcp), [number_at(at), number_at(at + 2)]),
            17 => (Some(Protocol::Udp), [number_at(at), number_at(at + 2)]),
            1 | 58 => (Some(Protocol::Icmp), [number_at(at + 4), None]),
            _ => (None, [None; 2]),
        };
        Some(Self { ends, protocol, ports })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP datagram from 192.0.2.1:1000 to 198.51.100.7:53.
    fn four() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7];
        packet.extend([3, 232, 0, 53, 0, 8, 0, 0]);
        packet
    }

    /// A TCP segment from 2001:db8::1:2000 to 64:ff9b::1:80.
    fn six() -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 20, 6, 64];
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([7, 208, 0, 80]);
        packet.extend([0; 16]);
        packet
    }

    fn outcome<'p>(before: &'p [u8], after: &'p [u8], verdict: Verdict) -> Outcome<'p> {
        Outcome { worker: 0, verdict, before, before_len: before.len(), after, beside: 0 }
    }

    #[test]
    fn filters_take_what_they_name_before_or_after_translation() {
        let (six, four) = (six(), four());
        let translated = outcome(&six, &four, Verdict::Translated(Direction::SixToFour));
        let dropped = outcome(&four, &[], Verdict::Dropped(DropReason::NoMapping));
        let all = TapFilter::default;
        let range = |text: &str| Some(text.parse().unwrap());
        for (filter, takes) in [
            (all(), [true, true]),
            (TapFilter { address: range("2001:db8::/32"), ..all() }, [true, false]),
            (TapFilter { address: range("198.51.100.7/32"), ..all() }, [true, true]),
            (TapFilter { address: range("203.0.113.0/24"), ..all() }, [false, false]),
            (TapFilter { port: Some(80), ..all() }, [true, false]),
            (TapFilter { port: Some(53), ..all() }, [true, true]),
            (TapFilter { protocol: Some(Protocol::Tcp), ..all() }, [true, false]),
            (TapFilter { direction: Some(Direction::FourToSix), ..all() }, [false, true]),
            (TapFilter { drops: true, ..all() }, [false, true]),
            (TapFilter { reason: Some(DropReason::NoMapping), ..all() }, [false, true]),
            (TapFilter { reason: Some(DropReason::Loop), ..all() }, [false, false]),
        ] {
            assert_eq!([filter.takes(&translated), filter.takes(&dropped)], takes, "{filter:?}");
        }
        for nonsense in [&[][..], &[0x45], &[0x60, 1, 2], &[0xff; 60]] {
            let odd = outcome(nonsense, nonsense, Verdict::Dropped(DropReason::Malformed));
            assert!(all().takes(&odd) && !TapFilter { port: Some(1), ..all() }.takes(&odd));
        }
    }

    #[test]
    fn a_tap_keeps_so_many_bytes_of_so_many_packets_and_counts_the_rest() {
        let taps = Arc::<Taps>::default();
        let reader = taps.open(TapFilter::default(), 24).unwrap();
        let (six, four) = (six(), four());
        let tap = Arc::clone(&taps.current().unwrap()[0]);
        for _ in 0..RECORDS + 10 {
            tap.offer(&outcome(&six, &four, Verdict::Hairpinned));
        }
        let mut seen = 0;
        while let Some(lens) = reader.next(|packet| (packet.before.len(), packet.before_len, packet.after_len)) {
            assert_eq!(lens, (24, six.len(), four.len()));
            seen += 1;
        }
        assert_eq!((seen, reader.take_missed(), reader.take_missed()), (RECORDS, 10, 0));
        tap.offer(&outcome(&four, &[], Verdict::Held));
        assert_eq!(reader.next(|packet| packet.after_len), Some(0), "records go round");
    }

    #[test]
    fn taps_are_few_and_close_with_their_readers() {
        let taps = Arc::<Taps>::default();
        assert!(taps.current().is_none());
        let mut readers: Vec<TapReader> = (0..TAPS).map(|_| taps.open(TapFilter::default(), 100).unwrap()).collect();
        assert_eq!(taps.open(TapFilter::default(), 100).unwrap_err(), TooManyTaps);
        readers.pop();
        readers.push(taps.open(TapFilter::default(), 100).unwrap());
        readers.clear();
        assert!(taps.current().is_none());
    }
}
