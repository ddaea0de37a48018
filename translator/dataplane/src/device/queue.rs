//! One queue of a TUN device.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nat64_core::Offload;
use rustix::io::{Errno, Result};

use crate::queue::{Frame, Queue};
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
    fn read(&mut self, frame: &mut Frame<'_>) -> Result<(usize, Offload)> {
        if self.framing == Framing::Bare {
            return Ok((rustix::io::read(&self.fd, frame.packet_mut())?, Offload::default()));
        }
        let len = rustix::io::read(&self.fd, frame.whole())?;
        let (header, packet) = frame.whole()[..len].split_first_chunk().ok_or(Errno::INVAL)?;
        let offload = vnet_hdr::parse(header, packet).map_err(|_| Errno::INVAL)?;
        Ok((packet.len(), offload))
    }

    fn write(&mut self, frame: &mut Frame<'_>, offload: Offload) -> Result<()> {
        match self.framing {
            Framing::Bare if offload.checksum.is_some() || offload.gso.is_some() => Err(Errno::INVAL),
            Framing::Bare => rustix::io::write(&self.fd, frame.packet()).map(drop),
            Framing::VnetHeader => {
                let header = vnet_hdr::emit(frame.packet(), offload).map_err(|_| Errno::INVAL)?;
                frame.whole()[..vnet_hdr::SIZE].copy_from_slice(&header);
                rustix::io::write(&self.fd, frame.whole()).map(drop)
            }
        }
    }
}
