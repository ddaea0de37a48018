//! Whether an upstream is this server itself.

use std::net::{IpAddr, SocketAddr};

/// The first upstream that a listen address receives, with that listen address.
///
/// A wildcard listen address receives what is sent to any address of the host: loopback, and `host`, the addresses of
/// its interfaces. `[::]` receives IPv4 too, unless an IPv4 address with the same port is listed beside it.
#[must_use]
pub fn find_upstream_loop(
    upstreams: &[SocketAddr],
    listen: &[SocketAddr],
    host: &[IpAddr],
) -> Option<(SocketAddr, SocketAddr)> {
    let receives = |listening: SocketAddr, upstream: SocketAddr| {
        listening.port() == upstream.port()
            && (listening.ip() == upstream.ip().to_canonical()
                || listening.ip().is_unspecified()
                    && wildcard_receives(listening, upstream.ip().to_canonical(), listen, host))
    };
    upstreams.iter().find_map(|&upstream| {
        listen.iter().find(|&&listening| receives(listening, upstream)).map(|&listening| (upstream, listening))
    })
}

/// Whether an IPv6 wildcard address takes IPv6 only, because IPv4 with the same port is listed beside it.
pub(crate) fn is_v6_only(listening: SocketAddr, listen: &[SocketAddr]) -> bool {
    listen.iter().any(|other| other.is_ipv4() && other.port() == listening.port())
}

fn wildcard_receives(listening: SocketAddr, upstream: IpAddr, listen: &[SocketAddr], host: &[IpAddr]) -> bool {
    let family_fits = upstream.is_ipv6() == listening.is_ipv6()
        || listening.is_ipv6() && upstream.is_ipv4() && !is_v6_only(listening, listen);
    family_fits && (upstream.is_loopback() || host.contains(&upstream))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_loop(upstream: &str, listen: &[&str], host: &[&str]) -> bool {
        let listen: Vec<SocketAddr> = listen.iter().map(|text| text.parse().unwrap()).collect();
        let host: Vec<IpAddr> = host.iter().map(|text| text.parse().unwrap()).collect();
        find_upstream_loop(&[upstream.parse().unwrap()], &listen, &host).is_some()
    }

    #[test]
    fn the_same_address_and_port_is_a_loop_and_another_port_is_not() {
        assert!(is_loop("127.0.0.1:53", &["127.0.0.1:53"], &[]));
        assert!(!is_loop("127.0.0.1:5353", &["127.0.0.1:53"], &[]));
        assert!(!is_loop("127.0.0.53:53", &["127.0.0.1:53"], &[]));
    }

    #[test]
    fn a_wildcard_receives_loopback_and_the_hosts_own_addresses() {
        assert!(is_loop("127.0.0.53:53", &["0.0.0.0:53"], &[]));
        assert!(is_loop("192.0.2.1:53", &["0.0.0.0:53"], &["192.0.2.1"]));
        assert!(is_loop("[2001:db8::1]:53", &["[::]:53"], &["2001:db8::1"]));
        assert!(!is_loop("192.0.2.2:53", &["0.0.0.0:53"], &["192.0.2.1"]));
    }

    #[test]
    fn the_ipv6_wildcard_receives_ipv4_unless_ipv4_is_listed_beside_it() {
        assert!(is_loop("127.0.0.1:53", &["[::]:53"], &[]));
        assert!(is_loop("[::ffff:192.0.2.1]:53", &["[::]:53"], &["192.0.2.1"]));
        assert!(!is_loop("192.0.2.1:53", &["[::]:53", "192.0.2.9:53"], &["192.0.2.1", "192.0.2.9"]));
        assert!(!is_loop("[::1]:53", &["0.0.0.0:53"], &[]));
    }
}
