//! Connections of real programs that outlive many restarts and kills of the daemon, under load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Signal;

use crate::manager::Manager;
use crate::ssh::{Ssh, ssh_server};
use crate::support::{Lab, Running, SERVER, Topology, eventually, under_pref64};

const PATIENCE: Duration = Duration::from_secs(20);
const RESTARTS: usize = 20;
const KILLS: usize = 20;

#[test]
fn ssh_iperf3_and_messages_both_ways_outlive_twenty_restarts_and_twenty_kills_under_load() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let mut manager = Manager::new(&lab);
    let mut daemon = manager.start(&lab, &Lab::translator());
    let _sshd = ssh_server(&lab, &lab.server, SERVER);
    let mut ssh = Ssh::open(&lab, &lab.client, under_pref64(SERVER).into());
    let messages = Messages::open(&lab);
    let _iperf_server = lab.iperf_server();
    let mut load = load(&lab);
    ssh.answers("at the start");
    moves_on(&lab, &mut load, "at the start");

    for round in 0..RESTARTS + KILLS {
        if round < RESTARTS {
            daemon.signal(Signal::TERM);
            assert!(daemon.wait(PATIENCE).success(), "{}", daemon.log());
        } else {
            daemon.signal(Signal::KILL);
            daemon.wait(PATIENCE);
        }
        daemon = manager.start(&lab, &Lab::translator());
        let when = format!("in round {round}");
        ssh.answers(&when);
        messages.go_on(&when);
        moves_on(&lab, &mut load, &when);
    }

    load.signal(Signal::INT);
    load.wait(PATIENCE);
    assert!(!load.log().contains("error -"), "{}", load.log());
    ssh.ends_well();
    messages.end();
    daemon.signal(Signal::TERM);
    assert!(daemon.wait(PATIENCE).success(), "{}", daemon.log());
}

/// A connection that stays open, as of a websocket: both ends send numbered messages, and look at each that they receive.
struct Messages {
    client: TcpStream,
    received: [Arc<AtomicU64>; 2],
    ends: [JoinHandle<()>; 2],
}

impl Messages {
    fn open(lab: &Lab) -> Self {
        const PORT: u16 = 7700;
        let listener = lab.server.enter(|| TcpListener::bind((SERVER, PORT)).expect("the port is free"));
        let to = SocketAddr::from((under_pref64(SERVER), PORT));
        let client = lab.client.enter(|| TcpStream::connect_timeout(&to, PATIENCE)).expect("the server answers");
        let (server, _) = listener.accept().expect("it is connected");
        let received: [Arc<AtomicU64>; 2] = std::array::from_fn(|_| Arc::default());
        let ends = [client.try_clone().expect("a socket can be shared"), server];
        let ends = std::array::from_fn(|end| {
            let stream = ends[end].try_clone().expect("a socket can be shared");
            let received = Arc::clone(&received[end]);
            thread::spawn(move || exchange(stream, &received))
        });
        Self { client, received, ends }
    }

    /// Closes it; every message that came must have been the right one.
    fn end(self) {
        self.client.shutdown(std::net::Shutdown::Both).expect("it is connected");
        self.ends.into_iter().for_each(|end| end.join().expect("each message is the one that was sent"));
    }

    /// Both ends receive more.
    #[track_caller]
    fn go_on(&self, when: &str) {
        for (end, received) in self.received.iter().enumerate() {
            let before = received.load(Ordering::Relaxed);
            eventually(&format!("messages to end {end} {when}"), PATIENCE, || {
                assert!(!self.ends[end].is_finished(), "the connection has ended {when}");
                received.load(Ordering::Relaxed) >= before + 10
            });
        }
    }
}

/// One end: the next message goes out when the other end's last has come.
fn exchange(mut stream: TcpStream, received: &AtomicU64) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    for number in 0_u64.. {
        let message: [u8; 64] = std::array::from_fn(|at| number.to_be_bytes()[at % 8] ^ u8::try_from(at).unwrap_or(0));
        let mut other = [0; 64];
        // At the end of the test the other end is gone.
        if stream.write_all(&message).is_err() || stream.read_exact(&mut other).is_err() {
            return;
        }
        assert!(other == message, "message {number} is another one: {other:?}");
        received.fetch_add(1, Ordering::Relaxed);
    }
}

/// iperf3 from the client, as fast as it goes, until it is told to end.
fn load(lab: &Lab) -> Running {
    let mut command = lab.client.command("iperf3");
    command.args(["--client", &under_pref64(SERVER).to_string(), "--time", "600", "--interval", "0"]);
    Running::start(command, &lab.directory().join("load.log"))
}

/// Waits until the server has received more of the load.
#[track_caller]
fn moves_on(lab: &Lab, load: &mut Running, when: &str) {
    let received = || {
        let sockets = lab.server.check("ss -Htin state established sport = :5201");
        let counts =
            sockets.split_whitespace().filter_map(|word| word.strip_prefix("bytes_received:")?.parse::<u64>().ok());
        counts.sum::<u64>()
    };
    let before = received();
    eventually(&format!("more of the load {when}"), PATIENCE, || {
        assert!(load.is_running(), "iperf3 has ended {when}: {}", load.log());
        received() > before
    });
}
