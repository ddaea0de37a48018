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
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nat64_core::Event;
use nat64_dataplane::{Clock, Events};
use pref64::Pref64;

use crate::config::SessionLogSettings;
use crate::privileges;
use collect::Collector;
use sink::{Inlet, Inlets, Sink};

pub(crate) use encode::{Format, Line, Says};
pub(crate) use output::Target;
pub(crate) use record::{Kind, Kinds};
pub(crate) use sink::SinkStats;

/// The translation prefix that an event names by a number.
pub(crate) type PrefixOf = Box<dyn Fn(u8) -> Option<Pref64> + Send>;

/// The name that a host was told an address for, if that is remembered and the host knew it so long ago.
pub(crate) type NameOf = Box<dyn Fn(Ipv6Addr, Ipv6Addr, Duration) -> Option<Arc<str>> + Send>;

/// Somebody else who looks at every event. It must not wait.
pub(crate) type Onlooker = Option<Box<dyn Fn(&Event) + Send>>;

/// The running logs. They end when this is stopped or dropped, after everything that waits is delivered or, where it
/// cannot be, counted as lost.
#[derive(Debug)]
pub(crate) struct SessionLog {
    stopping: Arc<AtomicBool>,
    collector: Option<JoinHandle<()>>,
    inlets: Inlets,
    logs: Vec<Log>,
    /// Threads of logs that are no more, while they deliver what was left.
    leaving: Vec<JoinHandle<()>>,
}

/// One log.
#[derive(Debug)]
struct Log {
    settings: SessionLogSettings,
    inlet: Inlet,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
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
        (prefix_of, name_of): (PrefixOf, NameOf),
        onlooker: Onlooker,
    ) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let inlets = Inlets::default();
        let mut log = Self {
            stopping: Arc::clone(&stopping),
            collector: None,
            inlets: Arc::clone(&inlets),
            logs: Vec::new(),
            leaving: Vec::new(),
        };
        log.replace(settings)?;
        let collector = Collector::new(events, clock, (prefix_of, name_of), onlooker, inlets, stopping);
        let thread = thread::Builder::new().name("nat64-events".to_owned()).spawn(move || {
            privileges::give_up_all();
            collector.run();
        })?;
        log.collector = Some(thread);
        Ok(log)
    }

    /// Writes these logs from now on. Those that were written already go on; others deliver what they have, and end.
    ///
    /// # Errors
    /// A thread cannot be made; nothing has changed then.
    pub(crate) fn replace(&mut self, settings: &[SessionLogSettings]) -> io::Result<()> {
        let is_new = |settings: &&SessionLogSettings| !self.logs.iter().any(|log| log.settings == **settings);
        let mut new = settings.iter().filter(is_new).map(Log::start).collect::<io::Result<Vec<_>>>()?;
        let mut old = std::mem::take(&mut self.logs);
        for settings in settings {
            let from = [&mut old, &mut new].into_iter().find(|logs| logs.iter().any(|log| log.settings == *settings));
            let Some(logs) = from else { continue };
            if let Some(place) = logs.iter().position(|log| log.settings == *settings) {
                self.logs.push(logs.swap_remove(place));
            }
        }
        let inlets = self.logs.iter().map(|log| log.inlet.clone()).collect();
        *self.inlets.lock().unwrap_or_else(PoisonError::into_inner) = inlets;
        self.leaving.retain(|thread| !thread.is_finished());
        self.leaving.extend(old.into_iter().map(Log::leave));
        Ok(())
    }

    /// What each log has delivered and lost, in the order of the configuration.
    pub(crate) fn stats(&self) -> Vec<Arc<SinkStats>> {
        self.logs.iter().map(|log| log.inlet.stats()).collect()
    }
}

impl Log {
    fn start(settings: &SessionLogSettings) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let (sink, inlet) = Sink::new(settings, Arc::clone(&stopping));
        let thread = thread::Builder::new().name("nat64-log".to_owned()).spawn(move || {
            privileges::give_up_all();
            sink.run();
        })?;
        Ok(Self { settings: settings.clone(), inlet, stopping, thread })
    }

    /// Lets the log end when all that it has is delivered or lost.
    fn leave(self) -> JoinHandle<()> {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread
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
        self.inlets.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let leaving: Vec<JoinHandle<()>> = self.logs.drain(..).map(Log::leave).chain(self.leaving.drain(..)).collect();
        for thread in leaving {
            let _ = thread.join();
        }
    }
}
