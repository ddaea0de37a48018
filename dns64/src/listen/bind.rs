//! Binding a UDP and a TCP socket to every listen address.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::error::{Error, Protocol};
use crate::loops::is_v6_only;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 256;

/// How often a port that the kernel chose for UDP is tried for TCP too.
const PORT_ATTEMPTS: usize = 16;

/// Bound sockets, not yet read from.
#[derive(Debug)]
pub(crate) struct Listeners(pub(crate) Vec<Listener>);

/// The two sockets of one listen address.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    /// At least one.
    pub(crate) udp: Vec<UdpSocket>,
    pub(crate) tcp: TcpListener,
}

/// A socket for connections alone.
#[derive(Debug)]
pub(crate) struct StreamListener {
    pub(crate) address: SocketAddr,
    pub(crate) socket: TcpListener,
}

impl Listeners {
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|listener| listener.address).collect()
    }
}

/// Binds all sockets, non-blocking, or none.
pub(crate) fn bind(listen: &[SocketAddr], udp_sockets: usize) -> Result<Listeners, Error> {
    listen
        .iter()
        .map(|&address| bind_one(address, is_v6_only(address, listen), udp_sockets))
        .collect::<Result<_, _>>()
        .map(Listeners)
}

/// Binds a socket for connections to each address, non-blocking, or none.
pub(crate) fn bind_streams(listen: &[SocketAddr], protocol: Protocol) -> Result<Vec<StreamListener>, Error> {
    let bind_one = |&address: &SocketAddr| {
        let failed = |source| failed(address, protocol, source);
        let socket = tcp(address, is_v6_only(address, listen)).map_err(failed)?;
        Ok(StreamListener { address: socket.local_addr().map_err(failed)?, socket })
    };
    listen.iter().map(bind_one).collect()
}

fn bind_one(address: SocketAddr, v6_only: bool, udp_sockets: usize) -> Result<Listener, Error> {
    let mut attempts = if address.port() == 0 { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let udp = udp(address, v6_only).map_err(|source| failed(address, Protocol::Udp, source))?;
        let bound = udp.local_addr().map_err(|source| failed(address, Protocol::Udp, source))?;
        match tcp(bound, v6_only) {
            Ok(tcp) => {
                let udp = together(udp, bound, v6_only, udp_sockets)
                    .map_err(|source| failed(bound, Protocol::Udp, source))?;
                return Ok(Listener { address: bound, udp, tcp });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            Err(source) => return Err(failed(address, Protocol::Tcp, source)),
        }
    }
}

fn failed(address: SocketAddr, protocol: Protocol, source: io::Error) -> Error {
    Error::Listen { address, protocol, source }
}

fn udp(address: SocketAddr, v6_only: bool) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, v6_only)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// A bound socket and as many others on its address as make `count`, over which the kernel spreads clients.
///
/// The first is bound alone, so that an address that somebody else holds is an error; then it lets the others in.
fn together(first: UdpSocket, address: SocketAddr, v6_only: bool, count: usize) -> io::Result<Vec<UdpSocket>> {
    let mut sockets = vec![first];
    if count > 1 {
        SockRef::from(&sockets[0]).set_reuse_port(true)?;
    }
    while sockets.len() < count {
        let socket = socket(address, Type::DGRAM, v6_only)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SockAddr::from(address))?;
        sockets.push(socket.into());
    }
    Ok(sockets)
}

fn tcp(address: SocketAddr, v6_only: bool) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, v6_only)?;
    // Connections of an earlier run that linger in TIME-WAIT must not keep the port from us.
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, kind: Type, v6_only: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(v6_only)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_and_tcp_share_the_port_that_the_kernel_chose() {
        let listeners = bind(&["127.0.0.1:0".parse().unwrap()], 2).unwrap();
        let listener = &listeners.0[0];
        assert_ne!(listener.address.port(), 0);
        assert_eq!(listener.tcp.local_addr().unwrap(), listener.udp[0].local_addr().unwrap());
    }

    #[test]
    fn several_sockets_share_an_address() {
        let listeners = bind(&["127.0.0.1:0".parse().unwrap()], 3).unwrap();
        let listener = &listeners.0[0];
        assert_eq!(listener.udp.len(), 3);
        assert!(listener.udp.iter().all(|socket| socket.local_addr().unwrap() == listener.address));
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = bind(&["127.0.0.1:0".parse().unwrap()], 2).unwrap();
        let error = bind(&taken.addresses(), 2).unwrap_err().to_string();
        assert!(error.contains(&taken.addresses()[0].to_string()) && error.contains("another program"), "{error}");
    }

    #[test]
    fn both_wildcards_can_share_a_port() {
        let four = bind(&["0.0.0.0:0".parse().unwrap()], 2).unwrap().addresses()[0];
        let six = SocketAddr::new("::".parse().unwrap(), four.port());
        assert!(bind(&[six, four], 2).is_ok());
    }
}
