//! Listing a million sessions through the server, while packets are translated.
//!
//! What a process has taken at the most is known to the kernel alone, and for the whole process: the test runs in a process
//! of its own, which is this program again.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use nat64_dataplane::Clock;

use super::flows::Flows;
use super::server::{TranslatorView, View, serve};
use super::tests::{Directory, guard};
use super::top::Top;
use super::{ControlSocket, client};

/// Set in the process that does the work.
const CHILD: &str = "NAT64_A_MILLION";
const MILLION: usize = 1_000_000;
/// Kibibytes that a listing of a million may take: pages on their way through server, socket and client, and code that is run
/// for the first time. The text has more than ten times as much.
const FEW: u64 = 24 << 10;
/// Kibibytes that the ranking may take: 52 bytes for each session, and half of that again while its table grows.
const FOR_EACH: u64 = (80 * MILLION as u64) >> 10;

#[test]
fn a_million_sessions_are_listed_in_little_memory_while_packets_are_translated() {
    if std::env::var_os(CHILD).is_some() {
        return list_all();
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this).args(["--exact", &name, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

fn list_all() {
    let mut flows = Flows::new();
    flows.open_a_million();
    let view = Arc::new(View {
        started: Instant::now(),
        wishes: tokio::sync::mpsc::channel(1).0,
        meter: crate::control::rates::Meter::default(),
        translator: Some(TranslatorView {
            journal_failures: None,
            mtu: 1500,
            translator: Arc::clone(&flows.translator),
            clock: Clock::start(),
            dataplane: std::sync::RwLock::new(None),
        }),
        dns64: None,
        session_logs: std::sync::Mutex::default(),
    });
    let directory = Directory::new();
    let path = directory.socket();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut socket = {
        let _inside = runtime.enter();
        ControlSocket::bind(&path, 0o660, None).unwrap()
    };
    runtime.spawn(serve(socket.take_listener().unwrap(), view, guard()));
    let traffic = Traffic::start(flows);

    for (what, entries) in [
        ("/v1/sessions", MILLION),
        ("/v1/sessions?remote=198.51.100.7", MILLION / 250),
        ("/v1/sessions?protocol=tcp", 0),
        ("/v1/mappings", MILLION),
        ("/v1/mappings?internal=2001:db8:1:7::/64", 16),
        ("/v1/subscribers", MILLION / 16),
        ("/v1/pool", 32),
    ] {
        let before = (peak(), traffic.translated());
        assert_eq!(count(&path, what), entries, "{what}");
        let grown = peak() - before.0;
        assert!(grown <= FEW, "{what}: {grown} KiB");
        // A short listing may be over before another thread has its turn.
        assert!(entries < MILLION || traffic.translated() > before.1, "{what}: packets wait for the listing");
    }

    let before = peak();
    let top: Top = client::tell(&path, client::Verb::Get, "/v1/top").unwrap();
    assert_eq!((top.sessions, top.destinations.by_sessions[0].sessions), (MILLION as u64, MILLION as u64 / 250));
    let grown = peak() - before;
    assert!(grown <= FOR_EACH + FEW, "ranking: {grown} KiB");
    traffic.stop();
}

/// Asks for a listing and counts its entries without keeping them.
fn count(path: &Path, what: &str) -> usize {
    let mut lines = 0_usize;
    client::ask(path, what, |piece| {
        lines += piece.iter().filter(|&&byte| byte == b'\n').count();
        Ok(true)
    })
    .unwrap();
    // One entry on each, but for those with the brackets; an empty array is one line.
    lines.saturating_sub(2)
}

/// Packets of a session, one after the other.
struct Traffic {
    thread: std::thread::JoinHandle<()>,
    translated: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Traffic {
    fn start(mut flows: Flows) -> Self {
        let (translated, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, end) = (Arc::clone(&translated), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                // Which panics unless it is translated.
                flows.send(0, (7, 1030), 118, 8);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { thread, translated, is_over }
    }

    fn translated(&self) -> u64 {
        self.translated.load(Ordering::Relaxed)
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// Kibibytes that this process has taken at the most.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
