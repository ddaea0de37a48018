use hickory_proto::rr::rdata::{CNAME, NULL, SOA};
use hickory_proto::rr::{Name, RecordType};
use pref64::{Pref64, WellKnownPolicy};
use proptest::prelude::*;

use super::*;
use crate::config::DEFAULT_EXCLUSION;
use crate::policy::Policy;

const NSP: &str = "2001:db8:64::/96";

fn view(prefixes: &[&str], well_known: WellKnownPolicy) -> View {
    let prefixes = prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect();
    Policy::new(prefixes, well_known, vec![DEFAULT_EXCLUSION]).general().clone()
}

const fn standard(view: &View) -> Terms<'_> {
    Terms { view, treatment: Treatment::Standard }
}

/// A record written as `name ttl TYPE data`; the data of RRSIG is the number of the covered type.
fn record(line: &str) -> Record {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, ttl, kind, data] = words[..] else { panic!("four words: {line}") };
    let name_of = |text: &str| Name::from_ascii(text).unwrap();
    let data = match kind {
        "A" => RData::A(data.parse().unwrap()),
        "AAAA" => RData::AAAA(AAAA(data.parse().unwrap())),
        "CNAME" => RData::CNAME(CNAME(name_of(data))),
        "SOA" => RData::SOA(SOA::new(name_of("ns."), name_of("root."), 1, 2, 3, 4, data.parse().unwrap())),
        "RRSIG" => {
            let covered: u16 = data.parse().unwrap();
            let anything = [&covered.to_be_bytes()[..], &[8, 2]].concat();
            RData::Unknown { code: RecordType::RRSIG, rdata: NULL::with(anything) }
        }
        "DNAME" => RData::Unknown { code: RecordType::from(39), rdata: NULL::with(data.as_bytes().to_vec()) },
        other => panic!("{other}"),
    };
    Record::from_rdata(name_of(name), ttl.parse().unwrap(), data)
}

fn records(lines: &[&str]) -> Vec<Record> {
    lines.iter().map(|line| record(line)).collect()
}

fn sections(answers: &[&str]) -> Sections {
    Sections { answers: records(answers), ..Sections::default() }
}

/// An answer with this RCODE and these records; with an SOA record if `negative_ttl` is given.
fn answered(rcode: u16, negative_ttl: Option<u32>, answers: &[&str]) -> Outcome {
    Outcome::Answered(Answered { rcode, errors: Errors::default(), negative_ttl, sections: sections(answers) })
}

fn empty() -> Outcome {
    answered(rcode::NO_ERROR, Some(300), &[])
}

fn a(answers: &[&str]) -> Outcome {
    answered(rcode::NO_ERROR, None, answers)
}

/// The answer section of a synthesis, or a panic.
fn synthesised(view: &View, aaaa: &Outcome, a: &Outcome) -> Vec<Record> {
    let decision = decide(standard(view), aaaa, a);
    let Decision::Synthesised(sections) = decision else { panic!("no synthesis: {decision:?}") };
    sections.answers
}

#[test]
fn the_aaaa_side_decides_as_section_5_1_has_it() {
    let view = view(&[NSP], WellKnownPolicy::Strict);
    let with_a = a(&["x. 60 A 192.0.2.1"]);
    let synthetic = || Decision::Synthesised(sections(&["x. 60 AAAA 2001:db8:64::c000:201"]));
    let native = || answered(rcode::NO_ERROR, None, &["x. 60 AAAA 2001:db8::1"]);
    let mixed = answered(rcode::NO_ERROR, None, &["x. 60 AAAA ::ffff:192.0.2.1", "x. 60 AAAA 2001:db8::1"]);
    let cases = [
        ("a real record wins", native(), Decision::AaaaAnswer),
        ("no record", empty(), synthetic()),
        ("no record, no SOA", answered(rcode::NO_ERROR, None, &[]), synthetic()),
        ("only excluded records", answered(rcode::NO_ERROR, None, &["x. 60 AAAA ::ffff:1.2.3.4"]), synthetic()),
        ("mixed records", mixed, Decision::Filtered(sections(&["x. 60 AAAA 2001:db8::1"]))),
        ("name error", answered(rcode::NAME_ERROR, Some(300), &[]), Decision::AaaaAnswer),
        ("format error", answered(rcode::FORMAT_ERROR, None, &[]), synthetic()),
        ("server failure", answered(rcode::SERVER_FAILURE, None, &[]), synthetic()),
        ("not implemented", answered(rcode::NOT_IMPLEMENTED, None, &[]), synthetic()),
        ("refused", answered(rcode::REFUSED, None, &[]), synthetic()),
        ("an extended code", answered(rcode::BAD_VERSION, None, &[]), synthetic()),
        ("timeout", Outcome::Unanswered(22), synthetic()),
    ];
    for (what, aaaa, expected) in cases {
        assert_eq!(decide(standard(&view), &aaaa, &with_a), expected, "{what}");
    }
}

#[test]
fn the_a_side_decides_when_there_is_no_aaaa_record() {
    let view = view(&[NSP], WellKnownPolicy::Strict);
    let only_excluded = answered(rcode::NO_ERROR, None, &["w. 9 CNAME x.", "x. 60 AAAA ::ffff:1.2.3.4"]);
    let name_error = answered(rcode::NAME_ERROR, Some(300), &["w. 9 CNAME x."]);
    let Outcome::Answered(told_name_error) = name_error.clone() else { unreachable!() };
    let cases = [
        ("A empty: the AAAA answer", empty(), empty(), Decision::AaaaAnswer),
        ("A empty after an AAAA error: that error", answered(5, None, &[]), empty(), Decision::AaaaAnswer),
        ("A empty after an AAAA timeout: nobody answered", Outcome::Unanswered(22), empty(), Decision::Unanswered(22)),
        (
            "A empty, AAAA excluded: the chain alone",
            only_excluded,
            empty(),
            Decision::Filtered(sections(&["w. 9 CNAME x."])),
        ),
        (
            "A error: that error",
            empty(),
            answered(2, None, &[]),
            Decision::AError(Answered { rcode: 2, ..Answered::default() }),
        ),
        ("A name error: that error", empty(), name_error, Decision::AError(told_name_error)),
        ("A timeout", empty(), Outcome::Unanswered(22), Decision::Unanswered(22)),
    ];
    for (what, aaaa, a, expected) in cases {
        assert_eq!(decide(standard(&view), &aaaa, &a), expected, "{what}");
    }
}

#[test]
fn a_domain_always_synthesised_has_its_aaaa_records_only_if_there_is_no_a_record() {
    let view = view(&[NSP], WellKnownPolicy::Strict);
    let always = Terms { view: &view, treatment: Treatment::Always };
    let native = answered(rcode::NO_ERROR, None, &["x. 60 AAAA 2001:db8::1"]);
    let Decision::Synthesised(told) = decide(always, &native, &a(&["x. 60 A 192.0.2.1"])) else { panic!("native") };
    assert_eq!(told, sections(&["x. 60 AAAA 2001:db8:64::c000:201"]));
    assert_eq!(decide(always, &native, &empty()), Decision::AaaaAnswer);
    assert_eq!(decide(always, &native, &Outcome::Unanswered(22)), Decision::AaaaAnswer);
    assert_eq!(decide(always, &answered(rcode::NAME_ERROR, None, &[]), &empty()), Decision::AaaaAnswer);
}

#[test]
fn a_records_and_their_signatures_are_stripped_and_the_chain_stays() {
    let told = sections(&["w. 9 CNAME x.", "w. 9 RRSIG 5", "x. 60 A 192.0.2.1", "x. 60 RRSIG 1"]);
    assert_eq!(strip_a(&told), Some(sections(&["w. 9 CNAME x.", "w. 9 RRSIG 5"])));
    assert_eq!(strip_a(&sections(&["w. 9 CNAME x."])), None);
}

#[test]
fn a_bogus_aaaa_answer_is_not_hidden_behind_synthesis() {
    let bogus = |ede| {
        Outcome::Answered(Answered {
            rcode: rcode::SERVER_FAILURE,
            errors: Errors::from(Some(ede)),
            ..Answered::default()
        })
    };
    let view = view(&[NSP], WellKnownPolicy::Strict);
    let with_a = a(&["x. 60 A 192.0.2.1"]);
    assert_eq!(decide(standard(&view), &bogus(6), &with_a), Decision::AaaaAnswer);
    // 22 speaks of the name's servers, not of its signatures.
    assert!(matches!(decide(standard(&view), &bogus(22), &with_a), Decision::Synthesised(_)));
}

#[test]
fn the_ttl_is_the_lower_of_a_and_soa_and_at_most_600_without_soa() {
    let view = view(&[NSP], WellKnownPolicy::Strict);
    let without_soa = answered(rcode::NO_ERROR, None, &[]);
    for (a_ttl, aaaa, expected) in [
        (900, empty(), 300),
        (60, empty(), 60),
        (900, without_soa.clone(), 600),
        (60, without_soa, 60),
        (900, Outcome::Unanswered(22), 600),
        (0, empty(), 0),
    ] {
        let records = synthesised(&view, &aaaa, &a(&[&format!("x. {a_ttl} A 192.0.2.1")]));
        assert_eq!(records[0].ttl, expected);
    }
}

#[test]
fn chains_stay_in_order_and_signatures_over_a_records_go() {
    let view = view(&[NSP], WellKnownPolicy::Strict);
    let chain =
        ["example. 50 DNAME other.", "w.example. 0 CNAME w.other.", "w.example. 0 RRSIG 5", "w.other. 70 CNAME x."];
    let a_side = [&chain[..], &["x. 60 A 192.0.2.1", "x. 60 A 192.0.2.2", "x. 60 RRSIG 1"]].concat();
    let expected = [&chain[..], &["x. 60 AAAA 2001:db8:64::c000:201", "x. 60 AAAA 2001:db8:64::c000:202"]].concat();
    assert_eq!(synthesised(&view, &empty(), &a(&a_side)), records(&expected));
}

#[test]
fn authority_and_additional_come_unchanged_from_the_a_answer() {
    let view = view(&[NSP], WellKnownPolicy::Strict);
    let a_sections = Sections {
        answers: records(&["x. 60 A 192.0.2.1"]),
        authorities: records(&["x. 60 SOA 1"]),
        additionals: records(&["y. 60 A 192.0.2.2"]),
    };
    let a = Outcome::Answered(Answered { sections: a_sections.clone(), ..Answered::default() });
    let Decision::Synthesised(told) = decide(standard(&view), &empty(), &a) else { panic!("no synthesis") };
    assert_eq!((told.authorities, told.additionals), (a_sections.authorities, a_sections.additionals));
}

#[test]
fn the_well_known_prefix_is_for_global_addresses_and_ipv4only_arpa() {
    let told = |well_known, prefixes: &[&str], address: &str| -> Vec<String> {
        let a = a(&[&format!("x. 60 A {address}")]);
        let decision = decide(standard(&view(prefixes, well_known)), &empty(), &a);
        let Decision::Synthesised(sections) = decision else {
            assert_eq!(decision, Decision::AaaaAnswer);
            return vec![];
        };
        sections.answers.iter().map(|record| record.data.to_string()).collect()
    };
    let (strict, private) = (WellKnownPolicy::Strict, WellKnownPolicy::AllowPrivate);
    assert_eq!(told(strict, &["64:ff9b::/96"], "8.8.8.8"), ["64:ff9b::808:808"]);
    assert_eq!(told(strict, &["64:ff9b::/96"], "10.0.0.1"), [""; 0]);
    assert_eq!(told(private, &["64:ff9b::/96"], "10.0.0.1"), ["64:ff9b::a00:1"]);
    assert_eq!(told(private, &["64:ff9b::/96"], "127.0.0.1"), [""; 0]);
    assert_eq!(told(strict, &["64:ff9b::/96"], "192.0.0.170"), ["64:ff9b::c000:aa"]);
    assert_eq!(told(strict, &["64:ff9b:1::/96", "64:ff9b::/96"], "10.0.0.1"), ["64:ff9b:1::a00:1"]);
    assert_eq!(
        told(strict, &["64:ff9b:1::/96", "64:ff9b::/96"], "8.8.8.8"),
        ["64:ff9b:1::808:808", "64:ff9b::808:808"]
    );
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let record = prop_oneof![
        (any::<u32>(), any::<u32>()).prop_map(|(ttl, v4)| record(&format!("x. {ttl} A {}", Ipv4Addr::from_bits(v4)))),
        any::<u32>().prop_map(|ttl| record(&format!("x. {ttl} AAAA 2001:db8::1"))),
        any::<u32>().prop_map(|v4| record(&format!("x. 1 AAAA ::ffff:{}", Ipv4Addr::from_bits(v4)))),
        any::<u32>().prop_map(|ttl| record(&format!("w. {ttl} CNAME x."))),
        Just(record("x. 1 RRSIG 1")),
        Just(record("x. 1 RRSIG 28")),
    ];
    let answered = (0..24_u16, any::<Option<u16>>(), any::<Option<u32>>(), prop::collection::vec(record, 0..6));
    prop_oneof![
        1 => Just(Outcome::Unanswered(22)),
        9 => answered.prop_map(|(rcode, ede, negative_ttl, answers)| {
            // Half of the codes are NOERROR.
            let rcode = rcode.saturating_sub(12);
            let sections = Sections { answers, ..Sections::default() };
            Outcome::Answered(Answered { rcode, errors: Errors::from(ede), negative_ttl, sections })
        }),
    ]
}

proptest! {
    #[test]
    fn whatever_is_known_no_rule_is_broken(aaaa in any_outcome(), a in any_outcome(), which in 0..6_usize) {
        let length = Pref64::LENGTHS[which];
        let prefix = Pref64::new(ipnet::Ipv6Net::new_assert("2001:db8::".parse().unwrap(), length)).unwrap();
        let view = Policy::new(vec![prefix], WellKnownPolicy::Strict, vec![DEFAULT_EXCLUSION]).general().clone();
        let decision = decide(standard(&view), &aaaa, &a);
        // What the AAAA side settles alone, the A side does not change.
        if judge(standard(&view), &aaaa) != Judgement::Empty {
            prop_assert_eq!(&decision, &decide(standard(&view), &aaaa, &Outcome::Unanswered(22)));
        }
        match decision {
            Decision::Synthesised(told) => {
                let Outcome::Answered(a) = a else { panic!("synthesis without an A answer") };
                let from: Vec<Ipv4Addr> = a.sections.answers.iter().filter_map(a_address).collect();
                let made: Vec<Ipv6Addr> = told.answers.iter().filter_map(aaaa_address).filter(|made| prefix.contains(*made)).collect();
                for address in &from {
                    prop_assert!(made.contains(&prefix.embed(*address)));
                }
                prop_assert!(told.answers.iter().all(|record| a_address(record).is_none() && !covers(record, code::A)));
            }
            Decision::Filtered(told) => {
                prop_assert!(told.answers.iter().filter_map(aaaa_address).all(|address| !view.excludes(address)));
            }
            Decision::AaaaAnswer => {
                let Outcome::Answered(aaaa) = aaaa else { panic!("an answer that nobody gave") };
                if aaaa.rcode == rcode::NO_ERROR {
                    prop_assert!(aaaa.sections.answers.iter().filter_map(aaaa_address).all(|address| !view.excludes(address)));
                }
            }
            Decision::AError(a) => prop_assert_ne!(a.rcode, rcode::NO_ERROR),
            Decision::CutOff => panic!("all prefixes are usable"),
            Decision::Unanswered(_) => prop_assert!(aaaa == Outcome::Unanswered(22) || a == Outcome::Unanswered(22)),
        }
    }
}
