//! Reading a message front to back without ever leaving it.

use std::ops::Range;

/// Bytes before the question (RFC 1035 §4.1.1).
pub(crate) const HEADER_LEN: usize = 12;

/// Longest name in bytes, with its root label (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

/// The two high bits of a length byte that make it a compression pointer (RFC 1035 §4.1.4).
const POINTER: u8 = 0xc0;

/// A place in a message; every step is `None` where the message ends before it.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The fixed words of a message's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) id: u16,
    pub(super) flags: u16,
    /// Question, answer, authority and additional records.
    pub(super) counts: [u16; 4],
}

/// Where a record lies, and its fixed fields.
#[derive(Clone, Debug)]
pub(super) struct RecordAt {
    pub(super) start: usize,
    pub(super) kind: u16,
    pub(super) class: u16,
    pub(super) ttl: u32,
    pub(super) ttl_at: usize,
    pub(super) rdata: Range<usize>,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let start = self.at;
        self.skip(count)?;
        self.bytes.get(start..self.at)
    }

    pub(super) fn header(&mut self) -> Option<Header> {
        let (id, flags) = (self.u16()?, self.u16()?);
        let counts = [self.u16()?, self.u16()?, self.u16()?, self.u16()?];
        Some(Header { id, flags, counts })
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        let bytes = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += 2;
        Some(u16::from_be_bytes(*bytes))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let bytes = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += 4;
        Some(u32::from_be_bytes(*bytes))
    }

    /// Goes back to where it has been.
    pub(super) const fn rewind(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        let end = self.at.checked_add(count)?;
        (end <= self.bytes.len()).then(|| self.at = end)
    }

    /// Steps over a name without compression, as questions have it.
    pub(super) fn plain_name(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        loop {
            let length = *self.bytes.get(self.at)?;
            if length & POINTER != 0 {
                return None;
            }
            self.skip(1 + usize::from(length))?;
            if self.at - start > MAX_NAME {
                return None;
            }
            if length == 0 {
                return self.bytes.get(start..self.at);
            }
        }
    }

    /// Steps over a name that may end in a pointer; where the pointer leads is not looked at.
    pub(super) fn name(&mut self) -> Option<()> {
        let start = self.at;
        loop {
            let length = *self.bytes.get(self.at)?;
            match length & POINTER {
                POINTER => return self.skip(2),
                0 if length == 0 => return self.skip(1),
                0 => self.skip(1 + usize::from(length))?,
                _ => return None,
            }
            if self.at - start > MAX_NAME {
                return None;
            }
        }
    }

    /// Reads a name to its end through all pointers, each of which must lead back; steps over what of it is here.
    pub(super) fn whole_name(&mut self) -> Option<()> {
        let start = self.at;
        self.name()?;
        let (mut at, mut before, mut len) = (start, start, 0);
        loop {
            let length = *self.bytes.get(at)?;
            match length & POINTER {
                POINTER => {
                    let to = usize::from(u16::from_be_bytes([length & !POINTER, *self.bytes.get(at + 1)?]));
                    if to >= before {
                        return None;
                    }
                    (at, before) = (to, to);
                }
                0 if length == 0 => return Some(()),
                0 => {
                    at += 1 + usize::from(length);
                    len += 1 + usize::from(length);
                }
                _ => return None,
            }
            if len >= MAX_NAME {
                return None;
            }
        }
    }

    pub(super) fn record(&mut self) -> Option<RecordAt> {
        let start = self.at;
        self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        let ttl_at = self.at;
        let ttl = self.u32()?;
        let length = usize::from(self.u16()?);
        let rdata = self.at..self.at + length;
        self.skip(length)?;
        Some(RecordAt { start, kind, class, ttl, ttl_at, rdata })
    }
}
