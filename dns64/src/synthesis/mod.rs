//! RFC 6147 §5.1 as a function: what a client that asked for AAAA records is told, given what is known of the name.
//!
//! Nothing here asks, waits, or keeps anything. [`judge`] looks at the AAAA side alone, so that a caller knows whether
//! the A side matters at all; [`decide`] takes both.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::AAAA;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use crate::config::Policy;
use crate::wire::{Sections, code, ede, rcode};

/// The TTL of synthetic records is at most this if no SOA record came with the negative AAAA answer, in seconds
/// (RFC 6147 §5.1.7).
const TTL_WITHOUT_SOA: u32 = 600;

/// What is known of a name and one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Somebody answered.
    Answered(Answered),
    /// Nobody answered, or nothing that can be read: treated as RCODE 2 (RFC 6147 §5.1.3).
    Unanswered,
}

/// An answer, its chain of aliases complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) rcode: u16,
    /// The extended error that came with it (RFC 8914).
    pub(crate) ede: Option<u16>,
    /// How long absence holds, in seconds, if an SOA record said so (RFC 2308 §5).
    pub(crate) negative_ttl: Option<u32>,
    pub(crate) sections: Sections,
}

/// What the AAAA side alone says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The answer goes out as it is: it has AAAA records, or the name does not exist.
    Final,
    /// The answer goes out with only these records: others were excluded.
    Filtered(Sections),
    /// There is no AAAA record that counts.
    Empty,
}

/// What the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The answer to the AAAA question as it is.
    AaaaAnswer,
    /// The answer to the AAAA question with these records.
    Filtered(Sections),
    /// Synthetic records.
    Synthesised(Sections),
    /// The error that the A question met.
    AError(u16, Sections),
    /// That nobody answered.
    Unanswered,
}

/// What the AAAA side alone says (RFC 6147 §5.1.1 to §5.1.4).
pub(crate) fn judge(policy: &Policy, aaaa: &Outcome) -> Judgement {
    let Outcome::Answered(aaaa) = aaaa else { return Judgement::Empty };
    match aaaa.rcode {
        rcode::NAME_ERROR => Judgement::Final,
        // That an answer is bogus must not be hidden behind synthesis (RFC 6147 §5.5).
        rcode::SERVER_FAILURE if aaaa.ede.is_some_and(ede::is_dnssec_failure) => Judgement::Final,
        rcode::NO_ERROR => {
            let addresses = || aaaa.sections.answers.iter().filter_map(aaaa_address);
            match (
                addresses().any(|address| !policy.excludes(address)),
                addresses().any(|address| policy.excludes(address)),
            ) {
                (true, false) => Judgement::Final,
                (true, true) => Judgement::Filtered(without_excluded(policy, &aaaa.sections)),
                (false, _) => Judgement::Empty,
            }
        }
        _ => Judgement::Empty,
    }
}

/// What the client is told (RFC 6147 §5.1, §5.4).
pub(crate) fn decide(policy: &Policy, aaaa: &Outcome, a: &Outcome) -> Decision {
    match judge(policy, aaaa) {
        Judgement::Final => return Decision::AaaaAnswer,
        Judgement::Filtered(sections) => return Decision::Filtered(sections),
        Judgement::Empty => {}
    }
    match a {
        Outcome::Answered(a) if a.rcode == rcode::NO_ERROR => {
            synthesise(policy, a, ttl_limit(aaaa)).map_or_else(|| without_a(policy, aaaa), Decision::Synthesised)
        }
        // RFC 6147 §5.1.6: an error on the A question is the basis of the answer.
        Outcome::Answered(a) => Decision::AError(a.rcode, a.sections.clone()),
        Outcome::Unanswered => Decision::Unanswered,
    }
}

/// The AAAA record of an IPv4 address under each prefix that may carry it (RFC 6052 §3.1).
pub(crate) fn addresses(policy: &Policy, address: Ipv4Addr) -> impl Iterator<Item = Ipv6Addr> {
    let permitted = move |prefix: &&pref64::Pref64| policy.well_known.permits(**prefix, address);
    policy.prefixes.iter().filter(permitted).map(move |prefix| prefix.embed(address))
}

/// RFC 6147 §5.1.7: every A record becomes AAAA records; the rest, chains of aliases first of all, stays in its order.
///
/// Nothing if no A record is left to synthesise from.
fn synthesise(policy: &Policy, a: &Answered, ttl_limit: u32) -> Option<Sections> {
    let mut answers = Vec::with_capacity(a.sections.answers.len());
    let mut count = 0;
    for record in &a.sections.answers {
        match a_address(record) {
            Some(address) => {
                let synthetic = |address| {
                    Record::from_rdata(record.name.clone(), record.ttl.min(ttl_limit), RData::AAAA(AAAA(address)))
                };
                answers.extend(addresses(policy, address).map(synthetic).inspect(|_| count += 1));
            }
            None if covers(record, code::A) => {}
            None => answers.push(record.clone()),
        }
    }
    (count > 0).then(|| Sections { answers, ..a.sections.clone() })
}

/// Neither side has records: the answer to the original question (RFC 6147 §5.4), never with excluded records in it.
fn without_a(policy: &Policy, aaaa: &Outcome) -> Decision {
    match aaaa {
        Outcome::Answered(aaaa) if aaaa.sections.answers.iter().any(|record| aaaa_address(record).is_some()) => {
            Decision::Filtered(without_excluded(policy, &aaaa.sections))
        }
        Outcome::Answered(_) => Decision::AaaaAnswer,
        Outcome::Unanswered => Decision::Unanswered,
    }
}

/// The sections without excluded AAAA records, and without signatures that the rest does not verify with.
fn without_excluded(policy: &Policy, sections: &Sections) -> Sections {
    let stays = |record: &&Record| {
        aaaa_address(record).is_none_or(|address| !policy.excludes(address)) && !covers(record, code::AAAA)
    };
    Sections { answers: sections.answers.iter().filter(stays).cloned().collect(), ..sections.clone() }
}

/// What the TTL of synthetic records must not exceed, in seconds.
fn ttl_limit(aaaa: &Outcome) -> u32 {
    match aaaa {
        Outcome::Answered(aaaa) => aaaa.negative_ttl.unwrap_or(TTL_WITHOUT_SOA),
        Outcome::Unanswered => TTL_WITHOUT_SOA,
    }
}

fn a_address(record: &Record) -> Option<Ipv4Addr> {
    if let RData::A(a) = &record.data
        && record.dns_class == DNSClass::IN
    {
        Some(a.0)
    } else {
        None
    }
}

fn aaaa_address(record: &Record) -> Option<Ipv6Addr> {
    if let RData::AAAA(aaaa) = &record.data
        && record.dns_class == DNSClass::IN
    {
        Some(aaaa.0)
    } else {
        None
    }
}

/// Whether a record is the signature over records of this type (RFC 4034 §3.1.1).
fn covers(record: &Record, kind: u16) -> bool {
    if let RData::Unknown { code: RecordType::RRSIG, rdata } = &record.data {
        rdata.anything.starts_with(&kind.to_be_bytes())
    } else {
        false
    }
}

#[cfg(test)]
mod tests;
