//! What is taken from under the daemon.

use std::time::Duration;

use crate::changes::Echo;
use crate::support::{Lab, POOL, Topology, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_device_that_vanishes_ends_the_daemon_with_a_message_and_the_next_one_goes_on() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let mut echo = Echo::open(&lab, 7500);
    let before = nat64.sessions();

    lab.gateway.ip("link del nat64");

    let (status, log) = nat64.ended(PATIENCE);
    assert!(!status.success(), "systemd starts what failed again:\n{log}");
    assert!(log.contains("the translator is broken: worker"), "{log}");
    assert!(log.contains("TUN device"), "{log}");
    let nat64 = lab.nat64(&Lab::translator());
    let after = nat64.sessions();
    let ends = |sessions: &[serde_json::Value]| {
        sessions.iter().map(|one| (one["internal"].clone(), one["external"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(ends(&after), ends(&before), "{}", nat64.log());
    assert!(echo.lives(), "the connection goes on");
    nat64.stop();
}

#[test]
fn a_route_that_somebody_removed_is_told_once_and_its_return_too() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let route = format!("{POOL}/32");
    let told = |what: &str| nat64.log().lines().filter(|line| line.contains(what) && line.contains(&route)).count();

    lab.gateway.ip(&format!("route del {route} dev nat64"));
    eventually("it is told", PATIENCE, || told("packets do not come to the translator") == 1);
    lab.gateway.ip(&format!("route add {route} dev nat64"));
    eventually("its return is told", PATIENCE, || told("packets come to the translator again") == 1);

    assert_eq!(told("packets do not come to the translator"), 1);
    assert!(Echo::open(&lab, 7501).lives());
    nat64.stop();
}
