//! IPv4 identifications: each of the 65,536 once before any comes again, whichever worker gives it out, in an order that
//! outsiders cannot follow (RFC 6864 §4.3, RFC 7739 §5.3).
//!
//! They are a walk over all 16-bit numbers by a secret odd step, scrambled by a secret. Workers take turns in pieces.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// Numbers that a worker takes at a time; they divide all there are.
const PIECE: u16 = 256;

/// What all workers of a translator draw from.
#[derive(Debug, Default)]
pub(crate) struct IdentificationSpace {
    secret: Secret,
    /// Where the next piece starts.
    next: AtomicU16,
}

/// The identifications of one worker.
#[derive(Debug, Default)]
pub(crate) struct Identifications {
    space: Arc<IdentificationSpace>,
    secret: Secret,
    /// The place of the next one, and how many there are from it.
    place: u16,
    left: u16,
}

#[derive(Clone, Copy, Debug, Default)]
struct Secret {
    start: u16,
    step: u16,
    scramble: u16,
}

impl IdentificationSpace {
    pub(crate) fn new(secret: u64) -> Self {
        let [a, b, c, d, e, f, ..] = secret.to_be_bytes();
        let secret = Secret {
            start: u16::from_be_bytes([a, b]),
            step: u16::from_be_bytes([c, d]) | 1,
            scramble: u16::from_be_bytes([e, f]),
        };
        Self { secret, next: AtomicU16::new(0) }
    }
}

impl Identifications {
    /// Draws from `space` from now on.
    pub(crate) fn draw_from(&mut self, space: &Arc<IdentificationSpace>) {
        if !Arc::ptr_eq(&self.space, space) {
            *self = Self { space: Arc::clone(space), secret: space.secret, place: 0, left: 0 };
        }
    }

    #[inline(always)]
    pub(crate) fn next(&mut self) -> u16 {
        if self.left == 0 {
            self.refill();
        }
        let place = self.place;
        self.place = place.wrapping_add(1);
        self.left -= 1;
        self.secret.at(place)
    }

    #[cold]
    fn refill(&mut self) {
        self.place = self.space.next.fetch_add(PIECE, Ordering::Relaxed);
        self.left = PIECE;
    }
}

impl Secret {
    /// The number at that place of the walk.
    #[inline]
    const fn at(self, place: u16) -> u16 {
        let walked = self.start.wrapping_add(self.step.wrapping_mul(place));
        // An odd multiple and a shifted exclusive or are both permutations of the 16-bit numbers.
        let mixed = (walked ^ self.scramble).wrapping_mul(0x9e37);
        (mixed ^ mixed >> 7).wrapping_mul(self.scramble | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identification_comes_once_before_any_comes_again_from_any_worker() {
        let space = Arc::new(IdentificationSpace::new(0x0123_4567_89ab_cdef));
        let mut workers: [Identifications; 3] = Default::default();
        workers.iter_mut().for_each(|worker| worker.draw_from(&space));
        let mut seen = vec![false; 65_536];
        // They draw by turns of different lengths, and none stops in the middle of a piece.
        for (worker, pieces) in [(0, 1), (1, 3), (2, 100), (0, 50), (1, 102)] {
            for _ in 0..pieces * u32::from(PIECE) {
                let next = usize::from(workers[worker].next());
                assert!(!std::mem::replace(&mut seen[next], true), "{next} came twice");
            }
        }
        assert!(seen.iter().all(|seen| *seen));
    }

    #[test]
    fn a_worker_goes_on_where_it_was_unless_the_translator_is_another() {
        let spaces = [1, 2].map(|secret| Arc::new(IdentificationSpace::new(secret << 32 | secret)));
        let mut worker = Identifications::default();
        worker.draw_from(&spaces[0]);
        let first = worker.next();
        worker.draw_from(&spaces[0]);
        assert_ne!(worker.next(), first);
        worker.draw_from(&spaces[1]);
        assert_eq!(worker.next(), spaces[1].secret.at(0));
    }
}
