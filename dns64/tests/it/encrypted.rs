//! DNS over TLS (RFC 7858) and over HTTPS (RFC 8484) towards clients.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use http_body_util::Full;
use hyper::Request;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::client::{receive_tcp, send_tcp};
use super::secured::{Identity, Said, connect, request};
use super::*;

/// Longer than anything may take in a test.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn encrypting(upstream: &Upstream, identity: &Identity) -> Config {
    let mut config = config(&[upstream.address]);
    config.listen_tls = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    config.listen_https = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    config.certificate = Some(identity.files());
    config
}

pub(super) fn post(body: Vec<u8>) -> Request<Full<Bytes>> {
    Request::post("https://dns.example/dns-query")
        .header("content-type", "application/dns-message")
        .header("host", "dns.example")
        .body(Full::new(body.into()))
        .unwrap()
}

fn get(path_and_query: &str) -> Request<Full<Bytes>> {
    let request = Request::get(format!("https://dns.example{path_and_query}")).header("host", "dns.example");
    request.body(Full::default()).unwrap()
}

fn message(said: &Said) -> Message {
    assert_eq!(said.status, 200);
    assert_eq!(said.headers["content-type"], "application/dns-message");
    Message::from_vec(&said.body).unwrap()
}

const SYNTHESISED: &str = "v4.example. 300 AAAA 2001:db8:64::c000:221";

#[tokio::test]
async fn queries_over_tls_are_answered_as_those_over_tcp_over_ipv4_and_ipv6() {
    let (upstream, identity) = (Upstream::zone(ZONE).await, Identity::new());
    let server = start(encrypting(&upstream, &identity)).await;
    let query = Ask::new("v4.example. AAAA");
    for &address in &server.tls {
        let mut stream = connect(address, &identity.client(b"dot")).await.unwrap();
        send_tcp(&mut stream, &query.0).await;
        assert_eq!(answers(&receive_tcp(&mut stream).await.unwrap()), [SYNTHESISED]);
    }
    assert_eq!(answers(&query.over_tcp(server.address).await), [SYNTHESISED]);
}

#[tokio::test]
async fn queries_are_counted_by_how_they_came_and_names_that_do_not_exist_are_too() {
    let (upstream, identity) = (Upstream::zone(ZONE).await, Identity::new());
    let server = start(encrypting(&upstream, &identity)).await;
    let counts = || {
        let stats = server.stats.snapshot();
        [stats.queries_udp, stats.queries_tcp, stats.queries_tls, stats.queries_https, stats.answers_nxdomain]
    };
    let query = Ask::new("v4.example. AAAA");
    query.over_udp(server.address).await;
    assert_eq!(counts(), [1, 0, 0, 0, 0]);
    query.over_tcp(server.address).await;
    assert_eq!(counts(), [1, 1, 0, 0, 0]);
    let mut stream = connect(server.tls[0], &identity.client(b"dot")).await.unwrap();
    send_tcp(&mut stream, &query.0).await;
    receive_tcp(&mut stream).await.unwrap();
    assert_eq!(counts(), [1, 1, 1, 0, 0]);
    let bytes = query.0.to_vec().unwrap();
    message(&request(server.https[0], &identity, true, post(bytes)).await);
    assert_eq!(counts(), [1, 1, 1, 1, 0]);
    // The third is one that is ready to be sent.
    for _ in 0..3 {
        ask(server.address, "nowhere.example. AAAA").await;
    }
    assert_eq!(counts(), [4, 1, 1, 1, 3]);
}

#[tokio::test]
async fn queries_of_one_tls_connection_are_answered_as_their_answers_come() {
    let upstream = Upstream::scripted(ZONE, |question| match question.name().to_ascii().as_str() {
        "v4.example." => Script::Late(Duration::from_millis(200)),
        _ => Script::Zone,
    })
    .await;
    let identity = Identity::new();
    let server = start(encrypting(&upstream, &identity)).await;
    let mut stream = connect(server.tls[0], &identity.client(b"dot")).await.unwrap();
    let (slow, fast) = (Ask::new("v4.example. A").0, Ask::new("v6.example. AAAA").0);
    send_tcp(&mut stream, &slow).await;
    send_tcp(&mut stream, &fast).await;
    assert_eq!(receive_tcp(&mut stream).await.unwrap().metadata.id, fast.metadata.id);
    assert_eq!(receive_tcp(&mut stream).await.unwrap().metadata.id, slow.metadata.id);
}

#[tokio::test]
async fn an_idle_tls_connection_ends_with_a_word_and_an_unfinished_handshake_without() {
    let (upstream, identity) = (Upstream::zone(ZONE).await, Identity::new());
    let mut config = encrypting(&upstream, &identity);
    config.tcp_idle = Duration::from_millis(200);
    let server = start(config).await;
    let mut stream = connect(server.tls[0], &identity.client(b"dot")).await.unwrap();
    // An end without close_notify would be an error of kind UnexpectedEof.
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 16])).await.unwrap().unwrap(), 0);
    for &address in [&server.tls[0], &server.https[0]] {
        let mut silent = tokio::net::TcpStream::connect(address).await.unwrap();
        assert_eq!(timeout(PATIENCE, silent.read(&mut [0; 16])).await.unwrap().unwrap(), 0);
    }
}

#[tokio::test]
async fn a_client_may_hold_so_many_connections_and_leaves_the_others_theirs() {
    let (upstream, identity) = (Upstream::zone(ZONE).await, Identity::new());
    let mut config = encrypting(&upstream, &identity);
    config.connections_per_client = 2;
    let server = start(config).await;
    let client = identity.client(b"dot");
    let _first = connect(server.tls[0], &client).await.unwrap();
    let _second = connect(server.https[0], &identity.client(b"h2")).await.unwrap();
    assert!(connect(server.tls[0], &client).await.is_err());
    assert!(connect(server.tls[1], &client).await.is_ok());
    assert_eq!(server.stats.snapshot().tcp_refused, 1);
}

#[tokio::test]
async fn who_is_not_a_client_gets_no_handshake() {
    let (upstream, identity) = (Upstream::zone(ZONE).await, Identity::new());
    let mut config = encrypting(&upstream, &identity);
    config.clients = vec!["127.0.0.0/8".parse().unwrap()];
    let server = start(config).await;
    assert!(connect(server.tls[0], &identity.client(b"dot")).await.is_ok());
    assert!(connect(server.tls[1], &identity.client(b"dot")).await.is_err());
    assert!(connect(server.https[1], &identity.client(b"h2")).await.is_err());
    assert_eq!(server.stats.snapshot().clients_refused, 2);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let (upstream, identity) = (Upstream::zone(ZONE).await, Identity::new());
    let server = start(encrypting(&upstream, &identity)).await;
    let trusting_the_old = identity.client(b"dot");
    let mut old = connect(server.tls[0], &trusting_the_old).await.unwrap();
    identity.renew();
    assert!(connect(server.tls[0], &trusting_the_old).await.is_ok());
    server.certificate.reload();
    assert!(connect(server.tls[0], &identity.client(b"dot")).await.is_ok());
    assert!(connect(server.https[0], &identity.client(b"h2")).await.is_ok());
    send_tcp(&mut old, &Ask::new("v4.example. A").0).await;
    assert!(receive_tcp(&mut old).await.is_some());
    // A bad file changes nothing.
    std::fs::write(identity.certificate(), "no certificate").unwrap();
    server.certificate.reload();
    assert!(tokio::net::TcpStream::connect(server.tls[0]).await.is_ok());
}

#[tokio::test]
async fn queries_over_https_come_in_a_body_or_a_uri_over_both_versions_of_http() {
    let (upstream, identity) = (Upstream::zone(ZONE).await, Identity::new());
    let server = start(encrypting(&upstream, &identity)).await;
    let query = Ask::new("v4.example. AAAA").0.to_vec().unwrap();
    let uri = format!("/dns-query?dns={}", BASE64URL_NOPAD.encode(&query));
    for &address in &server.https {
        for is_http2 in [true, false] {
            for asked in [post(query.clone()), get(&uri)] {
                let said = request(address, &identity, is_http2, asked).await;
                assert_eq!(answers(&message(&said)), [SYNTHESISED]);
                assert_eq!(said.headers["cache-control"], "max-age=300");
            }
        }
    }
}

#[tokio::test]
async fn padded_queries_get_padded_answers_where_nobody_reads_them() {
    let (upstream, identity) = (Upstream::zone(ZONE).await, Identity::new());
    let server = start(encrypting(&upstream, &identity)).await;
    let mut padded = Ask::new("v4.example. AAAA").edns(1232);
    padded.0.edns.as_mut().unwrap().options_mut().insert(EdnsOption::Unknown(12, vec![0; 20]));
    let plain = Ask::new("v4.example. AAAA").edns(1232);
    // The second is answered from the ready bytes.
    for (query, is_padded) in [(&padded, true), (&padded, true), (&plain, false)] {
        let query = query.0.to_vec().unwrap();
        let said = request(server.https[0], &identity, true, post(query.clone())).await;
        assert_eq!(answers(&message(&said)), [SYNTHESISED]);
        assert_eq!(said.body.len() % 468 == 0, is_padded, "{} bytes", said.body.len());
    }
    let over_tcp = padded.over_tcp(server.address).await;
    assert!(over_tcp.edns.unwrap().option(EdnsCode::Padding).is_none());
}

#[tokio::test]
async fn failures_of_dns_are_answers_in_http_that_are_not_kept() {
    let identity = Identity::new();
    let upstream = Upstream::scripted(ZONE, |_| Script::Code(ResponseCode::ServFail)).await;
    let server = start(encrypting(&upstream, &identity)).await;
    let said = request(server.https[0], &identity, true, post(Ask::new("v4.example. A").0.to_vec().unwrap())).await;
    assert_eq!(message(&said).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(said.headers["cache-control"], "max-age=0");
}

#[tokio::test]
async fn what_is_no_query_over_https_gets_the_status_that_says_why() {
    let (upstream, identity) = (Upstream::zone(ZONE).await, Identity::new());
    let server = start(encrypting(&upstream, &identity)).await;
    let query = || Ask::new("v4.example. A").0.to_vec().unwrap();
    let edited = |edit: fn(&mut Request<Full<Bytes>>)| {
        let mut request = post(query());
        edit(&mut request);
        request
    };
    for (status, asked) in [
        (404, get("/elsewhere?dns=AAAA")),
        (400, get("/dns-query")),
        (400, get("/dns-query?dns=AAAA")),
        (400, post(vec![])),
        (405, edited(|request| *request.method_mut() = hyper::Method::PUT)),
        (415, edited(|request| drop(request.headers_mut().remove("content-type")))),
        (413, post(vec![0; 70_000])),
    ] {
        let shown = format!("{} {}", asked.method(), asked.uri());
        assert_eq!(request(server.https[0], &identity, true, asked).await.status, status, "{shown}");
    }
}

#[tokio::test]
async fn a_certificate_is_needed_and_looked_at_before_anything_is_bound() {
    let (upstream, identity) = (Upstream::zone(ZONE).await, Identity::new());
    let without = Config { certificate: None, ..encrypting(&upstream, &identity) };
    assert!(matches!(without.validate(), Err(dns64::Error::NoCertificate)));
    let bad_path = Config { https_path: "dns-query".to_owned(), ..encrypting(&upstream, &identity) };
    assert!(matches!(bad_path.validate(), Err(dns64::Error::BadPath(_))));
    let config = encrypting(&upstream, &identity);
    std::fs::write(identity.certificate(), "no certificate").unwrap();
    assert!(matches!(Server::bind(config).await, Err(dns64::Error::Certificate { .. })));
}
