//! What clients are spared when upstreams are slow, dead or asked by many.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use dns64::{Route, UpstreamOrder};
use hickory_proto::op::ResponseCode;

use super::policy::extended_error;
use super::*;

/// An upstream that answers from the zone until it is told to be silent, and the switch for that.
async fn mortal(zone: &str) -> (Upstream, Arc<AtomicBool>) {
    let is_dead = Arc::<AtomicBool>::default();
    let switch = Arc::clone(&is_dead);
    let script = move |_: &_| if is_dead.load(Ordering::Relaxed) { Script::Silence } else { Script::Zone };
    (Upstream::scripted(zone, script).await, switch)
}

/// Asks until what was cached has expired and the stale answer comes.
async fn stale_answer(server: &Running, question: &str) -> hickory_proto::op::Message {
    let give_up = Instant::now() + Duration::from_secs(8);
    loop {
        let answer = Ask::new(question).edns(1232).over_udp(server.address).await;
        if server.stats.snapshot().answers_stale > 0 {
            return answer;
        }
        assert!(Instant::now() < give_up, "no stale answer");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

const BRIEF: &str = "
    example.          1 SOA 1
    v4.example.       1 A 192.0.2.33
";

#[tokio::test]
async fn what_has_expired_is_told_when_nobody_answers_and_synthesised_from_too() {
    let (upstream, is_dead) = mortal(BRIEF).await;
    let server = start_with(&upstream).await;
    assert_eq!(answers(&ask(server.address, "v4.example. A").await), ["v4.example. 1 A 192.0.2.33"]);
    ask(server.address, "v4.example. AAAA").await;
    is_dead.store(true, Ordering::Relaxed);
    let a = stale_answer(&server, "v4.example. A").await;
    assert_eq!(answers(&a), ["v4.example. 30 A 192.0.2.33"]);
    assert_eq!(extended_error(&a), Some(3), "stale answer (RFC 8914 §4.4)");
    let aaaa = Ask::new("v4.example. AAAA").edns(1232).over_udp(server.address).await;
    assert_eq!(answers(&aaaa), ["v4.example. 30 AAAA 2001:db8:64::c000:221"]);
}

#[tokio::test]
async fn the_absence_of_a_name_is_told_stale_too() {
    let (upstream, is_dead) = mortal(BRIEF).await;
    let server = start_with(&upstream).await;
    ask(server.address, "nowhere.example. A").await;
    is_dead.store(true, Ordering::Relaxed);
    let answer = stale_answer(&server, "nowhere.example. A").await;
    assert_eq!((answer.metadata.response_code, extended_error(&answer)), (ResponseCode::NXDomain, Some(19)));
}

#[tokio::test]
async fn nothing_is_told_stale_if_that_is_switched_off() {
    let (upstream, is_dead) = mortal(BRIEF).await;
    let server = start(dns64::Config { max_stale: Duration::ZERO, ..config(&[upstream.address]) }).await;
    ask(server.address, "v4.example. A").await;
    is_dead.store(true, Ordering::Relaxed);
    let give_up = Instant::now() + Duration::from_secs(8);
    while ask(server.address, "v4.example. A").await.metadata.response_code == ResponseCode::NoError {
        assert!(Instant::now() < give_up);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.stats.snapshot().answers_stale, 0);
}

#[tokio::test]
async fn who_asks_the_same_at_the_same_time_waits_for_the_same_answer() {
    let upstream = Upstream::scripted(ZONE, |_| Script::Late(Duration::from_millis(150))).await;
    let server = start_with(&upstream).await;
    let asks = ["v4.example. AAAA", "V4.example. AAAA", "v4.example. A"].map(Ask::new);
    let all = futures_util::future::join_all(asks.iter().map(|ask| ask.over_udp(server.address))).await;
    assert!(all.iter().all(|answer| answer.answers.len() == 1));
    let mut asked = upstream.asked();
    asked.sort();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(server.stats.snapshot().coalesced >= 2);
}

#[tokio::test]
async fn a_failure_is_told_again_without_asking() {
    let upstream = Upstream::scripted(ZONE, |_| Script::Code(ResponseCode::ServFail)).await;
    let server = start_with(&upstream).await;
    for _ in 0..3 {
        assert_eq!(ask(server.address, "v4.example. A").await.metadata.response_code, ResponseCode::ServFail);
    }
    assert_eq!(upstream.asked(), ["v4.example. A"]);
}

#[tokio::test]
async fn domains_have_upstreams_of_their_own() {
    let (cluster, general) = (Upstream::zone("a.cluster.local. 9 A 192.0.2.9").await, Upstream::zone(ZONE).await);
    let mut config = config(&[general.address]);
    config.routes = vec![Route { domain: "Cluster.local".to_owned(), upstreams: vec![cluster.address.into()] }];
    let server = start(config).await;
    assert_eq!(ask(server.address, "a.cluster.local. A").await.answers.len(), 1);
    assert_eq!(ask(server.address, "v4.example. A").await.answers.len(), 1);
    assert_eq!((cluster.asked(), general.asked()), (vec!["a.cluster.local. A".into()], vec!["v4.example. A".into()]));
}

#[tokio::test]
async fn the_fastest_upstream_is_asked_first_if_that_is_wanted() {
    let slow = Upstream::scripted(ZONE, |_| Script::Late(Duration::from_millis(60))).await;
    let fast = Upstream::zone(ZONE).await;
    let mut config = config(&[slow.address, fast.address]);
    config.upstream_order = UpstreamOrder::Fastest;
    config.cache_entries = 0;
    let server = start(config).await;
    for _ in 0..40 {
        ask(server.address, "v4.example. A").await;
    }
    assert!(slow.asked().len() < 20 && fast.asked().len() > 20, "{} slow", slow.asked().len());
}

#[tokio::test]
async fn random_case_is_sent_and_answers_must_repeat_it() {
    let lowering = Upstream::scripted(ZONE, |_| {
        Script::Edited(|answer| {
            answer.queries[0].name = answer.queries[0].name().to_lowercase();
        })
    })
    .await;
    let keeping = Upstream::zone(&ZONE.replace("v4.example", "a-long-name-with-many-letters.example")).await;
    for (upstream, question, over_tcp) in
        [(&lowering, "v4.example. A", true), (&keeping, "a-long-name-with-many-letters.example. A", false)]
    {
        let server = start(dns64::Config { random_case: true, ..config(&[upstream.address]) }).await;
        assert_eq!(ask(server.address, question).await.answers.len(), 1, "{question}");
        let asked = upstream.asked();
        // A name of ten letters is all lower case once in a thousand times, and then nothing is to be seen.
        assert!(asked[0] == question || asked.iter().any(|asked| asked.ends_with("tcp")) == over_tcp, "{asked:?}");
        assert!(asked[0].eq_ignore_ascii_case(question));
    }
}
