use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{LinkAddr, bind, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::support::Namespace;

/// What an Ethernet frame says it carries.
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;

/// How long a packet may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that may wait while a test looks elsewhere.
const ROOM: usize = 8 << 20;
const ETHERNET_HEADER: usize = 14;

/// The far end of a cable, past the kernel's stack: packets of one IP version, as they are.
#[derive(Debug)]
pub(crate) struct Port {
    socket: Socket,
    header: [u8; ETHERNET_HEADER],
    /// Received and not yet looked at.
    waiting: VecDeque<Vec<u8>>,
}

impl Port {
    /// Opens the interface `near` whose cable ends in the interface `far`.
    pub(crate) fn open(near: (&Namespace, &str), far: (&Namespace, &str), ether_type: u16) -> Self {
        let peer = far.0.enter(|| link_address(far.1));
        let (socket, own) = near.0.enter(|| {
            // A socket for one EtherType, unlike one for all, is not given what it sends.
            let protocol = Protocol::from(i32::from(ether_type.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).expect("root may open raw sockets");
            let own = link_address(near.1);
            bind(socket.as_raw_fd(), &own).expect("the interface is up");
            setsockopt(&socket, RcvBufForce, &ROOM).expect("root may");
            (socket, own)
        });
        let [peer, own] = [peer, own].map(|address| address.addr().expect("it is an Ethernet interface"));
        let header = [&peer[..], &own, &ether_type.to_be_bytes()].concat();
        let header = header.try_into().expect("an Ethernet header has 14 bytes");
        Self { socket, header, waiting: VecDeque::new() }
    }

    /// Puts a packet on the cable.
    pub(crate) fn send(&self, packet: &[u8]) {
        let frame = [&self.header[..], packet].concat();
        let sent = (&self.socket).write(&frame).unwrap_or_else(|error| panic!("{} bytes: {error}", frame.len()));
        assert_eq!(sent, frame.len());
    }

    /// The first packet that `wanted` wants, taken out of what has arrived; `None` if it does not come in time.
    pub(crate) fn receive(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        if let Some(packet) = self.take(&wanted) {
            return Some(packet);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let packet = self.next(deadline)?;
            if wanted(&packet) {
                return Some(packet);
            }
            self.waiting.push_back(packet);
        }
    }

    /// The first packet that `wanted` wants, of those that have arrived while others were waited for.
    pub(crate) fn take(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let place = self.waiting.iter().position(|packet| wanted(packet))?;
        self.waiting.remove(place)
    }

    /// What has arrived and was not taken yet.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &[u8]> {
        self.waiting.iter().map(Vec::as_slice)
    }

    /// The next packet of the cable.
    fn next(&self, deadline: Instant) -> Option<Vec<u8>> {
        let mut frame = vec![0; 1 << 16];
        loop {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).expect("a socket takes a timeout");
            match (&self.socket).read(&mut frame) {
                Ok(length) if frame[..6] == self.header[6..12] => return Some(frame[ETHERNET_HEADER..length].to_vec()),
                // Multicast of the gateway's kernel.
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => panic!("the cable is broken: {error}"),
            }
        }
    }
}

/// The address of an interface of the calling thread's namespace.
pub(crate) fn link_address(interface: &str) -> LinkAddr {
    let mut addresses = getifaddrs().expect("interfaces can be listed").filter(|it| it.interface_name == interface);
    addresses
        .find_map(|it| it.address?.as_link_addr().copied())
        .unwrap_or_else(|| panic!("there is no interface {interface}"))
}
