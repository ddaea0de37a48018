//! Which packets are looked at at all (RFC 6146 §3.5, RFC 7915 §4.1 and §5.1): by addresses alone, before any state.

use std::net::{Ipv4Addr, Ipv6Addr};

use pref64::{Pref64, special};

use crate::packet::{ParseError, Protocol};
use crate::policy::{Exclusion, Policy};
use crate::refuse::Stop;
use crate::session::{External, Pool};
use crate::transport::Transport;
use crate::verdict::DropReason;

/// Checks a packet from the IPv6 side. Returns the index of the prefix it was sent to and the IPv4 destination.
#[inline]
pub(crate) fn from_ipv6(
    policy: &Policy,
    source: Ipv6Addr,
    destination: Ipv6Addr,
) -> Result<(u8, Ipv4Addr), DropReason> {
    if !is_sender6(source) {
        return Err(DropReason::IllegalSource);
    }
    if policy.prefixes.iter().any(|prefix| prefix.contains(source)) {
        return Err(DropReason::Loop);
    }
    let (prefix, remote) = self::destination(&policy.prefixes, destination).ok_or(DropReason::NotOurPrefix)?;
    if !special::is_routable_unicast(remote) {
        return Err(DropReason::IllegalDestination);
    }
    may_represent(policy, prefix, remote)?;
    Ok((prefix, remote))
}

/// Whether policy keeps this packet from translation, and if so whether its sender is not to be told.
#[cold]
pub(crate) fn exclusion(policy: &Policy, source: Ipv6Addr, remote: Ipv4Addr, transport: &Transport) -> Option<bool> {
    let matches = |rule: &&Exclusion| {
        rule.source.is_none_or(|net| net.contains(&source))
            && rule.destination.is_none_or(|net| net.contains(&remote))
            && rule.protocol.is_none_or(|protocol| protocol == transport.protocol)
            && rule.ports.is_none_or(|(first, last)| {
                transport.protocol != Protocol::Icmp && (first..=last).contains(&transport.far)
            })
    };
    policy.exclusions.iter().find(matches).map(|rule| rule.silent)
}

/// Checks a packet from the IPv4 side. Returns the pool address it was sent to, with the port still to be filled in.
///
/// `hairpinned` is set for a packet that has just been translated from the IPv6 side: its source is in the pool.
#[inline]
pub(crate) fn from_ipv4(
    pool: &Pool,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    hairpinned: bool,
) -> Result<External, DropReason> {
    let address = pool.index_of(destination).ok_or(DropReason::NotOurPool)?;
    if !hairpinned && pool.index_of(source).is_some() {
        return Err(DropReason::Loop);
    }
    Ok(External { address, port: 0 })
}

/// Checks that a packet from the IPv4 side has a source that hosts can have. ICMP errors need none: whoever sends them,
/// it helps to find the trouble (RFC 7915 §4.1).
#[inline]
pub(crate) const fn sender4(source: Ipv4Addr) -> Result<(), DropReason> {
    if special::is_routable_unicast(source) { Ok(()) } else { Err(DropReason::IllegalSource) }
}

/// What becomes of an IPv6 packet that was refused before its addresses were looked at: its sender is told only if they
/// are such that it could have been translated.
#[cold]
pub(crate) fn unparsed_v6(policy: &Policy, packet: &[u8], error: ParseError) -> Stop {
    let address = |at: usize| packet.get(at..)?.first_chunk::<16>().copied().map(Ipv6Addr::from);
    let addresses = address(8).zip(address(24));
    let translated = addresses.is_some_and(|(from, to)| from_ipv6(policy, from, to).is_ok());
    Stop { silent: !translated, ..error.into() }
}

/// As [`unparsed_v6`], for an IPv4 packet.
#[cold]
pub(crate) fn unparsed_v4(pool: &Pool, packet: &[u8], error: ParseError) -> Stop {
    let address = |at: usize| packet.get(at..)?.first_chunk::<4>().copied().map(Ipv4Addr::from);
    let addresses = address(12).zip(address(16));
    let translated =
        addresses.is_some_and(|(from, to)| sender4(from).is_ok() && from_ipv4(pool, from, to, false).is_ok());
    Stop { silent: !translated, ..error.into() }
}

/// Whether the prefix may stand for this IPv4 address (RFC 6052 §3.1).
#[inline]
pub(crate) fn may_represent(policy: &Policy, prefix: u8, address: Ipv4Addr) -> Result<(), DropReason> {
    // Most addresses may be under any prefix.
    if special::is_global(address) {
        return Ok(());
    }
    let prefix = policy.prefixes[usize::from(prefix)];
    if policy.well_known.permits(prefix, address) { Ok(()) } else { Err(DropReason::WellKnownPrefix) }
}

/// The IPv4 address under the first prefix that contains `address`, and that prefix's index.
#[inline]
pub(crate) fn destination(prefixes: &[Pref64], address: Ipv6Addr) -> Option<(u8, Ipv4Addr)> {
    (0..).zip(prefixes).find_map(|(index, prefix)| prefix.extract(address).map(|v4| (index, v4)))
}

/// Whether an address can be a host's own beyond its link: not unspecified, loopback, v4-mapped, link-local or multicast.
#[inline]
pub(crate) fn is_sender6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.octets();
    let link_local = first == 0xfe && second & 0xc0 == 0x80;
    let mapped_or_below = address.to_bits() >> 48 == 0;
    first != 0xff && !link_local && !mapped_or_below
}

#[cfg(test)]
mod tests {
    use pref64::WellKnownPolicy;

    use super::*;

    #[test]
    fn senders_are_unicast_and_of_more_than_one_link() {
        for (address, legal) in [
            ("2001:db8::1", true),
            ("fd00::1", true),
            ("::", false),
            ("::1", false),
            ("::ffff:192.0.2.1", false),
            ("::192.0.2.1", false),
            ("fe80::1", false),
            ("febf::1", false),
            ("fec0::1", true),
            ("ff02::1", false),
        ] {
            assert_eq!(is_sender6(address.parse().unwrap()), legal, "{address}");
        }
    }

    #[test]
    fn the_first_prefix_that_contains_a_destination_names_it() {
        let prefixes = ["64:ff9b::/96", "2001:db8:64::/48"].map(|text| text.parse().unwrap());
        let v4 = Ipv4Addr::new(198, 51, 100, 7);
        assert_eq!(destination(&prefixes, prefixes[0].embed(v4)), Some((0, v4)));
        assert_eq!(destination(&prefixes, prefixes[1].embed(v4)), Some((1, v4)));
        assert_eq!(destination(&prefixes, "2001:db8::1".parse().unwrap()), None);
    }

    #[test]
    fn the_policy_type_is_the_one_that_decides_about_the_well_known_prefix() {
        let mut policy = Policy::new(vec![Pref64::WELL_KNOWN], Vec::new());
        let private = Ipv4Addr::new(10, 0, 0, 1);
        assert_eq!(may_represent(&policy, 0, private), Err(DropReason::WellKnownPrefix));
        policy.well_known = WellKnownPolicy::AllowPrivate;
        assert_eq!(may_represent(&policy, 0, private), Ok(()));
    }
}
