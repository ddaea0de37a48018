//! EDNS (RFC 6891) and extended errors (RFC 8914) between clients, us and upstreams.

use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;

use super::client::udp_bytes;
use super::scenario::errors;
use super::*;

/// Answers of every kind: synthesised, passed on, from the cache, local, absent, failed, refused, truncated.
const QUESTIONS: [&str; 9] = [
    "v4.example. AAAA",
    "v4.example. A",
    "v4.example. A",
    "ipv4only.arpa. AAAA",
    "nowhere.example. A",
    "text.example. AAAA",
    "broken.example. A",
    "v4.example. AXFR",
    "wide.example. A",
];

async fn server() -> (Upstream, Running) {
    let wide: String = (1..=100).map(|last| format!("wide.example. 900 A 192.0.2.{last}\n")).collect();
    let zone = format!("{ZONE}{wide}");
    let upstream = Upstream::scripted(&zone, |question| match question.name().to_ascii().as_str() {
        "broken.example." => Script::Code(ResponseCode::ServFail),
        _ => Script::Zone,
    })
    .await;
    let server = start_with(&upstream).await;
    (upstream, server)
}

#[tokio::test]
async fn who_sends_no_opt_record_gets_none_and_who_sends_one_gets_one_with_the_question() {
    let (_upstream, server) = server().await;
    let mut codes = Vec::new();
    for question in QUESTIONS {
        let plain = Ask::new(question).over_udp(server.address).await;
        assert!(plain.edns.is_none() && plain.additionals.is_empty(), "{question}");
        let query = Ask::new(question).edns(1232);
        // A second OPT record would not be read.
        let bytes = udp_bytes(server.address, &query.0.to_vec().unwrap()).await.unwrap();
        let answer = Message::from_vec(&bytes).unwrap();
        assert_eq!(answer.queries, query.0.queries, "{question}");
        let edns = answer.edns.expect(question);
        assert_eq!((edns.version(), edns.max_payload()), (0, 1232), "{question}");
        codes.push((answer.metadata.response_code, answer.metadata.truncation));
    }
    let expected = |code| codes.iter().filter(|(told, _)| *told == code).count();
    assert_eq!([ResponseCode::NXDomain, ResponseCode::ServFail, ResponseCode::Refused].map(expected), [1; 3]);
    assert!(codes.last().unwrap().1, "truncated");
}

#[tokio::test]
async fn unknown_flags_are_ignored_and_none_are_sent() {
    let (_upstream, server) = server().await;
    let mut query = Ask::new("v4.example. AAAA").edns(1232).0.to_vec().unwrap();
    // DO and its fifteen neighbours are the last two bytes of the TTL, before the length of the options.
    let at = query.len() - 4;
    query[at..at + 2].copy_from_slice(&[0x7f, 0xff]);
    let answer = udp_bytes(server.address, &query).await.unwrap();
    // The OPT record is the last, with one extended error of six bytes.
    let flags = &answer[answer.len() - 10..answer.len() - 8];
    assert_eq!(flags, [0, 0]);
    assert_eq!(answers(&Message::from_vec(&answer).unwrap()), ["v4.example. 300 AAAA 2001:db8:64::c000:221"]);
}

/// The same with extended errors and the text of each.
fn with_errors(message: &mut Message, errors: &[(u16, &str)]) {
    for (code, text) in errors {
        let data = [&code.to_be_bytes(), text.as_bytes()].concat();
        message.edns.get_or_insert_with(Edns::new).options_mut().insert(EdnsOption::Unknown(15, data));
    }
}

#[tokio::test]
async fn an_extended_error_beside_records_changes_nothing_and_is_passed_on_without_its_text() {
    let upstream = Upstream::scripted(ZONE, |_| {
        Script::Edited(|answer| with_errors(answer, &[(6, "what nobody\0 would have thought\0"), (24, "")]))
    })
    .await;
    let server = start_with(&upstream).await;
    let answer = Ask::new("both.example. AAAA").edns(1232).over_udp(server.address).await;
    assert_eq!(answers(&answer), ["both.example. 900 AAAA 2001:db8::2"]);
    assert_eq!((answer.metadata.response_code, errors(&answer)), (ResponseCode::NoError, vec![6]));
    assert!(answer.edns.unwrap().options().options.iter().all(|(_, option)| matches!(
        option,
        EdnsOption::Unknown(15, data) if data.len() == 2
    )));
    // Absence that comes with an error is absence all the same.
    let answer = Ask::new("v4.example. AAAA").edns(1232).over_udp(server.address).await;
    assert_eq!(answers(&answer), ["v4.example. 300 AAAA 2001:db8:64::c000:221"]);
    assert_eq!(errors(&answer), [29, 6]);
}
