//! The file that sessions are kept in: a header, and records of one size, each with a sum of its own.
//!
//! A record tells of a session that there is, or of the end of one. What is behind the first record that is damaged, as the last
//! one is when the host lost power while it was written, is not read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nat64_core::{Protocol, SavedSession};

/// Where the directory is not ours alone, a symbolic link would lead a daemon with many rights elsewhere, and a pipe would keep
/// it waiting.
#[expect(clippy::cast_possible_wrap, reason = "flags are bits")]
const CAUTIOUS: i32 = rustix::fs::OFlags::NOFOLLOW.union(rustix::fs::OFlags::NONBLOCK).bits() as i32;

/// Bytes of the header: what it is, the version, whether all of it was written at an end, and the boot.
const HEADER: usize = 64;
const MAGIC: &[u8; 8] = b"NAT64SES";
/// Of the records' layout.
const VERSION: u8 = 1;
/// Bytes of a record: its kind, what it says, and a CRC-32 of both, little-endian.
pub(super) const RECORD: usize = 1 + SavedSession::BYTES + 4;

const BEGUN: u8 = b'B';
const ENDED: u8 = b'E';

/// Why a file of sessions is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// It cannot be read or written.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is no file of sessions", .0.display())]
    Foreign(PathBuf),
    /// Another version of the program wrote it.
    #[error("{} is of layout {version}, and this is {VERSION}", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its layout.
        version: u8,
    },
    /// Somebody else may have written it.
    #[error("{} belongs to another user, {owner}", .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// That user's number.
        owner: u32,
    },
    /// Its times mean nothing any more.
    #[error("{} is from before the host was started", .0.display())]
    Boot(PathBuf),
}

/// What a session is found by.
pub(super) type Key = (Protocol, (Ipv4Addr, u16), (Ipv4Addr, u16));

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Begun(SavedSession),
    Ended(Key),
}

/// A file that is read.
#[derive(Debug)]
pub(super) struct Reader {
    file: BufReader<File>,
    /// Whether it was written as a whole, when the daemon ended.
    pub(super) is_complete: bool,
}

/// A file that is written.
#[derive(Debug)]
pub(super) struct Writer {
    file: BufWriter<File>,
    path: PathBuf,
}

pub(super) fn key(session: &SavedSession) -> Key {
    (session.protocol, session.external, session.remote)
}

fn cannot(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { action, path, source }
}

impl Reader {
    /// Opens a file; nothing if there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, JournalError> {
        let file = match OpenOptions::new().read(true).custom_flags(CAUTIOUS).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(cannot("open", path))?,
        };
        check_owner(&file, path)?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut header = [0; HEADER];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(JournalError::Foreign(path.to_owned()));
            }
            read => read.map_err(cannot("read", path))?,
        }
        if header[..8] != *MAGIC {
            return Err(JournalError::Foreign(path.to_owned()));
        }
        if header[8] != VERSION {
            return Err(JournalError::Version { path: path.to_owned(), version: header[8] });
        }
        if header[10..] != boot() {
            return Err(JournalError::Boot(path.to_owned()));
        }
        Ok(Some(Self { file, is_complete: header[9] == 1 }))
    }
}

impl Iterator for Reader {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let mut record = [0; RECORD];
        self.file.read_exact(&mut record).ok()?;
        let (told, sum) = record.split_last_chunk::<4>()?;
        if crc32fast::hash(told) != u32::from_le_bytes(*sum) {
            return None;
        }
        let (kind, body) = told.split_first()?;
        let session = SavedSession::from_bytes(body.try_into().ok()?)?;
        match *kind {
            BEGUN => Some(Entry::Begun(session)),
            ENDED => Some(Entry::Ended(key(&session))),
            _ => None,
        }
    }
}

impl Writer {
    /// A new file beside the one at `path`, whose place it takes by [`Writer::publish`].
    pub(super) fn create(path: &Path, is_complete: bool) -> Result<Self, JournalError> {
        let new = path.with_extension("new");
        // What a daemon that was killed has left, or somebody else: its owner and mode are not to be ours.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot("make", &new)(error)),
            _ => {}
        }
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
        let file = opened.map_err(cannot("make", &new))?;
        let mut writer = Self { file: BufWriter::with_capacity(256 << 10, file), path: new };
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        (header[8], header[9]) = (VERSION, is_complete.into());
        header[10..].copy_from_slice(&boot());
        writer.write(&header)?;
        Ok(writer)
    }

    /// Adds that a session is there.
    pub(super) fn begun(&mut self, session: &SavedSession) -> Result<(), JournalError> {
        self.record(BEGUN, session)
    }

    /// Adds that a session has ended.
    pub(super) fn ended(&mut self, session: &SavedSession) -> Result<(), JournalError> {
        self.record(ENDED, session)
    }

    /// Hands what was added to the kernel, which keeps it if this process is killed.
    pub(super) fn flush(&mut self) -> Result<(), JournalError> {
        self.file.flush().map_err(cannot("write", &self.path))
    }

    /// Takes the place of the file at `path`.
    pub(super) fn publish(&mut self, path: &Path) -> Result<(), JournalError> {
        self.flush()?;
        fs::rename(&self.path, path).map_err(cannot("rename", &self.path))?;
        path.clone_into(&mut self.path);
        Ok(())
    }

    fn record(&mut self, kind: u8, session: &SavedSession) -> Result<(), JournalError> {
        let mut record = [0; RECORD];
        record[0] = kind;
        record[1..=SavedSession::BYTES].copy_from_slice(&session.to_bytes());
        let sum = crc32fast::hash(&record[..RECORD - 4]);
        record[RECORD - 4..].copy_from_slice(&sum.to_le_bytes());
        self.write(&record)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        self.file.write_all(bytes).map_err(cannot("write", &self.path))
    }
}

/// Sessions are taken over from a plain file of this process's user, or of whom the directory belongs to, who could have put any
/// file there.
fn check_owner(file: &File, path: &Path) -> Result<(), JournalError> {
    let of_file = file.metadata().map_err(cannot("read", path))?;
    if !of_file.is_file() {
        return Err(JournalError::Foreign(path.to_owned()));
    }
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let of_directory = fs::metadata(directory.unwrap_or_else(|| Path::new("."))).map_err(cannot("read", path))?;
    let owner = of_file.uid();
    if owner == rustix::process::geteuid().as_raw() || owner == of_directory.uid() {
        return Ok(());
    }
    Err(JournalError::Owner { path: path.to_owned(), owner })
}

/// This boot, as the kernel names it; filled up with zeros.
fn boot() -> [u8; HEADER - 10] {
    let name = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut boot = [0; HEADER - 10];
    let len = name.len().min(boot.len());
    boot[..len].copy_from_slice(&name[..len]);
    boot
}
