//! DNS64 as a client sees it, with and without the translator beside it.

use std::time::Duration;

use crate::support::{Daemon, GATEWAY, Lab, Running, SERVER, Topology, eventually, under_pref64};

const WEB6: &str = "64:ff9b:1::c633:640a";

#[test]
fn dig_finds_what_the_zone_holds_and_what_dns64_makes_of_it() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let (_names, _nat64) = with_dns64(&lab);
    assert_eq!(dig(&lab, "AAAA legacy.example"), [WEB6], "synthesised");
    assert_eq!(dig(&lab, "AAAA legacy.example +tcp"), [WEB6], "synthesised, over TCP");
    assert_eq!(dig(&lab, "AAAA alias.example"), ["www.example.", "legacy.example.", WEB6], "along a CNAME chain");
    assert_eq!(dig(&lab, "AAAA dual.example"), ["2001:db8:ffff::10"], "its own address");
    assert_eq!(dig(&lab, "A legacy.example"), ["198.51.100.10"]);
    assert_eq!(dig(&lab, "MX example"), ["10 mail.example."]);
    assert_eq!(dig(&lab, "TXT text.example"), ["\"nothing to translate\""]);
    assert_eq!(dig(&lab, &format!("-x {WEB6}")).last().map(String::as_str), Some("legacy.example."));
    assert_eq!(dig(&lab, "-x 198.51.100.10"), ["legacy.example."]);
    assert_eq!(dig(&lab, "AAAA many.example").len(), 2, "an address for each A");
}

#[test]
fn a_service_is_told_as_it_is_and_its_host_has_an_address_under_the_prefix() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let (_names, _nat64) = with_dns64(&lab);
    assert_eq!(dig(&lab, "HTTPS service.example"), ["1 legacy.example. alpn=\"h2\" ipv4hint=198.51.100.10"]);
    assert_eq!(dig(&lab, "AAAA legacy.example"), [WEB6]);
}

/// As a program does that asks for HTTPS records; Debian's curl does not by itself.
#[test]
fn curl_fetches_from_the_host_that_an_https_record_names() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let (_names, _nat64) = with_dns64(&lab);
    let web = lab.web_server();
    std::fs::write(web.root().join("index.html"), "hello").expect("the lab directory is writable");
    lab.resolve_names_at_gateway();
    let told = dig(&lab, "HTTPS service.example");
    let host = told[0].split(' ').nth(1).expect("a target");
    assert_eq!(dig(&lab, &format!("AAAA {host}")), [WEB6], "{told:?}");
    let host = host.trim_end_matches('.');
    for way in [format!("--connect-to service.example:80:{host}:80"), format!("--resolve service.example:80:[{WEB6}]")]
    {
        let fetched = lab.client.check(&format!("curl -sS --fail --max-time 8 {way} http://service.example/"));
        assert_eq!(fetched, "hello", "{way}");
    }
}

#[test]
fn a_name_that_does_not_exist_stays_so_and_one_without_addresses_has_none() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let (_names, _nat64) = with_dns64(&lab);
    let missing = lab.client.check(&format!("dig @{GATEWAY} AAAA missing.example"));
    assert!(missing.contains("status: NXDOMAIN"), "{missing}");
    let empty = lab.client.check(&format!("dig @{GATEWAY} AAAA text.example"));
    assert!(empty.contains("status: NOERROR") && empty.contains("ANSWER: 0"), "{empty}");
}

#[test]
fn a_client_discovers_the_prefix_by_ipv4only_arpa() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let (_names, _nat64) = with_dns64(&lab);
    let mut found = dig(&lab, "AAAA ipv4only.arpa");
    found.sort();
    assert_eq!(found, ["64:ff9b:1::c000:aa", "64:ff9b:1::c000:ab"], "RFC 7050 §2.2");
}

#[test]
fn curl_fetches_by_name() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let (_names, _nat64) = with_dns64(&lab);
    let web = lab.web_server();
    std::fs::write(web.root().join("index.html"), "hello").expect("the lab directory is writable");
    lab.resolve_names_at_gateway();
    assert_eq!(lab.client.check("curl -sS --fail --max-time 8 http://legacy.example/"), "hello");
    assert_eq!(lab.client.check("curl -sS --fail --max-time 8 http://alias.example/"), "hello");
}

#[test]
fn dns64_works_without_the_translator() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _names = lab.name_server();
    let nat64 = lab.nat64(&format!("pref64 = \"64:ff9b:1::/96\"\n[dns64]\nupstreams = [\"{SERVER}\"]\n"));
    assert_eq!(dig(&lab, "AAAA legacy.example"), [WEB6]);
    let links = lab.gateway.ip("-o link");
    assert!(!links.contains("nat64"), "a device without a translator:\n{links}");
    nat64.stop();
}

#[test]
fn only_hosts_on_the_gateways_links_are_answered_and_links_are_followed() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    // A host that the gateway routes for, but has no address beside.
    lab.client.ip("addr add 2001:db8:2::10/128 dev eth0");
    lab.gateway.ip("-6 route add 2001:db8:2::10 dev lan");
    let (_names, nat64) = with_dns64(&lab);
    let from_afar = || lab.client.check(&format!("dig -b 2001:db8:2::10 +tries=1 @{GATEWAY} AAAA legacy.example"));
    let refused = from_afar();
    assert!(refused.contains("status: REFUSED") && refused.contains("EDE: 18"), "{refused}");
    assert_eq!(dig(&lab, "AAAA legacy.example"), [WEB6]);
    let tcp = format!("dig -b 2001:db8:2::10 +tcp +tries=1 +time=2 @{GATEWAY} AAAA legacy.example");
    assert!(!lab.client.run(&tcp, PATIENCE).stdout.contains("status:"), "no answer over TCP");

    lab.gateway.ip("addr add 2001:db8:2::1/64 dev lan");
    eventually("the new prefix is answered", PATIENCE, || from_afar().contains(WEB6));
    lab.gateway.ip("addr del 2001:db8:2::1/64 dev lan");
    eventually("the prefix is gone", PATIENCE, || from_afar().contains("REFUSED"));
    nat64.stop();
    let anyone = format!("{}[dns64]\nupstreams = [\"{SERVER}\"]\nclients = [\"::/0\"]\n", Lab::translator());
    let _nat64 = lab.nat64(&anyone);
    assert!(from_afar().contains(WEB6), "as configured");
}

#[test]
fn nothing_is_synthesised_while_the_device_is_down_or_the_prefix_drains_and_explain_says_so() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let (_names, nat64) = with_dns64(&lab);
    let explain = || nat64.ask(&["dns", "explain", "legacy.example", "--client", "2001:db8:1::10"]).succeeded();
    let explained = explain();
    assert!(explained.contains("198.51.100.10 becomes 64:ff9b:1::c633:640a"), "{explained}");
    assert_eq!(dig(&lab, "AAAA legacy.example"), [WEB6]);

    lab.gateway.ip("link set nat64 down");
    eventually("no address while the device is down", PATIENCE, || dig(&lab, "AAAA legacy.example").is_empty());
    let explained = explain();
    assert!(explained.contains("has no prefix whose translator is up"), "{explained}");
    let status = nat64.ask(&["status"]).succeeded();
    assert!(status.contains("64:ff9b:1::/96 down: its device is down"), "{status}");
    assert_eq!(dig(&lab, "AAAA dual.example"), ["2001:db8:ffff::10"], "real records are told");
    lab.gateway.ip("link set nat64 up");
    // The kernel took the route away with the device's IPv6.
    eventually("the missing route is seen", PATIENCE, || nat64.ask(&["status"]).stdout.contains("not routed"));
    lab.gateway.ip("-6 route add 64:ff9b:1::/96 dev nat64");
    eventually("an address again", PATIENCE, || dig(&lab, "AAAA legacy.example") == [WEB6]);

    let drained = nat64.ask(&["dns", "drain"]).succeeded();
    assert_eq!(drained, "64:ff9b:1::/96 draining: drained by the operator\n");
    assert!(dig(&lab, "AAAA legacy.example").is_empty());
    nat64.ask(&["dns", "undrain", "64:ff9b:1::/96"]).succeeded();
    assert_eq!(dig(&lab, "AAAA legacy.example"), [WEB6]);
    let flushed = nat64.ask(&["dns", "flush", "example"]).succeeded();
    assert!(flushed.ends_with("answers forgotten\n") && !flushed.starts_with("0 "), "{flushed}");
    let wrong = nat64.ask(&["dns", "drain", "2001:db8::/96"]).failed();
    assert!(wrong.stderr.contains("no prefix of ours"), "{wrong}");
}

#[test]
fn without_addresses_to_tell_clients_may_be_told_another_prefix() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _names = lab.name_server();
    let nat64 = lab.nat64(&format!(
        "{}[dns64]\nupstreams = [\"{SERVER}\"]\nwhen-unavailable = [\"2001:db8:f::/96\"]\n",
        Lab::translator()
    ));
    assert_eq!(dig(&lab, "AAAA legacy.example"), [WEB6]);
    nat64.ask(&["dns", "drain"]).succeeded();
    assert_eq!(dig(&lab, "AAAA legacy.example"), ["2001:db8:f::c633:640a"]);
}

#[test]
fn the_translator_works_without_dns64() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    let said = lab.client.run(&format!("dig +tries=1 +time=2 @{GATEWAY} AAAA legacy.example"), PATIENCE).failed();
    assert!(said.stdout.contains("refused"), "{said}");
}

const PATIENCE: Duration = Duration::from_secs(10);

fn with_dns64(lab: &Lab) -> (Running, Daemon<'_>) {
    let names = lab.name_server();
    (names, lab.nat64(&format!("{}[dns64]\nupstreams = [\"{SERVER}\"]\n", Lab::translator())))
}

fn dig(lab: &Lab, question: &str) -> Vec<String> {
    let said = lab.client.check(&format!("dig +short +tries=2 +time=3 @{GATEWAY} {question}"));
    said.lines().map(str::to_owned).collect()
}
