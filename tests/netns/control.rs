//! Who may do what through the control socket.

use crate::support::{Lab, SERVER, Topology};

/// Debian's `nogroup`, and a group that is in every Debian but no user's.
const NOBODY: u32 = 65_534;
const GROUP: u32 = 1;

#[test]
fn whoever_can_connect_may_read_and_only_those_who_are_named_may_change() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let dns64 = format!("[dns64]\nupstreams = [\"{SERVER}\"]\n");
    let control = format!("[control]\nmode = \"0666\"\ngroup = \"{GROUP}\"\n");
    let nat64 = lab.nat64(&format!("{}{dns64}{control}", Lab::translator()));
    let socket = nat64.socket().display().to_string();
    let ask = |user: u32, group: u32, request: &str| {
        let who = format!("setpriv --reuid {user} --regid {group} --clear-groups");
        let curl = format!("curl -sS --max-time 5 -w %{{http_code}} --unix-socket {socket}");
        lab.gateway.check(&format!("{who} {curl} {request}"))
    };

    let (status, flush) = ("http://localhost/v1/status", "-X POST http://localhost/v1/dns/flush?name=x.example");
    assert!(ask(NOBODY, NOBODY, status).ends_with("200"));
    let refused = ask(NOBODY, NOBODY, flush);
    assert!(refused.ends_with("403") && refused.contains("may read, not change"), "{refused}");
    assert!(
        ask(NOBODY, NOBODY, "-X DELETE http://localhost/v1/status").ends_with("403"),
        "before any path is looked at"
    );
    let trace = ask(NOBODY, NOBODY, "http://localhost/v1/trace");
    assert!(trace.ends_with("403") && trace.contains("may not see packets"), "{trace}");
    let explain = "-X POST --data-binary packet http://localhost/v1/explain";
    assert!(!ask(NOBODY, NOBODY, explain).ends_with("403"), "it changes nothing");
    assert!(ask(NOBODY, GROUP, flush).ends_with("200"));
    assert!(ask(0, 0, flush).ends_with("200"));

    let log = nat64.log();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).collect::<Vec<_>>();
    let changed = lines("changed over the control socket");
    assert_eq!(changed.len(), 2, "{log}");
    assert!(changed[0].contains(&format!("user={NOBODY}")) && changed[0].contains("flush?name=x.example"), "{log}");
    assert!(changed[1].contains("user=0") && changed[1].contains("status=200"), "{log}");
    assert_eq!(lines("refused over the control socket").len(), 3, "{log}");
    nat64.stop();
}

#[test]
fn a_group_that_the_host_does_not_have_is_refused_at_the_start() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let refused = lab.nat64_refuses(&format!("{}[control]\ngroup = \"no-such-group\"\n", Lab::translator()));
    assert!(refused.stderr.contains("control.group: there is no group `no-such-group`"), "{refused}");
}
