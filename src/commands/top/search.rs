//! What is typed after `/`, as a filter.

use std::net::{IpAddr, SocketAddr};

use clap::ValueEnum;
use ipnet::IpNet;

use crate::config::Transport;
use crate::control::filter::Filter;

/// The filter that words make: addresses or ranges, ports, protocols and states, in any order.
///
/// # Errors
/// Which word is none of these.
pub(super) fn filter(text: &str) -> Result<Filter, String> {
    let mut filter = Filter::default();
    for word in text.split_whitespace() {
        let ends =
            [("internal=", &mut filter.internal), ("external=", &mut filter.external), ("remote=", &mut filter.remote)];
        if let Some((value, end)) = ends.into_iter().find_map(|(key, end)| Some((word.strip_prefix(key)?, end))) {
            *end = Some(value.parse()?);
        } else if let Ok(port) = word.parse() {
            filter.port = Some(port);
        } else if let Ok(end) = word.parse::<SocketAddr>() {
            (filter.address, filter.port) = (Some(end.ip().into()), Some(end.port()));
        } else if let Ok(range) = word.parse::<IpNet>().or_else(|_| word.parse::<IpAddr>().map(IpNet::from)) {
            filter.address = Some(range);
        } else if let Ok(protocol) = Transport::from_str(word, true) {
            filter.protocol = Some(protocol);
        } else if !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            filter.state = Some(word.to_ascii_uppercase());
        } else {
            return Err(format!("`{word}` is no address, range, port, protocol or state"));
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_they_look_like() {
        let all = filter("2001:db8::/64 443 TCP established").unwrap();
        assert_eq!(all.query(), "?address=2001%3Adb8%3A%3A%2F64&port=443&protocol=tcp&state=ESTABLISHED");
        assert_eq!(filter("198.51.100.7:53").unwrap().query(), "?address=198.51.100.7%2F32&port=53");
        assert_eq!(filter("remote=198.51.100.7:53").unwrap().query(), "?remote=198.51.100.7%3A53");
        assert_eq!(filter("  ").unwrap(), Filter::default());
        assert!(filter("example.net").unwrap_err().contains("`example.net`"));
        assert!(filter("remote=x").unwrap_err().contains("`x`"));
    }
}
