//! Addresses that the translator shares with its host: what of their traffic is the host's.
//!
//! Ports are told apart before packets come here. ICMP is not: only who knows the sessions can say whose it is, so that
//! all of it comes here, and what belongs to no session is written back as it is.

use std::net::Ipv4Addr;

use crate::packet::PacketBuf;
use crate::pass::Pass;
use crate::session::External;

/// The protocol number of ICMP.
const ICMP: u8 = 1;

impl Pass<'_> {
    /// Whether the host has this pool address itself.
    #[cold]
    pub(crate) fn is_shared(&self, external: External) -> bool {
        let shared = &self.terms.policy.shared;
        !shared.is_empty() && shared.contains(&self.terms.pool.address(external.address))
    }

    /// Whether a packet that could not be translated is to be handed to the host.
    #[cold]
    pub(crate) fn is_for_host(&self, packet: &PacketBuf<'_>) -> bool {
        let bytes = packet.bytes();
        let [version, .., protocol] = bytes.first_chunk::<10>().copied().unwrap_or_default();
        let destination = bytes.get(16..).and_then(<[u8]>::first_chunk::<4>).copied().map(Ipv4Addr::from);
        version >> 4 == 4 && protocol == ICMP && destination.is_some_and(|to| self.terms.policy.shared.contains(&to))
    }
}

#[cfg(test)]
mod tests;
