//! Answers that are ready to be sent, and what each has of its own: cookies, names, rates.

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};

use super::*;

const COOKIE: u16 = 10;
const NSID: u16 = 3;

/// The server's cookie, if there is one, for a query with this cookie.
async fn cookie(server: &Running, data: &[u8]) -> Option<Vec<u8>> {
    let answer = with_option(COOKIE, data).over_udp(server.address).await;
    let edns = answer.edns?;
    match edns.option(EdnsCode::Unknown(COOKIE)).or_else(|| edns.option(EdnsCode::Cookie))? {
        EdnsOption::Unknown(_, data) => Some(data.clone()),
        EdnsOption::Subnet(_) | EdnsOption::NSID(_) | _ => None,
    }
}

fn with_option(code: u16, data: &[u8]) -> Ask {
    let mut ask = Ask::new("v4.example. AAAA").edns(1232);
    ask.0.edns.as_mut().unwrap().options_mut().insert(EdnsOption::Unknown(code, data.to_vec()));
    ask
}

/// The answer section without TTLs and in lower case.
fn without_ttls(message: &Message) -> Vec<String> {
    let shown = |record: &hickory_proto::rr::Record| format!("{} {}", record.name, record.data).to_ascii_lowercase();
    message.answers.iter().map(shown).collect()
}

#[tokio::test]
async fn the_third_answer_is_as_the_first_but_for_what_is_the_clients() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    for question in [
        "www.example. AAAA",
        "both.example. AAAA",
        "to-nothing.example. AAAA",
        "mail.example. MX",
        "nowhere.example. A",
    ] {
        let first = Ask::new(question).edns(1232).over_udp(server.address).await;
        // From the cache, and then from what is ready.
        for query in [Ask::new(question), Ask::new(&question.to_ascii_uppercase())] {
            let again = query.clone().edns(1232).over_udp(server.address).await;
            assert_eq!(without_ttls(&again), without_ttls(&first), "{question}");
            assert_eq!(again.metadata.response_code, first.metadata.response_code);
            assert_eq!(again.authorities.len(), first.authorities.len());
            assert_eq!(again.edns, first.edns);
            assert!(query.over_udp(server.address).await.edns.is_none());
            assert_eq!(query.over_tcp(server.address).await.answers.len(), first.answers.len());
        }
    }
}

#[tokio::test]
async fn what_is_ready_follows_a_replaced_policy_and_is_for_clients_only() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    for _ in 0..3 {
        ask(server.address, "v4.example. AAAA").await;
    }
    let prefixes = || vec!["2001:db8:65::/96".parse().unwrap()];
    server.policy.replace(dns64::Policy::new(prefixes(), Default::default(), vec![]));
    assert!(answers(&ask(server.address, "v4.example. AAAA").await)[0].ends_with("2001:db8:65::c000:221"));
    let nobody = dns64::Policy::new(prefixes(), Default::default(), vec![]).with_clients(&[]);
    server.policy.replace(nobody);
    assert_eq!(ask(server.address, "v4.example. AAAA").await.answers.len(), 0);
}

#[tokio::test]
async fn a_client_that_sends_a_cookie_gets_one_of_ours_with_every_answer() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    for _ in 0..3 {
        let cookie = cookie(&server, b"01234567").await.unwrap();
        assert_eq!((cookie.len(), &cookie[..8]), (24, &b"01234567"[..]));
    }
    // RFC 7873 §5.2.2: a cookie of a wrong length is a format error.
    let bad = with_option(COOKIE, b"0123456789").over_udp_unchecked(server.address).await;
    assert_eq!(bad.metadata.response_code, hickory_proto::op::ResponseCode::FormErr);
    let off = start(dns64::Config { cookies: false, ..config(&[upstream.address]) }).await;
    assert_eq!(cookie(&off, b"01234567").await, None);
}

#[tokio::test]
async fn the_servers_name_is_told_to_those_who_ask_and_other_options_are_not_echoed() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start(dns64::Config { nsid: Some("gw1".to_owned()), ..config(&[upstream.address]) }).await;
    let options = |answer: Message| answer.edns.unwrap().options().options.len();
    // The extended error of synthesis, and the name.
    assert_eq!(options(with_option(NSID, b"").over_udp(server.address).await), 2);
    assert_eq!(options(with_option(65001, b"x").over_udp(server.address).await), 1);
}

#[tokio::test]
async fn answers_beyond_the_rate_are_held_back_but_not_over_tcp_nor_with_a_cookie() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start(dns64::Config { rate_limit: 1, ..config(&[upstream.address]) }).await;
    let first = cookie(&server, b"01234567").await.unwrap();
    ask(server.address, "v4.example. AAAA").await;
    let held_back = ask(server.address, "v4.example. AAAA").await;
    assert!(held_back.metadata.truncation && held_back.answers.is_empty());
    assert_eq!(server.stats.snapshot().rate_limited, 1);
    assert_eq!(Ask::new("v4.example. AAAA").over_tcp(server.address).await.answers.len(), 1);
    for _ in 0..4 {
        assert_eq!(with_option(COOKIE, &first).over_udp(server.address).await.answers.len(), 1);
    }
}
