//! What is answered without an upstream: `ipv4only.arpa`, and reverse names under a prefix.

use std::net::Ipv6Addr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};

use super::*;

fn reverse(address: &str) -> String {
    Name::from(address.parse::<Ipv6Addr>().unwrap()).to_ascii()
}

#[tokio::test]
async fn ipv4only_arpa_is_answered_with_all_upstreams_dead() {
    let (_socket, dead) = silent();
    let mut config = config(&[dead]);
    config.prefixes = vec!["64:ff9b::/96".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let server = start(config).await;
    let a = ask(server.address, "ipv4only.arpa. A").await;
    assert_eq!(answers(&a), ["ipv4only.arpa. 86400 A 192.0.0.170", "ipv4only.arpa. 86400 A 192.0.0.171"]);
    assert!(a.metadata.authoritative);
    let expected = ["64:ff9b::c000:aa", "2001:db8:c000:aa::", "64:ff9b::c000:ab", "2001:db8:c000:ab::"]
        .map(|address| format!("ipv4only.arpa. 86400 AAAA {address}"));
    // Whatever the asker's flags: RFC 8880 §7.1 knows no exception for them.
    for unchecked in [false, true] {
        let aaaa = Ask::new("IPv4Only.ARPA. AAAA").dnssec(true).unchecked(unchecked).over_udp(server.address).await;
        assert_eq!(
            answers(&aaaa).iter().map(|line| line.to_ascii_lowercase()).collect::<Vec<_>>(),
            expected.clone().map(|line| line.to_ascii_lowercase())
        );
    }
}

#[tokio::test]
async fn other_types_of_ipv4only_arpa_are_absent_and_names_below_do_not_exist() {
    let (_socket, dead) = silent();
    let server = start(config(&[dead])).await;
    for kind in ["NS", "SOA", "TXT", "MX", "ANY"] {
        let answer = ask(server.address, &format!("ipv4only.arpa. {kind}")).await;
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0), "{kind}");
        assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
        assert_eq!(answer.authorities[0].name.to_ascii(), "ipv4only.arpa.");
    }
    for question in ["x.ipv4only.arpa. A", "a.b.ipv4only.arpa. DS", "x.170.0.0.192.in-addr.arpa. PTR"] {
        assert_eq!(ask(server.address, question).await.metadata.response_code, ResponseCode::NXDomain, "{question}");
    }
}

#[tokio::test]
async fn the_ds_record_of_ipv4only_arpa_is_asked_for() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    ask(server.address, "ipv4only.arpa. DS").await;
    assert_eq!(upstream.asked(), ["ipv4only.arpa. DS"]);
}

#[tokio::test]
async fn the_reverse_names_of_ipv4only_arpa_are_answered_locally() {
    let (_socket, dead) = silent();
    let server = start(config(&[dead])).await;
    for last in ["170", "171"] {
        let name = format!("{last}.0.0.192.in-addr.arpa.");
        let answer = ask(server.address, &format!("{name} PTR")).await;
        assert_eq!(answers(&answer), [format!("{name} 86400 PTR ipv4only.arpa.")]);
        let other = ask(server.address, &format!("{name} TXT")).await;
        assert_eq!((other.metadata.response_code, other.answers.len()), (ResponseCode::NoError, 0));
    }
    let name = reverse("2001:db8:64::192.0.0.170");
    let answer = ask(server.address, &format!("{name} PTR")).await;
    let expected = [
        format!("{name} 600 CNAME 170.0.0.192.in-addr.arpa."),
        "170.0.0.192.in-addr.arpa. 86400 PTR ipv4only.arpa.".to_owned(),
    ];
    assert_eq!(answers(&answer), expected);
}

#[tokio::test]
async fn a_reverse_name_under_each_prefix_is_an_alias_to_the_ipv4_one() {
    let upstream = Upstream::zone(ZONE).await;
    let prefixes = [
        "2001:db8::/32",
        "2001:db8:100::/40",
        "2001:db8:122::/48",
        "2001:db8:123:300::/56",
        "2001:db8:124:344::/64",
        "2001:db8:125::/96",
    ];
    let addresses = [
        "2001:db8:c000:221::",
        "2001:db8:1c0:2:21::",
        "2001:db8:122:c000:2:2100::",
        "2001:db8:123:3c0:0:221::",
        "2001:db8:124:344:c0:2:2100:0",
        "2001:db8:125::192.0.2.33",
    ];
    for (prefix, address) in prefixes.into_iter().zip(addresses) {
        let mut config = config(&[upstream.address]);
        config.prefixes = vec![prefix.parse().unwrap()];
        let server = start(config).await;
        let name = reverse(address);
        let answer = ask(server.address, &format!("{name} PTR")).await;
        let expected = [
            format!("{name} 600 CNAME 33.2.0.192.in-addr.arpa."),
            "33.2.0.192.in-addr.arpa. 900 PTR v4.example.".to_owned(),
        ];
        assert_eq!(answers(&answer), expected, "{prefix}");
    }
}

#[tokio::test]
async fn a_reverse_name_without_an_ipv4_one_does_not_exist_in_the_prefixs_zone() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let answer = ask(server.address, &format!("{} PTR", reverse("2001:db8:64::192.0.2.99"))).await;
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NXDomain, 0));
    assert_eq!(authorities(&answer).len(), 1);
    assert_eq!(answer.authorities[0].name.num_labels(), 26);
}

#[tokio::test]
async fn partial_reverse_names_are_empty_and_impossible_ones_do_not_exist_and_nobody_is_asked() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let full = reverse("2001:db8:64::192.0.2.33");
    let partial = full.split_once('.').unwrap().1;
    let empty = ask(server.address, &format!("{partial} PTR")).await;
    assert_eq!((empty.metadata.response_code, empty.answers.len()), (ResponseCode::NoError, 0));
    for name in [format!("x.{full}"), format!("zz.{partial}")] {
        assert_eq!(ask(server.address, &format!("{name} PTR")).await.metadata.response_code, ResponseCode::NXDomain);
    }
    assert!(upstream.asked().is_empty());
}

#[tokio::test]
async fn a_reverse_name_outside_the_prefixes_is_asked_for() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let name = reverse("2001:db8:65::1");
    ask(server.address, &format!("{name} PTR")).await;
    assert_eq!(upstream.asked(), [format!("{name} PTR")]);
}

#[tokio::test]
async fn where_the_ipv4_name_is_an_alias_ours_leads_to_its_target() {
    // A delegation without classes (RFC 2317).
    let zone = "
        33.2.0.192.in-addr.arpa.        60 CNAME 33.32-27.2.0.192.in-addr.arpa.
        33.32-27.2.0.192.in-addr.arpa. 900 PTR v4.example.
    ";
    let upstream = Upstream::zone(zone).await;
    let server = start_with(&upstream).await;
    let name = reverse("2001:db8:64::192.0.2.33");
    let expected = [
        format!("{name} 60 CNAME 33.32-27.2.0.192.in-addr.arpa."),
        "33.32-27.2.0.192.in-addr.arpa. 900 PTR v4.example.".to_owned(),
    ];
    assert_eq!(answers(&ask(server.address, &format!("{name} PTR")).await), expected);
}

#[tokio::test]
async fn a_reverse_name_may_have_the_records_of_the_ipv4_one_as_its_own() {
    let zone = "
        33.2.0.192.in-addr.arpa.        60 CNAME 33.32-27.2.0.192.in-addr.arpa.
        33.32-27.2.0.192.in-addr.arpa. 900 PTR v4.example.
    ";
    let upstream = Upstream::zone(zone).await;
    let server = start(dns64::Config { ptr: dns64::PtrMode::Direct, ..config(&[upstream.address]) }).await;
    let told = async |name: &str, kind: &str| answers(&ask(server.address, &format!("{name} {kind}")).await);
    let name = reverse("2001:db8:64::192.0.2.33");
    assert_eq!(told(&name, "PTR").await, [format!("{name} 60 PTR v4.example.")]);
    assert_eq!(told(&name, "CNAME").await, [format!("{name} 60 CNAME 33.32-27.2.0.192.in-addr.arpa.")]);
    let discovered = reverse("2001:db8:64::192.0.0.171");
    assert_eq!(told(&discovered, "PTR").await, [format!("{discovered} 600 PTR ipv4only.arpa.")]);
}

#[tokio::test]
async fn a_validating_client_gets_reverse_names_as_they_are() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let question = format!("{} PTR", reverse("2001:db8:64::192.0.2.33"));
    Ask::new(&question).dnssec(true).unchecked(true).over_udp(server.address).await;
    assert_eq!(upstream.asked(), [question]);
}
