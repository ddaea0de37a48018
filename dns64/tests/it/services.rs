//! HTTPS and SVCB records (RFC 9460): told as they are, with addresses under the prefix beside them.

use hickory_proto::op::Message;

use super::client::shown;
use super::upstream::record;
use super::*;

const SERVICES: &str = "
    web.example.   300 HTTPS 1 v4.example. alpn=\"h2\" ipv4hint=\"192.0.2.33\"
    near.example.  300 SVCB 1 both.example. port=\"853\"
    plain.example. 300 HTTPS 1 v6.example. alpn=\"h2\"
";

/// An upstream that adds the addresses of the zone's hosts to what it says of services.
async fn upstream() -> Upstream {
    let zone = format!("{ZONE}{SERVICES}");
    Upstream::scripted(&zone, |question| match question.name().to_ascii().as_str() {
        "web.example." => Script::WithGlue("v4.example. 200 A 192.0.2.33".to_owned()),
        "near.example." => Script::WithGlue("both.example. 200 A 192.0.2.1".to_owned()),
        "plain.example." => Script::WithGlue("v6.example. 200 AAAA 2001:db8::1".to_owned()),
        _ => Script::Zone,
    })
    .await
}

fn additionals(message: &Message) -> Vec<String> {
    message.additionals.iter().map(shown).collect()
}

#[tokio::test]
async fn where_a_service_has_ipv4_alone_its_synthetic_address_is_beside_it_and_hints_stay() {
    let upstream = upstream().await;
    let server = start_with(&upstream).await;
    for _ in 0..2 {
        let answer = Ask::new("web.example. HTTPS").dnssec(false).over_udp(server.address).await;
        assert_eq!(
            answer.answers,
            [record("web.example. 300 HTTPS 1 v4.example. alpn=\"h2\" ipv4hint=\"192.0.2.33\"")]
        );
        let [glue, synthetic] = &additionals(&answer)[..] else { panic!("two records: {answer}") };
        assert_eq!(glue, "v4.example. 200 A 192.0.2.33");
        // The TTL is that of an answer to a question for AAAA records: no more than the SOA says (RFC 6147 §5.1.7).
        assert_eq!(synthetic, "v4.example. 300 AAAA 2001:db8:64::c000:221");
    }
    assert_eq!(upstream.asked(), ["web.example. HTTPS", "v4.example. AAAA", "v4.example. A"]);
}

#[tokio::test]
async fn a_name_with_real_ipv6_addresses_gets_none_whether_they_are_beside_it_or_not() {
    let upstream = upstream().await;
    let server = start_with(&upstream).await;
    let near = ask(server.address, "near.example. SVCB").await;
    assert_eq!(additionals(&near), ["both.example. 200 A 192.0.2.1"]);
    let plain = ask(server.address, "plain.example. HTTPS").await;
    assert_eq!(additionals(&plain), ["v6.example. 200 AAAA 2001:db8::1"]);
    assert_eq!(upstream.asked(), ["near.example. SVCB", "both.example. AAAA", "plain.example. HTTPS"]);
}

#[tokio::test]
async fn who_is_not_synthesised_for_gets_what_the_upstream_said() {
    let upstream = upstream().await;
    let mut config = config(&[upstream.address]);
    config.domains = vec![dns64::Domain { domain: "v4.example".to_owned(), treatment: dns64::Treatment::Never }];
    let server = start(config).await;
    let glue = ["v4.example. 200 A 192.0.2.33"];
    assert_eq!(
        additionals(&ask(server.address, "web.example. HTTPS").await),
        glue,
        "a domain that is never synthesised"
    );
    let server = start_with(&upstream).await;
    let unchecked = Ask::new("web.example. HTTPS").unchecked(true).over_udp(server.address).await;
    assert_eq!(additionals(&unchecked), glue, "CD");
    server.policy.set_prefix_state("2001:db8:64::/96".parse().unwrap(), dns64::PrefixState::Down);
    assert_eq!(additionals(&ask(server.address, "web.example. HTTPS").await), glue, "no translator");
    server.policy.set_prefix_state("2001:db8:64::/96".parse().unwrap(), dns64::PrefixState::Up);
    assert_eq!(additionals(&ask(server.address, "web.example. HTTPS").await).len(), 2, "and with one again");
}

#[tokio::test]
async fn an_answer_without_room_for_it_is_told_without_it() {
    let zone = format!("{ZONE} full.example. 300 HTTPS 1 v4.example. alpn=\"{}\"", ["h2"; 140].join(","));
    let upstream = Upstream::scripted(&zone, |question| match question.name().to_ascii().as_str() {
        "full.example." => Script::WithGlue("v4.example. 200 A 192.0.2.33".to_owned()),
        _ => Script::Zone,
    })
    .await;
    let server = start_with(&upstream).await;
    let small = ask(server.address, "full.example. HTTPS").await;
    assert_eq!((small.metadata.truncation, additionals(&small).len()), (false, 1), "512 bytes");
    let large = Ask::new("full.example. HTTPS").edns(1232).over_udp(server.address).await;
    assert_eq!((large.metadata.truncation, additionals(&large).len()), (false, 2));
}

#[tokio::test]
async fn an_upstream_that_is_slow_about_it_holds_nothing_up() {
    let zone = format!("{ZONE}{SERVICES}");
    let upstream = Upstream::scripted(&zone, |question| match question.name().to_ascii().as_str() {
        "web.example." => Script::WithGlue("v4.example. 200 A 192.0.2.33".to_owned()),
        _ => Script::Silence,
    })
    .await;
    let server = start(patient(&[upstream.address])).await;
    let answer = ask(server.address, "web.example. HTTPS").await;
    assert_eq!(additionals(&answer).len(), 1);
    assert!(!upstream.asked().contains(&"v4.example. A".to_owned()), "the question before has not timed out");
}

#[tokio::test]
async fn what_is_beside_an_answer_is_explained() {
    let upstream = upstream().await;
    let server = start_with(&upstream).await;
    let beside = async |name: &str| {
        let told = server.explainer.explain(name, "HTTPS", "127.0.0.1".parse().unwrap(), None).await.unwrap();
        let rules = told.rules.iter().filter(|rule| rule.rule == "additional section");
        rules.map(|rule| rule.finding.clone()).collect::<Vec<_>>()
    };
    let added = "v4.example. is there with A records alone, so 2001:db8:64::c000:221 is added";
    assert_eq!(beside("web.example").await, [added]);
    assert!(beside("plain.example").await.is_empty());
    server.policy.set_prefix_state("2001:db8:64::/96".parse().unwrap(), dns64::PrefixState::Down);
    let none = "v4.example. is there with A records alone, and nothing can be added";
    assert_eq!(beside("web.example").await, [none]);
}
