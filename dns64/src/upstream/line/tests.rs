use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::net::UdpSocket as Peer;
use tokio::time::timeout;

use super::*;
use crate::wire::code;

const SOON: Duration = Duration::from_secs(5);

async fn peer() -> (Peer, Line, Arc<Stats>) {
    let (peer, stats) = (Peer::bind("127.0.0.1:0").await.unwrap(), Arc::<Stats>::default());
    let line = Line::open(peer.local_addr().unwrap(), Arc::clone(&stats)).unwrap();
    (peer, line, stats)
}

fn question(name: &str) -> Question {
    Question::new(&Name::from_ascii(name).unwrap(), code::A).unwrap()
}

fn query(question: &Question) -> Vec<u8> {
    [b"\0\0\x01\0\0\x01\0\0\0\0\0\0", question.bytes()].concat()
}

async fn ask(line: &Line, name: &str) -> Result<u16, Failure> {
    let question = question(name);
    line.ask(query(&question), &question, false).await.map(|reply| reply.rcode)
}

/// A query that came in, turned into an answer with this response code.
async fn answer(peer: &Peer, rcode: u8) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 512];
    let (length, from) = timeout(SOON, peer.recv_from(&mut buffer)).await.unwrap().unwrap();
    buffer.truncate(length);
    buffer[2] |= 0x80;
    buffer[3] = rcode;
    (buffer, from)
}

#[tokio::test]
async fn a_question_alone_on_a_new_socket_is_sent_at_once() {
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    let line = Line::open(peer.local_addr().unwrap(), Arc::default()).unwrap();
    let question = question("a.example.");
    // Nothing is awaited, so the runtime has not looked at the socket yet.
    let _waiting = line.shared.enqueue(query(&question), &question, false);
    line.shared.flush();
    assert_eq!(peer.recv(&mut [0; 512]).unwrap(), query(&question).len());
}

#[tokio::test]
async fn answers_find_their_questions_in_any_order() {
    let (peer, line, _) = peer().await;
    let upstream = async {
        let mut answers = Vec::new();
        for rcode in 1..=3 {
            answers.push(answer(&peer, rcode).await);
        }
        for (bytes, to) in answers.iter().rev() {
            peer.send_to(bytes, to).await.unwrap();
        }
    };
    // Two of one length go together, and the one with another does not spoil it.
    let (_, longer, one, other) =
        tokio::join!(upstream, ask(&line, "longer.example."), ask(&line, "a.example."), ask(&line, "b.example."));
    let mut rcodes = [one.unwrap(), other.unwrap(), longer.unwrap()];
    rcodes.sort_unstable();
    assert_eq!(rcodes, [1, 2, 3]);
}

#[tokio::test]
async fn an_answer_to_another_question_is_passed_over() {
    let (peer, line, stats) = peer().await;
    let upstream = async {
        let (mut bytes, to) = answer(&peer, 0).await;
        bytes[13] ^= 1;
        peer.send_to(&bytes, to).await.unwrap();
        bytes[13] ^= 1;
        peer.send_to(&bytes, to).await.unwrap();
    };
    let (_, answer) = tokio::join!(upstream, ask(&line, "example."));
    assert_eq!((answer, stats.snapshot().upstream_mismatched), (Ok(0), 1));
}

#[tokio::test]
async fn whoever_guesses_ids_ends_the_questions() {
    let (peer, line, _) = peer().await;
    let upstream = async {
        let (mut bytes, to) = answer(&peer, 0).await;
        bytes[0] ^= 1;
        for _ in 0..MOST_STRAYS {
            peer.send_to(&bytes, to).await.unwrap();
        }
    };
    let (_, answer) = tokio::join!(upstream, timeout(SOON, ask(&line, "example.")));
    assert_eq!(answer.unwrap(), Err(Failure::Unreadable));
    assert!(line.is_spent());
}

#[tokio::test]
async fn an_answer_that_is_late_is_no_guess() {
    let (peer, line, stats) = peer().await;
    // The question goes out, and then nobody waits any more.
    tokio::select! {
        _ = ask(&line, "late.example.") => panic!("nobody answered"),
        (bytes, to) = answer(&peer, 0) => { peer.send_to(&bytes, to).await.unwrap(); }
    }
    let upstream = async {
        let (bytes, to) = answer(&peer, 0).await;
        peer.send_to(&bytes, to).await.unwrap();
    };
    let (_, answer) = tokio::join!(upstream, ask(&line, "example."));
    assert_eq!((answer, stats.snapshot().upstream_mismatched), (Ok(0), 0));
}

#[tokio::test]
async fn a_closed_port_ends_the_questions_at_once() {
    let (peer, line, _) = peer().await;
    drop(peer);
    let answers = timeout(SOON, async { tokio::join!(ask(&line, "a.example."), ask(&line, "b.example.")) });
    assert_eq!(answers.await.unwrap(), (Err(Failure::Unreachable), Err(Failure::Unreachable)));
}
