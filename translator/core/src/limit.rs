//! Telling of limits that a packet meets before it comes to the tables, which tell of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::event::{Event, EventKind};
use crate::fragment::Key;
use crate::packet::Protocol;
use crate::pass::Pass;
use crate::verdict::DropReason;

impl Pass<'_> {
    #[cold]
    pub(crate) fn tell_of_fragment_limit(&mut self, key: &Key) {
        let (nobody, nowhere) = ((Ipv6Addr::UNSPECIFIED, 0), (Ipv4Addr::UNSPECIFIED, 0));
        // Not all fragments name their datagram's; most datagrams that come in fragments are UDP's.
        let protocol = match key.protocol {
            1 => Protocol::Icmp,
            6 => Protocol::Tcp,
            _ => Protocol::Udp,
        };
        let (internal, external, remote) = match (key.source, key.destination) {
            (IpAddr::V6(source), IpAddr::V6(to)) => {
                let remote = self.terms.prefixes.extract(to);
                ((source, 0), nowhere, remote.map_or(nowhere, |(_, remote)| (remote, 0)))
            }
            (IpAddr::V4(source), IpAddr::V4(to)) => (nobody, (to, 0), (source, 0)),
            _ => (nobody, nowhere, nowhere),
        };
        self.tell_of_refusal(DropReason::FragmentLimit, protocol, (internal, external, remote));
    }

    /// Tells of what was refused before it came to the tables, which tell of the rest. Anybody can send such, so that only
    /// some of them are told: no other event must find the buffer full of these.
    #[cold]
    pub(crate) fn tell_of_refusal(
        &mut self,
        reason: DropReason,
        protocol: Protocol,
        (internal, external, remote): ((Ipv6Addr, u16), (Ipv4Addr, u16), (Ipv4Addr, u16)),
    ) {
        const TOLD_IN_A_SECOND: u32 = 10;
        if !self.worker.reports.take(self.now, TOLD_IN_A_SECOND) {
            return;
        }
        self.worker.events.push(Event {
            at: self.now,
            kind: EventKind::Refused(reason),
            protocol,
            internal,
            external,
            remote: Some(remote),
            prefix: 0,
            began: self.now,
        });
    }
}
