//! ICMP errors and the packets inside (RFC 7915 §4.2, §4.3, §5.2, §5.3).

mod extension;
mod kind;
mod message;

use std::net::{Ipv4Addr, Ipv6Addr};

use self::kind::Kind;
use self::message::{Message, Original, Shape};
use super::Endpoints;
use super::four_to_six;
use super::header::{FRAGMENT_LEN, V4_LEN, V6_LEN};
use super::six_to_four;
use super::transport::{self, Fix};
use crate::links::LinkMtus;
use crate::packet::checksum::{Sum, pseudo_v6};
use crate::packet::{PacketBuf, Parsed, Parsed4, Parsed6, Upper, protocol_number, split_original};
use crate::policy::HeaderPolicy;
use crate::verdict::DropReason;

/// The addresses of a translated error, and the addresses and ports of the packet inside, as they are to stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorEndpoints<A> {
    /// New source address of the error.
    pub source: A,
    /// New destination address of the error.
    pub destination: A,
    /// New addresses and ports of the packet inside, which goes the other way. The identifier of an echo is its
    /// `destination_port` in an error from IPv6 to IPv4, its `source_port` in one from IPv4 to IPv6.
    pub embedded: Endpoints<A>,
}

/// Translates an ICMPv6 error and the packet inside, which is parsed from [`crate::packet::original_datagram`].
///
/// The result has 576 bytes at most, its extensions kept (RFC 4884). Hop limits: the outer one is decremented, the inner
/// one is not.
///
/// # Errors
/// [`DropReason::UntranslatableIcmp`] if type, code or pointer have no counterpart, or the error is in fragments;
/// [`DropReason::BadEmbeddedPacket`] if the packet inside cannot be translated. The packet is then as it was.
#[cold]
pub fn error_six_to_four(
    packet: &mut PacketBuf<'_>,
    outer: &Parsed6,
    embedded: &Parsed6,
    to: &ErrorEndpoints<Ipv4Addr>,
    policy: &HeaderPolicy,
    links: &LinkMtus,
    identification: u16,
) -> Result<(), DropReason> {
    let received = received(packet, outer)?;
    let kind = kind::six_to_four(received.kind, embedded, links).ok_or(DropReason::UntranslatableIcmp)?;
    let pseudo = pseudo_v6(outer.source, outer.destination, protocol_number::ICMPV6, received.len);
    let sum = received.sum(packet, pseudo);

    // The identification that the packet in error had in IPv4 is not known any more.
    let inner_header =
        six_to_four::header(embedded, &to.embedded, policy, 0).map_err(|_| DropReason::BadEmbeddedPacket)?.to_bytes();
    let (original, extension) = split_original(packet.bytes(), outer);
    let original = original_of(embedded, original, &inner_header)?;
    // The host's own error comes from its mapping, which says who it is.
    let is_named = policy.name_routers && outer.source != embedded.destination;
    let router = is_named.then(|| extension::interface_information(outer.source));
    let extension = extension.or_else(|| router.as_ref().map(|structure| &structure[..]));
    let mut message = Message::new(Shape::V4, kind, &original, extension);
    let inside = Inside {
        ports: transport::ports(to.embedded.source_port, to.embedded.destination_port),
        fix: six_to_four::fix(embedded, &to.embedded, protocol_number::TCP, false),
        echo: six_to_four::ECHO,
        identifier: to.embedded.destination_port,
        echo_fix: six_to_four::echo_fix(embedded, false),
    };
    inside.translate(embedded.upper, message.transport_mut()).ok_or(DropReason::BadEmbeddedPacket)?;

    let mut header = six_to_four::header(outer, &to.outer(), policy, identification)?;
    header.ttl = header.ttl.saturating_sub(1);
    header.total_len = V4_LEN + message.payload_len();
    header.flags_and_offset = 0;
    packet.replace(message.finish(&header.to_bytes(), Sum::ZERO, sum));
    packet.offload.data_valid = received.data_valid;
    Ok(())
}

/// Translates an ICMP error and the packet inside, which is parsed from [`crate::packet::original_datagram`].
///
/// The result has 1280 bytes at most, its extensions kept where IPv6 has a place for them (RFC 4884 §4.6). TTLs: the
/// outer one is decremented, the inner one is not.
///
/// # Errors
/// [`DropReason::UntranslatableIcmp`] if type, code or pointer have no counterpart, or the error is in fragments;
/// [`DropReason::BadEmbeddedPacket`] if the packet inside cannot be translated. The packet is then as it was.
#[cold]
pub fn error_four_to_six(
    packet: &mut PacketBuf<'_>,
    outer: &Parsed4,
    embedded: &Parsed4,
    to: &ErrorEndpoints<Ipv6Addr>,
    policy: &HeaderPolicy,
    links: &LinkMtus,
    flow_seed: u64,
) -> Result<(), DropReason> {
    let received = received(packet, outer)?;
    let kind = kind::four_to_six(received.kind, embedded, links).ok_or(DropReason::UntranslatableIcmp)?;
    let sum = received.sum(packet, Sum::ZERO);

    let mut inner = four_to_six::headers(embedded, &to.embedded, policy, flow_seed);
    // The flow label that the packet in error had in IPv6 is not known any more.
    inner.fixed.flow_label = 0;
    let mut inner_header = [0; (V6_LEN + FRAGMENT_LEN) as usize];
    let inner_header = inner_header.get_mut(..inner.len().into()).ok_or(DropReason::BadEmbeddedPacket)?;
    inner.write(inner_header).ok_or(DropReason::BadEmbeddedPacket)?;
    let (original, extension) = split_original(packet.bytes(), outer);
    let original = original_of(embedded, original, inner_header)?;
    let mut message = Message::new(Shape::V6, kind, &original, extension);
    let inside = Inside {
        ports: transport::ports(to.embedded.source_port, to.embedded.destination_port),
        fix: four_to_six::fix(embedded, &to.embedded, protocol_number::TCP, false),
        echo: four_to_six::ECHO,
        identifier: to.embedded.source_port,
        echo_fix: four_to_six::echo_fix(embedded, &to.embedded, false),
    };
    inside.translate(embedded.upper, message.transport_mut()).ok_or(DropReason::BadEmbeddedPacket)?;

    let mut header = four_to_six::headers(outer, &to.outer(), policy, flow_seed).fixed;
    header.hop_limit = header.hop_limit.saturating_sub(1);
    header.payload_len = message.payload_len();
    let pseudo = pseudo_v6(to.source, to.destination, protocol_number::ICMPV6, message.payload_len().into());
    packet.replace(message.finish(&header.to_bytes(), pseudo, sum));
    packet.offload.data_valid = received.data_valid;
    Ok(())
}

impl<A: Copy> ErrorEndpoints<A> {
    /// Those of the error itself.
    const fn outer(&self) -> Endpoints<A> {
        Endpoints { source: self.source, source_port: 0, destination: self.destination, destination_port: 0 }
    }
}

/// An ICMP error as it came.
struct Received {
    kind: Kind,
    /// Where its ICMP header is, and bytes from there.
    start: usize,
    len: u32,
    /// Whether its checksum is for the device to compute.
    partial: bool,
    data_valid: bool,
}

impl Received {
    /// The sum of what the checksum covers and of the checksum: 0xffff if it is right.
    fn sum(&self, packet: &PacketBuf<'_>, pseudo: Sum) -> u16 {
        let message = packet.bytes().get(self.start..self.start + self.len as usize).unwrap_or_default();
        if self.partial { 0xffff } else { pseudo.bytes(message).fold() }
    }
}

fn received<A>(packet: &PacketBuf<'_>, outer: &Parsed<A>) -> Result<Received, DropReason> {
    let Upper::IcmpError { kind, code } = outer.upper else { return Err(DropReason::UntranslatableIcmp) };
    if outer.fragment.is_some() {
        return Err(DropReason::UntranslatableIcmp);
    }
    let start = usize::from(outer.header_len);
    let rest = packet.bytes().get(start + 4..).and_then(|word| word.first_chunk()).ok_or(DropReason::Malformed)?;
    Ok(Received {
        kind: Kind { kind, code, rest: u32::from_be_bytes(*rest) },
        start,
        len: outer.total_len.saturating_sub(outer.header_len.into()),
        partial: packet.offload.checksum.is_some(),
        data_valid: packet.offload.data_valid,
    })
}

/// The packet in error with new `headers`.
fn original_of<'p, A>(embedded: &Parsed<A>, bytes: &'p [u8], headers: &'p [u8]) -> Result<Original<'p>, DropReason> {
    let payload = bytes.get(embedded.header_len.into()..).ok_or(DropReason::BadEmbeddedPacket)?;
    let payload_len = embedded.total_len.saturating_sub(embedded.header_len.into()) as usize;
    Ok(Original { headers, payload, payload_len })
}

/// What the transport of the packet in error becomes.
struct Inside {
    ports: [u8; 4],
    fix: Fix,
    /// Types of an echo request and of its reply.
    echo: [u8; 2],
    identifier: u16,
    echo_fix: Fix,
}

impl Inside {
    /// Translates as much of the transport as there is; none if it is too short or nothing that is translated.
    fn translate(&self, upper: Upper, transport: &mut [u8]) -> Option<()> {
        match upper {
            // Without a checksum, or cut before it.
            Upper::Udp { checksum: 0, .. } => transport::ports_only(transport, self.ports),
            Upper::Tcp { .. } if transport.len() < TCP_CHECKSUM_END => transport::ports_only(transport, self.ports),
            Upper::Tcp { .. } => transport::tcp(transport, self.ports, self.fix),
            Upper::Udp { .. } => transport::udp(transport, self.ports, self.fix),
            Upper::Echo { reply, .. } => {
                transport::echo(transport, self.echo[usize::from(reply)], self.identifier, self.echo_fix)
            }
            Upper::Other(_) | Upper::Tail(_) => Some(()),
            Upper::IcmpError { .. } | Upper::OtherIcmp { .. } => None,
        }
    }
}

/// Bytes of a TCP header up to the end of its checksum.
const TCP_CHECKSUM_END: usize = 18;

#[cfg(test)]
mod tests;
