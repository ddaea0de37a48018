//! Those who watch, each filter with a memory of its own that goes when nobody asks any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::sampler::Sampler;
use crate::control::filter::Filter;

/// Filters that are watched at once; each may remember a million sessions.
const MOST: usize = 4;
/// How long nobody has to ask for a memory to go.
const IDLE: Duration = Duration::from_secs(30);

/// The memories.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<Vec<Watcher>>);

#[derive(Debug)]
struct Watcher {
    filter: Filter,
    sampler: Arc<Mutex<Sampler>>,
    asked: Instant,
}

impl Watchers {
    /// The memory for what a filter takes, unless there are too many others. On a runtime.
    pub(crate) fn sampler(self: &Arc<Self>, filter: &Filter) -> Option<Arc<Mutex<Sampler>>> {
        let now = Instant::now();
        let mut all = self.lock();
        if let Some(known) = all.iter_mut().find(|watcher| watcher.filter == *filter) {
            known.asked = now;
            return Some(Arc::clone(&known.sampler));
        }
        if all.len() == MOST {
            return None;
        }
        let sampler = Arc::<Mutex<Sampler>>::default();
        all.push(Watcher { filter: filter.clone(), sampler: Arc::clone(&sampler), asked: now });
        drop(all);
        tokio::spawn(Arc::clone(self).forget(filter.clone()));
        Some(sampler)
    }

    /// Waits until nobody has asked for a while, and forgets.
    async fn forget(self: Arc<Self>, filter: Filter) {
        loop {
            let Some(asked) = self.lock().iter().find(|watcher| watcher.filter == filter).map(|watcher| watcher.asked)
            else {
                return;
            };
            if asked.elapsed() >= IDLE {
                self.lock().retain(|watcher| watcher.filter != filter || watcher.asked != asked);
            } else {
                tokio::time::sleep_until(asked + IDLE).await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_memory_goes_when_nobody_asks_and_makes_room_for_others() {
        let watchers = Arc::new(Watchers::default());
        let filter = |port| Filter { port: Some(port), ..Filter::default() };
        let first = watchers.sampler(&filter(1)).unwrap();
        for port in 2..=4 {
            watchers.sampler(&filter(port)).unwrap();
        }
        assert!(watchers.sampler(&filter(5)).is_none(), "four are watched at once");

        tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
        assert!(Arc::ptr_eq(&first, &watchers.sampler(&filter(1)).unwrap()));
        tokio::time::sleep(Duration::from_secs(2)).await;

        assert_eq!(watchers.lock().len(), 1, "the one that was asked for again");
        assert!(watchers.sampler(&filter(5)).is_some());
        tokio::time::sleep(2 * IDLE).await;
        assert_eq!(watchers.lock().len(), 0);
    }
}
