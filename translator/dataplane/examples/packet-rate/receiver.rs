//! The receiving end.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, setsockopt, sockopt};

use crate::packets::{Label, PORT};

/// Packets that one system call receives, at most.
const BATCH: usize = 64;
/// Room for packets that wait.
const SOCKET_BUFFER: usize = 16 << 20;
/// How long the receiver sleeps when nothing waits. To be woken for every packet would cost the machine more than what is
/// measured.
const PAUSE: Duration = Duration::from_micros(500);
/// After this time without a packet, what has not come is lost.
const SILENCE: Duration = Duration::from_millis(300);

pub(crate) struct Receiver {
    socket: UdpSocket,
    buffers: Vec<[u8; Label::LEN]>,
}

/// What arrived of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) packets: u64,
    /// Packets that came after a later one of their flow, or again.
    pub(crate) reordered: u64,
    /// From the first packet to the last.
    pub(crate) took: Duration,
    next: HashMap<u32, u64>,
}

impl Receiver {
    /// A receiver in the calling thread's network namespace.
    pub(crate) fn open(listen: IpAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::new(listen, PORT))?;
        setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER)?;
        Ok(Self { socket, buffers: vec![[0; Label::LEN]; BATCH] })
    }

    /// Counts a run's packets until `sent` says that all have been sent and none comes any more.
    pub(crate) fn run(&mut self, id: u32, all_sent: impl Fn() -> Option<u64>) -> io::Result<Received> {
        let mut received = Received::default();
        let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
        let (mut first, mut last) = (None, Instant::now());
        loop {
            match self.batch(&mut headers, id, &mut received) {
                Ok(()) => {
                    last = Instant::now();
                    first.get_or_insert(last);
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {
                    let over = |sent| sent <= received.packets || last.elapsed() >= SILENCE;
                    if all_sent().is_some_and(over) {
                        break;
                    }
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
        received.took = first.map_or(Duration::ZERO, |first| last - first);
        Ok(received)
    }

    fn batch(&mut self, headers: &mut MultiHeaders<()>, id: u32, received: &mut Received) -> nix::Result<()> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let messages = recvmmsg(self.socket.as_raw_fd(), headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        for message in messages {
            let label = message.iovs().next().and_then(Label::read);
            label.filter(|label| label.run == id).into_iter().for_each(|label| received.count(label));
        }
        Ok(())
    }
}

impl Received {
    fn count(&mut self, label: Label) {
        self.packets += 1;
        let next = self.next.entry(label.flow).or_default();
        self.reordered += u64::from(label.number < *next);
        *next = (*next).max(label.number + 1);
    }

    /// How many flows at least one packet came of.
    pub(crate) fn flows(&self) -> usize {
        self.next.len()
    }
}
