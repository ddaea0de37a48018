//! Which packets are looked at at all (RFC 6146 §3.5, RFC 7915 §4.1 and §5.1): by addresses alone, before any state.

use std::net::{Ipv4Addr, Ipv6Addr};

use pref64::special;

use crate::packet::{ParseError, Protocol};
use crate::policy::{Exclusion, Policy};
use crate::refuse::Stop;
use crate::session::{External, Pool};
use crate::terms::Terms;
use crate::verdict::DropReason;

/// Checks a packet from the IPv6 side. Returns the number of the prefix it was sent to and the IPv4 destination.
#[inline(always)]
pub(crate) fn from_ipv6(terms: &Terms, source: Ipv6Addr, destination: Ipv6Addr) -> Result<(u8, Ipv4Addr), DropReason> {
    if !is_sender6(source) {
        return Err(DropReason::IllegalSource);
    }
    if terms.prefixes.contain(source) {
        return Err(DropReason::Loop);
    }
    let (prefix, remote) = terms.prefixes.extract(destination).ok_or(DropReason::NotOurPrefix)?;
    if !special::is_routable_unicast(remote) {
        return Err(DropReason::IllegalDestination);
    }
    may_represent(terms, prefix, remote)?;
    Ok((prefix, remote))
}

/// The exclusion that keeps such a packet from translation, if there is one, with its place.
#[cold]
pub(crate) fn exclusion(
    policy: &Policy,
    source: Ipv6Addr,
    (remote, port): (Ipv4Addr, u16),
    protocol: Protocol,
) -> Option<(usize, &Exclusion)> {
    let matches = |(_, rule): &(usize, &Exclusion)| {
        rule.source.is_none_or(|net| net.contains(&source))
            && rule.destination.is_none_or(|net| net.contains(&remote))
            && rule.protocol.is_none_or(|of_rule| of_rule == protocol)
            && rule.ports.is_none_or(|(first, last)| protocol != Protocol::Icmp && (first..=last).contains(&port))
    };
    policy.exclusions.iter().enumerate().find(matches)
}

/// Checks a packet from the IPv4 side. Returns the pool address it was sent to, with the port still to be filled in.
///
/// `hairpinned` is set for a packet that has just been translated from the IPv6 side: its source is in the pool.
#[inline(always)]
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
pub(crate) fn unparsed_v6(terms: &Terms, packet: &[u8], error: ParseError) -> Stop {
    let address = |at: usize| packet.get(at..)?.first_chunk::<16>().copied().map(Ipv6Addr::from);
    let addresses = address(8).zip(address(24));
    let translated = addresses.is_some_and(|(from, to)| from_ipv6(terms, from, to).is_ok());
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
#[inline(always)]
pub(crate) fn may_represent(terms: &Terms, prefix: u8, address: Ipv4Addr) -> Result<(), DropReason> {
    // Most addresses may be under any prefix.
    if special::is_global(address) {
        return Ok(());
    }
    if terms.policy.well_known.permits(terms.prefixes.at(prefix), address) {
        Ok(())
    } else {
        Err(DropReason::WellKnownPrefix)
    }
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
    use pref64::{Pref64, WellKnownPolicy};

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
    fn the_policy_type_is_the_one_that_decides_about_the_well_known_prefix() {
        let mut terms = Terms::new(Policy::new(vec![Pref64::WELL_KNOWN], Vec::new()), None).unwrap();
        let private = Ipv4Addr::new(10, 0, 0, 1);
        assert_eq!(may_represent(&terms, 0, private), Err(DropReason::WellKnownPrefix));
        terms.policy.well_known = WellKnownPolicy::AllowPrivate;
        assert_eq!(may_represent(&terms, 0, private), Ok(()));
    }
}
