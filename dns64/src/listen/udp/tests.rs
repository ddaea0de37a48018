use std::net::{IpAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::{Config, Server};

/// A datagram that makes the front panic.
pub(super) const POISON: &[u8] = b"a query for the test of panics";

fn socket(address: &str) -> Arc<Socket> {
    Arc::new(Socket::new(UdpSocket::bind(address).unwrap()).unwrap())
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client
}

fn path(client: &UdpSocket, local: Option<IpAddr>) -> Path {
    Path { local, client: client.local_addr().unwrap() }
}

/// The lengths of so many datagrams, each of which must hold one byte over and over, and where they came from.
fn lengths(client: &UdpSocket, count: usize) -> (Vec<usize>, Vec<SocketAddr>) {
    let mut buffer = [0; 2048];
    let came = (0..count).map(|_| {
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert!(buffer[..length].iter().all(|&byte| byte == buffer[0]));
        (length, from)
    });
    let (mut lengths, senders): (Vec<usize>, _) = came.unzip();
    lengths.sort_unstable();
    (lengths, senders)
}

fn push(outbox: &mut Outbox, length: usize, path: Path) {
    let fill = u8::try_from(length % 251).unwrap();
    outbox.next().resize(length, 0);
    outbox.next().fill(fill);
    outbox.push(path);
}

#[test]
fn answers_of_one_length_and_others_reach_their_clients_each_as_a_datagram() {
    let socket = socket("127.0.0.1:0");
    let (one, other) = (client(), client());
    let mut outbox = Outbox::new(&socket);
    for _twice in 0..2 {
        for length in [80, 70, 80, 80, 71, 80] {
            push(&mut outbox, length, path(&one, None));
        }
        push(&mut outbox, 80, path(&other, None));
        outbox.flush(&socket, |_, _, error| panic!("{error}"));
        assert_eq!(lengths(&one, 6).0, [70, 71, 80, 80, 80, 80]);
        assert_eq!(lengths(&other, 1).0, [80]);
    }
}

#[test]
fn answers_together_leave_from_the_address_that_was_asked() {
    for wildcard in ["0.0.0.0:0", "[::]:0"] {
        let (socket, client) = (socket(wildcard), client());
        // On a socket for both families the client is known by its mapped address.
        let mut target = path(&client, Some("127.0.0.5".parse().unwrap()));
        if socket.address().is_ipv6() {
            target.client.set_ip("::ffff:127.0.0.1".parse().unwrap());
        }
        let mut outbox = Outbox::new(&socket);
        for length in [90, 90, 90, 60] {
            push(&mut outbox, length, target);
        }
        outbox.flush(&socket, |_, _, error| panic!("{error}"));
        let asked = SocketAddr::new("127.0.0.5".parse().unwrap(), socket.address().port());
        assert_eq!(lengths(&client, 4), (vec![60, 90, 90, 90], vec![asked; 4]), "{wildcard}");
    }
}

#[test]
fn an_answer_that_cannot_be_sent_is_told_and_keeps_none_from_being_sent() {
    let (socket, client) = (socket("127.0.0.1:0"), client());
    let mut outbox = Outbox::new(&socket);
    // Two of the largest cannot go together either.
    for length in [70_000, 60, 70_000, 61, 70_001, 62] {
        push(&mut outbox, length, path(&client, None));
    }
    let mut failed = Vec::new();
    outbox.flush(&socket, |answer, _, error| failed.push((answer.len(), error)));
    assert_eq!(lengths(&client, 3).0, [60, 61, 62]);
    assert_eq!(failed, [(70_000, Errno::EMSGSIZE), (70_000, Errno::EMSGSIZE), (70_001, Errno::EMSGSIZE)]);
}

#[test]
fn queries_are_read_together_with_the_address_that_they_came_to() {
    for (bound, local) in [("127.0.0.1:0", None), ("0.0.0.0:0", Some("127.0.0.1".parse().unwrap()))] {
        let (socket, client) = (socket(bound), client());
        let target = SocketAddr::new("127.0.0.1".parse().unwrap(), socket.address().port());
        let mut inbox = Inbox::new();
        for _twice in 0..2 {
            for length in [12, 5000, 0] {
                client.send_to(&vec![7; length], target).unwrap();
            }
            assert_eq!(inbox.receive(&socket).unwrap(), 3);
            let came: Vec<_> = inbox.datagrams().map(|(datagram, path)| (datagram.len(), path)).collect();
            let path = path(&client, local);
            assert_eq!(came, [(12, path), (4096, path), (0, path)], "{bound}");
        }
    }
}

#[test]
fn whoever_waits_for_queries_is_woken_by_the_end() {
    let socket = socket("[::1]:0");
    let (over, ended) = mpsc::channel();
    let reader = Arc::clone(&socket);
    let thread = thread::spawn(move || {
        let mut inbox = Inbox::new();
        while !reader.is_stopped() {
            let _whatever = inbox.receive(&reader);
        }
        over.send(()).unwrap();
    });
    socket.stop();
    ended.recv_timeout(Duration::from_secs(5)).unwrap();
    thread.join().unwrap();
}

#[tokio::test]
async fn a_panic_costs_one_query_and_those_after_it_are_answered() {
    let mut config = Config::new(vec!["192.0.2.53:53".parse().unwrap()], vec![pref64::Pref64::WELL_KNOWN]);
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.udp_sockets = 1;
    let server = Server::bind(config).await.unwrap();
    let address = server.local_addrs()[0];
    let running = tokio::spawn(server.run(std::future::pending()));
    // ipv4only.arpa AAAA, which is answered without anybody being asked (RFC 8880 §7.1).
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x08ipv4only\x04arpa\0\0\x1c\0\x01";
    let (answered, length) = tokio::task::spawn_blocking(move || {
        let client = client();
        for datagram in [POISON, query] {
            client.send_to(datagram, address).unwrap();
        }
        let mut buffer = [0; 512];
        let length = client.recv(&mut buffer).unwrap();
        (buffer, length)
    })
    .await
    .unwrap();
    assert!(length > query.len() && answered[..2] == query[..2], "{:?}", &answered[..length]);
    assert!(!running.is_finished());
    running.abort();
}
