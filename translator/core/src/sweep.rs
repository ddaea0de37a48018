//! From one policy to the next, with the state that there is.
//!
//! New terms count from the next batch on, for new packets and new sessions. What exists and is not allowed under them is
//! ended by the timers, a page at a time, so that no packet waits for it. That begins when no batch is left that works
//! under the terms before, since such a one may still open what the new ones do not allow.
//!
//! Where the new terms have addresses or prefixes that a batch under those before does not know, it could meet sessions
//! that it cannot tell the ends of. So all batches get to know them first, and the new terms come when the last batch that
//! does not has ended, mostly at once.

use std::sync::Arc;

use crate::pass::Pass;
use crate::policy::{MappingBehavior, Policy, PolicyError, StaticMapping};
use crate::session::{External, slot_owner};
use crate::terms::{Settled, Terms};
use crate::translator::{SHARDS, Translator};

/// Why a policy cannot take the place of the one in force, which stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    /// It cannot be used at all.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The tables are laid out by what differs; a new translator is needed.
    #[error("{0} cannot change while there are sessions")]
    Fixed(&'static str),
    /// Too many addresses or prefixes together with those whose sessions have not ended.
    #[error("there are too many pool addresses or prefixes, together with those that sessions still use")]
    TooMany,
}

/// What is left to do after a policy was replaced.
#[derive(Debug)]
pub(crate) struct Sweep {
    /// Terms that batches may still work under.
    unsettled: Vec<Arc<Terms>>,
    /// Terms that are to come when there are none of these.
    next: Option<Arc<Terms>>,
    stage: Stage,
}

/// What a sweep is at.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Static mappings from this one on are made, unless they exist.
    Adopt(usize),
    /// Those that are no more are demoted, from this shard and page of mappings on.
    Demote(usize, u32),
    /// Sessions are looked through from this shard and page on.
    Look(usize, u32),
}

/// Static mappings that are made in one go.
const ADOPTED: usize = 64;
/// Pages that are looked through in one go. Their events fit a worker's buffer.
const PAGES: usize = 2;

impl Policy {
    /// The first key whose values differ although the tables are laid out by it, so that [`Translator::replace`] refuses.
    #[must_use]
    pub fn fixed_difference(&self, other: &Self) -> Option<&'static str> {
        let shared = self.mapping == MappingBehavior::AddressAndPortDependent;
        let differ = [
            ("translator.mapping", self.mapping != other.mapping),
            ("translator.port-assignment", self.port_assignment != other.port_assignment),
            ("translator.subscriber-length", self.subscriber_length != other.subscriber_length),
            ("translator.filtering", self.filtering != other.filtering),
            ("translator.static", shared && self.static_mappings != other.static_mappings),
        ];
        differ.into_iter().find(|(_, differs)| *differs).map(|(key, _)| key)
    }
}

impl Policy {
    /// This policy, with the values of `other` where [`Policy::fixed_difference`] looks.
    #[must_use]
    pub fn with_layout_of(&self, other: &Self) -> Self {
        let shared = other.mapping == MappingBehavior::AddressAndPortDependent;
        Self {
            mapping: other.mapping,
            port_assignment: other.port_assignment,
            subscriber_length: other.subscriber_length,
            filtering: other.filtering,
            static_mappings: if shared { other.static_mappings.clone() } else { self.static_mappings.clone() },
            ..self.clone()
        }
    }
}

impl Translator {
    /// Puts a policy in the place of the one in force, from the next batch on, or, where it has other addresses or prefixes,
    /// as soon as [`Translator::expire`] finds that batches under way have ended. Sessions that it allows go on; the others
    /// are ended by [`Translator::expire`], soon and a few at a time, with [`EndReason::Removed`](crate::event::EndReason).
    /// Lifetimes that have become shorter are cut. Limits count for what is new.
    ///
    /// # Errors
    /// See [`ReplaceError`]; nothing has changed then.
    pub fn replace(&self, policy: Policy) -> Result<(), ReplaceError> {
        policy.check()?;
        // Whoever replaces waits here for another that does.
        let mut sweep = self.sweep.lock();
        let terms = {
            let before = self.terms();
            if let Some(key) = before.policy.fixed_difference(&policy) {
                return Err(ReplaceError::Fixed(key));
            }
            let settled = Settled(sweep.is_none());
            let terms = Terms::new(policy, Some((&before, settled))).ok_or(ReplaceError::TooMany)?;
            (before.aware_of(&terms), Arc::new(terms))
        };
        let unsettled = sweep.take().map(|sweep| sweep.unsettled).unwrap_or_default();
        let sweep = sweep.insert(Sweep { unsettled, next: None, stage: Stage::Adopt(0) });
        match terms {
            (Some(aware), next) => {
                sweep.unsettled.push(self.swap_terms(Arc::new(aware)));
                sweep.next = Some(next);
                sweep.go_on(self);
            }
            (None, terms) => sweep.unsettled.push(self.swap_terms(terms)),
        }
        Ok(())
    }

    /// Whether all that a new policy does not allow has ended, and all its static mappings exist.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.sweep.lock().is_none()
    }
}

impl Sweep {
    /// Terms that are to come.
    pub(crate) fn next(&self) -> Option<&Terms> {
        self.next.as_deref()
    }

    /// Lets the next terms come if they can. Returns whether no batch works under others than those in force.
    fn go_on(&mut self, translator: &Translator) -> bool {
        self.unsettled.retain(|terms| Arc::strong_count(terms) > 1);
        if self.unsettled.is_empty()
            && let Some(next) = self.next.take()
        {
            self.unsettled.push(translator.swap_terms(next));
        }
        self.unsettled.is_empty()
    }
}

/// Does a bounded part of what is left to do after a policy was replaced. Returns whether there is more.
pub(crate) fn sweep(pass: &mut Pass<'_>) -> bool {
    let translator = pass.translator;
    // Who replaces the policy is quick; what is left is done the next time.
    let Some(mut state) = translator.sweep.try_lock() else { return false };
    let Some(sweep) = state.as_mut() else { return false };
    if !sweep.go_on(translator) {
        return false;
    }
    let next = sweep.stage.step(pass);
    match next {
        Some(stage) => sweep.stage = stage,
        None => *state = None,
    }
    next.is_some()
}

impl Stage {
    /// Does a part and returns what is next.
    fn step(self, pass: &mut Pass<'_>) -> Option<Self> {
        match self {
            Self::Adopt(from) => {
                let statics = &pass.terms.policy.static_mappings;
                let to = (from + ADOPTED).min(statics.len());
                statics[from..to].iter().for_each(|mapping| adopt(pass, mapping));
                Some(if to < statics.len() { Self::Adopt(to) } else { Self::Demote(0, 0) })
            }
            Self::Demote(shard, page) => {
                let next = walk(shard, page, |shard, page| {
                    let translator = pass.translator;
                    translator.shard(shard).demote_statics(&mut pass.context(), page)
                });
                Some(next.map_or(Self::Look(0, 0), |(shard, page)| Self::Demote(shard, page)))
            }
            Self::Look(shard, page) => {
                let next = walk(shard, page, |shard, page| {
                    let translator = pass.translator;
                    translator.shard(shard).end_disallowed(&mut pass.context(), page)
                });
                next.map(|(shard, page)| Self::Look(shard, page))
            }
        }
    }
}

/// Visits a few pages, from one of a shard on. `visit` says whether the shard has more. Returns the place of the next.
fn walk(mut shard: usize, mut page: u32, mut visit: impl FnMut(usize, u32) -> bool) -> Option<(usize, u32)> {
    for _ in 0..PAGES {
        if shard == SHARDS {
            return None;
        }
        (shard, page) = if visit(shard, page) { (shard, page + 1) } else { (shard + 1, 0) };
    }
    (shard < SHARDS).then_some((shard, page))
}

/// Makes a static mapping, unless it exists. What has its host's or its pool's end until now loses it.
pub(crate) fn adopt(pass: &mut Pass<'_>, mapping: &StaticMapping) {
    let StaticMapping { protocol, internal, external } = *mapping;
    let Some(address) = pass.terms.pool.index_of(external.0) else { return };
    let external = External { address, port: external.1 };
    let translator = pass.translator;
    if let Some((shard, index)) = slot_owner(pass.terms.pool.slot(protocol, external)) {
        translator.shard(shard as usize).oust_from(index, protocol, internal, external);
    }
    translator.shard_of(internal.0).adopt_static(&mut pass.context(), protocol, internal, external);
}

#[cfg(test)]
mod tests;
