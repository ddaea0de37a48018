//! UDP and TCP towards clients.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::net::{TcpStream, UdpSocket};

use super::client::{receive_tcp, send_tcp};
use super::*;

/// A name with more addresses than fit a small datagram.
fn wide_zone() -> String {
    let lines: String = (1..=60).map(|last| format!("wide.example. 900 A 192.0.2.{last}\n")).collect();
    format!("example. 3600 SOA 300\n{lines}")
}

#[tokio::test]
async fn an_answer_too_large_for_the_client_is_truncated_and_comes_whole_over_tcp() {
    let upstream = Upstream::zone(&wide_zone()).await;
    let server = start_with(&upstream).await;
    for query in [
        Ask::new("wide.example. AAAA"),
        Ask::new("wide.example. AAAA").edns(1232),
        Ask::new("wide.example. AAAA").edns(4096),
    ] {
        let answer = query.over_udp(server.address).await;
        assert!(answer.metadata.truncation && answer.answers.is_empty());
        let whole = query.over_tcp(server.address).await;
        assert!(!whole.metadata.truncation);
        assert_eq!(whole.answers.len(), 60);
    }
    // What fits 512 bytes is not truncated.
    assert!(!ask(server.address, "ipv4only.arpa. AAAA").await.metadata.truncation);
    assert_eq!(server.stats.snapshot().truncated, 3);
}

#[tokio::test]
async fn datagrams_are_as_large_as_client_and_configuration_allow_and_upstreams_are_told_the_same() {
    // 12 + 12 + 4 bytes, 16 for each A record, 28 for each AAAA record, 11 and 6 for OPT and extended error.
    let lines: String = (1..=50).map(|last| format!("x.example. 900 A 192.0.2.{last}\n")).collect();
    for (configured, offered, truncated) in
        [(1232, 4096, true), (512, 1500, true), (1500, 1232, true), (1500, 1500, false), (4096, 4096, false)]
    {
        let upstream = Upstream::zone(&lines).await;
        let server = start(dns64::Config { edns_payload: configured, ..config(&[upstream.address]) }).await;
        let answer = Ask::new("x.example. AAAA").edns(offered).over_udp(server.address).await;
        assert_eq!(answer.metadata.truncation, truncated, "{configured} {offered}");
        assert_eq!(answer.edns.unwrap().max_payload(), configured);
        assert_eq!(upstream.offered(), [configured; 2]);
    }
}

#[tokio::test]
async fn one_client_cannot_hold_all_connections() {
    let upstream = Upstream::zone(ZONE).await;
    let mut config = config(&[upstream.address]);
    config.connections_per_client = 2;
    let server = start(config).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        send_tcp(&mut stream, &Ask::new("v4.example. A").0).await;
        assert!(receive_tcp(&mut stream).await.is_some());
        held.push(stream);
    }
    let mut third = TcpStream::connect(server.address).await.unwrap();
    assert!(receive_tcp(&mut third).await.is_none());
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(server.address).await.unwrap();
    send_tcp(&mut other, &Ask::new("v4.example. A").0).await;
    assert!(receive_tcp(&mut other).await.is_some());
}

#[tokio::test]
async fn answers_leave_a_wildcard_socket_from_the_address_that_was_asked() {
    let upstream = Upstream::zone(ZONE).await;
    for (listen, asked) in [("0.0.0.0:0", "127.0.0.5"), ("[::]:0", "127.0.0.6"), ("[::]:0", "::1")] {
        let mut config = config(&[upstream.address]);
        config.listen = vec![listen.parse().unwrap()];
        let server = start(config).await;
        let target = SocketAddr::new(asked.parse().unwrap(), server.address.port());
        let any = if target.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        // Not connected: it would take an answer from anywhere.
        let socket = UdpSocket::bind(any).await.unwrap();
        socket.send_to(&Ask::new("v4.example. AAAA").0.to_vec().unwrap(), target).await.unwrap();
        let mut buffer = vec![0; 4096];
        let (_, from) =
            tokio::time::timeout(Duration::from_secs(5), socket.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(from, target, "{listen}");
    }
}

#[tokio::test]
async fn queries_of_one_connection_are_answered_as_their_answers_come() {
    let upstream = Upstream::scripted(ZONE, |question| match question.name().to_ascii().as_str() {
        "v4.example." => Script::Late(Duration::from_millis(200)),
        _ => Script::Zone,
    })
    .await;
    let server = start_with(&upstream).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let (slow, fast) = (Ask::new("v4.example. A").0, Ask::new("v6.example. AAAA").0);
    send_tcp(&mut stream, &slow).await;
    send_tcp(&mut stream, &fast).await;
    assert_eq!(receive_tcp(&mut stream).await.unwrap().metadata.id, fast.metadata.id);
    assert_eq!(receive_tcp(&mut stream).await.unwrap().metadata.id, slow.metadata.id);
}

#[tokio::test]
async fn a_client_that_stops_sending_still_gets_its_answers() {
    let upstream = Upstream::scripted(ZONE, |_| Script::Late(Duration::from_millis(100))).await;
    let server = start_with(&upstream).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    send_tcp(&mut stream, &Ask::new("v4.example. A").0).await;
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    assert_eq!(receive_tcp(&mut stream).await.unwrap().answers.len(), 1);
    assert!(receive_tcp(&mut stream).await.is_none());
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_too_many_too() {
    let upstream = Upstream::zone(ZONE).await;
    let mut config = config(&[upstream.address]);
    config.tcp_idle = Duration::from_millis(1500);
    config.tcp_connections = 1;
    let server = start(config).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    send_tcp(&mut first, &Ask::new("v4.example. A").0).await;
    assert!(receive_tcp(&mut first).await.is_some());
    let mut second = TcpStream::connect(server.address).await.unwrap();
    assert!(receive_tcp(&mut second).await.is_none());
    assert_eq!(server.stats.snapshot().tcp_refused, 1);
    assert!(receive_tcp(&mut first).await.is_none());
    // Its place is free again.
    assert_eq!(Ask::new("v4.example. A").over_tcp(server.address).await.answers.len(), 1);
}

#[tokio::test]
async fn queries_beyond_the_bound_are_dropped_and_counted() {
    let (_socket, dead) = silent();
    let mut config = config(&[dead]);
    config.max_in_flight = 2;
    let server = start(config).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for name in ["a", "b", "c", "d"] {
        let query = Ask::new(&format!("{name}.example. A")).0.to_vec().unwrap();
        socket.send_to(&query, server.address).await.unwrap();
    }
    let mut buffer = vec![0; 4096];
    for _ in 0..2 {
        let (length, _) = socket.recv_from(&mut buffer).await.unwrap();
        let answer = hickory_proto::op::Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    }
    assert_eq!(server.stats.snapshot().dropped_overload, 2);
}

#[tokio::test]
async fn one_client_with_random_names_leaves_room_for_others() {
    let upstream = Upstream::scripted(ZONE, |question| {
        if question.name().to_ascii().starts_with("random") { Script::Silence } else { Script::Zone }
    })
    .await;
    let mut config = patient(&[upstream.address]);
    (config.max_in_flight, config.in_flight_per_client) = (6, 3);
    let server = start(config).await;
    let (greedy, other) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.2:0").await.unwrap());
    let random = |number: u32| Ask::new(&format!("random{number}.example. A")).edns(1232).0;
    for number in 0..20 {
        greedy.send_to(&random(number).to_vec().unwrap(), server.address).await.unwrap();
    }
    let mut buffer = vec![0; 4096];
    let mut next = async |socket: &UdpSocket| {
        let (length, _) =
            tokio::time::timeout(Duration::from_secs(10), socket.recv_from(&mut buffer)).await.unwrap().unwrap();
        hickory_proto::op::Message::from_vec(&buffer[..length]).unwrap()
    };
    for _ in 3..20 {
        let answer = next(&greedy).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(super::scenario::errors(&answer), [14], "not ready");
    }
    assert_eq!(server.stats.snapshot().clients_over_share, 17);
    other.send_to(&Ask::new("v4.example. A").0.to_vec().unwrap(), server.address).await.unwrap();
    assert_eq!(answers(&next(&other).await), ["v4.example. 900 A 192.0.2.33"], "the others have their room");

    // Over TCP too, where queries wait for room.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    send_tcp(&mut stream, &random(99)).await;
    assert_eq!(receive_tcp(&mut stream).await.unwrap().metadata.response_code, ResponseCode::ServFail);
    assert_eq!((server.stats.snapshot().clients_over_share, server.stats.snapshot().dropped_overload), (18, 0));
}

#[tokio::test]
async fn a_client_without_room_is_told_what_is_known() {
    let upstream = Upstream::scripted(ZONE, |question| {
        if question.name().to_ascii().starts_with("random") { Script::Silence } else { Script::Zone }
    })
    .await;
    let server = start(Config { in_flight_per_client: 1, udp_sockets: 1, ..patient(&[upstream.address]) }).await;
    // The first tells what both types have to say of the name, the second nothing of AAAA records.
    ask(server.address, "v4.example. AAAA").await;
    ask(server.address, "both.example. A").await;
    let asked = upstream.asked().len();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(&Ask::new("random.example. A").0.to_vec().unwrap(), server.address).await.unwrap();
    for (question, expected) in [
        ("v4.example. A", &["v4.example. 900 A 192.0.2.33"][..]),
        ("V4.example. AAAA", &["V4.example. 300 AAAA 2001:db8:64::c000:221"]),
        ("ipv4only.arpa. A", &["ipv4only.arpa. 86400 A 192.0.0.170", "ipv4only.arpa. 86400 A 192.0.0.171"]),
    ] {
        let answer = ask(server.address, question).await;
        assert_eq!(answers(&answer), expected, "{question}");
    }
    for unknown in ["both.example. AAAA", "two.example. AAAA", "text.example. TXT"] {
        let answer = Ask::new(unknown).edns(1232).over_udp(server.address).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "{unknown}");
        assert_eq!(super::scenario::errors(&answer), [14], "{unknown}");
    }
    assert_eq!(server.stats.snapshot().clients_over_share, 3);
    assert_eq!(upstream.asked()[asked..], ["random.example. A"], "nobody else was asked");
}
