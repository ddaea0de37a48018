//! A translator with short timers and small limits, and what must be true of it after every step.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use nat64_core::packet::{HEADROOM, Offload, PacketBuf, parse_v4, parse_v6};
use nat64_core::policy::{
    Filtering, FlowLabel, MappingBehavior, PoolRange, PortAssignment, PortBlocks, StaticMapping, UdpZeroChecksum,
};
use nat64_core::{LinkMtus, Policy, Protocol, Timestamp, Translator, Verdict, Worker};
use pref64::Pref64;

use super::wire;

pub(super) const POOL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const SERVERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(203, 0, 113, 9), Ipv4Addr::new(8, 8, 8, 8)];

/// A host behind the translator.
pub(super) fn host(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xa, u16::from(number % 2), 0, 0, 0, u16::from(number % 4) + 1)
}

/// How an IPv4 host looks from inside.
pub(super) fn six(address: Ipv4Addr) -> Ipv6Addr {
    Pref64::WELL_KNOWN.embed(address)
}

/// One of a few policies.
pub(super) fn policy(choice: u8) -> Policy {
    let pool = PoolRange { first_port: 1000, last_port: 1063, ..PoolRange::address(POOL) };
    let mut policy = Policy::new(vec![Pref64::WELL_KNOWN], vec![pool]);
    policy.well_known = pref64::WellKnownPolicy::AllowPrivate;
    let second = Duration::from_secs(1);
    policy.timers.udp = second;
    policy.timers.icmp = second;
    policy.timers.tcp_established = 2 * second;
    policy.timers.tcp_opening = second;
    policy.timers.tcp_closing = second;
    policy.timers.tcp_transitory = second;
    policy.timers.tcp_incoming_syn = second;
    policy.timers.port_quarantine = second;
    policy.limits.sessions = 24;
    policy.limits.mappings = 16;
    policy.limits.fragments = 16;
    policy.limits.fragment_bytes = 8192;
    policy.limits.stored_syns = 8;
    policy.static_mappings =
        vec![StaticMapping { protocol: Protocol::Tcp, internal: (host(0), 443), external: (POOL, 1000) }];
    if choice & 1 != 0 {
        policy.filtering = Filtering::AddressDependent;
    }
    if choice & 2 != 0 {
        policy.header.flow_label = FlowLabel::Hash;
        policy.mtu.clamp_mss_to_ipv6_mtu = Some(1400);
        policy.errors.source4 = Some(Ipv4Addr::new(203, 0, 113, 254));
        policy.errors.source6 = Some(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1));
    }
    if choice & 16 != 0 {
        policy.header.udp_zero_checksum = UdpZeroChecksum::Forward;
        policy.header.copy_traffic_class = false;
        policy.header.tos = 0x48;
        policy.header.name_routers = true;
        policy.errors.router_sources = vec![Ipv4Addr::new(203, 0, 113, 253), Ipv4Addr::new(203, 0, 113, 252)];
    }
    match choice >> 2 & 3 {
        1 => policy.port_assignment = PortAssignment::Blocks(PortBlocks { size: 16, per_subscriber: 1 }),
        2 => policy.mapping = MappingBehavior::AddressAndPortDependent,
        _ => {}
    }
    policy
}

/// The translator, its worker and the time.
pub(super) struct Lab {
    translator: Translator,
    worker: Worker,
    now: Timestamp,
    /// Whether UDP without a checksum comes out without.
    forwards: bool,
    /// What came out last.
    pub(super) last: Vec<u8>,
}

impl Lab {
    pub(super) fn new(policy: Policy) -> Self {
        let forwards = policy.header.udp_zero_checksum == UdpZeroChecksum::Forward;
        let translator = Translator::new(policy, 7).unwrap_or_else(|error| panic!("{error}"));
        translator.set_link_mtus(LinkMtus { ipv4: Some(1400), ipv6: Some(1500) });
        Self { translator, worker: Worker::new(), now: Timestamp::ZERO, forwards, last: Vec::new() }
    }

    /// Sends a packet and looks at what comes of it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Verdict {
        let mut storage = vec![0xee; HEADROOM + bytes.len() + HEADROOM];
        storage[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        let mut packet = PacketBuf::new(&mut storage, HEADROOM, bytes.len(), Offload::default());
        let verdict = self.translator.batch(self.now, &mut self.worker).translate(&mut packet);
        let without_checksum =
            bytes.first() == Some(&0x45) && bytes.get(9) == Some(&17) && bytes.get(26..28) == Some(&[0, 0]);
        let right = wire::is_plain_and_right(bytes) && !(self.forwards && without_checksum);
        if let Verdict::Translated(_) | Verdict::Hairpinned | Verdict::Refused(_) = verdict {
            check(packet.bytes(), right, bytes);
            self.last = packet.bytes().to_vec();
        }
        self.drain(right, bytes);
        self.worker.events.drain().for_each(drop);
        verdict
    }

    /// Lets time pass, and what is due expire.
    pub(super) fn pass(&mut self, millis: u64) {
        self.now = Timestamp::from_millis(self.now.as_millis() + millis);
        while self.translator.expire(self.now, &mut self.worker) {
            self.drain(true, &[]);
        }
        self.drain(true, &[]);
        self.worker.events.drain().for_each(drop);
    }

    /// Checks the tables, lets everything expire and checks that nothing is left.
    pub(super) fn finish(mut self) {
        self.check_usage();
        // Established sessions become transitory ones, those end, and their ports rest.
        [2500, 1500, 1500].into_iter().for_each(|millis| self.pass(millis));
        let usage = self.translator.usage();
        assert_eq!(usage.sessions, [0; 3], "sessions are left");
        assert_eq!((usage.mappings, usage.pool_ports_taken), ([1, 0, 0], [1, 0, 0]), "all but the static one is left");
        self.check_usage();
    }

    fn check_usage(&self) {
        let (mut mappings, mut sessions) = ([0; 3], [0; 3]);
        for shard in 0..self.translator.shards() {
            self.translator.visit_mappings(shard, &mut |mapping| mappings[mapping.protocol as usize] += 1);
            self.translator.visit_sessions(shard, self.now, &mut |session| sessions[session.protocol as usize] += 1);
        }
        let usage = self.translator.usage();
        assert_eq!((usage.mappings, usage.sessions), (mappings, sessions));
        assert!(sessions.iter().sum::<u32>() <= 24 && mappings.iter().sum::<u32>() <= 17, "{usage:?}");
    }

    fn drain(&mut self, right: bool, from: &[u8]) {
        let last = &mut self.last;
        self.worker.spill.drain(|packet, _| {
            check(packet, right && !from.is_empty(), from);
            *last = packet.to_vec();
        });
    }
}

/// What must be true of every packet that comes out; of one that was right, that it is right.
fn check(packet: &[u8], right: bool, from: &[u8]) {
    assert!(wire::has_a_right_header(packet), "{packet:02x?}\nfrom {from:02x?}");
    let read = if packet[0] >> 4 == 6 { parse_v6(packet).err() } else { parse_v4(packet).err() };
    assert_eq!(read, None, "{packet:02x?}\nfrom {from:02x?}");
    let whole =
        if packet[0] >> 4 == 6 { packet[6] != 44 } else { u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff == 0 };
    if right && whole {
        assert!(wire::is_plain_and_right(packet), "{packet:02x?}\nfrom {from:02x?}");
    }
}
