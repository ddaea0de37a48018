//! MTUs of the links that the translator is attached to, which may change while it runs.

use std::sync::atomic::{AtomicU32, Ordering};

/// MTUs of the links a translator is attached to, where they are known, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkMtus {
    /// Of the next hop towards IPv4.
    pub ipv4: Option<u32>,
    /// Of the next hop towards IPv6.
    pub ipv6: Option<u32>,
}

impl LinkMtus {
    /// Those that count for a packet between two hosts behind the translator: it does not go over an IPv4 link.
    pub(crate) const fn of_hairpin(self) -> Self {
        Self { ipv4: None, ..self }
    }
}

/// The MTUs as workers read them; zero stands for one that is not known.
#[derive(Debug, Default)]
pub(crate) struct Links {
    ipv4: AtomicU32,
    ipv6: AtomicU32,
}

impl Links {
    pub(crate) fn set(&self, mtus: LinkMtus) {
        self.ipv4.store(mtus.ipv4.unwrap_or(0), Ordering::Relaxed);
        self.ipv6.store(mtus.ipv6.unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn mtus(&self) -> LinkMtus {
        let known = |mtu: &AtomicU32| Some(mtu.load(Ordering::Relaxed)).filter(|mtu| *mtu > 0);
        LinkMtus { ipv4: known(&self.ipv4), ipv6: known(&self.ipv6) }
    }
}
