//! Networks in which the translator is one node among hosts, routers and links.

mod load;
mod network;
mod path_mtu;
mod sessions;
mod tcp;
mod traceroute;

use std::net::IpAddr;

use self::network::{Network, Path};
use self::tcp::Endpoint;
use crate::support::{CLIENT, SERVER, prefix};

/// A client and a server of one connection, neither of which has begun.
fn connection(network: &mut Network, mtus: (usize, usize)) {
    let client = Endpoint::new((CLIENT.into(), 5000), (prefix().embed(SERVER).into(), 80), mtus.0);
    let server = Endpoint::new((SERVER.into(), 80), (IpAddr::from([0, 0, 0, 0]), 0), mtus.1);
    network.endpoints = vec![client, server];
}

/// Lets the client connect.
fn connect(network: &mut Network) {
    let now = network.now();
    let syn = network.endpoints[0].connect(now);
    network.send(syn);
}

/// Paths that change nothing.
fn clear() -> (Path, Path) {
    (Path::of(&[1500, 1500]), Path::of(&[1500, 1500]))
}
