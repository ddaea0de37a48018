//! A client's query: read from its bytes, and what bounds its answer.

use std::ops::Range;

use super::cursor::{Cursor, Header};
use super::message::Extras;
use super::question::{Ask, Question};
use super::{LEAST_PAYLOAD, code, flag, option, rcode};

/// A query that can be answered: opcode QUERY, one question, EDNS version 0 or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'m> {
    pub(crate) id: u16,
    flags: u16,
    /// Name, type and class, as the client sent them.
    question: &'m [u8],
    /// What the OPT record said, if there was one.
    pub(crate) edns: Option<Edns>,
}

/// A client's OPT record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edns {
    /// The largest UDP payload that the client takes, in bytes.
    pub(crate) payload: u16,
    /// DO: DNSSEC records are wanted.
    pub(crate) dnssec: bool,
    pub(crate) cookie: Option<Cookie>,
    /// Whether our name is asked for (RFC 5001).
    pub(crate) wants_nsid: bool,
    /// Whether the query was padded, so that its answer is to be (RFC 7830 §4).
    pub(crate) is_padded: bool,
}

/// A client's cookie (RFC 7873 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) client: [u8; 8],
    /// What it says that we gave it, if it has the length of ours.
    pub(crate) server: Option<[u8; 16]>,
}

/// How large an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// What the query's OPT record allows, within our own bounds.
    Datagram,
    /// 65535 bytes.
    Stream,
}

/// Why a message is not a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Too short to answer, or itself an answer, to which answering would start a ping-pong.
    Ignore,
    /// To be answered with this message.
    Answer(Vec<u8>),
}

impl<'m> Query<'m> {
    /// Reads a query.
    pub(crate) fn parse(message: &'m [u8]) -> Result<Self, Fault> {
        let mut cursor = Cursor::new(message);
        let header = cursor.header().filter(|header| header.flags & flag::QR == 0).ok_or(Fault::Ignore)?;
        let mut seen = Seen::default();
        let sections = sections(&mut cursor, message, header, &mut seen);
        let fault = |rcode| Fault::Answer(fault(header, rcode, &seen));
        if header.flags & flag::OPCODE != 0 {
            return Err(fault(rcode::NOT_IMPLEMENTED));
        }
        let (Some(()), Some(question)) = (sections, seen.question) else { return Err(fault(rcode::FORMAT_ERROR)) };
        let edns = match &seen.opt {
            // RFC 6891 §6.1.3: a version that we do not implement is answered with the highest that we do.
            Some(opt) if opt.version != 0 => return Err(fault(rcode::BAD_VERSION)),
            Some(opt) => Some(edns(opt, message).ok_or_else(|| fault(rcode::FORMAT_ERROR))?),
            None => None,
        };
        Ok(Self { id: header.id, flags: header.flags, question, edns })
    }

    /// What is to be found out.
    pub(crate) fn ask(&self) -> Ask {
        Ask {
            question: Question::from_wire(self.question),
            recursion: self.recursion(),
            checking_disabled: self.checking_disabled(),
            dnssec: self.dnssec(),
            only_known: false,
        }
    }

    pub(crate) const fn question(&self) -> &'m [u8] {
        self.question
    }

    /// RD: recursion is wanted.
    pub(crate) const fn recursion(&self) -> bool {
        self.flags & flag::RD != 0
    }

    /// CD: the asker validates by itself.
    pub(crate) const fn checking_disabled(&self) -> bool {
        self.flags & flag::CD != 0
    }

    /// AD: the asker understands the AD bit (RFC 6840 §5.7).
    pub(crate) const fn wants_ad(&self) -> bool {
        self.flags & flag::AD != 0
    }

    /// DO: DNSSEC records are wanted.
    pub(crate) fn dnssec(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec)
    }

    /// The largest answer in bytes, where datagrams of `payload` bytes are the largest that we send.
    pub(crate) fn largest_answer(&self, limit: Limit, payload: u16) -> usize {
        match (limit, self.edns) {
            (Limit::Stream, _) => usize::from(u16::MAX),
            // RFC 6891 §6.2.3: values lower than 512 are treated as 512.
            (Limit::Datagram, Some(edns)) => edns.payload.max(LEAST_PAYLOAD).min(payload).into(),
            (Limit::Datagram, None) => LEAST_PAYLOAD.into(),
        }
    }
}

/// What could be read of a message.
#[derive(Default)]
struct Seen<'m> {
    /// The only question: name, type and class.
    question: Option<&'m [u8]>,
    /// The first OPT record.
    opt: Option<Opt>,
}

/// An OPT record's fixed part, and where its options are.
struct Opt {
    payload: u16,
    version: u8,
    dnssec: bool,
    options: Range<usize>,
}

/// Reads the one question, and the OPT record if there is one; fails if the message does not hold what its counts say.
fn sections<'m>(cursor: &mut Cursor<'m>, message: &'m [u8], header: Header, seen: &mut Seen<'m>) -> Option<()> {
    let [questions, answers, authorities, additionals] = header.counts;
    if questions != 1 {
        return None;
    }
    let start = cursor.at();
    cursor.plain_name()?;
    cursor.skip(4)?;
    seen.question = Some(message.get(start..cursor.at())?);
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        cursor.record()?;
    }
    for _ in 0..additionals {
        let record = cursor.record()?;
        if record.kind == code::OPT {
            // RFC 6891 §6.1.1: one at most, and its name is the root.
            if seen.opt.is_some() {
                return None;
            }
            let [_, version, flags, _] = record.ttl.to_be_bytes();
            seen.opt = Some(Opt { payload: record.class, version, dnssec: flags & 0x80 != 0, options: record.rdata });
            if message.get(record.start) != Some(&0) {
                return None;
            }
        }
    }
    Some(())
}

/// What an OPT record says; nothing if an option is not what it should be. Unknown options are passed over.
fn edns(opt: &Opt, message: &[u8]) -> Option<Edns> {
    let mut edns = Edns { payload: opt.payload, dnssec: opt.dnssec, cookie: None, wants_nsid: false, is_padded: false };
    let mut options = Cursor::new(message.get(opt.options.clone())?);
    while !options.is_at_end() {
        let (code, length) = (options.u16()?, options.u16()?);
        let data = options.take(length.into())?;
        match code {
            option::NSID => edns.wants_nsid = true,
            option::PADDING => edns.is_padded = true,
            // Only the first counts (RFC 7873 §4).
            option::COOKIE if edns.cookie.is_none() => edns.cookie = Some(cookie(data)?),
            _ => {}
        }
    }
    Some(edns)
}

/// Reads a cookie: 8 bytes of the client, and 8 to 32 of a server or none (RFC 7873 §4, §5.2.2).
fn cookie(data: &[u8]) -> Option<Cookie> {
    let (client, server) = data.split_first_chunk()?;
    matches!(server.len(), 0 | 8..=32).then(|| Cookie { client: *client, server: server.try_into().ok() })
}

/// The answer to what is no query: its header alone or, to who speaks EDNS, with question and OPT record, as far as they could
/// be read (RFC 6891 §7).
fn fault(header: Header, rcode: u16, seen: &Seen<'_>) -> Vec<u8> {
    let flags = flag::QR | (header.flags & (flag::OPCODE | flag::RD)) | (rcode & flag::RCODE);
    let question = seen.question.filter(|_| seen.opt.is_some());
    let words = [header.id, flags, u16::from(question.is_some()), 0, 0, u16::from(seen.opt.is_some())];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend_from_slice(question.unwrap_or_default());
    if let Some(opt) = &seen.opt {
        super::message::append_opt(&mut bytes, rcode, opt.dnssec, super::Errors::NONE, &Extras::default());
    }
    bytes
}
