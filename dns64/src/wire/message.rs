//! An answer on its way to a client.

use hickory_proto::op::{Message as HickoryMessage, MessageType, OpCode};
use hickory_proto::rr::Record;

use super::cursor::{Cursor, HEADER_LEN};
use super::query::{Limit, Query};
use super::question::Question;
use super::reply::Reply;
use super::{EDNS_PAYLOAD, code, ede, flag, rcode};

/// The sections after the question, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sections {
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
    pub(crate) additionals: Vec<Record>,
}

impl Sections {
    /// The records of an upstream's answer with their TTLs `age` seconds lower; nothing if they cannot be decoded.
    pub(crate) fn decode(reply: &Reply, age: u32) -> Option<Self> {
        let message = HickoryMessage::from_vec(&reply.aged(age)).ok()?;
        Some(Self { answers: message.answers, authorities: message.authorities, additionals: message.additionals })
    }
}

/// A complete answer but for what is the client's: ID, flags, spelling of the name, OPT record, size.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Header, question and records, without OPT.
    bytes: Vec<u8>,
    rcode: u16,
    authoritative: bool,
    authentic: bool,
    ede: Option<u16>,
}

impl Message {
    /// What an upstream said, `age` seconds ago.
    pub(crate) fn from_reply(reply: &Reply, age: u32) -> Self {
        Self {
            bytes: reply.aged(age),
            rcode: reply.rcode,
            authoritative: false,
            authentic: reply.authentic,
            ede: reply.ede,
        }
    }

    /// An answer of our own making; SERVFAIL if it cannot be encoded.
    pub(crate) fn from_sections(question: &Question, rcode: u16, sections: Sections) -> Self {
        match encode(question, sections) {
            Some(bytes) => Self { bytes, rcode, authoritative: false, authentic: false, ede: None },
            None => Self::empty(question, rcode::SERVER_FAILURE),
        }
    }

    /// An answer without records.
    pub(crate) fn empty(question: &Question, rcode: u16) -> Self {
        let words = [0, flag::QR, 1, 0, 0, 0_u16];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend_from_slice(question.bytes());
        Self { bytes, rcode, authoritative: false, authentic: false, ede: None }
    }

    /// The same with an extended error (RFC 8914), which clients with EDNS see.
    pub(crate) fn with_ede(self, code: u16) -> Self {
        Self { ede: Some(code), ..self }
    }

    /// The same as the word of the zone's authority.
    pub(crate) fn authoritative(self) -> Self {
        Self { authoritative: true, ..self }
    }

    /// The same with another response code.
    pub(crate) fn with_rcode(self, rcode: u16) -> Self {
        Self { rcode, ..self }
    }

    pub(crate) const fn rcode(&self) -> u16 {
        self.rcode
    }

    /// The bytes for this client, and whether records had to be left out.
    pub(crate) fn finish(mut self, query: &Query, limit: Limit) -> (Vec<u8>, bool) {
        let question = query.ask.question.bytes();
        let largest = query.largest_answer(limit);
        let has_opt = query.edns.is_some();
        let opt_len = if has_opt { opt_len(self.ede) } else { 0 };
        let truncated = self.bytes.len() + opt_len > largest;
        if truncated {
            self.bytes.truncate(HEADER_LEN + question.len());
            self.bytes[6..HEADER_LEN].fill(0);
        }
        let flags = self.flags(query, truncated);
        self.bytes[..2].copy_from_slice(&query.id.to_be_bytes());
        self.bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        self.bytes[HEADER_LEN..HEADER_LEN + question.len()].copy_from_slice(question);
        if has_opt {
            let additionals = u16::from_be_bytes([self.bytes[10], self.bytes[11]]).saturating_add(1);
            self.bytes[10..12].copy_from_slice(&additionals.to_be_bytes());
            append_opt(&mut self.bytes, self.rcode, query.ask.dnssec, self.ede);
        }
        (self.bytes, truncated)
    }

    fn flags(&self, query: &Query, truncated: bool) -> u16 {
        let when = |condition, bit| if condition { bit } else { 0 };
        let rcode = if self.rcode > flag::RCODE && query.edns.is_none() { rcode::SERVER_FAILURE } else { self.rcode };
        flag::QR
            | flag::RA
            | when(self.authoritative, flag::AA)
            | when(truncated, flag::TC)
            | when(query.ask.recursion, flag::RD)
            // RFC 6840 §5.8: AD only to those who asked for it by AD or DO.
            | when(self.authentic && (query.wants_ad || query.ask.dnssec), flag::AD)
            | when(query.ask.checking_disabled, flag::CD)
            | rcode & flag::RCODE
    }
}

/// A finished answer without its records and with TC set; the client's OPT record goes too, which it need not miss in an
/// answer that only says to come over TCP.
pub(crate) fn truncate(answer: &[u8]) -> Vec<u8> {
    let mut cursor = Cursor::new(answer);
    let mut bytes = answer.to_vec();
    if cursor.header().is_some() && cursor.plain_name().is_some() && cursor.skip(4).is_some() {
        bytes.truncate(cursor.at());
        bytes[6..HEADER_LEN].fill(0);
        let [high, _] = flag::TC.to_be_bytes();
        bytes[2] |= high;
    }
    bytes
}

fn encode(question: &Question, sections: Sections) -> Option<Vec<u8>> {
    let mut message = HickoryMessage::new(0, MessageType::Response, OpCode::Query);
    message.queries.push(question.to_hickory()?);
    message.answers = sections.answers;
    message.authorities = sections.authorities;
    message.additionals = sections.additionals;
    // The question must lie where the client's spelling of it is put.
    let bytes = message.to_vec().ok()?;
    let at = HEADER_LEN..HEADER_LEN + question.bytes().len();
    bytes.get(at).is_some_and(|given| question.is_same(given)).then_some(bytes)
}

/// Length of the OPT record that [`append_opt`] writes, in bytes.
const fn opt_len(ede: Option<u16>) -> usize {
    if ede.is_some() { 17 } else { 11 }
}

/// Appends our OPT record (RFC 6891 §6.1.2); the caller counts it.
pub(super) fn append_opt(bytes: &mut Vec<u8>, rcode: u16, dnssec: bool, ede: Option<u16>) {
    let [_, rcode_high] = (rcode >> 4).to_be_bytes();
    bytes.push(0);
    bytes.extend_from_slice(&code::OPT.to_be_bytes());
    bytes.extend_from_slice(&EDNS_PAYLOAD.to_be_bytes());
    bytes.extend_from_slice(&[rcode_high, 0, if dnssec { 0x80 } else { 0 }, 0]);
    match ede {
        Some(info) => {
            for word in [6, ede::OPTION, 2, info] {
                bytes.extend_from_slice(&word.to_be_bytes());
            }
        }
        None => bytes.extend_from_slice(&[0, 0]),
    }
}
