//! Starting, stopping, being killed, and what is left on the gateway.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{CLIENT, Daemon, Lab, Namespace, Outcome, POOL, Running, SERVER, Topology, under_pref64};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_stopped_daemon_leaves_nothing_behind_but_its_sessions() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let before = state_of(&lab.gateway);
    let files = files_in(lab.directory());
    let _names = lab.name_server();
    // One address inside the connected subnet, so that there is a neighbour entry to remove, and one outside.
    let pool = "[translator]\npool4 = [\"198.51.100.64\", \"203.0.113.1\"]\n";
    let dns64 = format!("[dns64]\nupstreams = [\"{SERVER}\"]\n");
    let nat64 = lab.nat64(&format!("pref64 = \"64:ff9b:1::/96\"\n{pool}{dns64}"));
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    assert_ne!(state_of(&lab.gateway), before, "the daemon configures its surroundings while it runs");
    let socket = nat64.socket().clone();
    nat64.stop();
    assert_same(&before, &state_of(&lab.gateway));
    assert!(!socket.exists(), "the control socket is left");
    let expected =
        [&["nsd", "nat64.toml", "nat64.log", "nat64.sessions"].map(str::to_owned)[..], &Vec::from_iter(files)[..]]
            .concat();
    assert_eq!(files_in(lab.directory()), BTreeSet::from_iter(expected));
}

#[test]
fn a_daemon_that_cannot_start_leaves_nothing_behind() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let before = state_of(&lab.gateway);
    let taken = lab.gateway.enter(|| std::net::UdpSocket::bind("[::]:53")).expect("the port is free");
    lab.nat64_refuses(&format!("{}[dns64]\nupstreams = [\"{SERVER}\"]\n", Lab::translator()));
    drop(taken);
    assert_same(&before, &state_of(&lab.gateway));
}

#[test]
fn a_daemon_that_is_told_to_stop_while_it_starts_leaves_nothing_behind() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let before = state_of(&lab.gateway);
    for signal in [Signal::TERM, Signal::INT] {
        for step in ["configuration read", "device opened", "device is up", "route added", "ready"] {
            let log = lab.directory().join("nat64.log");
            let mut nat64 = Running::start(lab.nat64_run("nat64", &Lab::translator()), &log);
            while !nat64.log().contains(step) {
                assert!(nat64.is_running(), "{}", nat64.log());
            }
            nat64.signal(signal);
            let status = nat64.wait(PATIENCE);
            // Before it listens to signals, one ends it as it ends any program.
            assert!(status.success() || status.signal().is_some(), "{step}: {status}:\n{}", nat64.log());
            if status.success() {
                assert_same(&before, &state_of(&lab.gateway));
            }
        }
    }
    // What a signal may have left at the first moment is gone after the next run.
    lab.nat64(&Lab::translator()).stop();
    assert_same(&before, &state_of(&lab.gateway));
}

#[test]
fn a_daemon_starts_again_after_it_was_killed_and_removes_what_that_one_left() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let before = state_of(&lab.gateway);
    let configuration = "pref64 = \"64:ff9b:1::/96\"\n[translator]\npool4 = [\"198.51.100.64\"]\n";
    for _ in 0..2 {
        lab.nat64(configuration).kill();
    }
    let nat64 = lab.nat64(configuration);
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    nat64.stop();
    assert_same(&before, &state_of(&lab.gateway));
}

#[test]
fn what_reloads_have_set_up_is_taken_back_at_the_end_and_after_a_kill() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let before = state_of(&lab.gateway);
    // An address that needs a route, and two of the server's own subnet that somebody has to answer ARP for.
    let with = |pool: &str| format!("pref64 = \"64:ff9b:1::/96\"\n[translator]\npool4 = [{pool}]\n");
    let variants = ["\"198.51.100.64\"", "\"198.51.100.64\", \"198.51.100.65\"", "\"198.51.100.65\""].map(with);
    let run = |nat64: &Daemon<'_>| {
        for configuration in &variants {
            fs::write(lab.directory().join("nat64.toml"), configuration).expect("the lab directory is writable");
            nat64.ask(&["reload"]).succeeded();
        }
        let proxied = lab.gateway.ip("-4 neigh show proxy");
        assert!(proxied.contains("198.51.100.65") && !proxied.contains("198.51.100.64"), "{proxied}");
        let routes = lab.gateway.ip("route show");
        assert!(routes.contains("198.51.100.65 dev nat64") && !routes.contains("203.0.113.1"), "{routes}");
        lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    };
    let killed = lab.nat64(&with("\"203.0.113.1\""));
    run(&killed);
    killed.kill();

    let nat64 = lab.nat64(&with("\"203.0.113.1\""));
    assert_eq!(lab.gateway.ip("-4 neigh show proxy").trim(), "", "what the other one left is gone");
    run(&nat64);
    nat64.stop();

    assert_same(&before, &state_of(&lab.gateway));
}

#[test]
fn a_second_daemon_on_the_same_device_is_refused_and_the_first_works_on() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let refused = lab.nat64_refuses(&Lab::translator());
    assert!(refused.stderr.contains("nat64"), "names the device: {refused}");
    assert!(["in use", "owned", "another"].iter().any(|word| refused.stderr.contains(word)), "says why: {refused}");
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    nat64.stop();
}

#[test]
fn a_pool_address_of_the_servers_own_subnet_needs_no_route() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    lab.server.ip("route del default");
    let nat64 = lab.nat64("pref64 = \"64:ff9b:1::/96\"\n[translator]\npool4 = [\"198.51.100.64\"]\n");
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    let neighbours = lab.server.ip("neigh show 198.51.100.64");
    assert!(neighbours.contains("lladdr"), "the gateway answers for the pool address:\n{neighbours}");
    nat64.stop();
}

#[test]
fn the_daemon_answers_about_itself_while_it_runs() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let nat64 = lab.nat64(&Lab::translator());
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    for listing in ["status", "sessions", "mappings"] {
        let text = nat64.ask(&[listing]).succeeded();
        assert!(!text.trim().is_empty(), "{listing} prints nothing");
        nat64.ask_json(listing);
    }
    let sessions = nat64.sessions();
    assert_eq!(sessions.len(), 1, "the ping's: {sessions:?}");
    let text = sessions[0].to_string();
    for part in ["icmp".to_owned(), CLIENT.to_string(), POOL.to_string(), SERVER.to_string()] {
        assert!(text.contains(&part), "{part} in {text}");
    }
    nat64.stop();
}

#[test]
fn asking_a_daemon_that_does_not_run_fails_with_the_socket_named() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let socket = lab.directory().join("nobody.sock");
    let mut command = lab.gateway.command(env!("CARGO_BIN_EXE_nat64"));
    command.args(["status", "--control-socket"]).arg(&socket);
    let outcome = Outcome::of(command, std::time::Duration::from_secs(5)).failed();
    assert!(outcome.stderr.contains("nobody.sock"), "{outcome}");
}

#[track_caller]
fn assert_same(before: &BTreeSet<String>, after: &BTreeSet<String>) {
    let gone: Vec<_> = before.difference(after).collect();
    let left: Vec<_> = after.difference(before).collect();
    assert!(gone.is_empty() && left.is_empty(), "gone: {gone:#?}\nleft behind: {left:#?}");
}

/// Links, addresses, routes, rules, proxied neighbours and sysctls.
fn state_of(namespace: &Namespace) -> BTreeSet<String> {
    let listings = [
        "-o link",
        "-o addr",
        "-4 route show table all",
        "-6 route show table all",
        "-4 rule",
        "-6 rule",
        "-4 neigh show proxy",
        "-6 neigh show proxy",
    ];
    let mut state: BTreeSet<String> = BTreeSet::new();
    for listing in listings {
        state.extend(namespace.ip(listing).lines().map(|line| format!("{listing}: {}", line.trim_end())));
    }
    namespace.enter(|| sysctls(Path::new("/proc/sys/net"), &mut state));
    state
}

fn sysctls(directory: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sysctls(&path, into);
        } else if let Ok(value) = fs::read_to_string(&path) {
            into.insert(format!("{} = {}", path.display(), value.trim()));
        }
    }
}

fn files_in(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("the lab directory exists").flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
