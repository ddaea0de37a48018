use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

use super::namespace::Namespace;
use super::{leftovers, obstacle};

/// Everything a lab makes has a name of this, the process id and a number.
const PREFIX: &str = "n64t";
/// The client's only address.
pub(crate) const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10);
/// The gateway, as the client sees it: its router and its DNS server.
pub(crate) const GATEWAY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// The server's only address.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// A pool address that the IPv4 side routes to the gateway, as it does the rest of its /28.
pub(crate) const POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const POOL_ROUTE: &str = "203.0.113.0/28";

/// `address` under 64:ff9b:1::/96, the prefix of every lab (RFC 8215; 64:ff9b::/96 may not carry documentation addresses).
pub(crate) fn under_pref64(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = address.octets();
    Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

/// What a lab's cables are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Topology {
    /// MTU of the cable between the client and the gateway.
    pub(crate) client_mtu: u32,
    /// MTUs of the IPv4 cables on the way from the gateway to the server. Between each two stands a router.
    pub(crate) ipv4_mtus: &'static [u32],
    /// Whether cables leave checksums and segmentation to the receiver, as they do by default.
    pub(crate) offload: bool,
}

impl Default for Topology {
    fn default() -> Self {
        Self { client_mtu: 1500, ipv4_mtus: &[1500, 1500], offload: true }
    }
}

/// Client, gateway, routers and server, wired up and addressed; all removed when this is dropped.
///
/// The client has IPv6 only and routes everything to the gateway. The routers and the server have IPv4 only; they route the
/// pool to the gateway and answer for every other address outside their networks that it is unreachable.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) client: Namespace,
    pub(crate) gateway: Namespace,
    pub(crate) routers: Vec<Namespace>,
    pub(crate) server: Namespace,
    scratch: [PathBuf; 2],
}

impl Lab {
    /// The laboratory, or `None`, said on stderr, where none can be made.
    pub(crate) fn new(topology: Topology) -> Option<Self> {
        static ONCE: Once = Once::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if obstacle::skips_this_test() {
            return None;
        }
        ONCE.call_once(|| leftovers::look_after(PREFIX));
        let id = format!("{PREFIX}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let scratch = scratch_roots().map(|root| root.join(&id));
        for directory in &scratch {
            fs::create_dir_all(directory).expect("temporary directories are writable");
        }
        let make = |role: &str| Namespace::new(format!("{id}-{role}"));
        let routers = (1..topology.ipv4_mtus.len()).map(|number| make(&format!("router{number}"))).collect();
        let lab = Self { client: make("client"), gateway: make("gateway"), routers, server: make("server"), scratch };
        lab.wire_client(topology);
        lab.wire_ipv4(topology.ipv4_mtus);
        if !topology.offload {
            lab.turn_offload_off();
        }
        Some(lab)
    }

    /// A directory for sockets, logs and configuration; its path is short.
    pub(crate) fn directory(&self) -> &Path {
        &self.scratch[0]
    }

    /// A directory for large files.
    pub(crate) fn storage(&self) -> &Path {
        &self.scratch[1]
    }

    /// Makes the gateway's DNS server the client's only source of names.
    pub(crate) fn resolve_names_at_gateway(&self) {
        // `ip netns exec` mounts these over the files of the same name in /etc.
        let directory = self.resolver_files();
        fs::create_dir_all(&directory).expect("root may write /etc/netns");
        let resolver = format!("nameserver {GATEWAY}\noptions timeout:2 attempts:2\n");
        fs::write(directory.join("resolv.conf"), resolver).expect("root may write /etc/netns");
        fs::write(directory.join("nsswitch.conf"), "hosts: files dns\n").expect("root may write /etc/netns");
    }

    fn resolver_files(&self) -> PathBuf {
        Path::new("/etc/netns").join(self.client.name())
    }

    fn wire_client(&self, topology: Topology) {
        cable((&self.client, "eth0"), (&self.gateway, "lan"), topology.client_mtu);
        self.client.ip(&format!("addr add {CLIENT}/64 dev eth0"));
        self.gateway.ip(&format!("addr add {GATEWAY}/64 dev lan"));
        self.client.ip(&format!("-6 route add default via {GATEWAY}"));
    }

    fn wire_ipv4(&self, mtus: &[u32]) {
        let nodes: Vec<&Namespace> =
            std::iter::once(&self.gateway).chain(&self.routers).chain(std::iter::once(&self.server)).collect();
        let last = mtus.len() - 1;
        for (hop, (ends, mtu)) in nodes.windows(2).zip(mtus).enumerate() {
            let (near, far) = (ends[0], ends[1]);
            let near_interface = if hop == 0 { "wan" } else { "east" };
            let far_interface = if hop == last { "eth0" } else { "west" };
            cable((near, near_interface), (far, far_interface), *mtu);
            let [near_address, far_address] = hop_addresses(hop, last);
            let length = if hop == last { 24 } else { 28 };
            near.ip(&format!("addr add {near_address}/{length} dev {near_interface}"));
            far.ip(&format!("addr add {far_address}/{length} dev {far_interface}"));
            if hop != last {
                near.ip(&format!("route add 198.51.100.0/24 via {far_address}"));
                far.ip(&format!("route add {POOL_ROUTE} via {near_address}"));
                far.sysctl("net/ipv4/ip_forward", "1");
            }
            if hop > 0 && hop != last {
                far.ip(&format!("route add 192.0.2.0/24 via {near_address}"));
            }
        }
        if last > 0 {
            self.gateway.ip(&format!("route add default via {}", hop_addresses(0, last)[1]));
        }
        self.server.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
        self.server.ip(&format!("route add default via {}", hop_addresses(last, last)[0]));
    }

    fn turn_offload_off(&self) {
        for namespace in [&self.client, &self.gateway, &self.server].into_iter().chain(&self.routers) {
            // Lines like `2: eth0@if3: <BROADCAST,…`.
            let cables = namespace.ip("-o link show type veth");
            let names = cables.lines().filter_map(|line| line.split(": ").nth(1)?.split('@').next());
            for interface in names {
                namespace.check(&format!("ethtool -K {interface} tx off gso off tso off gro off"));
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.resolver_files());
        for directory in &self.scratch {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// Addresses of the two ends of the cable number `hop`, the gateway's side first.
pub(crate) fn hop_addresses(hop: usize, last: usize) -> [Ipv4Addr; 2] {
    if hop == last {
        return [Ipv4Addr::new(198, 51, 100, 1), SERVER];
    }
    let base = u8::try_from(16 * hop).expect("a lab has few routers");
    [Ipv4Addr::new(192, 0, 2, base + 1), Ipv4Addr::new(192, 0, 2, base + 2)]
}

fn cable(near: (&Namespace, &str), far: (&Namespace, &str), mtu: u32) {
    let (near, near_interface) = near;
    let (far, far_interface) = far;
    near.ip(&format!(
        "link add {near_interface} mtu {mtu} type veth peer name {far_interface} mtu {mtu} netns {}",
        far.name()
    ));
    near.ip(&format!("link set {near_interface} up"));
    far.ip(&format!("link set {far_interface} up"));
}

/// Where labs have directories: for what needs a short path, and for large files.
pub(super) fn scratch_roots() -> [PathBuf; 2] {
    [env::temp_dir(), PathBuf::from(env!("CARGO_TARGET_TMPDIR"))]
}
