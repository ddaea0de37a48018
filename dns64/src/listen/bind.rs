//! Binding a UDP and a TCP socket to every listen address.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, SockAddr, Socket, Type};

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
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
}

impl Listeners {
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|listener| listener.address).collect()
    }
}

/// Binds all sockets, non-blocking, or none.
pub(crate) fn bind(listen: &[SocketAddr]) -> Result<Listeners, Error> {
    listen
        .iter()
        .map(|&address| bind_one(address, is_v6_only(address, listen)))
        .collect::<Result<_, _>>()
        .map(Listeners)
}

fn bind_one(address: SocketAddr, v6_only: bool) -> Result<Listener, Error> {
    let mut attempts = if address.port() == 0 { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let udp = udp(address, v6_only).map_err(|source| failed(address, Protocol::Udp, source))?;
        let bound = udp.local_addr().map_err(|source| failed(address, Protocol::Udp, source))?;
        match tcp(bound, v6_only) {
            Ok(tcp) => return Ok(Listener { address: bound, udp, tcp }),
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
        let listeners = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let listener = &listeners.0[0];
        assert_ne!(listener.address.port(), 0);
        assert_eq!(listener.tcp.local_addr().unwrap(), listener.udp.local_addr().unwrap());
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let error = bind(&taken.addresses()).unwrap_err().to_string();
        assert!(error.contains(&taken.addresses()[0].to_string()) && error.contains("another program"), "{error}");
    }

    #[test]
    fn both_wildcards_can_share_a_port() {
        let four = bind(&["0.0.0.0:0".parse().unwrap()]).unwrap().addresses()[0];
        let six = SocketAddr::new("::".parse().unwrap(), four.port());
        assert!(bind(&[six, four]).is_ok());
    }
}
