//! Connected sockets to one upstream, used again for a while.
//!
//! A socket is held by one question at a time, so a port never has two questions to be guessed at; after some questions
//! it makes room for one with another random port (RFC 5452 §9.2).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::Instant;

/// Questions that one socket serves.
const MOST_USES: u32 = 32;

/// How long one socket serves: firewalls forget idle flows, and routes change.
const LONGEST_LIFE: Duration = Duration::from_secs(10);

/// Room for an answer over UDP in bytes; an upstream that sends more than any limit of ours is asked again over TCP.
const DATAGRAM: usize = 4096;

/// Sockets that wait for a question, at most.
const MOST_IDLE: usize = 128;

/// Idle sockets of one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    address: SocketAddr,
    idle: Mutex<Vec<Pooled>>,
}

/// A socket connected to the upstream: the kernel drops datagrams from anybody else.
#[derive(Debug)]
pub(super) struct Pooled {
    pub(super) socket: UdpSocket,
    /// Room for an answer.
    pub(super) buffer: Box<[u8]>,
    uses: u32,
    opened: Instant,
}

impl Pool {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::default() }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A socket that nobody else holds.
    ///
    /// # Errors
    /// There is none, here or on the way to the upstream.
    pub(super) async fn take(&self, now: Instant) -> Result<Pooled, Unavailable> {
        let waiting = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            // The last one given back is the youngest in use: if its time is over, so is that of the others.
            let last = idle.pop().filter(|last| now < last.opened + LONGEST_LIFE);
            if last.is_none() {
                idle.clear();
            }
            last
        };
        match waiting {
            Some(pooled) => Ok(Pooled { uses: pooled.uses + 1, ..pooled }),
            None => self.open(now).await,
        }
    }

    /// Gives a socket back that has nothing more to wait for.
    pub(super) fn give_back(&self, pooled: Pooled) {
        if pooled.uses < MOST_USES {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < MOST_IDLE {
                idle.push(pooled);
            }
        }
    }

    async fn open(&self, now: Instant) -> Result<Pooled, Unavailable> {
        let any: SocketAddr = match self.address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await.map_err(Unavailable::Here)?;
        socket.connect(self.address).await.map_err(Unavailable::There)?;
        Ok(Pooled { socket, buffer: vec![0; DATAGRAM].into(), uses: 1, opened: now })
    }
}

/// Why there is no socket.
#[derive(Debug)]
pub(super) enum Unavailable {
    /// None could be opened, which says nothing about the upstream.
    Here(io::Error),
    /// There is no way to the upstream.
    There(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_given_back_is_used_again_until_it_has_served_its_time() {
        let (pool, now) = (Pool::new("127.0.0.1:9".parse().unwrap()), Instant::now());
        let first = pool.take(now).await.unwrap();
        let port = first.socket.local_addr().unwrap();
        let held_meanwhile = pool.take(now).await.unwrap();
        assert_ne!(held_meanwhile.socket.local_addr().unwrap(), port);
        pool.give_back(first);
        for _ in 1..MOST_USES {
            let again = pool.take(now).await.unwrap();
            assert_eq!(again.socket.local_addr().unwrap(), port);
            pool.give_back(again);
        }
        assert_ne!(pool.take(now).await.unwrap().socket.local_addr().unwrap(), port);
    }

    #[tokio::test]
    async fn an_old_socket_is_not_used() {
        let (pool, now) = (Pool::new("127.0.0.1:9".parse().unwrap()), Instant::now());
        let first = pool.take(now).await.unwrap();
        let port = first.socket.local_addr().unwrap();
        pool.give_back(first);
        assert_ne!(pool.take(now + LONGEST_LIFE).await.unwrap().socket.local_addr().unwrap(), port);
    }
}
