//! DNSSEC validation of zones that Debian's own tools have signed.

use std::fs;

use crate::support::{GATEWAY, Lab, Running, SERVER, Topology};

const WEB6: &str = "64:ff9b:1::c633:640a";

const ROOT: &str = "\
$ORIGIN .
$TTL 3600
@ SOA ns.example. root.example. 1 3600 600 86400 60
@ NS ns.example.
example. NS ns.example.
ns.example. A 198.51.100.53
plain. NS ns.example.
";

const PLAIN: &str = "\
$ORIGIN plain.
$TTL 300
@ SOA ns.example. root.example. 1 3600 600 86400 60
@ NS ns.example.
v4 A 198.51.100.10
";

#[test]
fn zones_signed_by_bind_with_nsec_and_nsec3_validate_and_damaged_ones_do_not() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    for (denial, name) in [("", "nsec"), ("-3 abcd -H 5", "nsec3")] {
        let zones = lab.directory().join(name);
        sign(&lab, &zones, denial);
        let _names = name_server(&lab, &zones);
        let nat64 = lab.nat64(&format!(
            "{}[dns64]\nupstreams = [\"{SERVER}\"]\ndnssec = true\ntrust-anchors = \"{}\"\n",
            Lab::translator(),
            zones.join("anchors").display()
        ));
        let dig = |what: &str| lab.client.check(&format!("dig +dnssec +tries=1 +time=5 @{GATEWAY} {what}"));
        for (what, told, is_authentic) in [
            ("AAAA legacy.example", WEB6, true),
            ("AAAA alias.example", WEB6, true),
            ("AAAA dual.example", "2001:db8:ffff::10", true),
            ("AAAA v4.plain", WEB6, false),
            ("A missing.example", "NXDOMAIN", true),
        ] {
            let answer = dig(what);
            let flags = answer.lines().find(|line| line.starts_with(";; flags:")).unwrap_or_default();
            assert!(answer.contains(told), "{name}: {what}:\n{answer}");
            assert_eq!(flags.contains(" ad"), is_authentic, "{name}: {what}:\n{answer}");
        }
        // An address that nobody has signed.
        let bogus = dig("AAAA many.example");
        assert!(bogus.contains("status: SERVFAIL") && bogus.contains("EDE: 6"), "{name}:\n{bogus}");
        assert!(!nat64.log().contains("NSEC"), "what others send is not logged:\n{}", nat64.log());
        nat64.stop();
    }
}

/// Signs the root and `example`, and damages one record after that.
fn sign(lab: &Lab, zones: &std::path::Path, denial: &str) {
    let write = |name: &str, text: &str| fs::write(zones.join(name), text).expect("the lab directory is writable");
    let read = |name: &str| fs::read_to_string(zones.join(name)).expect("a file that was just written");
    fs::create_dir_all(zones).expect("the lab directory is writable");
    let run = |line: &str| lab.server.check(&format!("env -C {} {line}", zones.display()));
    write("example.zone", include_str!("../../netns-scripts/zones/example.zone"));
    write("plain.zone", PLAIN);
    for (zone, algorithm) in [("example", "ECDSAP256SHA256"), (".", "RSASHA256")] {
        run(&format!("dnssec-keygen -q -a {algorithm} -f KSK {zone}"));
        run(&format!("dnssec-keygen -q -a {algorithm} {zone}"));
    }
    run(&format!("dnssec-signzone -S {denial} -o example -O full -f example.signed example.zone"));
    write("root.zone", &format!("{ROOT}{}", read("dsset-example.")));
    run("dnssec-signzone -S -o . -f root.signed root.zone");
    let damaged: String = read("example.signed")
        .lines()
        .map(|line| {
            if line.starts_with("many.example.") { line.replace("198.51.100.53", "198.51.100.54") } else { line.into() }
        })
        .map(|line| line + "\n")
        .collect();
    write("example.signed", &damaged);
    let keys = fs::read_dir(zones).expect("the lab directory is readable").map(|entry| entry.expect("an entry").path());
    let is_root_key = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("K.+") && name.ends_with(".key")
    };
    let anchors: String = keys.filter(is_root_key).map(|path| fs::read_to_string(path).expect("a key")).collect();
    let anchors: Vec<&str> = anchors.lines().filter(|line| line.contains("DNSKEY 257")).collect();
    write("anchors", &anchors.join("\n"));
}

fn name_server(lab: &Lab, zones: &std::path::Path) -> Running {
    let home = zones.display();
    let configuration = zones.join("nsd.conf");
    let zone = |name: &str, file: &str| format!("zone:\n  name: {name}\n  zonefile: {file}\n");
    let text = format!(
        "server:\n  ip-address: {SERVER}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{home}\"\n  pidfile: \"{home}/pid\"\n  \
         xfrdfile: \"{home}/xfrd\"\n  zonelistfile: \"{home}/list\"\n  xfrdir: \"{home}\"\n  \
         cookie-secret-file: \"{home}/cookies\"\n  server-count: 1\nremote-control:\n  control-enable: no\n{}{}{}",
        zone("example", "example.signed"),
        zone("plain", "plain.zone"),
        zone(".", "root.signed")
    );
    fs::write(&configuration, text).expect("the lab directory is writable");
    let mut command = lab.server.command("nsd");
    command.arg("-d").arg("-c").arg(&configuration);
    let process = Running::start(command, &zones.join("log"));
    lab.server.wait_for_listener(53);
    process
}
