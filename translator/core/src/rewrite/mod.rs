//! Translation of headers between IPv6 and IPv4, in place (RFC 7915).
//!
//! These functions know no state: the caller says which addresses and ports the packet gets. They keep what the packet
//! is to the device ([`crate::Offload`]) true: a super-packet stays one, a partial checksum stays partial. Checksums
//! are updated, never verified: one that was wrong stays wrong.

mod error;
mod four_to_six;
mod header;
mod mss;
mod originate;
mod plain;
mod six_to_four;
mod split;
mod transport;

pub use error::{ErrorEndpoints, error_four_to_six, error_six_to_four};
pub use four_to_six::four_to_six;
pub use mss::clamp_mss;
pub use originate::{
    Refusal, icmpv4_error, icmpv6_error, is_reset_due, may_answer_v4, may_answer_v6, probe_v4, probe_v6, reset_v4,
    reset_v6, tcp_reset_v4, tcp_reset_v6,
};
pub(crate) use plain::{Plain4, Plain6, plain_four_to_six, plain_six_to_four};
pub use six_to_four::six_to_four;
pub use split::{Split, split_v6};

/// The addresses and ports that a packet is given.
///
/// For ICMP echo the identifier stands in for the port of the host behind the translator: it is `source_port` in what
/// goes from IPv6 to IPv4 and `destination_port` in what goes from IPv4 to IPv6; the other port means nothing. (Inside
/// an ICMP error the packet goes the other way than the error.) Fragments that are not the first, and transports
/// without ports, are given addresses only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints<A> {
    /// New source address.
    pub source: A,
    /// New source port, or identifier.
    pub source_port: u16,
    /// New destination address.
    pub destination: A,
    /// New destination port, or identifier.
    pub destination_port: u16,
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
