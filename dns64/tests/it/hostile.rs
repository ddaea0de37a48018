//! What clients may do that nobody should: others are answered all the same, and nothing is held for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use hickory_proto::op::{Message, ResponseCode};
use http_body_util::StreamBody;
use hyper::Request;
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::{receive_tcp, send_tcp};
use super::encrypted::{encrypting, post};
use super::secured::{Identity, connect, request};
use super::*;

/// Longer than anything may take in a test.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is no query, and the response code that it is answered with, if it is.
fn malformed() -> Vec<(&'static str, Vec<u8>, Option<ResponseCode>)> {
    let header = |flags: u16, counts: [u16; 4]| -> Vec<u8> {
        [0x1234, flags].iter().chain(&counts).flat_map(|word| word.to_be_bytes()).collect()
    };
    let with = |flags, counts, rest: &[u8]| [header(flags, counts), rest.to_vec()].concat();
    let question = b"\x01x\x00\x00\x01\x00\x01";
    let long_name = [[&[63][..], &[b'x'; 63][..]].concat().repeat(4), vec![0, 0, 1, 0, 1]].concat();
    let many_labels = [b"\x01x".repeat(200), vec![0, 0, 1, 0, 1]].concat();
    let opt = |options: &[u8]| {
        let length = u16::try_from(options.len()).unwrap().to_be_bytes();
        [&question[..], b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00", &length, options].concat()
    };
    let form_error = Some(ResponseCode::FormErr);
    vec![
        ("nothing", vec![], None),
        ("half a header", header(0x0100, [1, 0, 0, 0])[..7].to_vec(), None),
        ("an answer", with(0x8180, [1, 0, 0, 0], question), None),
        ("no question", header(0x0100, [0; 4]), form_error),
        ("two questions", with(0x0100, [2, 0, 0, 0], &question.repeat(2)), form_error),
        ("65,535 questions", with(0x0100, [0xffff, 0, 0, 0], question), form_error),
        ("65,535 records that are not there", with(0x0100, [1, 0xffff, 0xffff, 0xffff], question), form_error),
        ("a question that ends early", with(0x0100, [1, 0, 0, 0], &question[..5]), form_error),
        ("a pointer to itself", with(0x0100, [1, 0, 0, 0], b"\xc0\x0c\x00\x01\x00\x01"), form_error),
        ("a pointer into the header", with(0x0100, [1, 0, 0, 0], b"\xc0\x00\x00\x01\x00\x01"), form_error),
        ("a label and a pointer to it", with(0x0100, [1, 0, 0, 0], b"\x01x\xc0\x0c\x00\x01\x00\x01"), form_error),
        ("a label of another kind", with(0x0100, [1, 0, 0, 0], b"\x40\x01x\x00\x00\x01\x00\x01"), form_error),
        ("a name of 257 bytes", with(0x0100, [1, 0, 0, 0], &long_name), form_error),
        ("a name of 200 labels", with(0x0100, [1, 0, 0, 0], &many_labels), form_error),
        ("STATUS", header(0x1000, [0; 4]), Some(ResponseCode::NotImp)),
        ("UPDATE", with(0x2800, [1, 0, 0, 0], question), Some(ResponseCode::NotImp)),
        ("an opcode that there is none of", with(0x7800, [1, 0, 0, 0], question), Some(ResponseCode::NotImp)),
        ("an option that ends early", with(0x0100, [1, 0, 0, 1], &opt(b"\x00\x0a\x00\xff")), form_error),
        ("half an option", with(0x0100, [1, 0, 0, 1], &opt(b"\x00\x0a\x00")), form_error),
        ("a cookie of one byte", with(0x0100, [1, 0, 0, 1], &opt(b"\x00\x0a\x00\x01x")), form_error),
    ]
}

/// What is a query, however odd, and is answered as one.
fn odd() -> Vec<(&'static str, Vec<u8>)> {
    let with = |rest: &[u8]| [&b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01"[..], rest].concat();
    let opt = |question: &[u8], options: &[u8]| {
        let length = u16::try_from(options.len()).unwrap().to_be_bytes();
        with(&[question, b"\x00\x00\x29\xff\xff\x00\x00\x00\x00", &length, options].concat())
    };
    let question = b"\x02v4\x07example\x00\x00\x1c\x00\x01";
    let unknown =
        |length: usize| [&[0xfd, 0xe9][..], &u16::try_from(length).unwrap().to_be_bytes(), &vec![7; length]].concat();
    vec![
        ("unknown options", opt(question, &unknown(3).repeat(5))),
        ("an option of 900 bytes", opt(question, &unknown(900))),
        ("hundreds of empty options", opt(question, &unknown(0).repeat(300))),
        ("bytes after the end", [opt(question, b""), vec![0xff; 20]].concat()),
    ]
}

/// What comes on a stream for a message, told apart from silence by a good query after it.
async fn over_stream(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), message: &[u8]) -> Option<Message> {
    let mut good = Ask::new("ipv4only.arpa. A").0;
    good.metadata.id = 0x4242;
    let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
    stream.write_all(&framed).await.unwrap();
    send_tcp(stream, &good).await;
    let first = receive_tcp(stream).await.expect("an answer");
    if first.metadata.id == 0x4242 {
        return None;
    }
    assert_eq!(receive_tcp(stream).await.unwrap().metadata.id, 0x4242);
    Some(first)
}

#[tokio::test]
async fn what_is_no_query_is_answered_alike_over_tcp_tls_and_https() {
    let (upstream, identity) = (Upstream::zone(ZONE).await, Identity::new());
    let server = start(encrypting(&upstream, &identity)).await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    let mut tls = connect(server.tls[0], &identity.client(b"dot")).await.unwrap();
    // A message of no length ends a stream, which is no query either.
    for (what, message, expected) in malformed().into_iter().filter(|(_, message, _)| !message.is_empty()) {
        let code = |answer: Message| answer.metadata.response_code;
        assert_eq!(over_stream(&mut tcp, &message).await.map(code), expected, "{what}, TCP");
        assert_eq!(over_stream(&mut tls, &message).await.map(code), expected, "{what}, TLS");
        let said = request(server.https[0], &identity, true, post(message)).await;
        match expected {
            Some(_) => assert_eq!(Message::from_vec(&said.body).ok().map(code), expected, "{what}, HTTPS"),
            None => assert_eq!(said.status, 400, "{what}, HTTPS"),
        }
    }
    for (what, message) in odd() {
        let told = |answer: Message| answers(&answer);
        let expected = ["v4.example. 300 AAAA 2001:db8:64::c000:221"];
        assert_eq!(over_stream(&mut tcp, &message).await.map(told).unwrap(), expected, "{what}, TCP");
        assert_eq!(over_stream(&mut tls, &message).await.map(told).unwrap(), expected, "{what}, TLS");
    }
}

#[tokio::test]
async fn what_is_no_query_is_answered_alike_over_udp() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.address).await.unwrap();
    let mut good = Ask::new("ipv4only.arpa. A").0;
    good.metadata.id = 0x4242;
    let good = good.to_vec().unwrap();
    let mut buffer = vec![0; 65535];
    for (what, message, expected) in malformed() {
        socket.send(&message).await.unwrap();
        socket.send(&good).await.unwrap();
        let (mut told, mut is_good_answered) = (None, false);
        // Datagrams may overtake each other.
        while !is_good_answered || told.is_none() && expected.is_some() {
            let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect(what).unwrap();
            let answer = Message::from_vec(&buffer[..length]).unwrap();
            if answer.metadata.id == 0x4242 {
                is_good_answered = true;
            } else {
                told = Some(answer.metadata.response_code);
            }
        }
        assert_eq!(told, expected, "{what}");
    }
    for (what, message) in odd() {
        socket.send(&message).await.unwrap();
        let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(answer.answers.len(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_thousand_queries_in_one_write_are_all_answered() {
    let upstream = Upstream::zone("x.example. 60 A 192.0.2.1").await;
    let server = start_with(&upstream).await;
    let (mut reader, mut writer) = TcpStream::connect(server.address).await.unwrap().into_split();
    let query = |id: u16| {
        // Each asks for something else.
        let mut query = Ask::new(&format!("n{id}.example. A")).0;
        query.metadata.id = id;
        let bytes = query.to_vec().unwrap();
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes.as_slice()].concat()
    };
    let all: Vec<u8> = (0..1000).flat_map(query).collect();
    writer.write_all(&all).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..1000 {
        ids.push(receive_tcp(&mut reader).await.expect("an answer").metadata.id);
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..1000).collect::<Vec<u16>>());
}

#[tokio::test]
async fn a_query_that_comes_byte_by_byte_is_answered_and_one_that_never_ends_is_not_waited_for() {
    let upstream = Upstream::zone(ZONE).await;
    let config = Config { tcp_idle: Duration::from_millis(500), ..config(&[upstream.address]) };
    let server = start(config).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let query = Ask::new("v4.example. A").0.to_vec().unwrap();
    for byte in [&u16::try_from(query.len()).unwrap().to_be_bytes(), query.as_slice()].concat() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(receive_tcp(&mut stream).await.unwrap().answers.len(), 1);
    // RFC 7766 §6.2.3: only a whole message begins the time anew.
    stream.write_all(&[0xff, 0xff]).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let drip = async {
        while writer.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let end = async {
        let mut rest = Vec::new();
        let _end = reader.read_to_end(&mut rest).await;
    };
    let ended = async {
        tokio::select! {
            () = drip => {}
            () = end => {}
        }
    };
    assert!(timeout(PATIENCE, ended).await.is_ok(), "the connection is held");
}

#[tokio::test]
async fn a_client_that_reads_no_answers_is_left_and_others_are_answered() {
    let upstream = Upstream::zone(ZONE).await;
    let config = Config { tcp_idle: Duration::from_millis(300), tcp_connections: 1, ..config(&[upstream.address]) };
    let server = start(config).await;
    let mut deaf = TcpStream::connect(server.address).await.unwrap();
    let query = Ask::new("v4.example. A").edns(1232).0.to_vec().unwrap();
    let framed = [&u16::try_from(query.len()).unwrap().to_be_bytes(), query.as_slice()].concat().repeat(1000);
    // Until the server does not read any more, since nobody takes its answers.
    while timeout(Duration::from_millis(500), deaf.write_all(&framed)).await.is_ok_and(|written| written.is_ok()) {}
    // There is one place, which is free again when the first client's time is up.
    let other = async {
        loop {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            send_tcp(&mut stream, &Ask::new("v4.example. A").0).await;
            if let Some(answer) = receive_tcp(&mut stream).await {
                return answer;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, other).await.expect("a place").answers.len(), 1);
}

#[tokio::test]
async fn a_connection_that_is_reset_with_queries_under_way_leaves_its_place() {
    let upstream = Upstream::scripted(ZONE, |_| Script::Late(Duration::from_millis(100))).await;
    let server = start(Config { tcp_connections: 1, ..patient(&[upstream.address]) }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    send_tcp(&mut stream, &Ask::new("v4.example. A").0).await;
    let asked = async {
        while upstream.asked().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap();
    stream.set_zero_linger().unwrap();
    drop(stream);
    // What the query asked for is known then, to whoever comes next.
    let next = async {
        loop {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            send_tcp(&mut stream, &Ask::new("v4.example. A").0).await;
            if let Some(answer) = receive_tcp(&mut stream).await {
                return answer;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, next).await.expect("a place").answers.len(), 1);
    assert_eq!(upstream.asked(), ["v4.example. A"]);
}

#[tokio::test]
async fn hundreds_of_connections_of_one_client_leave_udp_and_the_bounds_as_they_are() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start(Config { connections_per_client: 20, ..config(&[upstream.address]) }).await;
    let all = join_all((0..300).map(|_| TcpStream::connect(server.address))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(ask(server.address, "v4.example. A").await.answers.len(), 1);
    let refused = async {
        while server.stats.snapshot().tcp_refused < 280 {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(PATIENCE, refused).await.is_ok(), "{} refused", server.stats.snapshot().tcp_refused);
}

#[tokio::test]
async fn a_request_over_https_that_is_given_up_does_not_hold_its_connection() {
    let (identity, is_asked) = (Identity::new(), Arc::<AtomicBool>::default());
    let seen = Arc::clone(&is_asked);
    let upstream = Upstream::scripted(ZONE, move |_| {
        seen.store(true, Ordering::Relaxed);
        Script::Silence
    })
    .await;
    let server = start(Config { tcp_idle: Duration::from_millis(300), ..encrypting(&upstream, &identity) }).await;
    let stream = TokioIo::new(connect(server.https[0], &identity.client(b"h2")).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let query = Ask::new("v4.example. A").0.to_vec().unwrap();
    let mut given_up = Box::pin(sender.send_request(post(query)));
    let asked = async {
        while !is_asked.load(Ordering::Relaxed) {
            let _waits = futures_util::poll!(&mut given_up);
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap();
    // The stream is reset; the connection stays.
    drop(given_up);
    assert!(timeout(PATIENCE, connection).await.is_ok(), "the idle connection is held");
    drop(sender);
}

#[tokio::test]
async fn a_request_over_https_whose_body_never_ends_is_not_waited_for() {
    let (upstream, identity) = (Upstream::zone(ZONE).await, Identity::new());
    let server = start(Config { tcp_idle: Duration::from_millis(300), ..encrypting(&upstream, &identity) }).await;
    let stream = TokioIo::new(connect(server.https[0], &identity.client(b"h2")).await.unwrap());
    let body = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"\x00"))), ()))
    });
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let (head, _) = post(vec![]).into_parts();
    let request = Request::from_parts(head, StreamBody::new(Box::pin(body)));
    let response = timeout(PATIENCE, sender.send_request(request)).await.expect("an answer").unwrap();
    assert_eq!(response.status(), 408);
}
