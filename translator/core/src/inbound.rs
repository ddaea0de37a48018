//! From IPv4 to IPv6: RFC 6146 §3.4 to §3.7, in its order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::event::{Event, EventKind};
use crate::filter;
use crate::fragment::{Admission, Arrival, Held, Key};
use crate::packet::{self, PacketBuf, Parsed4, Protocol, Upper, tcp_flags};
use crate::pass::{Pass, Passed};
use crate::policy::UdpZeroChecksum;
use crate::refuse::Stop;
use crate::rewrite::{self, Endpoints, ErrorEndpoints, Split};
use crate::session::{External, Incoming, Internal, Trigger};
use crate::transport::{Transport, arrival_upper, segments};
use crate::verdict::{Direction, DropReason};

impl Pass<'_> {
    /// `hairpinned` is set for a packet that has just come from the IPv6 side.
    #[inline]
    pub(crate) fn four_to_six(&mut self, packet: &mut PacketBuf<'_>, hairpinned: bool) -> Result<Passed, Stop> {
        let pool = &self.terms.pool;
        let parsed =
            packet::parse_v4(packet.bytes()).map_err(|error| filter::unparsed_v4(pool, packet.bytes(), error))?;
        let pool = filter::from_ipv4(pool, parsed.source, parsed.destination, hairpinned)?;
        let is_error = matches!(parsed.upper, Upper::IcmpError { .. }) && parsed.fragment.is_none();
        if !is_error {
            filter::sender4(parsed.source)?;
        }
        if parsed.hop_limit <= 1 {
            return Err(DropReason::HopLimitExceeded.into());
        }
        if parsed.fragment.is_some() {
            return self.fragment_four_to_six(packet, &parsed, pool);
        }
        if is_error {
            return self.error_four_to_six(packet, &parsed, hairpinned);
        }
        self.send_to_ipv6(packet, &parsed, pool, parsed.upper)
    }

    /// Translates a packet whose transport is known: its own, or that of the datagram it is a fragment of.
    #[inline]
    fn send_to_ipv6(
        &mut self,
        packet: &mut PacketBuf<'_>,
        parsed: &Parsed4,
        pool: External,
        upper: Upper,
    ) -> Result<Passed, Stop> {
        let (translator, terms) = (self.translator, self.terms);
        let transport = Transport::of(upper, Direction::FourToSix)?;
        let transport = transport.with_numbers(parsed.upper, packet.bytes(), parsed.header_len);
        if let Upper::Udp { checksum: 0, .. } = upper
            && packet.offload.checksum.is_none()
            && terms.policy.header.udp_zero_checksum == UdpZeroChecksum::Drop
        {
            return Err(self.without_checksum(parsed, pool, &transport).into());
        }
        let (packets, bytes) = segments(packet);
        let external = External { port: transport.near, ..pool };
        let incoming = Incoming {
            protocol: transport.protocol,
            external,
            remote: parsed.source,
            remote_port: transport.far,
            trigger: transport.trigger,
            packets,
            bytes,
        };
        let internal = match self.receive(&incoming) {
            Ok(internal) => internal,
            Err(DropReason::NoMapping | DropReason::Filtered) if is_opening(transport.trigger) => {
                return self.store_syn(packet, &incoming);
            }
            Err(DropReason::AdministrativelyProhibited) => {
                return Err(silently(DropReason::AdministrativelyProhibited));
            }
            Err(reason) => return Err(reason.into()),
        };
        filter::may_represent(terms, internal.prefix, parsed.source)?;
        let to = Endpoints {
            source: terms.prefixes.at(internal.prefix).embed(parsed.source),
            source_port: transport.far,
            destination: internal.address,
            destination_port: internal.port,
        };
        self.clamp_mss(packet, parsed.header_len, transport.trigger);
        rewrite::four_to_six(packet, parsed, &to, &terms.policy.header, translator.flow_seed)?;
        let counters = &self.worker.counters;
        counters.count_translated(Direction::FourToSix, transport.protocol, packets.into(), bytes.into());
        self.fit(packet, parsed)
    }

    /// What IPv4 could have fragmented is made to fit the smallest IPv6 link (RFC 7915 §4.1).
    #[inline]
    fn fit(&mut self, packet: &mut PacketBuf<'_>, parsed: &Parsed4) -> Result<Passed, Stop> {
        if parsed.dont_fragment || self.fits_ipv6(packet.len()) {
            return Ok(Passed::Translated);
        }
        // RFC 7915 §4.1: the low-order 16 bits are the IPv4 identification, the high-order ones zero.
        let max = self.lowest_ipv6_mtu();
        match rewrite::split_v6(packet, parsed.identification, max, &mut self.worker.spill)? {
            Split::InPlace => Ok(Passed::Translated),
            Split::Spilled => Ok(Passed::Held),
        }
    }

    #[inline(always)]
    fn receive(&mut self, incoming: &Incoming) -> Result<Internal, DropReason> {
        let translator = self.translator;
        let remote = (incoming.remote, incoming.remote_port);
        let (mut shard, mapping) = translator
            .owner_of(&self.terms.pool, incoming.protocol, incoming.external, remote)
            .ok_or(DropReason::NoMapping)?;
        match shard.known_inbound(self.rules(), mapping, incoming) {
            Ok(internal) => Ok(internal),
            // The host's own pings have identifiers of the same range: without a session, it is the host's.
            Err(_) if incoming.protocol == Protocol::Icmp && self.is_shared(incoming.external) => {
                Err(DropReason::NoMapping)
            }
            Err(mapping) => shard.open_inbound(&mut self.context(), mapping, incoming),
        }
    }

    /// The host that a pool address and port stand for, to somebody in IPv4.
    fn host_behind(&self, protocol: Protocol, external: External, remote: (Ipv4Addr, u16)) -> Option<Internal> {
        let (shard, mapping) = self.translator.owner_of(&self.terms.pool, protocol, external, remote)?;
        shard.internal_of(mapping, protocol, external, remote)
    }

    /// Reports a datagram that is dropped because it has no checksum (RFC 7915 §4.5). Anybody outside can send such, so
    /// that only some of them are reported: no other event must find the buffer full of these.
    #[cold]
    fn without_checksum(&mut self, parsed: &Parsed4, pool: External, transport: &Transport) -> DropReason {
        const REPORTED_IN_A_SECOND: u32 = 10;
        let reason = DropReason::ZeroUdpChecksum;
        if self.worker.reports.take(self.now, REPORTED_IN_A_SECOND) {
            let external = External { port: transport.near, ..pool };
            let remote = (parsed.source, transport.far);
            let host = self.host_behind(transport.protocol, external, remote);
            self.worker.events.push(Event {
                at: self.now,
                kind: EventKind::Refused(reason),
                protocol: transport.protocol,
                internal: host.map_or((Ipv6Addr::UNSPECIFIED, 0), |host| (host.address, host.port)),
                external: (parsed.destination, transport.near),
                remote: Some(remote),
                prefix: host.map_or(0, |host| host.prefix),
                began: self.now,
            });
        }
        reason
    }

    /// A SYN that nobody inside has asked for may be half of a simultaneous open (RFC 6146 §3.5.2.2, CLOSED).
    #[cold]
    fn store_syn(&mut self, packet: &mut PacketBuf<'_>, incoming: &Incoming) -> Result<Passed, Stop> {
        let (translator, terms) = (self.translator, self.terms);
        let policy = &terms.policy;
        if !policy.inbound_tcp {
            return Err(silently(DropReason::AdministrativelyProhibited));
        }
        let external = (terms.pool.address(incoming.external.address), incoming.external.port);
        let remote = (incoming.remote, incoming.remote_port);
        // An error that quotes it must quote a checksum that is complete.
        packet::checksum::complete(packet);
        let deadline = self.tick.after(policy.timers.tcp_incoming_syn);
        let limit = policy.limits.stored_syns;
        if translator.stored_syns.store(external, remote, packet.bytes(), deadline, limit) {
            Ok(Passed::Held)
        } else {
            let ends = ((Ipv6Addr::UNSPECIFIED, 0), external, remote);
            self.tell_of_refusal(DropReason::StoredSynLimit, Protocol::Tcp, ends);
            Err(DropReason::StoredSynLimit.into())
        }
    }

    /// An ICMP error about a packet that went from IPv6 to IPv4 (RFC 6146 §3.4, §3.6; RFC 7915 §4.2, §4.3).
    #[cold]
    fn error_four_to_six(
        &mut self,
        packet: &mut PacketBuf<'_>,
        parsed: &Parsed4,
        hairpinned: bool,
    ) -> Result<Passed, Stop> {
        let (translator, terms) = (self.translator, self.terms);
        let embedded = packet::parse_embedded_v4(packet::original_datagram(packet.bytes(), parsed))?;
        // The packet inside went the other way: what is its source is the mapping's pool address.
        let address = terms.pool.index_of(embedded.source).ok_or(DropReason::BadEmbeddedPacket)?;
        let inside = Transport::inside_error(embedded.upper, Direction::SixToFour)?;
        let external = External { address, port: inside.near };
        let remote = (embedded.destination, inside.far);
        let internal = self.host_behind(inside.protocol, external, remote).ok_or(DropReason::NoMapping)?;
        let policy = &terms.policy;
        let prefix = terms.prefixes.at(internal.prefix);
        // Where the prefix must not stand for a router's address, the error comes from us: path MTU discovery must
        // work even behind a router with a private address.
        let source = match filter::may_represent(terms, internal.prefix, parsed.source) {
            Err(_) if !hairpinned => policy.errors.source6.unwrap_or_else(|| prefix.embed(embedded.destination)),
            _ => prefix.embed(parsed.source),
        };
        let to = ErrorEndpoints {
            source,
            destination: internal.address,
            embedded: Endpoints {
                source: internal.address,
                source_port: internal.port,
                destination: prefix.embed(embedded.destination),
                destination_port: inside.far,
            },
        };
        let links = translator.link_mtus();
        let links = if hairpinned { links.of_hairpin() } else { links };
        rewrite::error_four_to_six(packet, parsed, &embedded, &to, &policy.header, &links, translator.flow_seed)?;
        self.count_error(packet, Direction::FourToSix);
        Ok(Passed::Translated)
    }

    #[cold]
    fn fragment_four_to_six(
        &mut self,
        packet: &mut PacketBuf<'_>,
        parsed: &Parsed4,
        pool: External,
    ) -> Result<Passed, Stop> {
        let Some(place) = parsed.fragment else { return Err(DropReason::Malformed.into()) };
        if let Upper::Other(_) = parsed.upper {
            return Err(DropReason::UnsupportedProtocol.into());
        }
        let key = Key {
            source: IpAddr::V4(parsed.source),
            destination: IpAddr::V4(parsed.destination),
            identification: parsed.identification,
            protocol: parsed.upper.protocol_number_v4(),
        };
        let computes = self.terms.policy.header.udp_zero_checksum == UdpZeroChecksum::Compute;
        let without_checksum = matches!(parsed.upper, Upper::Udp { checksum: 0, .. });
        let len = (parsed.total_len as usize).min(packet.len());
        let arrival = Arrival {
            key,
            place,
            header_len: parsed.header_len.into(),
            packet: &packet.bytes()[..len],
            upper: parsed.upper.of_first_fragment(),
            only_whole: parsed.upper.is_checked_whole() || (computes && without_checksum),
        };
        match self.admit(&arrival)? {
            Admission::Held => Ok(Passed::Held),
            Admission::Whole(whole, held) => {
                let passed = self.whole_four_to_six(whole);
                self.count_if_lost(&passed, held);
                passed
            }
            Admission::Translate(upper, early) => {
                let passed = self.send_to_ipv6(packet, parsed, pool, arrival_upper(parsed.upper, upper));
                self.count_if_lost(&passed, early.len());
                if passed.is_ok() {
                    early.into_iter().for_each(|held| self.release_four_to_six(held, upper.of_later_fragment()));
                }
                passed
            }
        }
    }

    /// Translates a fragment that had to wait for the first of its datagram.
    fn release_four_to_six(&mut self, mut held: Held, upper: Upper) {
        let mut packet = held.packet();
        let translated = packet::parse_v4(packet.bytes()).map_err(Stop::from).and_then(|parsed| {
            let pool = filter::from_ipv4(&self.terms.pool, parsed.source, parsed.destination, true)?;
            self.send_to_ipv6(&mut packet, &parsed, pool, upper)
        });
        self.spill(&packet, translated);
    }

    /// Translates a datagram that had to be put together.
    fn whole_four_to_six(&mut self, mut whole: Held) -> Result<Passed, Stop> {
        whole.make_whole_v4();
        let mut packet = whole.packet();
        match self.four_to_six(&mut packet, true) {
            Err(_) if self.is_for_host(&packet) => self.spill(&packet, Ok(Passed::Translated)),
            passed => self.spill(&packet, Ok(passed?)),
        }
        Ok(Passed::Held)
    }
}

fn silently(reason: DropReason) -> Stop {
    Stop { silent: true, ..reason.into() }
}

const fn is_opening(trigger: Trigger) -> bool {
    match trigger {
        Trigger::Tcp(tcp) => tcp.flags & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST) == tcp_flags::SYN,
        Trigger::Datagram => false,
    }
}
