//! What is logged of an event.

use std::net::Ipv6Addr;
use std::sync::Arc;

use nat64_core::Event;
use nat64_core::event::EventKind;
use serde::{Deserialize, Serialize};

/// An event with the time of day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Milliseconds since 1970, UTC.
    pub(crate) at: u64,
    /// What happened.
    pub(crate) event: Event,
    /// The other end as the host inside sees it, for events of sessions.
    pub(crate) remote6: Option<Ipv6Addr>,
    /// The name that DNS64 told the host inside the other end's address for, if that is remembered.
    pub(crate) name: Option<Arc<str>>,
}

impl Record {
    /// Milliseconds since 1970 at which the session or mapping began.
    pub(crate) const fn began_at(&self) -> u64 {
        self.at.saturating_sub(self.event.at.as_millis().saturating_sub(self.event.began.as_millis()))
    }
}

/// Which events a log takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds {
    /// Sessions made and ended.
    pub(crate) sessions: bool,
    /// Mappings made and removed.
    pub(crate) mappings: bool,
    /// Blocks of ports given to a subscriber and taken back.
    pub(crate) blocks: bool,
    /// Mappings and sessions that could not be made.
    pub(crate) refusals: bool,
}

/// One of [`Kinds`], by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Sessions,
    Mappings,
    Blocks,
    Refusals,
}

impl Kinds {
    /// Whether a log takes this event.
    pub(crate) const fn contains(self, event: EventKind) -> bool {
        match event {
            EventKind::SessionCreated | EventKind::SessionEnded { .. } => self.sessions,
            EventKind::MappingCreated | EventKind::MappingRemoved => self.mappings,
            EventKind::BlockAllocated { .. } | EventKind::BlockReleased { .. } => self.blocks,
            EventKind::Refused(_) => self.refusals,
        }
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::default(), |kinds, kind| match kind {
            Kind::Sessions => Self { sessions: true, ..kinds },
            Kind::Mappings => Self { mappings: true, ..kinds },
            Kind::Blocks => Self { blocks: true, ..kinds },
            Kind::Refusals => Self { refusals: true, ..kinds },
        })
    }
}
