//! From IPv6 to IPv4: RFC 6146 §3.4 to §3.8, in its order.

use std::net::{IpAddr, Ipv4Addr};

use crate::filter;
use crate::fragment::{Admission, Arrival, Held, Key, allow_fragmentation};
use crate::packet::{self, HEADROOM, PacketBuf, Parsed6, Upper};
use crate::pass::{Pass, Passed};
use crate::policy::ErrorPolicy;
use crate::refuse::Stop;
use crate::rewrite::{self, Endpoints, ErrorEndpoints};
use crate::session::{External, Outgoing};
use crate::transport::{Transport, arrival_upper, segments};
use crate::verdict::{Direction, DropReason};

/// Bytes that an IPv4 header of 20 bytes can announce after itself.
const MOST_PAYLOAD_V4: u32 = 65_535 - 20;

/// Where a packet goes: the prefix its destination is under, and the IPv4 address in it.
#[derive(Clone, Copy)]
struct Target {
    prefix: u8,
    remote: Ipv4Addr,
}

impl Pass<'_> {
    #[inline]
    pub(crate) fn six_to_four(&mut self, packet: &mut PacketBuf<'_>) -> Result<Passed, Stop> {
        let terms = self.terms;
        let parsed =
            packet::parse_v6(packet.bytes()).map_err(|error| filter::unparsed_v6(terms, packet.bytes(), error))?;
        let (prefix, remote) = filter::from_ipv6(terms, parsed.source, parsed.destination)?;
        if parsed.hop_limit <= 1 {
            return Err(DropReason::HopLimitExceeded.into());
        }
        if parsed.total_len > u32::from(parsed.header_len) + MOST_PAYLOAD_V4 {
            return Err(DropReason::TooBig.into());
        }
        if !terms.policy.hairpinning && terms.pool.index_of(remote).is_some() {
            return Err(DropReason::AdministrativelyProhibited.into());
        }
        let target = Target { prefix, remote };
        if parsed.fragment.is_some() {
            return self.fragment_six_to_four(packet, &parsed, target);
        }
        if let Upper::IcmpError { .. } = parsed.upper {
            self.error_six_to_four(packet, &parsed, target)?;
        } else {
            self.send_to_ipv4(packet, &parsed, target, parsed.upper)?;
        }
        self.hairpin(packet, target)
    }

    /// Translates a packet whose transport is known: its own, or that of the datagram it is a fragment of.
    #[inline]
    fn send_to_ipv4(
        &mut self,
        packet: &mut PacketBuf<'_>,
        parsed: &Parsed6,
        target: Target,
        upper: Upper,
    ) -> Result<(), Stop> {
        let transport = Transport::of(upper, Direction::SixToFour)?;
        let transport = transport.with_numbers(parsed.upper, packet.bytes(), parsed.header_len);
        let terms = self.terms;
        if !terms.policy.exclusions.is_empty()
            && let Some((_, rule)) =
                filter::exclusion(&terms.policy, parsed.source, (target.remote, transport.far), transport.protocol)
        {
            return Err(Stop { silent: rule.silent, ..DropReason::AdministrativelyProhibited.into() });
        }
        let (packets, bytes) = segments(packet);
        let outgoing = Outgoing {
            protocol: transport.protocol,
            source: parsed.source,
            source_port: transport.near,
            remote: target.remote,
            remote_port: transport.far,
            prefix: target.prefix,
            trigger: transport.trigger,
            packets,
            bytes,
        };
        let external = self.send(&outgoing)?;
        let to = Endpoints {
            source: terms.pool.address(external.address),
            source_port: external.port,
            destination: target.remote,
            destination_port: transport.far,
        };
        self.clamp_mss(packet, parsed.header_len, transport.trigger);
        let identification = self.worker.identifications.next();
        rewrite::six_to_four(packet, parsed, &to, &terms.policy.header, identification)?;
        let counters = &self.worker.counters;
        counters.count_translated(Direction::SixToFour, transport.protocol, packets.into(), bytes.into());
        Ok(())
    }

    /// Takes a packet to its session, or makes one for it.
    #[inline(always)]
    fn send(&mut self, outgoing: &Outgoing) -> Result<External, DropReason> {
        let mut shard = self.translator.shard_of(outgoing.source);
        match shard.known_outbound(self.rules(), outgoing) {
            Ok(external) => Ok(external),
            Err(mapping) => shard.open_outbound(&mut self.context(), mapping, outgoing),
        }
    }

    /// A packet for a pool address is turned round (RFC 6146 §3.8).
    #[inline]
    fn hairpin(&mut self, packet: &mut PacketBuf<'_>, target: Target) -> Result<Passed, Stop> {
        if self.terms.pool.index_of(target.remote).is_none() {
            return Ok(Passed::Translated);
        }
        self.turn_round(packet)
    }

    #[cold]
    fn turn_round(&mut self, packet: &mut PacketBuf<'_>) -> Result<Passed, Stop> {
        match self.four_to_six(packet, true) {
            Ok(Passed::Held) => Ok(Passed::Held),
            Ok(Passed::Translated | Passed::Hairpinned | Passed::Refused(_)) => Ok(Passed::Hairpinned),
            // The answer, if there is one, is an IPv4 packet for the sender's own mapping.
            Err(stop) if self.answer(packet, stop, Direction::FourToSix) && self.four_to_six(packet, true).is_ok() => {
                Ok(Passed::Refused(stop.reason))
            }
            Err(stop) => Err(Stop { silent: true, ..stop }),
        }
    }

    /// An ICMPv6 error about a packet that went from IPv4 to IPv6 (RFC 6146 §3.4, §3.6; RFC 7915 §5.2, §5.3).
    fn error_six_to_four(&mut self, packet: &mut PacketBuf<'_>, parsed: &Parsed6, target: Target) -> Result<(), Stop> {
        let (translator, terms) = (self.translator, self.terms);
        let embedded = packet::parse_embedded_v6(packet::original_datagram(packet.bytes(), parsed))?;
        // The packet inside went the other way: what is its destination is the host behind the translator.
        let (_, remote) = terms.prefixes.extract(embedded.source).ok_or(DropReason::BadEmbeddedPacket)?;
        let inside = Transport::inside_error(embedded.upper, Direction::FourToSix)?;
        let host = embedded.destination;
        let external = translator
            .shard_of(host)
            .external_of(&terms.policy, inside.protocol, (host, inside.near), (remote, inside.far))
            .ok_or(DropReason::NoMapping)?;
        let pool_address = terms.pool.address(external.address);
        let identification = self.worker.identifications.next();
        // A router's own IPv6 address has no IPv4 counterpart (RFC 6791 §3.1); the host's own does.
        let errors = &terms.policy.errors;
        let source = if parsed.source == host { None } else { of_router(errors, identification) };
        let source = source.unwrap_or(pool_address);
        let to = ErrorEndpoints {
            source,
            destination: target.remote,
            embedded: Endpoints {
                source: remote,
                source_port: inside.far,
                destination: pool_address,
                destination_port: external.port,
            },
        };
        let header = &terms.policy.header;
        let is_hairpin = terms.pool.index_of(target.remote).is_some();
        let links = translator.link_mtus();
        let links = if is_hairpin { links.of_hairpin() } else { links };
        rewrite::error_six_to_four(packet, parsed, &embedded, &to, header, &links, identification)?;
        self.count_error(packet, Direction::SixToFour);
        Ok(())
    }

    #[cold]
    fn fragment_six_to_four(
        &mut self,
        packet: &mut PacketBuf<'_>,
        parsed: &Parsed6,
        target: Target,
    ) -> Result<Passed, Stop> {
        let Some(place) = parsed.fragment else { return Err(DropReason::Malformed.into()) };
        if let Upper::Other(_) = parsed.upper {
            return Err(DropReason::UnsupportedProtocol.into());
        }
        let key = Key {
            source: IpAddr::V6(parsed.source),
            destination: IpAddr::V6(parsed.destination),
            identification: parsed.identification,
            // Fragments may name different ones; what the first says holds (RFC 8200 §4.5).
            protocol: 0,
        };
        let upper = parsed.upper.of_first_fragment();
        let len = (parsed.total_len as usize).min(packet.len());
        let arrival = Arrival {
            key,
            place,
            header_len: parsed.header_len.into(),
            packet: &packet.bytes()[..len],
            upper,
            only_whole: parsed.upper.is_checked_whole(),
        };
        match self.admit(&arrival)? {
            Admission::Held => Ok(Passed::Held),
            Admission::Whole(whole, held) => {
                let passed = self.whole_six_to_four(whole, parsed.identification);
                self.count_if_lost(&passed, held);
                passed
            }
            Admission::Translate(upper, early) => {
                let passed = self.piece_six_to_four(packet, parsed, target, upper);
                self.count_if_lost(&passed, early.len());
                if passed.is_ok() {
                    early.into_iter().for_each(|held| self.release_six_to_four(held, upper));
                }
                passed
            }
        }
    }

    /// Translates a fragment of a datagram that carries `upper`.
    fn piece_six_to_four(
        &mut self,
        packet: &mut PacketBuf<'_>,
        parsed: &Parsed6,
        target: Target,
        upper: Upper,
    ) -> Result<Passed, Stop> {
        let own = arrival_upper(parsed.upper, upper);
        let tail = Upper::Tail(upper.protocol_number_v6());
        let parsed = Parsed6 { upper: if let Upper::Tail(_) = parsed.upper { tail } else { parsed.upper }, ..*parsed };
        self.send_to_ipv4(packet, &parsed, target, own)?;
        self.hairpin(packet, target)
    }

    /// Translates a fragment that had to wait for the first of its datagram.
    fn release_six_to_four(&mut self, mut held: Held, upper: Upper) {
        let mut packet = held.packet();
        let translated = packet::parse_v6(packet.bytes()).map_err(Stop::from).and_then(|parsed| {
            let (prefix, remote) = filter::from_ipv6(self.terms, parsed.source, parsed.destination)?;
            self.piece_six_to_four(&mut packet, &parsed, Target { prefix, remote }, upper)
        });
        self.spill(&packet, translated);
    }

    /// Translates a datagram that had to be put together.
    fn whole_six_to_four(&mut self, mut whole: Held, identification: u32) -> Result<Passed, Stop> {
        whole.make_whole_v6();
        let mut packet = whole.packet();
        let passed = self.six_to_four(&mut packet)?;
        if passed == Passed::Translated {
            // It came in fragments, so that IPv4 may fragment it again, under the same identification.
            #[expect(clippy::cast_possible_truncation, reason = "RFC 7915 §5.1.1 takes the low-order 16 bits")]
            allow_fragmentation(packet.bytes_mut(), identification as u16);
        }
        self.spill(&packet, Ok(passed));
        Ok(Passed::Held)
    }
}

/// The source of a translated error from an IPv6 router (RFC 6791 §5), if one is configured; `random` is as good as.
fn of_router(policy: &ErrorPolicy, random: u16) -> Option<Ipv4Addr> {
    let sources = &policy.router_sources;
    if sources.is_empty() { policy.source4 } else { sources.get(usize::from(random) % sources.len()).copied() }
}

impl Held {
    pub(crate) fn packet(&mut self) -> PacketBuf<'_> {
        PacketBuf::new(&mut self.storage, HEADROOM, self.len, packet::Offload::default())
    }
}
