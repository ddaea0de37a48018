//! Which of this host's addresses ICMP errors come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pref64::special;

use super::netlink::Address;

/// An IPv6 address of this host that hosts elsewhere can reach, preferably a stable, globally routed one.
pub(crate) fn source6(addresses: &[Address], device: u32) -> Option<Ipv6Addr> {
    let rank = |own: &Address, address: Ipv6Addr| (!own.is_stable, is_unique_local(address), own.index);
    usable(addresses, device)
        .filter_map(|own| match own.address {
            IpAddr::V6(address) => Some((rank(own, address), address)),
            IpAddr::V4(_) => None,
        })
        .min()
        .map(|(_, address)| address)
}

/// An IPv4 address of this host, preferably a global one.
pub(crate) fn source4(addresses: &[Address], device: u32) -> Option<Ipv4Addr> {
    usable(addresses, device)
        .filter_map(|own| match own.address {
            IpAddr::V4(address) if special::is_routable_unicast(address) => {
                Some(((!special::is_global(address), own.index), address))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        })
        .min()
        .map(|(_, address)| address)
}

fn usable(addresses: &[Address], device: u32) -> impl Iterator<Item = &Address> {
    addresses
        .iter()
        .filter(move |own| own.index != device && own.is_global && own.is_preferred && !own.address.is_loopback())
}

/// fc00::/7 (RFC 4193).
const fn is_unique_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xfe00 == 0xfc00
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::own;

    const DEVICE: u32 = 9;

    #[test]
    fn a_global_address_is_preferred_to_a_local_one() {
        let addresses = [own(2, "fd00::1"), own(3, "2001:db8::1"), own(2, "10.0.0.1"), own(3, "8.8.8.8")];

        assert_eq!(source6(&addresses, DEVICE), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(source4(&addresses, DEVICE), Some("8.8.8.8".parse().unwrap()));
    }

    #[test]
    fn the_first_interface_wins_among_equals() {
        let addresses = [own(3, "2001:db8:3::1"), own(2, "2001:db8:2::1"), own(3, "10.0.0.3"), own(2, "10.0.0.2")];

        assert_eq!(source6(&addresses, DEVICE), Some("2001:db8:2::1".parse().unwrap()));
        assert_eq!(source4(&addresses, DEVICE), Some("10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn a_temporary_address_is_the_last_resort() {
        let temporary = Address { is_stable: false, ..own(2, "2001:db8::9") };

        assert_eq!(source6(&[temporary, own(3, "fd00::1")], DEVICE), Some("fd00::1".parse().unwrap()));
        assert_eq!(source6(&[temporary], DEVICE), Some("2001:db8::9".parse().unwrap()));
    }

    #[test]
    fn what_others_cannot_reach_is_no_source() {
        let tentative = Address { is_preferred: false, ..own(2, "2001:db8::1") };
        let link_local = Address { is_global: false, ..own(2, "fe80::1") };
        let addresses = [tentative, link_local, own(1, "::1"), own(1, "127.0.0.1"), own(DEVICE, "2001:db8::2")];

        assert_eq!((source6(&addresses, DEVICE), source4(&addresses, DEVICE)), (None, None));
    }
}
