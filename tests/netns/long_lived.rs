//! Connections of real programs that outlive many restarts and kills of the daemon, under load.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Signal;

use crate::manager::Manager;
use crate::support::{Lab, Running, SERVER, Topology, eventually, under_pref64};

const PATIENCE: Duration = Duration::from_secs(20);
const RESTARTS: usize = 20;
const KILLS: usize = 20;

#[test]
fn ssh_iperf3_and_messages_both_ways_outlive_twenty_restarts_and_twenty_kills_under_load() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let mut manager = Manager::new(&lab);
    let mut daemon = manager.start(&lab, &Lab::translator());
    let _sshd = ssh_server(&lab);
    let mut ssh = Ssh::open(&lab);
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
    daemon.signal(Signal::TERM);
    assert!(daemon.wait(PATIENCE).success(), "{}", daemon.log());
}

/// sshd on the server, which lets root in with a key.
fn ssh_server(lab: &Lab) -> Running {
    let directory = lab.directory().join("ssh");
    fs::create_dir(&directory).expect("the lab directory is writable");
    for key in ["host", "user"] {
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.join(key)).status();
        assert!(made.expect("ssh-keygen is there").success());
    }
    let at = directory.display();
    let configuration = format!(
        "Port 22\nListenAddress {SERVER}\nHostKey {at}/host\nAuthorizedKeysFile {at}/user.pub\nStrictModes no\nUsePAM yes\n\
         PermitRootLogin prohibit-password\nPidFile none\n"
    );
    fs::write(directory.join("sshd_config"), configuration).expect("the lab directory is writable");
    // Where sshd keeps those apart that have not logged in yet.
    fs::create_dir_all("/run/sshd").expect("root may write /run");
    fs::set_permissions("/run/sshd", fs::Permissions::from_mode(0o755)).expect("it is root's");
    let mut command = lab.server.command("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(directory.join("sshd_config"));
    let running = Running::start(command, &lab.directory().join("sshd.log"));
    lab.server.wait_for_listener(22);
    running
}

/// A shell on the server that says every line again.
struct Ssh {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    said: u64,
}

impl Ssh {
    fn open(lab: &Lab) -> Self {
        let mut command = lab.client.command("ssh");
        command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-i"]).arg(lab.directory().join("ssh/user"));
        command.arg(format!("root@{}", under_pref64(SERVER))).arg("while read -r line; do echo \"$line\"; done");
        let errors = fs::File::create(lab.directory().join("ssh.log")).expect("the lab directory is writable");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().expect("ssh is there");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, input, lines, said: 0 }
    }

    #[track_caller]
    fn answers(&mut self, when: &str) {
        self.said += 1;
        let line = format!("line {}", self.said);
        writeln!(self.input, "{line}").unwrap_or_else(|error| panic!("ssh {when}: {error}"));
        match self.lines.recv_timeout(PATIENCE) {
            Ok(answer) => assert_eq!(answer, line, "ssh {when}"),
            Err(error) => panic!("ssh {when}: {error}"),
        }
    }

    #[track_caller]
    fn ends_well(mut self) {
        drop(self.input);
        assert!(self.child.wait().expect("it is a child").success());
    }
}

/// A connection that stays open, as of a websocket: both ends send numbered messages without waiting to be asked, and look
/// at each that they receive.
struct Messages {
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
        let ends = [client, server];
        let ends = std::array::from_fn(|end| {
            let stream = ends[end].try_clone().expect("a socket can be shared");
            let received = Arc::clone(&received[end]);
            thread::spawn(move || exchange(stream, &received))
        });
        Self { received, ends }
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
