//! MTUs of the links to both sides (RFC 7915 §4.2, §5.2): found out, and followed when they change.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use nat64_core::LinkMtus;

use super::netlink::{Address, Link, Netlink};
use super::{NetError, cannot, news};

/// Looks at the MTUs of this host's links.
pub(crate) struct MtuWatch {
    netlink: Netlink,
    news: BoxStream<'static, ()>,
    /// The translator's own device.
    device: u32,
}

impl MtuWatch {
    /// Begins to watch, on the current runtime. `device` is the index of the translator's own device.
    ///
    /// # Errors
    /// There is no connection to the kernel.
    pub(crate) fn open(device: u32) -> Result<Self, NetError> {
        let (netlink, news) = Netlink::open_for_links().map_err(NetError::Socket)?;
        Ok(Self { netlink, news: news.boxed(), device })
    }

    /// The MTUs as they are.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(crate) async fn mtus(&mut self) -> Result<LinkMtus, NetError> {
        let links = self.netlink.links().await.map_err(cannot("list the interfaces"))?;
        let addresses = self.netlink.addresses().await.map_err(cannot("list the addresses of this host"))?;
        Ok(mtus(&links, &addresses, self.device))
    }

    /// Waits until something has changed. Returns whether there may be another change.
    pub(crate) async fn changed(&mut self) -> bool {
        news::burst(&mut self.news).await
    }
}

/// The MTU of each side: the greatest of the links that are up and have an address of its IP version. A greater one than
/// a packet will meet costs it another error, of the kernel's own; a smaller one would make packets small for nothing.
fn mtus(links: &[Link], addresses: &[Address], device: u32) -> LinkMtus {
    let greatest = |six: bool| {
        let is_of_side = |own: &&Address| own.address.is_ipv6() == six && own.is_global && own.index != device;
        let of = |own: &Address| links.iter().find(|link| link.index == own.index && link.is_up);
        let mtu = |link: &Link| if six { link.mtu6 } else { link.mtu4 };
        addresses.iter().filter(is_of_side).filter_map(of).map(mtu).max()
    };
    LinkMtus { ipv4: greatest(false), ipv6: greatest(true) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::own;

    const DEVICE: u32 = 9;

    fn link(index: u32, mtu: u32) -> Link {
        Link { index, name: format!("eth{index}"), uses_arp: true, is_up: true, mtu4: mtu, mtu6: mtu }
    }

    #[test]
    fn each_side_has_the_link_with_an_address_of_its_version() {
        let loopback = Link { is_up: false, ..link(1, 65_536) };
        let links = [loopback, link(2, 9001), link(3, 1500), link(DEVICE, 65_535)];
        let addresses = [
            own(1, "127.0.0.1"),
            own(1, "::1"),
            own(2, "2001:db8::1"),
            own(3, "192.0.2.1"),
            Address { is_global: false, ..own(3, "fe80::1") },
            own(DEVICE, "2001:db8:9::1"),
            own(DEVICE, "198.51.100.1"),
        ];

        assert_eq!(mtus(&links, &addresses, DEVICE), LinkMtus { ipv4: Some(1500), ipv6: Some(9001) });
    }

    #[test]
    fn of_several_links_that_are_up_the_greatest_counts() {
        let down = Link { is_up: false, ..link(4, 9000) };
        let lowered = Link { mtu6: 1280, ..link(3, 1400) };
        let addresses = [2, 3, 4].map(|index| own(index, "2001:db8::1"));

        assert_eq!(mtus(&[link(2, 1300), lowered.clone(), down], &addresses, DEVICE).ipv6, Some(1300));
        assert_eq!(mtus(&[lowered], &addresses, DEVICE), LinkMtus { ipv4: None, ipv6: Some(1280) });
    }
}
