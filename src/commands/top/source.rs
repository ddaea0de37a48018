//! Asks the daemon, again and again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::state::{Command, Input, Sample};
use crate::control::api::{Closed, Status};
use crate::control::client::{self, Verb};
use crate::control::filter::Filter;
use crate::control::top::Top;

/// The thread that asks. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Source(Sender<Command>);

impl Source {
    /// Asks in this interval and puts what comes of it into `inputs`.
    pub(super) fn start(
        socket: PathBuf,
        filter: Filter,
        interval: Duration,
        inputs: Sender<Input>,
    ) -> io::Result<Self> {
        let (sender, commands) = mpsc::channel();
        let asking = Asking { socket, filter, interval, inputs, is_paused: false };
        thread::Builder::new().name("nat64-ask".to_owned()).spawn(move || asking.run(&commands))?;
        Ok(Self(sender))
    }

    /// Has the thread do something else.
    pub(super) fn tell(&self, command: Command) {
        // It ends before us only if nobody reads what it sends.
        let _ = self.0.send(command);
    }
}

/// What there is to be seen.
///
/// # Errors
/// The daemon does not answer.
pub(super) fn sample(socket: &Path, filter: &Filter) -> anyhow::Result<Sample> {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let status = client::tell::<Status>(socket, Verb::Get, "/v1/status")?;
    let at = START.elapsed();
    let top = client::tell::<Top>(socket, Verb::Get, &format!("/v1/top{}", filter.query()));
    Ok(Sample { at, status, top: top.map_err(|error| crate::message(&error)) })
}

struct Asking {
    socket: PathBuf,
    filter: Filter,
    interval: Duration,
    inputs: Sender<Input>,
    is_paused: bool,
}

impl Asking {
    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let command = if self.is_paused {
                commands.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                commands.recv_timeout(self.interval)
            };
            match command {
                Ok(Command::Filter(filter)) => self.filter = filter,
                Ok(Command::Pause(is_paused)) => self.is_paused = is_paused,
                Ok(Command::Close(filter)) => self.close(&filter),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if !self.is_paused && self.look().is_err() {
                return;
            }
        }
    }

    fn look(&self) -> Result<(), mpsc::SendError<Input>> {
        self.inputs.send(match sample(&self.socket, &self.filter) {
            Ok(sample) => Input::Sample(Box::new(sample)),
            Err(error) => Input::Lost(crate::message(&error)),
        })
    }

    fn close(&self, filter: &Filter) {
        let path = format!("/v1/sessions{}", filter.query());
        let closed = client::tell::<Closed>(&self.socket, Verb::Delete, &path);
        let told = closed.map(|closed| closed.sessions).map_err(|error| crate::message(&error));
        let _ = self.inputs.send(Input::Closed(told));
    }
}
