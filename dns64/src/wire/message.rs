//! An answer on its way to a client.

use hickory_proto::op::{Message as HickoryMessage, MessageType, OpCode};
use hickory_proto::rr::Record;

use super::cursor::{Cursor, HEADER_LEN};
use super::query::{Limit, Query};
use super::question::Question;
use super::{EDNS_PAYLOAD, code, ede, flag, rcode};
use crate::cache::Known;

/// The sections after the question, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sections {
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
    pub(crate) additionals: Vec<Record>,
}

impl Sections {
    /// The records of a message; nothing if they cannot be decoded.
    pub(crate) fn decode(message: &[u8]) -> Option<Self> {
        let message = HickoryMessage::from_vec(message).ok()?;
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
    errors: Errors,
}

/// Extended errors of one answer (RFC 8914); two are as many as come together here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Errors([Option<u16>; 2]);

impl Errors {
    pub(crate) const NONE: Self = Self([None, None]);

    /// These and one more, unless it is there already or there are two.
    pub(crate) fn and(mut self, code: Option<u16>) -> Self {
        if !self.0.contains(&code)
            && let Some(free) = self.0.iter_mut().find(|one| one.is_none())
        {
            *free = code;
        }
        self
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u16> {
        self.0.into_iter().flatten()
    }
}

impl From<Option<u16>> for Errors {
    fn from(code: Option<u16>) -> Self {
        Self([code, None])
    }
}

impl Message {
    /// What an upstream said.
    pub(crate) fn from_known(known: &Known) -> Self {
        let reply = &known.reply;
        Self {
            bytes: known.bytes(),
            rcode: reply.rcode,
            authoritative: false,
            authentic: reply.authentic && !known.is_stale,
            errors: known.errors(),
        }
    }

    /// An answer of our own making; SERVFAIL if it cannot be encoded.
    pub(crate) fn from_sections(question: &Question, rcode: u16, sections: Sections) -> Self {
        match encode(question, sections) {
            Some(bytes) => Self { bytes, rcode, authoritative: false, authentic: false, errors: Errors::default() },
            None => Self::empty(question, rcode::SERVER_FAILURE),
        }
    }

    /// An answer without records.
    pub(crate) fn empty(question: &Question, rcode: u16) -> Self {
        let words = [0, flag::QR, 1, 0, 0, 0_u16];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend_from_slice(question.bytes());
        Self { bytes, rcode, authoritative: false, authentic: false, errors: Errors::default() }
    }

    /// The same with an extended error (RFC 8914), which clients with EDNS see.
    pub(crate) fn with_ede(self, code: u16) -> Self {
        Self { errors: self.errors.and(Some(code)), ..self }
    }

    /// The same with the extended errors of what it was made from.
    pub(crate) fn with_errors(self, errors: Errors) -> Self {
        errors.iter().fold(self, Self::with_ede)
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
        let opt_len = if has_opt { opt_len(self.errors) } else { 0 };
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
            append_opt(&mut self.bytes, self.rcode, query.ask.dnssec, self.errors);
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
fn opt_len(errors: Errors) -> usize {
    11 + 6 * errors.iter().count()
}

/// Appends our OPT record (RFC 6891 §6.1.2); the caller counts it.
pub(super) fn append_opt(bytes: &mut Vec<u8>, rcode: u16, dnssec: bool, errors: Errors) {
    let [_, rcode_high] = (rcode >> 4).to_be_bytes();
    bytes.push(0);
    bytes.extend_from_slice(&code::OPT.to_be_bytes());
    bytes.extend_from_slice(&EDNS_PAYLOAD.to_be_bytes());
    bytes.extend_from_slice(&[rcode_high, 0, if dnssec { 0x80 } else { 0 }, 0]);
    let length = u16::try_from(opt_len(errors) - opt_len(Errors::default())).unwrap_or_default();
    bytes.extend_from_slice(&length.to_be_bytes());
    for error in errors.iter() {
        for word in [ede::OPTION, 2, error] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
    }
}
