//! Who is answered.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Clients that are answered unless the configuration says otherwise, besides those on the host's own links: loopback,
/// link-local, and private addresses (RFC 1918, RFC 4193, RFC 6598).
pub const DEFAULT_CLIENTS: [IpNet; 9] = [
    v4([127, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
];

/// Addresses as first and last of each range, none touching another, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clients {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Clients {
    pub(crate) fn new(nets: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in IpNet::aggregate(&nets.to_vec()) {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        v4.sort_unstable();
        v6.sort_unstable();
        Self { v4: v4.into(), v6: v6.into() }
    }

    /// Whether this client is answered; an IPv4-mapped address is the IPv4 one.
    pub(crate) fn contain(&self, client: IpAddr) -> bool {
        match client.to_canonical() {
            IpAddr::V4(address) => holds(&self.v4, address.to_bits()),
            IpAddr::V6(address) => holds(&self.v6, address.to_bits()),
        }
    }
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).is_some_and(|at| address <= ranges[at].1)
}

const fn v4(octets: [u8; 4], length: u8) -> IpNet {
    let [a, b, c, d] = octets;
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(segments: [u16; 8], length: u8) -> IpNet {
    let [a, b, c, d, e, f, g, h] = segments;
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::new(a, b, c, d, e, f, g, h), length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contain(clients: &[IpNet], client: &str) -> bool {
        Clients::new(clients).contain(client.parse().unwrap())
    }

    #[test]
    fn private_addresses_are_clients_by_default_and_those_of_the_internet_are_not() {
        for (client, expected) in [
            ("127.0.0.1", true),
            ("::ffff:10.1.2.3", true),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("fd00::1", true),
            ("fe80::1", true),
            ("::1", true),
            ("::2", false),
            ("203.0.113.1", false),
            ("2001:db8::1", false),
            ("::ffff:203.0.113.1", false),
        ] {
            assert_eq!(contain(&DEFAULT_CLIENTS, client), expected, "{client}");
        }
    }

    #[test]
    fn nobody_is_a_client_of_an_empty_list_and_everybody_of_one_with_both_wholes() {
        assert!(!contain(&[], "127.0.0.1"));
        let all = ["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap());
        assert!(["0.0.0.0", "255.255.255.255", "::", "ffff::"].iter().all(|client| contain(&all, client)));
    }

    proptest! {
        #[test]
        fn the_ranges_hold_what_the_nets_hold(
            nets in prop::collection::vec((any::<u8>(), 0_u8..=8, any::<bool>()), 0..12),
            client in any::<u8>(),
        ) {
            // Eight bits in the upper end of an address, so that nets meet each other.
            let net = |&(bits, length, is_v4): &(u8, u8, bool)| if is_v4 {
                IpNet::new([bits, 0, 0, 0].into(), length).unwrap()
            } else {
                IpNet::new([u16::from(bits) << 8, 0, 0, 0, 0, 0, 0, 0].into(), length).unwrap()
            };
            let nets: Vec<IpNet> = nets.iter().map(net).collect();
            let clients = Clients::new(&nets);
            for client in [IpAddr::from([client, 7, 0, 1]), [u16::from(client) << 8, 0, 0, 0, 0, 0, 0, 7].into()] {
                prop_assert_eq!(clients.contain(client), nets.iter().any(|net| net.contains(&client)));
            }
        }
    }
}
