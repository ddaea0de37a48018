//! What a worker does with packets: the translator, or a stand-in that tests look into.

use nat64_core::{Batch, PacketBuf, Timestamp, Translator, Verdict, Worker};

/// Starts batches; see [`Translator`].
pub(crate) trait Engine: Send + Sync + 'static {
    /// See [`Batch`].
    type Step<'t>: Step
    where
        Self: 't;

    /// See [`Translator::batch`].
    fn batch<'t>(&'t self, now: Timestamp, worker: &'t mut Worker) -> Self::Step<'t>;

    /// See [`Translator::expire`].
    fn expire(&self, now: Timestamp, worker: &mut Worker) -> bool;
}

/// Takes packets one by one; see [`Batch`].
pub(crate) trait Step {
    /// See [`Batch::translate`].
    fn translate(&mut self, packet: &mut PacketBuf<'_>) -> Verdict;

    /// See [`Batch::worker`].
    fn worker(&mut self) -> &mut Worker;
}

impl Engine for Translator {
    type Step<'t> = Batch<'t>;

    fn batch<'t>(&'t self, now: Timestamp, worker: &'t mut Worker) -> Batch<'t> {
        self.batch(now, worker)
    }

    fn expire(&self, now: Timestamp, worker: &mut Worker) -> bool {
        self.expire(now, worker)
    }
}

impl Step for Batch<'_> {
    fn translate(&mut self, packet: &mut PacketBuf<'_>) -> Verdict {
        self.translate(packet)
    }

    fn worker(&mut self) -> &mut Worker {
        self.worker()
    }
}
