//! Who holds a TUN device.

use std::fmt;
use std::fs;
use std::path::Path;

/// A process that has a TUN device open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id, as this process sees it.
    pub pid: u32,
    /// Its name, 15 bytes at most.
    pub command: String,
}

impl Holder {
    /// A process that holds the device `name` in this thread's network namespace, as far as `/proc` shows it to us.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let namespace = fs::read_link("/proc/thread-self/ns/net").ok()?;
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let process = entry.path();
            (has_open(&process, name) && lives_in(&process, &namespace))
                .then(|| Self { pid, command: command(&process) })
        })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.command, self.pid)
    }
}

fn has_open(process: &Path, name: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors
        .flatten()
        .filter(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == Path::new("/dev/net/tun")))
        .filter_map(|fd| fs::read_to_string(process.join("fdinfo").join(fd.file_name())).ok())
        .any(|info| info.lines().any(|line| line.strip_prefix("iff:").is_some_and(|device| device.trim() == name)))
}

fn lives_in(process: &Path, namespace: &Path) -> bool {
    let Ok(threads) = fs::read_dir(process.join("task")) else { return false };
    threads.flatten().any(|thread| fs::read_link(thread.path().join("ns/net")).is_ok_and(|one| one == namespace))
}

fn command(process: &Path) -> String {
    fs::read_to_string(process.join("comm")).map_or_else(|_| "a process".to_owned(), |name| name.trim().to_owned())
}
