//! A packet's way through the translator.

use crate::fragment::{Admission, Arrival};
use crate::packet::{PacketBuf, Protocol, tcp_flags};
use crate::refuse::{self, Stop};
use crate::rewrite;
use crate::session::{Context, Rules, Tick, Trigger};
use crate::terms::Terms;
use crate::time::Timestamp;
use crate::translator::Translator;
use crate::verdict::{Direction, DropReason, Verdict};
use crate::worker::Worker;

/// One packet's pass, or that of the timers, under the terms and the time of its batch.
pub(crate) struct Pass<'t> {
    pub(crate) translator: &'t Translator,
    pub(crate) terms: &'t Terms,
    pub(crate) now: Timestamp,
    pub(crate) tick: Tick,
    pub(crate) worker: &'t mut Worker,
}

/// What a way through the translator ends with when the packet was not dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// The buffer holds a packet to write.
    Translated,
    /// The buffer holds a packet for a host behind this translator.
    Hairpinned,
    /// The packet was kept, or what came of it is in the spill.
    Held,
    /// The packet was dropped and the buffer holds the answer.
    Refused(DropReason),
}

impl Pass<'_> {
    /// Translates one packet where it stands.
    #[inline]
    pub(crate) fn translate(&mut self, packet: &mut PacketBuf<'_>) -> Verdict {
        match packet.bytes().first().map(|byte| byte >> 4) {
            Some(6) if self.established_six_to_four(packet).is_some() => Verdict::Translated(Direction::SixToFour),
            Some(4) if self.established_four_to_six(packet).is_some() => Verdict::Translated(Direction::FourToSix),
            Some(6) => match self.six_to_four(packet) {
                Ok(passed) => self.passed(passed, Direction::SixToFour),
                Err(stop) => self.stopped(packet, stop, Direction::SixToFour),
            },
            Some(4) => match self.four_to_six(packet, false) {
                Ok(passed) => self.passed(passed, Direction::FourToSix),
                Err(stop) => self.stopped(packet, stop, Direction::FourToSix),
            },
            _ => self.dropped(DropReason::NotIp),
        }
    }

    /// What a packet's effect on its session depends on.
    #[inline(always)]
    pub(crate) const fn rules(&self) -> Rules<'_> {
        Rules { terms: self.terms, tick: self.tick }
    }

    /// What the session tables need of this batch.
    #[inline]
    pub(crate) fn context(&mut self) -> Context<'_> {
        Context {
            terms: self.terms,
            totals: &self.translator.totals,
            stored_syns: &self.translator.stored_syns,
            overlap: &self.translator.overlap,
            now: self.now,
            tick: self.tick,
            events: &mut self.worker.events,
        }
    }

    /// Whether an IPv6 packet of `len` bytes is none that has to be fragmented where IPv4 allowed it.
    #[inline]
    pub(crate) fn fits_ipv6(&self, len: usize) -> bool {
        /// What every IPv6 link takes (RFC 8200 §5).
        const ALWAYS: usize = 1280;
        len <= ALWAYS || len <= self.lowest_ipv6_mtu().into()
    }

    /// The smallest MTU behind this translator: as policy says, but no greater than that of the next link.
    pub(crate) fn lowest_ipv6_mtu(&self) -> u16 {
        let next = self.translator.link_mtus().ipv6.and_then(|mtu| u16::try_from(mtu).ok());
        self.terms.policy.mtu.lowest_ipv6.min(next.unwrap_or(u16::MAX))
    }

    fn passed(&self, passed: Passed, direction: Direction) -> Verdict {
        match passed {
            Passed::Translated => Verdict::Translated(direction),
            Passed::Hairpinned => {
                self.worker.counters.count_hairpinned();
                Verdict::Hairpinned
            }
            Passed::Held => {
                self.worker.counters.count_held();
                Verdict::Held
            }
            Passed::Refused(reason) => {
                self.worker.counters.count_drop(reason);
                self.worker.counters.count_refused();
                Verdict::Refused(reason)
            }
        }
    }

    fn dropped(&self, reason: DropReason) -> Verdict {
        self.worker.counters.count_drop(reason);
        Verdict::Dropped(reason)
    }

    #[cold]
    fn stopped(&mut self, packet: &mut PacketBuf<'_>, stop: Stop, direction: Direction) -> Verdict {
        if direction == Direction::FourToSix && self.is_for_host(packet) {
            self.spill(packet, Ok(Passed::Translated));
            return self.passed(Passed::Held, direction);
        }
        let verdict = self.dropped(stop.reason);
        if !stop.silent && self.answer(packet, stop, direction) {
            self.worker.counters.count_refused();
            return Verdict::Refused(stop.reason);
        }
        verdict
    }

    /// Replaces a dropped packet by the answer to its sender. Returns whether there is one.
    pub(crate) fn answer(&mut self, packet: &mut PacketBuf<'_>, stop: Stop, direction: Direction) -> bool {
        if direction == Direction::FourToSix && self.reset_again(packet, stop.reason) {
            return true;
        }
        let policy = &self.terms.policy;
        let Worker { errors, identifications, counters, .. } = &mut *self.worker;
        let budget = || {
            let allowed = errors.take(self.now, policy.errors.rate);
            if !allowed {
                counters.count_drop(DropReason::ErrorRateLimit);
            }
            allowed
        };
        match direction {
            Direction::SixToFour => refuse::answer_v6(policy, packet, stop, budget),
            Direction::FourToSix => refuse::answer_v4(policy, packet, stop, identifications.next(), budget),
        }
    }

    /// Shows a fragment to the others of its datagram. Those that are dropped with it are counted, it itself is not.
    pub(crate) fn admit(&mut self, arrival: &Arrival<'_>) -> Result<Admission, DropReason> {
        let policy = &self.terms.policy;
        self.translator.fragments.admit(arrival, self.now, policy.timers.fragment, &policy.limits).map_err(
            |rejection| {
                self.count_lost(rejection.reason, rejection.lost);
                if rejection.reason == DropReason::FragmentLimit {
                    self.tell_of_fragment_limit(&arrival.key);
                }
                rejection.reason
            },
        )
    }

    /// Counts fragments that were held for a packet, if that is dropped.
    pub(crate) fn count_if_lost(&self, passed: &Result<Passed, Stop>, held: usize) {
        if let Err(stop) = passed {
            self.count_lost(stop.reason, held);
        }
    }

    pub(crate) fn count_lost(&self, reason: DropReason, packets: usize) {
        (0..packets).for_each(|_| self.worker.counters.count_drop(reason));
    }

    pub(crate) fn count_error(&self, packet: &PacketBuf<'_>, direction: Direction) {
        let bytes = u64::try_from(packet.len()).unwrap_or(u64::MAX);
        self.worker.counters.count_translated(direction, Protocol::Icmp, 1, bytes);
    }

    /// Lowers the MSS of a SYN, if policy asks for it.
    #[inline]
    pub(crate) fn clamp_mss(&self, packet: &mut PacketBuf<'_>, transport: u16, trigger: Trigger) {
        /// Bytes of the IPv6 and TCP headers (RFC 6691 §2).
        const HEADERS: u16 = 60;
        if let (Some(mtu), Trigger::Tcp(tcp)) = (self.terms.policy.mtu.clamp_mss_to_ipv6_mtu, trigger)
            && tcp.flags & tcp_flags::SYN != 0
        {
            rewrite::clamp_mss(packet, transport.into(), mtu.saturating_sub(HEADERS));
        }
    }
}
