//! The translation prefixes in force, each with a number that sessions keep.

use std::net::{Ipv4Addr, Ipv6Addr};

use pref64::Pref64;

use crate::terms::Settled;

/// Prefixes by number. A prefix has the same number for as long as a session can refer to it, whatever the policy in force
/// has beside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prefixes {
    /// Those in force, and those whose sessions are yet to end.
    by_number: Vec<Pref64>,
    /// Those in force, in the policy's order.
    live: Vec<u8>,
}

impl Prefixes {
    /// How many can have a number.
    const MOST: usize = 1 << u8::BITS;

    /// These prefixes, where `before` were in force. Numbers are used again when there are no others, if all is settled.
    /// Nothing if they are too many.
    pub(crate) fn after(before: &Self, settled: Settled, prefixes: &[Pref64]) -> Option<Self> {
        let mut after = Self { by_number: before.by_number.clone(), live: Vec::with_capacity(prefixes.len()) };
        for prefix in prefixes {
            let known = after.by_number.iter().position(|other| other == prefix);
            let place = known.or_else(|| after.place_for(before, settled, prefixes))?;
            match after.by_number.get_mut(place) {
                Some(entry) => *entry = *prefix,
                None => after.by_number.push(*prefix),
            }
            after.live.push(u8::try_from(place).ok()?);
        }
        Some(after)
    }

    /// Where a prefix that has no number yet can go.
    fn place_for(&self, before: &Self, settled: Settled, prefixes: &[Pref64]) -> Option<usize> {
        if self.by_number.len() < Self::MOST {
            return Some(self.by_number.len());
        }
        let is_free = |number: &u8| {
            !before.live.contains(number) && !self.live.contains(number) && !prefixes.contains(&self.at(*number))
        };
        (0..=u8::MAX).find(is_free).filter(|_| settled.0).map(usize::from)
    }

    /// Whether every number of `next` names the same prefix here.
    pub(crate) fn know(&self, next: &Self) -> bool {
        self.by_number.get(..next.by_number.len()) == Some(&next.by_number)
    }

    /// These prefixes in force, and the numbers of `next`, which come after these.
    pub(crate) fn aware_of(&self, next: &Self) -> Self {
        Self { by_number: next.by_number.clone(), live: self.live.clone() }
    }

    /// The prefix with a number that a session has.
    #[inline(always)]
    pub(crate) fn at(&self, number: u8) -> Pref64 {
        self.by_number[usize::from(number)]
    }

    /// The prefix with this number, if there is or was one.
    pub(crate) fn get(&self, number: u8) -> Option<Pref64> {
        self.by_number.get(usize::from(number)).copied()
    }

    /// Whether the prefix with this number is in force.
    pub(crate) fn is_live(&self, number: u8) -> bool {
        self.live.contains(&number)
    }

    /// The number of the first, under which hosts are shown that nobody inside has sent to.
    pub(crate) fn first(&self) -> u8 {
        self.live.first().copied().unwrap_or(0)
    }

    /// Those in force, in the policy's order, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, Pref64)> + '_ {
        self.live.iter().map(|&number| (number, self.at(number)))
    }

    /// Whether an address is under a prefix in force.
    #[inline]
    pub(crate) fn contain(&self, address: Ipv6Addr) -> bool {
        self.iter().any(|(_, prefix)| prefix.contains(address))
    }

    /// The IPv4 address under the first prefix in force that contains `address`, and that prefix's number.
    #[inline]
    pub(crate) fn extract(&self, address: Ipv6Addr) -> Option<(u8, Ipv4Addr)> {
        self.iter().find_map(|(number, prefix)| prefix.extract(address).map(|v4| (number, v4)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nth(number: u16) -> Pref64 {
        format!("2001:db8:{number:x}::/96").parse().unwrap()
    }

    fn numbers(prefixes: &Prefixes) -> Vec<(u8, Pref64)> {
        prefixes.iter().collect()
    }

    #[test]
    fn the_first_prefix_that_contains_a_destination_names_it() {
        let prefixes = ["64:ff9b::/96", "2001:db8:64::/48"].map(|text| text.parse().unwrap());
        let numbered = Prefixes::after(&Prefixes::default(), Settled(true), &prefixes).unwrap();
        let v4 = Ipv4Addr::new(198, 51, 100, 7);
        assert_eq!(numbered.extract(prefixes[0].embed(v4)), Some((0, v4)));
        assert_eq!(numbered.extract(prefixes[1].embed(v4)), Some((1, v4)));
        assert_eq!(numbered.extract("2001:db8::1".parse().unwrap()), None);
    }

    #[test]
    fn a_prefix_keeps_its_number_whatever_comes_and_goes_beside_it() {
        let first = Prefixes::after(&Prefixes::default(), Settled(true), &[nth(1), nth(2)]).unwrap();
        let second = Prefixes::after(&first, Settled(true), &[nth(3), nth(2)]).unwrap();
        let third = Prefixes::after(&second, Settled(true), &[nth(1)]).unwrap();

        assert_eq!(numbers(&second), [(2, nth(3)), (1, nth(2))]);
        assert_eq!((second.first(), second.is_live(0), second.at(0)), (2, false, nth(1)), "its sessions still end");
        assert!(!second.contain(nth(1).embed(Ipv4Addr::new(192, 0, 2, 1))));
        assert_eq!(numbers(&third), [(0, nth(1))]);
    }

    #[test]
    fn numbers_are_used_again_when_there_are_no_others() {
        let mut prefixes = Prefixes::default();
        for number in 0..1000 {
            prefixes = Prefixes::after(&prefixes, Settled(true), &[nth(number), nth(5000)]).unwrap();
            let held = prefixes.iter().find(|(_, prefix)| *prefix == nth(5000)).unwrap();
            assert_eq!(held.0, 1);
        }
        assert!(Prefixes::after(&prefixes, Settled(false), &[nth(6000)]).is_none(), "sessions may have any number");
        let many: Vec<Pref64> = (0..300).map(nth).collect();
        assert!(Prefixes::after(&prefixes, Settled(true), &many).is_none());
    }
}
