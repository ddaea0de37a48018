//! What clients are told, and which of them are told anything: one value, made from the configuration and swapped whole.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::rr::Name;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pref64::{Pref64, WellKnownPolicy};
use serde::{Deserialize, Serialize};

use crate::clients::{Clients, DEFAULT_CLIENTS};
use crate::domains::{Domains, Treatment};
use crate::error::Protocol;

/// IPv4 addresses that are represented under prefixes of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangePrefixes {
    /// The addresses; of several ranges that hold an address, the longest counts.
    pub range: Ipv4Net,
    /// The prefixes to use for them, instead of the general ones.
    pub prefixes: Vec<Pref64>,
}

/// Clients that are told something else than the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// What the group is called in explanations.
    pub name: String,
    /// Who belongs to it by source address; nobody is named: everybody who asks on `listen`.
    pub clients: Vec<IpNet>,
    /// Who belongs to it by the listener that was asked; empty: whichever. A wildcard address in a listener stands for
    /// any address with that port.
    pub listen: Vec<SocketAddr>,
    /// Whether anything is synthesised for it; without a value as for everybody.
    pub synthesise: Option<bool>,
    /// Its prefixes; without a value as for everybody.
    pub prefixes: Option<Vec<Pref64>>,
    /// Its excluded AAAA ranges; without a value as for everybody.
    pub exclude_aaaa: Option<Vec<Ipv6Net>>,
    /// IPv4 ranges that are never synthesised for it; without a value as for everybody.
    pub exclude_a: Option<Vec<Ipv4Net>>,
}

/// What clients are told: prefixes, their rules, exclusions, groups of clients and treatments of domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    general: Arc<View>,
    groups: Vec<Member>,
    pub(crate) domains: Domains,
    clients: Clients,
}

/// A group's way to find its clients, and what they are told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    clients: Vec<IpNet>,
    listen: Vec<SocketAddr>,
    view: Arc<View>,
}

/// What one group of clients is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// 0 for the general view, then the groups in their order.
    pub(crate) number: u16,
    pub(crate) name: String,
    pub(crate) synthesise: bool,
    /// Prefixes to synthesise under; never empty.
    pub(crate) prefixes: Vec<Pref64>,
    /// Prefixes by IPv4 range, the longest range first.
    pub(crate) by_range: Vec<RangePrefixes>,
    pub(crate) well_known: WellKnownPolicy,
    pub(crate) exclude_aaaa: Vec<Ipv6Net>,
    pub(crate) exclude_a: Vec<Ipv4Net>,
    /// Prefixes whose translator is not there for new sessions.
    unusable: Vec<Pref64>,
    pub(crate) when_unusable: WhenUnusable,
}

/// Whether a prefix's translator takes new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrefixState {
    /// It does.
    Up,
    /// It serves the sessions that it has and takes no others.
    Draining,
    /// It is not there.
    Down,
}

/// What clients are told instead of addresses under a prefix whose translator takes no new sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenUnusable {
    /// That there is no AAAA record, in an answer that is not to be cached.
    #[default]
    NoAaaa,
    /// That the server failed.
    ServerFailure,
    /// Addresses under these prefixes, or that there is none if they are not usable either.
    Prefixes(Vec<Pref64>),
}

/// Where a query came from, and the address of ours that it went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) client: IpAddr,
    /// The listener, with the address that was asked where the listener has a wildcard.
    pub(crate) listener: SocketAddr,
    /// How it came.
    pub(crate) protocol: Protocol,
}

impl Policy {
    /// A policy for [`DEFAULT_CLIENTS`]; no prefix at all means the well-known one (RFC 6147 §5.2).
    #[must_use]
    pub fn new(prefixes: Vec<Pref64>, well_known: WellKnownPolicy, exclude_aaaa: Vec<Ipv6Net>) -> Self {
        let prefixes = if prefixes.is_empty() { vec![Pref64::WELL_KNOWN] } else { prefixes };
        let general = View {
            number: 0,
            name: "everybody".to_owned(),
            synthesise: true,
            prefixes,
            by_range: Vec::new(),
            well_known,
            exclude_aaaa,
            exclude_a: Vec::new(),
            unusable: Vec::new(),
            when_unusable: WhenUnusable::default(),
        };
        Self {
            general: Arc::new(general),
            groups: Vec::new(),
            domains: Domains::default(),
            clients: Clients::new(&DEFAULT_CLIENTS),
        }
    }

    /// The same with IPv4 ranges that are never synthesised, and ranges with prefixes of their own.
    #[must_use]
    pub fn with_ranges(mut self, exclude_a: Vec<Ipv4Net>, mut by_range: Vec<RangePrefixes>) -> Self {
        by_range.sort_by_key(|choice| std::cmp::Reverse(choice.range.prefix_len()));
        let general = View { exclude_a, by_range, ..View::clone(&self.general) };
        self.general = Arc::new(general);
        self
    }

    /// The same, with what is told when a translator takes no new sessions. To be called before [`Self::with_groups`].
    #[must_use]
    pub fn with_fallback(mut self, when_unusable: WhenUnusable) -> Self {
        self.general = Arc::new(View { when_unusable, ..View::clone(&self.general) });
        self
    }

    /// The same while these prefixes are not to be used.
    pub(crate) fn without(&self, unusable: &[Pref64]) -> Self {
        let changed = |view: &Arc<View>| Arc::new(View { unusable: unusable.to_vec(), ..View::clone(view) });
        let group = |group: &Member| Member { view: changed(&group.view), ..group.clone() };
        let groups = self.groups.iter().map(group).collect();
        Self { general: changed(&self.general), groups, ..self.clone() }
    }

    /// The same with groups, which differ from what everybody is told in what they say. To be called after
    /// [`Self::with_ranges`].
    #[must_use]
    pub fn with_groups(mut self, groups: Vec<Group>) -> Self {
        self.groups = (1..).zip(groups).map(|(number, group)| Member::new(number, group, &self.general)).collect();
        self
    }

    /// The same with treatments of domains.
    #[must_use]
    pub fn with_domains(self, domains: impl IntoIterator<Item = (Name, Treatment)>) -> Self {
        Self { domains: domains.into_iter().collect(), ..self }
    }

    /// The same, answering these clients only.
    #[must_use]
    pub fn with_clients(self, clients: &[IpNet]) -> Self {
        Self { clients: Clients::new(clients), ..self }
    }

    /// Whether this client is answered at all.
    #[must_use]
    pub fn permits(&self, client: IpAddr) -> bool {
        self.clients.contain(client)
    }

    /// Whether clients are told the same under both, whoever they are.
    pub(crate) fn tells_the_same(&self, other: &Self) -> bool {
        (&self.general, &self.groups, &self.domains) == (&other.general, &other.groups, &other.domains)
    }

    /// What the asker is told: of the groups that it belongs to, the one with the longest source prefix, the first of
    /// equals.
    pub(crate) fn view(&self, origin: Origin) -> &Arc<View> {
        let candidates = self.groups.iter().filter_map(|group| Some((group.closeness(origin)?, &group.view)));
        let best = candidates.reduce(|best, other| if other.0 > best.0 { other } else { best });
        best.map_or(&self.general, |(_, view)| view)
    }

    /// How a question for this name, in wire form, is treated.
    pub(crate) fn treatment(&self, name: &[u8]) -> Treatment {
        self.domains.treatment(name)
    }

    /// What everybody is told who is in no group.
    #[cfg(test)]
    pub(crate) fn general(&self) -> &View {
        &self.general
    }
}

impl Member {
    fn new(number: u16, group: Group, general: &View) -> Self {
        let view = View {
            number,
            name: group.name,
            synthesise: group.synthesise.unwrap_or(general.synthesise),
            // A group with prefixes of its own has them for all addresses.
            by_range: if group.prefixes.is_some() { Vec::new() } else { general.by_range.clone() },
            prefixes: group
                .prefixes
                .filter(|prefixes| !prefixes.is_empty())
                .unwrap_or_else(|| general.prefixes.clone()),
            well_known: general.well_known,
            exclude_aaaa: group.exclude_aaaa.unwrap_or_else(|| general.exclude_aaaa.clone()),
            exclude_a: group.exclude_a.unwrap_or_else(|| general.exclude_a.clone()),
            unusable: general.unusable.clone(),
            when_unusable: general.when_unusable.clone(),
        };
        Self { clients: group.clients, listen: group.listen, view: Arc::new(view) }
    }

    /// How closely the group describes the asker: one more than the bits of its source prefix; nothing if not at all.
    fn closeness(&self, origin: Origin) -> Option<u8> {
        let is_asked = |listen: &SocketAddr| {
            listen.port() == origin.listener.port()
                && (listen.ip().is_unspecified() || listen.ip().to_canonical() == origin.listener.ip().to_canonical())
        };
        if !self.listen.is_empty() && !self.listen.iter().any(is_asked) {
            return None;
        }
        if self.clients.is_empty() {
            return Some(0);
        }
        let client = origin.client.to_canonical();
        self.clients.iter().filter(|net| net.contains(&client)).map(|net| net.prefix_len() + 1).max()
    }
}

impl View {
    /// Whether a AAAA record with this address counts as absent (RFC 6147 §5.1.4).
    pub(crate) fn excludes(&self, address: Ipv6Addr) -> bool {
        self.exclude_aaaa.iter().any(|net| net.contains(&address))
    }

    /// The prefixes that an IPv4 address may appear under now, in their order.
    pub(crate) fn prefixes_for(&self, address: Ipv4Addr) -> impl Iterator<Item = Pref64> {
        let fallback: &[Pref64] = match &self.when_unusable {
            WhenUnusable::Prefixes(prefixes) if self.is_without_own(address) => prefixes,
            WhenUnusable::Prefixes(_) | WhenUnusable::NoAaaa | WhenUnusable::ServerFailure => &[],
        };
        let fallback = fallback.iter().copied().filter(move |prefix| self.well_known.permits(*prefix, address));
        self.permitted(address).chain(fallback).filter(|prefix| !self.unusable.contains(prefix))
    }

    /// Whether an address could be told if the translators of its prefixes were up.
    pub(crate) fn is_cut_off(&self, address: Ipv4Addr) -> bool {
        self.is_without_own(address) && self.prefixes_for(address).next().is_none()
    }

    fn is_without_own(&self, address: Ipv4Addr) -> bool {
        // Nearly always nothing is unusable, and this is asked for every address.
        !self.unusable.is_empty()
            && self.permitted(address).next().is_some()
            && self.permitted(address).all(|prefix| self.unusable.contains(&prefix))
    }

    /// The prefixes that an IPv4 address may appear under while all translators are up.
    fn permitted(&self, address: Ipv4Addr) -> impl Iterator<Item = Pref64> {
        let is_excluded = self.exclude_a.iter().any(|net| net.contains(&address));
        let chosen = self.by_range.iter().find(|choice| choice.range.contains(&address));
        let prefixes: &[Pref64] = match chosen {
            _ if is_excluded => &[],
            Some(choice) => &choice.prefixes,
            None => &self.prefixes,
        };
        prefixes.iter().copied().filter(move |prefix| self.well_known.permits(*prefix, address))
    }

    /// All prefixes that a record of ours may lie under.
    pub(crate) fn all_prefixes(&self) -> impl Iterator<Item = &Pref64> {
        let fallback: &[Pref64] = match &self.when_unusable {
            WhenUnusable::Prefixes(prefixes) => prefixes,
            WhenUnusable::NoAaaa | WhenUnusable::ServerFailure => &[],
        };
        self.prefixes.iter().chain(self.by_range.iter().flat_map(|choice| &choice.prefixes)).chain(fallback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn general() -> Policy {
        Policy::new(vec!["2001:db8:64::/96".parse().unwrap()], WellKnownPolicy::Strict, vec![])
    }

    fn from(client: &str, listener: &str) -> Origin {
        Origin { client: client.parse().unwrap(), listener: listener.parse().unwrap(), protocol: Protocol::Udp }
    }

    fn group(name: &str, clients: &[&str], listen: &[&str]) -> Group {
        Group {
            name: name.to_owned(),
            clients: clients.iter().map(|net| net.parse().unwrap()).collect(),
            listen: listen.iter().map(|address| address.parse().unwrap()).collect(),
            ..Group::default()
        }
    }

    #[test]
    fn the_longest_source_prefix_finds_the_group_and_others_are_told_what_everybody_is() {
        let groups = vec![
            group("wide", &["2001:db8::/32", "192.0.2.0/24"], &[]),
            group("narrow", &["2001:db8:1::/48"], &[]),
            group("port", &[], &["[::]:5353"]),
            group("both", &["2001:db8:2::/48"], &["127.0.0.1:53"]),
        ];
        let policy = general().with_groups(groups);
        for (client, listener, expected) in [
            ("2001:db8:9::1", "[2001:db8::53]:53", "wide"),
            ("2001:db8:1::1", "[2001:db8::53]:53", "narrow"),
            ("::ffff:192.0.2.1", "192.0.2.53:53", "wide"),
            ("198.51.100.1", "192.0.2.53:53", "everybody"),
            ("198.51.100.1", "192.0.2.53:5353", "port"),
            ("2001:db8:1::1", "[2001:db8::53]:5353", "narrow"),
            ("2001:db8:2::1", "127.0.0.1:53", "both"),
            ("2001:db8:2::1", "127.0.0.2:53", "wide"),
        ] {
            assert_eq!(policy.view(from(client, listener)).name, expected, "{client} {listener}");
        }
    }

    #[test]
    fn a_group_is_told_what_everybody_is_but_for_what_it_says() {
        let own = Group { prefixes: Some(vec!["2001:db8:65::/96".parse().unwrap()]), ..group("own", &["::/0"], &[]) };
        let off = Group { synthesise: Some(false), ..group("off", &["0.0.0.0/0"], &[]) };
        let excluded = vec!["10.0.0.0/8".parse().unwrap()];
        let policy = general().with_ranges(excluded.clone(), vec![]).with_groups(vec![own, off]);
        let own = policy.view(from("2001:db8::1", "[::1]:53"));
        assert_eq!((own.prefixes[0].to_string().as_str(), &own.exclude_a), ("2001:db8:65::/96", &excluded));
        let off = policy.view(from("192.0.2.1", "[::1]:53"));
        assert_eq!((off.synthesise, &off.prefixes), (false, &policy.general().prefixes));
    }

    #[test]
    fn a_range_never_synthesised_wins_over_one_with_prefixes_and_the_longest_of_those_wins() {
        let choice = |range: &str, prefix: &str| RangePrefixes {
            range: range.parse().unwrap(),
            prefixes: vec![prefix.parse().unwrap()],
        };
        let choices = vec![choice("192.0.0.0/16", "2001:db8:a::/96"), choice("192.0.2.0/24", "2001:db8:b::/96")];
        let policy = general().with_ranges(vec!["192.0.2.128/25".parse().unwrap()], choices);
        let prefixes = |address: &str| -> Vec<String> {
            policy.general().prefixes_for(address.parse().unwrap()).map(|prefix| prefix.to_string()).collect()
        };
        assert_eq!(prefixes("192.0.3.1"), ["2001:db8:a::/96"]);
        assert_eq!(prefixes("192.0.2.1"), ["2001:db8:b::/96"]);
        assert_eq!(prefixes("192.0.2.129"), [""; 0]);
        assert_eq!(prefixes("8.8.8.8"), ["2001:db8:64::/96"]);
    }

    #[test]
    fn an_unusable_prefix_is_replaced_by_the_fallback_or_cuts_its_addresses_off() {
        let own: Pref64 = "2001:db8:64::/96".parse().unwrap();
        let other: Pref64 = "2001:db8:65::/96".parse().unwrap();
        let address = Ipv4Addr::new(192, 0, 2, 1);
        let prefixes = |policy: &Policy| policy.general().prefixes_for(address).collect::<Vec<_>>();
        let with_fallback = general().with_fallback(WhenUnusable::Prefixes(vec![other]));
        assert_eq!(prefixes(&with_fallback), [own]);
        assert_eq!(prefixes(&with_fallback.without(&[own])), [other]);
        let cut_off = with_fallback.without(&[own, other]);
        assert_eq!(prefixes(&cut_off), []);
        assert!(cut_off.general().is_cut_off(address) && !with_fallback.general().is_cut_off(address));
        assert!(general().without(&[own]).general().is_cut_off(address));
    }
}
