//! An upstream, as it is written in the file.

use std::fmt;
use std::str::FromStr;

use crate::config::value::as_text;

/// An address, with a port if it is not the usual one, or a URI of an encrypted transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream(pub(crate) dns64::Upstream);

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|error: dns64::BadUpstream| error.to_string())
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

as_text! {
    Upstream: "an address such as \"192.0.2.53\", or \"tls://192.0.2.53#dns.example\"";
}
