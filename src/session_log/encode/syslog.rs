//! Syslog messages with structured data (RFC 5424).

use std::borrow::Cow;
use std::io::Write;

use super::Says;
use super::json::{self, Line};
use crate::session_log::record::Record;
use nat64_core::event::EventKind;

/// The identifier of our structured data. 32473 is the enterprise number for documentation (RFC 5612), as we have none.
const DATA_ID: &str = "nat64@32473";
/// Facility "daemon" (RFC 5424 §6.2.1).
const FACILITY: u8 = 3;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;

/// The fields of a message that are the same in all.
#[derive(Debug)]
pub(super) struct Origin {
    host: String,
    process: u32,
}

impl Origin {
    /// This process on this host.
    pub(super) fn of_host() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        // Printable ASCII without spaces, at most 255 of it (RFC 5424 §6).
        let host: String = name.chars().filter(char::is_ascii_graphic).take(255).collect();
        Self { host: if host.is_empty() { "-".to_owned() } else { host }, process: std::process::id() }
    }

    /// Appends a message.
    pub(super) fn write(&self, record: &Record, says: Says, text: &mut Vec<u8>) {
        let line = Line::new(record, says);
        let severity = if matches!(record.event.kind, EventKind::Refused(_)) { WARNING } else { INFORMATIONAL };
        let priority = FACILITY * 8 + severity;
        let (host, process, id) = (&self.host, self.process, json::name(record.event.kind));
        // A Vec takes every byte.
        let _ = write!(text, "<{priority}>1 {} {host} nat64 {process} {id} [{DATA_ID}", line.time);
        for (name, value) in parameters(&line) {
            let _ = write!(text, " {name}=\"{}\"", escaped(&value));
        }
        text.push(b']');
    }
}

/// A value as RFC 5424 §6.3.3 has it; names are the only ones in which there may be something to escape.
fn escaped(value: &str) -> Cow<'_, str> {
    const SPECIAL: [char; 3] = ['"', '\\', ']'];
    if !value.contains(SPECIAL) {
        return value.into();
    }
    let escape = |character| SPECIAL.contains(&character).then_some('\\').into_iter().chain([character]);
    value.chars().flat_map(escape).collect()
}

fn parameters(line: &Line) -> impl Iterator<Item = (&'static str, String)> {
    let traffic = |part: Option<u64>| part.map(|number| number.to_string());
    [
        ("protocol", line.protocol.clone()),
        ("internal", Some(line.internal.address.to_string())),
        ("internal-port", Some(line.internal.port.to_string())),
        ("external", line.external.map(|external| external.address.to_string())),
        ("external-port", line.external.map(|external| external.port.to_string())),
        ("last-port", line.last_port.map(|port| port.to_string())),
        ("remote", line.remote.map(|remote| remote.address.to_string())),
        ("remote-port", line.remote.map(|remote| remote.port.to_string())),
        ("remote6", line.remote6.map(|remote6| remote6.to_string())),
        ("name", line.name.clone()),
        ("began", line.began.clone()),
        ("reason", line.reason.clone()),
        ("packets-out", traffic(line.outbound.map(|traffic| traffic.packets))),
        ("bytes-out", traffic(line.outbound.map(|traffic| traffic.bytes))),
        ("packets-in", traffic(line.inbound.map(|traffic| traffic.packets))),
        ("bytes-in", traffic(line.inbound.map(|traffic| traffic.bytes))),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|value| (name, value)))
}
