//! How sessions and mappings end (RFC 6146 §3.5), and when their ports are free again.

use super::allocation::{Block, Resting, block_size};
use super::entry::{Mapping, MappingKind, Session};
use super::overlap::{Claim, EVERYWHERE};
use super::pool::External;
use super::sessions::Sessions;
use super::shard::{Context, Internal, Probe, Shard};
use super::table::{shrink, shrink_map, shrink_queue};
use super::tcp::TcpState;
use super::wheel::Step;
use crate::event::{EndReason, Event, EventKind};
use crate::packet::Protocol;

/// How the last session of a mapping ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Both ends know, so that nothing more comes for its port.
    Clean,
    /// Something may still come.
    Other,
}

impl Shard {
    /// Does what timers are due, in steps that are taken from `budget`. Returns whether more is due.
    pub(crate) fn expire(&mut self, context: &mut Context<'_>, budget: &mut u32, probe: &mut dyn FnMut(Probe)) -> bool {
        self.wake_rested_ports(context, budget);
        while *budget > 0 {
            *budget -= 1;
            match self.wheel.step(&mut self.sessions, context.tick) {
                Step::Due(session) => self.time_out(context, session, probe),
                Step::Moved => {}
                Step::Idle => return false,
            }
        }
        true
    }

    /// A session's lifetime has passed; it is in no bucket of the wheel.
    fn time_out(&mut self, context: &mut Context<'_>, index: u32, probe: &mut dyn FnMut(Probe)) {
        let session = &mut self.sessions[index];
        let mapping = &self.mappings[session.mapping];
        if mapping.protocol == Protocol::Tcp && session.state == TcpState::Established {
            self.states.moved(session.state, TcpState::Trans);
            session.state = TcpState::Trans;
            session.expires = context.tick.after(context.terms.policy.timers.tcp_transitory);
            let internal = Internal { address: mapping.internal, port: mapping.internal_port, prefix: session.prefix };
            probe(Probe { internal, remote: session.remote, remote_port: session.remote_port });
            self.wheel.insert(&mut self.sessions, index);
        } else {
            self.remove_session(context, index, EndReason::Timeout);
        }
    }

    /// Ends a session before its time.
    pub(super) fn end_session(&mut self, context: &mut Context<'_>, index: u32, reason: EndReason) {
        self.wheel.remove(&mut self.sessions, index);
        self.remove_session(context, index, reason);
    }

    /// Removes a session that is in no bucket of the wheel, and its mapping if that was the last one.
    fn remove_session(&mut self, context: &mut Context<'_>, index: u32, reason: EndReason) {
        let session = self.sessions[index];
        if !Sessions::is_at_home(index) {
            self.remove_from_table(index, &session);
        }
        self.sessions.remove(index);
        let peer = (session.mapping, session.remote);
        if let Some(count) = self.peers.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&peer);
                shrink_map(&mut self.peers);
            }
        }
        let ended =
            EventKind::SessionEnded { reason, outbound: session.outbound.total(), inbound: session.inbound.total() };
        self.report(context, session.mapping, ended, Some(&session));
        let mapping = &mut self.mappings[session.mapping];
        mapping.sessions -= 1;
        let (protocol, subscriber) = (mapping.protocol, mapping.subscriber);
        let last = mapping.sessions == 0 && mapping.kind != MappingKind::Static;
        self.subscribers[subscriber].sessions -= 1;
        context.totals.session_removed(protocol);
        if protocol == Protocol::Tcp {
            self.states.removed(session.state);
        }
        if last {
            let closed = protocol == Protocol::Tcp && session.state == TcpState::V6FinV4FinRcv;
            self.remove_mapping(context, session.mapping, if closed { End::Clean } else { End::Other });
        }
    }

    fn remove_from_table(&mut self, index: u32, session: &Session) {
        let Self { by_remote, sessions, keys, .. } = self;
        let hash_of = |session: &Session| keys.remote(session.mapping, session.remote, session.remote_port);
        if let Ok(entry) = by_remote.find_entry(hash_of(session), |&other| other == index) {
            entry.remove();
        }
        shrink(by_remote, |&index| hash_of(&sessions[index]));
    }

    /// Takes a mapping out of the table that packets from its host are looked up in.
    pub(super) fn detach(&mut self, index: u32) {
        let hash = self.keys.of_mapping(&self.mappings[index]);
        if let Ok(entry) = self.by_internal.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
    }

    /// Removes a mapping without sessions. Its port rests, unless TCP closed cleanly (RFC 6888 REQ-8).
    pub(super) fn remove_mapping(&mut self, context: &mut Context<'_>, index: u32, end: End) {
        self.report(context, index, EventKind::MappingRemoved, None);
        let mapping = self.mappings[index];
        self.detach(index);
        self.mappings[index].kind = MappingKind::Free;
        self.mappings.remove(index);
        let Self { by_internal, mappings, keys, .. } = self;
        shrink(by_internal, |&index| keys.of_mapping(&mappings[index]));
        self.retire_port(context, (index, &mapping), end);
        context.totals.mapping_removed(mapping.protocol);
        let subscriber = &mut self.subscribers[mapping.subscriber];
        subscriber.mappings -= 1;
        if subscriber.mappings == 0 {
            self.remove_subscriber(mapping.subscriber);
        }
    }

    fn remove_subscriber(&mut self, index: u32) {
        let hash = self.keys.subscriber(self.subscribers[index].prefix);
        if let Ok(entry) = self.by_prefix.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
        self.subscribers.remove(index);
        let Self { by_prefix, subscribers, keys, .. } = self;
        shrink(by_prefix, |&index| keys.subscriber(subscribers[index].prefix));
    }

    /// Lets the port of a removed mapping rest, or gives it back at once where it need not (RFC 6888 REQ-8).
    fn retire_port(&mut self, context: &mut Context<'_>, (index, mapping): (u32, &Mapping), end: End) {
        let Mapping { protocol, external, scope, kind, .. } = *mapping;
        let port = Claim { protocol, external, scope };
        if scope == EVERYWHERE {
            // Unless a static mapping has it by now.
            if context.terms.pool.slot(protocol, external) == self.slot_of(index) {
                context.terms.pool.set_slot(protocol, external, 0);
            }
        } else {
            context.overlap.remove(&port);
        }
        if kind == MappingKind::Former {
            // It was no port of a block, so that none has to be told.
            context.terms.pool.renounce(protocol, external);
            return;
        }
        let rest = context.terms.policy.timers.port_quarantine;
        let crowded = context.totals.resting_ports() >= context.terms.policy.limits.resting_ports;
        if end == End::Clean || crowded || rest.is_zero() {
            self.release_port(context, &port);
        } else {
            context.totals.port_rests();
            self.resting.push_back(Resting { until: context.tick.after(rest), port });
        }
    }

    /// Gives up to `budget` ports back that have rested. Returns whether there are more.
    fn wake_rested_ports(&mut self, context: &mut Context<'_>, budget: &mut u32) {
        while *budget > 0
            && let Some(&Resting { until, port }) = self.resting.front()
            && until <= context.tick
        {
            *budget -= 1;
            self.resting.pop_front();
            shrink_queue(&mut self.resting);
            context.totals.port_rested();
            self.release_port(context, &port);
        }
    }

    pub(super) fn release_port(&mut self, context: &mut Context<'_>, port: &Claim) {
        if port.scope != EVERYWHERE {
            context.overlap.release(&context.terms.pool, port);
            return;
        }
        context.terms.pool.give_back(port.protocol, port.external);
        self.leave_block(context, port.external);
    }

    /// Notes that a port is no port of its block any more, if it was one.
    #[inline]
    pub(super) fn leave_block(&mut self, context: &mut Context<'_>, external: External) {
        if let Some(size) = block_size(&context.terms.policy)
            && let Some((prefix, block)) = self.blocks.port_released(&context.terms.pool, size, external)
        {
            report_block(context, prefix, (block, size), |last_port| EventKind::BlockReleased { last_port });
        }
    }
}

/// Tells of a block of ports and its subscriber.
pub(super) fn report_block(
    context: &mut Context<'_>,
    subscriber: u128,
    (block, size): (Block, u16),
    kind: impl FnOnce(u16) -> EventKind,
) {
    let last_port = block.first_port + (size - 1);
    let (first_port, last_port) = context.terms.pool.ours_of_block(block.address, (block.first_port, last_port));
    context.events.push(Event {
        at: context.now,
        kind: kind(last_port),
        protocol: Protocol::Tcp,
        internal: (subscriber.into(), 0),
        external: (context.terms.pool.address(block.address), first_port),
        remote: None,
        prefix: 0,
        began: context.now,
    });
}
