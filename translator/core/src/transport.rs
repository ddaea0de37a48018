//! The incoming tuple (RFC 6146 §3.4): protocol, ports, and what the packet means to a session.

use crate::packet::{GsoKind, PacketBuf, Protocol, Upper};
use crate::session::{Tcp, Trigger};
use crate::verdict::{Direction, DropReason};

/// A packet's transport from the translator's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transport {
    pub(crate) protocol: Protocol,
    /// The port, or identifier, on the side of the mapping's owner.
    pub(crate) near: u16,
    /// The port on the IPv4 host's side; zero for ICMP.
    pub(crate) far: u16,
    pub(crate) trigger: Trigger,
}

impl Transport {
    /// The transport of a packet that goes in `direction`.
    #[inline]
    pub(crate) const fn of(upper: Upper, direction: Direction) -> Result<Self, DropReason> {
        let (protocol, source, destination, trigger) = match upper {
            Upper::Tcp { source_port, destination_port, flags } => {
                (Protocol::Tcp, source_port, destination_port, Trigger::Tcp(Tcp { flags, ..Tcp::NONE }))
            }
            Upper::Udp { source_port, destination_port, .. } => {
                (Protocol::Udp, source_port, destination_port, Trigger::Datagram)
            }
            Upper::Echo { identifier, .. } => {
                return Ok(Self { protocol: Protocol::Icmp, near: identifier, far: 0, trigger: Trigger::Datagram });
            }
            Upper::OtherIcmp { .. } | Upper::IcmpError { .. } => return Err(DropReason::UntranslatableIcmp),
            Upper::Other(_) => return Err(DropReason::UnsupportedProtocol),
            Upper::Tail(_) => return Err(DropReason::Malformed),
        };
        let (near, far) = match direction {
            Direction::SixToFour => (source, destination),
            Direction::FourToSix => (destination, source),
        };
        Ok(Self { protocol, near, far, trigger })
    }

    /// Adds the sequence and acknowledgment numbers of a TCP header that starts `header_len` bytes into the packet.
    #[inline]
    pub(crate) fn with_numbers(mut self, own: Upper, packet: &[u8], header_len: u16) -> Self {
        if let (Trigger::Tcp(tcp), Upper::Tcp { .. }) = (&mut self.trigger, own)
            && let Some(numbers) = packet.get(usize::from(header_len) + 4..).and_then(<[u8]>::first_chunk::<8>)
        {
            let [a, b, c, d, e, f, g, h] = *numbers;
            tcp.sequence = u32::from_be_bytes([a, b, c, d]);
            tcp.acknowledgment = u32::from_be_bytes([e, f, g, h]);
        }
        self
    }

    /// The transport of the packet inside an ICMP error, which had gone in `direction`.
    pub(crate) fn inside_error(upper: Upper, direction: Direction) -> Result<Self, DropReason> {
        Self::of(upper, direction).map_err(|_| DropReason::BadEmbeddedPacket)
    }
}

impl Upper {
    /// What the fragments after this one inherit, if this is the first.
    pub(crate) const fn of_first_fragment(self) -> Option<Self> {
        if let Self::Tail(_) = self { None } else { Some(self) }
    }

    /// Whether a datagram that starts with this can only be translated whole, because its checksum covers its length in
    /// one IP version alone.
    pub(crate) const fn is_checked_whole(self) -> bool {
        matches!(self, Self::Echo { .. } | Self::IcmpError { .. })
    }

    /// The transport of a fragment after the first, for the session: its flags have been seen.
    pub(crate) const fn of_later_fragment(self) -> Self {
        if let Self::Tcp { source_port, destination_port, .. } = self {
            Self::Tcp { source_port, destination_port, flags: 0 }
        } else {
            self
        }
    }

    /// The protocol number in IPv6.
    pub(crate) const fn protocol_number_v6(self) -> u8 {
        match self {
            Self::Echo { .. } | Self::IcmpError { .. } | Self::OtherIcmp { .. } => 58,
            Self::Tcp { .. } | Self::Udp { .. } | Self::Other(_) | Self::Tail(_) => self.protocol_number_v4(),
        }
    }

    /// The protocol number in IPv4.
    pub(crate) const fn protocol_number_v4(self) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Echo { .. } | Self::IcmpError { .. } | Self::OtherIcmp { .. } => 1,
            Self::Other(number) | Self::Tail(number) => number,
        }
    }
}

/// What a fragment carries: its own transport header, or its datagram's if it is not the first.
pub(crate) const fn arrival_upper(own: Upper, of_datagram: Upper) -> Upper {
    if let Upper::Tail(_) = own { of_datagram.of_later_fragment() } else { own }
}

/// How many packets a super-packet stands for, and its bytes.
#[inline(always)]
pub(crate) fn segments(packet: &PacketBuf<'_>) -> (u32, u32) {
    let bytes = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    match packet.offload.gso {
        None => (1, bytes),
        Some(gso) => {
            let headers = match gso.kind {
                GsoKind::TcpV4 => 40,
                GsoKind::TcpV6 => 60,
                GsoKind::Udp => 48,
            };
            (bytes.saturating_sub(headers).div_ceil(u32::from(gso.segment_size).max(1)).max(1), bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Gso, Offload};

    #[test]
    fn near_is_the_mapping_owner_s_port_whichever_way_the_packet_goes() {
        let upper = Upper::Udp { source_port: 1, destination_port: 2, checksum: 3 };
        let out = Transport::of(upper, Direction::SixToFour).unwrap();
        let back = Transport::of(upper, Direction::FourToSix).unwrap();
        assert_eq!((out.near, out.far), (1, 2));
        assert_eq!((back.near, back.far), (2, 1));
    }

    #[test]
    fn a_super_packet_counts_as_its_segments() {
        let mut storage = [0; 3100];
        let gso = Some(Gso { kind: GsoKind::TcpV6, segment_size: 1000, header_len: 60, ecn: false });
        let packet = PacketBuf::new(&mut storage, 0, 3060, Offload { gso, ..Offload::default() });
        assert_eq!(segments(&packet), (3, 3060));
        let packet = PacketBuf::new(&mut storage, 0, 3061, Offload { gso, ..Offload::default() });
        assert_eq!(segments(&packet), (4, 3061));
    }
}
