use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::lab::{Lab, POOL};
use super::process::{Outcome, Running};
use super::wait::holds_within;

const READY: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(10);

/// `nat64 run` on the gateway of a lab.
#[derive(Debug)]
pub(crate) struct Daemon<'lab> {
    /// Which is not to go before the daemon.
    _lab: &'lab Lab,
    process: Running,
    socket: PathBuf,
}

impl Lab {
    /// A configuration for the translator alone; keys of `[translator]` and further sections can be appended.
    pub(crate) fn translator() -> String {
        format!("pref64 = \"64:ff9b:1::/96\"\n[translator]\npool4 = [\"{POOL}\"]\n")
    }

    /// Starts the daemon with this configuration file and waits until it is ready.
    #[track_caller]
    pub(crate) fn nat64(&self, configuration: &str) -> Daemon<'_> {
        self.nat64_started(self.nat64_run("nat64", configuration))
    }

    /// Starts the daemon with these options and no file, and waits until it is ready.
    #[track_caller]
    pub(crate) fn nat64_without_file(&self, options: &str) -> Daemon<'_> {
        let mut command = self.gateway.command(env!("CARGO_BIN_EXE_nat64"));
        command.arg("run").args(options.split_whitespace());
        command.arg("--control-socket").arg(self.directory().join("nat64.sock"));
        self.nat64_started(command)
    }

    #[track_caller]
    fn nat64_started(&self, command: Command) -> Daemon<'_> {
        let socket = self.directory().join("nat64.sock");
        let process = Running::start(command, &self.directory().join("nat64.log"));
        let mut daemon = Daemon { _lab: self, process, socket };
        let ready = holds_within(READY, || !daemon.process.is_running() || daemon.ask(&["status"]).status.success());
        let running = daemon.process.is_running();
        assert!(ready && running, "`{}` is not ready:\n{}", daemon.process.command(), daemon.log());
        daemon
    }

    /// The command that runs a daemon called `name` on the gateway: its configuration and socket are files of that name.
    pub(crate) fn nat64_run(&self, name: &str, configuration: &str) -> Command {
        let file = self.directory().join(format!("{name}.toml"));
        fs::write(&file, configuration).expect("the lab directory is writable");
        let mut command = self.gateway.command(env!("CARGO_BIN_EXE_nat64"));
        command.args(["run", "--config"]).arg(file);
        command.arg("--control-socket").arg(self.directory().join(format!("{name}.sock")));
        command
    }

    /// Runs a daemon that must refuse to start, and returns what it said.
    #[track_caller]
    pub(crate) fn nat64_refuses(&self, configuration: &str) -> Outcome {
        Outcome::of(self.nat64_run("refused", configuration), ANSWER).failed()
    }
}

impl Daemon<'_> {
    /// Asks the daemon through its control socket.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Outcome {
        // The socket is a file, which is there in every network namespace.
        let mut command = Command::new(env!("CARGO_BIN_EXE_nat64"));
        command.args(arguments).arg("--control-socket").arg(&self.socket);
        Outcome::of(command, ANSWER)
    }

    /// Asks for JSON.
    #[track_caller]
    pub(crate) fn ask_json(&self, what: &str) -> Value {
        let text = self.ask(&[what, "--json"]).succeeded();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("`{what} --json` is not JSON: {error}\n{text}"))
    }

    /// The sessions it holds now.
    #[track_caller]
    pub(crate) fn sessions(&self) -> Vec<Value> {
        let answer = self.ask_json("sessions");
        answer.as_array().or_else(|| answer["sessions"].as_array()).expect("a list of sessions").clone()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Where its control socket is.
    pub(crate) fn socket(&self) -> &PathBuf {
        &self.socket
    }

    /// Stops it as systemd does; it must end well.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(STOP);
        assert!(status.success(), "ended with {status} after SIGTERM:\n{}", self.log());
    }

    /// Waits until it ends by itself; how it ended, and what it has logged.
    #[track_caller]
    pub(crate) fn ended(mut self, deadline: Duration) -> (ExitStatus, String) {
        let status = self.process.wait(deadline);
        (status, self.log())
    }

    /// Kills it without a chance to clean up.
    pub(crate) fn kill(mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait(STOP);
    }
}
