//! Tells the translator the MTUs of the links on both sides, at the start and whenever they change.

use std::sync::Arc;

use nat64_core::{LinkMtus, Translator};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::net::{MtuWatch, NetError};

/// A translator whose links are watched, unless their MTUs are given.
pub(super) struct Mtus {
    watch: Option<MtuWatch>,
    given: LinkMtus,
    translator: Arc<Translator>,
}

impl Mtus {
    /// Tells the translator the MTUs as they are: `given` ones, and those that are found out. `device` is the index of the
    /// translator's own device.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub(super) async fn tell(given: LinkMtus, translator: Arc<Translator>, device: u32) -> Result<Self, NetError> {
        let is_given = given.ipv4.is_some() && given.ipv6.is_some();
        let watch = if is_given { None } else { Some(MtuWatch::open(device)?) };
        let mut mtus = Self { watch, given, translator };
        mtus.update().await?;
        Ok(mtus)
    }

    /// Keeps the translator informed, until the task is aborted.
    pub(super) fn follow(mut self) -> JoinHandle<()> {
        tokio::spawn(async move {
            while let Some(watch) = &mut self.watch {
                if !watch.changed().await {
                    warn!("the kernel tells of no more changes; a new MTU of a link is not noticed until a restart");
                    return;
                }
                if let Err(error) = self.update().await {
                    warn!(%error, "the MTUs of links stay as they were");
                }
            }
        })
    }

    async fn update(&mut self) -> Result<(), NetError> {
        let found = match &mut self.watch {
            Some(watch) => watch.mtus().await?,
            None => LinkMtus::default(),
        };
        let mtus = LinkMtus { ipv4: self.given.ipv4.or(found.ipv4), ipv6: self.given.ipv6.or(found.ipv6) };
        if mtus != self.translator.link_mtus() {
            self.translator.set_link_mtus(mtus);
            info!(ipv4 = mtus.ipv4, ipv6 = mtus.ipv6, "MTUs of the links");
        }
        Ok(())
    }
}
