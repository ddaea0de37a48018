//! Upstreams over TLS and HTTPS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dns64::Route;
use futures_util::StreamExt;
use futures_util::future::join_all;
use hickory_proto::op::ResponseCode;
use http_body_util::StreamBody;
use hyper::Response;
use hyper::body::Frame;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::policy::extended_error;
use super::secured::{Identity, NAME};
use super::*;

/// A server that asks one upstream and trusts one certificate.
fn asking(upstream: &str, identity: &Identity) -> Config {
    let mut config = patient(&[]);
    config.upstreams = vec![upstream.parse().unwrap()];
    config.upstream_ca = Some(identity.certificate());
    config
}

fn over_tls(address: SocketAddr) -> String {
    format!("tls://{address}#{NAME}")
}

/// Another server of ours, which takes encrypted queries and asks a scripted upstream.
async fn between(upstream: &Upstream, identity: &Identity) -> Running {
    let mut config = config(&[upstream.address]);
    config.listen_tls = vec!["127.0.0.1:0".parse().unwrap()];
    config.listen_https = vec!["127.0.0.1:0".parse().unwrap()];
    config.certificate = Some(identity.files());
    start(config).await
}

#[tokio::test]
async fn questions_go_over_tls_and_https_and_answers_come_back() {
    let (upstream, identity) = (Upstream::zone(ZONE).await, Identity::new());
    let there = between(&upstream, &identity).await;
    let by_address = format!("tls://{}", there.tls[0]);
    let over_https = format!("https://{}/dns-query#{NAME}", there.https[0]);
    for (address, over_tls, over_https) in [(over_tls(there.tls[0]), 2, 0), (by_address, 2, 0), (over_https, 0, 2)] {
        let server = start(asking(&address, &identity)).await;
        assert_eq!(answers(&ask(server.address, "mail.example. MX").await), ["mail.example. 900 MX 10 v4.example."]);
        let answer = Ask::new("nowhere.example. A").over_udp(server.address).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        let stats = server.stats.snapshot();
        // One more is the probe that looks whether the upstream leads back to us.
        let probe = |count: u64| if count > 0 { count + 1 } else { 0 };
        assert_eq!((stats.upstream_tls, stats.upstream_https), (probe(over_tls), probe(over_https)), "{address}");
        assert_eq!(stats.upstream_udp + stats.upstream_tcp, 0);
    }
}

#[tokio::test]
async fn many_questions_share_a_few_connections() {
    let identity = Identity::new();
    let zone: String = (0..300).map(|number| format!("n{number}.example. 900 A 192.0.2.1\n")).collect();
    let upstream = Upstream::secured(&zone, &identity, usize::MAX, |_| Script::Zone).await;
    let config = Config { in_flight_per_client: 300, ..asking(&over_tls(upstream.address), &identity) };
    let server = start(config).await;
    let questions = (0..300).map(|number| format!("n{number}.example. A"));
    let asked = join_all(questions.map(|question| async move { ask(server.address, &question).await })).await;
    assert!(asked.iter().all(|answer| answer.answers.len() == 1));
    assert!((1..=4).contains(&upstream.connections()), "{}", upstream.connections());
    assert_eq!(server.stats.snapshot().upstream_timeouts, 0);
}

#[tokio::test]
async fn a_connection_that_the_upstream_has_closed_is_replaced_unnoticed() {
    let identity = Identity::new();
    let upstream = Upstream::secured(ZONE, &identity, 1, |_| Script::Zone).await;
    let server = start(asking(&over_tls(upstream.address), &identity)).await;
    for question in ["v4.example. A", "v6.example. AAAA", "two.example. A"] {
        assert_eq!(ask(server.address, question).await.metadata.response_code, ResponseCode::NoError);
    }
    assert!(upstream.connections() >= 3);
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_any_more_is_left() {
    let identity = Identity::new();
    let upstream = Upstream::secured(ZONE, &identity, usize::MAX, |question| {
        if question.name().to_ascii() == "silent.example." { Script::Silence } else { Script::Zone }
    })
    .await;
    let mut config = asking(&over_tls(upstream.address), &identity);
    (config.timeout, config.attempts) = (Duration::from_millis(300), 1);
    let server = start(config).await;
    assert_eq!(ask(server.address, "v4.example. A").await.answers.len(), 1);
    let before = upstream.connections();
    assert_eq!(ask(server.address, "silent.example. A").await.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(ask(server.address, "two.example. A").await.answers.len(), 2);
    assert_eq!(upstream.connections(), before + 1);
}

#[tokio::test]
async fn an_upstream_with_another_certificate_or_name_is_not_believed() {
    let (identity, other) = (Identity::new(), Identity::new());
    let upstream = Upstream::secured(ZONE, &identity, usize::MAX, |_| Script::Zone).await;
    let wrong_name = format!("tls://{}#other.example", upstream.address);
    for (address, trusted) in [(over_tls(upstream.address), &other), (wrong_name, &identity)] {
        let server = start(asking(&address, trusted)).await;
        let answer = Ask::new("v4.example. A").edns(1232).over_udp(server.address).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(extended_error(&answer), Some(22));
    }
    assert!(upstream.asked().is_empty());
}

#[tokio::test]
async fn the_next_upstream_is_asked_if_one_over_tls_does_not_answer() {
    let identity = Identity::new();
    let plain = Upstream::zone(ZONE).await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut config = asking(&over_tls(gone), &identity);
    config.upstreams.push(plain.address.into());
    let server = start(config).await;
    assert_eq!(ask(server.address, "v4.example. A").await.answers.len(), 1);
}

#[tokio::test]
async fn a_route_may_lead_to_an_upstream_over_tls() {
    let identity = Identity::new();
    let secured = Upstream::secured("pod.cluster.local. 5 A 10.0.0.1", &identity, usize::MAX, |_| Script::Zone).await;
    let plain = Upstream::zone(ZONE).await;
    let mut config = patient(&[plain.address]);
    config.upstream_ca = Some(identity.certificate());
    let upstreams = vec![over_tls(secured.address).parse().unwrap()];
    config.routes = vec![Route { domain: "cluster.local".to_owned(), upstreams }];
    let server = start(config).await;
    assert_eq!(ask(server.address, "pod.cluster.local. A").await.answers.len(), 1);
    assert_eq!(ask(server.address, "v4.example. A").await.answers.len(), 1);
    assert_eq!(
        (secured.asked(), plain.asked()),
        (vec!["pod.cluster.local. A tcp".to_owned()], vec!["v4.example. A".to_owned()])
    );
}

#[tokio::test]
async fn an_upstream_over_tls_that_is_this_server_is_refused() {
    let identity = Identity::new();
    let mut config = asking("tls://127.0.0.1:8853", &identity);
    config.listen_tls = vec!["127.0.0.1:8853".parse().unwrap()];
    config.certificate = Some(identity.files());
    assert!(matches!(config.validate(), Err(dns64::Error::UpstreamLoop { .. })));
    config.upstream_ca = Some("/nonexistent/ca.pem".into());
    assert!(config.validate().unwrap_err().to_string().starts_with("/nonexistent/ca.pem: "));
}

/// An upstream over HTTPS/2 that says the same to every request: a status, a content type, and a body or no end of it.
async fn over_https(identity: &Identity, status: u16, content_type: &'static str, body: Option<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = identity.acceptor_of(b"h2");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, body) = (acceptor.clone(), body.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let respond = service_fn(|_| {
                    let chunk = body.clone().unwrap_or_else(|| vec![0; 100]);
                    let count = if body.is_some() { 1 } else { usize::MAX };
                    let chunks = futures_util::stream::iter(0..count).then(move |number| {
                        let chunk = chunk.clone();
                        async move {
                            if number > 0 {
                                tokio::time::sleep(Duration::from_millis(20)).await;
                            }
                            Ok::<_, Infallible>(Frame::data(Bytes::from(chunk)))
                        }
                    });
                    let mut response = Response::new(StreamBody::new(Box::pin(chunks)));
                    *response.status_mut() = status.try_into().unwrap();
                    response.headers_mut().insert("content-type", content_type.try_into().unwrap());
                    std::future::ready(Ok::<_, Infallible>(response))
                });
                let http2 = http2::Builder::new(TokioExecutor::new());
                let _ended = http2.serve_connection(TokioIo::new(stream), respond).await;
            });
        }
    });
    format!("https://{address}/dns-query#{NAME}")
}

#[tokio::test]
async fn what_is_no_answer_over_https_is_servfail_in_time() {
    const MESSAGE: &str = "application/dns-message";
    let identity = Identity::new();
    let answer_to = |question: &str| {
        let mut answer = Ask::new(question).0.to_vec().unwrap();
        answer[..4].copy_from_slice(&[0, 0, 0x81, 0x80]);
        answer
    };
    for (what, status, content_type, body) in [
        ("an error", 500, MESSAGE, Some(vec![])),
        ("a page", 200, "text/html", Some(b"<html>".to_vec())),
        ("a redirection", 302, MESSAGE, Some(vec![])),
        ("nothing", 200, MESSAGE, Some(vec![])),
        ("half a header", 200, MESSAGE, Some(vec![0; 7])),
        ("too much", 200, MESSAGE, Some(vec![0; 1 << 20])),
        ("no end", 200, MESSAGE, None),
        ("an answer to something else", 200, MESSAGE, Some(answer_to("other.example. A"))),
        ("an answer", 200, MESSAGE, Some(answer_to("v4.example. A"))),
    ] {
        let upstream = over_https(&identity, status, content_type, body).await;
        let quick = config(&[]);
        let (timeout, deadline) = (quick.timeout, quick.deadline);
        let server = start(Config { timeout, deadline, ..asking(&upstream, &identity) }).await;
        let expected = if what == "an answer" { ResponseCode::NoError } else { ResponseCode::ServFail };
        let answer = ask(server.address, "v4.example. A").await;
        assert_eq!(answer.metadata.response_code, expected, "{what}");
    }
}

#[tokio::test]
async fn what_is_no_answer_over_tls_is_servfail_in_time() {
    let identity = Identity::new();
    let scripts: [fn() -> Script; 5] = [
        || Script::Raw(vec![0; 2]),
        || Script::Raw(vec![0xff; 65535]),
        || Script::Silence,
        || Script::Edited(|answer| answer.metadata.truncation = true),
        || Script::Edited(|answer| answer.queries[0].name = "other.example.".parse().unwrap()),
    ];
    for (number, script) in scripts.into_iter().enumerate() {
        let upstream = Upstream::secured(ZONE, &identity, usize::MAX, move |_| script()).await;
        let quick = config(&[]);
        let (timeout, deadline) = (quick.timeout, quick.deadline);
        let server = start(Config { timeout, deadline, ..asking(&over_tls(upstream.address), &identity) }).await;
        let answer = ask(server.address, "v4.example. A").await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "script {number}");
    }
}
