//! `ipv4only.arpa` and the reverse names of its addresses, answered without asking anybody (RFC 7050, RFC 8880 §7).

use std::net::Ipv4Addr;

use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{Name, RData, Record};
use pref64::special::IPV4ONLY_ARPA;

use crate::policy::View;
use crate::wire::{Message, Question, Sections, code, ede, rcode};

/// How long an absence holds in a local zone, in seconds (RFC 8880 appendix A).
const NEGATIVE_TTL: u32 = 60;

/// The answer to a question about one of these names, or nothing if it is about another or to be asked upstream.
pub(crate) fn answer(view: &View, ttl: u32, question: &Question, name: &Name) -> Option<Message> {
    let zone = zone_of(name)?;
    if zone.num_labels() < name.num_labels() {
        // RFC 8880 §7.1, §7.2: there is nothing below.
        return Some(negative(question, rcode::NAME_ERROR, zone, NEGATIVE_TTL));
    }
    let is_forward = zone.num_labels() == 2;
    let data: Vec<RData> = match question.kind() {
        // The one thing that the parent zone knows better: that the delegation is insecure.
        code::DS if is_forward => return None,
        code::A if is_forward => IPV4ONLY_ARPA.map(|address| RData::A(A(address))).into(),
        code::AAAA if is_forward && view.synthesise => IPV4ONLY_ARPA
            .iter()
            .flat_map(|&address| view.prefixes.iter().map(move |prefix| prefix.embed(address)))
            .map(|address| RData::AAAA(AAAA(address)))
            .collect(),
        code::PTR if !is_forward => vec![RData::PTR(PTR(forward()))],
        _ => vec![],
    };
    if data.is_empty() {
        return Some(negative(question, rcode::NO_ERROR, zone, NEGATIVE_TTL));
    }
    let answers = data.into_iter().map(|data| Record::from_rdata(name.clone(), ttl, data)).collect();
    let sections = Sections { answers, ..Sections::default() };
    let answer = Message::from_sections(question, rcode::NO_ERROR, sections).authoritative();
    Some(if question.kind() == code::AAAA { answer.with_ede(ede::SYNTHESIZED) } else { answer })
}

/// The PTR record of an address of `ipv4only.arpa`, which RFC 8880 §7.2.1 says is not asked for.
pub(crate) fn pointer(address: Ipv4Addr, ttl: u32) -> Option<Record> {
    IPV4ONLY_ARPA.contains(&address).then(|| Record::from_rdata(Name::from(address), ttl, RData::PTR(PTR(forward()))))
}

/// Absence in a zone of our own, with the SOA record that lets it be cached (RFC 2308 §3).
pub(crate) fn negative(question: &Question, rcode: u16, zone: Name, ttl: u32) -> Message {
    let soa = SOA::new(name("localhost."), name("nobody.invalid."), 1, 7200, 3600, 15_724_800, ttl);
    let authorities = vec![Record::from_rdata(zone, ttl, RData::SOA(soa))];
    Message::from_sections(question, rcode, Sections { authorities, ..Sections::default() }).authoritative()
}

/// The local zone that a name is in.
fn zone_of(name: &Name) -> Option<Name> {
    let [first, second] = IPV4ONLY_ARPA.map(Name::from);
    [forward(), first, second].into_iter().find(|zone| zone.zone_of(name))
}

fn forward() -> Name {
    name("ipv4only.arpa.")
}

fn name(text: &'static str) -> Name {
    Name::from_ascii(text).expect("a literal name is well-formed")
}
