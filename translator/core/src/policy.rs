//! Policy: everything an operator decides about translation, as one immutable value.

mod check;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use pref64::{Pref64, WellKnownPolicy};

pub use check::PolicyError;

use crate::packet::Protocol;

/// What the translator is to do. Built from the configuration, checked by [`Policy::check`], then never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Translation prefixes. The first one that an IPv4 host was addressed by is used for its answers; packets that an
    /// IPv4 host starts come from the first of the list.
    pub prefixes: Vec<Pref64>,
    /// Whether the well-known prefix may carry non-global IPv4 addresses (RFC 6052 §3.1).
    pub well_known: WellKnownPolicy,
    /// The pool: IPv4 addresses and ports that belong to the translator.
    pub pool: Vec<PoolRange>,
    /// Addresses of the pool that this host has itself. ICMP that belongs to no session is handed back to the host.
    pub shared: Vec<Ipv4Addr>,
    /// Who uses which part of the pool. The most specific rule for a source counts; a source without a rule uses the
    /// addresses that no rule names.
    pub pool_rules: Vec<PoolRule>,
    /// Which packets of a host share a pool port.
    pub mapping: MappingBehavior,
    /// What happens when a subscriber's pool address has no port left.
    pub pooling: Pooling,
    /// How a subscriber comes by its ports.
    pub port_assignment: PortAssignment,
    /// Bits of a source address that name the subscriber: 48 to 128.
    pub subscriber_length: u8,
    /// Traffic that is not translated.
    pub exclusions: Vec<Exclusion>,
    /// Lifetimes.
    pub timers: Timers,
    /// Bounds of memory and of what one subscriber may take.
    pub limits: Limits,
    /// Who may send to a mapping.
    pub filtering: Filtering,
    /// Whether packets from outside keep a session alive, as those from inside do (RFC 4787 REQ-6, RFC 6146 §3.5).
    pub inbound_refresh: bool,
    /// Whether TCP connections may be opened from outside; otherwise such SYNs are dropped silently (RFC 6146 §3.5.2.2,
    /// CLOSED: "if the security policy requires").
    pub inbound_tcp: bool,
    /// Whether hosts behind the translator reach each other by pool addresses (RFC 6146 §3.8).
    pub hairpinning: bool,
    /// Whether a TCP reset changes the session only if its sequence number is near what the receiver expects
    /// (RFC 7857 §2.2). It is translated either way.
    pub check_resets: bool,
    /// Whether a TCP packet from inside that belongs to no session is answered with RST.
    pub reset_unknown_tcp: bool,
    /// Sizes.
    pub mtu: MtuPolicy,
    /// What becomes of header fields that have no exact counterpart.
    pub header: HeaderPolicy,
    /// ICMP errors of our own.
    pub errors: ErrorPolicy,
    /// Mappings that always exist.
    pub static_mappings: Vec<StaticMapping>,
    /// What takes no new sessions.
    pub draining: Draining,
}

/// What takes no new sessions, while those that exist go on. Mappings stay as long as they have sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draining {
    /// The whole translator.
    pub everything: bool,
    /// These addresses of the pool.
    pub addresses: Vec<Ipv4Addr>,
}

/// A mapping that always exists: what comes to its pool address and port goes to its host (RFC 6146 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticMapping {
    /// Its protocol.
    pub protocol: Protocol,
    /// Address and port (identifier for ICMP) of the host behind the translator.
    pub internal: (Ipv6Addr, u16),
    /// Pool address and port (identifier for ICMP).
    pub external: (Ipv4Addr, u16),
}

/// A part of the pool that belongs to some sources only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolRule {
    /// The sources.
    pub sources: Ipv6Net,
    /// First pool address.
    pub first: Ipv4Addr,
    /// Last pool address, not before the first.
    pub last: Ipv4Addr,
}

/// Which packets of a host share a pool port (RFC 4787 §4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MappingBehavior {
    /// All that come from one address and port, wherever they go. Peers can find each other by it (RFC 4787 REQ-1).
    #[default]
    EndpointIndependent,
    /// Those that go to one destination address and port; a pool port serves any number of hosts towards different
    /// destinations (RFC 7857 §3). For pools that are small for their subscribers; breaks peer-to-peer applications.
    AddressAndPortDependent,
}

/// What happens when a subscriber's pool address has no port left (RFC 7857 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// New mappings are refused: all that a subscriber sends comes from one address (RFC 6888 REQ-2).
    #[default]
    Paired,
    /// New mappings take another address ("soft" pairing).
    Soft,
}

/// How a subscriber comes by its ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortAssignment {
    /// One by one, at random from all that are free.
    #[default]
    Single,
    /// At random from blocks of its own, so that a log of blocks says who had a port.
    Blocks(PortBlocks),
    /// At random from a range that follows from its prefix alone, so that no log is needed (RFC 7422). These are the
    /// sources that have one; there is no service for others.
    Deterministic(Ipv6Net),
}

/// Blocks of consecutive ports, of all protocols together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBlocks {
    /// Ports of a block: a power of two, 16 to 16384. Blocks start at multiples of it; one of which only a part is in
    /// the pool is given out when all that are whole have been.
    pub size: u16,
    /// Blocks of one subscriber at the most, 1 to 64.
    pub per_subscriber: u16,
}

/// Traffic from inside that is not translated (RFC 6888 REQ-6). A packet is excluded when all that is given matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exclusion {
    /// Its source.
    pub source: Option<Ipv6Net>,
    /// Its IPv4 destination.
    pub destination: Option<Ipv4Net>,
    /// Its protocol.
    pub protocol: Option<Protocol>,
    /// Its destination port, from the first to the last; means TCP or UDP where no protocol is given.
    pub ports: Option<(u16, u16)>,
    /// The sender is not told.
    pub silent: bool,
}

/// A run of consecutive pool addresses with the ports that belong to the translator on each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolRange {
    /// First address.
    pub first: Ipv4Addr,
    /// Last address, not before the first.
    pub last: Ipv4Addr,
    /// First port (and ICMP identifier).
    pub first_port: u16,
    /// Last port, not before the first.
    pub last_port: u16,
}

impl PoolRange {
    /// One address with all ports but 0.
    #[must_use]
    pub const fn address(address: Ipv4Addr) -> Self {
        Self { first: address, last: address, first_port: 1, last_port: u16::MAX }
    }

    /// How many addresses the range has.
    #[must_use]
    pub const fn addresses(&self) -> u64 {
        (self.last.to_bits() - self.first.to_bits()) as u64 + 1
    }

    /// Whether the range has this address and port.
    #[must_use]
    pub fn has_port(&self, address: Ipv4Addr, port: u16) -> bool {
        (self.first..=self.last).contains(&address) && (self.first_port..=self.last_port).contains(&port)
    }

    /// Whether the range has an address and port that `other` has too.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last
            && other.first <= self.last
            && self.first_port <= other.last_port
            && other.first_port <= self.last_port
    }
}

/// Lifetimes of state, one second at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// A UDP session without packets (RFC 6146 §4 UDP_DEFAULT: 5 minutes).
    pub udp: Duration,
    /// An established TCP session without packets (RFC 6146 §4 TCP_EST: 2 hours and 4 minutes).
    pub tcp_established: Duration,
    /// A TCP session of which only one side has sent its SYN (RFC 6146 §4 TCP_TRANS, RFC 7857 §2.1: 4 minutes).
    pub tcp_opening: Duration,
    /// A TCP session that both sides have closed (RFC 6146 §4 TCP_TRANS, RFC 7857 §2.1: 4 minutes).
    pub tcp_closing: Duration,
    /// A TCP session that was reset, or silent and probed (RFC 6146 §4 TCP_TRANS: 4 minutes).
    pub tcp_transitory: Duration,
    /// A SYN from outside that waits for one from inside (RFC 6146 §4 TCP_INCOMING_SYN: 6 seconds).
    pub tcp_incoming_syn: Duration,
    /// An ICMP query session without packets (RFC 6146 §4 ICMP_DEFAULT: 60 seconds).
    pub icmp: Duration,
    /// The fragments of one datagram (RFC 6146 §4 FRAGMENT_MIN: 2 seconds).
    pub fragment: Duration,
    /// A released port before it is given out again (RFC 6888 REQ-8: 120 seconds); zero gives it out at once.
    pub port_quarantine: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            udp: Duration::from_secs(5 * 60),
            tcp_established: Duration::from_secs(2 * 3600 + 4 * 60),
            tcp_opening: Duration::from_secs(4 * 60),
            tcp_closing: Duration::from_secs(4 * 60),
            tcp_transitory: Duration::from_secs(4 * 60),
            tcp_incoming_syn: Duration::from_secs(6),
            icmp: Duration::from_secs(60),
            fragment: Duration::from_secs(2),
            port_quarantine: Duration::from_secs(120),
        }
    }
}

/// Bounds. A limit that is reached refuses what is new and never takes away what exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions in all.
    pub sessions: u32,
    /// Mappings in all.
    pub mappings: u32,
    /// Sessions of one subscriber; none means only the global limit counts.
    pub sessions_per_subscriber: Option<u32>,
    /// Mappings of one subscriber; none means only the global limit counts.
    pub mappings_per_subscriber: Option<u32>,
    /// New mappings of one subscriber in a second; none means no limit.
    pub new_mappings_per_second: Option<u32>,
    /// Ports that rest after use ([`Timers::port_quarantine`]); those beyond are free at once (RFC 6888 REQ-8).
    pub resting_ports: u32,
    /// Fragments held until their datagram's ports are known. One source may hold a quarter of them.
    pub fragments: u32,
    /// Bytes of these.
    pub fragment_bytes: u32,
    /// SYNs from outside that are stored. One remote host may have a quarter of them.
    pub stored_syns: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 1_000_000,
            mappings: 1_000_000,
            sessions_per_subscriber: None,
            mappings_per_subscriber: None,
            new_mappings_per_second: None,
            resting_ports: 1_000_000,
            fragments: 4096,
            fragment_bytes: 16 << 20,
            stored_syns: 1024,
        }
    }
}

/// Who may send to a mapping (RFC 4787 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filtering {
    /// Anyone who knows the pool address and port.
    #[default]
    EndpointIndependent,
    /// Only hosts that the mapping's owner has sent to.
    AddressDependent,
}

/// Sizes that translation keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MtuPolicy {
    /// IPv4 packets without DF are fragmented so that the IPv6 packets have this many bytes at most (RFC 7915 §4.1),
    /// 1280 to 65535.
    pub lowest_ipv6: u16,
    /// Lower the MSS option of SYNs to what fits this MTU on the IPv6 side, in bytes; none leaves it alone.
    pub clamp_mss_to_ipv6_mtu: Option<u16>,
}

impl Default for MtuPolicy {
    fn default() -> Self {
        Self { lowest_ipv6: 1280, clamp_mss_to_ipv6_mtu: None }
    }
}

/// Header fields that translation may set in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderPolicy {
    /// Copy the traffic class and TOS octet (RFC 7915 §4.1, §5.1); otherwise the traffic class is zero, and the TOS
    /// octet is [`Self::tos`].
    pub copy_traffic_class: bool,
    /// The TOS octet of packets to IPv4 if it is not copied (RFC 7915 §5.1).
    pub tos: u8,
    /// Append to a translated error from an IPv6 router the address that it had (RFC 6791 §4, RFC 5837).
    pub name_routers: bool,
    /// The flow label of packets towards IPv6.
    pub flow_label: FlowLabel,
    /// UDP without a checksum (RFC 7915 §4.5).
    pub udp_zero_checksum: UdpZeroChecksum,
}

impl Default for HeaderPolicy {
    fn default() -> Self {
        Self {
            copy_traffic_class: true,
            tos: 0,
            name_routers: false,
            flow_label: FlowLabel::Zero,
            udp_zero_checksum: UdpZeroChecksum::Compute,
        }
    }
}

/// The flow label that packets towards IPv6 get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowLabel {
    /// Zero (RFC 7915 §4.1).
    #[default]
    Zero,
    /// A hash of addresses, ports and protocol (RFC 6437 §3).
    Hash,
}

/// What to do with UDP without a checksum, which IPv4 allows and IPv6 does not (RFC 8200 §8.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UdpZeroChecksum {
    /// Compute one, after reassembly where the datagram is fragmented (RFC 6146 §3.4).
    #[default]
    Compute,
    /// Drop the packet.
    Drop,
    /// Pass it on without, in both directions, for tunnels whose ends agree to that (RFC 6936).
    Forward,
}

/// ICMP errors of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPolicy {
    /// Whether they are sent at all.
    pub send: bool,
    /// How many a worker may send in a second.
    pub rate: u32,
    /// Their source towards IPv6. Without one, errors come from the address the packet was sent to.
    pub source6: Option<Ipv6Addr>,
    /// Their source towards IPv4. Without one, it is the pool address that the packet was sent to or from.
    pub source4: Option<Ipv4Addr>,
    /// Sources of translated errors from IPv6 routers, whose own addresses cannot be translated: one at random for each
    /// error (RFC 6791 §5). Without any, it is [`Self::source4`].
    pub router_sources: Vec<Ipv4Addr>,
}

impl Default for ErrorPolicy {
    fn default() -> Self {
        Self { send: true, rate: 1000, source6: None, source4: None, router_sources: Vec::new() }
    }
}

impl Policy {
    /// The most addresses a pool may have in all.
    pub const MAX_POOL_ADDRESSES: u64 = 16_384;

    /// A policy with the defaults of every field but these.
    #[must_use]
    pub fn new(prefixes: Vec<Pref64>, pool: Vec<PoolRange>) -> Self {
        Self {
            prefixes,
            pool,
            well_known: WellKnownPolicy::default(),
            pool_rules: Vec::new(),
            mapping: MappingBehavior::default(),
            pooling: Pooling::default(),
            port_assignment: PortAssignment::default(),
            subscriber_length: 128,
            exclusions: Vec::new(),
            timers: Timers::default(),
            limits: Limits::default(),
            filtering: Filtering::default(),
            inbound_refresh: true,
            inbound_tcp: true,
            hairpinning: true,
            check_resets: true,
            reset_unknown_tcp: true,
            mtu: MtuPolicy::default(),
            header: HeaderPolicy::default(),
            errors: ErrorPolicy::default(),
            shared: Vec::new(),
            static_mappings: Vec::new(),
            draining: Draining::default(),
        }
    }
}

impl Limits {
    /// The most sessions or mappings that can be asked for.
    pub const MOST: u64 = 50_000_000;
}
