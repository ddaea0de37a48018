//! A million sessions in the daemon: opened through the device, listed, narrowed down, kept through a reload and closed in part
//! while datagrams of another go back and forth; then handed over to the next daemon.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::flow::Flow;
use crate::support::{CLIENT, Daemon, Lab, POOL, SERVER, Topology, eventually, under_pref64};

const MILLION: u32 = 1_000_000;
/// Sockets of the client, each of which sends to as many addresses as it takes.
const SOCKETS: u32 = 20;
const PATIENCE: Duration = Duration::from_secs(60);
/// The first of the addresses that are sent to (RFC 2544).
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

#[test]
fn a_million_sessions_are_listed_reloaded_closed_and_handed_over_while_datagrams_go_on() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    lab.gateway.ip(&format!("route add 198.18.0.0/15 via {SERVER}"));
    lab.server.ip("route add blackhole 198.18.0.0/15");
    let configuration = format!(
        "{}[translator.timers]\nudp = \"1h\"\n[translator.limits]\nsessions = 1100000\nmappings = 1100000\n",
        Lab::translator()
    );
    let nat64 = lab.nat64(&configuration);
    let flow = Flow::start(&lab);
    flow.goes_on("at the start");

    open_all(&lab, &nat64);

    // 5 is for the peak, which tables that grew have left high (proc(5)).
    fs::write(format!("/proc/{}/clear_refs", nat64.pid()), "5").expect("root may");
    let memory = peak(&nat64);
    let all = MILLION as usize + 2;
    assert_eq!(listed(&nat64, &["sessions", "--json"]), all);
    flow.goes_on("after a listing");
    assert_eq!(listed(&nat64, &["sessions", "--json", "--address", "198.18.7.7"]), SOCKETS as usize);
    assert_eq!(listed(&nat64, &["sessions", "--json", "--protocol", "tcp"]), 0);

    let wider = configuration.replace(&format!("[\"{POOL}\"]"), &format!("[\"{POOL}\", \"203.0.113.2\"]"));
    fs::write(lab.directory().join("nat64.toml"), &wider).expect("the lab directory is writable");
    let said = nat64.ask(&["reload"]).succeeded();
    assert!(said.contains("pool4"), "{said}");
    flow.goes_on("after a reload");
    assert_eq!(sessions(&nat64), u64::from(MILLION) + 2);
    let grown = peak(&nat64) - memory;
    assert!(grown <= 16 << 10, "{grown} KiB for listings and a reload");

    let closed = nat64.ask(&["session", "close", "--address", "198.18.0.0/17"]).succeeded();
    let half = 32_768 * SOCKETS;
    assert_eq!(closed, format!("{half} sessions closed\n"));
    flow.goes_on("after many were closed");
    assert_eq!(sessions(&nat64), u64::from(MILLION - half) + 2);

    let sources = flow.stop();
    assert_eq!(sources.len(), 1, "{sources:?}");

    let before = sessions(&nat64);
    nat64.stop();
    let nat64 = lab.nat64(&wider);
    assert_eq!(sessions(&nat64), before, "all are handed over");
    nat64.stop();
}

/// Opens the sessions, no faster than the daemon takes the packets.
fn open_all(lab: &Lab, nat64: &Daemon<'_>) {
    /// Fewer than the queue of a device holds.
    const AT_A_TIME: u32 = 200;
    let echo = lab.server.enter(|| UdpSocket::bind((SERVER, 7)).expect("the port is free"));
    let marker = lab.client.enter(|| UdpSocket::bind((CLIENT, 0)).expect("a port is free"));
    marker.connect((under_pref64(SERVER), 7)).expect("there is a route");
    for socket in [&echo, &marker] {
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    }
    let sockets: Vec<UdpSocket> =
        (0..SOCKETS).map(|_| lab.client.enter(|| UdpSocket::bind((CLIENT, 0)).expect("a port is free"))).collect();
    let mut byte = [0];
    for number in 0..MILLION {
        let socket = &sockets[(number % SOCKETS) as usize];
        let to = Ipv4Addr::from_bits(FIRST.to_bits() + number / SOCKETS);
        socket.send_to(b"x", (under_pref64(to), 9)).expect("it can be sent");
        if number % AT_A_TIME == AT_A_TIME - 1 {
            // It comes behind the others, and has arrived when they have.
            marker.send(b"m").expect("it can be sent");
            echo.recv(&mut byte).expect("nothing is lost on the way");
        }
    }
    eventually("a million sessions", PATIENCE, || sessions(nat64) >= u64::from(MILLION));
}

/// Kibibytes that the daemon has taken at the most.
fn peak(nat64: &Daemon<'_>) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", nat64.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux tells it");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// How many sessions there are.
fn sessions(nat64: &Daemon<'_>) -> u64 {
    nat64.ask_json("status")["translator"]["sessions"]["udp"].as_u64().expect("a number of sessions")
}

/// How many entries a listing has, none of which is kept.
fn listed(nat64: &Daemon<'_>, arguments: &[&str]) -> usize {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nat64"));
    command.args(arguments).arg("--control-socket").arg(nat64.socket()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it is there");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let entries = lines.map(|line| line.expect("it is text")).filter(|line| line.contains("\"internal\"")).count();
    assert!(child.wait().expect("it is a child").success());
    entries
}
