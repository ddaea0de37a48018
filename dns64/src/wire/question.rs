//! What is asked.

use hickory_proto::op::Query as HickoryQuery;
use hickory_proto::rr::{DNSClass, Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

/// A name, type and class, in wire form with the asker's letter case.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Name, type and class, as in a question section.
    bytes: Vec<u8>,
}

impl Question {
    /// From the bytes of a question section that has been checked to be one name, type and class.
    pub(super) fn from_wire(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec() }
    }

    /// A question of class IN.
    pub(crate) fn new(name: &Name, kind: u16) -> Option<Self> {
        let mut bytes = Vec::with_capacity(name.len() + 4);
        let mut encoder = BinEncoder::new(&mut bytes);
        name.emit(&mut encoder).ok()?;
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&super::code::CLASS_IN.to_be_bytes());
        Some(Self { bytes })
    }

    /// The same name and class with another type.
    pub(crate) fn with_kind(&self, kind: u16) -> Self {
        let mut bytes = self.bytes.clone();
        let at = bytes.len() - 4;
        bytes[at..at + 2].copy_from_slice(&kind.to_be_bytes());
        Self { bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The name in wire form, with the asker's letter case.
    pub(crate) fn name_bytes(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - 4]
    }

    /// The name at the beginning of bytes that begin with one in wire form.
    pub(crate) fn name_of(bytes: &[u8]) -> &[u8] {
        let mut at = 0;
        while let Some(length @ 1..) = bytes.get(at).copied() {
            at += 1 + usize::from(length);
        }
        bytes.get(..=at).unwrap_or(bytes)
    }

    /// Whether a name in wire form is this one's or below it, letter case aside.
    pub(crate) fn has_below(&self, name: &[u8]) -> bool {
        let own = self.name_bytes();
        let mut rest = name;
        while rest.len() > own.len()
            && let Some((&length, after)) = rest.split_first()
        {
            rest = after.get(usize::from(length)..).unwrap_or_default();
        }
        rest.eq_ignore_ascii_case(own)
    }

    /// The type asked for.
    pub(crate) fn kind(&self) -> u16 {
        self.word_from_end(4)
    }

    pub(crate) fn class(&self) -> u16 {
        self.word_from_end(2)
    }

    /// Whether the name ends in `arpa`: a cheap test before a closer look.
    pub(crate) fn is_under_arpa(&self) -> bool {
        let name = self.name_bytes();
        name.len() >= 6 && name[name.len() - 6..].eq_ignore_ascii_case(b"\x04arpa\x00")
    }

    /// The name, if it is one that `hickory-proto` reads.
    pub(crate) fn name(&self) -> Option<Name> {
        Name::read(&mut BinDecoder::new(&self.bytes)).ok()
    }

    pub(crate) fn to_hickory(&self) -> Option<HickoryQuery> {
        let mut query = HickoryQuery::query(self.name()?, RecordType::from(self.kind()));
        query.set_query_class(DNSClass::from(self.class()));
        Some(query)
    }

    /// Whether `other` asks the same, letter case aside (RFC 4343). Length bytes are below 64 and have no case.
    pub(crate) fn is_same(&self, other: &[u8]) -> bool {
        let (name, fixed) = self.bytes.split_at(self.bytes.len() - 4);
        other.len() == self.bytes.len()
            && other[..name.len()].eq_ignore_ascii_case(name)
            && other[name.len()..] == *fixed
    }

    fn word_from_end(&self, distance: usize) -> u16 {
        let at = self.bytes.len() - distance;
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }
}

/// A question with the flags that change what an upstream says to it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) question: Question,
    /// RD: recursion is wanted.
    pub(crate) recursion: bool,
    /// CD: the asker validates by itself, so data that does not validate is wanted too.
    pub(crate) checking_disabled: bool,
    /// DO: DNSSEC records are wanted.
    pub(crate) dnssec: bool,
    /// Whether nobody is to be asked, so that what is not known is [`NOT_READY`](super::ede::NOT_READY).
    pub(crate) only_known: bool,
}

impl Ask {
    /// The same ask for another question.
    pub(crate) fn about(&self, question: Question) -> Self {
        Self { question, ..*self }
    }
}
