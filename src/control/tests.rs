use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::server::{Dns64View, View, serve};
use super::{ControlSocket, Guard, client, listing};
use crate::config::AccessSettings;

/// A directory that is removed again.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("nat64-control-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.0.join("nat64.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A daemon of nothing but a DNS64 server, which has an upstream that does not answer.
async fn dns_only() -> Arc<View> {
    let mut config = dns64::Config::new(vec!["127.0.0.1:9".parse().unwrap()], vec!["64:ff9b::/96".parse().unwrap()]);
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.deadline = std::time::Duration::from_millis(100);
    let server = dns64::Server::bind(config.clone()).await.unwrap();
    let dns64 = Dns64View::new(&server, &config);
    let wishes = tokio::sync::mpsc::channel(1).0;
    Arc::new(View {
        started: Instant::now(),
        wishes,
        meter: crate::control::rates::Meter::default(),
        translator: None,
        dns64: Some(dns64),
        session_logs: std::sync::Mutex::default(),
    })
}

/// Lets this process change things.
pub(super) fn guard() -> Guard {
    Guard::new(&AccessSettings { mode: 0o660, group: None }).unwrap()
}

/// What a client reads.
async fn answer(socket: &Path, path: &'static str) -> anyhow::Result<Value> {
    let socket = socket.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        client::ask(&socket, path, |piece| {
            text.extend_from_slice(piece);
            Ok(true)
        })?;
        Ok(serde_json::from_slice(&text)?)
    });
    asked.await.unwrap()
}

#[tokio::test]
async fn a_client_reads_what_the_daemon_tells() {
    let directory = Directory::new();
    let mut socket = ControlSocket::bind(&directory.socket(), 0o660, None).unwrap();
    let server = tokio::spawn(serve(socket.take_listener().unwrap(), dns_only().await, guard()));

    let status = answer(&directory.socket(), "/v1/status").await.unwrap();
    let sessions = answer(&directory.socket(), "/v1/sessions").await.unwrap();
    let error = answer(&directory.socket(), "/v1/nothing").await.unwrap_err();

    assert_eq!((&status["translator"], &status["pref64"][0]), (&Value::Null, &Value::from("64:ff9b::/96")));
    assert_eq!(status["dns64"]["counters"]["queries_udp"], 0);
    assert_eq!(sessions, Value::Array(Vec::new()));
    assert_eq!(error.to_string(), "there is no such path; see nat64 openapi");
    let error = answer(&directory.socket(), "/v1/mappings?state=ESTABLISHED").await.unwrap_err();
    assert_eq!(error.to_string(), "mappings have no remote end and no state; sessions have");
    server.abort();
}

#[tokio::test]
async fn where_nobody_listens_the_client_names_the_socket() {
    let error = answer(Path::new("/nonexistent/nat64.sock"), "/v1/status").await.unwrap_err();

    assert!(error.to_string().starts_with("cannot reach nat64 at /nonexistent/nat64.sock: is it running?"), "{error}");
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_group_and_goes_away() {
    let directory = Directory::new();
    let path = directory.0.join("made/for/it/nat64.sock");

    let socket = ControlSocket::bind(&path, 0o660, None).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);

    drop(socket);
    assert!(!path.parent().unwrap().exists());
}

#[tokio::test]
async fn a_socket_that_nobody_answers_at_is_replaced() {
    let directory = Directory::new();
    drop(UnixListener::bind(directory.socket()).unwrap());
    assert!(directory.socket().exists());

    ControlSocket::bind(&directory.socket(), 0o660, None).unwrap();
}

#[tokio::test]
async fn a_daemon_that_is_stopping_has_its_socket_until_all_is_taken_back() {
    let directory = Directory::new();
    let mut stopping = ControlSocket::bind(&directory.socket(), 0o660, None).unwrap();
    drop(stopping.take_listener());

    let error = ControlSocket::bind(&directory.socket(), 0o660, None).unwrap_err();
    assert!(error.to_string().starts_with("another nat64 answers at"), "{error}");

    drop(stopping);
    ControlSocket::bind(&directory.socket(), 0o660, None).unwrap();
}

#[tokio::test]
async fn a_socket_that_somebody_answers_at_is_left_alone() {
    let directory = Directory::new();
    let _other = UnixListener::bind(directory.socket()).unwrap();

    let error = ControlSocket::bind(&directory.socket(), 0o660, None).unwrap_err();

    assert!(error.to_string().starts_with("another nat64 answers at"), "{error}");
    assert!(directory.socket().exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = Directory::new();
    fs::write(directory.socket(), "precious").unwrap();

    let error = ControlSocket::bind(&directory.socket(), 0o660, None).unwrap_err();

    assert!(error.to_string().contains("is no socket"), "{error}");
    assert_eq!(fs::read_to_string(directory.socket()).unwrap(), "precious");
}

#[tokio::test]
async fn a_long_listing_is_written_in_pieces_and_only_as_fast_as_it_is_read() {
    const PAGES: usize = 50;
    let listings = Arc::new(Semaphore::new(1));
    let collected = Arc::new(AtomicU32::new(0));
    let permit = Arc::clone(&listings).try_acquire_owned().unwrap();
    let counter = Arc::clone(&collected);

    let response = listing::respond(permit, move |found| {
        let page = usize::try_from(counter.fetch_add(1, Ordering::Relaxed)).unwrap();
        found.extend((0..10_000).map(|number| page * 10_000 + number));
        page + 1 < PAGES
    });
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.len() < 100_000, "a piece is small: {}", first.len());
    assert!(collected.load(Ordering::Relaxed) < 10, "most pages are not looked at before somebody reads");

    let rest = body.collect().await.unwrap().to_bytes();
    let numbers: Vec<usize> = serde_json::from_slice(&[&first[..], &rest[..]].concat()).unwrap();
    assert!(numbers.into_iter().eq(0..PAGES * 10_000));
    let ended = listings.acquire().await;
    assert!(ended.is_ok(), "the next listing may begin");
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_listing() {
    let listings = Arc::new(Semaphore::new(1));
    let permit = Arc::clone(&listings).try_acquire_owned().unwrap();

    let response = listing::respond(permit, |found| {
        found.extend([7; 1000]);
        true
    });
    drop(response);

    assert!(listings.acquire().await.is_ok());
}

#[tokio::test]
async fn dns64_is_explained_flushed_and_drained_by_its_clients() {
    let directory = Directory::new();
    let mut socket = ControlSocket::bind(&directory.socket(), 0o660, None).unwrap();
    let server = tokio::spawn(serve(socket.take_listener().unwrap(), dns_only().await, guard()));
    let path = directory.socket();
    let tell = async |request: &'static str| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || client::tell::<Value>(&path, client::Verb::Post, request)).await.unwrap()
    };

    let local = answer(&path, "/v1/dns/explain?name=ipv4only.arpa").await.unwrap();
    assert_eq!((&local["verdict"], &local["client"], &local["kind"]), (&"local".into(), &"::1".into(), &"AAAA".into()));
    let unanswered = answer(&path, "/v1/dns/explain?name=x.example&type=A&client=10.0.0.1").await.unwrap();
    assert_eq!(unanswered["verdict"], "unanswered");
    let refused = answer(&path, "/v1/dns/explain?name=x.example&client=203.0.113.1").await.unwrap();
    assert_eq!(refused["verdict"], "refused");
    for (request, complaint) in [
        ("/v1/dns/explain?name=a..b", "`a..b` is not a domain name"),
        ("/v1/dns/explain?name=a&type=NONE", "`NONE` is no record type"),
        ("/v1/dns/explain?name=a&client=b", "client: invalid IP address"),
    ] {
        let error = answer(&path, request).await.unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }

    assert_eq!(tell("/v1/dns/flush?name=x.example").await.unwrap()["answers"], 0);
    let drained = tell("/v1/dns/drain?prefix=64:ff9b::/96").await.unwrap();
    assert_eq!(drained["prefixes"][0]["state"], "draining");
    let status = answer(&path, "/v1/status").await.unwrap();
    assert_eq!(status["dns64"]["prefixes"][0]["reason"], "drained by the operator");
    let wrong = tell("/v1/dns/drain?prefix=2001:db8::/96").await.unwrap_err().to_string();
    assert!(wrong.contains("there are 64:ff9b::/96"), "{wrong}");
    assert_eq!(tell("/v1/dns/undrain").await.unwrap()["prefixes"][0]["state"], "up");
    server.abort();
}
