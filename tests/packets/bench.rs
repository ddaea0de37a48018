use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use serde_json::Value;

use crate::port::{IPV4, IPV6, Port, link_address};
use crate::support::{CLIENT, Daemon, Lab, SERVER, Topology, skips_this_test};
use crate::wire::{V4, V6};

/// The pool address of all tests that need no other.
pub(crate) const POOL: Ipv4Addr = crate::support::POOL;
/// Destinations that are routed to the device and not the translator's.
pub(crate) const ASTRAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xbad, 0, 0, 0, 0, 0, 1);
pub(crate) const ASTRAY4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
/// Larger than what most cases need, so that no link but that of a case refuses a packet.
const MTU: u32 = 9000;

/// Hosts whose packets show that everything sent before has been dealt with. They have a pool address of their own.
const MARKER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x3a, 0, 0, 0, 0, 0, 1);
/// Global, so that every prefix may stand for it.
const MARKER4: Ipv4Addr = Ipv4Addr::new(192, 31, 196, 250);
const MARKER_POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 15);
const MARKER_PORT: u16 = 7;

/// A configuration, and the bench that tests of it take turns at. It is there from its first test on to the end of the
/// process.
pub(crate) struct Group {
    pref64: &'static str,
    pool4: &'static str,
    rest: &'static str,
    bench: OnceLock<Mutex<Bench>>,
}

/// A daemon between two cables whose far ends are in the tests' hands.
#[derive(Debug)]
pub(crate) struct Bench {
    lab: &'static Lab,
    nat64: Daemon<'static>,
    /// [`MARKER4`] as IPv6 hosts see it.
    marker6: Ipv6Addr,
    marks: u32,
}

impl Group {
    /// With one prefix and [`POOL`]; `rest` has keys of `[translator]` and further sections.
    pub(crate) const fn new(pref64: &'static str, rest: &'static str) -> Self {
        Self::with_pool(pref64, r#""203.0.113.1""#, rest)
    }

    /// With a pool of the given entries, separated by commas.
    pub(crate) const fn with_pool(pref64: &'static str, pool4: &'static str, rest: &'static str) -> Self {
        Self { pref64, pool4, rest, bench: OnceLock::new() }
    }

    /// The bench when it is free; `None`, said on stderr, where there can be none.
    pub(crate) fn bench(&'static self) -> Option<MutexGuard<'static, Bench>> {
        if skips_this_test() {
            return None;
        }
        let bench = self.bench.get_or_init(|| Mutex::new(Bench::new(self)));
        // A test that failed at it has left state in the daemon, but that of hosts which no other test has.
        Some(bench.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether nobody is at the bench.
    pub(crate) fn is_free(&self) -> bool {
        self.bench.get().is_none_or(|bench| !matches!(bench.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// `address` under the first prefix.
    pub(crate) fn six(&self, address: Ipv4Addr) -> Ipv6Addr {
        embed(self.pref64.split('"').find(|text| text.contains('/')).unwrap(), address)
    }

    fn configuration(&self) -> String {
        let Self { pref64, pool4, rest, .. } = self;
        // A list, or the only one.
        let pref64 = if pref64.starts_with('[') { (*pref64).to_owned() } else { format!("{pref64:?}") };
        // One worker, so that a packet is dealt with before the next is read.
        format!(
            "pref64 = {pref64}
            [translator]
            workers = 1
            pool4 = [{pool4}, {{ address = \"{MARKER_POOL}\", sources = [\"{MARKER6}/128\"] }}]
            {rest}
            [[translator.static]]
            protocol = \"udp\"
            internal = \"{MARKER6}\"
            external = \"{MARKER_POOL}\"
            ports = \"{MARKER_PORT}\"
            "
        )
    }
}

impl Bench {
    fn new(group: &Group) -> Self {
        let topology = Topology { client_mtu: MTU, ipv4_mtus: &[MTU], offload: false };
        let lab: &Lab = Box::leak(Box::new(Lab::new(topology).expect("the obstacles were looked for")));
        silence_hosts(lab);
        route_everything(lab);
        let nat64 = lab.nat64(&group.configuration());
        lab.gateway.ip(&format!("-6 route add {ASTRAY6} dev nat64"));
        lab.gateway.ip(&format!("route add {ASTRAY4} dev nat64"));
        Self { lab, nat64, marker6: group.six(MARKER4), marks: 0 }
    }

    /// A port for the hosts of either side: IPv6, IPv4.
    pub(crate) fn ports(&self) -> (Port, Port) {
        let Lab { client, gateway, server, .. } = self.lab;
        let inside = Port::open((client, "eth0"), (gateway, "lan"), IPV6);
        let outside = Port::open((server, "eth0"), (gateway, "wan"), IPV4);
        (inside, outside)
    }

    /// Sends a packet through and one back. When they have arrived, so has whatever the gateway had to send before.
    #[track_caller]
    pub(crate) fn round_trip(&mut self, inside: &mut Port, outside: &mut Port) {
        self.marks += 1;
        let mark = format!("mark {:08}", self.marks);
        let marked = |packet: &[u8]| packet.ends_with(mark.as_bytes());
        let there = V6::udp((MARKER6, MARKER_PORT), (self.marker6, MARKER_PORT), mark.as_bytes());
        inside.send(&there.bytes());
        assert!(outside.receive(marked).is_some(), "nothing passes to IPv4");
        let back = V4::udp((MARKER4, MARKER_PORT), (MARKER_POOL, MARKER_PORT), mark.as_bytes());
        outside.send(&back.bytes());
        assert!(inside.receive(marked).is_some(), "nothing passes to IPv6");
    }

    /// A number of the daemon's status, by the name of its field.
    #[track_caller]
    pub(crate) fn count(&self, field: &str) -> u64 {
        self.nat64.ask_json("status")["translator"][field].as_u64().unwrap_or_else(|| panic!("{field} is no number"))
    }

    /// How many packets the daemon has dropped, by reason.
    #[track_caller]
    pub(crate) fn drops(&self) -> BTreeMap<String, u64> {
        let status = self.nat64.ask_json("status");
        let dropped = status["translator"]["dropped"].as_object().expect("a status tells what was dropped");
        dropped.iter().map(|(reason, count)| (reason.clone(), count.as_u64().expect("a count"))).collect()
    }

    /// A listing of the daemon: `sessions` or `mappings`.
    #[track_caller]
    pub(crate) fn listing(&self, what: &str) -> Vec<Value> {
        self.nat64.ask_json(what).as_array().expect("a listing is an array").clone()
    }
}

/// An IPv4 address under a prefix, byte by byte as in the table of RFC 6052 §2.2.
pub(crate) fn embed(prefix: &str, address: Ipv4Addr) -> Ipv6Addr {
    let (prefix, length) = prefix.split_once('/').expect("a prefix has a length");
    let mut octets = prefix.parse::<Ipv6Addr>().unwrap().octets();
    let places: [usize; 4] = match length {
        "32" => [4, 5, 6, 7],
        "40" => [5, 6, 7, 9],
        "48" => [6, 7, 9, 10],
        "56" => [7, 9, 10, 11],
        "64" => [9, 10, 11, 12],
        "96" => [12, 13, 14, 15],
        other => panic!("/{other} is no length of the table"),
    };
    for (place, octet) in places.into_iter().zip(address.octets()) {
        octets[place] = octet;
    }
    octets.into()
}

/// Takes the client's and the server's addresses away: their kernels neither speak nor answer then.
fn silence_hosts(lab: &Lab) {
    lab.client.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    lab.server.ip("addr flush dev eth0");
}

/// Makes the gateway send everything that is not for the translator to one of the two cables, whoever it is for.
fn route_everything(lab: &Lab) {
    let Lab { client, gateway, server, .. } = lab;
    let [inside, outside] = [client, server].map(|host| host.enter(|| link_address("eth0")));
    gateway.ip(&format!("neigh replace {CLIENT} lladdr {inside} dev lan nud permanent"));
    gateway.ip(&format!("neigh replace {SERVER} lladdr {outside} dev wan nud permanent"));
    gateway.ip(&format!("-6 route add default via {CLIENT} dev lan"));
    gateway.ip(&format!("route add default via {SERVER} dev wan"));
    for interface in ["all", "wan"] {
        gateway.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0");
        gateway.sysctl(&format!("net/ipv4/conf/{interface}/accept_source_route"), "1");
    }
    // The kernel looks for routers and listeners on every device, ours too, and the translator counts what it drops.
    let chain = "add chain inet quiet output { type filter hook output priority 0 ; }";
    let rule = "add rule inet quiet output oifname nat64 ip6 daddr ff00::/8 drop";
    gateway.check(&format!("nft add table inet quiet ; {chain} ; {rule}"));
}
