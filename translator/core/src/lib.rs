//! The translator: stateful NAT64 (RFC 6146) over IP/ICMP translation (RFC 7915), sans-IO.
//!
//! Bytes and time come in, a [`Verdict`] and [`Event`]s come out. There is no clock, socket, thread, random source or
//! log in this crate; the caller brings them. [`Translator::batch`] is the way in, and `translator.rs` the one function
//! that shows a packet's whole way.

#![forbid(unsafe_code)]

pub mod event;
pub mod packet;
pub mod policy;
pub mod rewrite;
mod spill;
pub mod stats;
mod time;
mod translator;
mod verdict;
mod worker;

pub use event::{Event, EventBuffer};
pub use packet::{Gso, GsoKind, HEADROOM, Offload, PacketBuf, PartialChecksum, Protocol};
pub use policy::{Policy, PolicyError};
pub use spill::Spill;
pub use stats::Counters;
pub use time::Timestamp;
pub use translator::{Batch, Translator};
pub use verdict::{Direction, DropReason, Verdict};
pub use worker::Worker;
