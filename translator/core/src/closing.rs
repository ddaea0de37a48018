//! Ending sessions before their time, by the operator's choice, and telling both ends of TCP connections.

mod recent;

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::listing::{SessionInfo, describe_session};
use crate::packet::{self, HEADROOM, Offload, PacketBuf, Upper};
use crate::pass::Pass;
use crate::rewrite::{self, Endpoints};
use crate::session::{Mapping, Reset, Session};
use crate::time::Timestamp;
use crate::translator::Translator;
use crate::verdict::{Direction, DropReason};
use crate::worker::Worker;

pub(crate) use recent::RecentlyReset;

/// Takes a packet that is to be written to the device.
pub type Tell<'t> = &'t mut dyn FnMut(&[u8]);

/// What came of ending sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Sessions that were ended.
    pub sessions: u64,
    /// What their ends were told, if they were to be told.
    pub resets: Resets,
}

/// Sessions that were ended, by whom a reset was sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resets {
    /// To both ends.
    pub both: u64,
    /// To one end, since the other has not said yet which sequence number it expects.
    pub one: u64,
    /// To none, since neither has said that.
    pub unknown: u64,
    /// To none, since the session is not TCP.
    pub not_tcp: u64,
}

impl Ended {
    /// Adds what came of other sessions.
    pub const fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.resets.both += other.resets.both;
        self.resets.one += other.resets.one;
        self.resets.unknown += other.resets.unknown;
        self.resets.not_tcp += other.resets.not_tcp;
    }
}

impl Translator {
    /// Ends the sessions of a shard that `wanted` says yes to, of one page of some hundreds under one lock, with
    /// [`EndReason::Closed`](crate::event::EndReason). Their mappings go with the last of them; a host that sends on opens
    /// another. The events are in `worker` and are to be drained after each page. Returns what has ended, and the next
    /// page if there is one. `wanted` must not call the translator.
    ///
    /// If there is a `tell`, it is given a TCP reset for each end of each connection that has said which sequence number it
    /// expects, to be written to the device: no more than two for each session. An end that data is on the way to may expect
    /// another by then. It acknowledges that data, or asks back (RFC 5961 §3.2); what it sends is answered by a reset with
    /// the right number, for half a minute.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn end_sessions(
        &self,
        (shard, page): (usize, u32),
        now: Timestamp,
        worker: &mut Worker,
        wanted: &mut dyn FnMut(&SessionInfo) -> bool,
        tell: Option<Tell<'_>>,
    ) -> (Ended, Option<u32>) {
        let mut batch = self.batch(now, worker);
        let mut pass = batch.pass();
        let terms = pass.terms;
        let mut wanted = |mapping: &Mapping, session: &Session| wanted(&describe_session(terms, mapping, session, now));
        let mut resets = tell.is_some().then(Vec::new);
        let (ended, more) = self.shard(shard).end_wanted(&mut pass.context(), page, &mut wanted, resets.as_mut());
        let mut ended = Ended { sessions: ended.into(), resets: Resets::default() };
        if let (Some(resets), Some(tell)) = (resets, tell) {
            ended.resets.not_tcp = ended.sessions - resets.len() as u64;
            for reset in &resets {
                match pass.send_resets(reset) {
                    0 => ended.resets.unknown += 1,
                    1 => ended.resets.one += 1,
                    _ => ended.resets.both += 1,
                }
                pass.worker.spill.drain(|packet, _| tell(packet));
            }
        }
        (ended, more.then_some(page + 1))
    }
}

impl Pass<'_> {
    /// Tells both ends of a connection that it has ended, each in the other's name. Returns how many are told.
    fn send_resets(&mut self, reset: &Reset) -> u32 {
        let external = (self.terms.pool.address(reset.external.address), reset.external.port);
        let remote = (reset.remote, reset.remote_port);
        self.translator.recently_reset.note(external, remote, self.now);
        let [to_six, to_four] = [Direction::FourToSix, Direction::SixToFour].map(|direction| reset.expected(direction));
        if let Some(sequence) = to_six {
            let endpoints: Endpoints<Ipv6Addr> = Endpoints {
                source: self.terms.prefixes.at(reset.internal.prefix).embed(reset.remote),
                source_port: reset.remote_port,
                destination: reset.internal.address,
                destination_port: reset.internal.port,
            };
            self.worker.spill.push(&[&rewrite::reset_v6(&endpoints, sequence)], Offload::default());
        }
        if let Some(sequence) = to_four {
            let endpoints: Endpoints<Ipv4Addr> = Endpoints {
                source: external.0,
                source_port: external.1,
                destination: remote.0,
                destination_port: remote.1,
            };
            let segment = rewrite::reset_v4(&endpoints, sequence, self.worker.identifications.next());
            let mut storage = [0; HEADROOM + 40 + HEADROOM];
            storage[HEADROOM..HEADROOM + segment.len()].copy_from_slice(&segment);
            // It may be for a host behind the translator, whose own session with the pool takes it there.
            self.send_to_ipv4_host(&mut PacketBuf::new(&mut storage, HEADROOM, segment.len(), Offload::default()));
        }
        u32::from(to_six.is_some()) + u32::from(to_four.is_some())
    }

    /// Replaces a dropped IPv4 packet of a connection that was reset a short while ago by the reset that answers it. Returns
    /// whether it is one, and there is one. IPv6 hosts are answered anyway, if the policy says so.
    pub(crate) fn reset_again(&mut self, packet: &mut PacketBuf<'_>, reason: DropReason) -> bool {
        if !matches!(reason, DropReason::NoMapping | DropReason::NoSession | DropReason::Filtered) {
            return false;
        }
        let Ok(parsed) = packet::parse_v4(packet.bytes()) else { return false };
        let Upper::Tcp { source_port, destination_port, .. } = parsed.upper else { return false };
        let (external, remote) = ((parsed.destination, destination_port), (parsed.source, source_port));
        self.translator.recently_reset.has(external, remote, self.now)
            && rewrite::is_reset_due(&parsed)
            && self.worker.errors.take(self.now, self.terms.policy.errors.rate)
            && rewrite::tcp_reset_v4(packet, &parsed, self.worker.identifications.next())
    }
}

#[cfg(test)]
mod tests;
