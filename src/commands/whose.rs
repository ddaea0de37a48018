//! `nat64 whose`: which subscriber has a pool port, and which ports a subscriber has, told by the configuration alone.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::str::FromStr;

use anyhow::{Context, bail};
use nat64_core::policy::PortAssignment;
use nat64_core::{Policy, Share};
use serde::Serialize;

use super::print;
use crate::cli::WhoseArgs;
use crate::config;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Whose is this port?
    Port(SocketAddrV4),
    /// Which ports has the subscriber of this address?
    Host(Ipv6Addr),
}

impl FromStr for Asked {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = text.parse().map(Self::Port);
        port.or_else(|_| text.parse().map(Self::Host)).map_err(
            |_| "give a pool address with a port, such as 192.0.2.1:40123, or an IPv6 address, such as 2001:db8:1::5",
        )
    }
}

/// What `nat64 whose --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "assignment", rename_all = "kebab-case")]
enum Answer {
    /// Ports that follow from the subscriber's prefix.
    Deterministic { subscriber: String, address: Ipv4Addr, first_port: u16, last_port: u16 },
    /// A mapping of the configuration.
    Static { protocol: &'static str, internal: Ipv6Addr, internal_port: u16, address: Ipv4Addr, port: u16 },
}

/// Answers from the configuration. What it says has been so as long as the configuration has been in force.
pub(super) fn whose(args: &WhoseArgs) -> anyhow::Result<()> {
    let settings = config::load(args.file.as_deref(), &args.overrides)?;
    let policy =
        settings.policy.as_ref().context("the translator is off in this configuration, so nobody has a port")?;
    let answers = answers(policy, args.what)?;
    let text: String = if args.json {
        format!("{}\n", serde_json::to_string(&answers)?)
    } else {
        answers.iter().map(|answer| format!("{answer}\n")).collect()
    };
    print(&text)
}

fn answers(policy: &Policy, asked: Asked) -> anyhow::Result<Vec<Answer>> {
    let mut answers = static_mappings(policy, asked);
    let share = match asked {
        Asked::Port(port) => policy.share_with(*port.ip(), port.port()),
        Asked::Host(host) => policy.share_of(host),
    };
    answers.extend(share.map(Answer::from));
    if answers.is_empty() {
        refuse(policy, asked)?;
    }
    Ok(answers)
}

fn static_mappings(policy: &Policy, asked: Asked) -> Vec<Answer> {
    let matching = policy.static_mappings.iter().filter(|mapping| match asked {
        Asked::Port(port) => mapping.external == (*port.ip(), port.port()),
        Asked::Host(host) => mapping.internal.0 == host,
    });
    let answer = |mapping: &nat64_core::policy::StaticMapping| Answer::Static {
        protocol: mapping.protocol.name(),
        internal: mapping.internal.0,
        internal_port: mapping.internal.1,
        address: mapping.external.0,
        port: mapping.external.1,
    };
    matching.map(answer).collect()
}

/// Says why the configuration does not tell.
fn refuse(policy: &Policy, asked: Asked) -> anyhow::Result<()> {
    if !matches!(policy.port_assignment, PortAssignment::Deterministic(_)) {
        bail!(
            "the configuration does not tell: ports are not assigned by arithmetic (translator.port-assignment is not \
             \"deterministic\"); `nat64 mappings` tells who has a port now, `nat64 who-had` asks a log who had it"
        );
    }
    match asked {
        Asked::Port(port) => bail!("{port} is in the ports of no subscriber"),
        Asked::Host(host) => bail!("{host} is not in translator.deterministic-sources, so it has no ports"),
    }
}

impl From<Share> for Answer {
    fn from(share: Share) -> Self {
        let Share { subscriber, address, first_port, last_port } = share;
        Self::Deterministic { subscriber: subscriber.to_string(), address, first_port, last_port }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deterministic { subscriber, address, first_port, last_port } => {
                write!(f, "{subscriber} has {address} ports {first_port}-{last_port}, by its number (RFC 7422)")
            }
            Self::Static { protocol, internal, internal_port, address, port } => {
                write!(f, "[{internal}]:{internal_port} has {address}:{port} for {protocol}, by a static mapping")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nat64_core::Protocol;
    use nat64_core::policy::{PoolRange, StaticMapping};

    use super::*;

    fn policy() -> Policy {
        let pool = PoolRange {
            last: Ipv4Addr::new(192, 0, 2, 4),
            first_port: 1024,
            ..PoolRange::address(Ipv4Addr::new(192, 0, 2, 1))
        };
        let fixed = StaticMapping {
            protocol: Protocol::Tcp,
            internal: ("2001:db8:9::80".parse().unwrap(), 8443),
            external: (Ipv4Addr::new(192, 0, 2, 1), 2000),
        };
        Policy {
            port_assignment: PortAssignment::Deterministic("2001:db8:1::/48".parse().unwrap()),
            subscriber_length: 56,
            static_mappings: vec![fixed],
            ..Policy::new(vec![pref64::Pref64::WELL_KNOWN], vec![pool])
        }
    }

    fn told(policy: &Policy, asked: &str) -> Result<Vec<String>, String> {
        let answers = answers(policy, asked.parse().unwrap()).map_err(|error| error.to_string())?;
        Ok(answers.iter().map(Answer::to_string).collect())
    }

    #[test]
    fn a_port_leads_to_its_subscriber_and_a_host_to_its_ports() {
        let answer = "2001:db8:1:4000::/56 has 192.0.2.2 ports 1024-2031, by its number (RFC 7422)";
        assert_eq!(told(&policy(), "2001:db8:1:40ff::9"), Ok(vec![answer.to_owned()]));
        assert_eq!(told(&policy(), "192.0.2.2:1024"), Ok(vec![answer.to_owned()]));
        assert_eq!(told(&policy(), "192.0.2.2:2031"), Ok(vec![answer.to_owned()]));
        assert_ne!(told(&policy(), "192.0.2.2:2032"), Ok(vec![answer.to_owned()]));
    }

    #[test]
    fn static_mappings_are_told_too() {
        let fixed = "[2001:db8:9::80]:8443 has 192.0.2.1:2000 for tcp, by a static mapping";
        assert_eq!(told(&policy(), "2001:db8:9::80"), Ok(vec![fixed.to_owned()]));
        let both = told(&policy(), "192.0.2.1:2000").unwrap();
        assert_eq!((both.len(), both[0].as_str()), (2, fixed));
    }

    #[test]
    fn what_the_configuration_does_not_tell_is_said_so() {
        assert_eq!(told(&policy(), "192.0.2.1:80"), Err("192.0.2.1:80 is in the ports of no subscriber".to_owned()));
        assert!(told(&policy(), "2001:db8:2::1").unwrap_err().contains("deterministic-sources"));
        let single = Policy { port_assignment: PortAssignment::Single, ..policy() };
        assert!(told(&single, "192.0.2.1:2001").unwrap_err().contains("does not tell"));
        assert!("192.0.2.1".parse::<Asked>().is_err() && "host:80".parse::<Asked>().is_err());
    }
}
