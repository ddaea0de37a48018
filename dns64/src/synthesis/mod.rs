//! RFC 6147 §5.1 as a function: what a client that asked for AAAA records is told, given what is known of the name.
//!
//! Nothing here asks, waits, or keeps anything. [`judge`] looks at the AAAA side alone, so that a caller knows whether
//! the A side matters at all; [`decide`] takes both.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::dnssec::rdata::RRSIG;
use hickory_proto::rr::rdata::AAAA;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use crate::domains::Treatment;
use crate::policy::View;
use crate::wire::{Errors, Sections, code, ede, rcode};

/// The TTL of synthetic records is at most this if no SOA record came with the negative AAAA answer, in seconds
/// (RFC 6147 §5.1.7).
const TTL_WITHOUT_SOA: u32 = 600;

/// What is known of a name and one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Somebody answered.
    Answered(Answered),
    /// Nobody answered, or nothing that can be read: treated as RCODE 2 (RFC 6147 §5.1.3). With the extended error that
    /// says why.
    Unanswered(u16),
}

impl Outcome {
    /// The extended errors that belong to it.
    pub(crate) const fn errors(&self) -> Errors {
        match self {
            Self::Answered(answered) => answered.errors,
            Self::Unanswered(_) => Errors::NONE,
        }
    }
}

/// An answer, its chain of aliases complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) rcode: u16,
    /// The extended errors that belong to it (RFC 8914).
    pub(crate) errors: Errors,
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
    AError(Answered),
    /// That nobody answered, with the extended error that says why.
    Unanswered(u16),
    /// That no translator is there for the addresses that would be told.
    CutOff,
}

/// How a question for AAAA records is looked at: what its asker is told, and how the name is treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) view: &'a View,
    pub(crate) treatment: Treatment,
}

impl Terms<'_> {
    /// Whether this question is subject to DNS64 at all.
    pub(crate) fn synthesises(self) -> bool {
        self.view.synthesise && self.treatment != Treatment::Never
    }

    /// Whether AAAA records are told only if there are no A records to synthesise from.
    fn prefers_a(self) -> bool {
        self.treatment == Treatment::Always
    }
}

/// What the AAAA side alone says (RFC 6147 §5.1.1 to §5.1.4).
pub(crate) fn judge(terms: Terms<'_>, aaaa: &Outcome) -> Judgement {
    if terms.prefers_a() && has_addresses(aaaa) { Judgement::Empty } else { judge_records(terms.view, aaaa) }
}

fn judge_records(view: &View, aaaa: &Outcome) -> Judgement {
    let aaaa = match aaaa {
        Outcome::Answered(aaaa) => aaaa,
        // What was not asked for want of room may be there; silence may not (RFC 6147 §5.1.3).
        Outcome::Unanswered(ede::NOT_READY) => return Judgement::Final,
        Outcome::Unanswered(_) => return Judgement::Empty,
    };
    match aaaa.rcode {
        rcode::NAME_ERROR => Judgement::Final,
        // That an answer is bogus must not be hidden behind synthesis (RFC 6147 §5.5).
        rcode::SERVER_FAILURE if aaaa.errors.iter().any(ede::is_dnssec_failure) => Judgement::Final,
        rcode::NO_ERROR => {
            let any = |excluded| {
                aaaa.sections.answers.iter().filter_map(aaaa_address).any(|address| view.excludes(address) == excluded)
            };
            match (any(false), any(true)) {
                (true, false) => Judgement::Final,
                (true, true) => Judgement::Filtered(without_excluded(view, &aaaa.sections)),
                (false, _) => Judgement::Empty,
            }
        }
        _ => Judgement::Empty,
    }
}

/// What the client is told (RFC 6147 §5.1, §5.4).
pub(crate) fn decide(terms: Terms<'_>, aaaa: &Outcome, a: &Outcome) -> Decision {
    match judge(terms, aaaa) {
        Judgement::Final => return Decision::AaaaAnswer,
        Judgement::Filtered(sections) => return Decision::Filtered(sections),
        Judgement::Empty => {}
    }
    let view = terms.view;
    match a {
        Outcome::Answered(a) if a.rcode == rcode::NO_ERROR => match synthesise(view, a, ttl_limit(aaaa)) {
            Some(sections) => Decision::Synthesised(sections),
            None if a.sections.answers.iter().filter_map(a_address).any(|address| view.is_cut_off(address)) => {
                Decision::CutOff
            }
            None => without_a(view, aaaa),
        },
        // Records that were passed over for the sake of A records only are better than none.
        _ if judge_records(view, aaaa) != Judgement::Empty => without_a(view, aaaa),
        // RFC 6147 §5.1.6: an error on the A question is the basis of the answer.
        Outcome::Answered(a) => Decision::AError(a.clone()),
        Outcome::Unanswered(ede) => Decision::Unanswered(*ede),
    }
}

/// The answer to an A question without A records and their signatures, for those who must not try IPv4; nothing if there
/// are none in it.
pub(crate) fn strip_a(sections: &Sections) -> Option<Sections> {
    let stays = |record: &&Record| a_address(record).is_none() && !covers(record, code::A);
    let answers: Vec<Record> = sections.answers.iter().filter(stays).cloned().collect();
    (answers.len() < sections.answers.len()).then(|| Sections { answers, ..sections.clone() })
}

fn has_addresses(outcome: &Outcome) -> bool {
    let Outcome::Answered(answered) = outcome else { return false };
    answered.sections.answers.iter().any(|record| aaaa_address(record).is_some())
}

/// RFC 6147 §5.1.7: every A record becomes AAAA records; the rest, chains of aliases first of all, stays in its order.
///
/// Nothing if no A record is left to synthesise from.
fn synthesise(view: &View, a: &Answered, ttl_limit: u32) -> Option<Sections> {
    let mut answers = Vec::with_capacity(a.sections.answers.len());
    let mut count = 0;
    for record in &a.sections.answers {
        match a_address(record) {
            Some(address) => {
                let synthetic = |address| {
                    Record::from_rdata(record.name.clone(), record.ttl.min(ttl_limit), RData::AAAA(AAAA(address)))
                };
                answers.extend(
                    view.prefixes_for(address)
                        .map(|prefix| prefix.embed(address))
                        .map(synthetic)
                        .inspect(|_| count += 1),
                );
            }
            None if covers(record, code::A) => {}
            None => answers.push(record.clone()),
        }
    }
    (count > 0).then(|| Sections { answers, ..a.sections.clone() })
}

/// Neither side has records: the answer to the original question (RFC 6147 §5.4), never with excluded records in it.
fn without_a(view: &View, aaaa: &Outcome) -> Decision {
    match aaaa {
        Outcome::Answered(aaaa)
            if aaaa.sections.answers.iter().filter_map(aaaa_address).any(|one| view.excludes(one)) =>
        {
            Decision::Filtered(without_excluded(view, &aaaa.sections))
        }
        Outcome::Answered(_) => Decision::AaaaAnswer,
        Outcome::Unanswered(ede) => Decision::Unanswered(*ede),
    }
}

/// The sections without excluded AAAA records, and without signatures that the rest does not verify with.
fn without_excluded(view: &View, sections: &Sections) -> Sections {
    let stays = |record: &&Record| {
        aaaa_address(record).is_none_or(|address| !view.excludes(address)) && !covers(record, code::AAAA)
    };
    Sections { answers: sections.answers.iter().filter(stays).cloned().collect(), ..sections.clone() }
}

/// What the TTL of synthetic records must not exceed, in seconds.
fn ttl_limit(aaaa: &Outcome) -> u32 {
    match aaaa {
        Outcome::Answered(aaaa) => aaaa.negative_ttl.unwrap_or(TTL_WITHOUT_SOA),
        Outcome::Unanswered(_) => TTL_WITHOUT_SOA,
    }
}

pub(crate) fn a_address(record: &Record) -> Option<Ipv4Addr> {
    if let RData::A(a) = &record.data
        && record.dns_class == DNSClass::IN
    {
        Some(a.0)
    } else {
        None
    }
}

pub(crate) fn aaaa_address(record: &Record) -> Option<Ipv6Addr> {
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
    // One that was not decoded begins with the type that it covers.
    if let RData::Unknown { code: RecordType::RRSIG, rdata } = &record.data {
        return rdata.anything.starts_with(&kind.to_be_bytes());
    }
    record.try_borrow::<RRSIG>().is_some_and(|signature| u16::from(signature.data().input().type_covered) == kind)
}

#[cfg(test)]
mod tests;
