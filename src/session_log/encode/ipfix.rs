//! NAT64 events in IPFIX: messages and templates of RFC 7011, events and fields of RFC 8158. All numbers are big endian.

use std::time::{Duration, Instant};

use nat64_core::DropReason;
use nat64_core::event::{Event, EventKind};

use super::Frames;
use crate::session_log::record::Record;

/// A message fits a datagram on any path (RFC 7011 §10.3.3).
const MESSAGE_LEN: usize = 1232;
const HEADER_LEN: usize = 16;
const SET_HEADER_LEN: usize = 4;
/// The set of template records (RFC 7011 §3.3.2).
const TEMPLATE_SET: u16 = 2;
/// How often templates are sent again over UDP, where a collector may have missed or forgotten them (RFC 7011 §8.4).
const TEMPLATES_EVERY: Duration = Duration::from_secs(60);

/// A field: its number in the registry of information elements, and its length in bytes.
type Field = (u16, u16);

const OBSERVATION_TIME: Field = (323, 8);
const NAT_EVENT: Field = (230, 1);
const SOURCE_IPV6: Field = (27, 16);
const POST_NAT_SOURCE_IPV4: Field = (225, 4);
const PROTOCOL: Field = (4, 1);
const SOURCE_PORT: Field = (7, 2);
const POST_NAPT_SOURCE_PORT: Field = (227, 2);
const DESTINATION_IPV6: Field = (28, 16);
const POST_NAT_DESTINATION_IPV4: Field = (226, 4);
const DESTINATION_PORT: Field = (11, 2);
const POST_NAPT_DESTINATION_PORT: Field = (228, 2);
const PORT_RANGE_START: Field = (361, 2);
const PORT_RANGE_END: Field = (362, 2);
const QUOTA_EXCEEDED: Field = (466, 4);

/// What a data record holds; the numbers are those of the templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
enum Template {
    /// RFC 8158 §4.6.2 and §4.6.4, without destinations.
    Binding = 256,
    /// RFC 8158 §4.6.2, with destinations.
    Session = 257,
    /// RFC 8158 §4.6.10.
    Block = 258,
    /// RFC 8158 §4.6.6, with whose packet it was.
    Exhausted = 259,
    /// RFC 8158 §4.6.7, with whose packet it was.
    Quota = 260,
}

impl Template {
    const ALL: [Self; 5] = [Self::Binding, Self::Session, Self::Block, Self::Exhausted, Self::Quota];

    const fn fields(self) -> &'static [Field] {
        match self {
            Self::Binding => &[
                OBSERVATION_TIME,
                NAT_EVENT,
                SOURCE_IPV6,
                POST_NAT_SOURCE_IPV4,
                PROTOCOL,
                SOURCE_PORT,
                POST_NAPT_SOURCE_PORT,
            ],
            Self::Session => &[
                OBSERVATION_TIME,
                NAT_EVENT,
                SOURCE_IPV6,
                POST_NAT_SOURCE_IPV4,
                PROTOCOL,
                SOURCE_PORT,
                POST_NAPT_SOURCE_PORT,
                DESTINATION_IPV6,
                POST_NAT_DESTINATION_IPV4,
                DESTINATION_PORT,
                POST_NAPT_DESTINATION_PORT,
            ],
            Self::Block => {
                &[OBSERVATION_TIME, NAT_EVENT, SOURCE_IPV6, POST_NAT_SOURCE_IPV4, PORT_RANGE_START, PORT_RANGE_END]
            }
            Self::Exhausted => &[OBSERVATION_TIME, NAT_EVENT, PROTOCOL, SOURCE_IPV6],
            Self::Quota => &[OBSERVATION_TIME, NAT_EVENT, QUOTA_EXCEEDED, SOURCE_IPV6],
        }
    }
}

/// An exporting process (RFC 7011 §2).
#[derive(Debug)]
pub(super) struct Exporter {
    destinations: bool,
    /// Data records sent so far, modulo 2^32 (RFC 7011 §3.1).
    sequence: u32,
    templates_sent: Option<Instant>,
}

impl Exporter {
    pub(super) const fn new(destinations: bool) -> Self {
        Self { destinations, sequence: 0, templates_sent: None }
    }

    /// Appends messages with the records, and before them the templates if it is time.
    pub(super) fn encode(&mut self, records: &[Record], frames: &mut Frames) {
        if self.templates_sent.is_none_or(|sent| sent.elapsed() >= TEMPLATES_EVERY) {
            self.templates_sent = Some(Instant::now());
            let at = records.last().map_or(0, |record| record.at);
            self.message(at, 0, frames, |body| set(body, TEMPLATE_SET, templates));
        }
        let mut message = Message::default();
        for record in records {
            let Some((template, bytes)) = self.data(record) else { continue };
            if message.len_with(template, bytes.len()) > MESSAGE_LEN {
                self.finish(&mut message, frames);
            }
            message.add(template, &bytes, record.at);
        }
        self.finish(&mut message, frames);
    }

    fn finish(&mut self, message: &mut Message, frames: &mut Frames) {
        let Message { body, set_start, records, at, .. } = std::mem::take(message);
        if records > 0 {
            self.message(at, records, frames, |bytes| {
                let start = bytes.len();
                bytes.extend_from_slice(&body);
                close_set(bytes, start + set_start);
            });
        }
    }

    fn message(&mut self, at: u64, records: u32, frames: &mut Frames, write: impl FnOnce(&mut Vec<u8>)) {
        const VERSION: u16 = 10;
        /// The only one we have.
        const OBSERVATION_DOMAIN: u32 = 1;
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(records);
        frames.add(|bytes| {
            let start = bytes.len();
            bytes.extend_from_slice(&VERSION.to_be_bytes());
            bytes.extend_from_slice(&[0; 2]);
            // Export time in seconds since 1970; good until 2106 (RFC 7011 §3.1).
            let seconds = u32::try_from(at / 1000).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&seconds.to_be_bytes());
            bytes.extend_from_slice(&sequence.to_be_bytes());
            bytes.extend_from_slice(&OBSERVATION_DOMAIN.to_be_bytes());
            write(bytes);
            write_len(bytes, start, start + 2);
        });
    }

    /// The data record of an event; none for an event that IPFIX has no words for.
    fn data(&self, record: &Record) -> Option<(Template, Vec<u8>)> {
        let event = &record.event;
        let number = nat_event(event.kind)?;
        let with_remote = event.remote.zip(record.remote6).filter(|_| self.destinations);
        let mut data = Data(Vec::with_capacity(64));
        data.push(&record.at.to_be_bytes());
        data.push(&[number]);
        let template = match event.kind {
            EventKind::MappingCreated | EventKind::MappingRemoved => {
                data.binding(event);
                Template::Binding
            }
            EventKind::SessionCreated | EventKind::SessionEnded { .. } => {
                data.binding(event);
                match with_remote {
                    None => Template::Binding,
                    Some(((remote, port), remote6)) => {
                        data.push(&remote6.octets());
                        data.push(&remote.octets());
                        data.push(&port.to_be_bytes());
                        data.push(&port.to_be_bytes());
                        Template::Session
                    }
                }
            }
            EventKind::BlockAllocated { last_port } | EventKind::BlockReleased { last_port } => {
                data.push(&event.internal.0.octets());
                data.push(&event.external.0.octets());
                data.push(&event.external.1.to_be_bytes());
                data.push(&last_port.to_be_bytes());
                Template::Block
            }
            EventKind::Refused(DropReason::PoolExhausted) => {
                data.push(&[event.protocol.number_v4()]);
                data.push(&event.internal.0.octets());
                Template::Exhausted
            }
            EventKind::Refused(reason) => {
                data.push(&quota(reason)?.to_be_bytes());
                data.push(&event.internal.0.octets());
                Template::Quota
            }
        };
        Some((template, data.0))
    }
}

/// A message that is being filled: data sets, the last of them open.
#[derive(Debug, Default)]
struct Message {
    body: Vec<u8>,
    set_start: usize,
    template: Option<Template>,
    records: u32,
    at: u64,
}

impl Message {
    fn len_with(&self, template: Template, record: usize) -> usize {
        let header = if self.template == Some(template) { 0 } else { SET_HEADER_LEN };
        HEADER_LEN + self.body.len() + header + record
    }

    fn add(&mut self, template: Template, record: &[u8], at: u64) {
        if self.template != Some(template) {
            if self.template.is_some() {
                close_set(&mut self.body, self.set_start);
            }
            self.template = Some(template);
            self.set_start = self.body.len();
            self.body.extend_from_slice(&(template as u16).to_be_bytes());
            self.body.extend_from_slice(&[0; 2]);
        }
        self.body.extend_from_slice(record);
        self.records += 1;
        self.at = at;
    }
}

struct Data(Vec<u8>);

impl Data {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn binding(&mut self, event: &Event) {
        self.push(&event.internal.0.octets());
        self.push(&event.external.0.octets());
        self.push(&[event.protocol.number_v4()]);
        self.push(&event.internal.1.to_be_bytes());
        self.push(&event.external.1.to_be_bytes());
    }
}

/// The value of natEvent (RFC 8158 §4.3); none for what it has no value for.
const fn nat_event(kind: EventKind) -> Option<u8> {
    Some(match kind {
        EventKind::SessionCreated => 6,
        EventKind::SessionEnded { .. } => 7,
        EventKind::MappingCreated => 10,
        EventKind::MappingRemoved => 11,
        EventKind::Refused(DropReason::PoolExhausted) => 12,
        EventKind::Refused(_) => 13,
        EventKind::BlockAllocated { .. } => 16,
        EventKind::BlockReleased { .. } => 17,
    })
}

/// The value of natQuotaExceededEvent (RFC 8158 §6.1.4); none for what it has no value for.
fn quota(reason: DropReason) -> Option<u32> {
    const OF_REASON: [(DropReason, u32); 3] =
        [(DropReason::TableFull, 1), (DropReason::SubscriberLimit, 3), (DropReason::FragmentLimit, 5)];
    OF_REASON.iter().find(|(known, _)| *known == reason).map(|(_, value)| *value)
}

fn templates(bytes: &mut Vec<u8>) {
    for template in Template::ALL {
        let fields = template.fields();
        bytes.extend_from_slice(&(template as u16).to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(fields.len()).unwrap_or(u16::MAX).to_be_bytes());
        for (number, length) in fields {
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
}

fn set(bytes: &mut Vec<u8>, id: u16, write: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&[0; 2]);
    write(bytes);
    close_set(bytes, start);
}

/// Writes the length of the set that begins at `start` and ends here.
fn close_set(bytes: &mut [u8], start: usize) {
    write_len(bytes, start, start + 2);
}

/// Writes how many bytes follow `start`, to the two bytes at `place`.
fn write_len(bytes: &mut [u8], start: usize, place: usize) {
    let len = u16::try_from(bytes.len() - start).unwrap_or(u16::MAX);
    bytes[place..place + 2].copy_from_slice(&len.to_be_bytes());
}
