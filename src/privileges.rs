//! Capabilities (capabilities(7)), which every thread has for itself: given up where they are not needed.
//!
//! The main thread, which sets the network up and takes it back, and the one that speaks to the kernel for it keep
//! `CAP_NET_ADMIN`. The threads that read what strangers send, packets and questions, have none.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};
use tracing::warn;

/// Keeps every program that this process might start from having more rights than it. Before the first thread is made.
pub(crate) fn gain_none() {
    // Kernels since 3.5 know it; a sandbox that refuses it has rules of its own.
    let _ = set_no_new_privs(true);
}

/// Leaves the calling thread nothing.
pub(crate) fn give_up_all() {
    keep(CapabilitySet::empty());
}

/// Leaves the calling thread what changes of the network need, if it has that.
pub(crate) fn keep_network_only() {
    keep(CapabilitySet::NET_ADMIN);
}

/// Whether the calling thread may change the network.
pub(crate) fn may_administer_network() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}

fn keep(wanted: CapabilitySet) {
    if let Err(error) = reduce_to(wanted) {
        warn!(%error, "cannot give up capabilities; the thread goes on with what it has");
    }
}

fn reduce_to(wanted: CapabilitySet) -> io::Result<()> {
    let held = capabilities(None)?;
    // nft(8), which takes back what it set up, has what it inherits: the ambient set goes with the inheritable one.
    let sets = CapabilitySets {
        effective: held.effective & wanted,
        permitted: held.permitted & wanted,
        inheritable: held.inheritable & wanted,
    };
    Ok(set_capabilities(None, sets)?)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_gives_up_its_own_capabilities_only() {
        let before = capabilities(None).expect("the kernel tells");
        let (kept, left) = thread::spawn(|| {
            keep_network_only();
            let kept = capabilities(None).expect("the kernel tells");
            give_up_all();
            (kept, capabilities(None).expect("the kernel tells"))
        })
        .join()
        .expect("no panic");

        assert_eq!(kept.permitted, before.permitted & CapabilitySet::NET_ADMIN);
        assert_eq!((left.effective, left.permitted), (CapabilitySet::empty(), CapabilitySet::empty()));
        assert_eq!(capabilities(None).expect("the kernel tells").permitted, before.permitted);
    }
}
