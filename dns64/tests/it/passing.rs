//! What passes through unchanged.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::client::udp_bytes;
use super::*;

#[tokio::test]
async fn other_types_and_any_pass_through() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    assert_eq!(answers(&ask(server.address, "v4.example. A").await), ["v4.example. 900 A 192.0.2.33"]);
    assert_eq!(answers(&ask(server.address, "mail.example. MX").await), ["mail.example. 900 MX 10 v4.example."]);
    let any = ask(server.address, "both.example. ANY").await;
    assert_eq!(
        any.answers.iter().map(|record| record.record_type()).collect::<Vec<_>>(),
        [RecordType::A, RecordType::AAAA]
    );
    assert_eq!(upstream.asked(), ["v4.example. A", "mail.example. MX", "both.example. ANY"]);
}

#[tokio::test]
async fn an_unknown_type_keeps_every_byte_and_the_question_keeps_its_case() {
    // TYPE65280 with data that looks like a compression pointer, an owner that is one, and a record without data.
    let mut raw = vec![0, 0, 0x81, 0xa0, 0, 1, 0, 2, 0, 0, 0, 0];
    raw.extend_from_slice(b"\x01x\x07example\x00\xff\x00\x00\x01");
    raw.extend_from_slice(b"\xc0\x0c\xff\x00\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x0c\xde\xad");
    raw.extend_from_slice(b"\xc0\x0c\xff\x00\x00\x01\x00\x00\x00\x3c\x00\x00");
    let upstream = {
        let raw = raw.clone();
        Upstream::scripted(ZONE, move |_| Script::Raw(raw.clone()))
    }
    .await;
    let server = start_with(&upstream).await;
    let query = Ask::new("X.eXample. A").of_kind(65280).0.to_vec().unwrap();
    for _ in 0..2 {
        let answer = udp_bytes(server.address, &query).await.unwrap();
        assert_eq!(answer[12..27], query[12..27]);
        assert_eq!(answer[27..], raw[27..]);
        // The flags: QR, RD, RA; no AD for one who did not ask.
        assert_eq!(answer[2..4], [0x81, 0x80]);
    }
}

#[tokio::test]
async fn client_options_go_nowhere_and_ours_is_the_only_opt_record() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let mut ask = Ask::new("v4.example. A").edns(4096);
    ask.0
        .edns
        .as_mut()
        .unwrap()
        .options_mut()
        .insert(hickory_proto::rr::rdata::opt::EdnsOption::Unknown(65001, vec![1, 2, 3]));
    let edns = ask.over_udp(server.address).await.edns.unwrap();
    assert_eq!((edns.max_payload(), edns.options().options.len(), edns.version()), (1232, 0, 0));
    assert!(Ask::new("v4.example. A").over_udp(server.address).await.edns.is_none());
}

#[tokio::test]
async fn ad_is_told_to_those_who_ask_and_aa_to_nobody() {
    let upstream = Upstream::scripted(ZONE, |_| Script::Edited(|answer| answer.metadata.authentic_data = true)).await;
    let server = start_with(&upstream).await;
    let plain = ask(server.address, "v4.example. A").await.metadata;
    assert_eq!((plain.authentic_data, plain.authoritative, plain.recursion_available), (false, false, true));
    assert!(Ask::new("v4.example. A").wants_ad().over_udp(server.address).await.metadata.authentic_data);
    assert!(Ask::new("v4.example. A").dnssec(true).over_udp(server.address).await.metadata.authentic_data);
}

#[tokio::test]
async fn a_second_question_is_answered_from_the_cache_with_a_lower_ttl() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    ask(server.address, "v4.example. A").await;
    // Case does not tell names apart.
    assert_eq!(ask(server.address, "V4.Example. A").await.answers.len(), 1);
    ask(server.address, "nowhere.example. TXT").await;
    ask(server.address, "nowhere.example. TXT").await;
    assert_eq!(upstream.asked(), ["v4.example. A", "nowhere.example. TXT"]);
    let stats = server.stats.snapshot();
    assert_eq!((stats.cache_hits, stats.cache_misses, stats.cache_entries), (2, 2, 2));
}

#[tokio::test]
async fn failures_and_ttl_zero_are_not_cached() {
    let zone = "
        zero.example. 0 TXT now
    ";
    let upstream = Upstream::scripted(zone, |question| match question.name().to_ascii().as_str() {
        "broken.example." => Script::Code(ResponseCode::ServFail),
        _ => Script::Zone,
    })
    .await;
    let server = start(dns64::Config { failure_ttl: Duration::ZERO, ..config(&[upstream.address]) }).await;
    for question in ["zero.example. TXT", "broken.example. TXT", "without-soa.example. TXT"] {
        ask(server.address, question).await;
        ask(server.address, question).await;
    }
    assert_eq!(upstream.asked().len(), 6);
}

#[tokio::test]
async fn zone_transfers_are_refused() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    assert_eq!(ask(server.address, "example. AXFR").await.metadata.response_code, ResponseCode::Refused);
    assert!(upstream.asked().is_empty());
}
