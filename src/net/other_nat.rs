//! The kernel's own address translation on this host, which may change what the translator sends from a shared address.

use std::fmt;
use std::fs;
use std::io;
use std::process::{Command, Stdio};

use serde::Deserialize;

/// A chain that sees what leaves the host, after routing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Chain {
    family: String,
    table: String,
    name: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    hook: String,
}

/// What `nft -j list chains` prints: each element is an object of one key.
#[derive(Debug, Deserialize)]
struct Listing {
    nftables: Vec<Element>,
}

#[derive(Debug, Deserialize)]
struct Element {
    chain: Option<Chain>,
}

/// The chains that may translate source addresses, in the words of nftables. None where it cannot be found out.
pub(super) fn chains() -> Vec<String> {
    let mut found: Vec<String> = listed().unwrap_or_default().iter().map(ToString::to_string).collect();
    // Of the older interface, which nftables does not list.
    if fs::read_to_string("/proc/thread-self/net/ip_tables_names")
        .unwrap_or_default()
        .lines()
        .any(|table| table == "nat")
    {
        found.push("iptables-legacy -t nat".to_owned());
    }
    found
}

fn listed() -> io::Result<Vec<Chain>> {
    let output = Command::new("nft").args(["-j", "list", "chains"]).stdin(Stdio::null()).output()?;
    parse(&output.stdout)
}

fn parse(json: &[u8]) -> io::Result<Vec<Chain>> {
    let listing: Listing = serde_json::from_slice(json)?;
    let chains = listing.nftables.into_iter().filter_map(|element| element.chain);
    Ok(chains.filter(|chain| chain.translates_sources()).collect())
}

impl Chain {
    fn translates_sources(&self) -> bool {
        self.kind == "nat" && self.hook == "postrouting" && matches!(&*self.family, "ip" | "inet")
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {} {} {}", self.family, self.table, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_nat_after_routing_are_found_in_what_nft_prints() {
        let json = br#"{"nftables": [
            {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"chain": {"family": "ip", "table": "nat", "name": "POSTROUTING", "handle": 1, "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept"}},
            {"chain": {"family": "ip", "table": "nat", "name": "DOCKER", "handle": 2}},
            {"chain": {"family": "ip6", "table": "nat", "name": "post", "handle": 3, "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept"}},
            {"chain": {"family": "inet", "table": "fw", "name": "in", "handle": 4, "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}}
        ]}"#;
        let found: Vec<String> = parse(json).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["chain ip nat POSTROUTING"]);
        assert!(parse(b"no nftables here").is_err());
    }
}
