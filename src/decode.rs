//! Packets in words, for people.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{Icmpv4Slice, Icmpv6Slice, LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};

/// A packet in a line: `IPv6 2001:db8::1 > 64:ff9b::c633:6407, TCP 50000 > 443 [SYN] seq 1 win 65535, hop limit 64, 60 bytes`.
pub(crate) fn line(packet: &[u8]) -> String {
    let Ok(sliced) = LaxSlicedPacket::from_ip(packet) else {
        return format!("no IP packet, {} bytes", packet.len());
    };
    let mut text = String::new();
    // Writing to a String cannot fail.
    match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let _ = write!(text, "IPv4 {} > {}", header.source_addr(), header.destination_addr());
            add_transport(&mut text, &sliced);
            if header.is_fragmenting_payload() {
                let (at, more) = (header.fragments_offset().byte_offset(), header.more_fragments());
                let _ = write!(text, ", fragment at {at}{}", if more { " with more" } else { ", the last" });
            }
            let df = if header.dont_fragment() { ", DF" } else { "" };
            let _ = write!(text, ", TTL {}{df}, {} bytes", header.ttl(), packet.len());
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let _ = write!(text, "IPv6 {} > {}", header.source_addr(), header.destination_addr());
            add_transport(&mut text, &sliced);
            if ip.is_payload_fragmented() {
                text.push_str(", a fragment");
            }
            let _ = write!(text, ", hop limit {}, {} bytes", header.hop_limit(), packet.len());
        }
        Some(LaxNetSlice::Arp(_)) | None => {
            let _ = write!(text, "no IP packet, {} bytes", packet.len());
        }
    }
    text
}

/// What a packet is in a few words, and who sends it to whom: `TCP SYN` and `[2001:db8::1]:50000 > [64:ff9b::c633:6407]:443`.
pub(crate) fn brief(packet: &[u8]) -> (String, String) {
    let Some((source, destination)) = addresses(packet) else { return ("no IP packet".to_owned(), String::new()) };
    let transport = LaxSlicedPacket::from_ip(packet).ok().and_then(|sliced| sliced.transport);
    let with_ports = |from, to| format!("{} > {}", SocketAddr::new(source, from), SocketAddr::new(destination, to));
    let without = || format!("{source} > {destination}");
    match &transport {
        Some(TransportSlice::Tcp(tcp)) => {
            (format!("TCP {}", flags(tcp)), with_ports(tcp.source_port(), tcp.destination_port()))
        }
        Some(TransportSlice::Udp(udp)) => ("UDP".to_owned(), with_ports(udp.source_port(), udp.destination_port())),
        Some(TransportSlice::Icmpv4(icmp)) => (format!("ICMP {}", icmpv4(icmp)), without()),
        Some(TransportSlice::Icmpv6(icmp)) => (format!("ICMPv6 {}", icmpv6(icmp)), without()),
        Some(TransportSlice::Igmp(_)) => ("IGMP".to_owned(), without()),
        None => ("no transport header".to_owned(), without()),
    }
}

/// Source and destination of a packet.
pub(crate) fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let octets = |at: usize, len: usize| packet.get(at..at + len);
    match packet.first()? >> 4 {
        4 => {
            let address = |at| Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets(at, 4)?).ok()?).into());
            Some((address(12)?, address(16)?))
        }
        6 => {
            let address = |at| Some(Ipv6Addr::from(<[u8; 16]>::try_from(octets(at, 16)?).ok()?).into());
            Some((address(8)?, address(24)?))
        }
        _ => None,
    }
}

fn add_transport(text: &mut String, sliced: &LaxSlicedPacket<'_>) {
    let _ = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => write!(
            text,
            ", TCP {} > {} [{}] seq {} ack {} win {}",
            tcp.source_port(),
            tcp.destination_port(),
            flags(tcp),
            tcp.sequence_number(),
            tcp.acknowledgment_number(),
            tcp.window_size()
        ),
        Some(TransportSlice::Udp(udp)) => {
            write!(text, ", UDP {} > {} length {}", udp.source_port(), udp.destination_port(), udp.length())
        }
        Some(TransportSlice::Icmpv4(icmp)) => write!(text, ", ICMP {}", icmpv4(icmp)),
        Some(TransportSlice::Icmpv6(icmp)) => write!(text, ", ICMPv6 {}", icmpv6(icmp)),
        Some(TransportSlice::Igmp(_)) => write!(text, ", IGMP"),
        None => Ok(()),
    };
}

fn flags(tcp: &TcpSlice<'_>) -> String {
    let flags = [
        ("SYN", tcp.syn()),
        ("ACK", tcp.ack()),
        ("PSH", tcp.psh()),
        ("FIN", tcp.fin()),
        ("RST", tcp.rst()),
        ("URG", tcp.urg()),
        ("ECE", tcp.ece()),
        ("CWR", tcp.cwr()),
    ];
    let set: Vec<&str> = flags.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
    if set.is_empty() { "none".to_owned() } else { set.join(",") }
}

fn icmpv4(icmp: &Icmpv4Slice<'_>) -> String {
    use etherparse::Icmpv4Type::{DestinationUnreachable, EchoReply, EchoRequest, TimeExceeded};
    let inside = || inside(icmp.payload());
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is told by number")]
    match icmp.icmp_type() {
        EchoRequest(echo) => format!("echo request id {} seq {}", echo.id, echo.seq),
        EchoReply(echo) => format!("echo reply id {} seq {}", echo.id, echo.seq),
        DestinationUnreachable(code) => format!("destination unreachable ({}){}", code.code_u8(), inside()),
        TimeExceeded(_) => format!("time exceeded{}", inside()),
        _ => format!("type {} code {}", icmp.type_u8(), icmp.code_u8()),
    }
}

fn icmpv6(icmp: &Icmpv6Slice<'_>) -> String {
    use etherparse::Icmpv6Type::{DestinationUnreachable, EchoReply, EchoRequest, PacketTooBig, TimeExceeded};
    let inside = || inside(icmp.payload());
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is told by number")]
    match icmp.icmp_type() {
        EchoRequest(echo) => format!("echo request id {} seq {}", echo.id, echo.seq),
        EchoReply(echo) => format!("echo reply id {} seq {}", echo.id, echo.seq),
        DestinationUnreachable(code) => format!("destination unreachable ({}){}", code.code_u8(), inside()),
        PacketTooBig { mtu } => format!("packet too big, MTU {mtu}{}", inside()),
        TimeExceeded(_) => format!("time exceeded{}", inside()),
        _ => format!("type {} code {}", icmp.type_u8(), icmp.code_u8()),
    }
}

/// What an error is about.
fn inside(packet: &[u8]) -> String {
    match LaxSlicedPacket::from_ip(packet) {
        Ok(sliced) if sliced.net.is_some() => {
            let ends = addresses(packet).map(|(from, to)| format!("{from} > {to}")).unwrap_or_default();
            let mut text = format!(" about ({ends}");
            add_transport(&mut text, &sliced);
            text + ")"
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    #[test]
    fn packets_are_told_in_a_line() {
        let mut tcp = Vec::new();
        PacketBuilder::ipv6([0x20; 16], [0x64; 16], 64).tcp(50_000, 443, 7, 1000).syn().write(&mut tcp, b"").unwrap();
        let mut udp = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, 1], [198, 51, 100, 7], 3).udp(53, 4000).write(&mut udp, b"data").unwrap();
        let mut error = Vec::new();
        let code = etherparse::icmpv4::DestUnreachableHeader::Port;
        let unreachable = etherparse::Icmpv4Type::DestinationUnreachable(code);
        PacketBuilder::ipv4([203, 0, 113, 1], [192, 0, 2, 1], 64).icmpv4(unreachable).write(&mut error, &udp).unwrap();
        let lines = [&tcp[..], &udp, &error, &[0x60, 0], &[]].map(line).join("\n");
        insta::assert_snapshot!(lines, @r"
        IPv6 2020:2020:2020:2020:2020:2020:2020:2020 > 6464:6464:6464:6464:6464:6464:6464:6464, TCP 50000 > 443 [SYN] seq 7 ack 0 win 1000, hop limit 64, 60 bytes
        IPv4 192.0.2.1 > 198.51.100.7, UDP 53 > 4000 length 12, TTL 3, DF, 32 bytes
        IPv4 203.0.113.1 > 192.0.2.1, ICMP destination unreachable (3) about (192.0.2.1 > 198.51.100.7, UDP 53 > 4000 length 12), TTL 64, DF, 60 bytes
        no IP packet, 2 bytes
        no IP packet, 0 bytes
        ");
    }
}
