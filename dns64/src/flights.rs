//! Questions under way: who asks what is being asked already waits for the same answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use tokio::sync::watch;

use crate::cache::Known;

/// What comes of a question: an answer, or the extended error that says why there is none.
pub(crate) type Landing = Result<Known, u16>;

/// A place to wait at.
pub(crate) type Waiting = watch::Receiver<Option<Landing>>;

/// Questions under way, by cache key.
#[derive(Debug)]
pub(crate) struct Flights {
    waiting: Mutex<HashMap<Arc<[u8]>, Waiting, RandomState>>,
    most: usize,
}

/// How a flight is joined.
pub(crate) enum Boarding {
    /// Somebody asks already.
    Joined(Waiting),
    /// The caller is to ask, and to tell by [`Flights::land`] with this key.
    Started(Arc<[u8]>, Waiting, watch::Sender<Option<Landing>>),
    /// Too many questions are under way.
    Full,
}

impl Flights {
    /// For `most` questions at once.
    pub(crate) fn new(most: usize) -> Self {
        Self { waiting: Mutex::default(), most }
    }

    /// Joins the question with this key, or starts it.
    pub(crate) fn board(&self, key: &[u8]) -> Boarding {
        let mut waiting = self.waiting();
        if let Some(receiver) = waiting.get(key) {
            return Boarding::Joined(receiver.clone());
        }
        if waiting.len() >= self.most {
            return Boarding::Full;
        }
        let (sender, receiver) = watch::channel(None);
        let key = Arc::from(key);
        waiting.insert(Arc::clone(&key), receiver.clone());
        Boarding::Started(key, receiver, sender)
    }

    /// Ends a question: later ones of the same kind are asked anew.
    pub(crate) fn land(&self, key: &[u8]) {
        self.waiting().remove(key);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Arc<[u8]>, Waiting, RandomState>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the end of a flight; nothing if it ended without any, which a panic could cause only.
pub(crate) async fn landing(mut waiting: Waiting) -> Option<Landing> {
    waiting.wait_for(Option::is_some).await.ok()?.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_asker_waits_for_the_firsts_answer() {
        let flights = Flights::new(2);
        let Boarding::Started(_, first, sender) = flights.board(b"x") else { panic!("not started") };
        let Boarding::Joined(second) = flights.board(b"x") else { panic!("not joined") };
        sender.send_replace(Some(Err(22)));
        flights.land(b"x");
        for waiting in [first, second] {
            assert_eq!(landing(waiting).await.unwrap().unwrap_err(), 22);
        }
        assert!(matches!(flights.board(b"x"), Boarding::Started(..)));
    }

    #[test]
    fn there_is_a_bound() {
        let flights = Flights::new(1);
        let _one = flights.board(b"x");
        assert!(matches!(flights.board(b"y"), Boarding::Full));
        assert!(matches!(flights.board(b"x"), Boarding::Joined(_)));
    }
}
