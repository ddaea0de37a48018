//! Values of single keys.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::config::value::as_text;

/// Who is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    /// This host, private addresses, and whoever is on a link of this host.
    Auto,
    /// These addresses.
    Range(IpNet),
}

impl Clients {
    /// The addresses that are known beforehand.
    pub(crate) fn nets(&self) -> &[IpNet] {
        match self {
            Self::Auto => &dns64::DEFAULT_CLIENTS,
            Self::Range(net) => std::slice::from_ref(net),
        }
    }
}

impl FromStr for Clients {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" { Ok(Self::Auto) } else { range(text).map(Self::Range) }
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Range(net) => net.fmt(f),
        }
    }
}

fn range(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        format!("`{text}` is no range of addresses; write it as address/length, for example 2001:db8::/32")
    })?;
    if net.addr() == net.network() {
        Ok(net)
    } else {
        Err(format!("`{text}` has bits set after its length; the range is `{}`", net.trunc()))
    }
}

as_text! {
    Clients: "\"auto\" or a range of addresses such as \"2001:db8::/32\"";
}
