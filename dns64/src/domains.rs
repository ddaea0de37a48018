//! Domains that are treated otherwise than RFC 6147 has it, found by the longest suffix of a name.

use hashbrown::HashMap;
use hickory_proto::rr::Name;
use serde::{Deserialize, Serialize};

/// What is done with questions for the names of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// What RFC 6147 says: synthesised if there is no AAAA record.
    #[default]
    Standard,
    /// Never synthesised: what the upstream says.
    Never,
    /// Synthesised although there are AAAA records, if there are A records: for servers whose IPv6 does not work.
    Always,
    /// Synthesised as RFC 6147 has it, and A records are not told to anybody: for clients that must not try IPv4.
    StripA,
}

/// Treatments by domain; keys are names in wire form and lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Domains(Suffixes<Treatment>);

impl Domains {
    /// The treatment of a name in wire form.
    pub(crate) fn treatment(&self, name: &[u8]) -> Treatment {
        self.0.find(name).map_or(Treatment::Standard, |(_, treatment)| *treatment)
    }
}

impl FromIterator<(Name, Treatment)> for Domains {
    fn from_iter<I: IntoIterator<Item = (Name, Treatment)>>(domains: I) -> Self {
        Self(domains.into_iter().collect())
    }
}

/// Values by domain, of which a name gets that of the longest domain it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suffixes<T>(HashMap<Box<[u8]>, T, foldhash::quality::RandomState>);

impl<T> Suffixes<T> {
    /// The value for a name in wire form, with the length of its domain in bytes. One look-up a label.
    pub(crate) fn find(&self, name: &[u8]) -> Option<(usize, &T)> {
        if self.0.is_empty() {
            return None;
        }
        let mut lower = [0_u8; 255];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let mut rest = &*lower;
        loop {
            if let Some(value) = self.0.get(rest) {
                return Some((rest.len(), value));
            }
            let (&length, _) = rest.split_first()?;
            // The root is the last suffix.
            if length == 0 {
                return None;
            }
            rest = rest.get(1 + usize::from(length)..)?;
        }
    }
}

impl<T> Suffixes<T> {
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values()
    }
}

impl<T> Default for Suffixes<T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<T> FromIterator<(Name, T)> for Suffixes<T> {
    fn from_iter<I: IntoIterator<Item = (Name, T)>>(domains: I) -> Self {
        Self(domains.into_iter().map(|(name, value)| (wire(&name), value)).collect())
    }
}

/// A name in wire form and lower case.
fn wire(name: &Name) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(name.len());
    for label in name.iter() {
        // A label has 63 bytes at most.
        bytes.push(u8::try_from(label.len()).unwrap_or(63));
        bytes.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    bytes.push(0);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_domain_that_a_name_is_in_decides_whatever_its_case() {
        let name = |text| Name::from_ascii(text).unwrap();
        let domains: Domains = [
            (name("example."), Treatment::Never),
            (name("ok.Example."), Treatment::Standard),
            (name("broken.example."), Treatment::Always),
        ]
        .into_iter()
        .collect();
        for (asked, expected) in [
            ("example.", Treatment::Never),
            ("a.EXAMPLE.", Treatment::Never),
            ("a.b.OK.example.", Treatment::Standard),
            ("broken.example.", Treatment::Always),
            ("notexample.", Treatment::Standard),
            (".", Treatment::Standard),
        ] {
            assert_eq!(domains.treatment(&wire(&name(asked))), expected, "{asked}");
        }
    }

    #[test]
    fn the_root_holds_all_names() {
        let domains: Domains = [(Name::root(), Treatment::StripA)].into_iter().collect();
        assert_eq!(domains.treatment(b"\x01a\x00"), Treatment::StripA);
        assert_eq!(domains.treatment(b"\x00"), Treatment::StripA);
    }
}
