use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::wait::holds_within;

/// How long a daemon may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The command line, for messages.
    pub(crate) command: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

impl Outcome {
    /// Runs `command` to its end; panics with what it said so far if that takes longer than `deadline`.
    pub(crate) fn of(mut command: Command, deadline: Duration) -> Self {
        let line = command_line(&command);
        let start = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run `{line}`: {error}"));
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let status = ends_within(&mut child, deadline);
        let elapsed = start.elapsed();
        if status.is_none() {
            let _ = child.kill();
        }
        let ended = child.wait().expect("a child can be waited for");
        let text = |reader: thread::JoinHandle<String>| reader.join().expect("a reader does not panic");
        let outcome = Self { command: line, status: ended, stdout: text(stdout), stderr: text(stderr), elapsed };
        assert!(status.is_some(), "not done after {deadline:?}: {outcome}");
        outcome
    }

    /// Standard output of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> String {
        assert!(self.status.success(), "must succeed: {self}");
        self.stdout
    }

    /// The whole outcome of a command that must have failed.
    #[track_caller]
    pub(crate) fn failed(self) -> Self {
        assert!(!self.status.success(), "must fail: {self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, status, stdout, stderr, elapsed } = self;
        write!(f, "`{command}` ({status}, {elapsed:.1?})\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// A program running beside the test; ended when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    command: String,
    log: PathBuf,
}

impl Running {
    /// Starts `command` with its output in the file `log`.
    pub(crate) fn start(command: Command, log: &Path) -> Self {
        Self::start_with(command, Stdio::null(), log)
    }

    /// The same, with something to read.
    pub(crate) fn start_with(mut command: Command, input: Stdio, log: &Path) -> Self {
        let line = command_line(&command);
        let output = File::create(log).expect("the lab directory is writable");
        let errors = output.try_clone().expect("a file can be shared");
        let child = command
            .stdin(input)
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run `{line}`: {error}"));
        Self { child, command: line, log: log.to_owned() }
    }

    /// What it has printed so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The command line, for messages.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        // A pid that is gone already is what the signal wants.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Waits for its end, by itself or after a signal.
    #[track_caller]
    pub(crate) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        ends_within(&mut self.child, deadline)
            .unwrap_or_else(|| panic!("`{}` has not ended after {deadline:?}:\n{}", self.command, self.log()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            self.signal(Signal::TERM);
            if ends_within(&mut self.child, GRACE).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        if thread::panicking() {
            eprintln!("--- output of `{}`\n{}", self.command, self.log());
        }
    }
}

fn ends_within(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let mut ended = None;
    holds_within(deadline, || {
        ended = child.try_wait().expect("a child can be waited for");
        ended.is_some()
    });
    ended
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _: io::Result<usize> = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
