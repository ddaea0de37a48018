//! Questions that recognise themselves when they come back.

use hickory_proto::rr::Name;

use crate::wire::{Ask, Question, code};

/// What makes this process's probes its own: a random label under `.invalid`, which resolvers answer by themselves
/// (RFC 6761 §6.4), so that a probe is cheap for an upstream that is well.
#[derive(Debug)]
pub(super) struct Marker {
    zone: String,
}

impl Marker {
    pub(super) fn new() -> Self {
        Self { zone: format!("{:016x}.nat64-probe.invalid.", rand::random::<u64>()) }
    }

    /// The probe for the upstream with this index.
    pub(super) fn ask(&self, index: usize) -> Option<Ask> {
        let name = Name::from_ascii(format!("{index}.{}", self.zone)).ok()?;
        let question = Question::new(&name, code::A)?;
        Some(Ask { question, recursion: true, checking_disabled: false, dnssec: false, only_known: false })
    }

    /// The index of the upstream that this question was a probe for.
    pub(super) fn recognise(&self, question: &Question) -> Option<usize> {
        // Cheap for all other names: theirs has another length or another first label.
        let (&length, rest) = question.bytes().split_first()?;
        let label = std::str::from_utf8(rest.get(..usize::from(length))?).ok()?;
        let index = label.parse().ok()?;
        self.ask(index).filter(|ask| ask.question.is_same(question.bytes())).map(|_| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_recognised_with_its_upstream_and_by_its_own_process_only() {
        let (ours, theirs) = (Marker::new(), Marker::new());
        let question = ours.ask(3).unwrap().question;
        assert_eq!(ours.recognise(&question), Some(3));
        assert_eq!(theirs.recognise(&question), None);
    }

    #[test]
    fn other_names_are_no_probes() {
        for name in ["3.example.", "example.", ".", "99999999999999999999999.invalid."] {
            let question = Question::new(&Name::from_ascii(name).unwrap(), code::A).unwrap();
            assert_eq!(Marker::new().recognise(&question), None, "{name}");
        }
    }
}
