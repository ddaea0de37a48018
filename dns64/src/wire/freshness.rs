//! How long a finished answer may be kept by somebody who does not read DNS.

use super::cursor::Cursor;
use super::{code, flag, rcode};

/// How long an answer is good for, in seconds: the lowest TTL of its answer section or, if that is empty, as long as what
/// is absent stays absent (RFC 8484 §5.1, RFC 2308 §5). Zero for failures and for what cannot be read.
pub(crate) fn freshness(answer: &[u8]) -> u32 {
    read(answer).unwrap_or_default()
}

fn read(answer: &[u8]) -> Option<u32> {
    let mut cursor = Cursor::new(answer);
    let header = cursor.header()?;
    if !matches!(header.flags & flag::RCODE, rcode::NO_ERROR | rcode::NAME_ERROR) || header.flags & flag::TC != 0 {
        return None;
    }
    let [_, answers, authorities, _] = header.counts;
    cursor.plain_name()?;
    cursor.skip(4)?;
    let mut least: Option<u32> = None;
    for _ in 0..answers {
        let ttl = cursor.record()?.ttl;
        least = Some(least.map_or(ttl, |least| least.min(ttl)));
    }
    for _ in 0..authorities {
        let record = cursor.record()?;
        if record.kind == code::SOA {
            let minimum = u32::from_be_bytes(*answer.get(record.rdata.clone())?.last_chunk()?).min(record.ttl);
            // Beside an answer section, an SOA record says how long the end of a chain stays absent.
            least = Some(least.map_or(minimum, |least| least.min(minimum)));
        }
    }
    least
}
