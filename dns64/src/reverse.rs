//! Names under the reverse zones of translation prefixes: aliases to the IPv4 reverse tree (RFC 6147 §5.3.1).

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;
use pref64::Pref64;

/// Hexadecimal digits of an address.
const NIBBLES: usize = 32;

/// What a name under a prefix's reverse zone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reverse {
    /// The name of an IPv4-embedded address.
    Address(Ipv4Addr),
    /// A part of such names: it exists, but holds nothing.
    EmptyNonTerminal,
    /// Not part of any such name.
    Nonexistent,
}

/// What `name` is, with the zone it is in, or nothing if it is under no prefix.
///
/// The well-known prefix is always among the prefixes (RFC 6147 §5.3.1).
pub(crate) fn classify<'a>(prefixes: impl IntoIterator<Item = &'a Pref64>, name: &Name) -> Option<(Reverse, Name)> {
    let partial = Partial::parse(name)?;
    let prefix = prefixes.into_iter().chain([&Pref64::WELL_KNOWN]).find(|prefix| partial.is_under(prefix))?;
    // `ip6.arpa` and one label for every four bits.
    let zone = name.trim_to(2 + usize::from(prefix.length()) / 4);
    Some((partial.classify(prefix), zone))
}

/// Whether `name` is above the reverse zone of a prefix: it exists then, whatever others say, or resolvers that believe
/// a NXDOMAIN for all names below (RFC 8020) would never ask for them.
pub(crate) fn is_above<'a>(prefixes: impl IntoIterator<Item = &'a Pref64>, name: &Name) -> bool {
    let Some(partial) = Partial::parse(name).filter(|partial| !partial.has_rest) else { return false };
    prefixes.into_iter().chain([&Pref64::WELL_KNOWN]).any(|prefix| partial.is_above(prefix))
}

/// The labels before `ip6.arpa`, from the right: as many digits of an address as there are, and whether more follows.
struct Partial {
    /// The digits in the highest bits.
    bits: u128,
    digits: usize,
    /// Whether labels are left over that are no digits, or beyond the last digit.
    has_rest: bool,
}

impl Partial {
    fn parse(name: &Name) -> Option<Self> {
        let mut labels = name.iter().rev();
        let is_ip6_arpa = labels.next()?.eq_ignore_ascii_case(b"arpa") && labels.next()?.eq_ignore_ascii_case(b"ip6");
        if !is_ip6_arpa {
            return None;
        }
        let mut partial = Self { bits: 0, digits: 0, has_rest: false };
        for label in labels {
            let digit = match label {
                [digit] => char::from(*digit).to_digit(16),
                _ => None,
            };
            match digit {
                Some(digit) if partial.digits < NIBBLES => {
                    partial.digits += 1;
                    partial.bits |= u128::from(digit) << (128 - 4 * partial.digits);
                }
                _ => {
                    partial.has_rest = true;
                    break;
                }
            }
        }
        Some(partial)
    }

    fn is_under(&self, prefix: &Pref64) -> bool {
        self.digits * 4 >= usize::from(prefix.length()) && prefix.contains(Ipv6Addr::from_bits(self.bits))
    }

    fn is_above(&self, prefix: &Pref64) -> bool {
        let bits = 4 * self.digits;
        let first = prefix.net().network().to_bits();
        bits < usize::from(prefix.length()) && (bits == 0 || (self.bits ^ first) >> (128 - bits) == 0)
    }

    fn classify(&self, prefix: &Pref64) -> Reverse {
        // Missing digits are zero, so bits 64 to 71 are wrong only if they were given.
        match prefix.extract(Ipv6Addr::from_bits(self.bits)) {
            Some(_) if self.has_rest => Reverse::Nonexistent,
            Some(address) if self.digits == NIBBLES => Reverse::Address(address),
            Some(_) => Reverse::EmptyNonTerminal,
            None => Reverse::Nonexistent,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn classified(prefix: &str, name: &str) -> Option<(Reverse, String)> {
        let prefix: Pref64 = prefix.parse().unwrap();
        classify(&[prefix], &Name::from_ascii(name).unwrap()).map(|(reverse, zone)| (reverse, zone.to_ascii()))
    }

    fn reverse_name(address: Ipv6Addr) -> Name {
        Name::from(address)
    }

    #[test]
    fn the_name_of_an_address_under_each_length_gives_the_ipv4_address() {
        let address = Ipv4Addr::new(192, 0, 2, 33);
        for prefix in [
            "2001:db8::/32",
            "2001:db8:100::/40",
            "2001:db8:122::/48",
            "2001:db8:122:300::/56",
            "2001:db8:122:344::/64",
            "2001:db8:122:344::/96",
        ] {
            let prefix: Pref64 = prefix.parse().unwrap();
            let (reverse, zone) = classify(&[prefix], &reverse_name(prefix.embed(address))).unwrap();
            assert_eq!(reverse, Reverse::Address(address));
            assert_eq!(usize::from(zone.num_labels()), 2 + usize::from(prefix.length()) / 4);
        }
    }

    #[test]
    fn the_well_known_prefix_matches_though_another_is_configured() {
        let name = reverse_name("64:ff9b::192.0.2.1".parse().unwrap()).to_ascii();
        let (reverse, zone) = classified("2001:db8::/96", &name).unwrap();
        assert_eq!(reverse, Reverse::Address(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(zone, "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.b.9.f.f.4.6.0.0.ip6.arpa.");
    }

    #[test]
    fn names_above_and_beside_the_prefix_are_not_ours() {
        for name in ["ip6.arpa.", "8.b.d.0.1.0.0.2.ip6.arpa.", "1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", "example.", "arpa."]
        {
            assert_eq!(classified("2001:db8::/48", name), None, "{name}");
        }
    }

    #[test]
    fn a_part_of_a_name_is_an_empty_non_terminal() {
        let zone = "0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.".to_owned();
        for name in [zone.clone(), format!("c.{zone}"), format!("0.0.2.0.0.c.{zone}")] {
            assert_eq!(classified("2001:db8::/48", &name), Some((Reverse::EmptyNonTerminal, zone.clone())), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_part_of_a_name_does_not_exist() {
        let zone = "0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.";
        let full = Name::from("2001:db8::1".parse::<Ipv6Addr>().unwrap()).to_ascii();
        // A label that is no digit, two digits in one label, one label too many, bits 64 to 71 set.
        for name in [format!("x.{zone}"), format!("00.{zone}"), format!("0.{full}"), format!("1.0.0.0.0.{zone}")] {
            assert_eq!(classified("2001:db8::/48", &name), Some((Reverse::Nonexistent, zone.to_owned())), "{name}");
        }
    }

    #[test]
    fn names_above_a_prefix_are_known_to_exist() {
        let prefixes: [Pref64; 1] = ["2001:db8:122::/48".parse().unwrap()];
        for (name, expected) in [
            ("ip6.arpa.", true),
            ("2.ip6.arpa.", true),
            ("2.1.0.8.b.d.0.1.0.0.2.ip6.arpa.", true),
            ("2.2.1.0.8.b.d.0.1.0.0.2.ip6.arpa.", false),
            ("3.1.0.8.b.d.0.1.0.0.2.ip6.arpa.", false),
            ("x.2.ip6.arpa.", false),
            ("b.9.f.f.4.6.0.0.ip6.arpa.", true),
            ("arpa.", false),
        ] {
            assert_eq!(is_above(&prefixes, &Name::from_ascii(name).unwrap()), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_embedded_address_is_found_whatever_the_prefix_and_case(bits: u32, which in 0..6_usize, upper: bool) {
            let length = Pref64::LENGTHS[which];
            let prefix = Pref64::new(ipnet::Ipv6Net::new_assert("2001:db8::".parse().unwrap(), length)).unwrap();
            let text = reverse_name(prefix.embed(Ipv4Addr::from_bits(bits))).to_ascii();
            let text = if upper { text.to_ascii_uppercase() } else { text };
            let found = classify(&[prefix], &Name::from_ascii(text).unwrap()).map(|(reverse, _)| reverse);
            prop_assert_eq!(found, Some(Reverse::Address(Ipv4Addr::from_bits(bits))));
        }
    }
}
