//! An answer on its way to a client.

use std::net::Ipv6Addr;

use hickory_proto::op::{Message as HickoryMessage, MessageType, OpCode};
use hickory_proto::rr::{RData, Record};

use super::cursor::{Cursor, HEADER_LEN};
use super::query::{Limit, Query};
use super::question::Question;
use super::{EDNS_PAYLOAD, code, flag, option, rcode};
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
    head: Head,
    /// How long it may be told again as it is, in seconds.
    lifetime: u32,
    /// Additional records that it can do without, and how many those are.
    beside: (Vec<u8>, u16),
}

/// What the header and the OPT record of an answer say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) rcode: u16,
    pub(crate) origin: Told,
    authoritative: bool,
    authentic: bool,
    /// Whether it does not hold all that there is: no message can.
    cut: bool,
    errors: Errors,
}

/// What an answer is made of, as the counters tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Told {
    /// What an upstream said, to another question than one for AAAA records.
    #[default]
    Passed,
    /// What an upstream said to a question for AAAA records.
    Native,
    /// Synthetic records.
    Synthesised,
    /// What we know without asking anybody.
    Local,
    /// No addresses, since no translator is there for them.
    CutOff,
    /// That we do not answer this.
    Refused,
}

/// What an answer's OPT record has besides (RFC 7873, RFC 5001).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extras<'a> {
    /// The largest UDP payload that we take and send, in bytes.
    pub(crate) payload: u16,
    /// The client's cookie and ours.
    pub(crate) cookie: Option<[u8; 24]>,
    /// Our name, if it was asked for.
    pub(crate) nsid: Option<&'a [u8]>,
}

impl Default for Extras<'_> {
    fn default() -> Self {
        Self { payload: EDNS_PAYLOAD, cookie: None, nsid: None }
    }
}

impl Extras<'_> {
    fn len(&self) -> usize {
        self.cookie.map_or(0, |cookie| 4 + cookie.len()) + self.nsid.map_or(0, |nsid| 4 + nsid.len())
    }
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
        let authentic = reply.authentic && !known.is_stale;
        let head = Head { rcode: reply.rcode, authentic, errors: known.errors(), ..Head::default() };
        Self { bytes: known.bytes(), head, lifetime: known.left, beside: Default::default() }
    }

    /// An answer of our own making; SERVFAIL if it cannot be encoded.
    pub(crate) fn from_sections(question: &Question, rcode: u16, sections: Sections) -> Self {
        match encode(question, sections) {
            Some(bytes) => {
                let cut = u16::from_be_bytes([bytes[2], bytes[3]]) & flag::TC != 0;
                Self { bytes, head: Head { rcode, cut, ..Head::default() }, lifetime: 0, beside: Default::default() }
            }
            None => Self::empty(question, rcode::SERVER_FAILURE),
        }
    }

    /// An answer without records.
    pub(crate) fn empty(question: &Question, rcode: u16) -> Self {
        let words = [0, flag::QR, 1, 0, 0, 0_u16];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend_from_slice(question.bytes());
        Self { bytes, head: Head { rcode, ..Head::default() }, lifetime: 0, beside: Default::default() }
    }

    /// The same with an extended error (RFC 8914), which clients with EDNS see.
    pub(crate) fn with_ede(mut self, code: u16) -> Self {
        self.head.errors = self.head.errors.and(Some(code));
        self
    }

    /// The same with the extended errors of what it was made from.
    pub(crate) fn with_errors(self, errors: Errors) -> Self {
        errors.iter().fold(self, Self::with_ede)
    }

    /// The same with these AAAA records beside it, as far as they fit. It is not to be told again as it is then, since
    /// what they stand for may end earlier.
    pub(crate) fn beside(mut self, records: &[Record]) -> Self {
        for record in records {
            let (RData::AAAA(address), Some(owner)) = (&record.data, Question::new(&record.name, code::AAAA)) else {
                continue;
            };
            let (bytes, count) = &mut self.beside;
            bytes.extend_from_slice(owner.bytes());
            bytes.extend_from_slice(&record.ttl.to_be_bytes());
            bytes.extend_from_slice(&16_u16.to_be_bytes());
            bytes.extend_from_slice(&address.octets());
            *count += 1;
            self.lifetime = 0;
        }
        self
    }

    /// The same as one that does not hold all that there is, which TC says.
    pub(crate) const fn cut(mut self) -> Self {
        self.head.cut = true;
        self
    }

    /// The same as the word of the zone's authority.
    pub(crate) const fn authoritative(mut self) -> Self {
        self.head.authoritative = true;
        self
    }

    /// The same with AD set: everything that it was made from is validated.
    pub(crate) const fn authentic(mut self) -> Self {
        self.head.authentic = true;
        self
    }

    /// The same with another response code, which nobody has signed.
    pub(crate) const fn with_rcode(mut self, rcode: u16) -> Self {
        self.head.rcode = rcode;
        self.head.authentic = false;
        self
    }

    /// The same, told by this name in the counters.
    pub(crate) const fn told(mut self, origin: Told) -> Self {
        self.head.origin = origin;
        self
    }

    /// The same, to be told again for so many seconds.
    pub(crate) const fn lasting(mut self, lifetime: u32) -> Self {
        self.lifetime = lifetime;
        self
    }

    pub(crate) const fn rcode(&self) -> u16 {
        self.head.rcode
    }

    pub(crate) const fn head(&self) -> Head {
        self.head
    }

    pub(crate) const fn lifetime(&self) -> u32 {
        self.lifetime
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes for this client, and whether something had to be left out.
    pub(crate) fn finish(mut self, query: &Query<'_>, limit: Limit, extras: &Extras<'_>) -> (Vec<u8>, bool) {
        let (beside, count) = &self.beside;
        if self.head.fits(self.bytes.len() + beside.len(), query, limit, extras) {
            self.bytes.extend_from_slice(beside);
            let additionals = u16::from_be_bytes([self.bytes[10], self.bytes[11]]).saturating_add(*count);
            self.bytes[10..12].copy_from_slice(&additionals.to_be_bytes());
        }
        let truncated = self.head.finish(&mut self.bytes, query, limit, extras);
        (self.bytes, truncated)
    }
}

impl Head {
    /// Makes an answer without OPT record into one for this client; returns whether something had to be left out.
    pub(crate) fn finish(&self, bytes: &mut Vec<u8>, query: &Query<'_>, limit: Limit, extras: &Extras<'_>) -> bool {
        let question = query.question();
        let truncated = !self.fits(bytes.len(), query, limit, extras);
        // RFC 8914 §3: extended errors go before anything else does, and TC says so.
        let without_errors = Self { errors: Errors::NONE, ..*self };
        let mut errors = self.errors;
        if truncated && without_errors.fits(bytes.len(), query, limit, extras) {
            errors = Errors::NONE;
        } else if truncated {
            bytes.truncate(HEADER_LEN + question.len());
            bytes[6..HEADER_LEN].fill(0);
        }
        let flags = self.flags(query, truncated);
        bytes[..2].copy_from_slice(&query.id.to_be_bytes());
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        bytes[HEADER_LEN..HEADER_LEN + question.len()].copy_from_slice(question);
        if query.edns.is_some() {
            let additionals = u16::from_be_bytes([bytes[10], bytes[11]]).saturating_add(1);
            bytes[10..12].copy_from_slice(&additionals.to_be_bytes());
            append_opt(bytes, self.rcode, query.dnssec(), errors, extras);
        }
        truncated
    }

    /// Whether so many bytes fit with what else is told this client.
    fn fits(&self, len: usize, query: &Query<'_>, limit: Limit, extras: &Extras<'_>) -> bool {
        let opt_len = if query.edns.is_some() { opt_len(self.errors, extras) } else { 0 };
        len + opt_len <= query.largest_answer(limit, extras.payload)
    }

    fn flags(&self, query: &Query<'_>, truncated: bool) -> u16 {
        let when = |condition, bit| if condition { bit } else { 0 };
        let rcode = if self.rcode > flag::RCODE && query.edns.is_none() { rcode::SERVER_FAILURE } else { self.rcode };
        flag::QR
            | flag::RA
            | when(self.authoritative, flag::AA)
            | when(truncated || self.cut, flag::TC)
            | when(query.recursion(), flag::RD)
            // RFC 6840 §5.8: AD only to those who asked for it by AD or DO.
            | when(self.authentic && (query.wants_ad() || query.dnssec()), flag::AD)
            | when(query.checking_disabled(), flag::CD)
            | rcode & flag::RCODE
    }
}

/// Where the TTLs of a message's records are; nothing if it does not hold what its counts say.
pub(crate) fn ttl_offsets(message: &[u8]) -> Option<Vec<u16>> {
    let mut cursor = Cursor::new(message);
    let [_, answers, authorities, additionals] = cursor.header()?.counts;
    cursor.plain_name()?;
    cursor.skip(4)?;
    let records = u32::from(answers) + u32::from(authorities) + u32::from(additionals);
    (0..records).map(|_| u16::try_from(cursor.record()?.ttl_at).ok()).collect()
}

/// The addresses in the AAAA records of a message's answer, with their TTLs in seconds; what cannot be read ends them.
pub(crate) fn told_addresses(message: &[u8]) -> impl Iterator<Item = (Ipv6Addr, u32)> {
    let mut cursor = Cursor::new(message);
    let answers = cursor.header().map_or(0, |header| header.counts[1]);
    let answers = if cursor.plain_name().and_then(|_| cursor.skip(4)).is_some() { answers } else { 0 };
    let records = (0..answers).map_while(move |_| cursor.record());
    records.filter(|record| (record.kind, record.class) == (code::AAAA, code::CLASS_IN)).filter_map(|record| {
        let address: [u8; 16] = message.get(record.rdata)?.try_into().ok()?;
        Some((address.into(), record.ttl))
    })
}

/// A finished answer without its records and with TC set; the OPT record stays (RFC 6891 §7).
pub(crate) fn truncate(answer: &[u8]) -> Vec<u8> {
    let mut bytes = answer.to_vec();
    let mut cursor = Cursor::new(answer);
    let Some(header) = cursor.header() else { return bytes };
    if cursor.plain_name().is_some() && cursor.skip(4).is_some() {
        bytes.truncate(cursor.at());
        bytes[6..HEADER_LEN].fill(0);
        let [high, _] = flag::TC.to_be_bytes();
        bytes[2] |= high;
        let [_, records @ ..] = header.counts;
        let count = records.into_iter().map(u32::from).sum();
        let records = (0..count).map_while(|_| cursor.record());
        if let Some(opt) = records.last().filter(|record| record.kind == code::OPT) {
            bytes.extend_from_slice(&answer[opt.start..opt.rdata.end]);
            bytes[HEADER_LEN - 1] = 1;
        }
    }
    bytes
}

fn encode(question: &Question, sections: Sections) -> Option<Vec<u8>> {
    let mut message = HickoryMessage::new(0, MessageType::Response, OpCode::Query);
    let query = question.to_hickory()?;
    message.answers = sections.answers;
    // Spelled as in the question they become pointers to it, and so have the spelling of whoever is told.
    for record in message.answers.iter_mut().filter(|record| record.name == *query.name()) {
        record.name.clone_from(query.name());
    }
    message.queries.push(query);
    message.authorities = sections.authorities;
    message.additionals = sections.additionals;
    // The question must lie where the client's spelling of it is put.
    let bytes = message.to_vec().ok()?;
    let at = HEADER_LEN..HEADER_LEN + question.bytes().len();
    bytes.get(at).is_some_and(|given| question.is_same(given)).then_some(bytes)
}

/// Length of the OPT record that [`append_opt`] writes, in bytes.
fn opt_len(errors: Errors, extras: &Extras<'_>) -> usize {
    11 + options_len(errors, extras)
}

fn options_len(errors: Errors, extras: &Extras<'_>) -> usize {
    6 * errors.iter().count() + extras.len()
}

/// Appends our OPT record (RFC 6891 §6.1.2); the caller counts it.
pub(super) fn append_opt(bytes: &mut Vec<u8>, rcode: u16, dnssec: bool, errors: Errors, extras: &Extras<'_>) {
    let [_, rcode_high] = (rcode >> 4).to_be_bytes();
    bytes.push(0);
    bytes.extend_from_slice(&code::OPT.to_be_bytes());
    bytes.extend_from_slice(&extras.payload.to_be_bytes());
    bytes.extend_from_slice(&[rcode_high, 0, if dnssec { 0x80 } else { 0 }, 0]);
    let length = u16::try_from(options_len(errors, extras)).unwrap_or_default();
    bytes.extend_from_slice(&length.to_be_bytes());
    let mut append = |code: u16, data: &[u8]| {
        let length = u16::try_from(data.len()).unwrap_or_default();
        bytes.extend_from_slice(&code.to_be_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(data);
    };
    for error in errors.iter() {
        append(option::EDE, &error.to_be_bytes());
    }
    if let Some(nsid) = extras.nsid {
        append(option::NSID, nsid);
    }
    if let Some(cookie) = extras.cookie {
        append(option::COOKIE, &cookie);
    }
}
