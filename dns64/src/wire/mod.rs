//! Messages as bytes: what is read and patched in place, so that records pass through untouched.
//!
//! `hickory-proto` decodes and encodes records where they are looked at or made; everything else is moved as received.

mod cursor;
mod freshness;
mod message;
mod padding;
mod query;
mod question;
mod reply;

pub(crate) use cursor::HEADER_LEN;
pub(crate) use freshness::freshness;
pub(crate) use message::{Errors, Extras, Head, Message, Sections, Told, told_addresses, truncate, ttl_offsets};
pub(crate) use padding::{ANSWER_BLOCK, QUERY_BLOCK, pad};
pub(crate) use query::{Cookie, Fault, Limit, Query};
pub(crate) use question::{Ask, Question};
pub(crate) use reply::{Extended, Malformed, Reply};

/// UDP payload size that we accept and offer unless configured otherwise, in bytes: what fits every IPv6 path without
/// fragments (RFC 6891 §6.2.5 leaves the choice open; 1232 is the IPv6 minimum MTU of 1280 less its headers).
pub(crate) const EDNS_PAYLOAD: u16 = 1232;

/// The smallest UDP payload size that there is (RFC 6891 §6.2.3).
pub(crate) const LEAST_PAYLOAD: u16 = 512;

/// Record types and classes by number, for code that works on bytes.
pub(crate) mod code {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const CNAME: u16 = 5;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const MX: u16 = 15;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const DNAME: u16 = 39;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const DS: u16 = 43;
    pub(crate) const RRSIG: u16 = 46;
    pub(crate) const SVCB: u16 = 64;
    pub(crate) const HTTPS: u16 = 65;
    pub(crate) const TSIG: u16 = 250;
    pub(crate) const IXFR: u16 = 251;
    pub(crate) const AXFR: u16 = 252;
    pub(crate) const ANY: u16 = 255;

    pub(crate) const CLASS_IN: u16 = 1;
}

/// Response codes (RFC 1035 §4.1.1, RFC 6891 §6.1.3).
pub(crate) mod rcode {
    pub(crate) const NO_ERROR: u16 = 0;
    pub(crate) const FORMAT_ERROR: u16 = 1;
    pub(crate) const SERVER_FAILURE: u16 = 2;
    pub(crate) const NAME_ERROR: u16 = 3;
    pub(crate) const NOT_IMPLEMENTED: u16 = 4;
    pub(crate) const REFUSED: u16 = 5;
    pub(crate) const BAD_VERSION: u16 = 16;
}

/// Flags in the second word of the header (RFC 1035 §4.1.1, RFC 4035 §3).
pub(crate) mod flag {
    pub(crate) const QR: u16 = 0x8000;
    pub(crate) const AA: u16 = 0x0400;
    pub(crate) const TC: u16 = 0x0200;
    pub(crate) const RD: u16 = 0x0100;
    pub(crate) const RA: u16 = 0x0080;
    pub(crate) const AD: u16 = 0x0020;
    pub(crate) const CD: u16 = 0x0010;
    pub(crate) const OPCODE: u16 = 0x7800;
    pub(crate) const RCODE: u16 = 0x000f;
}

/// Options of the OPT record (RFC 5001 §2.3, RFC 7873 §4, RFC 7830 §3, RFC 8914 §2).
pub(crate) mod option {
    pub(crate) const NSID: u16 = 3;
    pub(crate) const COOKIE: u16 = 10;
    pub(crate) const PADDING: u16 = 12;
    pub(crate) const EDE: u16 = 15;
}

/// Codes of extended errors that we send or read (RFC 8914 §4).
pub(crate) mod ede {
    pub(crate) const STALE: u16 = 3;
    pub(crate) const DNSSEC_BOGUS: u16 = 6;
    pub(crate) const NOT_READY: u16 = 14;
    pub(crate) const FILTERED: u16 = 17;
    pub(crate) const PROHIBITED: u16 = 18;
    pub(crate) const STALE_NAME_ERROR: u16 = 19;
    pub(crate) const NO_REACHABLE_AUTHORITY: u16 = 22;
    pub(crate) const NETWORK_ERROR: u16 = 23;
    pub(crate) const SYNTHESIZED: u16 = 29;

    /// Whether a code says that DNSSEC validation failed, as opposed to the name's servers.
    pub(crate) const fn is_dnssec_failure(code: u16) -> bool {
        matches!(code, 1 | 2 | 5..=12 | 25 | 27)
    }
}

#[cfg(test)]
mod tests;
