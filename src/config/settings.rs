//! What the daemon works with: the checked configuration in the types of the crates that do the work.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nat64_core::policy::{
    ErrorPolicy, Filtering, FlowLabel, HeaderPolicy, Limits, MappingBehavior, MtuPolicy, PoolRule, Pooling,
    PortAssignment, PortBlocks, Timers, UdpZeroChecksum,
};
use nat64_core::{Draining, LinkMtus, Policy};
use nat64_dataplane::DeviceConfig;
use pref64::WellKnownPolicy;

use super::check::pool_range;
use super::dns64::upstream_loop;
use super::file::{self, File, TranslatorSection};
use super::place::{ConfigError, Place, Problem, Source};
use super::value::{AddressRange, Auto, MssClamp, PoolEntry};
use super::{LogFormat, LogLevel, OwnAddress, SessionLogSettings, own};

/// A checked configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What the translator does; none if it is off. Source addresses of errors that are found out at start are unset.
    pub(crate) policy: Option<Policy>,
    /// Whether [`ErrorPolicy::source6`] is to be found out.
    pub(crate) find_source6: bool,
    /// Whether [`ErrorPolicy::source4`] is to be found out.
    pub(crate) find_source4: bool,
    /// MTUs of the links on both sides that are given, not to be found out.
    pub(crate) links: LinkMtus,
    /// Queues and threads of the translator; 0 means one for two CPUs.
    workers: u16,
    /// For how long after a packet a worker looks for the next before it sleeps.
    pub(crate) busy_poll: Duration,
    /// Whether sessions are kept for the next process.
    pub(crate) keep_sessions: bool,
    /// The translator's network device.
    pub(crate) device: DeviceSettings,
    /// What DNS64 does; none if it is off.
    pub(crate) dns64: Option<dns64::Config>,
    /// Whether hosts on this host's own links are clients of DNS64, too.
    pub(crate) serves_links: bool,
    /// The control socket.
    pub(crate) socket: PathBuf,
    /// Who may use it.
    pub(crate) access: AccessSettings,
    /// Where metrics are served.
    pub(crate) metrics: MetricsSettings,
    /// The logs of sessions.
    pub(crate) session_logs: Vec<SessionLogSettings>,
    /// The least severity that is logged.
    pub(crate) log_level: LogLevel,
    /// How log lines look.
    pub(crate) log_format: LogFormat,
    /// What `shared` in the pool stands for, if it is there.
    pub(crate) own: Option<OwnAddress>,
    /// Whether it is followed when it changes.
    pub(crate) follow_address: bool,
    file: File,
    source: Source,
}

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricsSettings {
    /// The addresses.
    pub(crate) listen: Vec<SocketAddr>,
    /// Whether nobody wrote them.
    pub(crate) is_default: bool,
}

/// The translator's network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceSettings {
    /// Its name.
    pub(crate) name: String,
    /// Whether super-packets and partial checksums are asked for.
    pub(crate) offload: bool,
    /// Its MTU in bytes.
    pub(crate) mtu: u16,
    /// Whether routes, addresses and sysctls are set up.
    pub(crate) routes: bool,
    /// Whether ARP is answered for pool addresses inside a connected subnet.
    pub(crate) proxy_arp: bool,
}

/// Who may use the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessSettings {
    /// Permissions of the file, as chmod(2) has them.
    pub(crate) mode: u32,
    /// The group that may change things, by name or number.
    pub(crate) group: Option<String>,
}

/// One of the host's addresses, and the interface that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostAddress {
    /// The address.
    pub(crate) address: IpAddr,
    /// The interface's name.
    pub(crate) interface: String,
}

impl Settings {
    /// Checks `file` and converts it.
    ///
    /// # Errors
    /// The first rule that is broken, with its place.
    pub(crate) fn new(mut file: File, source: Source, own: Option<OwnAddress>) -> Result<Self, ConfigError> {
        super::check::check(&mut file).map_err(|problem| source.error(&problem))?;
        let is_on = |switch: &Option<super::place::Located<bool>>| switch.as_ref().is_some_and(|on| on.value);
        let policy = is_on(&file.translator.enabled).then(|| policy(&file));
        if let Some(policy) = &policy {
            policy.check().map_err(|error| source.error(&Problem::general(error.to_string())))?;
        }
        let dns64 = is_on(&file.dns64.enabled).then(|| {
            let prefixes = file.pref64.values().map(|prefix| prefix.0).collect();
            file.dns64.to_config(prefixes, well_known(&file))
        });
        let errors = &file.translator.icmp_errors;
        Ok(Self {
            policy,
            find_source6: errors.send && errors.source6.value == Auto::Auto,
            find_source4: errors.send && errors.source4.value == Auto::Auto,
            links: LinkMtus {
                ipv4: file.translator.mtu.ipv4_link.given(),
                ipv6: file.translator.mtu.ipv6_link.given(),
            },
            workers: file.translator.workers.to(),
            busy_poll: Duration::from_micros(file.translator.busy_poll.to()),
            keep_sessions: file.translator.keep_sessions,
            device: DeviceSettings {
                name: file.device.name.as_str().to_owned(),
                offload: file.device.offload,
                mtu: file.device.mtu.to(),
                routes: file.device.routes,
                proxy_arp: file.device.proxy_arp,
            },
            dns64,
            serves_links: file.dns64.serves_links(),
            socket: file.control.socket.as_path().to_owned(),
            access: AccessSettings {
                mode: file.control.mode.bits(),
                group: Some(file.control.group.clone()).filter(|name| !name.is_empty()),
            },
            metrics: MetricsSettings {
                listen: file.metrics.listen.values().map(|socket| socket.0).collect(),
                is_default: file.metrics.listen.0.iter().all(|socket| socket.place == Place::Default),
            },
            session_logs: file.log.sessions.iter().map(|entry| entry.value.settings()).collect(),
            log_level: file.log.level,
            log_format: file.log.format,
            own,
            follow_address: file.translator.follow_address,
            file,
            source,
        })
    }

    /// These settings after a reload of `new`, of which a running daemon takes over what it can: the policy, if the translator
    /// goes on, and `dns64`.
    pub(crate) fn with_reloaded(&self, new: Self, keeps_translator: bool, dns64: Option<dns64::Config>) -> Self {
        let policy = match (&self.policy, &new.policy) {
            (Some(old), Some(policy)) if keeps_translator => Some(policy.with_layout_of(old)),
            _ => self.policy.clone(),
        };
        Self {
            policy,
            find_source6: new.find_source6,
            find_source4: new.find_source4,
            links: new.links,
            serves_links: if dns64.is_some() { new.serves_links } else { self.serves_links },
            session_logs: if keeps_translator { new.session_logs } else { self.session_logs.clone() },
            log_level: new.log_level,
            metrics: new.metrics,
            dns64: dns64.or_else(|| self.dns64.clone()),
            own: new.own,
            follow_address: new.follow_address,
            file: new.file,
            source: new.source,
            ..self.clone()
        }
    }

    /// Whether DNS64 is to remember names for a log of sessions.
    pub(crate) fn wants_names(&self) -> bool {
        self.session_logs.iter().any(|log| log.says.names)
    }

    /// These settings where `shared` stands for another address.
    ///
    /// # Errors
    /// The first rule that is broken with it.
    pub(crate) fn with_own(&self, own: OwnAddress) -> Result<Self, ConfigError> {
        let mut file = self.file.clone();
        own::put(&mut file, &own);
        Self::new(file, self.source.clone(), Some(own))
    }

    /// Where sessions are kept.
    pub(crate) fn sessions_file(&self) -> PathBuf {
        let directory = self.socket.parent().unwrap_or_else(|| Path::new("/"));
        crate::journal::path(directory, &self.device.name)
    }

    /// How many queues and threads the translator gets on this host.
    pub(crate) fn queues(&self) -> usize {
        if self.workers > 0 {
            return self.workers.into();
        }
        // What the kernel does of a packet takes as much time as a worker, and needs a CPU too.
        let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        cpus.div_ceil(2).min(DeviceConfig::MAX_QUEUES)
    }

    /// The file that was read, if one was.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.source.path.as_deref()
    }

    /// The whole configuration as a file of the same meaning, defaults written out.
    ///
    /// # Errors
    /// None that a checked configuration can cause; the serialiser's type has one.
    pub(crate) fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(&self.file)
    }

    /// Checks what depends on the addresses of the host.
    ///
    /// # Errors
    /// A pool address that the host has itself, or an upstream that is us.
    pub(crate) fn check_host(&self, host: &[HostAddress]) -> Result<(), ConfigError> {
        let problem = self.pool_address_of_host(host).or_else(|| {
            let addresses: Vec<IpAddr> = host.iter().map(|own| own.address).collect();
            self.dns64.as_ref().and_then(|_| upstream_loop(&self.file.dns64, &addresses))
        });
        problem.map_or(Ok(()), |problem| Err(self.source.error(&problem)))
    }

    /// Notes the pool addresses that the host has itself, which [`Self::check_host`] has found right.
    pub(crate) fn share_with(&mut self, host: &[HostAddress]) {
        let Some(policy) = &mut self.policy else { return };
        let has = |address: Ipv4Addr| host.iter().any(|own| own.address == IpAddr::V4(address));
        policy.shared = policy.pool.iter().map(|range| range.first).filter(|address| has(*address)).collect();
        policy.shared.dedup();
    }

    fn pool_address_of_host(&self, host: &[HostAddress]) -> Option<Problem> {
        self.policy.as_ref()?;
        host.iter().find_map(|own| {
            let IpAddr::V4(address) = own.address else { return None };
            let entry = self.file.translator.pool4.0.iter().find(|entry| {
                let range = entry.value.addresses;
                (range.first..=range.last).contains(&address)
            })?;
            let range = pool_range(&entry.value, &self.file.translator);
            let problem = if range.addresses() > 1 {
                "a range cannot be shared with the host: give the address in an entry of its own"
            } else if range.first_port <= 1 && range.last_port == u16::MAX {
                "sharing it with the host needs ports that are the translator's alone"
            } else {
                return None;
            };
            Some(entry.problem(format!(
                "the pool address {address} is assigned to this host's interface {}; {problem}, for example \
                 [{{ address = \"{address}\", ports = \"10000-29999\" }}]",
                own.interface
            )))
        })
    }
}

fn well_known(file: &File) -> WellKnownPolicy {
    if file.wkp_allow_private { WellKnownPolicy::AllowPrivate } else { WellKnownPolicy::Strict }
}

fn policy(file: &File) -> Policy {
    let section = &file.translator;
    Policy {
        prefixes: file.pref64.values().map(|prefix| prefix.0).collect(),
        well_known: well_known(file),
        pool: section.pool4.values().map(|entry| pool_range(entry, section)).collect(),
        subscriber_length: section.subscriber_prefix_length.to(),
        timers: timers(section),
        limits: limits(section),
        pool_rules: pool_rules(section),
        pooling: match section.address_pooling {
            file::Pooling::Paired => Pooling::Paired,
            file::Pooling::Soft => Pooling::Soft,
        },
        mapping: match section.mapping {
            file::Mapping::EndpointIndependent => MappingBehavior::EndpointIndependent,
            file::Mapping::AddressAndPortDependent => MappingBehavior::AddressAndPortDependent,
        },
        port_assignment: port_assignment(section),
        exclusions: section.exclude.iter().map(|entry| entry.value.to_policy()).collect(),
        static_mappings: section.statics.iter().flat_map(|entry| entry.value.to_policy()).collect(),
        inbound_refresh: section.inbound_refresh,
        inbound_tcp: section.inbound_tcp,
        check_resets: section.check_tcp_resets,
        filtering: match section.filtering {
            file::Filtering::EndpointIndependent => Filtering::EndpointIndependent,
            file::Filtering::AddressDependent => Filtering::AddressDependent,
        },
        hairpinning: section.hairpinning,
        reset_unknown_tcp: section.reset_unknown_tcp,
        mtu: mtu(section),
        header: header(section),
        errors: errors(section),
        shared: Vec::new(),
        // Nobody drains by configuration.
        draining: Draining::default(),
    }
}

fn pool_rules(section: &TranslatorSection) -> Vec<PoolRule> {
    let rules = |entry: &PoolEntry| {
        let AddressRange { first, last } = entry.addresses;
        entry.sources.iter().map(move |sources| PoolRule { sources: sources.0, first, last }).collect::<Vec<_>>()
    };
    section.pool4.values().flat_map(rules).collect()
}

fn port_assignment(section: &TranslatorSection) -> PortAssignment {
    match (section.port_assignment.value, section.deterministic_sources.values().next()) {
        (file::PortAssignment::Blocks, _) => PortAssignment::Blocks(PortBlocks {
            size: section.port_blocks.size.value.to(),
            per_subscriber: section.port_blocks.per_subscriber.to(),
        }),
        (file::PortAssignment::Deterministic, Some(sources)) => PortAssignment::Deterministic(sources.0),
        (file::PortAssignment::Single | file::PortAssignment::Deterministic, _) => PortAssignment::Single,
    }
}

fn timers(section: &TranslatorSection) -> Timers {
    let timers = &section.timers;
    let either = |own: Option<file::Timer>| own.unwrap_or(timers.tcp_transitory).value();
    Timers {
        udp: timers.udp.value(),
        tcp_established: timers.tcp_established.value(),
        tcp_opening: either(timers.tcp_opening),
        tcp_closing: either(timers.tcp_closing),
        tcp_transitory: timers.tcp_transitory.value(),
        tcp_incoming_syn: timers.tcp_incoming_syn.value(),
        icmp: timers.icmp.value(),
        fragment: timers.fragment.value(),
        port_quarantine: timers.port_quarantine.value(),
    }
}

fn limits(section: &TranslatorSection) -> Limits {
    let limits = &section.limits;
    let unless_zero = |value: u32| (value > 0).then_some(value);
    Limits {
        sessions: limits.sessions.to(),
        mappings: limits.mappings.to(),
        sessions_per_subscriber: unless_zero(limits.sessions_per_subscriber.to()),
        mappings_per_subscriber: unless_zero(limits.mappings_per_subscriber.to()),
        resting_ports: limits.resting_ports.to(),
        fragments: limits.fragments.to(),
        fragment_bytes: limits.fragment_bytes.to(),
        stored_syns: limits.stored_syns.to(),
        new_mappings_per_second: unless_zero(limits.new_mappings_per_second.to()),
    }
}

fn mtu(section: &TranslatorSection) -> MtuPolicy {
    let lowest_ipv6 = section.mtu.lowest_ipv6.to();
    let clamp_mss_to_ipv6_mtu = match section.mtu.tcp_mss_clamp {
        MssClamp::Off => None,
        MssClamp::ToLowest => Some(lowest_ipv6),
        MssClamp::To(mtu) => Some(mtu),
    };
    MtuPolicy { lowest_ipv6, clamp_mss_to_ipv6_mtu }
}

fn header(section: &TranslatorSection) -> HeaderPolicy {
    HeaderPolicy {
        copy_traffic_class: section.header.copy_traffic_class,
        tos: section.header.tos.value.to(),
        name_routers: section.icmp_errors.name_routers,
        flow_label: match section.header.flow_label {
            file::FlowLabel::Zero => FlowLabel::Zero,
            file::FlowLabel::Hash => FlowLabel::Hash,
        },
        udp_zero_checksum: match section.header.udp_zero_checksum {
            file::UdpZeroChecksum::Compute => UdpZeroChecksum::Compute,
            file::UdpZeroChecksum::Drop => UdpZeroChecksum::Drop,
            file::UdpZeroChecksum::Forward => UdpZeroChecksum::Forward,
        },
    }
}

fn errors(section: &TranslatorSection) -> ErrorPolicy {
    let errors = &section.icmp_errors;
    ErrorPolicy {
        send: errors.send,
        rate: errors.rate.to(),
        source6: match errors.source6.value {
            Auto::Auto => None,
            Auto::Fixed(source) => Some(source),
        },
        source4: match errors.source4.value {
            Auto::Auto => None,
            Auto::Fixed(source) => Some(source),
        },
        router_sources: errors.router_sources.values().flat_map(AddressRange::addresses).collect(),
    }
}
