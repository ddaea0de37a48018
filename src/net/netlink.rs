//! Links, addresses, routes and proxied neighbours, asked and set over rtnetlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::{Stream, StreamExt, TryStreamExt};
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{AfSpecInet6, AfSpecUnspec, LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteScope};
use rtnetlink::{Handle, LinkUnspec, MulticastGroup, RouteMessageBuilder};
use rustix::io::Errno;

use super::thread;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its index.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
    /// Whether hosts on it are found by ARP.
    pub(crate) uses_arp: bool,
    /// Whether packets can leave this host through it now.
    pub(crate) is_up: bool,
    /// Bytes of the longest IPv4 packet that it takes.
    pub(crate) mtu4: u32,
    /// Bytes of the longest IPv6 packet.
    pub(crate) mtu6: u32,
}

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The interface's index.
    pub(crate) index: u32,
    /// The address.
    pub(crate) address: IpAddr,
    /// Bits of the subnet.
    pub(crate) prefix_len: u8,
    /// Whether it is valid beyond its link.
    pub(crate) is_global: bool,
    /// Whether it may be used for what is new: neither tentative, nor deprecated, nor a duplicate.
    pub(crate) is_preferred: bool,
    /// Whether it will be there tomorrow: no privacy address of RFC 8981.
    pub(crate) is_stable: bool,
    /// Whether it is its subnet's first on the interface; for IPv6 always.
    pub(crate) is_primary: bool,
}

impl Address {
    /// Whether `other` is in the subnet.
    pub(crate) fn subnet_has(&self, other: Ipv4Addr) -> bool {
        IpNet::new(self.address, self.prefix_len).is_ok_and(|net| net.contains(&IpAddr::V4(other)))
    }
}

/// What a look-up in the routing tables found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The destination.
    pub(crate) net: IpNet,
    /// The interface, unless there is none or several.
    pub(crate) output: Option<u32>,
    /// The IPv4 source that it asks for.
    pub(crate) source: Option<Ipv4Addr>,
    /// The IPv4 router that it leads to.
    pub(crate) gateway: Option<Ipv4Addr>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    /// The kernel said no.
    #[error("{0}")]
    Kernel(#[source] io::Error),
    /// Anything else.
    #[error("{0}")]
    Other(#[source] rtnetlink::Error),
}

impl NetlinkError {
    /// Whether the kernel said this.
    pub(crate) fn is(&self, errno: Errno) -> bool {
        matches!(self, Self::Kernel(error) if error.raw_os_error() == Some(errno.raw_os_error()))
    }
}

impl From<rtnetlink::Error> for NetlinkError {
    fn from(error: rtnetlink::Error) -> Self {
        if let rtnetlink::Error::NetlinkError(message) = &error {
            Self::Kernel(message.to_io())
        } else {
            Self::Other(error)
        }
    }
}

/// A connection to the kernel in the network namespace of the thread that opened it.
#[derive(Clone, Debug)]
pub(crate) struct Netlink(Handle);

impl Netlink {
    /// Opens a connection that may change things, which the thread for that drives.
    ///
    /// # Errors
    /// The socket cannot be opened, or the thread cannot be made.
    pub(crate) fn open() -> io::Result<Self> {
        let thread = thread::handle()?;
        let _registers_there = thread.enter();
        let (connection, handle, _) = rtnetlink::new_connection()?;
        thread.spawn(connection);
        Ok(Self(handle))
    }

    /// A connection for questions, and news whenever an address of this host may have come or gone.
    ///
    /// # Errors
    /// The socket cannot be opened.
    pub(crate) fn open_for_addresses() -> io::Result<(Self, impl Stream<Item = ()> + Send)> {
        Self::open_for(&[MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr])
    }

    /// As [`Self::open_for_addresses`], and news of interfaces as well.
    ///
    /// # Errors
    /// The socket cannot be opened.
    pub(crate) fn open_for_links() -> io::Result<(Self, impl Stream<Item = ()> + Send)> {
        let links = [MulticastGroup::Link, MulticastGroup::Ipv6Ifinfo];
        let addresses = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        Self::open_for(&[links, addresses].concat())
    }

    /// As [`Self::open_for_links`], and news of IPv4 routes as well.
    ///
    /// # Errors
    /// The socket cannot be opened.
    pub(crate) fn open_for_routes() -> io::Result<(Self, impl Stream<Item = ()> + Send)> {
        Self::open_for(&[MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv4Route])
    }

    /// A connection for questions alone.
    ///
    /// # Errors
    /// The socket cannot be opened.
    pub(crate) fn open_for_questions() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    fn open_for(groups: &[MulticastGroup]) -> io::Result<(Self, impl Stream<Item = ()> + Send + use<>)> {
        let (connection, handle, news) = rtnetlink::new_multicast_connection(groups)?;
        tokio::spawn(connection);
        Ok((Self(handle), news.map(|_| ())))
    }

    pub(super) const fn handle(&self) -> &Handle {
        &self.0
    }

    /// All interfaces.
    pub(crate) async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let messages: Vec<LinkMessage> = self.0.link().get().execute().try_collect().await?;
        Ok(messages.iter().filter_map(link).collect())
    }

    /// Whether an interface is up; nothing if there is none.
    pub(crate) async fn is_up(&self, index: u32) -> Result<Option<bool>, NetlinkError> {
        match self.0.link().get().match_index(index).execute().try_next().await.map_err(NetlinkError::from) {
            Ok(message) => Ok(message.map(|message| message.header.flags.contains(LinkFlags::Up))),
            Err(error) if error.is(Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All addresses of this host.
    pub(crate) async fn addresses(&self) -> Result<Vec<Address>, NetlinkError> {
        let messages: Vec<AddressMessage> = self.0.address().get().execute().try_collect().await?;
        Ok(messages.iter().filter_map(address).collect())
    }

    /// The prefixes that this host has a global address in.
    pub(crate) async fn link_prefixes(&self) -> Result<Vec<IpNet>, NetlinkError> {
        let messages: Vec<AddressMessage> = self.0.address().get().execute().try_collect().await?;
        Ok(messages.iter().filter_map(link_prefix).collect())
    }

    /// Sets MTU and queue length, and brings the interface up.
    pub(crate) async fn bring_up(&self, index: u32, mtu: u16, queue_len: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu.into()).txqueuelen(queue_len).up().build();
        Ok(self.0.link().set(message).execute().await?)
    }

    /// The route that packets to `address` take, if there is one.
    pub(crate) async fn route_to(&self, address: IpAddr) -> Result<Option<Route>, NetlinkError> {
        let builder = RouteMessageBuilder::<IpAddr>::new();
        let length = if address.is_ipv4() { 32 } else { 128 };
        let Ok(mut builder) = builder.destination_prefix(address, length) else { return Ok(None) };
        builder.get_mut().header.flags |= RouteFlags::FibMatch;
        match self.0.route().get(builder.build()).execute().try_next().await.map_err(NetlinkError::from) {
            Ok(message) => Ok(message.as_ref().and_then(route)),
            // Nothing matches, or what matches is an "unreachable" or "blackhole" route.
            Err(error)
                if [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::INVAL, Errno::ACCESS]
                    .iter()
                    .any(|e| error.is(*e)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Adds a route to the main table, which must not have one to the same destination.
    pub(crate) async fn add_route(&self, net: IpNet, index: u32) -> Result<(), NetlinkError> {
        Ok(self.0.route().add(route_through(net, index)).execute().await?)
    }

    /// Takes back [`Self::add_route`].
    pub(crate) async fn remove_route(&self, net: IpNet, index: u32) -> Result<(), NetlinkError> {
        Ok(self.0.route().del(route_through(net, index)).execute().await?)
    }

    /// The IPv4 addresses that interfaces answer ARP for on behalf of others.
    pub(crate) async fn proxies(&self) -> Result<Vec<(u32, Ipv4Addr)>, NetlinkError> {
        let request = self.0.neighbours().get().set_address_family(AddressFamily::Inet).proxies();
        let messages: Vec<NeighbourMessage> = request.execute().try_collect().await?;
        Ok(messages.iter().filter_map(proxy).collect())
    }

    /// Makes an interface answer ARP for `address`.
    pub(crate) async fn add_proxy(&self, index: u32, address: Ipv4Addr) -> Result<(), NetlinkError> {
        let request = self.0.neighbours().add(index, address.into()).flags(NeighbourFlags::Proxy);
        Ok(request.execute().await?)
    }

    /// Takes back [`Self::add_proxy`].
    pub(crate) async fn remove_proxy(&self, index: u32, address: Ipv4Addr) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = index;
        message.header.flags = NeighbourFlags::Proxy;
        message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
        Ok(self.0.neighbours().del(message).execute().await?)
    }
}

fn route_through(net: IpNet, index: u32) -> RouteMessage {
    match net {
        IpNet::V4(net) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(net.addr(), net.prefix_len())
            .output_interface(index)
            .scope(RouteScope::Link)
            .build(),
        IpNet::V6(net) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(net.addr(), net.prefix_len())
            .output_interface(index)
            .build(),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of the attributes one matters")]
fn proxy(message: &NeighbourMessage) -> Option<(u32, Ipv4Addr)> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some((message.header.ifindex, *address)),
        _ => None,
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of the dozens of attributes three matter")]
fn link(message: &LinkMessage) -> Option<Link> {
    let (mut name, mut mtu, mut own6) = (None, u32::MAX, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            LinkAttribute::AfSpecUnspec(families) => own6 = families.iter().find_map(mtu_of_ipv6),
            _ => {}
        }
    }
    let flags = message.header.flags;
    Some(Link {
        index: message.header.index,
        name: name?,
        uses_arp: !flags.intersects(LinkFlags::Noarp | LinkFlags::Loopback | LinkFlags::Pointopoint),
        is_up: flags.contains(LinkFlags::Up | LinkFlags::Running) && !flags.contains(LinkFlags::Loopback),
        mtu4: mtu,
        // A router advertisement can ask for less than the link takes.
        mtu6: own6.map_or(mtu, |own| own.min(mtu)),
    })
}

/// The MTU that IPv6 has on a link.
#[expect(clippy::wildcard_enum_match_arm, reason = "of the attributes one matters")]
fn mtu_of_ipv6(family: &AfSpecUnspec) -> Option<u32> {
    let AfSpecUnspec::Inet6(attributes) = family else { return None };
    attributes.iter().find_map(|attribute| match attribute {
        AfSpecInet6::DevConf(conf) => u32::try_from(conf.mtu6).ok(),
        _ => None,
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of the attributes three matter")]
fn address(message: &AddressMessage) -> Option<Address> {
    let (mut local, mut peer, mut flags) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            // On point-to-point links, IFA_LOCAL is ours and IFA_ADDRESS the peer's; elsewhere they are the same.
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => peer = Some(*address),
            AddressAttribute::Flags(all) => flags = Some(*all),
            _ => {}
        }
    }
    let address = local.or(peer)?;
    let flags = flags.unwrap_or_else(|| widen(message.header.flags));
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    // For IPv6 addresses, the bit of "secondary" means a temporary one.
    let is_temporary = address.is_ipv6() && flags.contains(AddressFlags::Secondary);
    Some(Address {
        index: message.header.index,
        address,
        prefix_len: message.header.prefix_len,
        is_global: is_global(message),
        is_preferred: !flags.intersects(unusable),
        is_stable: !is_temporary,
        is_primary: address.is_ipv6() || !flags.contains(AddressFlags::Secondary),
    })
}

/// The prefix on the address's link: of the peer, where there is one.
#[expect(clippy::wildcard_enum_match_arm, reason = "of the attributes two matter")]
fn link_prefix(message: &AddressMessage) -> Option<IpNet> {
    if !is_global(message) {
        return None;
    }
    let (mut own, mut there) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) => there = Some(*address),
            _ => {}
        }
    }
    let net = IpNet::new(there.or(own)?, message.header.prefix_len).ok()?;
    // A link that everybody is on says nothing about who is a neighbour.
    (net.prefix_len() > 0).then(|| net.trunc())
}

const fn is_global(message: &AddressMessage) -> bool {
    matches!(message.header.scope, AddressScope::Universe | AddressScope::Site)
}

const fn widen(flags: AddressHeaderFlags) -> AddressFlags {
    AddressFlags::from_bits_retain(flags.bits() as u32)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of the attributes four matter")]
fn route(message: &RouteMessage) -> Option<Route> {
    let unspecified = match message.header.address_family {
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let (mut destination, mut output, mut source, mut gateway) = (unspecified, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = (*address).into(),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => destination = (*address).into(),
            RouteAttribute::Oif(index) => output = Some(*index),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => source = Some(*address),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            _ => {}
        }
    }
    let net = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    Some(Route { net, output, source, gateway })
}
