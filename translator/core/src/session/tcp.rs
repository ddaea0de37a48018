//! The TCP state machine of RFC 6146 §3.5.2.2.

use crate::packet::tcp_flags::{FIN, RST, SYN};
use crate::verdict::Direction;

/// States of a TCP session. CLOSED is the absence of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum TcpState {
    /// A SYN from IPv4 was seen and forwarded.
    V4Init,
    /// A SYN from IPv6 was seen and forwarded.
    V6Init,
    /// Both SYNs were seen.
    Established,
    /// The IPv4 side has closed.
    V4FinRcv,
    /// The IPv6 side has closed.
    V6FinRcv,
    /// Both sides have closed.
    V6FinV4FinRcv,
    /// A reset was seen, or an established session was silent for its lifetime.
    Trans,
}

impl TcpState {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 7] = [
        Self::V4Init,
        Self::V6Init,
        Self::Established,
        Self::V4FinRcv,
        Self::V6FinRcv,
        Self::V6FinV4FinRcv,
        Self::Trans,
    ];

    /// The RFC's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V4Init => "V4_INIT",
            Self::V6Init => "V6_INIT",
            Self::Established => "ESTABLISHED",
            Self::V4FinRcv => "V4_FIN_RCV",
            Self::V6FinRcv => "V6_FIN_RCV",
            Self::V6FinV4FinRcv => "V6_FIN_V4_FIN_RCV",
            Self::Trans => "TRANS",
        }
    }
}

/// What a segment means to the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Syn(Direction),
    Fin(Direction),
    Rst(Direction),
    Other(Direction),
}

impl Segment {
    /// By the flags of a segment. A reset outranks the rest, since it ends the connection whatever else is set.
    pub(crate) const fn of(flags: u8, direction: Direction) -> Self {
        if flags & RST != 0 {
            Self::Rst(direction)
        } else if flags & SYN != 0 {
            Self::Syn(direction)
        } else if flags & FIN != 0 {
            Self::Fin(direction)
        } else {
            Self::Other(direction)
        }
    }
}

/// What a segment does to a session's lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// It starts again, with the established timeout.
    Established,
    /// It starts again, with the timeout of a connection that opens.
    Opening,
    /// It starts again, with the timeout of a connection that closes.
    Closing,
    /// It starts again, with the transitory timeout.
    Transitory,
    /// It goes on.
    Unchanged,
}

/// The transition for a segment (RFC 6146 §3.5.2.2).
#[inline(always)]
pub(crate) const fn step(state: TcpState, segment: Segment) -> (TcpState, Lifetime) {
    use Direction::{FourToSix, SixToFour};
    use Segment::{Fin, Rst, Syn};
    use TcpState::{Established, Trans, V4FinRcv, V4Init, V6FinRcv, V6FinV4FinRcv, V6Init};

    match (state, segment) {
        (Established, Fin(FourToSix)) => (V4FinRcv, Lifetime::Unchanged),
        (Established, Fin(SixToFour)) => (V6FinRcv, Lifetime::Unchanged),
        // The RFC has this row for ESTABLISHED only. A connection that one side has closed and the other resets, as is
        // common, would be kept for the established lifetime; RFC 7857 §2.2 asks for four minutes after any reset.
        (Established | V4FinRcv | V6FinRcv, Rst(_)) => (Trans, Lifetime::Transitory),
        (Established, _) => (Established, Lifetime::Established),

        (V4Init, Syn(SixToFour)) | (V6Init, Syn(FourToSix)) => (Established, Lifetime::Established),
        (V6Init, Syn(SixToFour)) => (V6Init, Lifetime::Opening),
        (V4Init | V6Init, _) => (state, Lifetime::Unchanged),

        (V4FinRcv, Fin(SixToFour)) | (V6FinRcv, Fin(FourToSix)) => (V6FinV4FinRcv, Lifetime::Closing),
        (V4FinRcv | V6FinRcv, _) => (state, Lifetime::Established),
        // The RFC has no row for a new connection that reuses the addresses and ports of a closed one; left in this
        // state it would be cut off when the old lifetime ends.
        (V6FinV4FinRcv, Syn(SixToFour)) => (V6Init, Lifetime::Opening),
        (V6FinV4FinRcv, Syn(FourToSix)) => (V4Init, Lifetime::Opening),
        (V6FinV4FinRcv, _) => (V6FinV4FinRcv, Lifetime::Unchanged),

        (Trans, Rst(_)) => (Trans, Lifetime::Unchanged),
        (Trans, _) => (Established, Lifetime::Established),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::packet::tcp_flags::ACK;

    #[test]
    fn every_transition_is_as_the_snapshot_says() {
        let mut table = String::new();
        for state in TcpState::ALL {
            for direction in [Direction::SixToFour, Direction::FourToSix] {
                for segment in [Segment::Syn, Segment::Fin, Segment::Rst, Segment::Other] {
                    let segment = segment(direction);
                    let (next, lifetime) = step(state, segment);
                    writeln!(
                        table,
                        "{:18} {:18} -> {:18} {lifetime:?}",
                        state.name(),
                        format!("{segment:?}"),
                        next.name()
                    )
                    .unwrap();
                }
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn flags_are_ranked_reset_then_syn_then_fin() {
        let of = |flags| Segment::of(flags, Direction::SixToFour);
        assert_eq!(of(SYN | ACK), Segment::Syn(Direction::SixToFour));
        assert_eq!(of(FIN | ACK), Segment::Fin(Direction::SixToFour));
        assert_eq!(of(RST | SYN | FIN), Segment::Rst(Direction::SixToFour));
        assert_eq!(of(ACK), Segment::Other(Direction::SixToFour));
    }
}
