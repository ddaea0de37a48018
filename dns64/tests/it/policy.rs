//! Clients by group, names by domain, addresses by range.

use dns64::{Domain, Group, RangePrefixes, Treatment};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use tokio::net::TcpStream;

use super::client::receive_tcp;
use super::*;

/// The code of the extended error (RFC 8914), if there is one.
pub(crate) fn extended_error(message: &Message) -> Option<u16> {
    let option = message.edns.as_ref()?.option(EdnsCode::Unknown(15))?;
    let EdnsOption::Unknown(_, data) = option else { return None };
    Some(u16::from_be_bytes([data[0], data[1]]))
}

fn domain(domain: &str, treatment: Treatment) -> Domain {
    Domain { domain: domain.to_owned(), treatment }
}

#[tokio::test]
async fn who_is_not_a_client_is_refused_and_told_why() {
    let upstream = Upstream::zone(ZONE).await;
    let mut config = config(&[upstream.address]);
    config.clients = vec!["192.0.2.0/24".parse().unwrap()];
    let server = start(config).await;
    for question in ["v4.example. AAAA", "ipv4only.arpa. AAAA", "v4.example. A"] {
        let answer = Ask::new(question).edns(1232).over_udp(server.address).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{question}");
        assert_eq!(extended_error(&answer), Some(18));
    }
    let mut connection = TcpStream::connect(server.address).await.unwrap();
    assert!(receive_tcp(&mut connection).await.is_none());
    assert_eq!(server.stats.snapshot().clients_refused, 4);
    assert!(upstream.asked().is_empty());
}

#[tokio::test]
async fn of_many_queries_from_elsewhere_only_some_are_refused_and_no_malformed_one_is_answered() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start(dns64::Config { clients: vec![], ..config(&[upstream.address]) }).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let opcode_status = b"\0\x07\x10\0\0\0\0\0\0\0\0\0";
    let query = Ask::new("v4.example. AAAA").0.to_vec().unwrap();
    socket.send_to(opcode_status, server.address).await.unwrap();
    for _ in 0..100 {
        socket.send_to(&query, server.address).await.unwrap();
    }
    // What comes after the last of them was counted is all that comes: refusals are sent before the next is read.
    while server.stats.snapshot().clients_refused < 101 {
        tokio::task::yield_now().await;
    }
    let (mut refused, mut buffer) = (0, [0; 512]);
    while let Ok(Ok(length)) = tokio::time::timeout(Duration::from_millis(200), socket.recv(&mut buffer)).await {
        assert_eq!(Message::from_vec(&buffer[..length]).unwrap().metadata.response_code, ResponseCode::Refused);
        refused += 1;
    }
    // Two seconds' worth at once, and what the time that this took allows.
    assert!((10..100).contains(&refused), "{refused}");
}

#[tokio::test]
async fn groups_by_source_and_listener_share_the_cache_and_differ_in_what_they_are_told() {
    let upstream = Upstream::zone(ZONE).await;
    let mut config = config(&[upstream.address]);
    config.listen = vec!["127.0.0.1:0".parse().unwrap(), "127.0.0.2:0".parse().unwrap()];
    let prefixes = |text: &str| Some(vec![text.parse().unwrap()]);
    config.groups = vec![
        Group {
            name: "loopback".to_owned(),
            clients: vec!["127.0.0.1/32".parse().unwrap()],
            prefixes: prefixes("2001:db8:100::/40"),
            ..Group::default()
        },
        Group {
            name: "off".to_owned(),
            clients: vec!["127.0.0.2/32".parse().unwrap()],
            synthesise: Some(false),
            ..Group::default()
        },
    ];
    let server = start(config).await;
    let from = async |source: &str| {
        let socket = tokio::net::UdpSocket::bind((source, 0)).await.unwrap();
        let query = Ask::new("v4.example. AAAA").0.to_vec().unwrap();
        socket.send_to(&query, server.address).await.unwrap();
        let mut buffer = vec![0; 4096];
        let length = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await.unwrap().unwrap();
        answers(&Message::from_vec(&buffer[..length]).unwrap())
    };
    assert_eq!(from("127.0.0.1").await, ["v4.example. 300 AAAA 2001:db8:1c0:2:21::"]);
    assert_eq!(from("127.0.0.2").await, [""; 0]);
    assert_eq!(from("127.0.0.3").await, ["v4.example. 300 AAAA 2001:db8:64::c000:221"]);
    assert_eq!(upstream.asked().len(), 2, "{:?}", upstream.asked());
}

#[tokio::test]
async fn groups_of_a_listener_have_exclusions_of_their_own() {
    let upstream =
        Upstream::zone(&format!("{ZONE}\nmixed.example. 900 AAAA 2001:db8::1\nmixed.example. 900 A 192.0.2.5")).await;
    let (socket, second) = silent();
    drop(socket);
    let mut config = config(&[upstream.address]);
    config.listen.push(second);
    config.groups = vec![Group {
        name: "second".to_owned(),
        listen: vec![second],
        exclude_aaaa: Some(vec!["2001:db8::/64".parse().unwrap()]),
        exclude_a: Some(vec!["192.0.2.33/32".parse().unwrap()]),
        ..Group::default()
    }];
    let server = start(config).await;
    for (question, at_first, at_second) in [
        ("mixed.example. AAAA", "mixed.example. 900 AAAA 2001:db8::1", "mixed.example. 600 AAAA 2001:db8:64::c000:205"),
        ("v4.example. AAAA", "v4.example. 300 AAAA 2001:db8:64::c000:221", ""),
    ] {
        assert_eq!(answers(&ask(server.address, question).await).concat(), at_first);
        assert_eq!(answers(&ask(second, question).await).concat(), at_second);
    }
}

#[tokio::test]
async fn domains_are_never_or_always_synthesised_or_lose_their_a_records() {
    let upstream = Upstream::zone(ZONE).await;
    let mut config = config(&[upstream.address]);
    config.domains = vec![
        domain("v4.example", Treatment::Never),
        domain("both.example.", Treatment::Always),
        domain("www.Example", Treatment::StripA),
    ];
    let server = start(config).await;
    assert_eq!(answers(&ask(server.address, "v4.example. AAAA").await), [""; 0]);
    assert_eq!(answers(&ask(server.address, "v4.example. A").await), ["v4.example. 900 A 192.0.2.33"]);
    assert_eq!(
        answers(&ask(server.address, "both.example. AAAA").await),
        ["both.example. 600 AAAA 2001:db8:64::c000:201"]
    );
    let stripped = Ask::new("www.example. A").edns(1232).over_udp(server.address).await;
    assert_eq!(answers(&stripped), ["www.example. 60 CNAME alias.example.", "alias.example. 70 CNAME v4.example."]);
    assert_eq!((stripped.metadata.response_code, extended_error(&stripped)), (ResponseCode::NoError, Some(17)));
    assert_eq!(ask(server.address, "www.example. AAAA").await.answers.len(), 3);
}

#[tokio::test]
async fn addresses_of_a_range_have_prefixes_of_their_own_or_none() {
    let upstream = Upstream::zone(ZONE).await;
    let mut config = config(&[upstream.address]);
    config.exclude_a = vec!["198.51.100.8/32".parse().unwrap()];
    // A local-use prefix (RFC 8215) beside a network-specific one.
    let prefixes = ["64:ff9b:1::/48", "2001:db8:65::/96"].map(|text| text.parse().unwrap()).into();
    config.range_prefixes = vec![RangePrefixes { range: "192.0.2.33/32".parse().unwrap(), prefixes }];
    let server = start(config).await;
    assert_eq!(
        answers(&ask(server.address, "v4.example. AAAA").await),
        ["v4.example. 300 AAAA 64:ff9b:1:c000:2:2100::", "v4.example. 300 AAAA 2001:db8:65::c000:221"]
    );
    assert_eq!(
        answers(&ask(server.address, "two.example. AAAA").await),
        ["two.example. 300 AAAA 2001:db8:64::c633:6407"]
    );
    let reverse = hickory_proto::rr::Name::from("64:ff9b:1:c000:2:2100::".parse::<std::net::Ipv6Addr>().unwrap());
    let pointer = ask(server.address, &format!("{reverse} PTR")).await;
    assert_eq!(answers(&pointer).last().unwrap(), "33.2.0.192.in-addr.arpa. 900 PTR v4.example.");
}

#[tokio::test]
async fn each_synthesised_answer_says_so_to_clients_with_edns() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let answer = Ask::new("v4.example. AAAA").edns(1232).over_udp(server.address).await;
    assert_eq!(extended_error(&answer), Some(29));
    assert_eq!(extended_error(&Ask::new("both.example. AAAA").edns(1232).over_udp(server.address).await), None);
}

#[tokio::test]
async fn a_dname_chain_stays_with_its_answer_and_with_its_absence() {
    // The CNAME record that every server adds to its DNAME record (RFC 6672 §3.1).
    let zone = "
        example.          3600 SOA 300
        x.old.example.      60 CNAME v4.example.
        y.old.example.      60 CNAME text.example.
        v4.example.        900 A 192.0.2.33
        text.example.      900 TXT hello
    ";
    let upstream = Upstream::scripted(zone, |_| {
        Script::Edited(|answer| {
            let data = b"\x07example\x00".to_vec();
            let rdata = hickory_proto::rr::rdata::NULL::with(data);
            let data = hickory_proto::rr::RData::Unknown { code: 39.into(), rdata };
            let owner = hickory_proto::rr::Name::from_ascii("old.example.").unwrap();
            answer.answers.insert(0, hickory_proto::rr::Record::from_rdata(owner, 60, data));
        })
    })
    .await;
    let server = start_with(&upstream).await;
    let there = ask(server.address, "x.old.example. AAAA").await;
    let kinds =
        |message: &Message| -> Vec<u16> { message.answers.iter().map(|record| record.record_type().into()).collect() };
    assert_eq!(kinds(&there), [39, 5, 28]);
    let absent = ask(server.address, "y.old.example. AAAA").await;
    assert_eq!(kinds(&absent), [39, 5]);
    assert_eq!(absent.authorities.len(), 1);
}

#[tokio::test]
async fn a_name_above_a_prefix_exists_whatever_the_upstream_says() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let above = ask(server.address, "8.b.d.0.1.0.0.2.ip6.arpa. PTR").await;
    assert_eq!(above.metadata.response_code, ResponseCode::NoError);
    let beside = ask(server.address, "9.b.d.0.1.0.0.2.ip6.arpa. PTR").await;
    assert_eq!(beside.metadata.response_code, ResponseCode::NXDomain);
}
