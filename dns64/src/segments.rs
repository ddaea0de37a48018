//! Datagrams of one length to one place that the kernel moves as one until they leave the host (`UDP_SEGMENT`, Linux 4.18).

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt, sockopt};

/// Datagrams that go together, at most: as many as the first kernels with this take.
pub(crate) const MOST: usize = 64;

/// Whether a socket's datagrams may go together.
#[derive(Debug)]
pub(crate) struct Segments(AtomicBool);

impl Segments {
    /// Asks the kernel. One that does not know of this would send the segments as one datagram.
    pub(crate) fn of(socket: &impl AsFd) -> Self {
        Self(setsockopt(&socket.as_fd(), sockopt::UdpGsoSegment, &0).is_ok().into())
    }

    pub(crate) fn are_allowed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes note of how it went: some interfaces cannot do it, and then only speed is lost.
    pub(crate) fn note(&self, result: Result<(), Errno>) {
        if result == Err(Errno::EIO) {
            self.0.store(false, Ordering::Relaxed);
        }
    }

    /// Sends datagrams of one length, [`MOST`] at most, without waiting.
    ///
    /// # Errors
    /// None of them was sent; `EOPNOTSUPP` if they cannot go together at all.
    pub(crate) fn send<'a>(
        &self,
        socket: &impl AsFd,
        datagrams: impl ExactSizeIterator<Item = &'a [u8]>,
        length: usize,
        source: Option<ControlMessage<'_>>,
        to: Option<&SockaddrStorage>,
    ) -> Result<(), Errno> {
        let count = datagrams.len();
        let length = u16::try_from(length).map_err(|_| Errno::EMSGSIZE)?;
        if !self.are_allowed() || !(2..=MOST).contains(&count) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut slices = [IoSlice::new(&[]); MOST];
        for (slice, datagram) in slices.iter_mut().zip(datagrams) {
            *slice = IoSlice::new(datagram);
        }
        let segments = ControlMessage::UdpGsoSegments(&length);
        let control = [segments, source.unwrap_or(segments)];
        let control = if source.is_some() { &control[..] } else { &control[..1] };
        let fd = socket.as_fd().as_raw_fd();
        let sent = sendmsg(fd, &slices[..count], control, MsgFlags::MSG_DONTWAIT, to).map(|_| ());
        self.note(sent);
        sent
    }
}
