//! The files that logs of sessions were written to.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use flate2::bufread::MultiGzDecoder;

use crate::config::{self, Overrides};
use crate::session_log::{Format, Target};

/// The JSON logs that the configuration has written to files, each after what it was before it was rotated.
///
/// # Errors
/// There is no usable configuration, or no such log.
pub(super) fn configured(config: Option<&Path>) -> anyhow::Result<Vec<PathBuf>> {
    let nowhere = config.is_none() && !Path::new(config::DEFAULT_FILE).exists();
    if nowhere {
        bail!("there is no {}; name a log with --log, or a configuration with --config", config::DEFAULT_FILE);
    }
    let settings = config::load(config, &Overrides::default())?;
    let mut logs = Vec::new();
    for log in &settings.session_logs {
        if let (Target::File(path), Format::Json) = (&log.target, log.format) {
            logs.extend(rotated(path).with_context(|| format!("cannot look for {}", path.display()))?);
        }
    }
    if logs.is_empty() {
        bail!("the configuration has no JSON log of sessions that exists; name one with --log");
    }
    Ok(logs)
}

/// A log and what `logrotate` has made of it (`NAME.1`, `NAME.2.gz`, `NAME-20261122`), the oldest first.
pub(super) fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let is_older = |other: &str| {
        let rest = name.to_str().and_then(|name| other.strip_prefix(name)?.strip_prefix(['.', '-']));
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_current = entry.file_name() == name;
        if is_current || entry.file_name().to_str().is_some_and(is_older) {
            found.push((is_current, entry.metadata()?.modified()?, entry.path()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, _, path)| path).collect())
}

/// The text of a file, whether it is compressed or not.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    /// RFC 1952 §2.3.1.
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    let mut file = BufReader::new(File::open(path)?);
    if file.fill_buf()?.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(file))));
    }
    Ok(Box::new(file))
}
