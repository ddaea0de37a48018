//! The prefixes of this host's links, and news of them.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use ipnet::IpNet;

use super::netlink::Netlink;
use super::{NetError, cannot};

/// The links of this host.
pub(crate) struct Links {
    netlink: Netlink,
    news: BoxStream<'static, ()>,
}

impl Links {
    /// Connects to the kernel, on the current runtime. From now on no change goes unnoticed.
    pub(crate) fn open() -> Result<Self, NetError> {
        let (netlink, news) = Netlink::open_for_addresses().map_err(NetError::Socket)?;
        Ok(Self { netlink, news: news.boxed() })
    }

    /// The prefixes that this host has a global address in, sorted.
    pub(crate) async fn prefixes(&mut self) -> Result<Vec<IpNet>, NetError> {
        let mut prefixes = self.netlink.link_prefixes().await.map_err(cannot("list the addresses of this host"))?;
        prefixes.sort_unstable();
        prefixes.dedup();
        Ok(prefixes)
    }

    /// Waits until something may have changed; returns whether there can be more news.
    pub(crate) async fn changed(&mut self) -> bool {
        if self.news.next().await.is_none() {
            return false;
        }
        // What is known already needs no look of its own.
        while futures_util::FutureExt::now_or_never(self.news.next()).flatten().is_some() {}
        true
    }
}
