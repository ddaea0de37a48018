//! A client's query: read from its bytes, and what bounds its answer.

use super::cursor::{Cursor, Header};
use super::question::{Ask, Question};
use super::{EDNS_PAYLOAD, code, flag, rcode};

/// A query that can be answered: opcode QUERY, one question, EDNS version 0 or none.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) id: u16,
    pub(crate) ask: Ask,
    /// AD: the asker understands the AD bit (RFC 6840 §5.7).
    pub(crate) wants_ad: bool,
    /// What the OPT record said, if there was one.
    pub(crate) edns: Option<Edns>,
}

/// A client's OPT record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edns {
    /// The largest UDP payload that the client takes, in bytes.
    pub(crate) payload: u16,
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

impl Query {
    /// Reads a query.
    pub(crate) fn parse(message: &[u8]) -> Result<Self, Fault> {
        let mut cursor = Cursor::new(message);
        let header = cursor.header().filter(|header| header.flags & flag::QR == 0).ok_or(Fault::Ignore)?;
        let fault = |rcode, version_0| Fault::Answer(fault(header, rcode, version_0));
        if header.flags & flag::OPCODE != 0 {
            return Err(fault(rcode::NOT_IMPLEMENTED, false));
        }
        let (question, opt) =
            sections(&mut cursor, message, header).ok_or_else(|| fault(rcode::FORMAT_ERROR, false))?;
        // RFC 6891 §6.1.3: a version that we do not implement is answered with the highest that we do.
        if opt.is_some_and(|opt| opt.version != 0) {
            return Err(fault(rcode::BAD_VERSION, true));
        }
        let is_set = |bit| header.flags & bit != 0;
        let ask = Ask {
            question,
            recursion: is_set(flag::RD),
            checking_disabled: is_set(flag::CD),
            dnssec: opt.is_some_and(|opt| opt.dnssec),
        };
        let edns = opt.map(|opt| Edns { payload: opt.payload });
        Ok(Self { id: header.id, ask, wants_ad: is_set(flag::AD), edns })
    }

    /// The largest answer in bytes.
    pub(crate) fn largest_answer(&self, limit: Limit) -> usize {
        match (limit, self.edns) {
            (Limit::Stream, _) => usize::from(u16::MAX),
            // RFC 6891 §6.2.3: values lower than 512 are treated as 512.
            (Limit::Datagram, Some(edns)) => edns.payload.clamp(512, EDNS_PAYLOAD).into(),
            (Limit::Datagram, None) => 512,
        }
    }
}

/// An OPT record's fixed part.
#[derive(Clone, Copy)]
struct Opt {
    payload: u16,
    version: u8,
    dnssec: bool,
}

/// The one question, and the OPT record if there is one; nothing if the message does not hold what its counts say.
fn sections(cursor: &mut Cursor<'_>, message: &[u8], header: Header) -> Option<(Question, Option<Opt>)> {
    let [questions, answers, authorities, additionals] = header.counts;
    if questions != 1 {
        return None;
    }
    let start = cursor.at();
    cursor.plain_name()?;
    cursor.skip(4)?;
    let question = Question::from_wire(message.get(start..cursor.at())?);
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        cursor.record()?;
    }
    let mut opt = None;
    for _ in 0..additionals {
        let record = cursor.record()?;
        if record.kind == code::OPT {
            // RFC 6891 §6.1.1: one at most, and its name is the root.
            if opt.is_some() || message.get(record.start) != Some(&0) {
                return None;
            }
            let [_, version, flags, _] = record.ttl.to_be_bytes();
            opt = Some(Opt { payload: record.class, version, dnssec: flags & 0x80 != 0 });
        }
    }
    Some((question, opt))
}

/// A header-only answer, since what the question section holds is not known to be sound.
fn fault(header: Header, rcode: u16, with_opt: bool) -> Vec<u8> {
    let flags = flag::QR | (header.flags & (flag::OPCODE | flag::RD)) | (rcode & flag::RCODE);
    let additionals = u16::from(with_opt);
    let words = [header.id, flags, 0, 0, 0, additionals];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    if with_opt {
        super::message::append_opt(&mut bytes, rcode, false, super::Errors::default());
    }
    bytes
}
