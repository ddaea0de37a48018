//! What systemd is told (sd_notify(3)). Without systemd nobody listens, which is no error.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// The daemon is ready.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The daemon reads its configuration again (systemd.service(5), `Type=notify-reload`).
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "cannot tell systemd the time"),
    }
}

/// It is done with that.
pub(super) fn ready_again() {
    tell(&[NotifyState::Ready]);
}

/// The daemon is stopping.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// The daemon works.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How long systemd waits for [`alive`] before it ends us, if it does.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero())
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "cannot tell systemd");
    }
}
