//! The IPv4 address that this host itself goes out with: that of its default route.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::netlink::{Address, Link, Netlink, Route};
use super::sysctl::Sysctls;
use super::{NetError, news, thread};
use crate::config::OwnAddress;

/// An address that no host has and no route names (RFC 7600 §4.8), so that the default route is what leads there.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
const LOCAL_PORTS: &str = "net/ipv4/ip_local_port_range";
/// What Linux has unless it is told otherwise.
const USUAL_PORTS: RangeInclusive<u16> = 32_768..=60_999;

/// Finds the address out, for those who need not be on a runtime.
///
/// # Errors
/// Why there is no such address, or not one alone.
pub(crate) fn own_address() -> Result<OwnAddress, String> {
    thread::ask(|| async { find(&Netlink::open_for_questions().map_err(|error| error.to_string())?).await })
        .map_err(|error| format!("cannot ask the kernel for the addresses of this host: {error}"))?
}

/// Looks at the address when it may have changed.
pub(crate) struct OwnWatch {
    netlink: Netlink,
    news: BoxStream<'static, ()>,
}

impl OwnWatch {
    /// Begins to watch, on the current runtime. From now on no change goes unnoticed.
    ///
    /// # Errors
    /// There is no connection to the kernel.
    pub(crate) fn open() -> Result<Self, NetError> {
        let (netlink, news) = Netlink::open_for_routes().map_err(NetError::Socket)?;
        Ok(Self { netlink, news: news.boxed() })
    }

    /// The address as it is.
    ///
    /// # Errors
    /// Why there is no such address, or not one alone.
    pub(crate) async fn own(&mut self) -> Result<OwnAddress, String> {
        find(&self.netlink).await
    }

    /// Waits until something has changed. Returns whether there may be another change.
    pub(crate) async fn changed(&mut self) -> bool {
        news::burst(&mut self.news).await
    }
}

async fn find(netlink: &Netlink) -> Result<OwnAddress, String> {
    let cannot = |error| format!("cannot find the IPv4 address of this host: {error}");
    let route = netlink.route_to(ELSEWHERE.into()).await.map_err(cannot)?;
    let addresses = netlink.addresses().await.map_err(cannot)?;
    let links = netlink.links().await.map_err(cannot)?;
    let (address, interface) = choose(route, &addresses, &links)?;
    let local_ports = Sysctls::of_kernel().read(LOCAL_PORTS).ok().flatten().and_then(|text| range(&text));
    Ok(OwnAddress { address, interface, local_ports: local_ports.unwrap_or(USUAL_PORTS) })
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ports = text.split_whitespace().map(str::parse::<u16>);
    Some(ports.next()?.ok()?..=ports.next()?.ok()?)
}

/// The address of the host that packets by the default route have as their source, and its interface.
fn choose(route: Option<Route>, addresses: &[Address], links: &[Link]) -> Result<(Ipv4Addr, String), String> {
    const INSTEAD: &str = "write the address and ports instead, for example \"192.0.2.1:10000-29999\"";
    let Some(route) = route else {
        return Err(format!(
            "`shared` is the IPv4 address of the default route's interface, but there is no IPv4 default route; set one \
             up, or {INSTEAD}"
        ));
    };
    let Some(index) = route.output else {
        return Err(format!(
            "the IPv4 default route leads through several interfaces, so that `shared` has several meanings; {INSTEAD}"
        ));
    };
    let name = links.iter().find(|link| link.index == index).map_or("?", |link| link.name.as_str());
    let here: Vec<(Ipv4Addr, &Address)> = addresses
        .iter()
        .filter(|own| own.index == index && own.is_global && own.is_primary)
        .filter_map(|own| if let IpAddr::V4(address) = own.address { Some((address, own)) } else { None })
        .collect();
    if let Some(source) = route.source {
        let has_it = addresses.iter().find(|own| own.address == IpAddr::V4(source)).map_or(index, |own| own.index);
        let name = links.iter().find(|link| link.index == has_it).map_or(name, |link| link.name.as_str());
        return Ok((source, name.to_owned()));
    }
    // As the kernel has it: an address of the router's subnet comes before others.
    let beside = |own: &Address| route.gateway.is_some_and(|gateway| own.subnet_has(gateway));
    let nearer: Vec<_> = here.iter().filter(|(_, own)| beside(own)).copied().collect();
    match if nearer.is_empty() { &here[..] } else { &nearer[..] } {
        [(address, _)] => Ok((*address, name.to_owned())),
        [] => Err(format!(
            "the interface {name}, of the IPv4 default route, has no IPv4 address that `shared` could be; {INSTEAD}"
        )),
        several => {
            let list: Vec<String> = several.iter().map(|(address, _)| address.to_string()).collect();
            Err(format!(
                "the interface {name}, of the IPv4 default route, has several addresses that `shared` could be: {}; {INSTEAD}",
                list.join(", ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::own;

    fn link(index: u32, name: &str) -> Link {
        let name = name.to_owned();
        Link { index, name, uses_arp: true, is_up: true, mtu4: 1500, mtu6: 1500 }
    }

    fn through(index: u32) -> Route {
        let gateway = Some(Ipv4Addr::new(192, 0, 2, 254));
        Route { net: "0.0.0.0/0".parse().unwrap(), output: Some(index), source: None, gateway }
    }

    fn own4(index: u32, address: &str, prefix_len: u8) -> Address {
        Address { prefix_len, ..own(index, address) }
    }

    #[test]
    fn it_is_that_of_the_default_routes_interface() {
        let links = [link(2, "eth0"), link(3, "eth1")];
        let addresses = [own4(2, "10.0.0.1", 8), own4(3, "192.0.2.1", 24), own(3, "2001:db8::1")];
        let chosen = choose(Some(through(3)), &addresses, &links);
        assert_eq!(chosen, Ok(("192.0.2.1".parse().unwrap(), "eth1".to_owned())));
    }

    #[test]
    fn the_routers_subnet_decides_among_several_and_the_routes_own_source_before_it() {
        let links = [link(2, "eth0"), link(1, "lo")];
        let second = Address { is_primary: false, ..own4(2, "192.0.2.9", 24) };
        let addresses = [own4(2, "203.0.113.9", 32), own4(2, "192.0.2.1", 24), second, own4(1, "198.51.100.7", 32)];
        let chosen = choose(Some(through(2)), &addresses, &links).unwrap();
        assert_eq!(chosen, ("192.0.2.1".parse().unwrap(), "eth0".to_owned()));
        let route = Route { source: Some(Ipv4Addr::new(198, 51, 100, 7)), ..through(2) };
        assert_eq!(
            choose(Some(route), &addresses, &links).unwrap(),
            ("198.51.100.7".parse().unwrap(), "lo".to_owned())
        );
    }

    #[test]
    fn none_and_several_are_refused_with_what_to_do() {
        let links = [link(2, "eth0")];
        let two = [own4(2, "192.0.2.1", 25), own4(2, "192.0.2.2", 24)];
        let near = Route { gateway: None, ..through(2) };
        for (route, addresses, what) in [
            (None, &two[..], "no IPv4 default route"),
            (Some(Route { output: None, ..near }), &two[..], "several interfaces"),
            (Some(near), &two[..], "several addresses that `shared` could be: 192.0.2.1, 192.0.2.2"),
            (Some(near), &[][..], "eth0, of the IPv4 default route, has no IPv4 address"),
        ] {
            let error = choose(route, addresses, &links).unwrap_err();
            assert!(error.contains(what) && error.contains("write the address"), "{error}");
        }
    }
}
