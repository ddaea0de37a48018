//! One bound socket: its options, its end, and the address of ours that a datagram leaves from.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt, sockopt};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover};
use socket2::SockRef;

use crate::segments::Segments;

/// What may wait to be read, in bytes: a burst must outlast the time that a worker is not scheduled. Where the process may
/// not ask for it, the kernel allows less.
const QUEUE: usize = 4 << 20;

/// Where a query came from, and the address of ours that it went to if the socket has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path {
    pub(super) local: Option<IpAddr>,
    pub(super) client: SocketAddr,
}

/// A bound socket, read by one thread and written by any.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UdpSocket,
    address: SocketAddr,
    segments: Segments,
    is_stopped: AtomicBool,
}

/// An address of ours, as the kernel takes it from a control message.
#[derive(Clone, Copy)]
pub(super) enum Source {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl Socket {
    /// Takes a bound socket. Its datagrams are never fragmented: one that does not fit the link is an error.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        // Readers wait; writers say each time that they do not.
        socket.set_nonblocking(false)?;
        // IPv4 clients come over sockets of both families.
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
        if address.is_ipv6() {
            set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?;
            setsockopt(&socket, sockopt::Ipv6DontFrag, &true)?;
        }
        match address {
            _ if !address.ip().is_unspecified() => {}
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
        if setsockopt(&socket, sockopt::RcvBufForce, &QUEUE).is_err() {
            SockRef::from(&socket).set_recv_buffer_size(QUEUE)?;
        }
        let segments = Segments::of(&socket);
        Ok(Self { socket, address, segments, is_stopped: AtomicBool::new(false) })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// What the socket is bound to.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether only the datagrams say which address of ours was asked.
    pub(super) fn is_wildcard(&self) -> bool {
        self.address.ip().is_unspecified()
    }

    /// Whether datagrams of one length may go to one client as one.
    pub(super) const fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Ends the waiting of readers, now and from now on.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        // Linux wakes readers even though the error says that the socket is not connected.
        let _not_connected = SockRef::from(&self.socket).shutdown(Shutdown::Both);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Sends one datagram without waiting.
    pub(super) fn send(&self, bytes: &[u8], path: Path) -> Result<(), Errno> {
        let source = self.source(path.local);
        let control = source.as_ref().map(Source::message);
        let client = SockaddrStorage::from(path.client);
        sendmsg(self.fd(), &[IoSlice::new(bytes)], control.as_slice(), MsgFlags::MSG_DONTWAIT, Some(&client))?;
        Ok(())
    }

    /// What makes a datagram leave from this address of ours.
    pub(super) fn source(&self, local: Option<IpAddr>) -> Option<Source> {
        match (self.address, local?) {
            (SocketAddr::V6(_), local) => {
                let octets = match local {
                    IpAddr::V4(local) => local.to_ipv6_mapped().octets(),
                    IpAddr::V6(local) => local.octets(),
                };
                Some(Source::V6(in6_pktinfo { ipi6_addr: in6_addr { s6_addr: octets }, ipi6_ifindex: 0 }))
            }
            (SocketAddr::V4(_), IpAddr::V4(local)) => {
                let address = |octets| in_addr { s_addr: u32::from_ne_bytes(octets) };
                let info =
                    in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address(local.octets()), ipi_addr: address([0; 4]) };
                Some(Source::V4(info))
            }
            (SocketAddr::V4(_), IpAddr::V6(_)) => None,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Source {
    pub(super) const fn message(&self) -> ControlMessage<'_> {
        match self {
            Self::V4(info) => ControlMessage::Ipv4PacketInfo(info),
            Self::V6(info) => ControlMessage::Ipv6PacketInfo(info),
        }
    }
}
