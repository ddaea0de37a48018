use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use nat64_core::event::EventKind;
use nat64_core::{Event, Protocol, Timestamp};

use super::record::Record;
use super::sink::Inlet;
use super::*;

/// How long something that must happen may take.
const SOON: Duration = Duration::from_secs(20);

/// A port whose record makes the log panic.
pub(super) const POISON: u16 = 0xdead;

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nat64-log-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("sessions.json")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A log that takes mappings, with its thread.
struct Log {
    inlet: Inlet,
    stats: Arc<SinkStats>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Log {
    fn start(target: &str, format: Format, spool_bytes: usize) -> Self {
        let settings = SessionLogSettings {
            target: target.parse().unwrap(),
            format,
            kinds: Kinds { mappings: true, ..Kinds::default() },
            says: Says::default(),
            spool_bytes,
        };
        let stopping = Arc::new(AtomicBool::new(false));
        let (sink, inlet) = Sink::new(&settings, Arc::clone(&stopping));
        Self { stats: inlet.stats(), inlet, stopping, thread: thread::spawn(|| sink.run()) }
    }

    fn offer(&self, port: u16) {
        self.inlet.offer(&mapping(port));
    }

    /// Ends it, whatever waits.
    fn stop(self) -> Arc<SinkStats> {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.inlet);
        self.thread.join().unwrap();
        self.stats
    }
}

fn mapping(port: u16) -> Record {
    let event = Event {
        at: Timestamp::ZERO,
        kind: EventKind::MappingCreated,
        protocol: Protocol::Udp,
        internal: ("2001:db8::1".parse().unwrap(), port),
        external: ("192.0.2.1".parse().unwrap(), port),
        remote: None,
        prefix: 0,
        began: Timestamp::ZERO,
    };
    Record { at: 0, event, remote6: None, name: None }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn ports(text: &str) -> Vec<u16> {
    text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap().internal.port).collect()
}

#[test]
fn records_reach_the_file_in_order_and_only_those_it_takes() {
    let directory = Directory::new();
    let log = Log::start(directory.file().to_str().unwrap(), Format::Json, 1 << 20);
    for port in 1..=1000 {
        log.offer(port);
    }
    log.inlet.offer(&Record { event: Event { kind: EventKind::SessionCreated, ..mapping(1).event }, ..mapping(1) });

    let stats = log.stop();

    assert_eq!(ports(&fs::read_to_string(directory.file()).unwrap()), (1..=1000).collect::<Vec<_>>());
    assert_eq!((stats.delivered(), stats.lost(), stats.is_failing()), (1000, 0, false));
}

#[test]
fn a_panic_costs_a_log_its_batch_and_no_more() {
    let directory = Directory::new();
    let log = Log::start(directory.file().to_str().unwrap(), Format::Json, 1 << 20);
    log.offer(POISON);
    eventually("the loss is counted", || log.stats.lost() == 1);
    log.offer(7);

    let stats = log.stop();

    assert_eq!(ports(&fs::read_to_string(directory.file()).unwrap()), [7]);
    assert_eq!((stats.delivered(), stats.lost()), (1, 1));
}

#[test]
fn a_file_that_was_moved_away_is_made_anew() {
    let directory = Directory::new();
    let log = Log::start(directory.file().to_str().unwrap(), Format::Json, 1 << 20);
    log.offer(1);
    eventually("the first record", || log.stats.delivered() == 1);
    let moved = directory.0.join("sessions.json.1");
    fs::rename(directory.file(), &moved).unwrap();
    log.offer(2);

    log.stop();

    assert_eq!(ports(&fs::read_to_string(moved).unwrap()), [1]);
    assert_eq!(ports(&fs::read_to_string(directory.file()).unwrap()), [2]);
}

#[test]
fn a_full_disk_costs_the_records_that_find_no_room_and_nothing_else() {
    // Every write to it fails as on a full disk.
    let log = Log::start("/dev/full", Format::Json, 0);
    eventually("the first failure", || {
        log.offer(1);
        log.stats.is_failing()
    });
    // The smallest queue has room for 256, and as many may be under way.
    for port in 1..=2000 {
        log.offer(port);
    }
    let lost_before = log.stats.lost();

    let stats = log.stop();

    assert!(lost_before >= 2000 - 2 * 256, "{lost_before}");
    assert_eq!(stats.delivered(), 0);
    assert!(stats.lost() > lost_before, "what waited is counted at the end");
}

#[test]
fn records_wait_for_a_collector_that_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let log = Log::start(&format!("tcp://{address}"), Format::Json, 1 << 20);
    for port in 1..=10 {
        log.offer(port);
    }
    eventually("a failure", || log.stats.is_failing());

    let listener = TcpListener::bind(address).unwrap();
    let (stream, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(stream).lines();
    let received: String = (0..10).map(|_| lines.next().unwrap().unwrap() + "\n").collect();

    assert_eq!(ports(&received), (1..=10).collect::<Vec<_>>());
    assert_eq!(log.stop().lost(), 0);
}

#[test]
fn a_datagram_is_a_message() {
    let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
    collector.set_read_timeout(Some(SOON)).unwrap();
    let log = Log::start(&format!("udp://{}", collector.local_addr().unwrap()), Format::Syslog, 1 << 20);
    log.offer(7);
    log.offer(8);

    for port in [7, 8] {
        let mut buffer = [0; 2048];
        let len = collector.recv(&mut buffer).unwrap();
        let message = String::from_utf8_lossy(&buffer[..len]);
        assert!(message.starts_with("<30>1 ") && message.contains(&format!("internal-port=\"{port}\"")), "{message}");
    }
    log.stop();
}

#[test]
fn places_are_paths_or_have_a_scheme() {
    for good in ["/var/log/x", "udp://192.0.2.9:514", "tcp://[2001:db8::9]:6514", "unix:/dev/log"] {
        assert_eq!(good.parse::<Target>().unwrap().to_string(), good);
    }
    for bad in ["x.log", "udp://collector:514", "udp://192.0.2.9", "unix:log", "http://192.0.2.9:80"] {
        assert!(bad.parse::<Target>().unwrap_err().contains(bad), "{bad}");
    }
}
