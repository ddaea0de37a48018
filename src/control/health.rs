//! Whether the translator of each prefix takes new sessions, as DNS64 is told and `nat64 status` shows.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dns64::{PolicyHandle, PrefixState};
use pref64::Pref64;

use super::api::PrefixStatus;

/// What is known of the prefixes that DNS64 synthesises under.
#[derive(Debug)]
pub(crate) struct PrefixHealth {
    policy: PolicyHandle,
    prefixes: Mutex<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    prefix: Pref64,
    /// Whether the operator wants no new sessions.
    is_drained: bool,
    found: PrefixState,
    /// Why it is not up.
    reason: Option<&'static str>,
}

impl Known {
    const fn state(&self) -> PrefixState {
        match (self.found, self.is_drained) {
            (PrefixState::Up, true) => PrefixState::Draining,
            (found, _) => found,
        }
    }

    fn status(&self) -> PrefixStatus {
        let drained = self.is_drained.then_some("drained by the operator");
        PrefixStatus {
            prefix: self.prefix.to_string(),
            state: self.state(),
            reason: self.reason.or(drained).map(str::to_owned),
        }
    }
}

impl PrefixHealth {
    /// All of them up.
    pub(crate) fn new(prefixes: &[Pref64], policy: PolicyHandle) -> Self {
        let up = |&prefix: &Pref64| Known { prefix, is_drained: false, found: PrefixState::Up, reason: None };
        Self { policy, prefixes: Mutex::new(prefixes.iter().map(up).collect()) }
    }

    /// Makes these the prefixes. What is known of those that stay, stays; others are up, unless all were drained.
    pub(crate) fn replace(&self, prefixes: &[Pref64]) {
        let mut known = self.prefixes();
        let is_drained = !known.is_empty() && known.iter().all(|known| known.is_drained);
        let entry = |&prefix: &Pref64| match known.iter().find(|known| known.prefix == prefix) {
            Some(Known { is_drained, found, reason, .. }) => {
                Known { prefix, is_drained: *is_drained, found: *found, reason: *reason }
            }
            None => Known { prefix, is_drained, found: PrefixState::Up, reason: None },
        };
        let entries: Vec<Known> = prefixes.iter().map(entry).collect();
        entries.iter().for_each(|known| self.policy.set_prefix_state(known.prefix, known.state()));
        *known = entries;
    }

    /// Notes what was found of the translator of `prefix`, and why it is not up.
    pub(crate) fn found(&self, prefix: Pref64, state: PrefixState, reason: Option<&'static str>) {
        self.change(
            |known| known.prefix == prefix,
            |known| {
                known.found = state;
                known.reason = reason;
            },
        );
    }

    /// Notes that the operator wants new sessions under `prefix`, or all prefixes, or that they do not; returns whether
    /// there is such a prefix.
    pub(crate) fn drain(&self, prefix: Option<Pref64>, is_drained: bool) -> bool {
        let is_meant = |known: &Known| prefix.is_none_or(|prefix| prefix == known.prefix);
        self.change(is_meant, |known| known.is_drained = is_drained)
    }

    /// What is known.
    pub(crate) fn status(&self) -> Vec<PrefixStatus> {
        self.prefixes().iter().map(Known::status).collect()
    }

    fn change(&self, is_meant: impl Fn(&Known) -> bool, change: impl Fn(&mut Known)) -> bool {
        let mut any = false;
        for known in self.prefixes().iter_mut().filter(|known| is_meant(known)) {
            change(known);
            self.policy.set_prefix_state(known.prefix, known.state());
            any = true;
        }
        any
    }

    fn prefixes(&self) -> MutexGuard<'_, Vec<Known>> {
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
