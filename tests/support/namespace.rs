use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::Outcome;
use super::wait::{eventually, holds_within};

const NETNS_DIR: &str = "/run/netns";
const BRIEF: Duration = Duration::from_secs(10);

/// A network namespace of our own; it and every process in it go when this is dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the namespace `name`: loopback up, addresses usable without waiting for duplicate address detection.
    pub(crate) fn new(name: String) -> Self {
        let mut add = Command::new("ip");
        add.args(["netns", "add", &name]);
        Outcome::of(add, BRIEF).succeeded();
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace.sysctl("net/ipv6/conf/all/accept_dad", "0");
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0");
        namespace
    }

    /// Its name, as `ip netns` knows it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command line, split at white space, to its end.
    pub(crate) fn run(&self, line: &str, deadline: Duration) -> Outcome {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("a command line has a program"));
        command.args(words);
        Outcome::of(command, deadline)
    }

    /// Runs a command line that must succeed within ten seconds; returns what it printed.
    #[track_caller]
    pub(crate) fn check(&self, line: &str) -> String {
        self.run(line, BRIEF).succeeded()
    }

    /// `ip` with these arguments, applied to this namespace.
    #[track_caller]
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name]).args(arguments.split_whitespace());
        Outcome::of(command, BRIEF).succeeded()
    }

    /// Sets a sysctl of this namespace, named by its path under `/proc/sys`.
    pub(crate) fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{key}");
        self.enter(|| fs::write(&path, value)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Runs `work` on a thread inside the namespace. Sockets it makes stay in the namespace wherever they are used later.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let handle = File::open(PathBuf::from(NETNS_DIR).join(&self.name)).expect("the namespace exists");
            move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter it");
            work()
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Waits until something listens on this TCP port.
    #[track_caller]
    pub(crate) fn wait_for_listener(&self, port: u16) {
        let what = format!("a listener on TCP port {port} in {}", self.name);
        eventually(&what, BRIEF, || self.enter(|| ["tcp", "tcp6"].iter().any(|table| listens(table, port))));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Names of the namespaces that begin with `prefix`.
pub(crate) fn names_with_prefix(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(NETNS_DIR).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// Ends the processes of the namespace `name` and removes it.
pub(crate) fn remove(name: &str) {
    if !holds_within(Duration::from_secs(2), || !signal_processes(name, "-TERM")) {
        signal_processes(name, "-KILL");
    }
    // Another process may be at it, too.
    let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
}

/// Whether there was anybody to signal.
fn signal_processes(name: &str, signal: &str) -> bool {
    let Ok(list) = Command::new("ip").args(["netns", "pids", name]).output() else { return false };
    let pids = String::from_utf8_lossy(&list.stdout);
    if pids.trim().is_empty() {
        return false;
    }
    let _ = Command::new("kill").arg(signal).args(pids.split_whitespace()).stderr(Stdio::null()).status();
    true
}

/// Whether the calling thread's namespace has a listening socket on `port`; `table` as in `/proc/net`.
fn listens(table: &str, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
    let local = format!(":{port:04X}");
    text.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(1).is_some_and(|address| address.ends_with(&local)) && fields.nth(1) == Some(LISTEN)
    })
}
