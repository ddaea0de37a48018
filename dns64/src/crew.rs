//! Tasks that do one job after another, so that a job does not cost the making of a task, of some kilobytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Tasks that wait for a job, at most; those beyond end after theirs.
const MOST_IDLE: usize = 256;

/// Tasks for one kind of job, which end with this once they are idle. How many are busy is for the caller to bound.
#[derive(Debug)]
pub(crate) struct Crew<J>(Arc<Idle<J>>);

#[derive(Debug)]
struct Idle<J>(Mutex<Vec<oneshot::Sender<J>>>);

impl<J> Default for Crew<J> {
    fn default() -> Self {
        Self(Arc::new(Idle(Mutex::default())))
    }
}

impl<J: Send + 'static> Crew<J> {
    /// Has a job done: by a task that is idle, or else by a new one of this runtime, which does all its jobs by `work`.
    pub(crate) fn give<F>(&self, mut job: J, work: impl Fn(J) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        while let Some(idle) = self.0.waiting().pop() {
            match idle.send(job) {
                Ok(()) => return,
                // Its runtime has ended.
                Err(same) => job = same,
            }
        }
        let crew = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut job = job;
            loop {
                work(job).await;
                let Some(next) = crew.upgrade().and_then(|crew| crew.join()) else { return };
                match next.await {
                    Ok(next) => job = next,
                    Err(_) => return,
                }
            }
        });
    }
}

impl<J> Idle<J> {
    fn waiting(&self) -> MutexGuard<'_, Vec<oneshot::Sender<J>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, unless enough others wait for one.
    fn join(&self) -> Option<oneshot::Receiver<J>> {
        let mut waiting = self.waiting();
        if waiting.len() >= MOST_IDLE {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        waiting.push(sender);
        Some(receiver)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::task;

    use super::*;

    #[tokio::test]
    async fn an_idle_task_gets_the_next_job_and_a_busy_one_does_not() {
        let (crew, (done, mut finished)) = (Crew::default(), mpsc::unbounded_channel());
        let give = |job: oneshot::Receiver<()>| {
            let done = done.clone();
            crew.give(job, move |job| {
                let done = done.clone();
                async move {
                    let _told = job.await;
                    done.send(task::id()).unwrap();
                }
            });
        };
        let (end_first, first) = oneshot::channel();
        let (end_second, second) = oneshot::channel();
        give(first);
        give(second);
        end_first.send(()).unwrap();
        let one = finished.recv().await.unwrap();
        while crew.0.waiting().is_empty() {
            task::yield_now().await;
        }
        let (end_third, third) = oneshot::channel();
        give(third);
        end_third.send(()).unwrap();
        assert_eq!(finished.recv().await.unwrap(), one);
        end_second.send(()).unwrap();
        assert_ne!(finished.recv().await.unwrap(), one);
    }

    #[tokio::test]
    async fn idle_tasks_are_few_and_end_with_the_crew() {
        let (crew, (alive, mut all_gone)) = (Crew::default(), mpsc::unbounded_channel::<()>());
        for _ in 0..MOST_IDLE + 10 {
            let alive = alive.clone();
            crew.give((), move |()| {
                let _alive = &alive;
                async {}
            });
        }
        drop(alive);
        while crew.0.waiting().len() < MOST_IDLE {
            task::yield_now().await;
        }
        drop(crew);
        assert_eq!(all_gone.recv().await, None);
    }
}
