//! One queue of a TUN device.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nat64_core::Offload;
use rustix::io::{Errno, Result};

use crate::queue::Queue;
use crate::vnet_hdr;

/// What stands in front of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A `virtio_net_hdr`.
    VnetHeader,
    /// Nothing.
    Bare,
}

/// One queue of a TUN device: a read or a write is one packet.
#[derive(Debug)]
pub(crate) struct TunQueue {
    fd: OwnedFd,
    framing: Framing,
}

impl TunQueue {
    pub(crate) const fn new(fd: OwnedFd, framing: Framing) -> Self {
        Self { fd, framing }
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Queue for TunQueue {
    fn read(&mut self, buffer: &mut [u8]) -> Result<(usize, Offload)> {
        if self.framing == Framing::Bare {
            return Ok((rustix::io::read(&self.fd, buffer)?, Offload::default()));
        }
        let mut header = [0; vnet_hdr::SIZE];
        let slices = &mut [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)];
        let len = rustix::io::readv(&self.fd, slices)?.checked_sub(vnet_hdr::SIZE).ok_or(Errno::INVAL)?;
        let packet = buffer.get(..len).ok_or(Errno::INVAL)?;
        let offload = vnet_hdr::parse(&header, packet).map_err(|_| Errno::INVAL)?;
        Ok((len, offload))
    }

    fn write(&mut self, packet: &[u8], offload: Offload) -> Result<()> {
        match self.framing {
            Framing::Bare if offload.checksum.is_some() || offload.gso.is_some() => Err(Errno::INVAL),
            Framing::Bare => rustix::io::write(&self.fd, packet).map(drop),
            Framing::VnetHeader => {
                let header = vnet_hdr::emit(packet, offload).map_err(|_| Errno::INVAL)?;
                rustix::io::writev(&self.fd, &[IoSlice::new(&header), IoSlice::new(packet)]).map(drop)
            }
        }
    }
}
