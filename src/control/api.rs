//! The types of the control API, which `--json` prints too. Names and meanings are stable.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::Ipv6Net;
use nat64_core::event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::KeyChange;

/// What the daemon does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Status {
    /// The daemon's version.
    pub(crate) version: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Seconds since it became ready.
    pub(crate) uptime_seconds: u64,
    /// Translation prefixes.
    pub(crate) pref64: Vec<String>,
    /// The translator, unless it is off.
    pub(crate) translator: Option<TranslatorStatus>,
    /// The DNS64 server, unless it is off.
    pub(crate) dns64: Option<Dns64Status>,
    /// The logs of sessions.
    #[serde(default)]
    pub(crate) session_logs: Vec<SessionLogStatus>,
}

/// What came of a new configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Reloaded {
    /// Whether it was only looked at.
    pub(crate) dry_run: bool,
    /// What changed, or would.
    pub(crate) applied: Vec<KeyChange>,
    /// What differs and counts from the next start on.
    pub(crate) needs_restart: Vec<KeyChange>,
    /// Whether all sessions have ended that are not allowed any more; they do so soon.
    pub(crate) settled: bool,
}

impl Reloaded {
    /// With another change that was applied, or would be.
    pub(crate) fn with(mut self, change: Option<KeyChange>) -> Self {
        self.applied.extend(change);
        self
    }
}

/// What would become of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PacketPreview {
    /// The packet in words.
    pub(crate) packet: String,
    /// `translated`, `hairpinned`, `held`, `refused` (dropped, and its sender is told) or `dropped`.
    pub(crate) verdict: String,
    /// Why it would be dropped.
    pub(crate) reason: Option<String>,
    /// What that means.
    pub(crate) meaning: Option<String>,
    /// What an operator can do about it.
    pub(crate) remedy: Option<String>,
    /// What would be sent on in its place, in words: the translated packet, or the answer to its sender.
    pub(crate) result: Option<String>,
    /// The same in hexadecimal bytes.
    pub(crate) result_bytes: Option<String>,
    /// What would be sent beside it.
    pub(crate) others: Vec<String>,
    /// The translation prefix that its destination is under.
    pub(crate) prefix: Option<String>,
    /// The subscriber that it counts for.
    #[schemars(with = "String")]
    pub(crate) subscriber: Option<Ipv6Net>,
    /// The number of the entry of `translator.exclude` that it meets, from 1.
    pub(crate) exclusion: Option<usize>,
    /// The sources of the pool rule that its subscriber has.
    #[schemars(with = "String")]
    pub(crate) pool_rule: Option<Ipv6Net>,
    /// The mapping that it has now.
    pub(crate) mapping: Option<Mapping>,
    /// The session that it has now.
    pub(crate) session: Option<Session>,
    /// What would be made.
    pub(crate) would_create: Vec<Created>,
    /// Pool addresses that a new mapping could be on, 256 at the most.
    pub(crate) candidates: Vec<Ipv4Addr>,
    /// The ports that its subscriber has by arithmetic.
    pub(crate) share: Option<Share>,
}

/// A packet on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TracedPacket {
    /// When it was read, in nanoseconds since 1970.
    pub(crate) at_nanos: u64,
    /// The worker that carried it.
    pub(crate) worker: usize,
    /// `translated`, `hairpinned`, `held`, `refused` (dropped, and its sender is told) or `dropped`.
    pub(crate) verdict: String,
    /// Why it was dropped.
    pub(crate) reason: Option<String>,
    /// Its first bytes as it came, in hexadecimal.
    pub(crate) before: String,
    /// How many bytes it had; a super-packet is one.
    pub(crate) before_len: usize,
    /// The first bytes of what was written in its place.
    pub(crate) after: Option<String>,
    /// How many bytes that had.
    pub(crate) after_len: usize,
    /// How many packets were written beside it.
    pub(crate) beside: usize,
    /// How many packets before this one came faster than they could be handed on.
    pub(crate) missed: u64,
}

/// Something that would be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Created {
    /// `mapping`, `session` or `block`.
    pub(crate) what: String,
    /// The host's end; a block's subscriber.
    pub(crate) internal: Endpoint<Ipv6Addr>,
    /// The pool's end; of a block its first port. The port of a new mapping is an example.
    pub(crate) external: Endpoint<Ipv4Addr>,
    /// The IPv4 host's end of a session.
    pub(crate) remote: Option<Endpoint<Ipv4Addr>>,
}

/// Ports of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Share {
    /// The address.
    pub(crate) address: Ipv4Addr,
    /// The first port.
    pub(crate) first_port: u16,
    /// The last port.
    pub(crate) last_port: u16,
}

/// A static mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct StaticEntry {
    /// Its protocol.
    pub(crate) protocol: String,
    /// The pool's end.
    pub(crate) external: Endpoint<Ipv4Addr>,
    /// The host's end.
    pub(crate) internal: Endpoint<Ipv6Addr>,
    /// Whether it was made by command, and goes with the daemon.
    pub(crate) runtime: bool,
}

/// What passes in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Rates {
    /// From IPv6 to IPv4.
    pub(crate) six_to_four: Rate,
    /// From IPv4 to IPv6.
    pub(crate) four_to_six: Rate,
}

/// What passes in a second, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Rate {
    /// Packets.
    pub(crate) packets_per_second: u64,
    /// Bits of these as received, IP headers included.
    pub(crate) bits_per_second: u64,
}

/// What takes no new sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Draining {
    /// Whether nothing does.
    pub(crate) everything: bool,
    /// Pool addresses that do not.
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// Sessions that go on there; told when it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sessions: Option<u64>,
}

/// Sessions that were ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Closed {
    /// How many.
    pub(crate) sessions: u64,
    /// Who was told by a TCP reset, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resets: Option<Resets>,
}

/// Sessions that were ended, by which ends a TCP reset was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Resets {
    /// To both ends.
    pub(crate) both: u64,
    /// To one end, since it is not known yet which sequence number the other expects.
    pub(crate) one: u64,
    /// To none, since it is not known yet which sequence numbers they expect.
    pub(crate) unknown: u64,
    /// To none, since they were not TCP.
    pub(crate) not_tcp: u64,
}

/// A log of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SessionLogStatus {
    /// Where it is written to.
    pub(crate) to: String,
    /// Records handed to the file or to the network.
    pub(crate) delivered: u64,
    /// Records that found no room while it could not be written.
    pub(crate) lost: u64,
    /// Whether it cannot be written now.
    pub(crate) failing: bool,
}

/// What the translator does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TranslatorStatus {
    /// The network device.
    pub(crate) device: DeviceStatus,
    /// The IPv4 addresses.
    pub(crate) pool: PoolStatus,
    /// Sessions now.
    pub(crate) sessions: ByProtocol<u32>,
    /// TCP sessions by their state, in the words of RFC 6146.
    #[serde(default)]
    pub(crate) tcp_states: BTreeMap<String, u32>,
    /// Sessions at most.
    pub(crate) sessions_limit: u32,
    /// Mappings now.
    pub(crate) mappings: ByProtocol<u32>,
    /// Mappings at most.
    pub(crate) mappings_limit: u32,
    /// Translated from IPv6 to IPv4 since the start; super-packets count as their segments.
    pub(crate) six_to_four: ByProtocol<Traffic>,
    /// Translated from IPv4 to IPv6 since the start.
    pub(crate) four_to_six: ByProtocol<Traffic>,
    /// Packets translated twice, between hosts behind this translator.
    pub(crate) hairpinned: u64,
    /// Packets kept for later: fragments and stored SYNs.
    pub(crate) held: u64,
    /// ICMP errors and resets of our own.
    pub(crate) refused: u64,
    /// What was translated in the last second; nothing in the first.
    #[serde(default)]
    pub(crate) rates: Option<Rates>,
    /// What takes no new sessions.
    #[serde(default)]
    pub(crate) draining: Draining,
    /// Packets dropped, by the name of the reason; reasons that did not occur are left out.
    pub(crate) dropped: BTreeMap<String, u64>,
}

/// The network device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DeviceStatus {
    /// Its name.
    pub(crate) name: String,
    /// Its MTU in bytes.
    pub(crate) mtu: u16,
    /// That of the next hop towards IPv4, if it is known.
    #[serde(default)]
    pub(crate) ipv4_link_mtu: Option<u32>,
    /// That of the next hop towards IPv6, if it is known.
    #[serde(default)]
    pub(crate) ipv6_link_mtu: Option<u32>,
    /// Its queues, each with a thread.
    pub(crate) queues: usize,
    /// Offloads in force, separated by commas, or `none`.
    pub(crate) offloads: String,
    /// Packets that could not be read from it.
    pub(crate) read_errors: u64,
    /// Packets that could not be written to it and are lost.
    pub(crate) write_errors: u64,
}

/// The IPv4 addresses of the translator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PoolStatus {
    /// Its ranges.
    pub(crate) ranges: Vec<PoolRange>,
    /// How many addresses they have.
    pub(crate) addresses: u32,
    /// Ports of all addresses, for each protocol.
    pub(crate) ports: u64,
    /// Of these taken or resting.
    pub(crate) ports_taken: ByProtocol<u64>,
    /// Blocks of ports, where ports are assigned in blocks that subscribers take as they need them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) blocks: Option<BlockUse>,
}

/// Blocks of ports, of all pool addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BlockUse {
    /// Those that subscribers have.
    pub(crate) taken: u32,
    /// Those that there are.
    pub(crate) all: u32,
}

/// Consecutive addresses of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PoolRange {
    /// The first address.
    pub(crate) first: Ipv4Addr,
    /// The last address.
    pub(crate) last: Ipv4Addr,
    /// The first port.
    pub(crate) first_port: u16,
    /// The last port.
    pub(crate) last_port: u16,
}

/// What the DNS64 server does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Dns64Status {
    /// Where it answers.
    pub(crate) listen: Vec<SocketAddr>,
    /// Whom it asks, and how, as in the configuration.
    pub(crate) upstreams: Vec<String>,
    /// The prefixes that it synthesises under.
    #[serde(default)]
    pub(crate) prefixes: Vec<PrefixStatus>,
    /// What it counted since the start.
    pub(crate) counters: BTreeMap<String, u64>,
}

/// Whether addresses under a prefix are handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PrefixStatus {
    /// The prefix.
    pub(crate) prefix: String,
    /// `up`; nothing is synthesised under a prefix that is `draining` or `down`.
    #[schemars(with = "String")]
    pub(crate) state: dns64::PrefixState,
    /// Why it is not up.
    pub(crate) reason: Option<String>,
}

/// What became of the prefixes that were to be drained, or not any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Drained {
    /// All prefixes, as they are now.
    pub(crate) prefixes: Vec<PrefixStatus>,
}

/// What was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Flushed {
    /// How many answers.
    pub(crate) answers: usize,
}

/// Why a client is told what it is told about a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Explanation {
    /// The name.
    pub(crate) name: String,
    /// The type of the records.
    pub(crate) kind: String,
    /// The client.
    pub(crate) client: IpAddr,
    /// Its group.
    pub(crate) group: String,
    /// The rules in the order in which they were applied; the last one decided.
    pub(crate) rules: Vec<Rule>,
    /// What is told: `synthesised`, `native`, `filtered`, `passed`, `local`, `refused`, `failed`, `unanswered`, `cut-off`.
    pub(crate) verdict: String,
    /// The AAAA records that are told.
    pub(crate) addresses: Vec<Ipv6Addr>,
}

/// One rule and what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Rule {
    /// What was looked at.
    pub(crate) rule: String,
    /// Where that rule is from.
    pub(crate) source: String,
    /// What was found.
    pub(crate) finding: String,
}

/// One value for each protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ByProtocolOf_{T}")]
pub(crate) struct ByProtocol<T> {
    /// TCP.
    pub(crate) tcp: T,
    /// UDP.
    pub(crate) udp: T,
    /// ICMP echo.
    pub(crate) icmp: T,
}

impl<T: Copy> ByProtocol<T> {
    /// From values in the order of [`nat64_core::Protocol::ALL`].
    pub(crate) const fn new([tcp, udp, icmp]: [T; 3]) -> Self {
        Self { tcp, udp, icmp }
    }

    /// The values in the order of [`nat64_core::Protocol::ALL`].
    pub(crate) const fn all(&self) -> [T; 3] {
        [self.tcp, self.udp, self.icmp]
    }
}

/// A count of packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Traffic {
    /// Packets.
    pub(crate) packets: u64,
    /// Bytes, IP headers included.
    pub(crate) bytes: u64,
}

impl From<event::Traffic> for Traffic {
    fn from(traffic: event::Traffic) -> Self {
        Self { packets: traffic.packets, bytes: traffic.bytes }
    }
}

/// An address and a port, or an identifier for ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EndpointOf_{A}")]
pub(crate) struct Endpoint<A> {
    /// The address.
    pub(crate) address: A,
    /// The port.
    pub(crate) port: u16,
}

impl<A> From<(A, u16)> for Endpoint<A> {
    fn from((address, port): (A, u16)) -> Self {
        Self { address, port }
    }
}

impl<A: Into<IpAddr> + Copy> std::fmt::Display for Endpoint<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        SocketAddr::new(self.address.into(), self.port).fmt(f)
    }
}

/// A session: someone inside talks to someone outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Session {
    /// `tcp`, `udp` or `icmp`.
    pub(crate) protocol: String,
    /// The host inside.
    pub(crate) internal: Endpoint<Ipv6Addr>,
    /// The pool address and port that stand for it outside.
    pub(crate) external: Endpoint<Ipv4Addr>,
    /// The host outside. For ICMP the port is 0.
    pub(crate) remote: Endpoint<Ipv4Addr>,
    /// The host outside as the one inside sees it.
    pub(crate) remote6: Ipv6Addr,
    /// The TCP state in the words of RFC 6146 §3.5.2; `ACTIVE` for UDP and ICMP.
    pub(crate) state: String,
    /// Seconds since it was made.
    pub(crate) age_seconds: u64,
    /// Seconds that it lives without a packet.
    pub(crate) expires_in_seconds: u64,
    /// From inside to outside.
    pub(crate) outbound: Traffic,
    /// From outside to inside.
    pub(crate) inbound: Traffic,
}

/// A mapping (BIB entry): a pool address and port stand for someone inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Mapping {
    /// `tcp`, `udp` or `icmp`.
    pub(crate) protocol: String,
    /// The host inside.
    pub(crate) internal: Endpoint<Ipv6Addr>,
    /// The pool address and port.
    pub(crate) external: Endpoint<Ipv4Addr>,
    /// How many sessions it has.
    pub(crate) sessions: u32,
    /// Whether the configuration asks for it.
    pub(crate) fixed: bool,
    /// Seconds since it was made.
    pub(crate) age_seconds: u64,
}

/// A subscriber: a source prefix that has mappings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Subscriber {
    /// Its prefix.
    #[schemars(with = "String")]
    pub(crate) prefix: Ipv6Net,
    /// The pool address of its mappings.
    pub(crate) address: Ipv4Addr,
    /// How many mappings it has.
    pub(crate) mappings: u32,
    /// How many sessions it has.
    pub(crate) sessions: u32,
}

/// A pool address and its use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PoolAddress {
    /// The address.
    pub(crate) address: Ipv4Addr,
    /// Ports that belong to the translator, for each protocol.
    pub(crate) ports: u32,
    /// Of these taken, or resting after use.
    pub(crate) taken: ByProtocol<u32>,
    /// Whether it takes no new sessions.
    #[serde(default)]
    pub(crate) draining: bool,
}
