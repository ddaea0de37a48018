//! The rules between values of `[dns64]`.

use std::net::{IpAddr, SocketAddr};

use super::Dns64Section;
use crate::config::place::{Located, Problem};
use crate::config::value::Endpoint;

/// Checks the section of a server that is on, by this switch.
///
/// # Errors
/// The first rule that is broken.
pub(crate) fn check(switch: &Located<bool>, section: &Dns64Section) -> Result<(), Problem> {
    listeners(section)?;
    super::tls::check(section)?;
    clients(section)?;
    upstreams(switch, section)
}

fn clients(section: &Dns64Section) -> Result<(), Problem> {
    if section.clients.is_empty() {
        return Err(Problem::general(
            "dns64.clients is an empty list, so that nobody is answered; give the ranges of your clients, or \"auto\" for \
             this host, private addresses and the links of this host",
        ));
    }
    Ok(())
}

fn listeners(section: &Dns64Section) -> Result<(), Problem> {
    if section.listen.is_empty() {
        return Err(Problem::general(
            "dns64.listen is an empty list; give at least one address, for example \"[::]:53\"",
        ));
    }
    for (index, one) in section.listen.0.iter().enumerate() {
        if one.value.0.ip().is_multicast() {
            return Err(one.problem(format!("`{}` is multicast; listen on a unicast address or on [::]", one.value)));
        }
        if let Some(other) = section.listen.0[..index].iter().find(|other| other.value == one.value) {
            let message = format!("`{}` is listed twice; once is enough", one.value);
            return Err(one.problem(message).also(other, "the other one is here"));
        }
    }
    Ok(())
}

fn upstreams(switch: &Located<bool>, section: &Dns64Section) -> Result<(), Problem> {
    if section.upstreams.is_empty() {
        return Err(switch.problem(
            "DNS64 is on but dns64.upstreams is empty; give the address of at least one recursive resolver, for example \
             upstreams = [\"192.0.2.53\"], or switch it off",
        ));
    }
    for upstream in &section.upstreams.0 {
        let (address, port) = (upstream.value.0.ip(), upstream.value.0.port());
        if address.is_multicast() || address.is_unspecified() || port == 0 {
            let message = format!(
                "`{}` cannot be asked; allowed is a unicast address with a port from 1 to 65535",
                upstream.value
            );
            return Err(upstream.problem(message));
        }
    }
    upstream_loop(section, &[]).map_or(Ok(()), Err)
}

/// The first upstream that is this server itself, on a host that has the addresses `host`.
pub(crate) fn upstream_loop(section: &Dns64Section, host: &[IpAddr]) -> Option<Problem> {
    let sockets = |endpoints: &[Located<Endpoint>]| -> Vec<SocketAddr> {
        endpoints.iter().map(|endpoint| endpoint.value.0).collect()
    };
    let (upstream, listen) =
        dns64::find_upstream_loop(&sockets(&section.upstreams.0), &sockets(&section.listen.0), host)?;
    let message = format!(
        "the upstream `{upstream}` is this server itself, which listens on `{listen}`; give a resolver elsewhere, or \
         listen on other addresses"
    );
    let upstream = section.upstreams.0.iter().find(|located| located.value.0 == upstream)?;
    let listen = section.listen.0.iter().find(|located| located.value.0 == listen)?;
    Some(upstream.problem(message).also(listen, "it listens here"))
}
