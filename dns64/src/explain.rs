//! Why a name is answered as it is, rule by rule.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{Name, Record, RecordType};
use pref64::special;
use serde::Serialize;

use crate::config;
use crate::domains::Treatment;
use crate::error::Error;
use crate::policy::{Origin, View};
use crate::synthesis::{Decision, Judgement, Outcome, Terms, a_address, aaaa_address, decide, judge};
use crate::wire::{Ask, Question, Sections, code, rcode};

/// What a client is told that asks for records of a name, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The name.
    pub name: String,
    /// The type of the records, as it was given.
    pub kind: String,
    /// The client.
    pub client: IpAddr,
    /// The group that the client belongs to, or `everybody`.
    pub group: String,
    /// The rules, in the order in which they were applied; the last one decided.
    pub rules: Vec<Rule>,
    /// What is told.
    pub verdict: Verdict,
    /// The AAAA records that are told, as addresses.
    pub addresses: Vec<Ipv6Addr>,
}

/// One rule and what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// What was looked at.
    pub rule: &'static str,
    /// Where that rule is from.
    pub source: &'static str,
    /// What was found.
    pub finding: String,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The client is refused.
    Refused,
    /// The name is answered without asking anybody.
    Local,
    /// What the upstream says, unchanged.
    Passed,
    /// What the upstream says to the AAAA question.
    Native,
    /// Real AAAA records, of which others were excluded.
    Filtered,
    /// Synthetic AAAA records.
    Synthesised,
    /// The error that the A question met.
    Failed,
    /// That no upstream answers.
    Unanswered,
    /// That no translator is there for the addresses.
    CutOff,
}

/// An explanation in the making.
pub(crate) struct Explaining {
    explanation: Explanation,
}

impl Explaining {
    pub(crate) fn new(name: &Name, kind: &str, origin: Origin, view: &View) -> Self {
        let explanation = Explanation {
            name: name.to_ascii(),
            kind: kind.to_ascii_uppercase(),
            client: origin.client,
            group: view.name.clone(),
            rules: Vec::new(),
            verdict: Verdict::Passed,
            addresses: Vec::new(),
        };
        Self { explanation }
    }

    pub(crate) fn rule(&mut self, rule: &'static str, source: &'static str, finding: impl Into<String>) {
        self.explanation.rules.push(Rule { rule, source, finding: finding.into() });
    }

    pub(crate) fn end(mut self, verdict: Verdict) -> Explanation {
        self.explanation.verdict = verdict;
        self.explanation
    }

    /// Whether the client's group and the name's domain are subject to DNS64; says so.
    pub(crate) fn synthesises(&mut self, terms: Terms<'_>) -> bool {
        let switch =
            if terms.view.synthesise { "synthesis is on for this group" } else { "synthesis is off for this group" };
        self.rule("client group", "configuration", switch);
        let treatment = match terms.treatment {
            Treatment::Standard => "no domain rule applies",
            Treatment::Never => "the domain is never synthesised",
            Treatment::Always => "the domain is synthesised although it may have AAAA records",
            Treatment::StripA => "A records of the domain are not told",
        };
        self.rule("domain", "configuration", treatment);
        terms.synthesises()
    }

    /// What upstreams say of one type, and where that was had from.
    pub(crate) fn outcome(&mut self, rule: &'static str, source: &'static str, whence: &str, outcome: &Outcome) {
        let finding = match outcome {
            Outcome::Unanswered(error) => format!("{whence}: nobody answers (extended error {error})"),
            Outcome::Answered(answered) => {
                let aliases =
                    answered.sections.answers.iter().filter(|record| u16::from(record.record_type()) == code::CNAME);
                let addresses = shown(&answered.sections);
                let errors: Vec<String> =
                    answered.errors.iter().map(|error| format!(", extended error {error}")).collect();
                format!(
                    "{whence}: {}, aliases {}, addresses {}{}",
                    rcode_name(answered.rcode),
                    aliases.count(),
                    if addresses.is_empty() { "none".to_owned() } else { addresses.join(" ") },
                    errors.concat()
                )
            }
        };
        self.rule(rule, source, finding);
    }

    /// What the AAAA side alone decides; the verdict if that is all.
    pub(crate) fn judgement(&mut self, terms: Terms<'_>, aaaa: &Outcome) -> Option<Verdict> {
        let (finding, verdict) = match judge(terms, aaaa) {
            Judgement::Final if is_name_error(aaaa) => {
                ("the name does not exist, so nothing is synthesised", Some(Verdict::Native))
            }
            Judgement::Final => {
                ("the answer stands: it has AAAA records, or says that validation failed", Some(Verdict::Native))
            }
            Judgement::Filtered(_) => ("some AAAA records are excluded, the others stand", Some(Verdict::Filtered)),
            Judgement::Empty => ("there is no AAAA record that counts, so A records are looked at", None),
        };
        self.rule("AAAA records", "RFC 6147 §5.1.1 to §5.1.4", finding);
        verdict
    }

    /// What becomes of each IPv4 address.
    pub(crate) fn addresses(&mut self, view: &View, a: &Outcome) {
        let Outcome::Answered(a) = a else { return };
        for address in a.sections.answers.iter().filter_map(a_address) {
            self.rule("IPv4 address", "RFC 6052 §3.1, configuration", fate(view, address));
        }
    }

    /// What is added for a name that has A records and no AAAA records beside the answer.
    pub(crate) fn beside(&mut self, name: &Name, records: &[Record]) {
        let addresses: Vec<String> =
            records.iter().filter_map(aaaa_address).map(|address| address.to_string()).collect();
        let finding = match addresses.as_slice() {
            [] => format!("{name} is there with A records alone, and nothing can be added"),
            addresses => format!("{name} is there with A records alone, so {} is added", addresses.join(" ")),
        };
        self.rule("additional section", "RFC 9460 §4", finding);
    }

    /// That what was said is told unchanged, which ends it.
    pub(crate) fn pass(mut self, outcome: &Outcome) -> Explanation {
        let Some(sections) = answered(outcome) else { return self.end(Verdict::Unanswered) };
        self.explanation.addresses = sections.answers.iter().filter_map(aaaa_address).collect();
        self.end(Verdict::Passed)
    }

    /// The decision, which ends it.
    pub(crate) fn decision(mut self, terms: Terms<'_>, aaaa: &Outcome, a: &Outcome) -> Explanation {
        let (finding, verdict, sections) = match decide(terms, aaaa, a) {
            Decision::Synthesised(sections) => {
                ("AAAA records are made from A records", Verdict::Synthesised, Some(sections))
            }
            Decision::Filtered(sections) => {
                ("the AAAA records that are not excluded are told", Verdict::Filtered, Some(sections))
            }
            Decision::AaaaAnswer => ("the answer to the AAAA question is told", Verdict::Native, answered(aaaa)),
            Decision::AError(_) => ("the error of the A question is told", Verdict::Failed, None),
            Decision::Unanswered(_) => ("nobody answers", Verdict::Unanswered, None),
            Decision::CutOff => ("no translator is there for these addresses", Verdict::CutOff, None),
        };
        self.rule("decision", "RFC 6147 §5.1.6, §5.1.7", finding);
        let told = sections.iter().flat_map(|sections| &sections.answers).filter_map(aaaa_address);
        self.explanation.addresses = told.collect();
        self.end(verdict)
    }
}

/// The question that an explanation is about.
pub(crate) fn ask(name: &str, kind: &str) -> Result<(Name, Ask), Error> {
    let bad = || Error::BadDomain(name.to_owned());
    let parsed = config::name(name).ok_or_else(bad)?;
    let question = Question::new(&parsed, self::kind(kind)?).ok_or_else(bad)?;
    Ok((parsed, Ask { question, recursion: true, checking_disabled: false, dnssec: false, only_known: false }))
}

/// A record type by its name, or as in RFC 3597 §5: `TYPE65280`.
fn kind(text: &str) -> Result<u16, Error> {
    let upper = text.to_ascii_uppercase();
    let number = upper.strip_prefix("TYPE").and_then(|number| number.parse().ok());
    let named = || upper.parse::<RecordType>().ok().map(u16::from);
    number.or_else(named).ok_or_else(|| Error::BadType(text.to_owned()))
}

fn rcode_name(code: u16) -> String {
    match code {
        rcode::NO_ERROR => "no error".to_owned(),
        rcode::SERVER_FAILURE => "SERVFAIL, which counts as no record".to_owned(),
        rcode::NAME_ERROR => "the name does not exist".to_owned(),
        rcode::REFUSED => "REFUSED, which counts as no record".to_owned(),
        other => format!("response code {other}, which counts as no record"),
    }
}

fn is_name_error(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answered(answered) if answered.rcode == rcode::NAME_ERROR)
}

fn answered(outcome: &Outcome) -> Option<Sections> {
    match outcome {
        Outcome::Answered(answered) => Some(answered.sections.clone()),
        Outcome::Unanswered(_) => None,
    }
}

fn shown(sections: &Sections) -> Vec<String> {
    let v4 = sections.answers.iter().filter_map(a_address).map(|address| address.to_string());
    let v6 = sections.answers.iter().filter_map(aaaa_address).map(|address| address.to_string());
    v4.chain(v6).collect()
}

fn fate(view: &View, address: Ipv4Addr) -> String {
    let made: Vec<String> = view.prefixes_for(address).map(|prefix| prefix.embed(address).to_string()).collect();
    if !made.is_empty() {
        return format!("{address} becomes {}", made.join(" "));
    }
    if view.exclude_a.iter().any(|net| net.contains(&address)) {
        return format!("{address} is in a range that is never synthesised");
    }
    if view.is_cut_off(address) {
        return format!("{address} has no prefix whose translator is up");
    }
    let range = special::range_of(address).map_or("not global", |range| range.name);
    format!("{address} is {range}, which the well-known prefix must not carry")
}
