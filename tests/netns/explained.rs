//! What the running daemon would do with a packet, beside what it does.

use crate::support::{CLIENT, Lab, POOL, SERVER, Topology, under_pref64};

#[test]
fn what_is_told_of_a_packet_is_what_comes_of_it_and_nothing_happens_before() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let exclusion = "exclude = [{ protocol = \"tcp\", ports = \"25\" }]\n";
    let nat64 = lab.nat64(&format!("{}{exclusion}", Lab::translator()));
    let (from, to) = (format!("[{CLIENT}]:77"), format!("[{}]:0", under_pref64(SERVER)));
    let echo = ["explain", "packet", "--protocol", "icmp", "--from", &from, "--to", &to];

    let first = nat64.ask(&echo).succeeded();
    assert!(first.contains("would be      translated") && first.contains("would make    a mapping"), "{first}");
    assert!(nat64.sessions().is_empty());
    lab.client.check(&format!("ping -c 1 -W 2 -e 77 {}", under_pref64(SERVER)));
    let known = nat64.ask(&echo).succeeded();
    let session = &nat64.sessions()[0];
    assert!(known.contains(&format!("is {POOL}:{}", session["external"]["port"])), "{known}\n{session}");
    assert!(!known.contains("would make"), "{known}");

    let (mail_from, mail_to) = (format!("[{CLIENT}]:5000"), format!("[{}]:25", under_pref64(SERVER)));
    let mail = ["explain", "packet", "--from", &mail_from, "--to", &mail_to];
    let refused = nat64.ask(&mail).succeeded();
    assert!(refused.contains("refused: administratively-prohibited"), "{refused}");
    assert!(refused.contains("number 1 of translator.exclude") && refused.contains("ICMPv6"), "{refused}");

    let (stranger, pool) = (format!("{SERVER}:443"), format!("{POOL}:9"));
    let outside =
        nat64.ask(&["explain", "packet", "--protocol", "udp", "--from", &stranger, "--to", &pool]).succeeded();
    assert!(outside.contains("refused: no-mapping"), "{outside}");
    nat64.stop();
}

#[test]
fn packets_of_a_capture_are_explained() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let capture = lab.directory().join("capture.pcap");
    let mut command = lab.client.command("tcpdump");
    command.args(["-i", "eth0", "-c", "1", "-U", "-w"]).arg(&capture).arg("icmp6 and ip6[40] == 128");
    let mut tcpdump = crate::support::Running::start(command, &lab.directory().join("tcpdump.log"));
    crate::support::eventually("tcpdump listens", std::time::Duration::from_secs(10), || {
        tcpdump.log().contains("listening on")
    });
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    assert!(tcpdump.wait(std::time::Duration::from_secs(10)).success(), "{}", tcpdump.log());

    let told = nat64.ask(&["explain", "packet", "--file", &capture.display().to_string()]).succeeded();

    assert!(
        told.contains("ICMPv6 echo request") && told.contains(&format!("IPv4 {POOL} > {SERVER}, ICMP echo")),
        "{told}"
    );
    nat64.stop();
}
