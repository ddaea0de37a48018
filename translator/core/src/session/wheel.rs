//! When sessions end: a timer wheel that costs nothing per packet.
//!
//! A packet only moves the deadline in its session. The wheel learns of it when it comes to the bucket the session was
//! put in, and puts it in a later one. Only a deadline that comes nearer is told to the wheel at once. Work is handed
//! out in steps, so that a million deadlines in one bucket stall nobody.

use std::time::Duration;

use super::sessions::Sessions;
use crate::time::Timestamp;

/// The wheel's unit of time: 100 ms since [`Timestamp::ZERO`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u32);

impl Tick {
    pub(crate) const ZERO: Self = Self(0);
    const MILLIS: u64 = 100;

    /// The unit that has begun last.
    pub(crate) fn at(now: Timestamp) -> Self {
        Self(u32::try_from(now.as_millis() / Self::MILLIS).unwrap_or(u32::MAX))
    }

    /// The first unit that begins when `lifetime` has passed in full.
    pub(crate) fn after(self, lifetime: Duration) -> Self {
        self.plus(Self::units(lifetime))
    }

    /// How many units to wait for `lifetime` to have passed in full.
    pub(crate) fn units(lifetime: Duration) -> u32 {
        const NANOS: u32 = 100_000_000;
        let whole = lifetime.as_secs().saturating_mul(1000 / Self::MILLIS);
        let units = whole.saturating_add(lifetime.subsec_nanos().div_ceil(NANOS).into());
        u32::try_from(units).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// So many units later.
    #[inline]
    pub(crate) const fn plus(self, units: u32) -> Self {
        Self(self.0.saturating_add(units))
    }

    /// When the unit begins.
    pub(crate) fn start(self) -> Timestamp {
        Timestamp::from_millis(u64::from(self.0) * Self::MILLIS)
    }
}

/// No entry.
const NONE: u32 = u32::MAX;
/// Buckets of each of the two rings: 51.2 s in steps of 100 ms, and 7 hours in steps of 51.2 s.
const RING: u32 = 512;

/// The links of a session in its bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    next: u32,
    previous: u32,
    bucket: u16,
}

impl Links {
    pub(crate) const NEW: Self = Self { next: NONE, previous: NONE, bucket: 0 };
}

/// The heads of all buckets.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// The near ring, then the far ring.
    heads: Vec<u32>,
    /// All that was due before this unit has been handed out.
    tick: Tick,
    /// Whether the far bucket of this unit has been spread over the near ring.
    spread: bool,
}

/// What the wheel came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// This session is due; it is in no bucket any more.
    Due(u32),
    /// Something was moved to a later bucket.
    Moved,
    /// Nothing is due.
    Idle,
}

impl Wheel {
    /// Bytes of memory that its buckets take.
    pub(crate) const BYTES: u64 = (2 * RING as usize * size_of::<u32>()) as u64;

    pub(crate) fn new() -> Self {
        Self { heads: vec![NONE; 2 * RING as usize], tick: Tick(0), spread: true }
    }

    /// Goes on to `now` at once, if there is no session.
    pub(crate) fn skip_to(&mut self, now: Tick, sessions: &Sessions) {
        if sessions.is_empty() && now > self.tick {
            self.tick = now;
            self.spread = true;
        }
    }

    /// Puts a session that is in no bucket where its deadline belongs.
    pub(crate) fn insert(&mut self, sessions: &mut Sessions, index: u32) {
        let session = &mut sessions[index];
        let bucket = self.bucket_for(session.expires);
        let head = std::mem::replace(&mut self.heads[usize::from(bucket)], index);
        session.links = Links { next: head, previous: NONE, bucket };
        if head != NONE {
            sessions[head].links.previous = index;
        }
    }

    /// Takes a session out of its bucket.
    pub(crate) fn remove(&mut self, sessions: &mut Sessions, index: u32) {
        let Links { next, previous, bucket } = sessions[index].links;
        if next != NONE {
            sessions[next].links.previous = previous;
        }
        if previous == NONE {
            self.heads[usize::from(bucket)] = next;
        } else {
            sessions[previous].links.next = next;
        }
    }

    /// Does one step of what is due up to `now`.
    pub(crate) fn step(&mut self, sessions: &mut Sessions, now: Tick) -> Step {
        self.skip_to(now, sessions);
        while self.tick <= now {
            let far = RING + self.tick.0 / RING % RING;
            if !self.spread {
                let head = self.heads[far as usize];
                if head != NONE {
                    self.remove(sessions, head);
                    self.insert(sessions, head);
                    return Step::Moved;
                }
                self.spread = true;
            }
            let head = self.heads[(self.tick.0 % RING) as usize];
            if head != NONE {
                self.remove(sessions, head);
                if sessions[head].expires <= self.tick {
                    return Step::Due(head);
                }
                self.insert(sessions, head);
                return Step::Moved;
            }
            self.tick.0 += 1;
            self.spread = !self.tick.0.is_multiple_of(RING);
        }
        Step::Idle
    }

    #[expect(clippy::cast_possible_truncation, reason = "a bucket is below 1024")]
    fn bucket_for(&self, deadline: Tick) -> u16 {
        let distance = deadline.0.saturating_sub(self.tick.0);
        if distance < RING {
            // What is overdue goes where the wheel stands.
            (deadline.0.max(self.tick.0) % RING) as u16
        } else {
            // What is beyond the far ring goes to its last bucket and is put further when that comes.
            let deadline = self.tick.0 + distance.min(RING * (RING - 1));
            (RING + deadline / RING % RING) as u16
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Session;
    use super::*;

    fn table(deadlines: &[u32]) -> (Sessions, Wheel) {
        let (mut sessions, mut wheel) = (Sessions::new(), Wheel::new());
        for (mapping, &deadline) in (0..).zip(deadlines) {
            let index = sessions.insert(Session { mapping, expires: Tick(deadline), ..Session::BLANK });
            wheel.insert(&mut sessions, index);
        }
        (sessions, wheel)
    }

    fn due(wheel: &mut Wheel, sessions: &mut Sessions, now: u32) -> Vec<u32> {
        let mut due = Vec::new();
        loop {
            match wheel.step(sessions, Tick(now)) {
                Step::Due(index) => due.push(sessions[index].expires.0),
                Step::Moved => {}
                Step::Idle => break due,
            }
        }
    }

    #[test]
    fn everything_comes_due_at_its_time_whatever_ring_it_was_in() {
        let deadlines = [0, 1, 511, 512, 513, 1023, 1024, 5000, 262_143, 262_144, 300_000, 1_000_000];
        let (mut sessions, mut wheel) = table(&deadlines);
        for deadline in deadlines {
            if deadline > 0 {
                assert_eq!(due(&mut wheel, &mut sessions, deadline - 1), []);
            }
            assert_eq!(due(&mut wheel, &mut sessions, deadline), [deadline]);
        }
    }

    #[test]
    fn a_deadline_that_moved_away_is_found_when_the_old_one_comes() {
        let (mut sessions, mut wheel) = table(&[100]);
        sessions[0].expires = Tick(700);
        assert_eq!(due(&mut wheel, &mut sessions, 699), []);
        assert_eq!(due(&mut wheel, &mut sessions, 700), [700]);
    }

    #[test]
    fn a_deadline_that_came_nearer_is_reinserted() {
        let (mut sessions, mut wheel) = table(&[70_000, 70_001, 70_002]);
        for index in [1, 0, 2] {
            sessions[index].expires = Tick(10 + index);
            wheel.remove(&mut sessions, index);
            wheel.insert(&mut sessions, index);
        }
        assert_eq!(due(&mut wheel, &mut sessions, 20), [10, 11, 12]);
    }

    #[test]
    fn a_clock_that_jumps_far_ahead_loses_nothing() {
        let deadlines: Vec<u32> = (0..2000).map(|index| index * 97).collect();
        let (mut sessions, mut wheel) = table(&deadlines);
        assert_eq!(due(&mut wheel, &mut sessions, 1_000_000).len(), deadlines.len());
    }

    #[test]
    fn a_lifetime_is_never_cut_short() {
        let now = Timestamp::from_millis(199);
        let end = Tick::at(now).after(Duration::from_secs(1));
        assert!(end.start() >= now + Duration::from_secs(1));
        assert!(end.start() <= now + Duration::from_millis(1200));
    }
}
