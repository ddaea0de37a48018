//! How many queries of one client may be under work, so that one that asks for random names leaves room for the others.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::quality::RandomState;
use hashbrown::HashMap;

/// The hosts of an IPv6 /64 together have so many times what one has: one host may have many addresses of it.
const LINK: usize = 2;

/// Queries under work, by client. Memory is bounded by queries, as who has none is forgotten.
#[derive(Debug)]
pub(crate) struct Shares {
    under_work: Mutex<HashMap<Client, usize, RandomState>>,
    each: usize,
}

/// Somebody who has a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    Host(IpAddr),
    /// An IPv6 /64, by its upper bits.
    Link(u64),
}

/// One query's part of its client's share, free again when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    client: IpAddr,
}

impl Shares {
    /// For `each` queries of one address at once, at most.
    pub(crate) fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { under_work: Mutex::default(), each })
    }

    /// Room for one more query of this client, if it has any left.
    pub(crate) fn admit(self: &Arc<Self>, client: IpAddr) -> Option<Share> {
        let client = client.to_canonical();
        let mut under_work = self.under_work.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |one| under_work.get(&one).is_some_and(|&count| count >= self.most(one));
        if clients(client).any(is_full) {
            return None;
        }
        for one in clients(client) {
            *under_work.entry(one).or_default() += 1;
        }
        Some(Share { shares: Arc::clone(self), client })
    }

    const fn most(&self, client: Client) -> usize {
        match client {
            Client::Host(_) => self.each,
            Client::Link(_) => self.each.saturating_mul(LINK),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut under_work = self.shares.under_work.lock().unwrap_or_else(PoisonError::into_inner);
        for one in clients(self.client) {
            if let Some(count) = under_work.get_mut(&one) {
                *count -= 1;
                if *count == 0 {
                    under_work.remove(&one);
                }
            }
        }
    }
}

/// Whose shares a query takes.
fn clients(client: IpAddr) -> impl Iterator<Item = Client> {
    let link = match client {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(Client::Link(upper_bits(address))),
    };
    [Client::Host(client)].into_iter().chain(link)
}

fn upper_bits(address: Ipv6Addr) -> u64 {
    u64::try_from(address.to_bits() >> 64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_client_has_its_share_and_others_have_theirs() {
        let shares = Shares::new(2);
        let _first = shares.admit(address("192.0.2.1")).unwrap();
        let second = shares.admit(address("::ffff:192.0.2.1")).unwrap();
        assert!(shares.admit(address("192.0.2.1")).is_none());
        assert!(shares.admit(address("192.0.2.2")).is_some());
        drop(second);
        assert!(shares.admit(address("192.0.2.1")).is_some());
    }

    #[test]
    fn the_addresses_of_one_link_have_twice_what_one_has() {
        let shares = Shares::new(2);
        let _held: Vec<Share> = ["2001:db8::", "2001:db8::", "2001:db8::2", "2001:db8::3"]
            .map(|host| shares.admit(address(host)).unwrap())
            .into();
        assert!(shares.admit(address("2001:db8::4")).is_none());
        assert!(shares.admit(address("2001:db8:0:1::4")).is_some());
    }

    #[test]
    fn nothing_is_kept_of_clients_that_wait_for_nothing() {
        let shares = Shares::new(2);
        for last in 0..=255 {
            drop(shares.admit(IpAddr::from([192, 0, 2, last])).unwrap());
            drop(shares.admit(Ipv6Addr::from_bits(last.into()).into()).unwrap());
        }
        assert_eq!(shares.under_work.lock().unwrap().len(), 0);
    }
}
