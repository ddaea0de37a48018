//! Queues that the service manager keeps while nobody runs (systemd.service(5), `FileDescriptorStoreMax=`).

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

use super::TunQueue;

/// The name that they are kept by.
const NAME: &str = "tun";

/// The descriptors that were kept, once.
pub(super) fn take() -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let Ok(descriptors) = sd_notify::listen_fds_with_names() else { return Vec::new() };
    descriptors
        .filter(|(_, name)| name == NAME)
        // SAFETY: the service manager opened these descriptors for this process, and this runs once, so that nobody else
        // owns them.
        .map(|(fd, _)| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}

/// Waits for a device to go away that the service manager has been asked not to keep, for a while.
pub(super) fn wait_until_gone(name: &str) {
    const PAUSE: Duration = Duration::from_millis(5);
    for _ in 0..400 {
        if super::tun::index_of(name).is_err() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Gives queues to the service manager, which keeps copies of them until the unit is stopped for good.
pub(super) fn give(queues: &[TunQueue]) {
    // What it has kept of the process before is closed here or in use here.
    if let Err(error) = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(NAME)]) {
        tracing::debug!(%error, "cannot tell the service manager");
    }
    for queue in queues {
        let kept = sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(NAME)], &[queue.as_fd()]);
        if let Err(error) = kept {
            tracing::debug!(%error, "the service manager does not keep the device");
        }
    }
}
