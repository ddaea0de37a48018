//! What the daemon's threads may do once it runs.

use std::collections::BTreeMap;
use std::fs;

use crate::support::{Lab, SERVER, Topology};

/// `CAP_NET_ADMIN` (capabilities(7)).
const NET_ADMIN: u64 = 1 << 12;

#[test]
fn only_the_threads_that_change_the_network_may_change_it() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let dns64 = format!("[dns64]\nupstreams = [\"{SERVER}\"]\n");
    let nat64 = lab.nat64(&format!("{}{dns64}", Lab::translator()));

    let threads = threads_of(nat64.pid());

    let allowed = threads.iter().filter(|(_, (effective, _))| *effective != 0);
    let allowed: Vec<_> = allowed.map(|(name, (effective, _))| (name.as_str(), *effective)).collect();
    assert_eq!(allowed, [("nat64", NET_ADMIN), ("nat64-network", NET_ADMIN)], "{threads:?}");
    for name in ["nat64-0", "nat64-async", "nat64-events", "dns64-udp"] {
        assert!(threads.contains_key(name), "{name} is among {threads:?}");
    }
    assert!(threads.values().all(|(_, gains_none)| *gains_none), "{threads:?}");
    nat64.stop();
}

/// The capabilities in effect of each thread, all those of one name together, and whether it can gain none.
fn threads_of(process: u32) -> BTreeMap<String, (u64, bool)> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{process}/task")).expect("it runs").flatten() {
        // A thread of the pool for waiting calls may end meanwhile.
        let Ok(status) = fs::read_to_string(thread.path().join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in\n{status}")).trim().to_owned()
        };
        let effective = u64::from_str_radix(&field("CapEff:"), 16).expect("hexadecimal");
        let (all, gains_none) = threads.entry(field("Name:")).or_insert((0, true));
        *all |= effective;
        *gains_none &= field("NoNewPrivs:") == "1";
    }
    threads
}
