//! Whether packets still find their way to the device.

use std::net::Ipv4Addr;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use ipnet::IpNet;

use super::netlink::Netlink;
use super::{NetError, cannot};

/// The translator's device, and the routes to it.
pub(crate) struct Watch {
    netlink: Netlink,
    news: BoxStream<'static, ()>,
    index: u32,
    is_routed: bool,
}

impl Watch {
    /// Connects to the kernel, on the current runtime. Routes are looked at only if they are ours to set up.
    pub(crate) fn open(index: u32, is_routed: bool) -> Result<Self, NetError> {
        let (netlink, news) = Netlink::open_for_links().map_err(NetError::Socket)?;
        Ok(Self { netlink, news: news.boxed(), index, is_routed })
    }

    /// Why packets to `net` do not come to the device, if they do not.
    pub(crate) async fn obstacle(&mut self, net: IpNet) -> Result<Option<&'static str>, NetError> {
        match self.netlink.is_up(self.index).await.map_err(cannot("look at the device"))? {
            None => return Ok(Some("its device is gone")),
            Some(false) => return Ok(Some("its device is down")),
            Some(true) => {}
        }
        if !self.is_routed {
            return Ok(None);
        }
        let route = self.netlink.route_to(net.network()).await.map_err(cannot("look up the route to the device"))?;
        let leads_here = route.is_some_and(|route| route.output == Some(self.index));
        Ok((!leads_here).then_some("it is not routed to the device; nat64 sets its routes up at the start"))
    }

    /// Why a part of the ports of `address`, which is the host's own, does not come to the device, if so.
    pub(crate) async fn obstacle_to_shared(&mut self, address: Ipv4Addr) -> Result<Option<&'static str>, NetError> {
        let own = self.netlink.addresses().await.map_err(cannot("list the addresses of this host"))?;
        let has_it = own.iter().any(|own| own.address == address);
        Ok((!has_it).then_some("this host does not have the address any more; a reload looks for another"))
    }

    /// Waits until an interface changes.
    pub(crate) async fn changed(&mut self) {
        if self.news.next().await.is_none() {
            // No news will come any more; whoever looks by the clock as well goes on.
            std::future::pending::<()>().await;
        }
        while self.news.next().now_or_never().flatten().is_some() {}
    }
}
