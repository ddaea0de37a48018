//! Ports that a static mapping is to have although somebody has them still: another mapping, or one whose port rests.
//!
//! A port that is taken is one holder's, who gives it back once. Where a static mapping comes meanwhile, the port is
//! noted here, and goes from its holder to the static mapping instead of becoming free.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::{External, Pool};
use crate::packet::Protocol;

/// The ports of an address that are left to static mappings.
#[derive(Debug, Default)]
pub(super) struct Heirs {
    ports: Mutex<Vec<(Protocol, u16)>>,
    /// How many these are, so that hardly anybody has to lock.
    count: AtomicU32,
}

impl Pool {
    /// Takes a port for a static mapping: at once, or when its holder gives it back.
    pub(crate) fn claim(&self, protocol: Protocol, external: External) {
        let heirs = &self.addresses[usize::from(external.address)].state.heirs;
        let mut ports = heirs.ports.lock();
        // Before the port is looked at: a holder looks here after it has given the port back.
        heirs.count.fetch_add(1, Ordering::SeqCst);
        if self.take_exactly(protocol, external) {
            heirs.count.fetch_sub(1, Ordering::SeqCst);
        } else {
            ports.push((protocol, external.port));
        }
    }

    /// Gives back a port that was not taken for a static mapping.
    #[inline]
    pub(crate) fn give_back(&self, protocol: Protocol, external: External) {
        let state = &*self.addresses[usize::from(external.address)].state;
        state.protocols[protocol as usize].release(external.port);
        if state.heirs.count.load(Ordering::SeqCst) != 0 {
            self.bequeath(protocol, external);
        }
    }

    /// Takes a port that was given back for the static mapping that waits for it, if there is one.
    #[cold]
    fn bequeath(&self, protocol: Protocol, external: External) {
        let heirs = &self.addresses[usize::from(external.address)].state.heirs;
        heirs.inherit(protocol, external.port, || self.take_exactly(protocol, external));
    }

    /// Gives back a port that was claimed for a static mapping.
    pub(crate) fn renounce(&self, protocol: Protocol, external: External) {
        let heirs = &self.addresses[usize::from(external.address)].state.heirs;
        if !heirs.inherit(protocol, external.port, || true) {
            self.release(protocol, external);
        }
    }
}

impl Heirs {
    /// Forgets a port that is noted, if `take` says yes. Returns whether it was noted and is not any more.
    fn inherit(&self, protocol: Protocol, port: u16, take: impl FnOnce() -> bool) -> bool {
        let mut ports = self.ports.lock();
        let Some(place) = ports.iter().position(|noted| *noted == (protocol, port)) else { return false };
        let taken = take();
        if taken {
            ports.swap_remove(place);
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
        taken
    }
}
