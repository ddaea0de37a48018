//! Which pool ports a subscriber may have (RFC 4787 REQ-1 to REQ-4, RFC 6146 §3.5.1.1 and §3.5.2.3, RFC 6888 REQ-2 and
//! REQ-8, RFC 7422), and whether the implementation chose among them.

use std::net::{Ipv4Addr, Ipv6Addr};

use nat64_core::event::EventKind;
use nat64_core::policy::{MappingBehavior, Pooling, PortAssignment, PortBlocks};
use nat64_core::{DropReason, Policy, Protocol};

use super::state::{End4, RestingKey, SessionKey, State, subscriber};

impl State {
    /// The port that the implementation has chosen for a new mapping, checked; or why there is none.
    pub(super) fn check_choice(
        &mut self,
        policy: &Policy,
        key: SessionKey,
        learned: Option<End4>,
    ) -> Result<End4, DropReason> {
        let (protocol, (host, like), _) = key;
        let usable = self.usable(policy, key)?;
        let Some(chosen) = learned else {
            assert!(usable.is_empty(), "nothing was chosen for {key:?} from {usable:?}");
            return Err(DropReason::PoolExhausted);
        };
        assert!(usable.contains(&chosen), "{chosen:?} must not be chosen for {key:?}");
        let block = block_of(policy, chosen);
        let paired = self.paired_address(policy, host);
        let on_paired = usable.iter().any(|end| Some(end.0) == paired);
        assert!(paired == Some(chosen.0) || !on_paired, "{chosen:?} is not on the subscriber's own {paired:?}");
        let among = || usable.iter().filter(|end| end.0 == chosen.0 && block_of(policy, **end) == block);
        let same_class = |port: u16| protocol == Protocol::Icmp || (port < 1024) == (like < 1024);
        let same_parity = |port: u16| protocol != Protocol::Udp || port % 2 == like % 2;
        if !same_class(chosen.1) {
            assert!(!among().any(|end| same_class(end.1)), "{chosen:?} is of another class than {key:?}");
        } else if !same_parity(chosen.1) {
            let better = among().any(|end| same_class(end.1) && same_parity(end.1));
            assert!(!better, "{chosen:?} has another parity than {key:?}");
        }
        self.note_block(policy, host, chosen);
        Ok(chosen)
    }

    /// Gives blocks back that have no port in use or resting.
    pub(super) fn release_blocks(&mut self, policy: &Policy) {
        let PortAssignment::Blocks(blocks) = policy.port_assignment else { return };
        let used: Vec<_> =
            self.mappings.values().filter(|mapping| !mapping.fixed).map(|mapping| mapping.external).collect();
        let used: Vec<_> = used.into_iter().chain(self.resting.keys().map(|(_, end, _)| *end)).collect();
        let idle = |block: &End4| !used.iter().any(|end| block_of(policy, *end) == Some(*block));
        let released: Vec<_> = self.blocks.iter().filter(|(block, _)| idle(block)).map(|(b, of)| (*b, *of)).collect();
        for (block, of) in released {
            self.blocks.remove(&block);
            let (first, last_port) = ours_of_block(policy, blocks, block);
            let kind = EventKind::BlockReleased { last_port };
            self.notes.push((kind, Protocol::Tcp, (prefix_address(policy, of), 0), (block.0, first), None));
        }
    }

    fn note_block(&mut self, policy: &Policy, host: Ipv6Addr, chosen: End4) {
        let PortAssignment::Blocks(blocks) = policy.port_assignment else { return };
        let block = block_of(policy, chosen).unwrap();
        let of = subscriber(policy, host);
        if self.blocks.insert(block, of).is_none() {
            let (first, last_port) = ours_of_block(policy, blocks, block);
            let kind = EventKind::BlockAllocated { last_port };
            self.notes.push((kind, Protocol::Tcp, (prefix_address(policy, of), 0), (block.0, first), None));
        }
    }

    /// Every pool end that a new mapping may have.
    fn usable(&self, policy: &Policy, (protocol, (host, _), remote): SessionKey) -> Result<Vec<End4>, DropReason> {
        let mut ends: Vec<End4> = pool_ends(policy).collect();
        if let PortAssignment::Deterministic(sources) = policy.port_assignment {
            if !sources.contains(&host) {
                return Err(DropReason::AdministrativelyProhibited);
            }
            ends.retain(|end| deterministic(policy, sources, *end) == Some(subscriber(policy, host)));
        } else {
            let allowed = addresses(policy, host);
            ends.retain(|end| allowed.contains(&end.0));
            let paired = self.paired_address(policy, host).filter(|paired| allowed.contains(paired));
            if let (Some(paired), Pooling::Paired) = (paired, policy.pooling) {
                ends.retain(|end| end.0 == paired);
            }
        }
        let shared = policy.mapping == MappingBehavior::AddressAndPortDependent;
        let rests = |key: &RestingKey| key.0 == protocol && (!shared || key.2.is_none_or(|scope| scope == remote));
        let taken: Vec<End4> = self
            .mappings
            .iter()
            .filter(|(key, _)| key.0 == protocol && (!shared || key.2.is_none_or(|scope| scope == remote)))
            .map(|(_, mapping)| mapping.external)
            .chain(self.resting.keys().filter(|key| rests(key)).map(|(_, end, _)| *end))
            .collect();
        ends.retain(|end| !taken.contains(end));
        if let PortAssignment::Blocks(blocks) = policy.port_assignment {
            self.retain_own_blocks(policy, blocks, host, &mut ends);
        }
        Ok(ends)
    }

    /// Leaves free ends in the subscriber's blocks; where there are none, those in blocks that it may get, of which whole
    /// ones come first.
    fn retain_own_blocks(&self, policy: &Policy, blocks: PortBlocks, host: Ipv6Addr, ends: &mut Vec<End4>) {
        let of = subscriber(policy, host);
        let owner = |end: &End4| self.blocks.get(&block_of(policy, *end).unwrap()).copied();
        let held = self.blocks.values().filter(|owner| **owner == of).count();
        let paired = self.paired_address(policy, host);
        let own = |end: &End4| owner(end) == Some(of);
        // With soft pooling, ends of other addresses come when the paired one has none.
        let near = |end: &End4| paired.is_none_or(|paired| paired == end.0);
        if held >= usize::from(blocks.per_subscriber) || ends.iter().any(|end| own(end) && near(end)) {
            ends.retain(own);
            return;
        }
        ends.retain(|end| owner(end).is_none_or(|owner| owner == of));
        let whole = |end: &End4| {
            let (first, last) = ours_of_block(policy, blocks, block_of(policy, *end).unwrap());
            last - first == blocks.size - 1 && (first..=last).all(|port| is_ours(policy, (end.0, port)))
        };
        let with_whole: Vec<Ipv4Addr> =
            ends.iter().filter(|end| owner(end).is_none() && whole(end)).map(|end| end.0).collect();
        ends.retain(|end| own(end) || whole(end) || !with_whole.contains(&end.0));
    }

    fn paired_address(&self, policy: &Policy, host: Ipv6Addr) -> Option<Ipv4Addr> {
        let of = subscriber(policy, host);
        let block = || self.blocks.iter().find(|(_, owner)| **owner == of).map(|(block, _)| block.0);
        self.paired.get(&of).copied().or_else(block)
    }
}

fn pool_ends(policy: &Policy) -> impl Iterator<Item = End4> + '_ {
    policy.pool.iter().flat_map(|range| {
        let addresses = (range.first.to_bits()..=range.last.to_bits()).map(Ipv4Addr::from_bits);
        addresses.flat_map(|address| (range.first_port..=range.last_port).map(move |port| (address, port)))
    })
}

/// The pool addresses that a source may use: those of the most specific rules for it, or those without a rule.
fn addresses(policy: &Policy, host: Ipv6Addr) -> Vec<Ipv4Addr> {
    let rules = || policy.pool_rules.iter();
    let best = rules().filter(|rule| rule.sources.contains(&host)).map(|rule| rule.sources.prefix_len()).max();
    let named = |address: Ipv4Addr| rules().any(|rule| (rule.first..=rule.last).contains(&address));
    let mine = |address: Ipv4Addr| {
        let counts = |length| {
            rules().any(|rule| {
                rule.sources.contains(&host)
                    && rule.sources.prefix_len() == length
                    && (rule.first..=rule.last).contains(&address)
            })
        };
        best.map_or_else(|| !named(address), counts)
    };
    let all = policy.pool.iter().flat_map(|range| range.first.to_bits()..=range.last.to_bits());
    all.map(Ipv4Addr::from_bits).filter(|address| mine(*address)).collect()
}

/// The block that a pool end is in, by its first port.
fn block_of(policy: &Policy, end: End4) -> Option<End4> {
    let PortAssignment::Blocks(blocks) = policy.port_assignment else { return None };
    Some((end.0, end.1 / blocks.size * blocks.size))
}

fn is_ours(policy: &Policy, (address, port): End4) -> bool {
    policy.pool.iter().any(|range| range.has_port(address, port))
}

/// The first and the last port of a block that are in the pool.
fn ours_of_block(policy: &Policy, blocks: PortBlocks, (address, first): End4) -> (u16, u16) {
    let ours = || (first..=first + (blocks.size - 1)).filter(|port| is_ours(policy, (address, *port)));
    (ours().next().unwrap(), ours().next_back().unwrap())
}

fn prefix_address(policy: &Policy, subscriber: u128) -> Ipv6Addr {
    Ipv6Addr::from_bits(subscriber << (128 - u32::from(policy.subscriber_length)))
}

/// The subscriber that has a pool end by arithmetic (RFC 7422): the addresses, ascending, take equally many subscribers
/// each, who have equally many ports each.
fn deterministic(policy: &Policy, sources: ipnet::Ipv6Net, end: End4) -> Option<u128> {
    let mut ranges = policy.pool.clone();
    ranges.sort_by_key(|range| range.first);
    let addresses: u128 = ranges.iter().map(|range| u128::from(range.addresses())).sum();
    let narrowest = ranges.iter().map(|range| u128::from(range.last_port - range.first_port) + 1).min()?;
    let subscribers = 1_u128 << (policy.subscriber_length - sources.prefix_len());
    let on_each = subscribers.div_ceil(addresses);
    let ports = narrowest / on_each;
    let mut before = 0;
    for range in ranges {
        if range.has_port(end.0, end.1) {
            let address = before + u128::from(end.0.to_bits() - range.first.to_bits());
            let share = u128::from(end.1 - range.first_port) / ports;
            let number = address * on_each + share;
            let base = subscriber(policy, sources.network());
            return (share < on_each && number < subscribers).then_some(base + number);
        }
        before += u128::from(range.addresses());
    }
    None
}
