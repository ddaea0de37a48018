//! The translator: stateful NAT64 (RFC 6146) over IP/ICMP translation (RFC 7915), sans-IO.
//!
//! Bytes and time come in, a [`Verdict`] and [`Event`]s come out. There is no clock, socket, thread, random source or
//! log in this crate; the caller brings them. [`Translator::batch`] is the way in, and `translator.rs` the one function
//! that shows a packet's whole way.

#![forbid(unsafe_code)]

mod closing;
mod deterministic;
mod established;
pub mod event;
mod expiry;
mod filter;
mod fragment;
mod identification;
mod inbound;
mod limit;
mod links;
pub mod listing;
mod memory;
mod outbound;
pub mod packet;
mod pass;
pub mod policy;
mod prefixes;
mod preview;
mod random;
mod refuse;
pub mod rewrite;
mod saved;
mod session;
mod shared;
mod spill;
pub mod stats;
mod sweep;
mod terms;
#[cfg(test)]
mod testing;
mod time;
mod translator;
mod transport;
mod verdict;
mod worker;

pub use closing::{Ended, Resets, Tell};
pub use deterministic::Share;
pub use event::{Event, EventBuffer};
pub use links::LinkMtus;
pub use listing::{BlockUse, MappingInfo, Page, PoolAddressInfo, SessionInfo, SubscriberInfo, Usage};
pub use memory::MemoryBound;
pub use packet::{Gso, GsoKind, HEADROOM, Offload, PacketBuf, PartialChecksum, Protocol};
pub use policy::{Draining, Policy, PolicyError};
pub use preview::Preview;
pub use saved::{NotRestored, SavedSession};
pub use spill::Spill;
pub use stats::Counters;
pub use sweep::ReplaceError;
pub use time::Timestamp;
pub use translator::{Batch, Translator};
pub use verdict::{Direction, DropReason, Verdict};
pub use worker::Worker;
