//! Real programs as clients of DNS64: the resolver of the C library, and a resolver that forwards to us.

use std::fs;
use std::time::Duration;

use crate::support::{Daemon, GATEWAY, Lab, Running, SERVER, Topology};

const WEB6: &str = "64:ff9b:1::c633:640a";
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn getaddrinfo_finds_synthesised_and_real_addresses() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let (_names, _nat64) = with_dns64(&lab);
    lab.resolve_names_at_gateway();
    for (name, address) in [("legacy.example", WEB6), ("alias.example", WEB6), ("dual.example", "2001:db8:ffff::10")] {
        let found = lab.client.check(&format!("getent ahostsv6 {name}"));
        assert!(found.lines().all(|line| line.starts_with(address)) && !found.is_empty(), "{name}: {found}");
    }
    let missing = lab.client.run("getent ahosts missing.example", PATIENCE).failed();
    assert_eq!(missing.stdout, "", "{missing}");
    let name = lab.client.check(&format!("getent hosts {WEB6}"));
    assert!(name.contains("legacy.example"), "{name}");
}

#[test]
fn dig_works_out_the_prefix() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let (_names, _nat64) = with_dns64(&lab);
    let found = lab.client.check(&format!("dig +dns64prefix +tries=2 +time=3 @{GATEWAY}"));
    assert_eq!(found.trim(), "64:ff9b:1::/96");
}

#[test]
fn unbound_forwards_to_us_with_random_case_and_caches_what_we_say() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let (_names, nat64) = with_dns64(&lab);
    let _unbound = unbound(&lab);
    let dig = |question: &str| {
        let said = lab.client.check(&format!("dig +short +tries=2 +time=5 @::1 {question}"));
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(dig("AAAA legacy.example"), [WEB6]);
    assert_eq!(dig("AAAA alias.example"), ["www.example.", "legacy.example.", WEB6]);
    assert_eq!(dig("AAAA dual.example"), ["2001:db8:ffff::10"]);
    assert_eq!(dig("A legacy.example"), ["198.51.100.10"]);
    assert_eq!(dig(&format!("-x {WEB6}")).last().map(String::as_str), Some("legacy.example."));
    let missing = lab.client.check("dig +tries=2 +time=5 @::1 AAAA missing.example");
    assert!(missing.contains("status: NXDOMAIN"), "{missing}");
    let queries = || nat64.ask_json("status")["dns64"]["counters"]["queries_udp"].as_u64().expect("a counter");
    let before = queries();
    assert_eq!(dig("AAAA legacy.example"), [WEB6]);
    assert_eq!(queries(), before, "answered from Unbound's cache");
}

fn with_dns64(lab: &Lab) -> (Running, Daemon<'_>) {
    let names = lab.name_server();
    (names, lab.nat64(&format!("{}[dns64]\nupstreams = [\"{SERVER}\"]\n", Lab::translator())))
}

/// An Unbound on the client that asks the gateway for everything, and takes no answer whose letters differ (0x20).
fn unbound(lab: &Lab) -> Running {
    let home = lab.directory().join("unbound");
    fs::create_dir_all(&home).expect("the lab directory is writable");
    let configuration = home.join("unbound.conf");
    let text = format!(
        "server:
            interface: ::1
            do-ip4: no
            username: \"\"
            chroot: \"\"
            directory: \"{home}\"
            pidfile: \"{home}/pid\"
            use-syslog: no
            do-daemonize: no
            module-config: \"iterator\"
            use-caps-for-id: yes
            do-not-query-localhost: no
            local-zone: \"9.f.f.4.6.0.0.ip6.arpa.\" nodefault
            num-threads: 1
        remote-control:
            control-enable: no
        forward-zone:
            name: \".\"
            forward-addr: {GATEWAY}
        ",
        home = home.display()
    );
    fs::write(&configuration, text).expect("the lab directory is writable");
    let mut command = lab.client.command("unbound");
    command.arg("-d").arg("-c").arg(&configuration);
    let process = Running::start(command, &home.join("log"));
    lab.client.wait_for_listener(53);
    process
}
