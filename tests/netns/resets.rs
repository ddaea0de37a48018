//! Connections that the operator closes, of which both ends are told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::support::{CLIENT, Daemon, Lab, SERVER, Topology, eventually, under_pref64};

const ANSWER: Duration = Duration::from_secs(10);

fn lab() -> Option<Lab> {
    Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() })
}

/// Both ends of a new connection.
fn connected(lab: &Lab, port: u16) -> [TcpStream; 2] {
    let listener = lab.server.enter(|| TcpListener::bind((SERVER, port)).expect("the port is free"));
    let to = SocketAddr::from((under_pref64(SERVER), port));
    let client = lab.client.enter(|| TcpStream::connect_timeout(&to, ANSWER)).expect("the server answers");
    let (server, _) = listener.accept().expect("a client comes");
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(ANSWER)).expect("a timeout can be set");
    }
    [client, server]
}

/// How the wait for the next byte ends.
fn ending(stream: &mut TcpStream) -> ErrorKind {
    stream.read_exact(&mut [0]).expect_err("nothing is sent").kind()
}

/// Waits until everything that was sent has been acknowledged, on both sides.
fn all_is_acknowledged(lab: &Lab) {
    eventually("all is acknowledged", ANSWER, || {
        // Lines like `ESTAB 0 0 address:port address:port`, with the bytes that wait for an acknowledgment in the third column.
        [&lab.client, &lab.server].iter().all(|end| {
            let sockets = end.check("ss -Htn state established");
            sockets.lines().all(|line| line.split_whitespace().nth(1) == Some("0"))
        })
    });
}

fn close(nat64: &Daemon<'_>, arguments: &[&str]) -> String {
    nat64.ask(&[&["session", "close", "--reset"], arguments].concat()).succeeded()
}

#[test]
fn both_ends_of_a_closed_connection_are_reset_and_another_lives_on() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let [mut client, mut server] = connected(&lab, 7009);
    let [mut other_client, mut other_server] = connected(&lab, 7010);
    let mut word = [0; 5];
    client.write_all(b"hello").expect("it can be sent");
    server.read_exact(&mut word).expect("it comes");
    server.write_all(b"there").expect("it can be sent");
    client.read_exact(&mut word).expect("it comes");
    all_is_acknowledged(&lab);

    let said = close(&nat64, &["--port", "7009"]);

    assert_eq!(said, "1 session closed\n  1 reset at both ends\n");
    assert_eq!([ending(&mut client), ending(&mut server)], [ErrorKind::ConnectionReset; 2]);
    other_client.write_all(b"hello").expect("it can be sent");
    other_server.read_exact(&mut word).expect("it comes");
    assert_eq!(nat64.sessions().len(), 1);
    nat64.stop();
}

#[test]
fn a_connection_that_is_busy_is_reset_at_both_ends() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    for (port, is_upload) in [(7009, false), (7010, true)] {
        let [client, server] = connected(&lab, port);
        let (mut from, mut to) = if is_upload { (client, server) } else { (server, client) };
        let sender = thread::spawn(move || {
            loop {
                if let Err(error) = from.write_all(&[7; 65_536]) {
                    return error.kind();
                }
            }
        });
        let mut buffer = [0; 65_536];
        for _ in 0..50 {
            assert!(to.read(&mut buffer).expect("it comes") > 0);
        }
        let receiver = thread::spawn(move || {
            loop {
                if let Err(error) = to.read(&mut buffer) {
                    return error.kind();
                }
            }
        });

        let said = close(&nat64, &["--port", &port.to_string()]);

        assert_eq!(said, "1 session closed\n  1 reset at both ends\n");
        let ended = [sender, receiver].map(|end| end.join().expect("it does not panic"));
        assert_eq!(ended, [ErrorKind::ConnectionReset; 2], "upload: {is_upload}");
    }
    nat64.stop();
}

#[test]
fn it_is_said_what_could_not_be_reset() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let silent = Ipv4Addr::new(198, 18, 0, 1);
    lab.gateway.ip(&format!("route add {silent} via {SERVER}"));
    lab.server.ip(&format!("route add blackhole {silent}"));
    let socket = lab.client.enter(|| UdpSocket::bind((CLIENT, 0)).expect("a port is free"));
    socket.send_to(b"x", (under_pref64(silent), 9)).expect("it can be sent");
    let to = SocketAddr::from((under_pref64(silent), 7011));
    lab.client.enter(|| TcpStream::connect_timeout(&to, Duration::from_millis(50))).expect_err("nobody answers");
    eventually("both have sessions", ANSWER, || nat64.sessions().len() == 2);

    let json = close(&nat64, &["--all", "--json"]);

    let closed: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let resets = serde_json::json!({ "both": 0, "one": 0, "unknown": 1, "not_tcp": 1 });
    assert_eq!((&closed["sessions"], &closed["resets"]), (&2.into(), &resets));
    let both = nat64.ask(&["session", "close", "--all", "--reset", "--dry-run"]).failed();
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);
    nat64.stop();
}
