//! The short way of packets whose session exists.
//!
//! Most packets are TCP segments or UDP datagrams right behind a plain IP header, of a session that exists. What the whole
//! way asks about their addresses was answered when the session was made, under the same policy; so they are looked up and
//! rewritten at once. A packet with anything else to it is left as it is and goes the whole way, which comes to the same.

use std::net::Ipv6Addr;

use crate::filter;
use crate::packet::{PacketBuf, Protocol, protocol_number, tcp_flags};
use crate::pass::Pass;
use crate::policy::{FlowLabel, MappingBehavior, Policy};
use crate::rewrite::{self, Endpoints, Plain4, Plain6};
use crate::session::{External, Incoming, Internal, Outgoing, Tcp, Trigger};
use crate::transport::segments;
use crate::verdict::Direction;

/// Whether sessions answer for the addresses and headers of their packets under this policy.
pub(crate) fn sessions_vouch(policy: &Policy) -> bool {
    let [prefix] = policy.prefixes.as_slice() else { return false };
    let legal = |host: Ipv6Addr| filter::is_sender6(host) && !prefix.contains(host);
    policy.exclusions.is_empty()
        && policy.mapping == MappingBehavior::EndpointIndependent
        && policy.header.flow_label == FlowLabel::Zero
        && policy.static_mappings.iter().all(|mapping| legal(mapping.internal.0))
}

/// What a transport header says to the session tables.
struct Carried {
    protocol: Protocol,
    source_port: u16,
    destination_port: u16,
    trigger: Trigger,
}

impl Pass<'_> {
    /// Translates a packet of an established session. If it is none, or has anything to it that needs a closer look,
    /// nothing has happened.
    #[inline]
    pub(crate) fn established_six_to_four(&mut self, packet: &mut PacketBuf<'_>) -> Option<()> {
        let terms = self.terms;
        let (prefix, vouched) = terms.vouched?;
        let plain = Plain6::of(packet.bytes())?;
        let carried = Carried::of(plain.protocol(), plain.transport)?;
        let remote = vouched.extract(plain.destination())?;
        if plain.hop_limit() <= 1 || terms.pool.index_of(remote).is_some() {
            return None;
        }
        let (packets, bytes) = segments(packet);
        let outgoing = Outgoing {
            protocol: carried.protocol,
            source: plain.source(),
            source_port: carried.source_port,
            remote,
            remote_port: carried.destination_port,
            prefix,
            trigger: carried.trigger,
            packets,
            bytes,
        };
        let External { address, port } =
            self.translator.shard_of(plain.source()).known_outbound(self.rules(), &outgoing).ok()?;
        let to = Endpoints {
            source: terms.pool.address(address),
            source_port: port,
            destination: remote,
            destination_port: carried.destination_port,
        };
        let identification = self.worker.identifications.next();
        rewrite::plain_six_to_four(packet, &to, &terms.policy.header, identification);
        self.worker.counters.count_translated(Direction::SixToFour, carried.protocol, packets.into(), bytes.into());
        Some(())
    }

    /// As [`Pass::established_six_to_four`], for the other direction.
    #[inline]
    pub(crate) fn established_four_to_six(&mut self, packet: &mut PacketBuf<'_>) -> Option<()> {
        let terms = self.terms;
        let plain = Plain4::of(packet.bytes())?;
        let carried = Carried::of(plain.protocol(), plain.transport)?;
        let pool = &terms.pool;
        let fits = plain.dont_fragment() || self.fits_ipv6(packet.len() + 20);
        if plain.ttl() <= 1 || !fits || terms.vouched.is_none() || pool.index_of(plain.source()).is_some() {
            return None;
        }
        let (packets, bytes) = segments(packet);
        let external = External { address: pool.index_of(plain.destination())?, port: carried.destination_port };
        let incoming = Incoming {
            protocol: carried.protocol,
            external,
            remote: plain.source(),
            remote_port: carried.source_port,
            trigger: carried.trigger,
            packets,
            bytes,
        };
        let (mut shard, mapping) =
            self.translator.owner_of(pool, carried.protocol, external, (plain.source(), carried.source_port))?;
        let Internal { address, port, prefix } = shard.known_inbound(self.rules(), mapping, &incoming).ok()?;
        drop(shard);
        let to = Endpoints {
            source: terms.prefixes.at(prefix).embed(plain.source()),
            source_port: carried.source_port,
            destination: address,
            destination_port: port,
        };
        rewrite::plain_four_to_six(packet, &to, &terms.policy.header);
        self.worker.counters.count_translated(Direction::FourToSix, carried.protocol, packets.into(), bytes.into());
        Some(())
    }
}

impl Carried {
    /// What whole TCP segments and UDP datagrams carry; none where a closer look is needed.
    #[inline(always)]
    fn of(protocol: u8, transport: &[u8]) -> Option<Self> {
        let (protocol, trigger) = match protocol {
            protocol_number::TCP => {
                let header = transport.first_chunk::<20>()?;
                let header_len = usize::from(header[12] >> 4) * 4;
                // A SYN is likely to have no session, and carries options that policy may change.
                if header_len < header.len() || header_len > transport.len() || header[13] & tcp_flags::SYN != 0 {
                    return None;
                }
                let [_, _, _, _, a, b, c, d, e, f, g, h, ..] = *header;
                let sequence = u32::from_be_bytes([a, b, c, d]);
                let acknowledgment = u32::from_be_bytes([e, f, g, h]);
                (Protocol::Tcp, Trigger::Tcp(Tcp { flags: header[13], sequence, acknowledgment }))
            }
            protocol_number::UDP => {
                let header = transport.first_chunk::<8>()?;
                let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
                if len < header.len() || len > transport.len() || header[6..8] == [0, 0] {
                    return None;
                }
                (Protocol::Udp, Trigger::Datagram)
            }
            _ => return None,
        };
        let [a, b, c, d] = *transport.first_chunk()?;
        let (source_port, destination_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Some(Self { protocol, source_port, destination_port, trigger })
    }
}

#[cfg(test)]
mod tests;
