//! Addresses of a host, for tests of those who choose among them.

use super::netlink::Address;

/// A global, preferred and stable address of the interface `index`.
pub(super) fn own(index: u32, address: &str) -> Address {
    Address {
        index,
        address: address.parse().unwrap(),
        prefix_len: 64,
        is_global: true,
        is_preferred: true,
        is_stable: true,
        is_primary: true,
    }
}
