//! What a log looks like.

mod flow;
mod ipfix;
mod json;
mod syslog;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::record::Record;

pub(crate) use json::Line;

/// What a log says of those whom subscribers talk to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Says {
    /// Their addresses and ports (RFC 6888 REQ-12).
    pub(crate) destinations: bool,
    /// The names that subscribers were told their addresses for, with the addresses only.
    pub(crate) names: bool,
}

/// What a log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// A JSON object for each record.
    #[default]
    Json,
    /// Syslog messages with structured data (RFC 5424).
    Syslog,
    /// Lines with the fields of VPC flow logs, two for each session that ended.
    Flow,
    /// NAT64 events in IPFIX (RFC 7011, RFC 8158).
    Ipfix,
}

/// How messages are told apart where they are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Each ends with a line feed.
    Lines,
    /// Each is a datagram.
    Datagrams,
    /// As lines; those of syslog begin with their length instead (RFC 6587 §3.4.1).
    Stream,
}

/// Turns records into messages.
#[derive(Debug)]
pub(super) struct Encoder {
    format: Format,
    framing: Framing,
    says: Says,
    syslog: syslog::Origin,
    ipfix: ipfix::Exporter,
}

impl Encoder {
    pub(super) fn new(format: Format, framing: Framing, says: Says) -> Self {
        Self {
            format,
            framing,
            says,
            syslog: syslog::Origin::of_host(),
            ipfix: ipfix::Exporter::new(says.destinations),
        }
    }

    /// Appends the records' messages to `frames`.
    pub(super) fn encode(&mut self, records: &[Record], frames: &mut Frames) {
        if self.format == Format::Ipfix {
            self.ipfix.encode(records, frames);
            return;
        }
        for record in records {
            match self.format {
                Format::Json => self.frame(frames, |text| json::write(record, self.says, text)),
                Format::Syslog => self.frame(frames, |text| self.syslog.write(record, self.says, text)),
                Format::Flow => {
                    for line in flow::lines(record, self.says.destinations).into_iter().flatten() {
                        self.frame(frames, |text| text.extend_from_slice(line.as_bytes()));
                    }
                }
                Format::Ipfix => {}
            }
        }
    }

    fn frame(&self, frames: &mut Frames, write: impl FnOnce(&mut Vec<u8>)) {
        frames.add(|text| {
            let start = text.len();
            write(text);
            match (self.framing, self.format) {
                (Framing::Datagrams, _) => {}
                (Framing::Stream, Format::Syslog) => {
                    let length = format!("{} ", text.len() - start);
                    text.splice(start..start, length.into_bytes());
                }
                (Framing::Lines | Framing::Stream, _) => text.push(b'\n'),
            }
        });
    }
}

/// Messages, one after the other, and how far they are written.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    written: usize,
}

impl Frames {
    /// Adds what `write` appends as a message of its own.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// What is left of the first message that is not written whole.
    pub(super) fn rest(&self) -> Option<&[u8]> {
        let end = self.ends.iter().find(|&&end| end > self.written)?;
        Some(&self.bytes[self.written..*end])
    }

    /// What is left of all messages.
    pub(super) fn all(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Counts bytes as written.
    pub(super) fn advance(&mut self, written: usize) {
        self.written = (self.written + written).min(self.bytes.len());
    }

    /// Takes the part that was written of an unfinished message back.
    pub(super) fn restart_frame(&mut self) {
        self.written = self.ends.iter().copied().take_while(|&end| end <= self.written).last().unwrap_or(0);
    }

    /// Forgets all messages.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.written = 0;
    }
}
