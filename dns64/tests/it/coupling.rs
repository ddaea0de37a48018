//! Synthesis follows the translator, and says why it does what it does.

use dns64::{Domain, Explanation, PrefixState, Treatment, Verdict, WhenUnusable};
use hickory_proto::op::ResponseCode;

use super::policy::extended_error;
use super::*;

fn own() -> pref64::Pref64 {
    "2001:db8:64::/96".parse().unwrap()
}

/// The answer to a question that was asked often before, with the prefix's translator in this state.
async fn answer_with(when_unusable: WhenUnusable, state: PrefixState) -> hickory_proto::op::Message {
    let upstream = Upstream::zone(ZONE).await;
    let server = start(dns64::Config { when_unusable, ..config(&[upstream.address]) }).await;
    for _ in 0..3 {
        ask(server.address, "v4.example. AAAA").await;
    }
    server.policy.set_prefix_state(own(), state);
    let answer = Ask::new("v4.example. AAAA").edns(1232).over_udp(server.address).await;
    server.policy.set_prefix_state(own(), PrefixState::Up);
    assert_eq!(ask(server.address, "v4.example. AAAA").await.answers.len(), 1, "up again");
    answer
}

#[tokio::test]
async fn nothing_is_synthesised_under_a_prefix_that_drains_or_is_down() {
    for state in [PrefixState::Draining, PrefixState::Down] {
        let answer = answer_with(WhenUnusable::NoAaaa, state).await;
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0));
        // Not ready (RFC 8914 §4.15), and nothing that would let it be cached.
        assert_eq!((extended_error(&answer), answer.authorities.len()), (Some(14), 0));
        let answer = answer_with(WhenUnusable::ServerFailure, state).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        let other = WhenUnusable::Prefixes(vec!["2001:db8:65::/96".parse().unwrap()]);
        let answer = answer_with(other, state).await;
        assert_eq!(answers(&answer), ["v4.example. 300 AAAA 2001:db8:65::c000:221"]);
    }
}

#[tokio::test]
async fn real_records_are_told_whatever_the_translator_does() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    server.policy.set_prefix_state(own(), PrefixState::Down);
    assert_eq!(ask(server.address, "both.example. AAAA").await.answers.len(), 1);
    assert_eq!(ask(server.address, "nowhere.example. AAAA").await.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(server.stats.snapshot().answers_cut_off, 0);
}

async fn explained(server: &Running, name: &str) -> Explanation {
    server.explainer.explain(name, "AAAA", "192.0.2.1".parse().unwrap(), None).await.unwrap()
}

#[tokio::test]
async fn an_explanation_names_each_rule_up_to_the_one_that_decides() {
    let zone = format!("{ZONE}\nexcluded.example. 9 A 10.0.0.1\nbroken.example. 9 TXT x");
    let upstream = Upstream::scripted(&zone, |question| match question.name().to_ascii().as_str() {
        "broken.example." => Script::Code(ResponseCode::ServFail),
        _ => Script::Zone,
    })
    .await;
    let mut config = config(&[upstream.address]);
    config.clients = vec!["192.0.2.0/24".parse().unwrap()];
    config.exclude_a = vec!["10.0.0.0/8".parse().unwrap()];
    config.domains = vec![Domain { domain: "mail.example".to_owned(), treatment: Treatment::Never }];
    let server = start(config).await;
    for (name, verdict, reason) in [
        ("v4.example", Verdict::Synthesised, "192.0.2.33 becomes 2001:db8:64::c000:221"),
        ("www.example.", Verdict::Synthesised, "aliases 2"),
        ("both.example", Verdict::Native, "it has AAAA records"),
        ("nowhere.example", Verdict::Native, "does not exist"),
        ("excluded.example", Verdict::Native, "never synthesised"),
        ("mail.example", Verdict::Passed, "the domain is never synthesised"),
        ("ipv4only.arpa", Verdict::Local, "answered here"),
        ("broken.example", Verdict::Failed, "SERVFAIL, which counts as no record"),
    ] {
        let explanation = explained(&server, name).await;
        assert_eq!(explanation.verdict, verdict, "{name}");
        let findings: Vec<&str> = explanation.rules.iter().map(|rule| rule.finding.as_str()).collect();
        assert!(findings.iter().any(|finding| finding.contains(reason)), "{name}: {findings:?}");
    }
    assert_eq!(
        explained(&server, "v4.example").await.addresses,
        ["2001:db8:64::c000:221".parse::<std::net::Ipv6Addr>().unwrap()]
    );
    server.policy.set_prefix_state(own(), PrefixState::Down);
    assert_eq!(explained(&server, "v4.example").await.verdict, Verdict::CutOff);
    let outside = server.explainer.explain("v4.example", "AAAA", "::1".parse().unwrap(), None).await.unwrap();
    assert_eq!(outside.verdict, Verdict::Refused);
    assert!(server.explainer.explain("a..b", "AAAA", "::1".parse().unwrap(), None).await.is_err());
}

#[tokio::test]
async fn other_types_are_explained_too_with_who_was_asked() {
    let (general, routed) = (Upstream::zone(ZONE).await, Upstream::zone("x.corp.example. 9 A 192.0.2.7").await);
    let mut config = config(&[general.address]);
    config.domains = vec![Domain { domain: "both.example".to_owned(), treatment: Treatment::StripA }];
    config.routes = vec![dns64::Route { domain: "corp.example".to_owned(), upstreams: vec![routed.address.into()] }];
    let server = start(config).await;
    for (name, kind, verdict, reason) in [
        ("both.example", "A", Verdict::Filtered, "A records of the domain are not told"),
        ("v4.example", "txt", Verdict::Passed, "only AAAA records are synthesised"),
        ("v4.example", "TYPE65", Verdict::Passed, "asked of 127.0.0.1:"),
        ("x.corp.example", "A", Verdict::Passed, "by a route of its domain: no error, aliases 0, addresses 192.0.2.7"),
        ("x.corp.example", "A", Verdict::Passed, "from the cache, 0 s old"),
        ("7.2.0.192.in-addr.arpa", "PTR", Verdict::Passed, "the name does not exist"),
    ] {
        let told = server.explainer.explain(name, kind, "127.0.0.1".parse().unwrap(), None).await.unwrap();
        let findings: Vec<&str> = told.rules.iter().map(|rule| rule.finding.as_str()).collect();
        assert!(told.verdict == verdict && findings.iter().any(|one| one.contains(reason)), "{name}: {told:?}");
    }
    let bad = server.explainer.explain("v4.example", "NOTYPE", "::1".parse().unwrap(), None).await.unwrap_err();
    assert!(bad.to_string().contains("`NOTYPE` is no record type"), "{bad}");
}

#[tokio::test]
async fn what_is_flushed_is_asked_for_again_and_the_rest_is_not() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let questions = ["v4.example. AAAA", "mail.v4.example. A", "both.example. AAAA"];
    let ask_all = async || {
        let before = upstream.asked().len();
        for question in questions {
            // What was told twice is ready to be sent.
            ask(server.address, question).await;
            ask(server.address, question).await;
        }
        let mut asked = upstream.asked()[before..].to_vec();
        asked.sort();
        asked
    };
    ask_all().await;
    assert_eq!(ask_all().await, [""; 0]);
    assert_eq!(server.cache.flush(Some("V4.example")).unwrap(), 3);
    assert_eq!(ask_all().await, ["mail.v4.example. A", "v4.example. A", "v4.example. AAAA"]);
    server.cache.flush(None).unwrap();
    assert_eq!(server.stats.snapshot().cache_entries, 0);
    assert!(ask_all().await.contains(&"both.example. AAAA".to_owned()));
    assert!(server.cache.flush(Some("a..b")).is_err());
}
