//! Packets on their way, as `nat64 trace` shows them.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{CLIENT, Daemon, Lab, Outcome, POOL, Running, SERVER, Topology, eventually, under_pref64};

const PATIENCE: Duration = Duration::from_secs(20);

fn lab() -> Option<Lab> {
    Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() })
}

/// `nat64 trace`, which ends after so many packets.
fn trace(lab: &Lab, nat64: &Daemon<'_>, arguments: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nat64"));
    command.arg("trace").args(arguments).arg("--control-socket").arg(nat64.socket());
    Running::start(command, &lab.directory().join(format!("trace{}.log", arguments.len())))
}

/// Sends one echo after the other until the trace has what it waits for.
#[track_caller]
fn ping_until_it_ends(lab: &Lab, trace: &mut Running) -> String {
    eventually("the trace has its packets", PATIENCE, || {
        lab.client.run(&format!("ping -c 1 -W 1 {}", under_pref64(SERVER)), PATIENCE);
        !trace.is_running()
    });
    assert!(trace.wait(PATIENCE).success(), "{}", trace.log());
    trace.log()
}

#[test]
fn packets_are_shown_before_and_after_translation() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let mut all = trace(&lab, &nat64, &["--count", "4", "--protocol", "icmp"]);
    let text = ping_until_it_ends(&lab, &mut all);
    assert!(text.contains(&format!("IPv6 {CLIENT} > {}, ICMPv6 echo request", under_pref64(SERVER))), "{text}");
    assert!(text.contains(&format!(" -> IPv4 {POOL} > {SERVER}, ICMP echo request")), "{text}");
    assert!(text.contains(&format!(" -> IPv6 {} > {CLIENT}, ICMPv6 echo reply", under_pref64(SERVER))), "{text}");

    let mut brief = trace(&lab, &nat64, &["--brief", "--count", "2", "--protocol", "icmp", "--from", "ipv6"]);
    let text = ping_until_it_ends(&lab, &mut brief);
    let to = under_pref64(SERVER);
    assert_eq!(text.lines().count(), 2, "{text}");
    for line in text.lines() {
        let (what, ends) = (
            line.contains(" translated, ICMPv6 echo request id "),
            format!(" bytes, {CLIENT} > {to} -> {POOL} > {SERVER}"),
        );
        assert!(what && line.ends_with(&ends), "{line}");
    }

    let mut out = trace(&lab, &nat64, &["--count", "2", "--from", "ipv4", "--json"]);
    let text = ping_until_it_ends(&lab, &mut out);
    let packets: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(
        packets.len() == 2
            && packets.iter().all(|packet| packet["before"].as_str().is_some_and(|hex| hex.starts_with("45")))
    );
    nat64.stop();
}

#[test]
fn drops_alone_are_shown_with_their_reason() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&format!("{}exclude = [{{ protocol = \"udp\", ports = \"9\" }}]\n", Lab::translator()));
    let mut drops = trace(&lab, &nat64, &["--drops", "--count", "1", "--reason", "administratively-prohibited"]);
    eventually("the trace has its packet", PATIENCE, || {
        lab.client.run(&format!("ping -c 1 -W 1 {}", under_pref64(SERVER)), PATIENCE);
        let socket = lab.client.enter(|| std::net::UdpSocket::bind((CLIENT, 0))).expect("a port is free");
        let _ = socket.send_to(b"x", (under_pref64(SERVER), 9));
        !drops.is_running()
    });
    let text = drops.log();
    assert!(
        text.contains("refused: administratively-prohibited") && text.contains("UDP") && !text.contains("echo"),
        "{text}"
    );
    let wrong = nat64.ask(&["trace", "--reason", "nonsense"]).failed();
    assert!(wrong.stderr.contains("`nonsense` is no drop reason"), "{}", wrong.stderr);
    nat64.stop();
}

#[test]
fn a_capture_is_read_by_tshark_with_both_sides_and_the_verdict() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let file = lab.directory().join("trace.pcapng");
    let path = file.display().to_string();
    let mut capture = trace(&lab, &nat64, &["--count", "2", "--protocol", "icmp", "--write", &path]);
    ping_until_it_ends(&lab, &mut capture);

    let mut tshark = Command::new("tshark");
    tshark.args([
        "-r",
        &path,
        "-T",
        "fields",
        "-e",
        "frame.interface_name",
        "-e",
        "frame.comment",
        "-e",
        "_ws.col.Protocol",
    ]);
    let text = Outcome::of(tshark, PATIENCE).succeeded();

    let lines: Vec<&str> = text.lines().filter(|line| line.contains('\t')).collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with("before translation\ttranslated\tICMPv6"), "{text}");
    assert!(lines[1].starts_with("after translation\ttranslated\tICMP"), "{text}");
    nat64.stop();
}

#[test]
fn a_trace_that_is_not_read_is_closed() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    // Their logs are named by the number of their arguments.
    let mut stuck = trace(&lab, &nat64, &["--snap", "2048", "--from", "ipv6"]);
    let others: [&[&str]; 3] = [&["--json"], &["--snap", "2048"], &["--json", "--snap", "2048"]];
    let mut others = others.map(|arguments| trace(&lab, &nat64, arguments));
    eventually("four traces run", PATIENCE, || {
        lab.client.run(&format!("ping -c 1 -W 1 {}", under_pref64(SERVER)), PATIENCE);
        [&stuck].into_iter().chain(&others).all(|trace| !trace.log().is_empty())
    });
    assert!(nat64.ask(&["trace", "--count", "1"]).failed().stderr.contains("4 traces are running already"));
    stuck.signal(Signal::STOP);

    // The daemon waits for its reader for ten seconds, once nothing more fits in between.
    let next = || trace(&lab, &nat64, &["--count", "1", "--protocol", "icmp", "--snap", "64"]);
    let mut one = next();
    eventually("there is room for another", 3 * PATIENCE, || {
        lab.client.run(&format!("ping -q -f -c 200 -s 1400 {}", under_pref64(SERVER)), PATIENCE);
        let has_ended = !one.is_running();
        let had_room = has_ended && one.wait(PATIENCE).success();
        if has_ended && !had_room {
            one = next();
        }
        had_room
    });
    stuck.signal(Signal::CONT);
    assert!(!stuck.wait(PATIENCE).success());
    assert!(stuck.log().contains("nat64 has ended the trace"), "a reason is told");
    assert!(others.iter_mut().all(Running::is_running), "those that read go on");
    nat64.stop();
}

#[test]
fn a_trace_that_nobody_reads_any_more_is_closed() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let traces: Vec<Running> = (0..4).map(|_| trace(&lab, &nat64, &["--port", "9"])).collect();
    eventually("four traces run", PATIENCE, || {
        nat64.ask(&["trace", "--count", "1"]).stderr.contains("4 traces are running already")
    });
    drop(traces);
    let mut one = trace(&lab, &nat64, &["--count", "1"]);
    eventually("there is room for another", PATIENCE, || {
        if !one.is_running() && !one.wait(PATIENCE).success() {
            one = trace(&lab, &nat64, &["--count", "1"]);
        }
        lab.client.run(&format!("ping -c 1 -W 1 {}", under_pref64(SERVER)), PATIENCE);
        !one.is_running() && one.wait(PATIENCE).success()
    });
    nat64.stop();
}
