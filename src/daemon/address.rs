//! The address that `shared` stands for, followed when it changes.

use tracing::{info, warn};

use crate::config::OwnAddress;
use crate::control::change::{Wish, Wishes};
use crate::net::OwnWatch;

/// Says which address of this host the translator is to share.
pub(super) struct Address {
    /// Looks at this host.
    pub(super) watch: OwnWatch,
    /// Where changes are wished for.
    pub(super) wishes: Wishes,
    /// The address that was told last.
    pub(super) told: OwnAddress,
}

impl Address {
    /// Follows for as long as it is polled.
    pub(super) async fn run(mut self) {
        let mut problem = None;
        loop {
            match self.watch.own().await {
                Ok(own) if own.is_at(&self.told) => {
                    if problem.take().is_some() {
                        info!(address = %own.address, interface = own.interface, "the shared address is there again");
                    }
                }
                Ok(own) => {
                    problem = None;
                    self.told = own.clone();
                    if self.wishes.send(Wish::Follow { own }).await.is_err() {
                        return;
                    }
                }
                Err(found) => {
                    if problem.as_ref() != Some(&found) {
                        warn!(shared = %self.told.address, "the shared address is not followed until there is one: {found}");
                    }
                    problem = Some(found);
                }
            }
            if !self.watch.changed().await {
                warn!(
                    "the kernel tells of no more changes; another address of this host is not noticed until a reload"
                );
                return;
            }
        }
    }
}
