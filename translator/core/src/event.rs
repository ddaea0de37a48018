//! What happened to the translator's state, as plain structs for logs, journals and metrics.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::packet::Protocol;
use crate::time::Timestamp;
use crate::verdict::DropReason;

/// A change of state. Ports are in host order; for ICMP they are the identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// The protocol of the mapping.
    pub protocol: Protocol,
    /// The subscriber's address and port.
    pub internal: (Ipv6Addr, u16),
    /// The pool address and port.
    pub external: (Ipv4Addr, u16),
    /// The other end, for session events and refusals.
    pub remote: Option<(Ipv4Addr, u16)>,
    /// Which of [`Policy::prefixes`](crate::Policy::prefixes) the other end is seen under inside, for session events.
    pub prefix: u8,
    /// When the session or mapping was made, to a tenth of a second; for other events when they happened.
    pub began: Timestamp,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A mapping (BIB entry) was made.
    MappingCreated,
    /// A mapping was removed.
    MappingRemoved,
    /// A session was made.
    SessionCreated,
    /// A session ended.
    SessionEnded {
        /// Why.
        reason: EndReason,
        /// Packets and bytes from IPv6 to IPv4.
        outbound: Traffic,
        /// Packets and bytes from IPv4 to IPv6.
        inbound: Traffic,
    },
    /// A subscriber, whose prefix is in `internal`, was given a block of ports, for all protocols. `external` has the first.
    BlockAllocated {
        /// The block's last port.
        last_port: u16,
    },
    /// A subscriber's block of ports was taken back, since none of its ports is in use.
    BlockReleased {
        /// The block's last port.
        last_port: u16,
    },
    /// A mapping or session could not be made; `external` is unspecified where it is one from inside. Or a fragment or a SYN
    /// from outside could not be kept, or UDP without a checksum was dropped, of which ten in a second and worker are
    /// reported; `internal` is unspecified if `external` is nobody's.
    Refused(DropReason),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Its timer ran out.
    Timeout,
    /// A new policy does not allow it.
    Removed,
    /// An operator ended it.
    Closed,
}

/// A count of packets and of their bytes as received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// A bounded list of events: what does not fit is counted, and lost.
#[derive(Debug)]
pub struct EventBuffer {
    events: Vec<Event>,
    lost: u64,
}

impl EventBuffer {
    /// A buffer for `capacity` events between two drains.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { events: Vec::with_capacity(capacity), lost: 0 }
    }

    /// Adds an event, or counts it as lost.
    pub fn push(&mut self, event: Event) {
        if self.events.len() < self.events.capacity() {
            self.events.push(event);
        } else {
            self.lost += 1;
        }
    }

    /// Takes the events out, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.events.drain(..)
    }

    /// How many events were lost, ever.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}
