//! Queries as they are read: many with one system call.

use std::array;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::cmsg_space;
use nix::libc::in6_pktinfo;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg};

use super::BATCH;
use super::socket::{Path, Socket};

/// Room for each query in bytes. What is longer is cut off, and then answered as malformed.
const ROOM: usize = 4096;

/// Buffers, and what came into them.
pub(super) struct Inbox {
    buffers: Box<[u8]>,
    headers: MultiHeaders<SockaddrStorage>,
    came: [Option<Envelope>; BATCH],
    count: usize,
}

/// One datagram's length and way.
#[derive(Clone, Copy, Debug)]
struct Envelope {
    length: usize,
    path: Path,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { buffers: vec![0; BATCH * ROOM].into(), headers: headers(), came: [None; BATCH], count: 0 }
    }

    /// Waits for datagrams and reads those that are there; returns how many.
    ///
    /// # Errors
    /// The system call's. After [`Socket::stop`] it returns at once, with whatever.
    pub(super) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.count = 0;
        let mut buffers = self.buffers.chunks_exact_mut(ROOM);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
        let messages = recvmmsg(socket.fd(), &mut self.headers, &mut slices, MsgFlags::MSG_WAITFORONE, None)?;
        let mut lacks_local = false;
        for (message, place) in messages.zip(&mut self.came) {
            self.count += 1;
            *place = Envelope::read(&message);
            lacks_local |= place.is_none_or(|envelope| envelope.path.local.is_none());
        }
        if lacks_local && socket.is_wildcard() {
            // The headers offer the room that the last control message took. Where there was none, there would never be
            // one again.
            self.headers = headers();
        }
        Ok(self.count)
    }

    /// What was read last.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (&[u8], Path)> {
        let came = self.came[..self.count].iter().zip(self.buffers.chunks_exact(ROOM));
        came.filter_map(|(envelope, buffer)| {
            let envelope = (*envelope)?;
            Some((buffer.get(..envelope.length)?, envelope.path))
        })
    }
}

impl Envelope {
    fn read(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<Self> {
        let client = address(message.address.as_ref()?)?;
        let local = message.cmsgs().ok().and_then(|mut control| control.find_map(|one| local(&one)));
        Some(Self { length: message.bytes, path: Path { local, client } })
    }
}

fn headers() -> MultiHeaders<SockaddrStorage> {
    MultiHeaders::preallocate(BATCH, Some(cmsg_space!(in6_pktinfo)))
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || Some(SocketAddr::V4((*address.as_sockaddr_in()?).into()));
    address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())).or_else(v4)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of all control messages these two carry the address")]
fn local(control: &ControlMessageOwned) -> Option<IpAddr> {
    match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into()),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into()),
        _ => None,
    }
}
