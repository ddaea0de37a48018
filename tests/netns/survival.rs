//! Sessions outlive the daemon: after a restart, after a kill, and whatever the file says that they are kept in.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::changes::Echo;
use crate::manager::Manager;
use crate::support::{Lab, SERVER, Topology, eventually, under_pref64};

const PATIENCE: Duration = Duration::from_secs(20);

fn lab() -> Option<Lab> {
    Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() })
}

/// The number of rounds: a few, or as many as `NAT64_SURVIVAL_ROUNDS` says.
fn rounds() -> usize {
    std::env::var("NAT64_SURVIVAL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

#[test]
fn connections_go_on_across_restarts_with_their_ports_and_states() {
    let Some(lab) = lab() else { return };
    let mut nat64 = lab.nat64(&Lab::translator());
    let mut echoes: Vec<Echo> = (0..5).map(|number| Echo::open(&lab, 7100 + number)).collect();
    let before = nat64.sessions();
    for round in 0..rounds() {
        nat64.stop();
        nat64 = lab.nat64(&Lab::translator());
        assert!(nat64.log().contains("sessions go on"), "{}", nat64.log());
        let after = nat64.sessions();
        assert_eq!(after.len(), 5, "round {round}: {}", nat64.log());
        for session in &before {
            let same = |other: &&serde_json::Value| {
                ["internal", "external", "remote", "state"].iter().all(|field| other[field] == session[field])
            };
            assert!(after.iter().any(|other| same(&other)), "{session} is not in {after:?}");
        }
        assert!(echoes.iter_mut().all(Echo::lives), "round {round}");
    }
    nat64.stop();
}

#[test]
fn connections_go_on_across_kills() {
    let Some(lab) = lab() else { return };
    let file = lab.directory().join("nat64.sessions");
    let mut nat64 = lab.nat64(&Lab::translator());
    let mut echoes = Vec::new();
    for round in 0..rounds() {
        let port = u16::try_from(7200 + round).expect("few rounds");
        echoes.push(Echo::open(&lab, port));
        let length = || fs::metadata(&file).map_or(0, |metadata| metadata.len());
        // A header, and a record for each session.
        eventually("the file has the session", PATIENCE, || length() >= 64 + 125 * (round as u64 + 1));
        nat64.kill();
        nat64 = lab.nat64(&Lab::translator());
        assert!(nat64.log().contains("after_crash=true"), "{}", nat64.log());
        assert_eq!(nat64.sessions().len(), round + 1, "{}", nat64.log());
        assert!(echoes.iter_mut().all(Echo::lives), "round {round}");
    }
    nat64.stop();
}

#[test]
fn a_restart_under_another_configuration_keeps_what_it_allows() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let mut echo = Echo::open(&lab, 7300);
    nat64.stop();
    let soft = format!(
        "{}mapping = \"endpoint-independent\"\nworkers = 2\nfiltering = \"address-dependent\"\n",
        Lab::translator()
    );
    let nat64 = lab.nat64(&soft);
    assert!(echo.lives(), "what needs a restart costs no connection");
    nat64.stop();
    let elsewhere = Lab::translator().replace("203.0.113.1", "203.0.113.2");
    let nat64 = lab.nat64(&elsewhere);
    assert!(nat64.log().contains("not allowed by the configuration"), "{}", nat64.log());
    assert!(nat64.sessions().is_empty());
    nat64.stop();
}

#[test]
fn a_useless_file_is_told_and_is_no_reason_not_to_start() {
    let Some(lab) = lab() else { return };
    let file = lab.directory().join("nat64.sessions");
    for nonsense in [&b""[..], b"nonsense", &[0; 4096]] {
        fs::write(&file, nonsense).expect("the lab directory is writable");
        let nat64 = lab.nat64(&Lab::translator());
        assert!(nat64.log().contains("starting without the sessions of before"), "{}", nat64.log());
        lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
        nat64.stop();
    }
}

#[test]
fn nothing_is_kept_where_nothing_is_to_be_kept() {
    let Some(lab) = lab() else { return };
    let file = lab.directory().join("nat64.sessions");
    let nat64 = lab.nat64(&Lab::translator());
    let _echo = Echo::open(&lab, 7400);
    nat64.stop();
    assert!(file.exists());
    let nat64 = lab.nat64(&format!("{}keep-sessions = false\n", Lab::translator()));
    assert!(nat64.sessions().is_empty() && !file.exists());
    nat64.stop();
    assert!(!file.exists());
}

#[test]
fn the_device_stays_over_a_restart_and_what_comes_meanwhile_waits_for_the_next_daemon() {
    let Some(lab) = lab() else { return };
    let mut manager = Manager::new(&lab);
    let mut daemon = manager.start(&lab, &Lab::translator());
    let mut echo = Echo::open(&lab, 7500);
    let link = || lab.gateway.ip("-o link show nat64");
    let index = link().split(':').next().expect("an index").to_owned();
    for round in 0..rounds() {
        if round % 2 == 0 {
            daemon.signal(Signal::TERM);
            assert!(daemon.wait(PATIENCE).success(), "{}", daemon.log());
        } else {
            daemon.signal(Signal::KILL);
            daemon.wait(PATIENCE);
        }
        assert!(lab.gateway.ip("route show").contains("dev nat64"), "its routes stay");
        lab.gateway.sysctl("net/ipv4/ip_forward", "1");
        lab.gateway.sysctl("net/ipv6/conf/all/forwarding", "1");
        echo.say();
        daemon = manager.start(&lab, &Lab::translator());
        assert!(daemon.log().contains("is_kept=true"), "{}", daemon.log());
        assert!(echo.hears(), "what was said while nobody ran, round {round}");
        assert_eq!(link().split(':').next(), Some(&*index), "the same device");
    }
    daemon.signal(Signal::TERM);
    assert!(daemon.wait(PATIENCE).success());
    manager.forget();
    // What other tests start at this moment may have a copy of the descriptor, until it is the program that it is to be.
    eventually("the device that is not kept any more goes", PATIENCE, || {
        !lab.gateway.ip("-o link show").contains("nat64")
    });
}

#[test]
fn a_kept_device_that_is_not_as_wanted_is_replaced() {
    let Some(lab) = lab() else { return };
    let mut manager = Manager::new(&lab);
    let mut daemon = manager.start(&lab, &Lab::translator());
    let mut echo = Echo::open(&lab, 7600);
    daemon.signal(Signal::TERM);
    assert!(daemon.wait(PATIENCE).success());
    let two_queues = format!("{}workers = 2\n", Lab::translator());
    let mut daemon = manager.start(&lab, &two_queues);
    assert!(daemon.log().contains("is_kept=false") && daemon.log().contains("queues=2"), "{}", daemon.log());
    assert_eq!(manager.keeps(), 2);
    assert!(echo.lives());
    daemon.signal(Signal::TERM);
    assert!(daemon.wait(PATIENCE).success());
}
