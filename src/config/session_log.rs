//! Entries of `log.sessions`: logs of who had which pool address and port.

use serde::{Deserialize, Serialize};

use super::place::{Located, Problem};
use super::scalar::Number;
use crate::session_log::{Format, Kind, Kinds, Says, Target};

/// An entry of `log.sessions`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table such as { to = \"/var/log/nat64/sessions.json\" }"
)]
pub(crate) struct SessionLog {
    to: Target,
    #[serde(default)]
    format: Format,
    #[serde(default = "sessions_and_refusals")]
    record: Vec<Kind>,
    #[serde(default)]
    destinations: bool,
    #[serde(default)]
    names: bool,
    #[serde(default = "Spool::usual")]
    spool_bytes: Spool,
}

/// Bytes of records that wait.
type Spool = Number<65_536, 4_294_967_296>;

impl Spool {
    fn usual() -> Self {
        Self::new(16 << 20)
    }
}

fn sessions_and_refusals() -> Vec<Kind> {
    vec![Kind::Sessions, Kind::Refusals]
}

/// A log of sessions, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionLogSettings {
    /// Where it is written to.
    pub(crate) target: Target,
    /// What it looks like.
    pub(crate) format: Format,
    /// Which events it has.
    pub(crate) kinds: Kinds,
    /// Whether it says whom subscribers talked to (RFC 6888 REQ-12), and by which names.
    pub(crate) says: Says,
    /// Bytes of records that wait while it cannot be written.
    pub(crate) spool_bytes: usize,
}

impl SessionLog {
    /// The entry in the words of those who do the work.
    pub(crate) fn settings(&self) -> SessionLogSettings {
        SessionLogSettings {
            target: self.to.clone(),
            format: self.format,
            kinds: self.record.iter().copied().collect(),
            says: Says { destinations: self.destinations, names: self.names },
            spool_bytes: self.spool_bytes.to(),
        }
    }

    fn problem(&self) -> Option<&'static str> {
        let kinds: Kinds = self.record.iter().copied().collect();
        match (self.format, &self.to) {
            _ if self.record.is_empty() => {
                Some("`record` is an empty list, so that nothing would be logged; leave it away or name something")
            }
            (Format::Flow, _) if !kinds.sessions => {
                Some("the flow format has lines for sessions alone; put \"sessions\" into `record`")
            }
            (Format::Flow | Format::Ipfix, _) if self.names => Some(
                "the flow format and IPFIX have no field for names; take \"json\" or \"syslog\", or leave `names` away",
            ),
            _ if self.names && !self.destinations => {
                Some("a name says whom a subscriber talked to, as a destination does; set destinations = true as well")
            }
            (Format::Ipfix, Target::File(_) | Target::Tcp(_) | Target::Unix(_)) => {
                Some("IPFIX is sent in datagrams; give a collector such as to = \"udp://192.0.2.9:4739\"")
            }
            _ => None,
        }
    }
}

/// Checks the entries, each by itself and with the others, and whether there is a DNS64 that they can have names from.
pub(super) fn check(entries: &[Located<SessionLog>], has_dns64: bool) -> Result<(), Problem> {
    for (index, entry) in entries.iter().enumerate() {
        if let Some(problem) = entry.value.problem() {
            return Err(entry.problem(problem));
        }
        if entry.value.names && !has_dns64 {
            return Err(entry.problem(
                "names are those that DNS64 tells addresses for, and DNS64 is off; set dns64.upstreams, or leave `names` away",
            ));
        }
        if let Some(other) = entries[..index].iter().find(|other| other.value.to == entry.value.to) {
            let message = format!("two logs are written to {}; give each a place of its own", entry.value.to);
            return Err(entry.problem(message).also(other, "the other one is here"));
        }
    }
    Ok(())
}
