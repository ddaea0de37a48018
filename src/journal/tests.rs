use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use nat64_core::policy::PoolRange;
use nat64_core::{HEADROOM, Offload, PacketBuf, Policy, SessionInfo, Timestamp, Translator, Verdict, Worker};
use pref64::Pref64;

use super::keeper::Inlet;
use super::*;

const NOW: Timestamp = Timestamp::from_millis(5_000_000);

/// A directory that is removed again.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nat64-journal-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        path(&self.0, "nat64")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn prefix() -> Pref64 {
    "2001:db8:64::/96".parse().unwrap()
}

fn translator() -> Arc<Translator> {
    let pool = vec![PoolRange::address(Ipv4Addr::new(192, 0, 2, 1))];
    Arc::new(Translator::new(Policy::new(vec![prefix()], pool), 7).unwrap())
}

/// Sends a datagram from a host and a port, and hands its events to the keeper.
fn send(translator: &Translator, host: u16, port: u16, inlet: Option<&Inlet>) {
    let from = Ipv6Addr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, host]);
    let to = prefix().embed(Ipv4Addr::new(198, 51, 100, 7));
    let mut bytes = Vec::new();
    PacketBuilder::ipv6(from.octets(), to.octets(), 64).udp(port, 53).write(&mut bytes, b"query").unwrap();
    let mut storage = vec![0; 2 * HEADROOM + bytes.len()];
    storage[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(&bytes);
    let mut packet = PacketBuf::new(&mut storage, HEADROOM, bytes.len(), Offload::default());
    let mut worker = Worker::new();
    let verdict = translator.batch(NOW, &mut worker).translate(&mut packet);
    assert!(matches!(verdict, Verdict::Translated(_)), "{verdict:?}");
    worker.events.drain().for_each(|event| {
        if let Some(inlet) = inlet {
            inlet.offer(&event);
        }
    });
}

fn end_all(translator: &Translator, inlet: &Inlet) {
    let mut worker = Worker::new();
    for shard in 0..translator.shards() {
        translator.end_sessions((shard, 0), NOW, &mut worker, &mut |_| true, None);
    }
    worker.events.drain().for_each(|event| inlet.offer(&event));
}

fn sessions(translator: &Translator) -> Vec<SessionInfo> {
    let mut sessions = Vec::new();
    for shard in 0..translator.shards() {
        translator.visit_sessions(shard, NOW, &mut |session| sessions.push(*session));
    }
    sessions.sort_by_key(|session| session.internal);
    sessions
}

/// What the next process has once the file says what is waited for.
#[track_caller]
fn next_with(file: &Path, count: usize) -> Arc<Translator> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let next = translator();
        let restored = restore(file, &next, NOW).unwrap();
        if restored.is_some_and(|restored| restored.sessions == count as u64) {
            return next;
        }
        assert!(Instant::now() < end, "{} sessions, not {count}", sessions(&next).len());
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn sessions_go_on_in_the_next_process_as_they_were() {
    let directory = Directory::new("saved");
    let before = translator();
    (0..500).for_each(|host| send(&before, host, 4000, None));

    assert_eq!(save(&directory.file(), &before).unwrap(), 500);
    let after = translator();
    let restored = restore(&directory.file(), &after, NOW).unwrap().unwrap();

    assert_eq!(restored, Restored { sessions: 500, ..Restored::default() });
    assert_eq!(sessions(&after), sessions(&before));
    assert_eq!(restore(&directory.0.join("none"), &after, NOW).unwrap(), None);
    forget(&directory.file());
    assert!(!directory.file().exists());
}

#[test]
fn what_is_kept_while_it_runs_is_what_a_crash_leaves() {
    let directory = Directory::new("kept");
    let before = translator();
    (0..10).for_each(|host| send(&before, host, 4000, None));
    let keeper = Keeper::start(directory.file(), Arc::clone(&before)).unwrap();
    let inlet = keeper.inlet();

    let first = next_with(&directory.file(), 10);
    assert_eq!(sessions(&first).len(), 10);
    (10..30).for_each(|host| send(&before, host, 4000, Some(&inlet)));
    let second = next_with(&directory.file(), 30);
    let externals = |translator| -> Vec<_> { sessions(translator).iter().map(|session| session.external).collect() };
    assert_eq!(externals(&second), externals(&before));
    end_all(&before, &inlet);
    send(&before, 99, 5000, Some(&inlet));
    let third = next_with(&directory.file(), 1);
    assert_eq!(sessions(&third)[0].internal.1, 5000);
}

#[test]
fn more_events_than_fit_make_it_begin_anew() {
    let directory = Directory::new("missed");
    let before = translator();
    let keeper = Keeper::start(directory.file(), Arc::clone(&before)).unwrap();
    next_with(&directory.file(), 0);
    // Nobody tells the keeper of these, but that something was missed.
    (0..10).for_each(|host| send(&before, host, 4000, None));
    keeper.inlet().missed();
    next_with(&directory.file(), 10);
}

#[test]
fn a_damaged_end_costs_what_is_behind_the_damage() {
    let directory = Directory::new("damaged");
    let before = translator();
    (0..20).for_each(|host| send(&before, host, 4000, None));
    save(&directory.file(), &before).unwrap();
    let whole = fs::read(directory.file()).unwrap();
    for (len, left) in [(whole.len(), 20), (whole.len() - 1, 19), (whole.len() - file::RECORD - 60, 18), (64, 0)] {
        fs::write(directory.file(), &whole[..len]).unwrap();
        assert_eq!(restore(&directory.file(), &translator(), NOW).unwrap().unwrap().sessions, left);
    }
    let mut flipped = whole;
    flipped[64 + 5 * file::RECORD + 30] ^= 1;
    fs::write(directory.file(), &flipped).unwrap();
    assert_eq!(restore(&directory.file(), &translator(), NOW).unwrap().unwrap().sessions, 5);
}

#[test]
fn a_file_of_somebody_else_is_refused_with_a_reason() {
    let directory = Directory::new("foreign");
    save(&directory.file(), &translator()).unwrap();
    let good = fs::read(directory.file()).unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for (bytes, why) in [
        (Vec::new(), "is no file of sessions"),
        (vec![7; 1000], "is no file of sessions"),
        (with(8, 9), "is of layout 9, and this is 1"),
        (with(12, b'!'), "is from before the host was started"),
    ] {
        fs::write(directory.file(), bytes).unwrap();
        let error = restore(&directory.file(), &translator(), NOW).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_link_in_the_place_of_a_file_is_not_followed() {
    let directory = Directory::new("link");
    let (file, other) = (directory.file(), directory.0.join("other"));
    fs::write(&other, "somebody's").unwrap();
    std::os::unix::fs::symlink(&other, file.with_extension("new")).unwrap();
    save(&file, &translator()).unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), "somebody's");
    fs::rename(&file, &other).unwrap();
    std::os::unix::fs::symlink(&other, &file).unwrap();
    assert!(restore(&file, &translator(), NOW).unwrap_err().to_string().contains("cannot open"));
}

#[test]
fn what_was_left_beside_the_file_gives_it_neither_mode_nor_owner() {
    let directory = Directory::new("left");
    let (file, left) = (directory.file(), directory.file().with_extension("new"));
    fs::write(&left, "half a file").unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();
    save(&file, &translator()).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!left.exists());
    restore(&file, &translator(), NOW).unwrap();
}

#[test]
fn what_is_no_plain_file_of_ours_is_not_read_and_not_waited_for() {
    let directory = Directory::new("pipe");
    let (file, new) = (directory.file(), directory.file().with_extension("new"));
    for pipe in [&file, &new] {
        rustix::fs::mkfifoat(rustix::fs::CWD, pipe, 0o600.into()).unwrap();
    }
    assert!(restore(&file, &translator(), NOW).unwrap_err().to_string().contains("is no file of sessions"));
    save(&file, &translator()).unwrap();
    restore(&file, &translator(), NOW).unwrap();
    if std::os::unix::fs::chown(&file, Some(12_345), None).is_ok() {
        let error = restore(&file, &translator(), NOW).unwrap_err().to_string();
        assert!(error.ends_with("belongs to another user, 12345"), "{error}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_told_and_tried_again() {
    let directory = Directory::new("full");
    let lost = directory.0.join("gone/nat64.sessions");
    let before = translator();
    assert!(save(&lost, &before).unwrap_err().to_string().contains("cannot make"));
    let keeper = Keeper::start(lost, before).unwrap();
    let failures = keeper.failures();
    let end = Instant::now() + Duration::from_secs(10);
    while failures.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        assert!(Instant::now() < end);
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
