//! What an operator decides about DNS64.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hickory_proto::rr::Name;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pref64::{Pref64, WellKnownPolicy};
use serde::{Deserialize, Serialize};

use crate::clients::DEFAULT_CLIENTS;
use crate::domains::Treatment;
use crate::error::Error;
use crate::listen;
use crate::loops;
use crate::policy::{Group, Policy, RangePrefixes, WhenUnusable};
use crate::upstream::Trust;
use crate::upstream::address::{self, Upstream};
use crate::validate;
use crate::wire::{EDNS_PAYLOAD, LEAST_PAYLOAD};

/// IPv4-mapped addresses, which no IPv6-only host can use and RFC 6147 §5.1.4 excludes by default.
pub const DEFAULT_EXCLUSION: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

/// The configuration of a [`Server`](crate::Server).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Addresses that UDP and TCP queries are taken on. Default `[::]:53`, which takes IPv4 too unless an IPv4 address
    /// with the same port is listed beside it. Port 0 lets the kernel choose.
    pub listen: Vec<SocketAddr>,
    /// Addresses that queries over TLS (RFC 7858) are taken on. Default none.
    pub listen_tls: Vec<SocketAddr>,
    /// Addresses that queries over HTTPS (RFC 8484) are taken on. Default none.
    pub listen_https: Vec<SocketAddr>,
    /// The path of queries over HTTPS. Default `/dns-query`.
    pub https_path: String,
    /// What clients are shown who ask over TLS or HTTPS. Default none.
    pub certificate: Option<CertificateFiles>,
    /// Recursive resolvers that queries are forwarded to, the preferred one first. At least one.
    pub upstreams: Vec<Upstream>,
    /// The authorities, in a file in PEM form, that must have issued the certificates of upstreams over TLS and HTTPS.
    /// Without a value those that the system trusts.
    pub upstream_ca: Option<PathBuf>,
    /// Whether answers are validated (RFC 4035 §5): what should be signed and is not is told as SERVFAIL with extended
    /// error 6. Default off.
    pub dnssec: bool,
    /// The keys that validation begins with, in a file of DNSKEY records. Without a value those of the root zone, which are
    /// built in.
    pub trust_anchors: Option<PathBuf>,
    /// Domains that are not validated, beside those of routes. Default none.
    pub dnssec_unsigned: Vec<String>,
    /// Prefixes that AAAA records are synthesised under, one record for each. Empty means the well-known prefix, as
    /// RFC 6147 §5.2 asks.
    pub prefixes: Vec<Pref64>,
    /// Whether IPv4 addresses that are not global may appear under the well-known prefix (RFC 6052 §3.1).
    pub well_known: WellKnownPolicy,
    /// AAAA records in these ranges count as absent (RFC 6147 §5.1.4). Default `::ffff:0:0/96`.
    pub exclude_aaaa: Vec<Ipv6Net>,
    /// IPv4 ranges that no AAAA record is synthesised for. Default none.
    pub exclude_a: Vec<Ipv4Net>,
    /// IPv4 ranges with prefixes of their own instead of `prefixes`. Default none.
    pub range_prefixes: Vec<RangePrefixes>,
    /// Clients that are told something else than the others. Default none.
    pub groups: Vec<Group>,
    /// Domains that are treated otherwise than RFC 6147 has it. Default none.
    pub domains: Vec<Domain>,
    /// Who is answered; others are refused. Default [`DEFAULT_CLIENTS`], to which the prefixes of the host's own links are
    /// to be added by who knows them.
    pub clients: Vec<IpNet>,
    /// What clients are told when the translator of a prefix takes no new sessions. Default that there is no AAAA record.
    pub when_unusable: WhenUnusable,
    /// TTL of the records of `ipv4only.arpa`. Default one day, as in RFC 8880 appendix A; up to 7 days.
    pub ipv4only_ttl: Duration,
    /// Domains whose names are asked of upstreams of their own. Default none.
    pub routes: Vec<Route>,
    /// Which of several upstreams is asked first. Default the first one that is well.
    pub upstream_order: UpstreamOrder,
    /// Whether the letters of names are sent in random case, which answers must repeat (`draft-vixie-dnsext-dns0x20`):
    /// forged answers must guess it. Default off; upstreams that do not keep the case are asked over TCP.
    pub random_case: bool,
    /// How long expired answers are kept for the case that no upstream answers (RFC 8767). Default one day; 0 is not at
    /// all, most is 7 days.
    pub max_stale: Duration,
    /// How long a failure to resolve is told again without asking (RFC 9520). Default 5 s; 0 is not at all, most is 300 s.
    pub failure_ttl: Duration,
    /// Whether a name that is asked for in the last tenth of its time is refreshed before it expires. Default on.
    pub prefetch: bool,
    /// How long one attempt waits for one upstream. Default 2 s, from 10 ms to 60 s.
    pub timeout: Duration,
    /// How many attempts one question gets, over all upstreams. Default 3, from 1 to 16.
    pub attempts: u32,
    /// How long one question may take with all its attempts. Default 4.5 s, which is before stub resolvers give up
    /// (5 s in glibc), so that a AAAA query that times out can still be answered from the A record.
    pub deadline: Duration,
    /// Cached answers at most; 0 switches the cache off. Default 100,000.
    pub cache_entries: usize,
    /// Memory of cached answers at most, in bytes; a quarter is for copies that are ready to be sent. Default 64 MiB.
    pub cache_bytes: usize,
    /// Answers are not cached longer than this. Default one day.
    pub max_ttl: Duration,
    /// Negative answers are not cached longer than this. Default 3 h, the upper end of RFC 2308 §5.
    pub max_negative_ttl: Duration,
    /// Queries under work at once, at most; those beyond are dropped. Default 1000.
    pub max_in_flight: usize,
    /// The same for one client address, so that one client leaves room for others; the addresses of an IPv6 /64 together
    /// have twice that. Those beyond are answered with SERVFAIL and extended error 14, unless their answer is
    /// known. Default 250.
    pub in_flight_per_client: usize,
    /// Answers over UDP to one client prefix (IPv4 /24, IPv6 /56) at most, each second; of those beyond, every other one
    /// only says to come over TCP, and clients with a good cookie have no limit. Default 0, which is no limit.
    pub rate_limit: u32,
    /// Whether clients that send a cookie get one of ours (RFC 7873). Default on.
    pub cookies: bool,
    /// What clients are told that ask for the server's name (RFC 5001); up to 64 bytes. Default nothing.
    pub nsid: Option<String>,
    /// The largest UDP payload that is taken and sent, in bytes, in either direction. Default 1232, which fits every IPv6
    /// path without fragments; from 512 to 4096.
    pub edns_payload: u16,
    /// How names under a prefix's reverse zone are answered. Default an alias to the IPv4 name.
    pub ptr: PtrMode,
    /// UDP sockets for each listen address, over which the kernel spreads clients. Default 0, which is one for each CPU.
    pub udp_sockets: u16,
    /// Connections at once over TCP, TLS and HTTPS, at most; those beyond are closed. Default 200.
    pub tcp_connections: usize,
    /// The same for one client: an IPv4 address or an IPv6 /64. Default 50.
    pub connections_per_client: usize,
    /// A TCP connection without a query for this long is closed (RFC 7766 §6.2.3). Default 10 s.
    pub tcp_idle: Duration,
    /// The host's own addresses, so that an upstream among them is recognised as ourselves. Default empty.
    pub host_addresses: Vec<IpAddr>,
}

impl Config {
    /// A configuration with these upstreams and prefixes, and the default of everything else.
    #[must_use]
    pub fn new(upstreams: Vec<Upstream>, prefixes: Vec<Pref64>) -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 53))],
            listen_tls: Vec::new(),
            listen_https: Vec::new(),
            https_path: "/dns-query".to_owned(),
            certificate: None,
            upstreams,
            upstream_ca: None,
            dnssec: false,
            trust_anchors: None,
            dnssec_unsigned: Vec::new(),
            prefixes,
            well_known: WellKnownPolicy::default(),
            exclude_aaaa: vec![DEFAULT_EXCLUSION],
            exclude_a: Vec::new(),
            range_prefixes: Vec::new(),
            groups: Vec::new(),
            domains: Vec::new(),
            clients: DEFAULT_CLIENTS.to_vec(),
            when_unusable: WhenUnusable::default(),
            ipv4only_ttl: Duration::from_hours(24),
            routes: Vec::new(),
            upstream_order: UpstreamOrder::default(),
            random_case: false,
            max_stale: Duration::from_hours(24),
            failure_ttl: Duration::from_secs(5),
            prefetch: true,
            timeout: Duration::from_secs(2),
            attempts: 3,
            deadline: Duration::from_millis(4500),
            cache_entries: 100_000,
            cache_bytes: 64 << 20,
            max_ttl: Duration::from_hours(24),
            max_negative_ttl: Duration::from_hours(3),
            max_in_flight: 1000,
            in_flight_per_client: 250,
            rate_limit: 0,
            cookies: true,
            nsid: None,
            edns_payload: EDNS_PAYLOAD,
            ptr: PtrMode::default(),
            udp_sockets: 0,
            tcp_connections: 200,
            connections_per_client: 50,
            tcp_idle: Duration::from_secs(10),
            host_addresses: Vec::new(),
        }
    }

    /// Checks everything that can be checked without opening a socket.
    ///
    /// # Errors
    /// The first value that is not allowed, or an upstream that is this server itself.
    pub fn validate(&self) -> Result<(), Error> {
        self.validate_values()?;
        match find_loop(self, &self.all_listen()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// [`Self::validate`] without the look for loops.
    pub(crate) fn validate_values(&self) -> Result<(), Error> {
        if self.listen.is_empty() {
            return Err(Error::NoListen);
        }
        if self.upstreams.is_empty() {
            return Err(Error::NoUpstream);
        }
        if let Some(route) = self.routes.iter().find(|route| route.upstreams.is_empty()) {
            return Err(Error::NoRouteUpstream(route.domain.clone()));
        }
        if let Some(upstream) = self.all_upstreams().find(|upstream| !upstream.can_be_asked()) {
            return Err(Error::BadUpstream(upstream.address));
        }
        if self.all_upstreams().any(Upstream::is_encrypted) {
            check_authorities(self.upstream_ca.as_deref())?;
        }
        let ms = |value: Duration| value.as_millis();
        within("timeout", ms(self.timeout), 10, 60_000, "milliseconds")?;
        within("deadline", ms(self.deadline), 10, 300_000, "milliseconds")?;
        within("attempts", self.attempts.into(), 1, 16, "attempts")?;
        within("max-in-flight", self.max_in_flight as u128, 1, 1_000_000, "queries")?;
        within("in-flight-per-client", self.in_flight_per_client as u128, 1, 1_000_000, "queries")?;
        within("tcp-connections", self.tcp_connections as u128, 1, 1_000_000, "connections")?;
        within("connections-per-client", self.connections_per_client as u128, 1, 1_000_000, "connections")?;
        within("edns-payload", self.edns_payload.into(), LEAST_PAYLOAD.into(), 4096, "bytes")?;
        within("ipv4only-ttl", self.ipv4only_ttl.as_secs().into(), 0, 604_800, "seconds")?;
        within("tcp-idle", ms(self.tcp_idle), 100, 3_600_000, "milliseconds")?;
        if let Some(choice) = self.range_prefixes.iter().find(|choice| choice.prefixes.is_empty()) {
            return Err(Error::NoRangePrefix(choice.range));
        }
        within("nsid", self.nsid.as_ref().map_or(0, String::len) as u128, 0, 64, "bytes")?;
        within("udp-sockets", self.udp_sockets.into(), 0, 256, "sockets")?;
        within("max-stale", self.max_stale.as_secs().into(), 0, 604_800, "seconds")?;
        within("failure-ttl", self.failure_ttl.as_secs().into(), 0, 300, "seconds")?;
        self.validate_encryption()?;
        if self.dnssec {
            check_trust_anchors(self.trust_anchors.as_deref())?;
        }
        let mut domains = self
            .domains
            .iter()
            .map(|rule| &rule.domain)
            .chain(self.routes.iter().map(|route| &route.domain))
            .chain(&self.dnssec_unsigned);
        match domains.find(|domain| name(domain).is_none()) {
            Some(domain) => Err(Error::BadDomain(domain.clone())),
            None => Ok(()),
        }
    }

    fn validate_encryption(&self) -> Result<(), Error> {
        if !is_https_path(&self.https_path) {
            return Err(Error::BadPath(self.https_path.clone()));
        }
        match &self.certificate {
            Some(files) => check_certificate(&files.certificate, &files.key),
            None if self.listen_tls.is_empty() && self.listen_https.is_empty() => Ok(()),
            None => Err(Error::NoCertificate),
        }
    }

    /// Every listen address, whatever is spoken there.
    fn all_listen(&self) -> Vec<SocketAddr> {
        [&self.listen[..], &self.listen_tls, &self.listen_https].concat()
    }

    /// The general upstreams and those of routes.
    pub(crate) fn all_upstreams(&self) -> impl Iterator<Item = &Upstream> {
        self.upstreams.iter().chain(self.routes.iter().flat_map(|route| &route.upstreams))
    }

    /// The part that decides what clients are told, and that can be replaced while the server runs.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy::new(self.prefixes.clone(), self.well_known, self.exclude_aaaa.clone())
            .with_ranges(self.exclude_a.clone(), self.range_prefixes.clone())
            .with_fallback(self.when_unusable.clone())
            .with_groups(self.groups.clone())
            .with_domains(self.domains.iter().filter_map(|rule| Some((name(&rule.domain)?, rule.treatment))))
            .with_clients(&self.clients)
    }
}

/// The files of a certificate, both in PEM form. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The server's certificate, then those that issued it.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Whether these two files hold a certificate, in PEM form, and its key.
///
/// # Errors
/// They cannot be read, hold something else, or do not belong together.
pub fn check_certificate(certificate: &Path, key: &Path) -> Result<(), Error> {
    listen::check_certificate(certificate, key)
}

/// Whether this can be the path of queries over HTTPS: from its first slash on, without query and fragment.
#[must_use]
pub fn is_https_path(path: &str) -> bool {
    address::is_path(path)
}

/// A domain and its treatment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The name of the domain, which all names below belong to; `.` is all names.
    pub domain: String,
    /// What is done with questions for its names.
    pub treatment: Treatment,
}

/// A domain whose names are asked of upstreams of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The name of the domain, which all names below belong to.
    pub domain: String,
    /// Who is asked, the preferred one first. At least one.
    pub upstreams: Vec<Upstream>,
}

/// Which of several upstreams is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamOrder {
    /// The first in the list that is well.
    #[default]
    Listed,
    /// The one that answers fastest; now and then another, to see whether that has changed.
    Fastest,
}

/// How names under a prefix's reverse zone are answered (RFC 6147 §5.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PtrMode {
    /// With an alias to the IPv4 reverse name, and what is there.
    #[default]
    Alias,
    /// With the records of the IPv4 reverse name, as if they were its own.
    Direct,
}

/// Whether this text is a domain name, with or without its last dot.
#[must_use]
pub fn is_domain_name(text: &str) -> bool {
    name(text).is_some()
}

/// The first upstream that is one of the listen addresses, as an error.
pub(crate) fn find_loop(config: &Config, listen: &[SocketAddr]) -> Option<Error> {
    let upstreams: Vec<SocketAddr> = config.all_upstreams().map(|upstream| upstream.address).collect();
    loops::find_upstream_loop(&upstreams, listen, &config.host_addresses)
        .map(|(upstream, listen)| Error::UpstreamLoop { upstream, listen })
}

/// Whether a file holds keys that validation can begin with; without a file those of the root zone are used.
///
/// # Errors
/// It cannot be read, holds something else, or nothing.
pub fn check_trust_anchors(file: Option<&Path>) -> Result<(), Error> {
    validate::load_anchors(file).map(drop)
}

/// Whether a file holds authorities in PEM form, or the system has some if no file is named.
///
/// # Errors
/// There are none.
pub fn check_authorities(file: Option<&Path>) -> Result<(), Error> {
    Trust::load(file).map(drop)
}

/// A domain name as written in a configuration, with or without its last dot.
pub(crate) fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_utf8(text).ok().filter(|_| !text.is_empty())?;
    name.set_fqdn(true);
    Some(name)
}

fn within(name: &'static str, value: u128, least: u128, most: u128, unit: &'static str) -> Result<(), Error> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(Error::OutOfRange { name, value, least, most, unit }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new(vec!["192.0.2.53".parse().unwrap()], vec![])
    }

    #[test]
    fn the_defaults_are_valid_and_use_the_well_known_prefix() {
        assert!(config().validate().is_ok());
        assert_eq!(config().policy().general().prefixes, [Pref64::WELL_KNOWN]);
    }

    #[test]
    fn a_value_out_of_range_is_named_with_what_is_allowed() {
        let error = Config { attempts: 0, ..config() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "attempts is 0; allowed are 1 to 16 attempts");
    }

    #[test]
    fn a_failure_is_not_remembered_for_more_than_five_minutes() {
        let with = |seconds| Config { failure_ttl: Duration::from_secs(seconds), ..config() }.validate_values();
        assert!(with(0).is_ok() && with(300).is_ok() && with(301).is_err());
    }

    #[test]
    fn a_client_may_hold_many_connections_by_default() {
        let config = config();
        assert!(config.connections_per_client > 10 && config.connections_per_client < config.tcp_connections);
        assert_eq!(config.tcp_idle, Duration::from_secs(10));
    }

    #[test]
    fn an_upstream_must_be_an_address_with_a_port_that_can_be_asked() {
        for upstream in ["0.0.0.0:53", "[::]:53", "192.0.2.1:0", "224.0.0.1:53"] {
            let upstreams = vec![upstream.parse::<SocketAddr>().unwrap().into()];
            assert!(matches!(Config { upstreams, ..config() }.validate(), Err(Error::BadUpstream(_))), "{upstream}");
        }
    }

    #[test]
    fn nothing_to_listen_on_or_nobody_to_ask_is_an_error() {
        assert!(matches!(Config { listen: vec![], ..config() }.validate(), Err(Error::NoListen)));
        assert!(matches!(Config { upstreams: vec![], ..config() }.validate(), Err(Error::NoUpstream)));
    }

    #[test]
    fn mapped_addresses_are_excluded_by_default() {
        let policy = config().policy();
        assert!(policy.general().excludes("::ffff:192.0.2.1".parse().unwrap()));
        assert!(!policy.general().excludes("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn a_domain_that_is_none_and_a_range_without_prefixes_are_named() {
        let domains = vec![Domain { domain: "a..b".to_owned(), treatment: Treatment::Never }];
        let error = Config { domains, ..config() }.validate().unwrap_err().to_string();
        assert!(error.contains("`a..b`"), "{error}");
        let range_prefixes = vec![RangePrefixes { range: "10.0.0.0/8".parse().unwrap(), prefixes: vec![] }];
        let error = Config { range_prefixes, ..config() }.validate().unwrap_err().to_string();
        assert!(error.contains("10.0.0.0/8"), "{error}");
    }

    #[test]
    fn clients_are_private_addresses_unless_others_are_listed() {
        let permits = |config: &Config, client: &str| config.policy().permits(client.parse().unwrap());
        assert!(permits(&config(), "fd00::1") && !permits(&config(), "203.0.113.1"));
        let listed = Config { clients: vec!["203.0.113.0/24".parse().unwrap()], ..config() };
        assert!(permits(&listed, "203.0.113.1") && !permits(&listed, "fd00::1"));
    }
}
