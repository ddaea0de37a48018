//! What would become of a packet, without anything happening.
//!
//! The packet goes through a translator that is made for it alone: one with the same policy, to which everything is copied that the
//! packet could meet: the mappings and sessions of its ends, its subscriber, the use of the pool addresses that it may have.
//! So there is one description of what is done with packets, and none of what would be. What is not copied are fragments and
//! SYNs that wait, and the budget of errors.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;
use pref64::Pref64;

use crate::deterministic::Share;
use crate::event::Event;
use crate::filter;
use crate::listing::{MappingInfo, SessionInfo};
use crate::packet::{self, HEADROOM, Offload, PacketBuf, Protocol, Upper};
use crate::policy::{Exclusion, PolicyError};
use crate::session::subscriber_prefix;
use crate::terms::Terms;
use crate::time::Timestamp;
use crate::translator::Translator;
use crate::transport::Transport;
use crate::verdict::{Direction, Verdict};
use crate::worker::Worker;

/// What would become of a packet, and by what.
#[derive(Clone, Debug)]
pub struct Preview {
    /// What would be decided.
    pub verdict: Verdict,
    /// The packet that would be written: translated, or the error for its sender.
    pub packet: Option<Vec<u8>>,
    /// Packets that would be written beside it.
    pub others: Vec<Vec<u8>>,
    /// The translation prefix that its destination is under.
    pub prefix: Option<Pref64>,
    /// The exclusion that it meets, with its place in the configuration, from 0.
    pub exclusion: Option<(usize, Exclusion)>,
    /// The subscriber that it counts for.
    pub subscriber: Option<Ipv6Net>,
    /// The mapping that it has now.
    pub mapping: Option<MappingInfo>,
    /// The session that it has now.
    pub session: Option<SessionInfo>,
    /// What would be made, in order. Which port a new mapping has is decided at random.
    pub events: Vec<Event>,
    /// The sources of the pool rule that says which addresses its subscriber may have, if there is one.
    pub pool_rule: Option<Ipv6Net>,
    /// Pool addresses that a new mapping could be on; some of them, if they are many.
    pub candidates: Vec<Ipv4Addr>,
    /// The ports that its subscriber has by arithmetic.
    pub share: Option<Share>,
}

/// Pool addresses whose use is copied, and that are told.
const MOST_CANDIDATES: usize = 256;

/// The ends that a packet, or the packet inside it, has to do with.
#[derive(Clone, Copy, Debug)]
enum End {
    /// A host behind the translator, and whom it sends to.
    Inside(Protocol, (Ipv6Addr, u16), (Ipv4Addr, u16)),
    /// A pool address and port, and who sends to it.
    Outside(Protocol, (Ipv4Addr, u16), (Ipv4Addr, u16)),
}

impl Translator {
    /// What would become of a packet that comes now, without anything happening. Allocates, and may take milliseconds; not for
    /// the packet path. Of fragments it says what it would of the only one of their datagram.
    ///
    /// # Errors
    /// None but what [`Translator::new`] has, of a policy that is in force.
    pub fn preview(&self, now: Timestamp, bytes: &[u8]) -> Result<Preview, PolicyError> {
        let terms = self.terms();
        let double = Self::new(terms.policy.clone(), self.flow_seed)?;
        double.set_link_mtus(self.link_mtus());
        let ends = ends(&terms, bytes);
        let known: Vec<_> = ends.iter().map(|end| self.copy(&terms, &double, now, end)).collect();
        double.totals.copy(&self.totals);
        let host = known.iter().find_map(|(mapping, _)| Some(mapping.as_ref()?.internal.0));
        let source = source(&terms, bytes).or(host);
        let candidates = source.map_or(&[][..], |source| terms.allocation.addresses(source));
        let candidates: Vec<Ipv4Addr> =
            candidates.iter().take(MOST_CANDIDATES).map(|index| terms.pool.address(*index)).collect();
        if let Some(source) = source {
            self.copy_subscriber(&terms, &double, source, &candidates);
        }
        let (mapping, session) = known.first().copied().unwrap_or_default();
        let mut preview = double.run(now, bytes);
        preview.prefix =
            destination6(bytes).and_then(|to| terms.prefixes.extract(to)).map(|(n, _)| terms.prefixes.at(n));
        preview.exclusion = ends.first().and_then(|end| exclusion(&terms, end));
        preview.subscriber = source.and_then(|source| subscriber(&terms, source));
        preview.pool_rule = source.and_then(|source| terms.allocation.rule(source));
        preview.share = source.and_then(|source| terms.allocation.deterministic.as_ref()?.share_of(source));
        Ok(Preview { mapping, session, candidates, ..preview })
    }

    /// Copies what `double` is to know of an end; returns it.
    fn copy(
        &self,
        terms: &Terms,
        double: &Self,
        now: Timestamp,
        end: &End,
    ) -> (Option<MappingInfo>, Option<SessionInfo>) {
        let found = match *end {
            End::Inside(protocol, host, remote) => {
                self.shard_of(host.0).found_from_inside(terms, now, protocol, host, remote)
            }
            End::Outside(protocol, external, remote) => terms.pool.index_of(external.0).and_then(|address| {
                let place = crate::session::External { address, port: external.1 };
                let (shard, mapping) = self.owner_of(&terms.pool, protocol, place, remote)?;
                shard.found_from_outside(terms, now, (mapping, protocol, place), remote)
            }),
        };
        let Some(found) = found else { return (None, None) };
        double.place(now, &found.saved, found.session.is_some());
        (Some(found.mapping), found.session)
    }

    /// Copies a subscriber and the use of the addresses that it may have.
    fn copy_subscriber(&self, terms: &Terms, double: &Self, source: Ipv6Addr, candidates: &[Ipv4Addr]) {
        let prefix = subscriber_prefix(terms.policy.subscriber_length, source);
        let theirs = double.terms();
        theirs.pool.copy_use(&terms.pool, candidates);
        // One lock after the other: the two shards belong to different translators.
        let (subscriber, blocks) = self.shard_of(source).subscriber_to_copy(terms, prefix);
        double.shard_of(source).adopt_subscriber(&theirs, prefix, subscriber, &blocks);
    }

    fn run(&self, now: Timestamp, bytes: &[u8]) -> Preview {
        let mut worker = Worker::new();
        let mut storage = vec![0; HEADROOM + bytes.len() + HEADROOM];
        storage[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        let mut packet = PacketBuf::new(&mut storage, HEADROOM, bytes.len(), Offload::default());
        let verdict = self.batch(now, &mut worker).translate(&mut packet);
        let written = match verdict {
            Verdict::Translated(_) | Verdict::Hairpinned | Verdict::Refused(_) => Some(packet.bytes().to_vec()),
            Verdict::Held | Verdict::Dropped(_) => None,
        };
        let mut others = Vec::new();
        worker.spill.drain(|bytes, _| others.push(bytes.to_vec()));
        Preview {
            verdict,
            packet: written,
            others,
            prefix: None,
            exclusion: None,
            subscriber: None,
            mapping: None,
            session: None,
            events: worker.events.drain().collect(),
            pool_rule: None,
            candidates: Vec::new(),
            share: None,
        }
    }
}

/// The ends of a packet, its own first.
fn ends(terms: &Terms, bytes: &[u8]) -> Vec<End> {
    match bytes.first().map(|byte| byte >> 4) {
        Some(6) => ends6(terms, bytes).unwrap_or_default(),
        Some(4) => ends4(terms, bytes).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn ends6(terms: &Terms, bytes: &[u8]) -> Option<Vec<End>> {
    let parsed = packet::parse_v6(bytes).ok()?;
    let (_, remote) = terms.prefixes.extract(parsed.destination)?;
    if let Upper::IcmpError { .. } = parsed.upper {
        let inside = packet::parse_embedded_v6(packet::original_datagram(bytes, &parsed)).ok()?;
        let transport = Transport::inside_error(inside.upper, Direction::FourToSix).ok()?;
        let (_, sender) = terms.prefixes.extract(inside.source)?;
        let (host, far) = ((inside.destination, transport.near), (sender, transport.far));
        return Some(vec![End::Inside(transport.protocol, host, far)]);
    }
    let transport = Transport::of(parsed.upper, Direction::SixToFour).ok()?;
    let far = (remote, transport.far);
    let mut ends = vec![End::Inside(transport.protocol, (parsed.source, transport.near), far)];
    if terms.pool.index_of(remote).is_some() {
        // It will be turned round; from which address and port, only its own mapping knows.
        ends.push(End::Outside(transport.protocol, far, (Ipv4Addr::UNSPECIFIED, 0)));
    }
    Some(ends)
}

fn ends4(terms: &Terms, bytes: &[u8]) -> Option<Vec<End>> {
    let parsed = packet::parse_v4(bytes).ok()?;
    terms.pool.index_of(parsed.destination)?;
    if let Upper::IcmpError { .. } = parsed.upper {
        let inside = packet::parse_embedded_v4(packet::original_datagram(bytes, &parsed)).ok()?;
        let transport = Transport::inside_error(inside.upper, Direction::SixToFour).ok()?;
        let (external, far) = ((inside.source, transport.near), (inside.destination, transport.far));
        return Some(vec![End::Outside(transport.protocol, external, far)]);
    }
    let transport = Transport::of(parsed.upper, Direction::FourToSix).ok()?;
    let external = (parsed.destination, transport.near);
    Some(vec![End::Outside(transport.protocol, external, (parsed.source, transport.far))])
}

/// Who behind the translator sends a packet.
fn source(terms: &Terms, bytes: &[u8]) -> Option<Ipv6Addr> {
    let parsed = packet::parse_v6(bytes).ok()?;
    terms.prefixes.extract(parsed.destination).map(|_| parsed.source)
}

fn destination6(bytes: &[u8]) -> Option<Ipv6Addr> {
    packet::parse_v6(bytes).ok().map(|parsed| parsed.destination)
}

fn subscriber(terms: &Terms, source: Ipv6Addr) -> Option<Ipv6Net> {
    Ipv6Net::new(source, terms.policy.subscriber_length).ok().map(|net| net.trunc())
}

fn exclusion(terms: &Terms, end: &End) -> Option<(usize, Exclusion)> {
    let End::Inside(protocol, host, remote) = *end else { return None };
    filter::exclusion(&terms.policy, host.0, remote, protocol).map(|(place, rule)| (place, *rule))
}

#[cfg(test)]
mod tests;
