use proptest::prelude::*;

use super::*;

fn prefix(text: &str) -> Pref64 {
    text.parse().unwrap()
}

/// RFC 6052 §2.4, table 2 and table 3.
const VECTORS: [(&str, &str); 7] = [
    ("2001:db8::/32", "2001:db8:c000:221::"),
    ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
    ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
    ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
    ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
    ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
];

#[test]
fn the_vectors_of_rfc_6052_section_2_4_hold_both_ways() {
    let v4 = Ipv4Addr::new(192, 0, 2, 33);
    for (net, address) in VECTORS {
        let address: Ipv6Addr = address.parse().unwrap();
        assert_eq!(prefix(net).embed(v4), address, "{net}");
        assert_eq!(prefix(net).extract(address), Some(v4), "{net}");
    }
}

#[test]
fn lengths_other_than_the_six_are_refused() {
    for length in 0..=128 {
        let net = Ipv6Net::new("2001:db8::".parse().unwrap(), length).unwrap().trunc();
        let refused = Pref64::new(net) == Err(Pref64Error::Length(length));
        assert_eq!(refused, !Pref64::LENGTHS.contains(&length), "/{length}");
    }
    assert_eq!("64:ff9b::/129".parse::<Pref64>(), Err(Pref64Error::Length(129)));
}

#[test]
fn bad_prefixes_name_the_rule_they_break() {
    assert!(matches!("64:ff9b::1/96".parse::<Pref64>(), Err(Pref64Error::HostBits { .. })));
    assert!(matches!("2001:db8:0:0:100::/96".parse::<Pref64>(), Err(Pref64Error::UOctet(_))));
    assert!(matches!("2001:db8:0:0:ff00::/96".parse::<Pref64>(), Err(Pref64Error::UOctet(_))));
    assert!(matches!("64:ff9b::".parse::<Pref64>(), Err(Pref64Error::Syntax(_))));
    assert!(matches!("192.0.2.0/24".parse::<Pref64>(), Err(Pref64Error::Syntax(_))));
    assert!(matches!("ff02::/96".parse::<Pref64>(), Err(Pref64Error::NotUnicast(_))));
    assert!(matches!("fe80::/64".parse::<Pref64>(), Err(Pref64Error::NotUnicast(_))));
    assert!(matches!("::/96".parse::<Pref64>(), Err(Pref64Error::NotUnicast(_))));
    assert!(matches!("::ffff:0:0/96".parse::<Pref64>(), Err(Pref64Error::NotUnicast(_))));
}

#[test]
fn addresses_outside_the_prefix_or_with_the_u_octet_set_hold_no_ipv4_address() {
    assert_eq!(prefix("64:ff9b::/96").extract("64:ff9b:1::192.0.2.33".parse().unwrap()), None);
    assert_eq!(prefix("2001:db8::/32").extract("2001:db8:c000:221:100::".parse().unwrap()), None);
}

#[test]
fn a_suffix_is_ignored() {
    let v4 = Some(Ipv4Addr::new(192, 0, 2, 33));
    assert_eq!(prefix("2001:db8::/32").extract("2001:db8:c000:221:0:1:2:3".parse().unwrap()), v4);
    assert_eq!(prefix("2001:db8:122:344::/64").extract("2001:db8:122:344:c0:2:21ff:ffff".parse().unwrap()), v4);
}

#[test]
fn the_well_known_prefix_carries_only_global_addresses_unless_told_otherwise() {
    let (strict, relaxed) = (WellKnownPolicy::Strict, WellKnownPolicy::AllowPrivate);
    for (address, by_strict, by_relaxed) in [
        ("8.8.8.8", true, true),
        ("10.0.0.1", false, true),
        ("172.31.255.255", false, true),
        ("172.32.0.0", true, true),
        ("192.168.1.1", false, true),
        ("100.64.0.1", false, true),
        ("127.0.0.1", false, false),
        ("169.254.169.254", false, false),
        ("192.0.2.1", false, true),
        ("192.0.0.170", true, true),
        ("192.0.0.171", true, true),
        ("192.0.0.172", false, true),
        ("192.0.0.9", true, true),
        ("198.18.0.1", false, true),
        ("224.0.0.1", false, false),
        ("255.255.255.255", false, false),
    ] {
        let address: Ipv4Addr = address.parse().unwrap();
        assert_eq!(strict.permits(Pref64::WELL_KNOWN, address), by_strict, "{address} strict");
        assert_eq!(relaxed.permits(Pref64::WELL_KNOWN, address), by_relaxed, "{address} relaxed");
        assert!(strict.permits(prefix("2001:db8:64::/96"), address), "{address} network-specific");
    }
}

#[test]
fn the_table_lists_specific_ranges_before_the_ranges_around_them() {
    for (index, range) in special::RANGES.iter().enumerate() {
        for later in &special::RANGES[index + 1..] {
            assert!(!later.net.contains(&range.net) || later.net.prefix_len() < range.net.prefix_len());
            assert!(!range.net.contains(&later.net), "{} hides {}", range.net, later.net);
        }
    }
}

#[test]
fn a_prefix_survives_its_text_form() {
    for (net, _) in VECTORS {
        assert_eq!(prefix(net).to_string().parse(), Ok(prefix(net)));
    }
}

proptest! {
    #[test]
    fn what_is_embedded_is_extracted(index in 0..VECTORS.len(), bits: u32) {
        let prefix = prefix(VECTORS[index].0);
        let v4 = Ipv4Addr::from_bits(bits);
        let v6 = prefix.embed(v4);
        prop_assert!(prefix.contains(v6));
        prop_assert_eq!(v6.to_bits() & U_OCTET & !prefix.net().netmask().to_bits(), 0);
        prop_assert_eq!(prefix.extract(v6), Some(v4));
    }

    #[test]
    fn extraction_agrees_with_containment(index in 0..VECTORS.len(), bits: u128) {
        let prefix = prefix(VECTORS[index].0);
        let address = Ipv6Addr::from_bits(bits);
        if !prefix.contains(address) {
            prop_assert_eq!(prefix.extract(address), None);
        }
    }
}

proptest! {
    #[test]
    fn an_address_is_found_in_the_first_row_that_has_it(
        bits in any::<u32>(),
        row in 0..special::RANGES.len(),
        beside in -2_i64..=2,
    ) {
        let edge = u32::from(special::RANGES[row].net.network()).wrapping_add_signed(i32::try_from(beside).unwrap());
        for address in [bits, edge].map(Ipv4Addr::from_bits) {
            let found = special::RANGES.iter().find(|range| range.net.contains(&address));
            prop_assert_eq!(special::range_of(address).copied(), found.copied(), "{}", address);
        }
    }
}
