//! Sessions outlive the process: they are written to a file when it ends, and kept in one while it runs, so that the next process
//! goes on with them after a restart and after a crash.
//!
//! While the daemon runs, a thread of its own writes down which sessions begin and end. When there is much more of that than
//! there are sessions, it writes a new file with the sessions as they are. When the daemon ends, it writes all of them, with
//! their state to the last packet.

mod file;
mod keeper;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use nat64_core::{NotRestored, SavedSession, Timestamp, Translator};
use tracing::{info, warn};

pub(crate) use file::JournalError;
use file::{Entry, Reader, Writer};
pub(crate) use keeper::Keeper;

/// What became of the sessions of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    /// Sessions that go on.
    pub(crate) sessions: u64,
    /// Sessions that do not, by reason.
    pub(crate) left_out: BTreeMap<NotRestored, u64>,
    /// Whether the process before ended without a word.
    pub(crate) after_crash: bool,
}

/// Where the sessions of a device are kept.
pub(crate) fn path(directory: &Path, device: &str) -> PathBuf {
    directory.join(format!("{device}.sessions"))
}

/// Takes over what the process before has left at `path`, if it has, into a translator that carries no packets yet.
///
/// # Errors
/// The file is of no use; the translator goes on without.
pub(crate) fn restore(path: &Path, translator: &Translator, now: Timestamp) -> Result<Option<Restored>, JournalError> {
    let Some(reader) = Reader::open(path)? else { return Ok(None) };
    let mut restored = Restored { after_crash: !reader.is_complete, ..Restored::default() };
    let mut take = |session: &SavedSession| match translator.restore(now, session) {
        Ok(()) => restored.sessions += 1,
        Err(reason) => *restored.left_out.entry(reason).or_default() += 1,
    };
    if reader.is_complete {
        for entry in reader {
            if let Entry::Begun(session) = entry {
                take(&session);
            }
        }
    } else {
        let policy = translator.policy();
        let mut live = HashMap::new();
        for entry in reader {
            match entry {
                Entry::Begun(session) => drop(live.insert(file::key(&session), session)),
                Entry::Ended(key) => drop(live.remove(&key)),
            }
        }
        // What came after a session was written down is not known, so that each is given a while.
        live.values().for_each(|session| take(&session.given_time(now, &policy.timers)));
    }
    Ok(Some(restored))
}

/// Writes all sessions for the next process.
///
/// # Errors
/// They cannot be written; what the file had before may be left.
pub(crate) fn save(path: &Path, translator: &Translator) -> Result<u64, JournalError> {
    let mut writer = Writer::create(path, true)?;
    let count = write_all(&mut writer, translator)?;
    writer.publish(path)?;
    Ok(count)
}

/// Forgets what is kept.
pub(crate) fn forget(path: &Path) {
    // Most often there is nothing.
    let _ = fs::remove_file(path);
}

/// Says what became of sessions.
pub(crate) fn tell(restored: &Restored) {
    info!(sessions = restored.sessions, after_crash = restored.after_crash, "sessions go on");
    for (reason, count) in &restored.left_out {
        if *reason == NotRestored::Expired {
            info!(count, %reason, "sessions are left out");
        } else {
            warn!(count, %reason, "sessions are left out");
        }
    }
}

fn write_all(writer: &mut Writer, translator: &Translator) -> Result<u64, JournalError> {
    let (mut count, mut outcome) = (0, Ok(()));
    for shard in 0..translator.shards() {
        let mut sessions = Vec::new();
        translator.save_sessions(shard, &mut |session| sessions.push(*session));
        for session in &sessions {
            if outcome.is_ok() {
                outcome = writer.begun(session);
                count += 1;
            }
        }
    }
    outcome.map(|()| count)
}
