use std::path::PathBuf;

use super::*;
use crate::net::testing;

fn range(first: &str, last: &str) -> PoolRange {
    PoolRange { first: first.parse().unwrap(), last: last.parse().unwrap(), first_port: 1, last_port: 65535 }
}

fn nets(pool: &[PoolRange]) -> Vec<String> {
    pool_nets(pool).iter().map(ToString::to_string).collect()
}

/// A tree of sysctls in a directory that is removed again.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str, values: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("nat64-plan-{name}-{}", std::process::id()));
        for (key, value) in values {
            let path = root.join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{value}\n")).unwrap();
        }
        Self(root)
    }

    fn sysctls(&self) -> Sysctls {
        Sysctls::in_directory(self.0.clone())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn set(key: &str, from: &str, to: &str) -> Change {
    Change::Sysctl { key: key.to_owned(), from: from.to_owned(), to: to.to_owned() }
}

fn kept(key: &str, value: &str) -> Change {
    Change::Keep { key: key.to_owned(), value: value.to_owned() }
}

#[test]
fn a_pool_becomes_the_fewest_cidrs() {
    assert_eq!(nets(&[range("192.0.2.1", "192.0.2.1")]), ["192.0.2.1/32"]);
    assert_eq!(nets(&[range("192.0.2.0", "192.0.2.127"), range("192.0.2.128", "192.0.2.255")]), ["192.0.2.0/24"]);
    assert_eq!(
        nets(&[range("192.0.2.1", "192.0.2.6")]),
        ["192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/31", "192.0.2.6/32"]
    );
}

#[test]
fn an_address_in_two_entries_is_routed_once() {
    let low = PoolRange { last_port: 1000, ..range("192.0.2.1", "192.0.2.1") };
    let high = PoolRange { first_port: 1001, ..range("192.0.2.1", "192.0.2.1") };

    assert_eq!(nets(&[low, high]), ["192.0.2.1/32"]);
}

#[test]
fn a_host_that_forwards_already_is_left_alone() {
    let tree = Tree::new(
        "forwards",
        &[("net/ipv6/conf/all/forwarding", "1"), ("net/ipv6/conf/eth0/accept_ra", "1"), ("net/ipv4/ip_forward", "1")],
    );

    assert_eq!(forwarding(&tree.sysctls()).unwrap(), []);
}

#[test]
fn router_advertisements_are_kept_before_forwarding_is_switched_on() {
    let tree = Tree::new(
        "advertisements",
        &[
            ("net/ipv6/conf/all/forwarding", "0"),
            ("net/ipv6/conf/all/accept_ra", "1"),
            ("net/ipv6/conf/default/accept_ra", "1"),
            ("net/ipv6/conf/eth0/accept_ra", "1"),
            ("net/ipv6/conf/eth1/accept_ra", "0"),
            ("net/ipv6/conf/eth2/accept_ra", "2"),
            ("net/ipv4/ip_forward", "1"),
        ],
    );

    let expected = [set("net/ipv6/conf/eth0/accept_ra", "1", "2"), set("net/ipv6/conf/all/forwarding", "0", "1")];
    assert_eq!(forwarding(&tree.sysctls()).unwrap(), expected);
}

#[test]
fn what_the_kernel_resets_with_forwarding_is_remembered() {
    let tree = Tree::new(
        "coupled",
        &[
            ("net/ipv4/ip_forward", "0"),
            ("net/ipv4/conf/all/forwarding", "0"),
            ("net/ipv4/conf/all/accept_redirects", "0"),
            ("net/ipv4/conf/eth0/forwarding", "1"),
            ("net/ipv4/conf/eth1/forwarding", "0"),
        ],
    );

    let expected = [
        kept("net/ipv4/conf/eth0/forwarding", "1"),
        kept("net/ipv4/conf/all/accept_redirects", "0"),
        set("net/ipv4/ip_forward", "0", "1"),
    ];
    assert_eq!(forwarding(&tree.sysctls()).unwrap(), expected);
}

fn link(index: u32, name: &str) -> Link {
    Link { index, name: name.to_owned(), uses_arp: true, is_up: true, mtu4: 1500, mtu6: 1500 }
}

fn own(index: u32, address: &str, prefix_len: u8) -> Address {
    Address { prefix_len, ..testing::own(index, address) }
}

#[test]
fn arp_is_answered_where_a_pool_address_is_in_a_connected_subnet() {
    let links = [Link { uses_arp: false, ..link(1, "lo") }, link(2, "eth0"), link(3, "eth1")];
    let addresses =
        [own(1, "127.0.0.1", 8), own(2, "192.0.2.10", 24), own(3, "10.0.0.1", 32), own(3, "2001:db8::1", 64)];

    let found = proxies(&[range("192.0.2.1", "192.0.2.2"), range("203.0.113.1", "203.0.113.1")], &addresses, &links, 9);

    let wanted: Vec<String> = found.wanted.iter().map(|(link, address)| format!("{address} {}", link.name)).collect();
    assert_eq!(wanted, ["192.0.2.1 eth0", "192.0.2.2 eth0"]);
    assert_eq!(found.unusable, Vec::<Ipv4Addr>::new());
}

#[test]
fn the_first_and_last_address_of_a_subnet_cannot_be_answered_for() {
    let addresses = [own(2, "192.0.2.10", 28), own(2, "192.0.2.11", 28)];

    let found = proxies(&[range("192.0.2.0", "192.0.2.15")], &addresses, &[link(2, "eth0")], 9);

    assert_eq!(found.unusable, ["192.0.2.0".parse::<Ipv4Addr>().unwrap(), "192.0.2.15".parse().unwrap()]);
    assert_eq!(found.wanted.len(), 14, "each address once although the host has two there");
}

#[test]
fn a_point_to_point_subnet_of_two_has_two_hosts() {
    let found = proxies(&[range("192.0.2.0", "192.0.2.0")], &[own(2, "192.0.2.1", 31)], &[link(2, "eth0")], 9);

    assert_eq!(found.wanted, [(link(2, "eth0"), "192.0.2.0".parse().unwrap())]);
}
