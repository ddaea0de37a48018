//! Packets as they are to come out.

use crate::support::check::sum;

/// A packet that is expected, with what it leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) bytes: Vec<u8>,
    /// The IPv4 identification is the implementation's choice.
    pub(crate) free_identification: bool,
    /// The flow label is a hash, and not zero.
    pub(crate) hashed_label: bool,
    /// Where transport checksums are; their two representations of zero count as one.
    pub(crate) checksums: Vec<usize>,
}

impl Expected {
    pub(crate) const fn exactly(bytes: Vec<u8>) -> Self {
        Self { bytes, free_identification: false, hashed_label: false, checksums: Vec::new() }
    }

    /// Whether a packet is this one.
    pub(crate) fn is(&self, actual: &[u8]) -> bool {
        let mut expected = self.bytes.clone();
        if expected.len() != actual.len() {
            return false;
        }
        if self.free_identification && expected.len() >= 20 {
            expected[4..6].copy_from_slice(&actual[4..6]);
            set_header_checksum(&mut expected);
        }
        if self.hashed_label {
            let label = u32::from_be_bytes([0, actual[1] & 0xf, actual[2], actual[3]]);
            if label == 0 {
                return false;
            }
            expected[1] = expected[1] & 0xf0 | actual[1] & 0xf;
            expected[2..4].copy_from_slice(&actual[2..4]);
        }
        for &at in self.checksums.iter().filter(|at| **at + 2 <= actual.len()) {
            let same = |bytes: &[u8]| u16::from_be_bytes([bytes[at], bytes[at + 1]]) % 0xffff;
            if same(&expected) == same(actual) {
                expected[at..at + 2].copy_from_slice(&actual[at..at + 2]);
            }
        }
        expected == actual
    }
}

/// Fills in the checksum of an IPv4 header.
pub(crate) fn set_header_checksum(packet: &mut [u8]) {
    let header = usize::from(packet[0] & 0xf) * 4;
    packet[10..12].fill(0);
    let checksum = !u16::try_from(sum(&[&packet[..header]])).unwrap();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}
