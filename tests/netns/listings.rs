//! Asking the daemon who uses what, and no more than was asked for.

use crate::support::{CLIENT, Lab, POOL, SERVER, Topology, under_pref64};

#[test]
fn listings_are_narrowed_down_by_the_daemon() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let _web = lab.web_server();
    let nat64 = lab.nat64(&Lab::translator());
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    lab.client.check(&format!("curl -sS --max-time 5 -o /dev/null http://[{}]/", under_pref64(SERVER)));

    let lines = |arguments: &[&str]| nat64.ask(arguments).succeeded().lines().count() - 1;
    assert_eq!(lines(&["sessions"]), 2);
    assert_eq!(lines(&["sessions", "--protocol", "tcp"]), 1);
    assert_eq!(lines(&["sessions", "--port", "80", "--address", &SERVER.to_string()]), 1);
    assert_eq!(lines(&["sessions", "--address", "203.0.113.0/24", "--protocol", "icmp"]), 1);
    assert_eq!(lines(&["sessions", "--min-age", "3600"]), 0);
    assert_eq!(lines(&["mappings", "--address", &CLIENT.to_string()]), 2);
    assert_eq!(lines(&["mappings", "--address", "2001:db8:ffff::/48"]), 0);

    let subscribers = nat64.ask_json("subscribers");
    assert_eq!(subscribers[0]["prefix"], format!("{CLIENT}/128"));
    assert_eq!((&subscribers[0]["mappings"], &subscribers[0]["address"]), (&2.into(), &POOL.to_string().into()));
    let pool = nat64.ask_json("pool");
    assert_eq!((&pool[0]["ports"], &pool[0]["taken"]["icmp"]), (&65_535.into(), &1.into()));
    nat64.stop();
}
