//! The session log: who had which pool address and port, and when, for those who have to be able to say.
//!
//! The workers' events become `Record`s with a time of day, on a thread that does nothing else, and each log of the
//! configuration takes those it wants into a queue of its own. Behind the queue a thread encodes and delivers; while its
//! file or collector cannot be written to, the queue fills, and what it cannot take is lost and counted. Packets never wait.

mod collect;
mod encode;
mod output;
mod record;
mod sink;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nat64_dataplane::{Clock, Events};
use pref64::Pref64;

use crate::config::SessionLogSettings;
use collect::Collector;
use sink::Sink;

pub(crate) use encode::{Format, Line};
pub(crate) use output::Target;
pub(crate) use record::{Kind, Kinds};
pub(crate) use sink::SinkStats;

/// The translation prefix that an event names by a number.
pub(crate) type PrefixOf = Box<dyn Fn(u8) -> Option<Pref64> + Send>;

/// The running logs. They end when this is stopped or dropped, after everything that waits is delivered or, where it
/// cannot be, counted as lost.
#[derive(Debug)]
pub(crate) struct SessionLog {
    stopping: Arc<AtomicBool>,
    collector: Option<JoinHandle<()>>,
    sinks: Vec<(Arc<SinkStats>, JoinHandle<()>)>,
}

impl SessionLog {
    /// Starts a thread for the events of all workers and one for each log.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub(crate) fn start(
        settings: &[SessionLogSettings],
        events: Vec<Events>,
        clock: Clock,
        prefix_of: PrefixOf,
    ) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let mut log = Self { stopping: Arc::clone(&stopping), collector: None, sinks: Vec::new() };
        let mut inlets = Vec::new();
        for settings in settings {
            let (sink, inlet) = Sink::new(settings, Arc::clone(&stopping));
            let stats = inlet.stats();
            let thread = thread::Builder::new().name("nat64-log".to_owned()).spawn(move || sink.run())?;
            log.sinks.push((stats, thread));
            inlets.push(inlet);
        }
        let collector = Collector::new(events, clock, prefix_of, inlets, stopping);
        let thread = thread::Builder::new().name("nat64-events".to_owned()).spawn(move || collector.run())?;
        log.collector = Some(thread);
        Ok(log)
    }

    /// What each log has delivered and lost, in the order of the configuration.
    pub(crate) fn stats(&self) -> Vec<Arc<SinkStats>> {
        self.sinks.iter().map(|(stats, _)| Arc::clone(stats)).collect()
    }
}

impl Drop for SessionLog {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // A thread that panicked has said so on standard error; the others are to end all the same.
        if let Some(collector) = self.collector.take() {
            collector.thread().unpark();
            let _ = collector.join();
        }
        for (_, sink) in self.sinks.drain(..) {
            let _ = sink.join();
        }
    }
}
