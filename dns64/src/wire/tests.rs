use hickory_proto::op::{Edns, Message as HickoryMessage, MessageType, OpCode, Query as HickoryQuery, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use proptest::prelude::*;

use super::*;
use crate::cache::Known;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn question(text: &str) -> Question {
    Question::new(&name(text), code::A).unwrap()
}

fn a(owner: &str, ttl: u32) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A::new(192, 0, 2, 1)))
}

fn soa(ttl: u32, minimum: u32) -> Record {
    Record::from_rdata(name("example."), ttl, RData::SOA(SOA::new(name("ns."), name("root."), 1, 2, 3, 4, minimum)))
}

/// An answer with ID 7 to the question for the A record of `x.example.`.
fn answer(edit: impl FnOnce(&mut HickoryMessage)) -> Vec<u8> {
    let mut message = HickoryMessage::new(7, MessageType::Response, OpCode::Query);
    message.add_query(HickoryQuery::query(name("x.example."), RecordType::A));
    edit(&mut message);
    message.to_vec().unwrap()
}

fn parsed(edit: impl FnOnce(&mut HickoryMessage)) -> Reply {
    Reply::parse(answer(edit), 7, &question("x.example.")).unwrap()
}

fn query_bytes(edit: impl FnOnce(&mut HickoryMessage)) -> Vec<u8> {
    let mut message = HickoryMessage::new(9, MessageType::Query, OpCode::Query);
    message.add_query(HickoryQuery::query(name("X.example."), RecordType::A));
    edit(&mut message);
    message.to_vec().unwrap()
}

#[test]
fn an_answer_must_match_id_question_and_direction() {
    let parse = |bytes: Vec<u8>, id, text| Reply::parse(bytes, id, &question(text)).err();
    let good = || answer(|_| {});
    assert_eq!(parse(good(), 7, "X.EXAMPLE."), None);
    assert_eq!(parse(good(), 8, "x.example."), Some(Malformed::Mismatch));
    assert_eq!(parse(good(), 7, "y.example."), Some(Malformed::Mismatch));
    assert_eq!(parse(good(), 7, "x.example.example."), Some(Malformed::Mismatch));
    let mut query = good();
    query[2] &= 0x7f;
    assert_eq!(parse(query, 7, "x.example."), Some(Malformed::Mismatch));
}

#[test]
fn lifetimes_follow_rfc_2308() {
    let most = |reply: Reply| reply.lifetime(86400, 10800);
    let with = |ttl| {
        move |message: &mut HickoryMessage| {
            message.add_answer(a("x.example.", ttl));
        }
    };
    assert_eq!(most(parsed(with(900))), 900);
    assert_eq!(most(parsed(with(1_000_000))), 86400);
    assert_eq!(most(parsed(with(0x8000_0000))), 0, "RFC 2181 §8");
    // Negative: the lower of the SOA's TTL and minimum, no SOA no caching, and an upper bound.
    let no_data = |ttl, minimum| {
        move |message: &mut HickoryMessage| {
            message.add_authority(soa(ttl, minimum));
        }
    };
    assert_eq!(most(parsed(no_data(900, 60))), 60);
    assert_eq!(most(parsed(no_data(30, 60))), 30);
    assert_eq!(most(parsed(no_data(90000, 90000))), 10800);
    assert_eq!(most(parsed(|_| {})), 0);
    let code = |code| {
        move |message: &mut HickoryMessage| {
            message.metadata.response_code = code;
            message.add_authority(soa(900, 60));
        }
    };
    assert_eq!(most(parsed(code(ResponseCode::NXDomain))), 60);
    assert_eq!(most(parsed(code(ResponseCode::ServFail))), 0);
}

#[test]
fn the_lowest_ttl_of_all_sections_counts_and_all_of_them_age() {
    let reply = parsed(|message| {
        message.add_answer(a("x.example.", 900));
        message.add_authority(a("ns.example.", 100));
        message.add_additional(a("ns.example.", 50));
        message.edns = Some(Edns::new());
    });
    assert_eq!(reply.lifetime(86400, 10800), 50);
    let aged = HickoryMessage::from_vec(&reply.with_ttls(|ttl| ttl.saturating_sub(60))).unwrap();
    assert_eq!(aged.all_sections().map(|record| record.ttl).collect::<Vec<_>>(), [840, 40, 0]);
}

#[test]
fn the_opt_record_is_taken_out_wherever_it_stands() {
    let last = parsed(|message| {
        message.add_additional(a("y.example.", 50));
        message.edns = Some(Edns::new());
    });
    assert!(last.edns);
    let mut first = answer(|message| {
        message.add_additional(a("y.example.", 50));
    });
    // Before the additional record, with the upper bits of BADVERS.
    let at = first.len() - (a_len() + b"\x01y\xc0\x0e".len());
    first.splice(at..at, *b"\x00\x00\x29\x04\xd0\x01\x00\x00\x00\x00\x00");
    first[11] = 2;
    let first = Reply::parse(first, 7, &question("x.example.")).unwrap();
    assert_eq!((first.edns, first.rcode), (true, rcode::BAD_VERSION));
    for reply in [last, first] {
        let message = HickoryMessage::from_vec(&reply.with_ttls(|ttl| ttl)).unwrap();
        assert!(message.edns.is_none());
        assert_eq!(message.additionals, [a("y.example.", 50)]);
    }
}

/// Length of an A record after its name, in bytes.
const fn a_len() -> usize {
    14
}

#[test]
fn the_extended_error_is_read_from_among_other_options() {
    let mut bytes = answer(|_| {});
    bytes.extend_from_slice(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0d\x00\x03\x00\x01a\x00\x0f\x00\x04\x00\x06ab");
    bytes[11] = 1;
    assert_eq!(Reply::parse(bytes, 7, &question("x.example.")).unwrap().ede, Some(6));
}

#[test]
fn a_bare_error_header_is_an_answer() {
    let reply =
        Reply::parse(b"\x00\x07\x80\x01\x00\x00\x00\x00\x00\x00\x00\x00".to_vec(), 7, &question("x.example.")).unwrap();
    assert_eq!((reply.rcode, reply.edns), (rcode::FORMAT_ERROR, false));
    assert_eq!(HickoryMessage::from_vec(&reply.with_ttls(|ttl| ttl)).unwrap().queries.len(), 1);
}

#[test]
fn a_finished_answer_has_the_clients_id_spelling_flags_and_opt_record() {
    let bytes = query_bytes(|message| {
        message.metadata.recursion_desired = true;
        message.edns = Some(Edns::new());
    });
    let query = Query::parse(&bytes).unwrap();
    let reply = parsed(|message| {
        message.metadata.authoritative = true;
        message.metadata.authentic_data = true;
        message.add_answer(a("x.example.", 900));
    });
    let (bytes, truncated) = Message::from_known(&Known::fresh(reply.clone().into()))
        .with_ede(ede::SYNTHESIZED)
        .finish(&query, Limit::Datagram, &Extras::default());
    let told = HickoryMessage::from_vec(&bytes).unwrap();
    assert!(!truncated);
    assert_eq!(told.metadata.id, 9);
    assert!(told.queries[0].name.eq_case(&name("X.example.")));
    assert!(!told.metadata.authoritative && !told.metadata.authentic_data);
    assert!(told.metadata.recursion_available && told.metadata.recursion_desired);
    assert_eq!(told.edns.unwrap().options().options.len(), 1);
    assert_eq!(told.answers, [a("x.example.", 900)]);
}

#[test]
fn a_code_that_needs_edns_is_servfail_without() {
    let bytes = query_bytes(|_| {});
    let query = Query::parse(&bytes).unwrap();
    let (bytes, _) =
        Message::empty(&query.ask().question, rcode::BAD_VERSION).finish(&query, Limit::Datagram, &Extras::default());
    assert_eq!(HickoryMessage::from_vec(&bytes).unwrap().metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn the_size_limit_is_what_the_client_said_within_512_and_1232() {
    let limit = |payload: Option<u16>| {
        let bytes = query_bytes(|message| {
            message.edns = payload.map(|_| Edns::new());
        });
        let mut query = Query::parse(&bytes).unwrap();
        query.edns = payload.map(|payload| query::Edns { payload, ..query::Edns::default() });
        query.largest_answer(Limit::Datagram, EDNS_PAYLOAD)
    };
    assert_eq!([None, Some(0), Some(600), Some(1232), Some(4096)].map(limit), [512, 512, 600, 1232, 1232]);
}

#[test]
fn a_truncated_answer_keeps_its_question_only() {
    let bytes = query_bytes(|_| {});
    let query = Query::parse(&bytes).unwrap();
    let reply = parsed(|message| {
        message.add_answers((0..60).map(|_| a("x.example.", 1)));
    });
    let (bytes, truncated) =
        Message::from_known(&Known::fresh(reply.clone().into())).finish(&query, Limit::Datagram, &Extras::default());
    let told = HickoryMessage::from_vec(&bytes).unwrap();
    assert!(truncated && told.metadata.truncation);
    assert_eq!((told.queries.len(), told.answers.len()), (1, 0));
    let (whole, _) =
        Message::from_known(&Known::fresh(reply.clone().into())).finish(&query, Limit::Stream, &Extras::default());
    let cut = HickoryMessage::from_vec(&truncate(&whole)).unwrap();
    assert_eq!((cut.metadata.truncation, cut.answers.len(), cut.queries.len()), (true, 0, 1));
    assert_eq!(cut.edns, HickoryMessage::from_vec(&whole).unwrap().edns);
}

#[test]
fn extended_errors_are_left_out_before_records_are() {
    let reply = parsed(|message| {
        message.add_answers((0..32).map(|_| a("x.example.", 1)));
    });
    let answer = Message::from_known(&Known::fresh(reply.into())).with_ede(29);
    let len = answer.bytes().len() + 11;
    // With room for both, without room for the error, and without room for records either.
    for (room, records, has_error, is_cut) in
        [(len + 6, 32, true, false), (len + 5, 32, false, true), (len, 32, false, true), (len - 1, 0, true, true)]
    {
        let bytes = query_bytes(|message| {
            let mut edns = Edns::new();
            edns.set_max_payload(u16::try_from(room).unwrap());
            message.edns = Some(edns);
        });
        let query = Query::parse(&bytes).unwrap();
        let (bytes, truncated) = answer.clone().finish(&query, Limit::Datagram, &Extras::default());
        let told = HickoryMessage::from_vec(&bytes).unwrap();
        assert_eq!((told.answers.len(), told.metadata.truncation, truncated), (records, is_cut, is_cut), "{room}");
        assert_eq!(!told.edns.unwrap().options().options.is_empty(), has_error, "{room}");
    }
}

#[test]
fn an_answer_is_fresh_as_long_as_its_answer_section_or_its_absence() {
    let positive = answer(|message| {
        message.answers = vec![a("x.example.", 300), a("x.example.", 60)];
        message.additionals = vec![a("ns.example.", 5)];
    });
    assert_eq!(freshness(&positive), 60);
    let code = |code| {
        answer(move |message| {
            message.metadata.response_code = code;
            message.authorities = vec![soa(3600, 90)];
        })
    };
    assert_eq!(freshness(&code(ResponseCode::NoError)), 90);
    assert_eq!(freshness(&code(ResponseCode::NXDomain)), 90);
    assert_eq!(freshness(&code(ResponseCode::ServFail)), 0);
    assert_eq!(freshness(&answer(|_| {})), 0);
    assert_eq!(freshness(&positive[..positive.len() - 30]), 0);
}

proptest! {
    #[test]
    fn any_bytes_can_be_read_as_a_query(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(query) = Query::parse(&bytes) {
            let answer = Message::empty(&query.ask().question, rcode::REFUSED);
            let (bytes, _) = answer.finish(&query, Limit::Datagram, &Extras::default());
            prop_assert!(bytes.len() <= 512);
        }
    }

    #[test]
    fn any_damage_to_an_answer_is_survived(at in 0..200_usize, byte: u8, cut in 0..200_usize, age: u32) {
        let mut bytes = answer(|message| {
            message.add_answer(a("x.example.", 900));
            message.add_authority(soa(900, 60));
            message.edns = Some(Edns::new());
        });
        let at = 12 + at % (bytes.len() - 12);
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut % (bytes.len() / 2));
        if let Ok(reply) = Reply::parse(bytes, 7, &question("x.example.")) {
            let bytes = query_bytes(|_| {});
    let query = Query::parse(&bytes).unwrap();
            let known = Known { reply: reply.into(), age, is_stale: false, left: 0 };
            let _ = Sections::decode(&known.bytes());
            prop_assert!(Message::from_known(&known).finish(&query, Limit::Stream, &Extras::default()).0.len() >= 12);
        }
    }

    #[test]
    fn any_query_that_hickory_encodes_is_read_with_its_fields(
        label in "[a-zA-Z0-9]{1,63}", kind: u16, recursion: bool, unchecked: bool, dnssec: bool,
    ) {
        let bytes = {
            let mut message = HickoryMessage::new(1, MessageType::Query, OpCode::Query);
            message.add_query(HickoryQuery::query(name(&format!("{label}.example.")), RecordType::from(kind)));
            message.metadata.recursion_desired = recursion;
            message.metadata.checking_disabled = unchecked;
            let mut edns = Edns::new();
            edns.set_dnssec_ok(dnssec);
            message.edns = Some(edns);
            message.to_vec().unwrap()
        };
        let query = Query::parse(&bytes).unwrap();
        prop_assert_eq!(query.ask().question.kind(), kind);
        prop_assert_eq!((query.recursion(), query.checking_disabled(), query.dnssec()), (recursion, unchecked, dnssec));
        let expected = name(&format!("{label}.example."));
        prop_assert!(query.ask().question.name().unwrap().eq_case(&expected));
    }
}
