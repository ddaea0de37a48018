//! Connections that rest: kept as long as RFC 6146 §3.5.2.2 wants, and told when they are gone.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::support::{Daemon, Lab, SERVER, Topology, eventually, under_pref64};

const PORT: u16 = 7000;
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_connection_idle_past_the_transitory_timeout_still_works() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let nat64 = lab.nat64(&format!("{}[translator.timers]\ntcp-transitory = \"1s\"\n", Lab::translator()));
    let listener = listen(&lab);
    let mut resting = Connection::open(&lab, &listener);
    resting.converse();
    let mut finished = Connection::open(&lab, &listener);
    finished.converse();
    drop(finished);
    // The finished one waits out the transitory timeout; when it is gone, the resting one has been idle for longer than that.
    eventually("the finished session to expire", PATIENCE, || tcp_sessions(&nat64) == 1);
    resting.converse();
}

#[test]
fn a_connection_idle_past_the_established_timeout_is_probed_and_kept() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let timers = "[translator.timers]\ntcp-established = \"1s\"\ntcp-transitory = \"1s\"\n";
    let nat64 = lab.nat64(&format!("{}{timers}", Lab::translator()));
    let listener = listen(&lab);
    let mut connection = Connection::open(&lab, &listener);
    connection.converse();
    lab.client.check("nft add table inet watch");
    lab.client.check("nft add chain inet watch input { type filter hook input priority 0 ; }");
    lab.client.check(&format!("nft add rule inet watch input tcp sport {PORT} counter"));
    // Nobody speaks, so what arrives from the server's port is the translator asking whether the client is still there.
    let probes = || {
        let rules = lab.client.check("nft list chain inet watch input");
        let count = rules.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
        count.and_then(|count| count.parse::<u32>().ok()).expect("nft prints its counter")
    };
    eventually("a second probe", PATIENCE, || probes() >= 2);
    assert_eq!(tcp_sessions(&nat64), 1);
    connection.converse();
}

#[test]
fn a_connection_that_expired_is_reset_when_the_client_speaks_again() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let timers = "[translator.timers]\ntcp-established = \"1s\"\ntcp-transitory = \"1s\"\n";
    let nat64 = lab.nat64(&format!("{}{timers}", Lab::translator()));
    let listener = listen(&lab);
    let mut connection = Connection::open(&lab, &listener);
    connection.converse();
    // A client asleep hears no probe.
    lab.client.check("nft add table inet sleep");
    lab.client.check("nft add chain inet sleep input { type filter hook input priority 0 ; }");
    lab.client.check(&format!("nft add rule inet sleep input tcp sport {PORT} drop"));
    eventually("the idle session to expire", PATIENCE, || tcp_sessions(&nat64) == 0);
    lab.client.check("nft delete table inet sleep");
    connection.client.write_all(b"still there?").expect("the client does not know yet");
    let error = connection.client.read(&mut [0; 16]).expect_err("the connection is gone");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Both ends of a TCP connection through the translator.
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    fn open(lab: &Lab, listener: &TcpListener) -> Self {
        let address = SocketAddr::from((under_pref64(SERVER), PORT));
        let client = lab.client.enter(|| TcpStream::connect_timeout(&address, PATIENCE)).expect("the server listens");
        let (server, _) = listener.accept().expect("the client has connected");
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        }
        Self { client, server }
    }

    /// A message each way.
    fn converse(&mut self) {
        let mut buffer = [0; 4];
        self.client.write_all(b"ping").expect("the connection lives");
        self.server.read_exact(&mut buffer).expect("the client's message arrives");
        self.server.write_all(b"pong").expect("the connection lives");
        self.client.read_exact(&mut buffer).expect("the server's message arrives");
        assert_eq!(&buffer, b"pong");
    }
}

fn listen(lab: &Lab) -> TcpListener {
    lab.server.enter(|| TcpListener::bind((SERVER, PORT))).expect("the port is free")
}

fn tcp_sessions(nat64: &Daemon<'_>) -> usize {
    nat64.sessions().iter().filter(|session| session["protocol"] == "tcp").count()
}
