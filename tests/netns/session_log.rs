//! Logs of sessions, read by the programs that collectors are made of.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::{CLIENT, Lab, Outcome, POOL, Running, SERVER, Topology, eventually, under_pref64};

const SOON: Duration = Duration::from_secs(30);

fn lab() -> Option<Lab> {
    Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() })
}

/// A translator whose mappings end soon, with a log of this kind.
fn logging(to: &str, more: &str) -> String {
    let timers = "[translator.timers]\nicmp = 1\nport-quarantine = 0\n";
    format!("{}{timers}[[log.sessions]]\nto = \"{to}\"\n{more}\n", Lab::translator())
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn a_json_log_says_who_had_a_port_and_nothing_of_whom_it_talked_to() {
    let Some(lab) = lab() else { return };
    let log = lab.directory().join("sessions.json");
    let nat64 = lab.nat64(&logging(&log.display().to_string(), "record = [\"sessions\", \"mappings\"]"));
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    eventually("the end of the mapping in the log", SOON, || lines(&log).len() == 4);

    let lines = lines(&log);
    let events: Vec<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, ["mapping-created", "session-created", "session-ended", "mapping-removed"]);
    for line in &lines {
        assert_eq!((&line["internal"]["address"], &line["protocol"]), (&CLIENT.to_string().into(), &"icmp".into()));
        assert_eq!(line["external"]["address"], POOL.to_string());
        assert_eq!((line.get("remote"), line.get("remote6")), (None, None), "{line}");
    }
    assert_eq!(lines[2]["outbound"]["packets"], 1);
    who_had(&lab, &log, &lines[2]);
    nat64.stop();
}

#[test]
fn a_log_may_carry_the_name_that_led_to_a_session() {
    let Some(lab) = lab() else { return };
    let _names = lab.name_server();
    let web = lab.web_server();
    fs::write(web.root().join("index.html"), "hello").expect("the lab directory is writable");
    lab.resolve_names_at_gateway();
    let (named, bare) = (lab.directory().join("named.json"), lab.directory().join("bare.json"));
    let configuration = |names: bool| {
        format!(
            "{}[dns64]\nupstreams = [\"{SERVER}\"]\n[[log.sessions]]\nto = \"{}\"\ndestinations = true\nnames = {names}\n\
             [[log.sessions]]\nto = \"{}\"\ndestinations = true\n",
            Lab::translator(),
            named.display(),
            bare.display()
        )
    };
    let nat64 = lab.nat64(&configuration(true));
    let created = |path: &Path| {
        let mut lines = lines(path);
        lines.retain(|line| line["event"] == "session-created");
        lines
    };
    // An alias: the name that was asked for counts. The second time the answer is one that is ready to be sent.
    for count in 1..=2 {
        assert_eq!(lab.client.check("curl -sS --fail --max-time 8 http://Alias.example/"), "hello");
        eventually("the session in the log", SOON, || created(&named).len() == count);
    }
    // An address that nobody asked a name for.
    lab.server.ip("addr add 198.51.100.77/24 dev eth0");
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(Ipv4Addr::new(198, 51, 100, 77))));
    eventually("the last session in both logs", SOON, || created(&named).len() == 3 && created(&bare).len() == 3);

    let names: Vec<Value> = created(&named).iter().map(|line| line["name"].clone()).collect();
    assert_eq!(names, ["alias.example".into(), "alias.example".into(), Value::Null]);
    assert!(lines(&bare).iter().all(|line| line.get("name").is_none()), "only where it is asked for");
    let first = &created(&named)[0];
    let mut command = lab.gateway.command(env!("CARGO_BIN_EXE_nat64"));
    command.args(["who-had", &format!("{POOL}:{}", first["external"]["port"]), "--log"]).arg(&named);
    let answer = Outcome::of(command, SOON).succeeded();
    assert!(answer.contains("alias.example"), "{answer}");

    fs::write(lab.directory().join("nat64.toml"), configuration(false)).expect("the lab directory is writable");
    nat64.ask(&["reload"]).succeeded();
    assert_eq!(lab.client.check("curl -sS --fail --max-time 8 http://alias.example/"), "hello");
    eventually("a session after the reload", SOON, || created(&named).len() == 4);
    assert_eq!(created(&named)[3].get("name"), None, "not any more");
    nat64.stop();
}

#[test]
fn who_had_a_port_is_found_in_rotated_and_compressed_logs_of_the_configuration() {
    let Some(lab) = lab() else { return };
    let log = lab.directory().join("sessions.json");
    let nat64 = lab.nat64(&logging(&log.display().to_string(), "record = [\"mappings\"]"));
    let mut ends = Vec::new();
    for _ in 0..2 {
        lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
        eventually("the end of the mapping in the log", SOON, || lines(&log).len() == 2);
        ends.push(lines(&log)[1].clone());
        let rotated = lab.directory().join(format!("sessions.json.{}", ends.len()));
        fs::rename(&log, &rotated).expect("the lab directory is writable");
        lab.gateway.check(&format!("gzip {}", rotated.display()));
    }
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    eventually("a new log", SOON, || lines(&log).len() == 2);
    nat64.stop();

    let configuration = lab.directory().join("nat64.toml");
    for end in &ends {
        let mut command = lab.gateway.command(env!("CARGO_BIN_EXE_nat64"));
        let external = format!("{POOL}:{}", end["external"]["port"]);
        command.args(["who-had", &external, "--at", end["began"].as_str().expect("a time")]);
        command.arg("--config").arg(&configuration);
        let answer = Outcome::of(command, SOON).succeeded();
        assert!(answer.contains(&CLIENT.to_string()) && answer.contains("mapping"), "{answer}");
    }
}

#[test]
fn blocks_are_logged_instead_of_sessions_and_what_finds_no_room_is_counted() {
    let Some(lab) = lab() else { return };
    let (blocks, sessions) = (lab.directory().join("blocks.json"), lab.directory().join("sessions.json"));
    let translator = "port-assignment = \"blocks\"\nport-blocks = { size = 1024, per-subscriber = 4 }\n";
    // The second goes to a collector that is away, and may keep 64 KiB.
    let logs = format!(
        "[[log.sessions]]\nto = \"{}\"\nrecord = [\"blocks\"]\n[[log.sessions]]\nto = \"tcp://127.0.0.1:6515\"\n\
         spool-bytes = 65536\n[[log.sessions]]\nto = \"{}\"\n",
        blocks.display(),
        sessions.display()
    );
    let nat64 = lab.nat64(&format!("{}{translator}{logs}", Lab::translator()));
    lab.client.enter(|| {
        for port in 2000..4000 {
            let socket = std::net::UdpSocket::bind((CLIENT, port)).expect("the port is free");
            socket.send_to(b"x", (under_pref64(SERVER), 9)).expect("it is routed");
        }
    });
    eventually("all sessions", SOON, || nat64.ask_json("status")["translator"]["sessions"]["udp"] == 2000);
    lab.client.check(&format!("ping -c 5 -i 0.2 -W 2 {}", under_pref64(SERVER)));
    eventually("all records", SOON, || nat64.ask_json("status")["session_logs"][2]["delivered"] == 2001);

    let status = nat64.ask_json("status");
    let away = &status["session_logs"][1];
    let lost = away["lost"].as_u64().expect("a number");
    assert!(lost > 0 && lost < 2001, "what finds no room is lost and counted: {away}");
    assert_eq!((&away["failing"], &away["delivered"]), (&true.into(), &0.into()));
    assert_eq!(status["session_logs"][2]["lost"], 0, "one log does not touch another");
    let blocks = lines(&blocks);
    assert!((2..=4).contains(&blocks.len()), "2001 ports in blocks of 1024: {blocks:?}");
    assert!(blocks.iter().all(|line| line["event"] == "block-allocated" && line.get("remote").is_none()));
    nat64.stop();
}

/// Asks `nat64 who-had` for the moment at which a session ended.
fn who_had(lab: &Lab, log: &Path, ended: &Value) {
    let port = &ended["external"]["port"];
    let command = |at: &str| {
        let mut command = lab.gateway.command(env!("CARGO_BIN_EXE_nat64"));
        command.args(["who-had", &format!("{POOL}:{port}"), "--json", "--at", at, "--log"]).arg(log);
        Outcome::of(command, SOON)
    };
    let answer = command(ended["time"].as_str().expect("a time")).succeeded();
    assert!(answer.contains(&CLIENT.to_string()), "{answer}");
    let nobody = command("2001-01-01T00:00:00Z").failed();
    assert!(nobody.stderr.contains("nobody had"), "{nobody}");
}

#[test]
fn a_session_that_an_operator_closes_says_so_in_the_log() {
    let Some(lab) = lab() else { return };
    let log = lab.directory().join("sessions.json");
    let configuration = format!("{}[[log.sessions]]\nto = \"{}\"\n", Lab::translator(), log.display());
    let nat64 = lab.nat64(&configuration);
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    let counted = nat64.ask(&["session", "close", "--internal", &CLIENT.to_string(), "--dry-run"]).succeeded();
    assert_eq!((counted.as_str(), nat64.sessions().len()), ("1 session would be closed\n", 1));
    nat64.ask(&["session", "close", "--internal", &CLIENT.to_string(), "--remote", &SERVER.to_string()]).succeeded();
    eventually("the end in the log", SOON, || lines(&log).len() == 2);

    let ended = &lines(&log)[1];
    assert_eq!((&ended["event"], &ended["reason"]), (&"session-ended".into(), &"closed".into()));
    assert_eq!(ended["inbound"]["packets"], 1);
    let refused = nat64.ask(&["session", "close"]).failed();
    assert!(refused.stderr.contains("which sessions?"), "{refused}");
    nat64.stop();
}

#[test]
fn flow_lines_have_the_fields_of_vpc_flow_logs_in_their_order() {
    let Some(lab) = lab() else { return };
    let log = lab.directory().join("flows.log");
    let nat64 = lab
        .nat64(&logging(&log.display().to_string(), "format = \"flow\"\nrecord = [\"sessions\"]\ndestinations = true"));
    lab.client.check(&format!("ping -c 3 -i 0.2 -W 2 {}", under_pref64(SERVER)));
    let text = || fs::read_to_string(&log).unwrap_or_default();
    eventually("both directions", SOON, || text().lines().count() == 2);

    let text = text();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let (inside, outside) = (CLIENT.to_string(), under_pref64(SERVER).to_string());
    let (pool, server) = (POOL.to_string(), SERVER.to_string());
    // version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status
    // pkt-srcaddr pkt-dstaddr
    for (row, [source, destination], [inner_source, inner_destination]) in
        [(&rows[0], [&pool, &server], [&inside, &outside]), (&rows[1], [&server, &pool], [&outside, &inside])]
    {
        assert_eq!((row.len(), row[0], row[7], row[8]), (16, "3", "1", "3"), "{text}");
        assert_eq!(
            [row[3], row[4], row[14], row[15]],
            [source, destination, inner_source, inner_destination],
            "{text}"
        );
        assert_eq!((row[12], row[13]), ("ACCEPT", "OK"));
        let [start, end] = [row[10], row[11]].map(|time| time.parse::<u64>().expect("seconds since 1970"));
        assert!(start > 1_700_000_000 && start <= end, "{text}");
    }
    nat64.stop();
}

#[test]
fn rsyslog_understands_messages_over_both_transports() {
    let Some(lab) = lab() else { return };
    let (configuration, output) = (lab.directory().join("rsyslog.conf"), lab.directory().join("messages"));
    let inputs = "module(load=\"imtcp\")\nmodule(load=\"imudp\")\n\
                  input(type=\"imtcp\" address=\"127.0.0.1\" port=\"6514\")\n\
                  input(type=\"imudp\" address=\"127.0.0.1\" port=\"6515\")\n";
    let template = "%inputname% %app-name% %msgid% %syslogfacility-text% %syslogseverity-text% %structured-data%\\n";
    let action = format!("action(type=\"omfile\" file=\"{}\" template=\"line\")", output.display());
    let text = format!("{inputs}template(name=\"line\" type=\"string\" string=\"{template}\")\n{action}\n");
    fs::write(&configuration, text).expect("the lab directory is writable");
    let mut rsyslog = lab.gateway.command("rsyslogd");
    rsyslog.arg("-n").arg("-f").arg(&configuration).arg("-i").arg(lab.directory().join("rsyslog.pid"));
    let _rsyslog = Running::start(rsyslog, &lab.directory().join("rsyslog.log"));
    lab.gateway.wait_for_listener(6514);

    let syslog = "format = \"syslog\"\nrecord = [\"mappings\"]\n";
    let more = format!("{syslog}[[log.sessions]]\nto = \"udp://127.0.0.1:6515\"\n{syslog}");
    let nat64 = lab.nat64(&logging("tcp://127.0.0.1:6514", &more));
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    let messages = || fs::read_to_string(&output).unwrap_or_default();
    eventually("four messages", SOON, || messages().lines().filter(|line| line.contains(" mapping-")).count() == 4);

    let messages = messages();
    for transport in ["imtcp", "imudp"] {
        for event in ["mapping-created", "mapping-removed"] {
            let begin =
                format!("{transport} nat64 {event} daemon info [nat64@32473 protocol=\"icmp\" internal=\"{CLIENT}\"");
            assert!(messages.lines().any(|line| line.starts_with(&begin)), "{begin}\n{messages}");
        }
    }
    nat64.stop();
}

#[test]
fn the_daemon_writes_what_it_knows_before_it_ends() {
    let Some(lab) = lab() else { return };
    let log = lab.directory().join("sessions.json");
    let nat64 = lab.nat64(&logging(&log.display().to_string(), "destinations = true"));
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    nat64.stop();

    let lines = lines(&log);
    assert_eq!(lines[0]["event"], "session-created");
    assert_eq!(lines[0]["remote"]["address"], SERVER.to_string());
    assert_eq!(lines[0]["remote6"], under_pref64(SERVER).to_string());
}

#[test]
fn a_collector_that_is_away_costs_no_packet_and_gets_what_waited() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&logging("tcp://127.0.0.1:6514", "format = \"syslog\"\nrecord = [\"mappings\"]"));
    lab.client.check(&format!("ping -c 5 -i 0.2 -W 2 {}", under_pref64(SERVER)));
    eventually("the log to be failing", SOON, || nat64.ask_json("status")["session_logs"][0]["failing"] == true);

    let collector = lab.gateway.enter(|| TcpListener::bind("127.0.0.1:6514")).expect("the port is free");
    let (mut stream, _) = collector.accept().expect("the daemon connects again");
    stream.set_read_timeout(Some(SOON)).expect("a timeout can be set");
    let mut received = String::new();
    while !received.contains("mapping-removed") {
        let mut buffer = [0; 4096];
        let len = stream.read(&mut buffer).expect("what waited comes");
        assert_ne!(len, 0, "the daemon hung up after {received}");
        received.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
    assert!(received.contains("mapping-created [nat64@32473 protocol=\"icmp\""), "{received}");
    assert_eq!(nat64.ask_json("status")["session_logs"][0]["lost"], 0);
    nat64.stop();
}

#[test]
fn a_collector_that_takes_nothing_costs_no_packet_and_what_finds_no_room_is_counted() {
    let Some(lab) = lab() else { return };
    let collector = lab.gateway.enter(|| TcpListener::bind("127.0.0.1:6514")).expect("the port is free");
    let configuration =
        logging("tcp://127.0.0.1:6514", "format = \"syslog\"\nrecord = [\"sessions\"]\nspool-bytes = 65536");
    let nat64 = lab.nat64(&configuration);
    let socket = lab.client.enter(|| std::net::UdpSocket::bind((CLIENT, 0))).expect("a port is free");
    let status = || nat64.ask_json("status")["session_logs"][0].clone();
    // As many sessions as it takes until buffers and queue are full.
    let mut port = 10_000;
    eventually("the log loses records", SOON, || {
        for _ in 0..500 {
            let _ = socket.send_to(b"x", (under_pref64(SERVER), port));
            port += 1;
        }
        status()["lost"].as_u64().is_some_and(|lost| lost > 0)
    });
    let pings = lab.client.check(&format!("ping -c 20 -i 0.02 -W 2 {}", under_pref64(SERVER)));
    assert!(pings.contains(" 0% packet loss"), "{pings}");
    drop(collector);
    nat64.stop();
}

#[test]
fn ipfix_is_understood_by_nfdump() {
    let Some(lab) = lab() else { return };
    let flows = lab.directory().join("flows");
    fs::create_dir_all(&flows).expect("the lab directory is writable");
    let mut nfcapd = lab.gateway.command("nfcapd");
    nfcapd.args(["-b", "127.0.0.1", "-p", "4739", "-w"]).arg(&flows);
    let mut collector = Running::start(nfcapd, &lab.directory().join("nfcapd.log"));
    eventually("the collector's socket", SOON, || {
        lab.gateway.check("ss -Hlun").lines().any(|line| line.contains("127.0.0.1:4739"))
    });
    let more = "format = \"ipfix\"\nrecord = [\"sessions\"]\ndestinations = true";
    let nat64 = lab.nat64(&logging("udp://127.0.0.1:4739", more));
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    eventually("the end of the session", SOON, || nat64.ask_json("status")["session_logs"][0]["delivered"] == 2);
    nat64.stop();
    collector.signal(rustix::process::Signal::TERM);
    collector.wait(SOON);

    let mut nfdump = lab.gateway.command("nfdump");
    nfdump.args(["-R"]).arg(&flows).args(["-o", "json"]);
    let text = Outcome::of(nfdump, SOON).succeeded();
    let records: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let first = &records[0];
    assert_eq!(first["src6_addr"], CLIENT.to_string(), "{text}");
    assert_eq!(first["src4_xlt_ip"], POOL.to_string(), "{text}");
    assert_eq!(first["dst4_xlt_ip"], SERVER.to_string(), "{text}");
}
