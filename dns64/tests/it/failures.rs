//! Queries that are no queries.

use proptest::prelude::*;

use super::client::udp_bytes;
use super::*;

/// What comes back for these bytes, told apart from silence by a good query sent after them.
async fn answer_to(bytes: &[u8]) -> Option<Vec<u8>> {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.address).await.unwrap();
    let mut good = Ask::new("ipv4only.arpa. A").0;
    good.metadata.id = 0x4242;
    socket.send(bytes).await.unwrap();
    let mut buffer = vec![0; 4096];
    let mut other = None;
    let mut is_good_answered = false;
    socket.send(&good.to_vec().unwrap()).await.unwrap();
    while !is_good_answered || other.is_none() && !bytes_are_ignored(bytes) {
        let length = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await.unwrap().unwrap();
        if buffer[..2] == [0x42, 0x42] {
            is_good_answered = true;
        } else {
            other = Some(buffer[..length].to_vec());
        }
    }
    other
}

/// Whether the rules say that these bytes get no answer.
fn bytes_are_ignored(bytes: &[u8]) -> bool {
    bytes.len() < 12 || bytes[2] & 0x80 != 0
}

#[tokio::test]
async fn what_is_too_short_or_an_answer_is_ignored() {
    assert_eq!(answer_to(b"").await, None);
    assert_eq!(answer_to(b"\x00\x01\x01\x00\x00\x01\x00").await, None);
    assert_eq!(answer_to(b"\x00\x01\x81\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01").await, None);
}

#[tokio::test]
async fn what_cannot_be_read_is_a_format_error() {
    let cases: [&[u8]; 5] = [
        // No question, two questions, a name that goes on past the end, a pointer in the question, a record that is not there.
        b"\x00\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x00\x01\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01\x00\x00\x01\x00\x01",
        b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x3fabc",
        b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01",
        b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x01\x00\x01",
    ];
    for case in cases {
        assert_eq!(answer_to(case).await.unwrap(), b"\x00\x01\x81\x01\x00\x00\x00\x00\x00\x00\x00\x00", "{case:02x?}");
    }
}

#[tokio::test]
async fn other_opcodes_are_not_implemented() {
    let answer = answer_to(b"\x00\x01\x29\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x01").await.unwrap();
    assert_eq!(answer, b"\x00\x01\xa9\x04\x00\x00\x00\x00\x00\x00\x00\x00");
}

#[tokio::test]
async fn a_later_edns_version_is_answered_with_badvers() {
    let query = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00";
    let answer = answer_to(query).await.unwrap();
    // RCODE 16: 0 in the header, 1 in the OPT record.
    let header = b"\x00\x01\x81\x00\x00\x01\x00\x00\x00\x00\x00\x01";
    let rest = b"\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x01\x00\x00\x00\x00\x00";
    assert_eq!(answer, [&header[..], rest].concat());
}

#[tokio::test]
async fn two_opt_records_are_a_format_error() {
    let query = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x02\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    assert_eq!(answer_to(query).await.unwrap()[3] & 0xf, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn random_bytes_never_stop_the_server(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = start(config(&["127.0.0.1:9".parse().unwrap()])).await;
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            for message in &messages {
                socket.send_to(message, server.address).await.unwrap();
            }
            let query = Ask::new("ipv4only.arpa. A").0.to_vec().unwrap();
            assert!(udp_bytes(server.address, &query).await.is_some());
        });
    }
}
