//! `pool4 = "shared"`: the address of this host that it stands for, and the ports of it.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use super::file::File;
use super::place::Problem;
use super::value::{AddressRange, PortRange};

/// What `shared` stands for on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnAddress {
    /// The address.
    pub(crate) address: Ipv4Addr,
    /// The interface that has it.
    pub(crate) interface: String,
    /// The ports that the kernel gives to programs that take any.
    pub(crate) local_ports: RangeInclusive<u16>,
}

impl OwnAddress {
    /// Whether it is the same address in the same place.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        (self.address, &self.interface) == (other.address, &other.interface)
    }
}

/// Finds the address, or says why there is none.
pub(super) type Find = fn() -> Result<OwnAddress, String>;

/// The ports, unless programs of the host are given some of them: above most services, below those of Kubernetes.
const USUAL: PortRange = PortRange { first: 10_000, last: 29_999 };
/// The first port that no privileged service has.
const UNPRIVILEGED: PortRange = PortRange { first: 1024, last: u16::MAX };
/// Fewer ports than these are not worth having.
const FEW: u16 = 4096;

/// Finds out what `shared` is, if the pool has it.
pub(super) fn resolve(file: &mut File, find: Find) -> Result<Option<OwnAddress>, Problem> {
    let Some(entry) = file.translator.pool4.0.iter().find(|entry| entry.value.shared.is_some()) else {
        return Ok(None);
    };
    let own = find().map_err(|message| entry.problem(message))?;
    put(file, &own);
    Ok(Some(own))
}

/// Puts the address in the place of every `shared`.
pub(super) fn put(file: &mut File, own: &OwnAddress) {
    let section = &mut file.translator;
    // All ports is what the key is by default, and what no host can give away.
    let general = Some(section.ports.value).filter(|ports| *ports != PortRange::ALL);
    for entry in &mut section.pool4.0 {
        let Some(written) = entry.value.shared else { continue };
        entry.value.addresses = AddressRange { first: own.address, last: own.address };
        entry.value.ports = written.or(general).or_else(|| Some(ports(&own.local_ports)));
    }
}

/// Ports for the translator, where programs of the host are given `local`.
fn ports(local: &RangeInclusive<u16>) -> PortRange {
    let enough = |range: &PortRange| range.last - range.first >= FEW - 1;
    // Where programs get nearly all ports, the kernel keeps them from those that it is told to reserve.
    [USUAL, UNPRIVILEGED].into_iter().filter_map(|range| rest(range, local)).find(enough).unwrap_or(USUAL)
}

/// The larger part of `range` that is beside `local`.
fn rest(range: PortRange, local: &RangeInclusive<u16>) -> Option<PortRange> {
    let below = PortRange { first: range.first, last: range.last.min(local.start().saturating_sub(1)) };
    let above = PortRange { first: range.first.max(local.end().saturating_add(1)), last: range.last };
    let part = |part: &PortRange| part.first <= part.last && !local.contains(&part.first);
    [below, above].into_iter().filter(part).max_by_key(|part| part.last - part.first)
}

/// A host without an address, for tests of what does not ask for one.
#[cfg(test)]
pub(super) fn nobody() -> Result<OwnAddress, String> {
    Err("nobody was to ask".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Overrides, Settings, place::Source, resolve};
    use super::*;

    fn found() -> Result<OwnAddress, String> {
        let local_ports = 32_768..=60_999;
        Ok(OwnAddress { address: Ipv4Addr::new(192, 0, 2, 1), interface: "eth0".to_owned(), local_ports })
    }

    fn settings(pool: &str) -> Settings {
        let source = Source { path: None, text: format!("[translator]\n{pool}\n") };
        resolve(source, &Overrides::default(), found).unwrap_or_else(|error| panic!("{error}"))
    }

    fn pool(settings: &Settings) -> Vec<String> {
        let pool = &settings.policy.as_ref().unwrap().pool;
        pool.iter().map(|range| format!("{}:{}-{}", range.first, range.first_port, range.last_port)).collect()
    }

    #[test]
    fn shared_is_the_address_of_the_host_with_ports_that_are_written_or_chosen() {
        for (text, expected) in [
            ("pool4 = \"shared\"", "192.0.2.1:10000-29999"),
            ("pool4 = [\"shared\"]", "192.0.2.1:10000-29999"),
            ("pool4 = \"shared:2000-2999\"", "192.0.2.1:2000-2999"),
            ("pool4 = { address = \"shared\", ports = \"2000-2999\" }", "192.0.2.1:2000-2999"),
            ("pool4 = \"shared\"\nports = \"3000-3999\"", "192.0.2.1:3000-3999"),
            ("pool4 = \"shared\"\nports = \"1-65535\"", "192.0.2.1:10000-29999"),
            ("pool4 = \"192.0.2.1:4000-4999\"", "192.0.2.1:4000-4999"),
        ] {
            assert_eq!(pool(&settings(text)), [expected], "{text}");
        }
    }

    #[test]
    fn it_is_written_as_it_was_read() {
        for text in ["pool4 = \"shared\"", "pool4 = [\"shared:2000-2999\", \"198.51.100.1\"]"] {
            let settings = settings(text);
            let written = settings.to_toml().unwrap();
            assert!(written.contains("shared") && !written.contains("192.0.2.1"), "{written}");
            let again = resolve(Source { path: None, text: written }, &Overrides::default(), found).unwrap();
            assert_eq!(pool(&again), pool(&settings));
        }
    }

    #[test]
    fn a_host_without_such_an_address_is_told_at_the_place_of_the_entry() {
        let source = Source { path: Some("nat64.toml".into()), text: "[translator]\npool4 = \"shared\"\n".to_owned() };
        let error = resolve(source, &Overrides::default(), nobody).unwrap_err().to_string();
        assert!(error.starts_with("nat64.toml:2:9: nobody was to ask"), "{error}");
    }

    #[test]
    fn ports_are_chosen_beside_those_of_programs() {
        let chosen = |local: RangeInclusive<u16>| ports(&local).to_string();
        assert_eq!(chosen(32_768..=60_999), "10000-29999");
        assert_eq!(chosen(20_000..=60_999), "10000-19999");
        assert_eq!(chosen(1024..=19_999), "20000-29999");
        assert_eq!(chosen(10_000..=60_000), "1024-9999");
        assert_eq!(chosen(1024..=60_000), "60001-65535");
        assert_eq!(chosen(1024..=65_535), "10000-29999");
        assert_eq!(chosen(0..=u16::MAX), "10000-29999");
    }
}
