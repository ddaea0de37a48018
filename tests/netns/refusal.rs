//! A daemon that cannot do its work says so in one message, and ends.

use std::net::UdpSocket;
use std::time::Duration;

use crate::support::{GATEWAY, Lab, Outcome, SERVER, Topology};

#[test]
fn without_the_capability_to_make_a_device_it_is_named() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let run = lab.nat64_run("refused", &Lab::translator());
    let mut command = lab.gateway.command("setpriv");
    command.args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--"]);
    // The arguments of `ip` up to the program are `netns exec NAME`.
    command.args(run.get_args().skip(3));
    let outcome = Outcome::of(command, Duration::from_secs(10)).failed();
    assert!(outcome.stderr.contains("CAP_NET_ADMIN"), "{outcome}");
}

#[test]
fn a_taken_dns_port_is_named() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let taken = lab.gateway.enter(|| UdpSocket::bind("[::]:53")).expect("the port is free");
    let outcome = lab.nat64_refuses(&format!("{}[dns64]\nupstreams = [\"{SERVER}\"]\n", Lab::translator()));
    assert!(outcome.stderr.contains("[::]:53"), "names the address: {outcome}");
    assert!(outcome.stderr.contains("in use"), "says why: {outcome}");
    drop(taken);
}

#[test]
fn an_upstream_that_is_the_daemon_itself_is_named() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    for upstream in [GATEWAY.to_string(), "127.0.0.1".to_owned(), "192.0.2.1".to_owned()] {
        let outcome = lab.nat64_refuses(&format!("{}[dns64]\nupstreams = [\"{upstream}\"]\n", Lab::translator()));
        assert!(outcome.stderr.contains(&upstream), "{outcome}");
    }
}

#[test]
fn a_bad_file_is_refused_at_its_line_and_column() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let outcome = lab.nat64_refuses(&format!("{}color = \"red\"\n", Lab::translator()));
    assert!(outcome.stderr.contains("refused.toml:4:1"), "{outcome}");
    assert!(outcome.stderr.contains("color"), "{outcome}");
}

#[test]
fn a_daemon_with_nothing_to_do_says_what_it_needs() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let outcome = lab.nat64_refuses("pref64 = \"64:ff9b:1::/96\"\n");
    assert!(outcome.stderr.contains("pool4") && outcome.stderr.contains("upstreams"), "{outcome}");
}
