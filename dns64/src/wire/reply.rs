//! An upstream's answer, kept as its bytes.

use hickory_proto::op::Message as HickoryMessage;

use super::cursor::{Cursor, Header, RecordAt};
use super::question::Question;
use super::{code, ede, flag, option, rcode};

/// Why an upstream's bytes cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// It does not hold what its counts say, or has an OPT record that cannot be taken out.
    #[error("unreadable answer")]
    Unreadable,
    /// Another ID, another question, or no answer at all: it may be forged, or answer an earlier query.
    #[error("answer to something else")]
    Mismatch,
}

/// An upstream's answer without its OPT record, and what the cache and synthesis need to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    /// Where the TTLs are.
    ttls: Vec<u16>,
    /// The response code with its upper bits from EDNS (RFC 6891 §6.1.3).
    pub(crate) rcode: u16,
    /// The extended error, if one was given (RFC 8914).
    pub(crate) ede: Option<u16>,
    /// Whether an OPT record was there.
    pub(crate) edns: bool,
    /// Whether an answer record has the type that was asked for.
    pub(crate) has_kind: bool,
    /// Whether the records did not fit.
    pub(crate) truncated: bool,
    /// AD: everything is validated, by the upstream's word or our own.
    pub(crate) authentic: bool,
    /// Whether we have validated everything ourselves.
    pub(crate) secure: bool,
    /// The lowest TTL of all records, in seconds.
    least_ttl: Option<u32>,
    /// How long the absence of something holds, in seconds: the lower of the SOA's TTL and its minimum (RFC 2308 §5).
    pub(crate) negative_ttl: Option<u32>,
}

impl Reply {
    /// Reads the answer to a query with this ID and question.
    pub(crate) fn parse(mut bytes: Vec<u8>, id: u16, question: &Question) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(&bytes);
        let header = cursor.header().ok_or(Malformed::Mismatch)?;
        if header.id != id || header.flags & (flag::QR | flag::OPCODE) != flag::QR {
            return Err(Malformed::Mismatch);
        }
        if header.counts[0] == 0 && header.flags & flag::RCODE != 0 {
            // Servers that cannot read a query answer it with the bare header; the ID and the socket vouch for it.
            return Ok(Self::bare(header, question));
        }
        let start = cursor.at();
        let skipped = cursor.plain_name().and_then(|_| cursor.skip(4));
        if header.counts[0] != 1 || skipped.is_none() || !question.is_same(&bytes[start..cursor.at()]) {
            return Err(Malformed::Mismatch);
        }
        let mut scan = Scan::run(&mut cursor, &bytes, header, question.kind()).ok_or(Malformed::Unreadable)?;
        let end = cursor.at();
        if !is_readable(&bytes, start, end) {
            return Err(Malformed::Unreadable);
        }
        scan.lower_soa_ttl(&mut bytes);
        if let Some(opt) = &scan.opt {
            if opt.rdata.end != end {
                return Self::without_middle_opt(&bytes, id, question, &scan);
            }
            bytes.truncate(opt.start);
            let additionals = header.counts[3] - 1;
            bytes[10..12].copy_from_slice(&additionals.to_be_bytes());
        } else {
            bytes.truncate(end);
        }
        Ok(scan.into_reply(bytes, header))
    }

    /// An answer of our own that says that an upstream's was not good enough.
    pub(crate) fn failure(question: &Question, ede: u16) -> Self {
        let header = Header { id: 0, flags: flag::QR | rcode::SERVER_FAILURE, counts: [0; 4] };
        Self { ede: Some(ede), ..Self::bare(header, question) }
    }

    /// The same with our own word on whether it is validated, which is told only to those who see DNSSEC records.
    pub(crate) const fn judged(mut self, is_secure: bool, dnssec: bool, ede: Option<u16>) -> Self {
        self.secure = is_secure;
        self.authentic = is_secure && dnssec;
        self.ede = ede;
        self
    }

    /// Reads an answer again that was kept as its [`Self::message`] and [`Self::extended`].
    pub(crate) fn restore(message: &[u8], extended: Extended) -> Option<Self> {
        let mut cursor = Cursor::new(message);
        let header = cursor.header()?;
        cursor.plain_name()?;
        let kind = cursor.u16()?;
        cursor.skip(2)?;
        let scan = Scan::run(&mut cursor, message, header, kind)?;
        let Extended { rcode, ede, edns, authentic, secure } = extended;
        Some(Self { rcode, ede, edns, authentic, secure, ..scan.into_reply(message.to_vec(), header) })
    }

    /// The question in a message that came from here, in wire form.
    pub(crate) fn question_of(message: &[u8]) -> Option<&[u8]> {
        let mut cursor = Cursor::new(message);
        cursor.header()?;
        let start = cursor.at();
        cursor.plain_name()?;
        cursor.skip(4)?;
        message.get(start..cursor.at())
    }

    /// The message as it came, without OPT record.
    pub(crate) fn message(&self) -> &[u8] {
        &self.bytes
    }

    /// What is known of it besides.
    pub(crate) const fn extended(&self) -> Extended {
        let Self { rcode, ede, edns, authentic, secure, .. } = *self;
        Extended { rcode, ede, edns, authentic, secure }
    }

    /// The bytes with every TTL changed; no question section of its own if the upstream gave none.
    pub(crate) fn with_ttls(&self, change: impl Fn(u32) -> u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for &at in &self.ttls {
            let at = usize::from(at);
            if let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) {
                *field = change(sane_ttl(u32::from_be_bytes(*field))).to_be_bytes();
            }
        }
        bytes
    }

    /// How long the answer may be reused, in seconds: 0 is not at all.
    ///
    /// Negative answers without an SOA record are not reused (RFC 2308 §5), failures neither.
    pub(crate) fn lifetime(&self, most: u32, most_negative: u32) -> u32 {
        let least = self.least_ttl.unwrap_or(0);
        match self.rcode {
            _ if self.truncated => 0,
            rcode::NO_ERROR if self.has_kind => least.min(most),
            rcode::NO_ERROR | rcode::NAME_ERROR => {
                self.negative_ttl.map_or(0, |negative| negative.min(least).min(most_negative).min(most))
            }
            _ => 0,
        }
    }

    /// Whether it says no more than that something failed.
    pub(crate) const fn is_failure(&self) -> bool {
        matches!(self.rcode, rcode::SERVER_FAILURE | rcode::REFUSED | rcode::NOT_IMPLEMENTED | rcode::FORMAT_ERROR)
    }

    /// Whether it is of a server that knows no EDNS, which says FORMERR and sends no OPT record (RFC 6891 §7).
    pub(crate) const fn lacks_edns(&self) -> bool {
        matches!(self.rcode, rcode::FORMAT_ERROR | rcode::NOT_IMPLEMENTED) && !self.edns
    }

    /// Whether it says that DNSSEC validation failed.
    pub(crate) fn is_bogus(&self) -> bool {
        self.ede.is_some_and(ede::is_dnssec_failure)
    }

    /// An answer that is no more than its header, given the question that it lacks.
    fn bare(header: Header, question: &Question) -> Self {
        let words = [header.id, header.flags, 1, 0, 0, 0];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend_from_slice(question.bytes());
        Scan::default().into_reply(bytes, header)
    }

    /// Takes out an OPT record that others follow. Those may point past it, so the message is encoded anew.
    fn without_middle_opt(bytes: &[u8], id: u16, question: &Question, scan: &Scan) -> Result<Self, Malformed> {
        let mut message = HickoryMessage::from_vec(bytes).map_err(|_| Malformed::Unreadable)?;
        message.edns = None;
        let bytes = message.to_vec().map_err(|_| Malformed::Unreadable)?;
        let reply = Self::parse(bytes, id, question)?;
        let rcode = reply.rcode | u16::from(scan.rcode_high) << 4;
        Ok(Self { rcode, ede: scan.ede, edns: true, ..reply })
    }
}

/// What an answer's message alone does not say: what was in its OPT record, and what we have found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extended {
    rcode: u16,
    ede: Option<u16>,
    edns: bool,
    authentic: bool,
    secure: bool,
}

/// What one walk over the records finds.
#[derive(Default)]
struct Scan {
    ttls: Vec<u16>,
    opt: Option<RecordAt>,
    rcode_high: u8,
    ede: Option<u16>,
    has_kind: bool,
    least_ttl: Option<u32>,
    negative_ttl: Option<u32>,
    /// Where the TTL of the SOA record of the authority section is.
    soa_ttl_at: Option<usize>,
}

impl Scan {
    fn run(cursor: &mut Cursor<'_>, bytes: &[u8], header: Header, kind: u16) -> Option<Self> {
        let [_, answers, authorities, additionals] = header.counts;
        let count = usize::from(answers) + usize::from(authorities) + usize::from(additionals);
        // What is said to follow need not follow.
        let mut scan = Self { ttls: Vec::with_capacity(count.min(bytes.len() / LEAST_RECORD)), ..Self::default() };
        for _ in 0..answers {
            let record = cursor.record()?;
            scan.has_kind |= record.kind == kind || kind == code::ANY;
            scan.note(&record);
        }
        for _ in 0..authorities {
            let record = cursor.record()?;
            if record.kind == code::SOA {
                let minimum = bytes.get(record.rdata.clone())?.last_chunk()?;
                scan.negative_ttl = Some(u32::from_be_bytes(*minimum).min(sane_ttl(record.ttl)));
                scan.soa_ttl_at = Some(record.ttl_at);
            }
            scan.note(&record);
        }
        for _ in 0..additionals {
            let record = cursor.record()?;
            match record.kind {
                code::OPT if scan.opt.is_some() => return None,
                code::OPT => scan.note_opt(bytes, record),
                // A signature over the message does not survive our changes to it, and was not asked for.
                code::TSIG => return None,
                _ => scan.note(&record),
            }
        }
        Some(scan)
    }

    /// Lets an SOA record that says how long something is absent live no longer than that, as its own server should have
    /// (RFC 2308 §3): who is told it later would take the whole minimum for what is left.
    fn lower_soa_ttl(&mut self, bytes: &mut [u8]) {
        if let (false, Some(at), Some(ttl)) = (self.has_kind, self.soa_ttl_at, self.negative_ttl)
            && let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>())
        {
            *field = ttl.to_be_bytes();
            self.least_ttl = self.least_ttl.map(|least| least.min(ttl));
        }
    }

    fn note(&mut self, record: &RecordAt) {
        // Messages are at most 65535 bytes long, so the offset always fits.
        self.ttls.extend(u16::try_from(record.ttl_at));
        let ttl = sane_ttl(record.ttl);
        self.least_ttl = Some(self.least_ttl.map_or(ttl, |least| least.min(ttl)));
    }

    fn note_opt(&mut self, bytes: &[u8], opt: RecordAt) {
        [self.rcode_high, ..] = opt.ttl.to_be_bytes();
        let mut options = Cursor::new(bytes.get(opt.rdata.clone()).unwrap_or_default());
        while let (Some(code), Some(length)) = (options.u16(), options.u16()) {
            if code == option::EDE && length >= 2 {
                self.note_ede(options.clone().u16());
            }
            if options.skip(length.into()).is_none() {
                break;
            }
        }
        self.opt = Some(opt);
    }

    /// The first of several counts, unless a later one says that validation failed.
    fn note_ede(&mut self, code: Option<u16>) {
        let says_more = code.is_some_and(ede::is_dnssec_failure) && !self.ede.is_some_and(ede::is_dnssec_failure);
        if self.ede.is_none() || says_more {
            self.ede = code;
        }
    }

    fn into_reply(self, bytes: Vec<u8>, header: Header) -> Reply {
        Reply {
            bytes,
            ttls: self.ttls,
            rcode: header.flags & flag::RCODE | u16::from(self.rcode_high) << 4,
            ede: self.ede,
            edns: self.opt.is_some(),
            has_kind: self.has_kind,
            truncated: header.flags & flag::TC != 0,
            authentic: header.flags & flag::AD != 0,
            secure: false,
            least_ttl: self.least_ttl,
            negative_ttl: self.negative_ttl,
        }
    }
}

/// Whether those who are told this can read it: owners of records and the names that may be compressed in their data
/// (RFC 3597 §4), and addresses that have their length.
fn is_readable(message: &[u8], question: usize, end: usize) -> bool {
    let mut cursor = Cursor::new(&message[..end]);
    let read = |cursor: &mut Cursor<'_>| {
        cursor.skip(question)?;
        cursor.plain_name()?;
        cursor.skip(4)?;
        while cursor.at() < end {
            cursor.clone().whole_name()?;
            let record = cursor.record()?;
            let mut data = cursor.clone();
            data.rewind(record.rdata.start);
            match record.kind {
                code::A if record.class == code::CLASS_IN => (record.rdata.len() == 4).then_some(())?,
                code::AAAA if record.class == code::CLASS_IN => (record.rdata.len() == 16).then_some(())?,
                code::NS | code::CNAME | code::PTR | code::DNAME => data.whole_name()?,
                code::MX => {
                    data.skip(2)?;
                    data.whole_name()?;
                }
                code::SOA => {
                    data.whole_name()?;
                    data.whole_name()?;
                    data.skip(20)?;
                }
                _ => data.skip(record.rdata.len())?,
            }
            (data.at() <= record.rdata.end).then_some(())?;
        }
        Some(())
    };
    read(&mut cursor).is_some()
}

/// The shortest record in bytes: the root's name, type, class, TTL, and a length of zero.
const LEAST_RECORD: usize = 11;

/// A TTL with its top bit set counts as zero (RFC 2181 §8).
const fn sane_ttl(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}
