//! The record of what was changed, on disk, so that it can be taken back even by the next process.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::netlink::Netlink;
use super::plan::Change;
use super::sysctl::{self, Sysctls};

/// What has been changed, or is about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The device that the changes were made for.
    pub(crate) device: String,
    /// The boot that the changes belong to; another one has none of them.
    boot: String,
    /// The network namespace that they were made in, by its inode.
    namespace: u64,
    /// The changes, in the order they are made.
    pub(crate) changes: Vec<Change>,
}

/// Why a record cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", .path.display())]
pub(crate) struct RecordError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Record {
    /// A record for this boot and namespace.
    pub(crate) fn new(device: &str, changes: Vec<Change>) -> Self {
        Self { device: device.to_owned(), boot: boot(), namespace: namespace(), changes }
    }

    /// Whether the changes were made where this process runs.
    pub(crate) fn is_of_here(&self) -> bool {
        self.boot == boot() && self.namespace == namespace()
    }

    /// Where the record of `device` is.
    pub(crate) fn path(directory: &Path, device: &str) -> PathBuf {
        directory.join(format!("{device}{SUFFIX}"))
    }

    /// Writes the record so that a crash leaves the old one or the new one.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), RecordError> {
        let path = Self::path(directory, &self.device);
        let new = path.with_extension("new");
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        let written = text.and_then(|text| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            fs::rename(&new, &path)
        });
        written.map_err(|source| RecordError { action: "write the undo record", path, source })
    }

    /// The records in a directory. One that cannot be understood is set aside with a warning.
    pub(crate) fn read_all(directory: &Path) -> Result<Vec<Self>, RecordError> {
        let error = |path: &Path, source| RecordError { action: "read", path: path.to_owned(), source };
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(problem) => return Err(error(directory, problem)),
        };
        let mut records = Vec::new();
        for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(SUFFIX)) {
            let path = entry.path();
            let text = fs::read(&path).map_err(|problem| error(&path, problem))?;
            match serde_json::from_slice(&text) {
                Ok(record) => records.push(record),
                Err(problem) => {
                    warn!(path = %path.display(), error = %problem, "ignoring an undo record that cannot be read")
                }
            }
        }
        Ok(records)
    }

    /// Removes the record.
    pub(crate) fn remove(&self, directory: &Path) {
        let path = Self::path(directory, &self.device);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(path = %path.display(), %error, "cannot remove the undo record");
            }
            _ => {}
        }
    }

    /// Takes every change back, the last one first. What is not as the change left it belongs to somebody else by now.
    pub(crate) async fn undo(&self, netlink: &Netlink, sysctls: &Sysctls) {
        super::Host::undo_shares(netlink, &self.changes).await;
        for change in self.changes.iter().rev() {
            match change {
                Change::Sysctl { key, from, to } => restore(sysctls, key, from, to),
                Change::Keep { .. }
                | Change::Proxy { .. }
                | Change::LocalTable
                | Change::Share(_)
                | Change::Defragment { .. } => {}
            }
        }
        for change in &self.changes {
            if let Change::Keep { key, value } = change
                && let Err(error) = keep(sysctls, key, value)
            {
                warn!(%error, "cannot take a change back");
            }
        }
        self.remove_proxies(netlink).await;
    }

    async fn remove_proxies(&self, netlink: &Netlink) {
        let links = match netlink.links().await {
            Ok(links) => links,
            Err(error) => {
                warn!(%error, "cannot list the interfaces; proxy ARP entries may be left");
                return;
            }
        };
        for change in &self.changes {
            let Change::Proxy { address, interface } = change else { continue };
            let Some(link) = links.iter().find(|link| link.name == *interface) else { continue };
            match netlink.remove_proxy(link.index, *address).await {
                Err(error) if !error.is(Errno::NOENT) => {
                    warn!(%address, interface, %error, "cannot remove a proxy ARP entry");
                }
                _ => {}
            }
        }
    }
}

/// How the names of records end.
const SUFFIX: &str = ".undo.json";

fn restore(sysctls: &Sysctls, key: &str, from: &str, to: &str) {
    let name = sysctl::name(key);
    match sysctls.read(key) {
        Ok(Some(current)) if current == to => match sysctls.write(key, from) {
            Ok(()) => info!(sysctl = name, from = to, to = from, "sysctl restored"),
            Err(error) => warn!(%error, "cannot take a change back"),
        },
        // It was not made, somebody changed it since, or its interface is gone.
        Ok(_) => {}
        Err(error) => warn!(%error, "cannot take a change back"),
    }
}

fn keep(sysctls: &Sysctls, key: &str, value: &str) -> Result<(), sysctl::SysctlError> {
    if sysctls.read(key)?.is_some() { sysctls.ensure(key, value) } else { Ok(()) }
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// The calling thread's network namespace.
fn namespace() -> u64 {
    fs::metadata("/proc/thread-self/ns/net").map(|metadata| metadata.ino()).unwrap_or_default()
}
