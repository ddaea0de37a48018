//! What upstreams may do that nobody should: clients get an answer in time, and only what was asked for is believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::policy::extended_error;
use super::upstream::record;
use super::*;

async fn code_of(server: &Running, question: &str) -> ResponseCode {
    ask(server.address, question).await.metadata.response_code
}

/// A query's answer: its header and question, with these flags and response code.
pub(super) fn answer_to(query: &[u8], flags: u16) -> Vec<u8> {
    let mut answer = Message::from_vec(query).unwrap();
    answer.edns = None;
    let mut answer = answer.to_vec().unwrap();
    answer[2..4].copy_from_slice(&flags.to_be_bytes());
    answer
}

/// An upstream that answers over UDP that the answer does not fit, and does what is given with connections.
pub(super) async fn over_tcp_only<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
            let _sent = udp.send_to(&answer_to(&buffer[..length], 0x8380), client).await;
        }
    });
    tokio::spawn(async move {
        loop {
            let (stream, _) = tcp.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
    address
}

#[tokio::test]
async fn connections_that_stay_silent_or_dribble_or_end_are_servfail_within_the_deadline() {
    let silent = over_tcp_only(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    });
    let dribbling = over_tcp_only(|mut stream| async move {
        // A length, and then a byte every now and then.
        let _length = stream.write_all(&[0xff, 0xff]).await;
        while stream.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let ending = over_tcp_only(|mut stream| async move {
        let _part = stream.write_all(&[0, 100, 1, 2, 3]).await;
    });
    for upstream in [silent.await, dribbling.await, ending.await] {
        let server = start(config(&[upstream])).await;
        let answer = Ask::new("v4.example. AAAA").edns(1232).over_udp(server.address).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(extended_error(&answer), Some(23), "network error (RFC 8914 §4.24)");
    }
}

#[tokio::test]
async fn an_answer_that_is_truncated_over_tcp_too_is_no_answer() {
    let upstream = Upstream::scripted(ZONE, |_| Script::Edited(|answer| answer.metadata.truncation = true)).await;
    let server = start_with(&upstream).await;
    // What was left out may have been AAAA records, or A records.
    for question in ["v4.example. AAAA", "v4.example. A", "v6.example. AAAA"] {
        assert_eq!(code_of(&server, question).await, ResponseCode::ServFail, "{question}");
    }
}

#[tokio::test]
async fn an_answer_of_64_kib_is_synthesised_from_as_far_as_a_message_goes_and_stops_nobody() {
    // 4,000 A records of 16 bytes each; as AAAA records they would take 112,000 bytes.
    let upstream = over_tcp_only(|mut stream| async move {
        while let Ok(length) = stream.read_u16().await {
            let mut query = vec![0; length.into()];
            stream.read_exact(&mut query).await.unwrap();
            let is_a = Message::from_vec(&query).unwrap().queries[0].query_type() == RecordType::A;
            let mut answer = answer_to(&query, 0x8180);
            let count: u16 = if is_a { 4000 } else { 0 };
            answer[6..8].copy_from_slice(&count.to_be_bytes());
            for number in 0..count {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0]);
                answer.extend(number.to_be_bytes());
            }
            let framed = [&u16::try_from(answer.len()).unwrap().to_be_bytes(), answer.as_slice()].concat();
            stream.write_all(&framed).await.unwrap();
        }
    })
    .await;
    let server = start(config(&[upstream])).await;
    assert_eq!(Ask::new("large.example. A").over_tcp(server.address).await.answers.len(), 4000);
    let answer = Ask::new("large.example. AAAA").over_tcp(server.address).await;
    assert!(answer.metadata.truncation && answer.answers.len() > 1000, "{} records", answer.answers.len());
    // Over UDP nothing of it fits.
    let answer = ask(server.address, "large.example. AAAA").await;
    assert!(answer.metadata.truncation && answer.answers.is_empty());
    assert_eq!(code_of(&server, "ipv4only.arpa. A").await, ResponseCode::NoError);
}

#[tokio::test]
async fn answers_from_elsewhere_are_not_even_looked_at() {
    let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = upstream.local_addr().unwrap();
    tokio::spawn(async move {
        let elsewhere = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = upstream.recv_from(&mut buffer).await.unwrap();
            let forged = answer_to(&buffer[..length], 0x8183);
            elsewhere.send_to(&forged, client).await.unwrap();
            upstream.send_to(&answer_to(&buffer[..length], 0x8180), client).await.unwrap();
        }
    });
    let server = start(config(&[address])).await;
    for _ in 0..3 {
        assert_eq!(code_of(&server, "v4.example. TXT").await, ResponseCode::NoError);
    }
    assert_eq!(server.stats.snapshot().upstream_mismatched, 0);
}

#[tokio::test]
async fn what_is_no_answer_to_the_question_is_passed_over_until_the_time_is_up() {
    // Another ID, another name, another type, another class, a query, another opcode, two questions, nothing but a header.
    let edits: [fn(&mut Vec<u8>); 8] = [
        |answer| answer[0] ^= 1,
        |answer| answer[13] ^= 1,
        |answer| {
            let at = answer.len() - 3;
            answer[at] ^= 1;
        },
        |answer| {
            let at = answer.len() - 1;
            answer[at] ^= 1;
        },
        |answer| answer[2] &= 0x7f,
        |answer| answer[2] |= 0x08,
        |answer| answer[5] = 2,
        |answer| answer.truncate(12),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = upstream.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, client) = upstream.recv_from(&mut buffer).await.unwrap();
                let mut answer = answer_to(&buffer[..length], 0x8180);
                edit(&mut answer);
                upstream.send_to(&answer, client).await.unwrap();
            }
        });
        let server = start(config(&[address])).await;
        assert_eq!(code_of(&server, "v4.example. A").await, ResponseCode::ServFail, "edit {number}");
        assert!(server.stats.snapshot().upstream_mismatched > 0, "edit {number}");
    }
}

#[tokio::test]
async fn records_of_names_that_were_not_asked_for_are_neither_addresses_nor_kept() {
    let upstream = Upstream::scripted(ZONE, |question| match question.to_string().as_str() {
        "v4.example. IN AAAA" => {
            Script::Edited(|answer| answer.answers.insert(0, record("bank.example. 900 AAAA 2001:db8::bad")))
        }
        "v4.example. IN A" => Script::Edited(|answer| {
            answer.answers.insert(0, record("bank.example. 900 A 192.0.2.66"));
            answer.additionals.push(record("text.example. 900 A 192.0.2.66"));
            answer.authorities.push(record("text.example. 900 A 192.0.2.66"));
        }),
        _ => Script::Zone,
    })
    .await;
    let server = start_with(&upstream).await;
    // The stray AAAA record is none of this name's, so the A record counts; the stray A record does not.
    let answer = ask(server.address, "v4.example. AAAA").await;
    assert_eq!(answers(&answer), ["v4.example. 300 AAAA 2001:db8:64::c000:221"]);
    for elsewhere in ["bank.example. A", "bank.example. AAAA", "text.example. A"] {
        assert_eq!(ask(server.address, elsewhere).await.answers.len(), 0, "{elsewhere}");
    }
}

#[tokio::test]
async fn aliases_that_lead_nowhere_end() {
    // To itself, to each other, and to ever new names.
    let alias = |question: &hickory_proto::op::Query| match question.name().to_ascii().as_str() {
        "self.example." => |answer: &mut Message| answer.answers.push(record("self.example. 60 CNAME self.example.")),
        "one.example." => |answer: &mut Message| answer.answers.push(record("one.example. 60 CNAME two.example.")),
        "two.example." => |answer: &mut Message| answer.answers.push(record("two.example. 60 CNAME one.example.")),
        _ => |answer: &mut Message| {
            let mut next = record(&format!("x.example. 60 CNAME x{}.example.", answer.metadata.id));
            next.name.clone_from(answer.queries[0].name());
            answer.answers.push(next);
        },
    };
    let upstream = Upstream::scripted("", move |question| Script::EditedWithout(alias(question))).await;
    let server = start_with(&upstream).await;
    for name in ["self.example.", "one.example.", "two.example.", "endless.example."] {
        for kind in ["AAAA", "A", "TXT"] {
            let before = upstream.asked().len();
            let answer = ask(server.address, &format!("{name} {kind}")).await;
            assert!(answer.answers.iter().all(|record| record.record_type() == RecordType::CNAME), "{name} {kind}");
            assert!(upstream.asked().len() - before <= 2 * 9, "{name} {kind}: {:?}", &upstream.asked()[before..]);
        }
    }
}

#[tokio::test]
async fn a_chain_of_thousands_of_aliases_costs_no_more_than_reading_it() {
    // Last link first, which makes whoever searches for each link from the beginning look at all of them.
    const LINKS: u16 = 2500;
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let upstream = over_tcp_only(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; length.into()];
                stream.read_exact(&mut query).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let mut answer = answer_to(&query, 0x8180);
                answer[6..8].copy_from_slice(&LINKS.to_be_bytes());
                let link = |number: u16| {
                    let [high, low] = number.to_be_bytes();
                    [vec![4, b'a' + high / 16, b'a' + high % 16, b'a' + low / 16, b'a' + low % 16], vec![0]].concat()
                };
                for number in (0..LINKS).rev() {
                    let owner = if number == 0 { vec![0xc0, 12] } else { link(number) };
                    answer.extend(owner);
                    answer.extend([0, 5, 0, 1, 0, 0, 0, 60, 0, 6]);
                    answer.extend(link(number + 1));
                }
                let framed = [&u16::try_from(answer.len()).unwrap().to_be_bytes(), answer.as_slice()].concat();
                stream.write_all(&framed).await.unwrap();
            }
        }
    })
    .await;
    let server = start(config(&[upstream])).await;
    let answer = Ask::new("x. AAAA").over_tcp(server.address).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.answers.len() >= usize::from(LINKS), "{} records", answer.answers.len());
    assert!(served.load(Ordering::Relaxed) <= 2 * 9);
}

#[tokio::test]
async fn what_cannot_be_read_is_servfail_and_not_passed_on() {
    // After the question: an A record of five bytes, a AAAA record that ends early, names with a pointer to itself, to each
    // other, forward, past the end, and a label of a kind that there is none of.
    let records: [&[u8]; 7] = [
        b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x05\xc0\x00\x02\x01\x00",
        b"\xc0\x0c\x00\x1c\x00\x01\x00\x00\x00\x3c\x00\x10\x20\x01",
        b"\xc0\x1c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01",
        b"\x01a\xc0\x20\xc0\x1c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01",
        b"\xc0\x40\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01",
        b"\xff\xff\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01",
        b"\x80\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01",
    ];
    for (number, records) in records.into_iter().enumerate() {
        let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = upstream.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, client) = upstream.recv_from(&mut buffer).await.unwrap();
                let mut answer = answer_to(&buffer[..length], 0x8180);
                answer[7] = 1;
                answer.extend(records);
                upstream.send_to(&answer, client).await.unwrap();
            }
        });
        let server = start(config(&[address])).await;
        for question in ["v4.example. AAAA", "v4.example. A", "v4.example. MX"] {
            let answer = ask(server.address, question).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "record {number}, {question}");
        }
    }
}
