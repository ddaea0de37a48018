//! What reloads leave alone while packets flow, what they change beside the translator, and what systemd is told.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::flow::Flow;
use crate::support::{CLIENT, Daemon, Lab, POOL, Running, SERVER, Topology, eventually, holds_within, under_pref64};

const PATIENCE: Duration = Duration::from_secs(20);
const PORT: u16 = 7100;

fn lab() -> Option<Lab> {
    Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() })
}

#[track_caller]
fn reload(lab: &Lab, nat64: &Daemon<'_>, configuration: &str) -> String {
    fs::write(lab.directory().join("nat64.toml"), configuration).expect("the lab directory is writable");
    nat64.ask(&["reload"]).succeeded()
}

#[test]
fn datagrams_go_on_without_loss_through_many_reloads_of_everything_beside_them() {
    let Some(lab) = lab() else { return };
    let plain = Lab::translator();
    let nat64 = lab.nat64(&plain);
    let flow = Flow::start(&lab);
    flow.goes_on("at the start");
    let wide = |extra: &str| plain.replace(&format!("[\"{POOL}\"]"), &format!("[\"{POOL}\", {extra}]"));
    let fixed = "static = [{ protocol = \"udp\", internal = \"2001:db8:1::10\", external = \"203.0.113.1\", ports = \"99\" }]\n";
    let variants = [
        wide("\"203.0.113.2\""),
        wide("\"203.0.113.3\", \"203.0.113.4\""),
        format!("{plain}{fixed}"),
        plain.replace("\"64:ff9b:1::/96\"", "[\"2001:db8:64::/96\", \"64:ff9b:1::/96\"]"),
        plain.replace("\"64:ff9b:1::/96\"", "[\"64:ff9b:1::/96\", \"2001:db8:65::/96\"]"),
        format!("{plain}hairpinning = false\n[translator.timers]\nudp = \"10s\"\n"),
        format!("{plain}[translator.limits]\nsessions = 5000\n"),
        format!("{plain}exclude = [{{ destination = \"192.0.2.0/24\", ports = \"25\" }}]\n"),
    ];
    for (number, configuration) in variants.iter().cycle().take(40).enumerate() {
        let said = reload(&lab, &nat64, configuration);
        assert!(said.starts_with("Changed:\n"), "{number}: {said}");
    }
    flow.goes_on("after many reloads");
    reload(&lab, &nat64, &plain);

    let sources = flow.stop();

    assert_eq!(sources.len(), 1, "{sources:?}");
    assert_eq!(nat64.sessions().len(), 1);
    nat64.stop();
}

#[test]
fn a_storm_of_signals_to_reload_costs_no_datagram_and_ends() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let flow = Flow::start(&lab);
    flow.goes_on("at the start");
    for _ in 0..2000 {
        nat64.signal(Signal::HUP);
    }
    flow.goes_on("in the storm");
    let configuration = format!("{}[translator.timers]\nudp = \"10m\"\n", Lab::translator());
    let said = reload(&lab, &nat64, &configuration);
    assert!(said.contains("timers.udp") || said.starts_with("Nothing"), "{said}");
    assert!(nat64.ask(&["status"]).status.success());
    flow.stop();
    nat64.stop();
}

#[test]
fn logs_of_sessions_and_the_level_of_the_log_follow_a_reload() {
    let Some(lab) = lab() else { return };
    let log = |name: &str| lab.directory().join(name);
    let to = |names: &[&str]| {
        let entry = |name: &&str| format!("[[log.sessions]]\nto = \"{}\"\n", log(name).display());
        names.iter().map(entry).collect::<String>()
    };
    let with =
        |pool: &str, rest: &str| format!("pref64 = \"64:ff9b:1::/96\"\n[translator]\npool4 = [\"{pool}\"]\n{rest}");
    let pool = POOL.to_string();
    let nat64 = lab.nat64(&with(&pool, &to(&["stays.json"])));
    let listener = lab.server.enter(|| TcpListener::bind((SERVER, PORT)).expect("the port is free"));
    let connect = || {
        let to = SocketAddr::from((under_pref64(SERVER), PORT));
        let stream = lab.client.enter(|| TcpStream::connect_timeout(&to, PATIENCE)).expect("the server answers");
        (stream, listener.accept().expect("it arrives"))
    };
    let lines = |name: &str| fs::read_to_string(log(name)).unwrap_or_default();
    let delivered = || -> Vec<u64> {
        let status = nat64.ask_json("status");
        let logs = status["session_logs"].as_array().expect("a list");
        logs.iter().map(|log: &Value| log["delivered"].as_u64().expect("a number")).collect()
    };
    let first = connect();
    eventually("the session is logged", PATIENCE, || delivered() == [1]);

    let said = reload(&lab, &nat64, &with(&pool, &to(&["comes.json", "stays.json"])));
    assert!(said.contains("log.sessions") && delivered() == [0, 1], "{said}");
    reload(&lab, &nat64, &with("203.0.113.2", &to(&["comes.json", "stays.json"])));
    eventually("the end is in both logs", PATIENCE, || delivered() == [1, 2]);
    assert!(lines("comes.json").contains("\"removed\""), "{}", lines("comes.json"));
    drop(first);

    reload(&lab, &nat64, &with("203.0.113.2", &to(&["comes.json"])));
    let before = lines("stays.json");
    let _second = connect();
    eventually("the new session is logged", PATIENCE, || delivered() == [2]);
    assert_eq!(lines("stays.json"), before, "it is written no more");

    let quiet = format!("{}[log]\nlevel = \"error\"\n", with("203.0.113.2", ""));
    reload(&lab, &nat64, &quiet);
    nat64.ask(&["drain"]).succeeded();
    assert!(!nat64.log().contains("draining changed"), "{}", nat64.log());
    reload(&lab, &nat64, &with("203.0.113.2", ""));
    nat64.ask(&["undrain"]).succeeded();
    assert!(holds_within(PATIENCE, || nat64.log().contains("draining changed")), "{}", nat64.log());
    nat64.stop();
}

#[test]
fn a_reload_that_the_host_cannot_follow_changes_nothing() {
    let Some(lab) = lab() else { return };
    lab.gateway.ip(&format!("route add 203.0.113.9/32 via {SERVER}"));
    let nat64 = lab.nat64(&Lab::translator());
    let flow = Flow::start(&lab);
    flow.goes_on("at the start");
    let before = (lab.gateway.ip("route show"), lab.gateway.ip("neigh show proxy"));

    // The first two could be had, the third is somebody's.
    let pool = format!("\"198.51.100.64\", \"{POOL}\", \"203.0.113.9\"");
    let wanted = Lab::translator().replace(&format!("\"{POOL}\""), &pool);
    fs::write(lab.directory().join("nat64.toml"), wanted).expect("the lab directory is writable");
    let refused = nat64.ask(&["reload"]).failed();

    assert!(refused.stderr.contains("203.0.113.9") && refused.stderr.contains("through "), "{}", refused.stderr);
    assert_eq!((lab.gateway.ip("route show"), lab.gateway.ip("neigh show proxy")), before);
    assert_eq!(nat64.ask_json("pool").as_array().map(Vec::len), Some(1));
    flow.goes_on("after a reload that was refused");
    lab.gateway.ip("route del 203.0.113.9/32");
    nat64.ask(&["reload"]).succeeded();
    assert_eq!(nat64.ask_json("pool").as_array().map(Vec::len), Some(3));
    assert_eq!(flow.stop().len(), 1);
    nat64.stop();
}

#[test]
fn metrics_move_to_other_addresses_and_stay_where_they_were_if_those_cannot_be_had() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let with = |listen: &str| format!("{}[metrics]\nlisten = [{listen}]\n", Lab::translator());
    let healthy = |address: &str| {
        let curl = format!("curl -sS --max-time 5 -o /dev/null http://{address}:9464/healthz");
        lab.gateway.run(&curl, PATIENCE).status.success()
    };
    assert!(healthy("127.0.0.1") && !healthy("[::1]"));

    let said = reload(&lab, &nat64, &with("\"0.0.0.0:9464\", \"[::1]:9464\""));
    assert!(said.contains("metrics.listen"), "{said}");
    assert!(healthy("127.0.0.1") && healthy("127.0.0.2") && healthy("[::1]"));

    fs::write(lab.directory().join("nat64.toml"), with("\"[::1]:9464\", \"192.0.2.77:9464\"")).expect("it is writable");
    let refused = nat64.ask(&["reload"]).failed();
    assert!(refused.stderr.contains("cannot serve metrics on 192.0.2.77:9464"), "{}", refused.stderr);
    assert!(healthy("127.0.0.2") && healthy("[::1]"));

    reload(&lab, &nat64, &with(""));
    assert!(!healthy("127.0.0.1") && !healthy("[::1]"));
    nat64.stop();
}

#[test]
fn a_static_mapping_by_command_may_move_to_the_file_and_a_file_that_it_contradicts_is_refused() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let (external, internal) = (format!("{POOL}:80"), format!("[{CLIENT}]:8080"));
    nat64.ask(&["static", "add", "tcp", &external, &internal]).succeeded();

    let elsewhere = Lab::translator().replace(&POOL.to_string(), "203.0.113.2");
    fs::write(lab.directory().join("nat64.toml"), &elsewhere).expect("the lab directory is writable");
    let refused = nat64.ask(&["reload"]).failed();
    assert!(refused.stderr.contains("outside of the pool"), "{}", refused.stderr);
    assert!(refused.stderr.contains("added by command, see nat64 static list"), "{}", refused.stderr);

    let entry = format!(
        "{{ protocol = \"tcp\", internal = \"{CLIENT}\", external = \"{POOL}\", ports = \"80\", internal-ports = \"8080\" }}"
    );
    let with_entry = format!("{}static = [{entry}]\n", Lab::translator());
    reload(&lab, &nat64, &with_entry);
    let listed = nat64.ask(&["static", "list"]).succeeded();
    assert!(listed.contains(&external) && listed.contains("configuration"), "{listed}");
    reload(&lab, &nat64, &Lab::translator());
    assert!(!nat64.ask(&["static", "list"]).succeeded().contains(&external), "it was the file's");
    nat64.stop();
}

#[test]
fn systemd_is_told_of_a_reload_by_signal() {
    let Some(lab) = lab() else { return };
    let path = lab.directory().join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("the lab directory is writable");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let next = || loop {
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).expect("systemd is told something");
        let told = String::from_utf8_lossy(&buffer[..len]).into_owned();
        // The device is for another test.
        if !told.contains("FDSTORE") {
            break told;
        }
    };
    let mut command = lab.nat64_run("nat64", &Lab::translator());
    command.env("NOTIFY_SOCKET", &path);
    let mut daemon = Running::start(command, &lab.directory().join("nat64.log"));
    assert!(next().contains("READY=1"));

    daemon.signal(Signal::HUP);

    let reloading = next();
    let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(reloading.contains("RELOADING=1") && time.is_some_and(|time| time.parse::<u64>().is_ok()), "{reloading}");
    assert!(next().contains("READY=1"));
    daemon.signal(Signal::TERM);
    assert!(next().contains("STOPPING=1"));
    assert!(daemon.wait(PATIENCE).success(), "{}", daemon.log());
}
