//! What is taken from under the daemon.

use std::time::Duration;

use crate::changes::Echo;
use crate::support::{Lab, Topology};

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
