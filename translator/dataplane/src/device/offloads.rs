//! What the kernel leaves to whoever reads from the device.

use std::fmt;

/// Work that the kernel hands over unfinished, so that it is done once, by the interface that sends the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Transport checksums.
    pub checksum: bool,
    /// Segmentation of TCP, over IPv4 and IPv6.
    pub tso: bool,
    /// Segmentation of TCP with CWR set (RFC 3168).
    pub tso_ecn: bool,
    /// Segmentation of UDP, over IPv4 and IPv6 (Linux 6.2 and later).
    pub uso: bool,
}

impl Offloads {
    /// Every packet comes finished.
    pub const NONE: Self = Self { checksum: false, tso: false, tso_ecn: false, uso: false };

    /// What to ask for, best first. The kernel takes a whole set or refuses it.
    pub(crate) const PREFERENCE: [Self; 5] = [
        Self { checksum: true, tso: true, tso_ecn: true, uso: true },
        Self { checksum: true, tso: true, tso_ecn: true, uso: false },
        Self { checksum: true, tso: true, tso_ecn: false, uso: false },
        Self { checksum: true, tso: false, tso_ecn: false, uso: false },
        Self::NONE,
    ];

    /// The set as the argument of `TUNSETOFFLOAD`.
    pub(crate) fn mask(self) -> libc::c_uint {
        [
            (self.checksum, libc::TUN_F_CSUM),
            (self.tso, libc::TUN_F_TSO4 | libc::TUN_F_TSO6),
            (self.tso_ecn, libc::TUN_F_TSO_ECN),
            (self.uso, libc::TUN_F_USO4 | libc::TUN_F_USO6),
        ]
        .into_iter()
        .filter_map(|(wanted, bits)| wanted.then_some(bits))
        .sum()
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.checksum, "checksum"), (self.tso, "tso"), (self.tso_ecn, "tso-ecn"), (self.uso, "uso")];
        let mut names = all.into_iter().filter_map(|(have, name)| have.then_some(name));
        f.write_str(names.next().unwrap_or("none"))?;
        names.try_for_each(|name| write!(f, ", {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Offloads;

    #[test]
    fn each_preference_asks_for_less_than_the_one_before() {
        let masks = Offloads::PREFERENCE.map(Offloads::mask);

        assert_eq!(masks, [0x6f, 0x0f, 0x07, 0x01, 0x00]);
    }

    #[test]
    fn a_set_is_shown_by_its_names() {
        let shown = Offloads::PREFERENCE.map(|set| set.to_string());

        assert_eq!(
            shown,
            ["checksum, tso, tso-ecn, uso", "checksum, tso, tso-ecn", "checksum, tso", "checksum", "none"]
        );
    }
}
