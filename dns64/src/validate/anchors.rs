//! The keys that trust begins with.

use std::fs;
use std::path::Path;

use hickory_proto::dnssec::TrustAnchors;
use tracing::error;

use crate::error::Error;

/// Reads trust anchors: DNSKEY records as in a zone file, one a line. Without a file the keys of the root zone that are
/// built in.
///
/// # Errors
/// The file cannot be read, holds something else, or nothing.
pub(crate) fn load(file: Option<&Path>) -> Result<TrustAnchors, Error> {
    let Some(path) = file else { return Ok(TrustAnchors::default()) };
    let failed = |reason: String| Error::TrustAnchors { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let records: Vec<&str> = text.lines().filter(|line| is_record(line)).collect();
    if records.is_empty() {
        return Err(failed(
            "it holds no key; give DNSKEY records as in a zone file, for example those of /usr/share/dns/root.key"
                .into(),
        ));
    }
    (records.join("\n") + "\n")
        .parse()
        .map_err(|error| failed(format!("{error}; allowed are DNSKEY records as in a zone file, one a line")))
}

/// The same for a configuration that was checked: a file that has vanished since is said, and nothing is trusted then.
pub(super) fn load_checked(file: Option<&Path>) -> TrustAnchors {
    load(file).unwrap_or_else(|error| {
        error!(%error, "without trust anchors every answer is bogus");
        TrustAnchors::empty()
    })
}

fn is_record(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with(';')
}
