use nat64_core::event::{EndReason, Event, EventKind, Traffic};
use nat64_core::{DropReason, Protocol, Timestamp};

use super::*;

/// 2026-11-22T10:00:00.500Z
const AT: u64 = 1_795_341_600_500;

fn record(kind: EventKind) -> Record {
    Record {
        at: AT,
        event: Event {
            at: Timestamp::from_millis(90_000),
            kind,
            protocol: Protocol::Tcp,
            internal: ("2001:db8::1".parse().unwrap(), 5555),
            external: ("192.0.2.1".parse().unwrap(), 40_123),
            remote: Some(("198.51.100.7".parse().unwrap(), 443)),
            prefix: 0,
            began: Timestamp::from_millis(30_000),
        },
        remote6: Some("64:ff9b::c633:6407".parse().unwrap()),
        name: Some("web.example".into()),
    }
}

fn ended() -> Record {
    let (outbound, inbound) = (Traffic { packets: 7, bytes: 700 }, Traffic { packets: 9, bytes: 9000 });
    record(EventKind::SessionEnded { reason: EndReason::Timeout, outbound, inbound })
}

/// What a log of this kind has of a record, message by message.
fn messages(format: Format, framing: Framing, destinations: bool, records: &[Record]) -> Vec<Vec<u8>> {
    let mut frames = Frames::default();
    let mut encoder = Encoder::new(format, framing, Says { destinations, names: false });
    encoder.encode(records, &mut frames);
    let mut messages = Vec::new();
    while let Some(message) = frames.rest().map(<[u8]>::to_vec) {
        frames.advance(message.len());
        messages.push(message);
    }
    messages
}

fn text(format: Format, framing: Framing, destinations: bool, record: Record) -> Vec<String> {
    let messages = messages(format, framing, destinations, &[record]);
    messages.into_iter().map(|message| String::from_utf8(message).unwrap()).collect()
}

#[test]
fn json_has_what_the_event_has() {
    assert_eq!(
        text(Format::Json, Framing::Lines, true, ended()),
        ["{\"time\":\"2026-11-22T10:00:00.5Z\",\"event\":\"session-ended\",\"protocol\":\"tcp\",\
          \"internal\":{\"address\":\"2001:db8::1\",\"port\":5555},\"external\":{\"address\":\"192.0.2.1\",\"port\":40123},\
          \"remote\":{\"address\":\"198.51.100.7\",\"port\":443},\"remote6\":\"64:ff9b::c633:6407\",\
          \"began\":\"2026-11-22T09:59:00.5Z\",\"reason\":\"timeout\",\"outbound\":{\"packets\":7,\"bytes\":700},\
          \"inbound\":{\"packets\":9,\"bytes\":9000}}\n"]
    );
}

#[test]
fn destinations_are_left_out_unless_asked_for() {
    for format in [Format::Json, Format::Syslog, Format::Flow] {
        let [first, ..] = &text(format, Framing::Lines, false, ended())[..] else { panic!("nothing of {format:?}") };
        assert!(!first.contains("198.51.100.7") && !first.contains("64:ff9b") && !first.contains("443"), "{first}");
        let [first, ..] = &text(format, Framing::Lines, true, ended())[..] else { panic!("nothing of {format:?}") };
        assert!(first.contains("198.51.100.7") && first.contains("64:ff9b"), "{first}");
    }
}

#[test]
fn names_are_there_where_they_are_asked_for_and_destinations_too() {
    let text = |format, destinations, names, name: &str| {
        let mut frames = Frames::default();
        let record = Record { name: Some(name.into()), ..ended() };
        Encoder::new(format, Framing::Lines, Says { destinations, names }).encode(&[record], &mut frames);
        String::from_utf8(frames.all().to_vec()).unwrap()
    };

    for format in [Format::Json, Format::Syslog] {
        assert!(!text(format, true, false, "web.example").contains("web.example"), "{format:?}");
        assert!(!text(format, false, true, "web.example").contains("web.example"), "{format:?}");
    }
    let json = text(Format::Json, true, true, "web.example");
    assert!(json.contains(r#""remote6":"64:ff9b::c633:6407","name":"web.example","began""#), "{json}");
    let syslog = text(Format::Syslog, true, true, r#"a]b"\\.example"#);
    assert!(syslog.contains(r#" name="a\]b\"\\\\.example" began="#), "{syslog}");
}

#[test]
fn a_block_is_of_all_protocols_and_a_refusal_has_its_reason() {
    let block = &text(Format::Json, Framing::Lines, false, record(EventKind::BlockAllocated { last_port: 40_190 }))[0];
    let mut inside = record(EventKind::Refused(DropReason::PoolExhausted));
    inside.event.external = (std::net::Ipv4Addr::UNSPECIFIED, 0);
    let refusal = &text(Format::Json, Framing::Lines, false, inside)[0];
    let outside =
        &text(Format::Json, Framing::Lines, false, record(EventKind::Refused(DropReason::ZeroUdpChecksum)))[0];

    assert!(block.contains("\"last_port\":40190") && !block.contains("protocol"), "{block}");
    assert!(refusal.contains("\"reason\":\"pool-exhausted\"") && !refusal.contains("external"), "{refusal}");
    assert!(outside.contains("\"external\":{\"address\":\"192.0.2.1\",\"port\":40123}"), "{outside}");
}

#[test]
fn syslog_messages_have_header_and_structured_data() {
    let [message] = &text(Format::Syslog, Framing::Datagrams, false, record(EventKind::MappingCreated))[..] else {
        panic!("one message")
    };

    let head: Vec<&str> = message.splitn(7, ' ').collect();
    assert_eq!((head[0], head[1], head[3], head[5]), ("<30>1", "2026-11-22T10:00:00.5Z", "nat64", "mapping-created"));
    assert_eq!(
        head[6],
        "[nat64@32473 protocol=\"tcp\" internal=\"2001:db8::1\" internal-port=\"5555\" external=\"192.0.2.1\" \
         external-port=\"40123\"]"
    );
    let refusal =
        &text(Format::Syslog, Framing::Datagrams, false, record(EventKind::Refused(DropReason::TableFull)))[0];
    assert!(refusal.starts_with("<28>1 "), "a warning: {refusal}");
}

#[test]
fn syslog_over_a_stream_begins_with_its_length() {
    let message = &text(Format::Syslog, Framing::Stream, false, record(EventKind::MappingCreated))[0];

    let (length, rest) = message.split_once(' ').unwrap();
    assert_eq!(length.parse(), Ok(rest.len()));
}

#[test]
fn a_session_that_ended_is_two_flows() {
    assert_eq!(
        text(Format::Flow, Framing::Lines, true, ended()),
        [
            "3 - nat64 192.0.2.1 198.51.100.7 40123 443 6 7 700 1795341540 1795341600 ACCEPT OK 2001:db8::1 64:ff9b::c633:6407\n",
            "3 - nat64 198.51.100.7 192.0.2.1 443 40123 6 9 9000 1795341540 1795341600 ACCEPT OK 64:ff9b::c633:6407 2001:db8::1\n",
        ]
    );
    assert_eq!(text(Format::Flow, Framing::Lines, true, record(EventKind::SessionCreated)), [""; 0]);
}

#[test]
fn ipfix_begins_with_templates_and_counts_its_records() {
    let mut exporter = ipfix::Exporter::new(false);
    let mut frames = Frames::default();
    exporter.encode(&[record(EventKind::MappingCreated), ended()], &mut frames);
    exporter.encode(&[ended()], &mut frames);

    let mut messages = Vec::new();
    while let Some(message) = frames.rest().map(<[u8]>::to_vec) {
        frames.advance(message.len());
        messages.push(message);
    }
    let number = |message: &[u8], at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
    assert_eq!(messages.len(), 3, "templates once, and one message for each batch");
    for message in &messages {
        assert_eq!(message[..2], [0, 10]);
        assert_eq!(usize::from(u16::from_be_bytes([message[2], message[3]])), message.len());
        assert_eq!(u64::from(number(message, 4)), AT / 1000);
    }
    assert_eq!(messages[0][16..18], [0, 2], "the set of templates");
    assert_eq!([0, 1, 2].map(|of| number(&messages[of], 8)), [0, 0, 2], "records before each message");
    // Set 256 with two records: time, event, addresses and ports of RFC 8158 §4.6.4.
    let data = &messages[1][16..];
    assert_eq!(data[..4], [1, 0, 0, 72]);
    assert_eq!(data[4..12], AT.to_be_bytes());
    assert_eq!(data[12], 10);
    assert_eq!(data[29..33], [192, 0, 2, 1]);
    assert_eq!(data[33..38], [6, 0x15, 0xb3, 0x9c, 0xbb]);
    assert_eq!(data[38 + 8], 7, "the second record's event");
}

#[test]
fn ipfix_messages_fit_a_datagram_however_many_records_there_are() {
    let messages = messages(Format::Ipfix, Framing::Datagrams, true, &vec![ended(); 256]);

    assert!(messages.len() > 2 && messages.iter().all(|message| message.len() <= 1232));
    for message in &messages[1..] {
        assert_eq!(usize::from(u16::from_be_bytes([message[18], message[19]])), message.len() - 16, "one set");
    }
}

#[test]
fn a_message_that_is_cut_off_begins_anew() {
    let mut frames = Frames::default();
    frames.add(|bytes| bytes.extend_from_slice(b"one\n"));
    frames.add(|bytes| bytes.extend_from_slice(b"two\n"));

    frames.advance(6);
    assert_eq!((frames.rest(), frames.all()), (Some(&b"o\n"[..]), &b"o\n"[..]));
    frames.restart_frame();
    assert_eq!(frames.rest(), Some(&b"two\n"[..]));
    frames.advance(4);
    assert_eq!(frames.rest(), None);
}
