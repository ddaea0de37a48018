//! DNSSEC validation (RFC 4035 §5, RFC 6147 §5.5), against zones that the test has signed.

use std::sync::Arc;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::RecordType;

use super::policy::extended_error;
use super::secured::{Identity, NAME};
use super::signed::{Fault, World};
use super::*;

const SIGNED: &str = "
    v4.example.        900 A 192.0.2.33
    v6.example.        900 AAAA 2001:db8::1
    www.example.        60 CNAME v4.example.
    out.example.        60 CNAME v4.plain.
    broken.example.    900 A 192.0.2.40
    v4.hashed.         900 A 192.0.2.34
    v4.plain.          900 A 192.0.2.35
    v6.plain.          900 AAAA 2001:db8::2
";

/// A validating server in front of signed zones, with what it needs.
struct Validating {
    server: Running,
    config: Config,
    upstream: Upstream,
    _world: Arc<World>,
    _identity: Identity,
}

async fn validating(fault: Fault, iterations: u16) -> Validating {
    let world = Arc::new(World::new(SIGNED, fault, iterations));
    let answering = Arc::clone(&world);
    // Over TLS, where nothing is too large.
    let identity = Identity::new();
    let answer = move |query: &Query| Script::Raw(answering.answer(query).to_vec().unwrap());
    let upstream = Upstream::secured("", &identity, usize::MAX, answer).await;
    let mut config = patient(&[]);
    config.upstreams = vec![format!("tls://{}#{NAME}", upstream.address).parse().unwrap()];
    config.upstream_ca = Some(identity.certificate());
    config.dnssec = true;
    config.trust_anchors = Some(world.anchors());
    Validating { server: start(config.clone()).await, config, upstream, _world: world, _identity: identity }
}

async fn asked(server: &Running, question: &str, dnssec: bool, unchecked: bool) -> Message {
    Ask::new(question).edns(1232).dnssec(dnssec).unchecked(unchecked).wants_ad().over_tcp(server.address).await
}

fn addresses(message: &Message) -> Vec<String> {
    let kinds = [RecordType::A, RecordType::AAAA];
    let records = message.answers.iter().filter(|record| kinds.contains(&record.record_type()));
    records.map(|record| record.data.to_string()).collect()
}

fn has_signatures(message: &Message) -> bool {
    message.all_sections().any(|record| record.record_type() == RecordType::RRSIG)
}

#[tokio::test]
async fn do_and_cd_decide_on_synthesis_and_ad_as_rfc_6147_section_5_5_has_it() {
    let Validating { server, .. } = &validating(Fault::None, 0).await;
    // Question, DO, CD; addresses, AD.
    for (question, dnssec, unchecked, expected, authentic) in [
        ("v4.example. AAAA", false, false, vec!["2001:db8:64::c000:221"], false),
        ("v4.example. AAAA", true, false, vec!["2001:db8:64::c000:221"], true),
        ("v4.example. AAAA", false, true, vec![], false),
        ("v4.example. AAAA", true, true, vec![], false),
        ("v6.example. AAAA", false, false, vec!["2001:db8::1"], false),
        ("v6.example. AAAA", true, false, vec!["2001:db8::1"], true),
        ("v4.hashed. AAAA", false, false, vec!["2001:db8:64::c000:222"], false),
        ("v4.hashed. AAAA", true, false, vec!["2001:db8:64::c000:222"], true),
        ("www.example. AAAA", true, false, vec!["2001:db8:64::c000:221"], true),
        ("v4.old.example. AAAA", true, false, vec!["2001:db8:64::c000:221"], true),
        ("out.example. AAAA", true, false, vec!["2001:db8:64::c000:223"], false),
        ("v4.plain. AAAA", true, false, vec!["2001:db8:64::c000:223"], false),
        ("v6.plain. AAAA", true, false, vec!["2001:db8::2"], false),
        ("v4.plain. AAAA", true, true, vec![], false),
        ("v4.example. A", true, false, vec!["192.0.2.33"], true),
        ("v4.example. A", false, false, vec!["192.0.2.33"], false),
    ] {
        let answer = asked(server, question, dnssec, unchecked).await;
        let context = format!("{question} DO={dnssec} CD={unchecked}: {answer}");
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{context}");
        assert_eq!(addresses(&answer), expected, "{context}");
        assert_eq!(answer.metadata.authentic_data, authentic, "{context}");
        assert!(dnssec || unchecked || !has_signatures(&answer), "{context}");
    }
    assert!(has_signatures(&asked(server, "v4.example. A", true, false).await));
    assert_eq!(server.stats.snapshot().answers_bogus, 0);
}

#[tokio::test]
async fn what_does_not_validate_is_servfail_with_extended_error_6_and_told_to_who_sets_cd() {
    for fault in [
        Fault::Expired,
        Fault::NotYet,
        Fault::WrongKey,
        Fault::WrongDs,
        Fault::MissingDs,
        Fault::Unsigned,
        Fault::Forged,
        Fault::Smuggled,
        Fault::TooMany,
    ] {
        let Validating { server, .. } = &validating(fault, 0).await;
        for question in ["v4.example. A", "v4.example. AAAA"] {
            for dnssec in [false, true] {
                let answer = asked(server, question, dnssec, false).await;
                assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "{fault:?} {question}");
                assert_eq!(extended_error(&answer), Some(6), "{fault:?} {question}");
                assert!(answer.answers.is_empty() && !answer.metadata.authentic_data);
            }
        }
        assert_eq!(asked(server, "v4.example. A", true, true).await.metadata.response_code, ResponseCode::NoError);
        // Other zones do not suffer.
        assert_eq!(addresses(&asked(server, "v4.hashed. AAAA", true, false).await), ["2001:db8:64::c000:222"]);
        assert!(server.stats.snapshot().answers_bogus > 0);
    }
}

#[tokio::test]
async fn the_absence_of_an_aaaa_record_must_be_proven_before_a_records_are_used() {
    let Validating { server, .. } = &validating(Fault::NoDenial, 0).await;
    let answer = asked(server, "v4.example. AAAA", true, false).await;
    assert_eq!((answer.metadata.response_code, extended_error(&answer)), (ResponseCode::ServFail, Some(6)));
    assert_eq!(addresses(&asked(server, "v4.example. A", true, false).await), ["192.0.2.33"]);
}

#[tokio::test]
async fn an_aaaa_question_that_fails_is_no_proof_in_a_signed_zone_and_counts_as_empty_in_another() {
    let world = Arc::new(World::new(SIGNED, Fault::None, 0));
    let answering = Arc::clone(&world);
    let upstream = Upstream::scripted("", move |query| {
        if query.query_type() == RecordType::AAAA {
            return Script::Code(ResponseCode::ServFail);
        }
        Script::Raw(answering.answer(query).to_vec().unwrap())
    })
    .await;
    let mut config = patient(&[upstream.address]);
    (config.dnssec, config.trust_anchors) = (true, Some(world.anchors()));
    let server = start(config).await;
    assert_eq!(asked(&server, "v4.example. AAAA", true, false).await.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(addresses(&asked(&server, "v4.plain. AAAA", true, false).await), ["2001:db8:64::c000:223"]);
}

#[tokio::test]
async fn an_explanation_says_what_is_validated() {
    for (fault, name, said) in [
        (Fault::None, "v4.example.", "the answer is validated"),
        (Fault::None, "v4.plain.", "the answer is provably not signed"),
        (Fault::Expired, "v4.example.", "the answer does not validate"),
    ] {
        let Validating { server, .. } = &validating(fault, 0).await;
        let client = "127.0.0.1".parse().unwrap();
        let explanation = server.explainer.explain(name, "AAAA", client, None).await.unwrap();
        let rules = explanation.rules.iter().filter(|rule| rule.rule == "DNSSEC");
        assert!(rules.clone().count() > 0 && rules.clone().all(|rule| rule.finding == said), "{explanation:?}");
    }
}

#[tokio::test]
async fn absence_is_proven_by_nsec_and_nsec3_and_kept() {
    let Validating { server, upstream, .. } = &validating(Fault::None, 10).await;
    for (question, code) in [
        ("nowhere.example. A", ResponseCode::NXDomain),
        ("nowhere.hashed. A", ResponseCode::NXDomain),
        ("v4.example. TXT", ResponseCode::NoError),
        ("v4.hashed. TXT", ResponseCode::NoError),
    ] {
        let answer = asked(server, question, true, false).await;
        assert_eq!(
            (answer.metadata.response_code, answer.metadata.authentic_data),
            (code, true),
            "{question}: {answer}"
        );
        let before = upstream.asked().len();
        let again = asked(server, question, true, false).await;
        assert_eq!((again.metadata.response_code, again.metadata.authentic_data), (code, true), "{question}");
        assert_eq!(upstream.asked().len(), before, "{question} was asked again");
        let plain = asked(server, question, false, false).await;
        assert!(!has_signatures(&plain) && !plain.metadata.authentic_data && plain.authorities.len() == 1, "{plain}");
    }
}

#[tokio::test]
async fn nsec3_with_many_iterations_is_not_believed_and_with_very_many_is_refused() {
    let this = validating(Fault::None, 150).await;
    let answer = asked(&this.server, "nowhere.hashed. A", true, false).await;
    assert_eq!((answer.metadata.response_code, answer.metadata.authentic_data), (ResponseCode::NXDomain, false));
    let that = validating(Fault::None, 600).await;
    let answer = asked(&that.server, "nowhere.hashed. A", true, false).await;
    assert_eq!((answer.metadata.response_code, extended_error(&answer)), (ResponseCode::ServFail, Some(6)));
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_no_proof_of_anything() {
    let world = Arc::new(World::new(SIGNED, Fault::None, 0));
    let answering = Arc::clone(&world);
    let upstream = Upstream::scripted("", move |query| {
        if query.query_type() == RecordType::DNSKEY {
            return Script::Code(ResponseCode::ServFail);
        }
        Script::Raw(answering.answer(query).to_vec().unwrap())
    })
    .await;
    let mut config = patient(&[upstream.address]);
    (config.dnssec, config.trust_anchors) = (true, Some(world.anchors()));
    let server = start(config).await;
    let answer = asked(&server, "v4.example. A", true, false).await;
    assert_eq!((answer.metadata.response_code, extended_error(&answer)), (ResponseCode::ServFail, Some(22)));
}

#[tokio::test]
async fn names_of_routes_and_excepted_domains_are_not_judged() {
    let Validating { server, config, .. } = &validating(Fault::Expired, 0).await;
    let excepting = start(Config { dnssec_unsigned: vec!["example".to_owned()], ..config.clone() }).await;
    let route = dns64::Route { domain: "example".to_owned(), upstreams: config.upstreams.clone() };
    let routing = start(Config { routes: vec![route], ..config.clone() }).await;
    for (server, expected) in [(server, 0), (&excepting, 1), (&routing, 1)] {
        assert_eq!(addresses(&asked(server, "v4.example. AAAA", false, false).await).len(), expected);
    }
}

#[tokio::test]
async fn an_upstreams_word_is_no_proof() {
    let upstream = Upstream::scripted(ZONE, |_| Script::Edited(|answer| answer.metadata.authentic_data = true)).await;
    let world = World::new(SIGNED, Fault::None, 0);
    let mut config = patient(&[upstream.address]);
    (config.dnssec, config.trust_anchors) = (true, Some(world.anchors()));
    let server = start(config).await;
    let answer = asked(&server, "v4.example. A", true, false).await;
    assert!(!answer.metadata.authentic_data);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn bad_trust_anchors_are_named_and_nothing_starts() {
    let file = std::env::temp_dir().join(format!("dns64-bad-anchors-{}", std::process::id()));
    for (text, said) in [("; nothing\n", "holds no key"), (". IN A 192.0.2.1\n", "DNSKEY records as in a zone file")] {
        std::fs::write(&file, text).unwrap();
        let config =
            Config { dnssec: true, trust_anchors: Some(file.clone()), ..patient(&["192.0.2.53:53".parse().unwrap()]) };
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(said) && error.starts_with(&file.display().to_string()), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    let config = Config { dnssec: true, ..patient(&["192.0.2.53:53".parse().unwrap()]) };
    assert!(config.validate().is_ok());
}
