//! Connected sockets to one upstream, shared by questions and replaced after a while.
//!
//! Questions of one moment go out on one socket, those of the next on another that is chosen at random; each makes room for
//! one with another random port after some questions (RFC 5452 §9.2), so that neither a question's port nor its ID is
//! known from another's.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::line::{Line, Unavailable};
use crate::stats::Stats;

/// Questions that one socket serves.
const MOST_USES: u32 = 256;

/// How long one socket serves: firewalls forget idle flows, and routes change.
const LONGEST_LIFE: Duration = Duration::from_secs(10);

/// Sockets that questions are spread over.
const LINES: usize = 8;

/// The sockets of one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    address: SocketAddr,
    stats: Arc<Stats>,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    places: [Option<InUse>; LINES],
    /// Which of them questions go to at this moment.
    current: usize,
}

#[derive(Debug)]
struct InUse {
    line: Arc<Line>,
    uses: u32,
    opened: Instant,
}

impl Pool {
    pub(super) fn new(address: SocketAddr, stats: Arc<Stats>) -> Self {
        Self { address, stats, lines: Mutex::default() }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A socket to ask one question on.
    ///
    /// # Errors
    /// There is none, here or on the way to the upstream.
    pub(super) fn line(&self, now: Instant) -> Result<Arc<Line>, Unavailable> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = &mut *lines;
        let current = &lines.places[lines.current];
        if !current.as_ref().is_some_and(|one| one.line.has_queued()) {
            lines.current = rand::random_range(0..LINES);
        }
        let place = &mut lines.places[lines.current];
        if !place.as_ref().is_some_and(|one| one.is_good(now)) {
            let line = Arc::new(Line::open(self.address, Arc::clone(&self.stats))?);
            *place = Some(InUse { line: Arc::clone(&line), uses: 1, opened: now });
            return Ok(line);
        }
        // The other case has returned.
        let one = place.as_mut().expect("a good socket is there");
        one.uses += 1;
        Ok(Arc::clone(&one.line))
    }
}

impl InUse {
    fn is_good(&self, now: Instant) -> bool {
        self.uses < MOST_USES && now < self.opened + LONGEST_LIFE && !self.line.is_spent()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn pool() -> Pool {
        Pool::new("127.0.0.1:9".parse().unwrap(), Arc::default())
    }

    fn ports(pool: &Pool, questions: u32, now: Instant) -> HashSet<u16> {
        (0..questions).map(|_| pool.line(now).unwrap().local_addr().port()).collect()
    }

    #[tokio::test]
    async fn questions_are_spread_over_a_few_sockets_that_are_replaced_after_their_uses() {
        let (pool, now) = (pool(), Instant::now());
        let few = ports(&pool, MOST_USES, now);
        assert!((2..=LINES).contains(&few.len()), "{few:?}");
        // The kernel may give a port again that was given back.
        let many = ports(&pool, MOST_USES * 50, now);
        assert!(many.len() > 4 * LINES, "{many:?}");
    }

    #[tokio::test]
    async fn an_old_socket_is_not_used() {
        let (pool, now) = (pool(), Instant::now());
        let held: Vec<_> = (0..100).map(|_| pool.line(now).unwrap()).collect();
        let old: HashSet<u16> = held.iter().map(|line| line.local_addr().port()).collect();
        assert!(ports(&pool, 100, now + LONGEST_LIFE).is_disjoint(&old));
    }
}
