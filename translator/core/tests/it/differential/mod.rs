//! The implementation against the model: the same random packets, times and policies, and every answer compared.

mod policies;
mod scripts;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use nat64_core::event::EventKind;
use nat64_core::policy::UdpZeroChecksum;
use nat64_core::{DropReason, Event, LinkMtus, Policy, Timestamp};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use self::scripts::{Entropy, Step};
use crate::model::expected::Expected;
use crate::model::{Made, Model, Note, SessionKey};
use crate::support::check::{is_fragment, is_sound, is_without_checksum};
use crate::support::{Lab, Sent};

/// Both, side by side.
struct Pair {
    lab: Lab,
    model: Model,
    drops: BTreeMap<&'static str, u64>,
    /// Packets that came out lately.
    history: Vec<Vec<u8>>,
}

impl Pair {
    fn new(policy: Policy, links: LinkMtus) -> Self {
        let mut pair = Self {
            lab: Lab::new(policy.clone()),
            model: Model::new(policy),
            drops: BTreeMap::new(),
            history: Vec::new(),
        };
        pair.lab.translator.set_link_mtus(links);
        pair.model.links = links;
        let events = pair.lab.events();
        pair.compare_state(&events);
        pair
    }

    fn send(&mut self, bytes: &[u8]) {
        let outcome = self.lab.send(bytes);
        let events = self.lab.events();
        let (verdict, made) = self.model.packet(bytes, events.clone());
        assert_eq!(outcome.verdict, verdict, "verdict on {bytes:02x?}\n{outcome:02x?}\n{made:02x?}");
        compare_packet(outcome.packet.as_ref(), made.packet.as_ref());
        assert_eq!(outcome.spilled.len(), made.spilled.len(), "{:02x?}\n{:02x?}", outcome.spilled, made.spilled);
        for (sent, expected) in outcome.spilled.iter().zip(&made.spilled) {
            compare_packet(Some(sent), Some(expected));
        }
        let sound = is_sound(bytes).is_ok() && !is_fragment(bytes);
        let forwards = self.model.policy.header.udp_zero_checksum == UdpZeroChecksum::Forward;
        for sent in outcome.packet.iter().chain(&outcome.spilled).filter(|_| sound) {
            if forwards && is_without_checksum(&sent.bytes) {
                continue;
            }
            is_sound(&sent.bytes).unwrap_or_else(|error| panic!("{error}\nfrom {bytes:02x?}"));
        }
        self.count_drops(&made.drops);
        self.compare_state(&events);
        self.history.extend(outcome.packets());
        let old = self.history.len().saturating_sub(16);
        self.history.drain(..old);
    }

    /// Lets time pass, from deadline to deadline.
    fn pass(&mut self, millis: u64) {
        let end = Timestamp::from_millis(self.lab.now.as_millis() + millis);
        loop {
            let due = self.model.next_deadline().map(|at| Timestamp::from_millis(at.as_millis() + 150));
            let mut to = due.filter(|at| *at < end).unwrap_or(end).max(self.lab.now);
            while self.model.is_ambiguous(to) {
                to = Timestamp::from_millis(to.as_millis() + 50);
            }
            self.expire(to);
            if to >= end {
                break;
            }
        }
    }

    fn expire(&mut self, to: Timestamp) {
        let sent = self.lab.expire_at(to);
        let events = self.lab.events();
        let Made { mut spilled, drops, .. } = self.model.advance(to);
        for sent in &sent {
            let place = spilled.iter().position(|expected| expected.is(&sent.bytes));
            spilled.remove(place.unwrap_or_else(|| panic!("{sent:02x?}\nis none of {spilled:02x?}")));
            is_sound(&sent.bytes).unwrap();
        }
        assert_eq!(spilled, [], "timers sent {sent:02x?}");
        self.count_drops(&drops);
        self.compare_state(&events);
    }

    fn count_drops(&mut self, drops: &[DropReason]) {
        for reason in drops {
            *self.drops.entry(reason.name()).or_default() += 1;
        }
        for reason in DropReason::ALL {
            let expected = self.drops.get(reason.name()).copied().unwrap_or_default();
            assert_eq!(self.lab.worker.counters.dropped(*reason), expected, "counter {}", reason.name());
        }
    }

    fn compare_state(&mut self, events: &[Event]) {
        let mut expected: Vec<Note> = std::mem::take(&mut self.model.state.notes);
        for event in events {
            let Event { kind, protocol, internal, external, remote, .. } = *event;
            if kind == EventKind::Refused(DropReason::ZeroUdpChecksum) {
                // Reported now and then only; the drop itself is compared.
                continue;
            }
            let note = (kind, protocol, internal, external, remote);
            let place = expected.iter().position(|expected| *expected == note);
            expected.remove(place.unwrap_or_else(|| panic!("event {note:?} is none of {expected:?}")));
        }
        assert_eq!(expected, [], "missing events; there were {events:?}");
        self.compare_sessions();
        self.compare_mappings();
    }

    fn compare_sessions(&self) {
        let mut expected = self.model.state.sessions.clone();
        for info in self.lab.sessions() {
            let key = (info.protocol, info.internal, info.remote);
            let session = expected.remove(&key).unwrap_or_else(|| panic!("{info:?} is not in {expected:?}"));
            let mapping = self.model.state.mapping_towards(info.protocol, info.internal, info.remote);
            assert_eq!(info.external, self.model.state.mappings[&mapping.unwrap()].external);
            assert_eq!(info.remote6, self.model.policy.prefixes[session.prefix].embed(info.remote.0));
            assert_eq!(
                (info.state, info.outbound, info.inbound),
                (session.state.name(), session.outbound, session.inbound)
            );
            let left = session.deadline.since(self.lab.now);
            let late = info.expires_in.checked_sub(left).unwrap_or_else(|| panic!("{info:?} ends before {left:?}"));
            assert!(late.as_millis() <= 200, "{info:?} ends after {left:?}");
        }
        assert!(expected.is_empty(), "missing sessions: {expected:?}");
    }

    fn compare_mappings(&self) {
        let state = &self.model.state;
        let mut expected: Vec<_> = state.mappings.iter().collect();
        for info in self.lab.mappings() {
            let place = expected.iter().position(|(key, mapping)| {
                let served = |(p, i, r): &&SessionKey| state.mapping_towards(*p, *i, *r) == Some(**key);
                (key.0, key.1, mapping.external) == (info.protocol, info.internal, info.external)
                    && mapping.fixed == info.fixed
                    && state.sessions.keys().filter(served).count() == info.sessions as usize
            });
            expected.remove(place.unwrap_or_else(|| panic!("{info:?} is none of {expected:?}")));
        }
        assert!(expected.is_empty(), "missing mappings: {expected:?}");
    }
}

fn compare_packet(sent: Option<&Sent>, expected: Option<&Expected>) {
    let same = match (sent, expected) {
        (Some(sent), Some(expected)) => expected.is(&sent.bytes),
        (None, None) => true,
        _ => false,
    };
    assert!(same, "sent     {sent:02x?}\nexpected {expected:02x?}");
}

/// What the entropy means: a policy, then packets and pauses. Returns what the translator has done, by name.
fn run(entropy: &[u8]) -> BTreeSet<&'static str> {
    let mut entropy = Entropy::new(entropy);
    let policy = policies::policy(&mut entropy);
    let mut pair = Pair::new(policy, policies::links(&mut entropy));
    while !entropy.is_empty() {
        match scripts::step(&mut entropy, &pair.model, &pair.history) {
            Step::Wait(millis) => pair.pass(millis),
            Step::Packets(packets) => packets.iter().for_each(|packet| {
                pair.send(packet);
            }),
        }
        // No packet arrives in the tenth of a second in which a timer may or may not have run out.
        pair.pass(0);
    }
    let counters = &pair.lab.worker.counters;
    let dropped = DropReason::ALL.iter().filter(|reason| counters.dropped(**reason) > 0).map(|reason| reason.name());
    let done = [("hairpinned", counters.hairpinned()), ("held", counters.held()), ("refused", counters.refused())];
    dropped.chain(done.into_iter().filter(|(_, count)| *count > 0).map(|(name, _)| name)).collect()
}

#[test]
fn the_translator_does_what_the_model_does() {
    let cases = std::env::var("NAT64_MODEL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let done = RefCell::new(BTreeSet::new());
    let result = runner.run(&vec(any::<u8>(), 50..1500), |entropy| {
        done.borrow_mut().extend(run(&entropy));
        Ok(())
    });
    result.unwrap();
    // What random packets do not come to is for other tests: the bounds of fragments, stored SYNs and errors, packets
    // that are too long for IPv4, and a policy that drains.
    let rare = [
        DropReason::TooBig,
        DropReason::StoredSynLimit,
        DropReason::FragmentLimit,
        DropReason::ErrorRateLimit,
        DropReason::Draining,
    ];
    let done = done.into_inner();
    let missing: Vec<_> = DropReason::ALL
        .iter()
        .filter(|reason| !rare.contains(reason))
        .map(|reason| reason.name())
        .chain(["hairpinned", "held", "refused"])
        .filter(|name| !done.contains(name))
        .collect();
    assert!(missing.is_empty(), "never came to {missing:?}");
}
