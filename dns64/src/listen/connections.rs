//! How many connections clients may hold, one client and all of them.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::quality::RandomState;
use hashbrown::HashMap;

/// Connections that are open, by client.
#[derive(Debug)]
pub(crate) struct Connections {
    open: Mutex<Open>,
    most: usize,
    most_per_client: usize,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_client: HashMap<IpAddr, usize, RandomState>,
}

/// One connection's place, free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    client: IpAddr,
}

impl Connections {
    /// For `most` connections at once, of one client `most_per_client`.
    pub(crate) fn new(most: usize, most_per_client: usize) -> Self {
        Self { open: Mutex::default(), most, most_per_client }
    }

    /// A place for one more connection of this client, if there is one.
    pub(crate) fn admit(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let client = owner(client);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = open.by_client.get(&client).copied().unwrap_or_default();
        if open.all >= self.most || of_client >= self.most_per_client {
            return None;
        }
        open.all += 1;
        open.by_client.insert(client, of_client + 1);
        Some(Place { connections: Arc::clone(self), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        // Who has no connection is forgotten, so that memory is bounded by connections and not by clients.
        if let Some(count) = open.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

/// Who an address belongs to: an IPv4 address to itself, an IPv6 address to its /64, of which a host has all.
fn owner(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_client_cannot_take_the_places_of_others() {
        let connections = Arc::new(Connections::new(3, 2));
        let _first = connections.admit(address("192.0.2.1")).unwrap();
        let second = connections.admit(address("::ffff:192.0.2.1")).unwrap();
        assert!(connections.admit(address("192.0.2.1")).is_none());
        let _other = connections.admit(address("192.0.2.2")).unwrap();
        assert!(connections.admit(address("192.0.2.3")).is_none());
        drop(second);
        assert!(connections.admit(address("192.0.2.1")).is_some());
    }

    #[test]
    fn all_addresses_of_a_subnet_are_one_client() {
        let connections = Arc::new(Connections::new(3, 1));
        let _first = connections.admit(address("2001:db8::1")).unwrap();
        assert!(connections.admit(address("2001:db8::ffff:0:0:2")).is_none());
        assert!(connections.admit(address("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn nothing_is_kept_of_clients_that_have_left() {
        let connections = Arc::new(Connections::new(10, 10));
        for last in 0..=255 {
            drop(connections.admit(IpAddr::from([192, 0, 2, last])).unwrap());
        }
        let open = connections.open.lock().unwrap();
        assert_eq!((open.all, open.by_client.len()), (0, 0));
    }
}
