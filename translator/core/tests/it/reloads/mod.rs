//! Random histories with policies that change: what must hold whatever comes when.

mod workers;

use std::collections::{BTreeSet, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use nat64_core::event::EventKind;
use nat64_core::policy::{
    Draining, Exclusion, MappingBehavior, PoolRange, PoolRule, PortAssignment, PortBlocks, StaticMapping,
};
use nat64_core::{Policy, Protocol, SessionInfo, Verdict};
use pref64::Pref64;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::build::{ACK, Body, Ends, Ip, SYN, packet};
use crate::support::check::{ends_of, ports};
use crate::support::{Lab, SECOND};

const POOL: [Ipv4Addr; 3] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(203, 0, 113, 9)];
const PREFIXES: [&str; 3] = ["2001:db8:64::/96", "2001:db8:65::/96", "64:ff9b:1::/96"];

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Send(Flow),
    /// Somebody outside sends to the mapping of some session.
    Answer {
        session: u16,
        remote: u8,
    },
    Pass(u8),
    Reload {
        plan: Plan,
        /// Whether all that comes of it comes at once.
        at_once: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    host: u8,
    port: u8,
    remote: u8,
    prefix: u8,
    tcp: bool,
}

/// A policy.
#[derive(Clone, Debug)]
struct Plan {
    addresses: u8,
    prefixes: u8,
    narrow: bool,
    statics: u8,
    exclusion: bool,
    rule: bool,
    draining: u8,
    hasty: bool,
    layout: Layout,
}

/// What decides how the tables are laid out, so that it is the same in all policies of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Single,
    Blocks,
    /// A pool port for many destinations, and several hosts as one subscriber.
    Shared,
}

impl Plan {
    fn policy(&self) -> Policy {
        let ports = if self.narrow { (4990, 5010) } else { (1, u16::MAX) };
        let range = |address| PoolRange { first_port: ports.0, last_port: ports.1, ..PoolRange::address(address) };
        let pool = chosen(self.addresses, POOL).map(range).collect();
        let mut policy = Policy::new(chosen(self.prefixes, PREFIXES.map(prefix)).collect(), pool);
        match self.layout {
            Layout::Single => {}
            Layout::Blocks => {
                policy.port_assignment = PortAssignment::Blocks(PortBlocks { size: 16, per_subscriber: 2 });
            }
            Layout::Shared => {
                policy.mapping = MappingBehavior::AddressAndPortDependent;
                policy.subscriber_length = 64;
            }
        }
        if self.layout != Layout::Shared {
            policy.static_mappings = chosen(self.statics, statics()).collect();
        }
        if self.exclusion {
            policy.exclusions =
                vec![Exclusion { protocol: Some(Protocol::Udp), ports: Some((53, 53)), ..Exclusion::default() }];
        }
        if self.rule {
            let sources = "2001:db8:1:1::/64".parse().unwrap();
            policy.pool_rules = vec![PoolRule { sources, first: POOL[1], last: POOL[1] }];
        }
        policy.draining = match self.draining {
            0 => Draining { everything: true, addresses: Vec::new() },
            1 => {
                Draining { everything: false, addresses: policy.pool.iter().take(1).map(|range| range.first).collect() }
            }
            _ => Draining::default(),
        };
        if self.hasty {
            policy.timers.udp = 30 * SECOND;
        }
        policy
    }
}

fn chosen<T, const N: usize>(bits: u8, of: [T; N]) -> impl Iterator<Item = T> {
    of.into_iter().enumerate().filter(move |(place, _)| bits & 1 << place != 0).map(|(_, value)| value)
}

fn prefix(text: &str) -> Pref64 {
    text.parse().unwrap()
}

fn host(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 1, (number % 2).into(), 0, 0, 0, number.into())
}

fn remote(number: u8) -> (Ipv4Addr, u16) {
    (Ipv4Addr::new(198, 51, 100, number + 1), if number == 0 { 53 } else { 80 })
}

fn statics() -> [StaticMapping; 3] {
    let mapping = |protocol, internal, external| StaticMapping { protocol, internal, external };
    [
        mapping(Protocol::Tcp, (host(0), 5000), (POOL[0], 5000)),
        mapping(Protocol::Udp, (host(1), 5001), (POOL[1], 5001)),
        mapping(Protocol::Udp, (host(2), 5000), (POOL[0], 5003)),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let bits = (1..8_u8, 1..8_u8, 0..8_u8);
    (bits, any::<[bool; 4]>(), 0..12_u8).prop_map(|((addresses, prefixes, statics), flags, draining)| {
        let [narrow, exclusion, rule, hasty] = flags;
        Plan { addresses, prefixes, narrow, statics, exclusion, rule, draining, hasty, layout: Layout::Single }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let flow = (0..4_u8, 0..4_u8, 0..3_u8, 0..3_u8, any::<bool>()).prop_map(|(host, port, remote, prefix, tcp)| Flow {
        host,
        port,
        remote,
        prefix,
        tcp,
    });
    prop_oneof![
        8 => flow.prop_map(Step::Send),
        3 => (any::<u16>(), 0..3_u8).prop_map(|(session, remote)| Step::Answer { session, remote }),
        1 => (1..60_u8).prop_map(Step::Pass),
        2 => (plan(), any::<bool>()).prop_map(|(plan, at_once)| Step::Reload { plan, at_once }),
    ]
}

/// What names a session, and how it is translated.
type Known = (Protocol, (Ipv6Addr, u16), (Ipv4Addr, u16), (Ipv4Addr, u16), Ipv6Addr);

fn known(session: &SessionInfo) -> Known {
    (session.protocol, session.internal, session.external, session.remote, session.remote6)
}

/// Whether a policy allows a session, as naively as can be.
fn allows(policy: &Policy, session: &SessionInfo) -> bool {
    let of_protocol = || policy.static_mappings.iter().filter(|mapping| mapping.protocol == session.protocol);
    let is_static = of_protocol().any(|it| (it.internal, it.external) == (session.internal, session.external));
    let is_taken = of_protocol().any(|it| it.internal == session.internal || it.external == session.external);
    let (address, port) = session.external;
    let rules: Vec<_> = policy.pool_rules.iter().filter(|rule| rule.sources.contains(&session.internal.0)).collect();
    let is_named = policy.pool_rules.iter().any(|rule| rule.first == address);
    let is_permitted = if rules.is_empty() { !is_named } else { rules.iter().any(|rule| rule.first == address) };
    let is_in_pool = policy.pool.iter().any(|range| range.has_port(address, port));
    let is_excluded = !policy.exclusions.is_empty() && session.protocol == Protocol::Udp && session.remote.1 == 53;
    let has_prefix = policy.prefixes.iter().any(|prefix| prefix.contains(session.remote6));
    (is_static || (is_in_pool && is_permitted && !is_taken)) && has_prefix && !is_excluded
}

fn body(protocol: Protocol, from: u16, to: u16, flags: u8) -> Body {
    if protocol == Protocol::Tcp { Body::tcp(from, to, flags) } else { Body::udp(from, to, b"payload") }
}

/// A translator whose events are counted.
struct History {
    lab: Lab,
    sessions: i64,
    mappings: i64,
}

impl History {
    fn new(policy: Policy) -> Self {
        let mut history = Self { lab: Lab::new(policy), sessions: 0, mappings: 0 };
        history.count();
        history
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Send(flow) => self.send(*flow),
            Step::Answer { session, remote } => self.answer((*session).into(), *remote),
            Step::Pass(seconds) => drop(self.lab.pass_time(Duration::from_secs((*seconds).into()))),
            Step::Reload { plan, at_once } => self.reload(plan.policy(), *at_once),
        }
        self.count();
        let usage = self.lab.translator.usage();
        let listed = (self.lab.sessions().len(), self.lab.mappings().len());
        let sum = |counts: [u32; 3]| counts.iter().sum::<u32>() as usize;
        assert_eq!(listed, (sum(usage.sessions), sum(usage.mappings)));
        assert_eq!((self.sessions, self.mappings), (sum(usage.sessions) as i64, sum(usage.mappings) as i64), "events");
        if self.lab.translator.is_settled() {
            self.check_mappings();
        }
    }

    fn send(&mut self, Flow { host: number, port, remote: to, prefix: through, tcp }: Flow) {
        let (address, to_port) = remote(to);
        let ends = Ends::new(host(number), prefix(PREFIXES[usize::from(through)]).embed(address));
        let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
        self.lab.send(&packet(ends, &Ip::default(), &body(protocol, 5000 + u16::from(port), to_port, SYN)));
    }

    fn answer(&mut self, session: usize, from: u8) {
        let sessions = self.lab.sessions();
        if sessions.is_empty() {
            return;
        }
        let SessionInfo { external: (to, port), protocol, .. } = sessions[session % sessions.len()];
        let (source, from) = remote(from);
        self.lab.send(&packet(Ends::new(source, to), &Ip::default(), &body(protocol, from, port, ACK)));
    }

    fn reload(&mut self, policy: Policy, at_once: bool) {
        if !at_once {
            // Whether it is one that can be used or not.
            let _ = self.lab.translator.replace(policy);
            return;
        }
        self.settle();
        let before = self.lab.sessions();
        if self.lab.translator.replace(policy.clone()).is_err() {
            assert!(self.lab.translator.is_settled(), "nothing changes");
            assert_eq!(self.lab.sessions(), before);
            return;
        }
        self.settle();
        let expected: BTreeSet<Known> = before.iter().filter(|session| allows(&policy, session)).map(known).collect();
        let after = self.lab.sessions();
        assert_eq!(after.iter().map(known).collect::<BTreeSet<_>>(), expected, "under {policy:#?}");
        after.iter().for_each(|session| self.check_both_ways(session));
        self.check_mappings();
        let statics = self.lab.mappings().iter().filter(|mapping| mapping.fixed).count();
        assert_eq!(statics, policy.static_mappings.len());
    }

    /// Lets all come of the last policy that does, while no time passes.
    fn settle(&mut self) {
        while !self.lab.translator.is_settled() {
            self.lab.expire_at(self.lab.now);
            self.count();
        }
    }

    /// No two mappings have the same end, inside or outside, and each is in the pool with its port.
    fn check_mappings(&self) {
        let mappings = self.lab.mappings();
        let policy = self.lab.translator.policy();
        let mut tuples: Vec<_> = mappings.iter().map(|it| (it.protocol, it.internal, it.external, None)).collect();
        if policy.mapping == MappingBehavior::AddressAndPortDependent {
            tuples =
                self.lab.sessions().iter().map(|it| (it.protocol, it.internal, it.external, Some(it.remote))).collect();
        }
        let distinct = |ends: HashSet<_>| assert_eq!(ends.len(), tuples.len(), "{tuples:#?}");
        distinct(tuples.iter().map(|it| (it.0 as u8, it.1.0.to_bits(), it.1.1, it.3)).collect());
        distinct(tuples.iter().map(|it| (it.0 as u8, u128::from(it.2.0.to_bits()), it.2.1, it.3)).collect());
        for mapping in &mappings {
            let (address, port) = mapping.external;
            assert!(policy.pool.iter().any(|range| range.has_port(address, port)), "{mapping:?} under {policy:#?}");
        }
        let taken: u64 = self.lab.translator.usage().pool_ports_taken.iter().sum();
        let used: HashSet<_> = mappings.iter().map(|it| (it.protocol as u8, it.external)).collect();
        assert!(taken >= used.len() as u64, "{taken} ports are taken");
    }

    /// A session is translated with the same ends in both directions.
    fn check_both_ways(&mut self, session: &SessionInfo) {
        let SessionInfo { protocol, internal, external, remote, remote6, .. } = *session;
        let out = packet(Ends::new(internal.0, remote6), &Ip::default(), &body(protocol, internal.1, remote.1, ACK));
        let out = self.lab.pass(&out);
        assert_eq!((ends_of(&out), ports(&out)), (Ends::new(external.0, remote.0), (external.1, remote.1)));
        let back = packet(Ends::new(remote.0, external.0), &Ip::default(), &body(protocol, remote.1, external.1, ACK));
        let back = self.lab.pass(&back);
        assert_eq!((ends_of(&back), ports(&back)), (Ends::new(remote6, internal.0), (remote.1, internal.1)));
    }

    fn count(&mut self) {
        for event in self.lab.events() {
            match event.kind {
                EventKind::SessionCreated => self.sessions += 1,
                EventKind::SessionEnded { .. } => self.sessions -= 1,
                EventKind::MappingCreated => self.mappings += 1,
                EventKind::MappingRemoved => self.mappings -= 1,
                _ => {}
            }
        }
        assert_eq!(self.lab.worker.events.lost(), 0);
    }
}

fn run(first: &Plan, layout: Layout, steps: Vec<Step>) {
    let plain = Plan { statics: 0, rule: false, layout, ..first.clone() };
    let mut history = History::new(plain.policy());
    for mut step in steps {
        if let Step::Reload { plan, .. } = &mut step {
            plan.layout = layout;
        }
        history.run(&step);
    }
    let last = Plan { addresses: 7, prefixes: 7, draining: 9, ..plain };
    history.lab.translator.replace(last.policy()).unwrap();
    history.settle();
    history.lab.pass_time(Duration::from_secs(3 * 3600));
    let usage = history.lab.translator.usage();
    assert_eq!((usage.sessions, usage.mappings, usage.pool_ports_taken), ([0; 3], [0; 3], [0; 3]), "all has ended");
    let out = history.lab.send(&packet(
        Ends::new(host(3), prefix(PREFIXES[0]).embed(remote(1).0)),
        &Ip::default(),
        &body(Protocol::Udp, 1, 80, 0),
    ));
    assert!(matches!(out.verdict, Verdict::Translated(_)), "{out:?}");
}

#[test]
fn whatever_policies_come_what_they_allow_stays_and_the_rest_ends() {
    let cases = std::env::var("NAT64_RELOAD_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let layouts = prop_oneof![Just(Layout::Single), Just(Layout::Blocks), Just(Layout::Shared)];
    let result = runner.run(&(plan(), layouts, vec(step(), 10..150)), |(first, layout, steps)| {
        run(&first, layout, steps);
        Ok(())
    });
    result.unwrap();
}
