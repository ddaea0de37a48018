//! Telling senders: which drops are answered, with what, from where, how often.

use crate::packet::{PacketBuf, parse_v6};
use crate::policy::Policy;
use crate::rewrite::{self, Refusal};
use crate::time::Timestamp;
use crate::verdict::{Direction, DropReason};

/// Why a packet goes no further, with what its reason alone does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) reason: DropReason,
    /// For errors that point into the packet.
    pub(crate) pointer: u16,
    /// The sender is not to be told, or has been.
    pub(crate) silent: bool,
}

impl From<DropReason> for Stop {
    fn from(reason: DropReason) -> Self {
        Self { reason, pointer: 0, silent: false }
    }
}

impl From<crate::packet::ParseError> for Stop {
    fn from(error: crate::packet::ParseError) -> Self {
        Self { reason: error.reason, pointer: error.pointer, silent: false }
    }
}

/// How many errors may still be sent, or events reported, in this second (RFC 4443 §2.4 (f)).
#[derive(Debug, Default)]
pub(crate) struct ErrorBudget {
    second: u64,
    left: u32,
}

impl ErrorBudget {
    pub(crate) const fn take(&mut self, now: Timestamp, rate: u32) -> bool {
        let second = now.as_millis() / 1000 + 1;
        if self.second != second {
            self.second = second;
            self.left = rate;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

/// What the sender of a dropped packet is told (RFC 7915 §4.4 and §5.4, RFC 6146 §3.4 and §3.5); nothing where an RFC
/// says "silently", or where the answer would help only an attacker.
pub(crate) fn refusal_for(stop: Stop, direction: Direction, protocol: Option<u8>) -> Option<Refusal> {
    const TCP: u8 = 6;
    const ICMP: u8 = 1;
    const IGMP: u8 = 2;
    /// The longest packet that IPv4 can carry, in IPv6.
    const LONGEST: u32 = 65_535 + 20;
    match stop.reason {
        DropReason::HopLimitExceeded => Some(Refusal::HopLimitExceeded),
        // IGMP is of the link alone (RFC 7915 §4.2).
        DropReason::UnsupportedProtocol if protocol == Some(IGMP) => None,
        DropReason::UnsupportedProtocol => Some(Refusal::ProtocolUnreachable),
        DropReason::TooBig => Some(Refusal::PacketTooBig(LONGEST)),
        DropReason::RoutingHeader => Some(Refusal::ParameterProblem(stop.pointer)),
        DropReason::SourceRoute => Some(Refusal::SourceRouteFailed),
        DropReason::WellKnownPrefix
        | DropReason::IllegalDestination
        | DropReason::NotOurPrefix
        | DropReason::AdministrativelyProhibited
        | DropReason::Filtered => Some(Refusal::AdministrativelyProhibited),
        DropReason::PoolExhausted | DropReason::TableFull | DropReason::SubscriberLimit | DropReason::Draining => {
            match direction {
                Direction::SixToFour => Some(Refusal::AddressUnreachable),
                Direction::FourToSix => None,
            }
        }
        DropReason::NoMapping => match protocol {
            Some(TCP) | None => None,
            Some(ICMP) => Some(Refusal::AddressUnreachable),
            Some(_) => Some(Refusal::PortUnreachable),
        },
        DropReason::Malformed
        | DropReason::NotIp
        | DropReason::BadHeaderChecksum
        | DropReason::UntranslatableIcmp
        | DropReason::BadEmbeddedPacket
        | DropReason::ZeroUdpChecksum
        | DropReason::NotOurPool
        | DropReason::IllegalSource
        | DropReason::Loop
        | DropReason::NoSession
        | DropReason::StoredSynTimeout
        | DropReason::StoredSynLimit
        | DropReason::FragmentTimeout
        | DropReason::FragmentLimit
        | DropReason::FragmentOverlap
        | DropReason::ErrorRateLimit => None,
    }
}

/// Replaces a dropped IPv6 packet by the answer to it. Returns whether there is one.
pub(crate) fn answer_v6(
    policy: &Policy,
    packet: &mut PacketBuf<'_>,
    stop: Stop,
    budget: impl FnOnce() -> bool,
) -> bool {
    if stop.reason == DropReason::NoSession {
        return policy.reset_unknown_tcp
            && parse_v6(packet.bytes()).is_ok_and(|parsed| {
                rewrite::is_reset_due(&parsed) && budget() && rewrite::tcp_reset_v6(packet, &parsed)
            });
    }
    let Some(refusal) = refusal_for(stop, Direction::SixToFour, None) else { return false };
    if !policy.errors.send || !rewrite::may_answer_v6(packet.bytes()) || !budget() {
        return false;
    }
    let source = policy.errors.source6.or_else(|| destination_of_v6(packet.bytes()));
    source.is_some_and(|source| {
        rewrite::icmpv6_error(packet, refusal, source);
        true
    })
}

/// Replaces a dropped IPv4 packet by the answer to it. Returns whether there is one.
pub(crate) fn answer_v4(
    policy: &Policy,
    packet: &mut PacketBuf<'_>,
    stop: Stop,
    identification: u16,
    budget: impl FnOnce() -> bool,
) -> bool {
    let bytes = packet.bytes();
    let Some(refusal) = refusal_for(stop, Direction::FourToSix, bytes.get(9).copied()) else { return false };
    if !policy.errors.send || !rewrite::may_answer_v4(bytes) || !budget() {
        return false;
    }
    let source = policy.errors.source4.or_else(|| destination_of_v4(packet.bytes()));
    source.is_some_and(|source| {
        rewrite::icmpv4_error(packet, refusal, source, identification);
        true
    })
}

fn destination_of_v6(bytes: &[u8]) -> Option<std::net::Ipv6Addr> {
    let address: [u8; 16] = bytes.get(24..40)?.try_into().ok()?;
    Some(address.into())
}

fn destination_of_v4(bytes: &[u8]) -> Option<std::net::Ipv4Addr> {
    let address: [u8; 4] = bytes.get(16..20)?.try_into().ok()?;
    Some(address.into())
}

/// A stored SYN whose time has passed, as the answer to its sender (RFC 6146 §3.5.2.2, V4 INIT).
pub(crate) fn answer_stored_syn(
    policy: &Policy,
    packet: &mut PacketBuf<'_>,
    identification: u16,
    budget: impl FnOnce() -> bool,
) -> bool {
    let Some(source) = policy.errors.source4.or_else(|| destination_of_v4(packet.bytes())) else { return false };
    let answered = policy.errors.send && rewrite::may_answer_v4(packet.bytes()) && budget();
    if answered {
        rewrite::icmpv4_error(packet, Refusal::PortUnreachable, source, identification);
    }
    answered
}
