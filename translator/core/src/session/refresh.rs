//! What a packet does to the session it belongs to.

use super::entry::Session;
use super::shard::{Tcp, Trigger};
use super::tcp::{Lifetime, Segment, TcpState, step};
use super::wheel::Tick;
use crate::packet::Protocol;
use crate::packet::tcp_flags::{ACK, FIN, RST, SYN};
use crate::policy::Timers;
use crate::terms::Terms;
use crate::verdict::Direction;

/// The lifetimes of a policy in units of the wheel, so that a packet only adds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    tcp_established: u32,
    tcp_opening: u32,
    tcp_closing: u32,
    tcp_transitory: u32,
    udp: u32,
    icmp: u32,
}

impl Lifetimes {
    pub(crate) fn new(timers: &Timers) -> Self {
        Self {
            tcp_established: Tick::units(timers.tcp_established),
            tcp_opening: Tick::units(timers.tcp_opening),
            tcp_closing: Tick::units(timers.tcp_closing),
            tcp_transitory: Tick::units(timers.tcp_transitory),
            udp: Tick::units(timers.udp),
            icmp: Tick::units(timers.icmp),
        }
    }

    /// How long a session in this state lives without packets, at the most.
    pub(super) const fn of(&self, protocol: Protocol, state: TcpState) -> u32 {
        match (protocol, state) {
            (Protocol::Udp, _) => self.udp,
            (Protocol::Icmp, _) => self.icmp,
            (Protocol::Tcp, TcpState::V4Init | TcpState::V6Init) => self.tcp_opening,
            // What one side has closed keeps the lifetime that it had.
            (Protocol::Tcp, TcpState::Established | TcpState::V4FinRcv | TcpState::V6FinRcv) => self.tcp_established,
            (Protocol::Tcp, TcpState::V6FinV4FinRcv) => self.tcp_closing,
            (Protocol::Tcp, TcpState::Trans) => self.tcp_transitory,
        }
    }
}

/// How many TCP sessions are in each state, in the order of [`TcpState::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct States(pub(crate) [u32; TcpState::ALL.len()]);

impl States {
    pub(super) const fn added(&mut self, state: TcpState) {
        self.0[state as usize] += 1;
    }

    pub(super) const fn removed(&mut self, state: TcpState) {
        self.0[state as usize] -= 1;
    }

    #[cold]
    pub(super) const fn moved(&mut self, from: TcpState, to: TcpState) {
        self.removed(from);
        self.added(to);
    }
}

/// What a packet's effect on its session depends on beside the two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'r> {
    pub(crate) terms: &'r Terms,
    pub(crate) tick: Tick,
}

impl Session {
    /// Lets a packet of the session have its effect on state and lifetime. Returns a deadline that is sooner than the
    /// one before, which the wheel is to be told.
    #[inline(always)]
    pub(super) fn refresh(
        &mut self,
        rules: Rules<'_>,
        protocol: Protocol,
        trigger: Trigger,
        direction: Direction,
        states: &mut States,
    ) -> Option<Tick> {
        let lifetimes = &rules.terms.lifetimes;
        let lifetime = match (trigger, protocol) {
            // What most segments are: in the middle of a connection they change no state.
            (Trigger::Tcp(tcp), _) if self.state == TcpState::Established && tcp.flags & (SYN | FIN | RST) == 0 => {
                self.note_acknowledgment(tcp, direction);
                lifetimes.tcp_established
            }
            (Trigger::Tcp(tcp), _) => return self.step(rules, tcp, direction, states),
            (Trigger::Datagram, Protocol::Icmp) => lifetimes.icmp,
            (Trigger::Datagram, Protocol::Udp | Protocol::Tcp) => lifetimes.udp,
        };
        if rules.refresh(direction) { self.live_until(rules.tick.plus(lifetime)) } else { None }
    }

    /// As [`Session::refresh`], for any segment.
    #[inline(never)]
    fn step(&mut self, rules: Rules<'_>, tcp: Tcp, direction: Direction, states: &mut States) -> Option<Tick> {
        let (Terms { policy, lifetimes, .. }, tick) = (rules.terms, rules.tick);
        if tcp.flags & RST == 0 {
            self.note_acknowledgment(tcp, direction);
        } else if policy.check_resets && !self.expects(tcp, direction) {
            return None;
        }
        let (state, lifetime) = step(self.state, Segment::of(tcp.flags, direction));
        let before = std::mem::replace(&mut self.state, state);
        if before != state {
            states.moved(before, state);
        } else if !rules.refresh(direction) {
            return None;
        }
        let lifetime = match lifetime {
            Lifetime::Established => lifetimes.tcp_established,
            Lifetime::Opening => lifetimes.tcp_opening,
            Lifetime::Closing => lifetimes.tcp_closing,
            Lifetime::Transitory => lifetimes.tcp_transitory,
            Lifetime::Unchanged => return None,
        };
        self.live_until(tick.plus(lifetime))
    }

    /// Moves the deadline. Returns it if it is sooner than the one before, and leaves it to the wheel then.
    #[inline(always)]
    fn live_until(&mut self, deadline: Tick) -> Option<Tick> {
        if deadline < self.expires {
            return Some(deadline);
        }
        self.expires = deadline;
        None
    }

    /// Keeps what a segment acknowledges.
    #[inline(always)]
    const fn note_acknowledgment(&mut self, tcp: Tcp, direction: Direction) {
        if tcp.flags & ACK != 0 {
            let opposite = 1 - direction as usize;
            self.expected[opposite] = tcp.acknowledgment;
        }
    }

    /// Whether a reset can be the other end's: its sequence number is near what the receiver expects (RFC 7857 §2.2).
    const fn expects(&self, reset: Tcp, direction: Direction) -> bool {
        /// The largest receive window that is common, either way: a reset may be late or ahead.
        const NEAR: u32 = 16 << 20;
        let expected = self.expected[direction as usize];
        expected == 0 || reset.sequence.wrapping_sub(expected).wrapping_add(NEAR) <= 2 * NEAR
    }
}

impl Rules<'_> {
    /// Whether packets of this direction keep sessions alive (RFC 4787 REQ-6).
    #[inline(always)]
    const fn refresh(self, direction: Direction) -> bool {
        self.terms.policy.inbound_refresh || matches!(direction, Direction::SixToFour)
    }
}
