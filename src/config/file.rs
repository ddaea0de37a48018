//! The file as it is written: every key with its type, range and default.
//!
//! Serialising a [`File`] gives a file with the same meaning, which is what `nat64 check` prints.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::ValueEnum;
use nat64_core::policy::{Limits, MtuPolicy, Timers};
use pref64::Pref64;
use serde::{Deserialize, Serialize};

use super::dns64::Dns64Section;
use super::link::LinkMtu;
use super::place::Located;
use super::rules::{Exclude, Static};
use super::scalar::{DeviceName, Lifetime, Number, SocketPath};
use super::session_log::SessionLog;
use super::value::{AddressRange, Auto, Ipv6Range, Many, MssClamp, PoolEntry, PortRange, Prefix, Socket};

/// Where the control socket is when nobody says otherwise.
pub(crate) const DEFAULT_SOCKET: &str = "/run/nat64/nat64.sock";

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct File {
    pub(crate) pref64: Many<Prefix>,
    pub(crate) wkp_allow_private: bool,
    pub(crate) translator: TranslatorSection,
    pub(crate) device: DeviceSection,
    pub(crate) dns64: Dns64Section,
    pub(crate) control: ControlSection,
    pub(crate) metrics: MetricsSection,
    pub(crate) log: LogSection,
}

impl Default for File {
    fn default() -> Self {
        Self {
            pref64: Many::default([Prefix(Pref64::WELL_KNOWN)]),
            wkp_allow_private: false,
            translator: TranslatorSection::default(),
            device: DeviceSection::default(),
            dns64: Dns64Section::default(),
            control: ControlSection::default(),
            metrics: MetricsSection::default(),
            log: LogSection::default(),
        }
    }
}

/// `[translator]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct TranslatorSection {
    pub(crate) enabled: Option<Located<bool>>,
    pub(crate) pool4: Many<PoolEntry>,
    pub(crate) ports: Located<PortRange>,
    pub(crate) follow_address: bool,
    pub(crate) subscriber_prefix_length: Number<48, 128>,
    pub(crate) address_pooling: Pooling,
    pub(crate) mapping: Mapping,
    pub(crate) port_assignment: Located<PortAssignment>,
    pub(crate) deterministic_sources: Many<Ipv6Range>,
    pub(crate) filtering: Filtering,
    pub(crate) inbound_refresh: bool,
    pub(crate) inbound_tcp: bool,
    pub(crate) hairpinning: bool,
    pub(crate) check_tcp_resets: bool,
    pub(crate) reset_unknown_tcp: bool,
    pub(crate) keep_sessions: bool,
    pub(crate) workers: Number<0, 256>,
    pub(crate) busy_poll: Number<0, 1_000_000>,
    pub(crate) exclude: Vec<Located<Exclude>>,
    #[serde(rename = "static")]
    pub(crate) statics: Vec<Located<Static>>,
    pub(crate) port_blocks: PortBlocksSection,
    pub(crate) timers: TimersSection,
    pub(crate) limits: LimitsSection,
    pub(crate) mtu: MtuSection,
    pub(crate) header: HeaderSection,
    pub(crate) icmp_errors: IcmpErrorsSection,
}

impl Default for TranslatorSection {
    fn default() -> Self {
        Self {
            enabled: None,
            pool4: Many::default([]),
            ports: Located::default(PortRange::ALL),
            follow_address: false,
            subscriber_prefix_length: Number::new(128),
            address_pooling: Pooling::default(),
            mapping: Mapping::default(),
            port_assignment: Located::default(PortAssignment::Single),
            deterministic_sources: Many::default([]),
            filtering: Filtering::default(),
            inbound_refresh: true,
            inbound_tcp: true,
            hairpinning: true,
            check_tcp_resets: true,
            reset_unknown_tcp: true,
            keep_sessions: true,
            workers: Number::new(0),
            busy_poll: Number::new(0),
            exclude: Vec::new(),
            statics: Vec::new(),
            port_blocks: PortBlocksSection::default(),
            timers: TimersSection::default(),
            limits: LimitsSection::default(),
            mtu: MtuSection::default(),
            header: HeaderSection::default(),
            icmp_errors: IcmpErrorsSection::default(),
        }
    }
}

/// `[translator.port-blocks]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct PortBlocksSection {
    pub(crate) size: Located<Number<16, 16_384>>,
    pub(crate) per_subscriber: Number<1, 64>,
}

impl Default for PortBlocksSection {
    fn default() -> Self {
        Self { size: Located::default(Number::new(512)), per_subscriber: Number::new(4) }
    }
}

/// One second to thirty days.
pub(crate) type Timer = Lifetime<1000, 2_592_000_000>;

/// `[translator.timers]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct TimersSection {
    pub(crate) udp: Timer,
    pub(crate) tcp_established: Timer,
    pub(crate) tcp_transitory: Timer,
    pub(crate) tcp_opening: Option<Timer>,
    pub(crate) tcp_closing: Option<Timer>,
    pub(crate) tcp_incoming_syn: Timer,
    pub(crate) icmp: Timer,
    pub(crate) fragment: Timer,
    pub(crate) port_quarantine: Lifetime<0, 3_600_000>,
}

impl Default for TimersSection {
    fn default() -> Self {
        let core = Timers::default();
        Self {
            udp: Timer::new(core.udp),
            tcp_established: Timer::new(core.tcp_established),
            tcp_transitory: Timer::new(core.tcp_transitory),
            tcp_opening: None,
            tcp_closing: None,
            tcp_incoming_syn: Timer::new(core.tcp_incoming_syn),
            icmp: Timer::new(core.icmp),
            fragment: Timer::new(core.fragment),
            port_quarantine: Lifetime::new(core.port_quarantine),
        }
    }
}

/// `[translator.limits]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct LimitsSection {
    pub(crate) sessions: Number<1, { Limits::MOST }>,
    pub(crate) mappings: Number<1, { Limits::MOST }>,
    pub(crate) sessions_per_subscriber: Number<0, { Limits::MOST }>,
    pub(crate) mappings_per_subscriber: Number<0, { Limits::MOST }>,
    pub(crate) new_mappings_per_second: Number<0, { Limits::MOST }>,
    pub(crate) resting_ports: Number<0, { Limits::MOST }>,
    pub(crate) fragments: Number<0, 1_000_000>,
    pub(crate) fragment_bytes: Number<0, 0xffff_ffff>,
    pub(crate) stored_syns: Number<0, 1_000_000>,
}

impl Default for LimitsSection {
    fn default() -> Self {
        let core = Limits::default();
        Self {
            sessions: Number::new(core.sessions.into()),
            mappings: Number::new(core.mappings.into()),
            sessions_per_subscriber: Number::new(core.sessions_per_subscriber.unwrap_or(0).into()),
            mappings_per_subscriber: Number::new(core.mappings_per_subscriber.unwrap_or(0).into()),
            new_mappings_per_second: Number::new(core.new_mappings_per_second.unwrap_or(0).into()),
            resting_ports: Number::new(core.resting_ports.into()),
            fragments: Number::new(core.fragments.into()),
            fragment_bytes: Number::new(core.fragment_bytes.into()),
            stored_syns: Number::new(core.stored_syns.into()),
        }
    }
}

/// `[translator.mtu]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct MtuSection {
    pub(crate) lowest_ipv6: Number<1280, 65535>,
    pub(crate) tcp_mss_clamp: MssClamp,
    pub(crate) ipv4_link: LinkMtu<68>,
    pub(crate) ipv6_link: LinkMtu<1280>,
}

impl Default for MtuSection {
    fn default() -> Self {
        Self {
            lowest_ipv6: Number::new(MtuPolicy::default().lowest_ipv6.into()),
            tcp_mss_clamp: MssClamp::Off,
            ipv4_link: LinkMtu::Auto,
            ipv6_link: LinkMtu::Auto,
        }
    }
}

/// `[translator.header]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct HeaderSection {
    pub(crate) copy_traffic_class: bool,
    pub(crate) tos: Located<Number<0, 255>>,
    pub(crate) flow_label: FlowLabel,
    pub(crate) udp_zero_checksum: UdpZeroChecksum,
}

impl Default for HeaderSection {
    fn default() -> Self {
        Self {
            copy_traffic_class: true,
            tos: Located::default(Number::new(0)),
            flow_label: FlowLabel::Zero,
            udp_zero_checksum: UdpZeroChecksum::Compute,
        }
    }
}

/// `[translator.icmp-errors]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct IcmpErrorsSection {
    pub(crate) send: bool,
    pub(crate) rate: Number<1, 1_000_000>,
    pub(crate) source6: Located<Auto<Ipv6Addr>>,
    pub(crate) source4: Located<Auto<Ipv4Addr>>,
    pub(crate) router_sources: Many<AddressRange>,
    pub(crate) name_routers: bool,
}

impl Default for IcmpErrorsSection {
    fn default() -> Self {
        Self {
            send: true,
            rate: Number::new(100),
            source6: Located::default(Auto::Auto),
            source4: Located::default(Auto::Auto),
            router_sources: Many::default([]),
            name_routers: false,
        }
    }
}

/// `[device]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct DeviceSection {
    pub(crate) name: DeviceName,
    pub(crate) offload: bool,
    pub(crate) mtu: Number<1280, 65535>,
    pub(crate) routes: bool,
    pub(crate) proxy_arp: bool,
}

impl Default for DeviceSection {
    fn default() -> Self {
        Self {
            name: "nat64".parse().unwrap_or_else(|error: String| unreachable!("{error}")),
            offload: true,
            mtu: Number::new(65535),
            routes: true,
            proxy_arp: true,
        }
    }
}

/// `[control]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct ControlSection {
    pub(crate) socket: SocketPath,
    pub(crate) mode: SocketMode,
    pub(crate) group: String,
}

/// Permissions of the control socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SocketMode {
    /// For its owner.
    #[serde(rename = "0600")]
    Owner,
    /// For its owner and its group.
    #[default]
    #[serde(rename = "0660")]
    Group,
    /// For everybody on this host.
    #[serde(rename = "0666")]
    All,
}

impl SocketMode {
    /// As chmod(2) has it.
    pub(crate) const fn bits(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o660,
            Self::All => 0o666,
        }
    }
}

impl Default for ControlSection {
    fn default() -> Self {
        Self {
            socket: DEFAULT_SOCKET.parse().unwrap_or_else(|error: String| unreachable!("{error}")),
            mode: SocketMode::default(),
            group: String::new(),
        }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct MetricsSection {
    pub(crate) listen: Many<Socket>,
}

impl Default for MetricsSection {
    fn default() -> Self {
        Self { listen: Many::default([Socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)))]) }
    }
}

/// `[log]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct LogSection {
    pub(crate) level: LogLevel,
    pub(crate) format: LogFormat,
    pub(crate) sessions: Vec<Located<SessionLog>>,
}

/// `translator.filtering`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Filtering {
    #[default]
    EndpointIndependent,
    AddressDependent,
}

/// `translator.address-pooling`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pooling {
    #[default]
    Paired,
    Soft,
}

/// `translator.mapping`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mapping {
    #[default]
    EndpointIndependent,
    AddressAndPortDependent,
}

/// `translator.port-assignment`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PortAssignment {
    Single,
    Blocks,
    Deterministic,
}

/// `translator.header.flow-label`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FlowLabel {
    Zero,
    Hash,
}

/// `translator.header.udp-zero-checksum`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UdpZeroChecksum {
    Compute,
    Drop,
    Forward,
}

/// `log.level`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogLevel {
    /// Only what stops the daemon
    Error,
    /// Also what an operator should look at
    Warn,
    /// Also what the daemon did to the system, start and stop
    #[default]
    Info,
    /// Also details, with users' addresses
    Debug,
    /// Everything, packets included
    Trace,
}

/// `log.format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}
