//! Several upstreams, bad upstreams, no upstreams.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dns64::{Error, Server};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn another_upstream_is_asked_when_the_first_is_silent_and_then_first() {
    let (socket, dead) = silent();
    let upstream = Upstream::zone(ZONE).await;
    let server = start(config(&[dead, upstream.address])).await;
    assert_eq!(ask(server.address, "v4.example. AAAA").await.answers.len(), 1);
    assert!(server.stats.snapshot().upstream_timeouts >= 1);
    // The silent one is known now: it is not asked before the other, so that nobody waits for it.
    assert_eq!(ask(server.address, "two.example. AAAA").await.answers.len(), 2);
    let mut buffer = [0; 512];
    socket.set_nonblocking(true).unwrap();
    let heard: Vec<_> =
        std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec())).collect();
    let has = |name: &[u8]| heard.iter().any(|query| query.windows(name.len()).any(|part| part == name));
    assert_eq!((has(b"\x02v4\x07example"), has(b"\x03two\x07example")), (true, false));
}

#[tokio::test]
async fn a_datagram_that_is_lost_is_sent_once_more_within_its_attempt() {
    let heard = AtomicU32::new(0);
    let lossy = Upstream::scripted(ZONE, move |query| {
        let is_lost = query.name().to_string() == "v4.example." && heard.fetch_add(1, Ordering::Relaxed) == 0;
        if is_lost { Script::Silence } else { Script::Zone }
    })
    .await;
    // One attempt: without the second datagram there would be no answer.
    let server = start(Config { attempts: 1, ..patient(&[lossy.address]) }).await;
    assert_eq!(ask(server.address, "v4.example. A").await.answers.len(), 1);
    let stats = server.stats.snapshot();
    assert_eq!((stats.upstream_repeats, stats.upstream_timeouts), (1, 0));
}

#[tokio::test]
async fn an_upstream_with_a_closed_port_costs_no_wait() {
    let (socket, closed) = silent();
    drop(socket);
    let upstream = Upstream::zone(ZONE).await;
    let server = start(patient(&[closed, upstream.address])).await;
    assert_eq!(ask(server.address, "v4.example. AAAA").await.answers.len(), 1);
    assert_eq!(server.stats.snapshot().upstream_timeouts, 0);
}

#[tokio::test]
async fn an_upstream_that_fails_is_followed_by_one_that_does_not() {
    let failing = Upstream::scripted(ZONE, |_| Script::Code(ResponseCode::ServFail)).await;
    let upstream = Upstream::zone(ZONE).await;
    let server = start(config(&[failing.address, upstream.address])).await;
    assert_eq!(ask(server.address, "v4.example. A").await.answers.len(), 1);
}

#[tokio::test]
async fn a_bogus_name_is_not_asked_of_an_upstream_that_may_not_validate() {
    let validating = Upstream::scripted(ZONE, |_| {
        Script::Edited(|answer| {
            answer.answers.clear();
            answer.metadata.response_code = ResponseCode::ServFail;
            // Extended error 6, DNSSEC Bogus (RFC 8914 §4.7).
            let bogus = EdnsOption::Unknown(15, vec![0, 6]);
            answer.edns.get_or_insert_default().options_mut().insert(bogus);
        })
    })
    .await;
    let other = Upstream::zone(ZONE).await;
    let server = start(config(&[validating.address, other.address])).await;
    for question in ["v4.example. A", "v4.example. AAAA"] {
        let answer = Ask::new(question).edns(1232).over_udp(server.address).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "{question}");
        assert_eq!(answer.edns.unwrap().option(EdnsCode::Unknown(15)), Some(&EdnsOption::Unknown(15, vec![0, 6])));
    }
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn a_failure_of_all_upstreams_is_told() {
    let failing = Upstream::scripted(ZONE, |_| Script::Code(ResponseCode::Refused)).await;
    let server = start(config(&[failing.address])).await;
    assert_eq!(ask(server.address, "v4.example. A").await.metadata.response_code, ResponseCode::Refused);
    assert_eq!(failing.asked().len(), 1);
}

#[tokio::test]
async fn silence_of_all_upstreams_is_servfail_within_the_deadline() {
    let (_socket, dead) = silent();
    // Without the deadline these would go on for longer than anybody waits for an answer here.
    let server = start(Config { attempts: 16, timeout: Duration::from_secs(1), ..config(&[dead]) }).await;
    let answer = Ask::new("v4.example. AAAA").edns(1232).over_udp(server.address).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(answer.edns.unwrap().options().options.len(), 1);
    assert_eq!(server.stats.snapshot().answers_servfail, 1);
    assert_eq!(timed(&server.stats), [("servfail", 1)]);
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_fetched_over_tcp_before_synthesis() {
    let upstream = Upstream::scripted(ZONE, |_| Script::TruncatedOverUdp).await;
    let server = start_with(&upstream).await;
    assert_eq!(answers(&ask(server.address, "v4.example. AAAA").await), ["v4.example. 300 AAAA 2001:db8:64::c000:221"]);
    let mut asked = upstream.asked();
    asked.sort();
    assert_eq!(asked, ["v4.example. A", "v4.example. A tcp", "v4.example. AAAA", "v4.example. AAAA tcp"]);
}

#[tokio::test]
async fn answers_that_do_not_fit_come_on_a_few_connections_that_are_used_again() {
    let upstream = Upstream::scripted("x.example. 60 A 192.0.2.1", |_| Script::TruncatedOverUdp).await;
    let server = start_with(&upstream).await;
    for round in 0..3 {
        let asks: Vec<Ask> = (0..40).map(|number| Ask::new(&format!("n{number}.r{round}.example. A"))).collect();
        let all = futures_util::future::join_all(asks.iter().map(|ask| ask.over_udp(server.address))).await;
        assert!(all.iter().all(|answer| answer.metadata.response_code == ResponseCode::NXDomain));
    }
    assert!(upstream.connections() <= 4, "{} connections", upstream.connections());
    // And the answers to its own probes.
    assert!(server.stats.snapshot().upstream_tcp >= 120);
}

#[tokio::test]
async fn an_upstream_may_be_asked_over_tcp_alone() {
    let upstream = Upstream::zone(ZONE).await;
    let mut config = config(&[upstream.address]);
    config.upstreams = vec![format!("tcp://{}", upstream.address).parse().unwrap()];
    let server = start(config).await;
    assert_eq!(answers(&ask(server.address, "v4.example. AAAA").await), ["v4.example. 300 AAAA 2001:db8:64::c000:221"]);
    assert!(upstream.asked().iter().all(|asked| asked.ends_with(" tcp")) && !upstream.asked().is_empty());
    assert_eq!((server.stats.snapshot().upstream_udp, upstream.connections()), (0, 1));
}

#[tokio::test]
async fn an_upstream_that_answers_one_query_on_each_connection_is_asked_that_way() {
    let upstream = super::hostile_upstreams::over_tcp_only(|mut stream| async move {
        let Ok(length) = stream.read_u16().await else { return };
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await.unwrap();
        let answer = super::hostile_upstreams::answer_to(&query, 0x8180);
        let framed = [&u16::try_from(answer.len()).unwrap().to_be_bytes(), answer.as_slice()].concat();
        let _sent = stream.write_all(&framed).await;
    })
    .await;
    let server = start(patient(&[upstream])).await;
    let asks: Vec<Ask> = (0..20).map(|number| Ask::new(&format!("n{number}.example. TXT"))).collect();
    let all = futures_util::future::join_all(asks.iter().map(|ask| ask.over_udp(server.address))).await;
    assert!(all.iter().all(|answer| answer.metadata.response_code == ResponseCode::NoError));
}

#[tokio::test]
async fn forged_answers_are_passed_over() {
    let upstream = Upstream::scripted(ZONE, |_| Script::AfterForgeries).await;
    let server = start_with(&upstream).await;
    assert_eq!(answers(&ask(server.address, "v4.example. A").await), ["v4.example. 900 A 192.0.2.33"]);
    assert!(server.stats.snapshot().upstream_mismatched >= 2);
}

#[tokio::test]
async fn an_upstream_without_edns_is_asked_without() {
    let upstream = Upstream::scripted(ZONE, |_| Script::NoEdns).await;
    for over in ["", "tcp://"] {
        let mut config = config(&[upstream.address]);
        config.upstreams = vec![format!("{over}{}", upstream.address).parse().unwrap()];
        let server = start(config).await;
        assert_eq!(ask(server.address, "v4.example. AAAA").await.answers.len(), 1, "{over}");
    }
}

#[tokio::test]
async fn an_unreadable_answer_is_servfail() {
    let mut raw = b"\x00\x00\x81\x80\x00\x01\x00\x05\x00\x00\x00\x00".to_vec();
    raw.extend_from_slice(b"\x02v4\x07example\x00\x00\x01\x00\x01\xc0\x0c");
    let upstream = Upstream::scripted(ZONE, move |_| Script::Raw(raw.clone())).await;
    let server = start_with(&upstream).await;
    assert_eq!(ask(server.address, "v4.example. A").await.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn an_upstream_that_is_ourselves_is_an_error_at_the_start() {
    // A free port, found by taking and leaving it.
    let (socket, address) = silent();
    drop(socket);
    let mut config = config(&[address]);
    config.listen = vec![address];
    assert!(matches!(Server::bind(config).await, Err(Error::UpstreamLoop { upstream, .. }) if upstream == address));
}

#[tokio::test]
async fn an_upstream_that_sends_our_queries_back_is_found_and_not_asked() {
    // A relay before us: the loop cannot be seen in the configuration.
    let relay = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let relay_address = relay.local_addr().unwrap();
    let server = start(patient(&[relay_address])).await;
    let ours = server.address;
    let relayed = Arc::<AtomicU32>::default();
    let counter = Arc::clone(&relayed);
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        loop {
            let (length, client) = relay.recv_from(&mut buffer).await.unwrap();
            let is_of_client = buffer[..length].windows(4).any(|part| part == b"\x02v4\x07");
            counter.fetch_add(is_of_client.into(), Ordering::Relaxed);
            let onward = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            onward.send_to(&buffer[..length], ours).await.unwrap();
            let length = onward.recv(&mut buffer).await.unwrap();
            relay.send_to(&buffer[..length], client).await.unwrap();
        }
    });
    let found = async {
        while server.stats.snapshot().upstream_loops == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found).await.unwrap();
    assert_eq!(ask(server.address, "v4.example. A").await.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(relayed.load(Ordering::Relaxed), 0);
}
