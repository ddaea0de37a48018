//! TUN devices with segmentation offload, and the threads that carry packets through the translator.
//!
//! [`Device::open`] makes the device, [`Dataplane::start`] puts one thread on each of its queues. A thread reads a
//! packet, has the [`Translator`](nat64_core::Translator) rewrite it in place, and writes it back to the same queue, so
//! that the kernel's automatic steering sends the flow's return packets there too. Super-packets (TSO, USO) stay whole,
//! and single packets of a flow that wait together leave as one.
//!
//! This is the one crate with `unsafe`, for the ioctls of `/dev/net/tun`.

mod clock;
mod dataplane;
mod device;
mod events;
mod foreign;
mod latency;
mod outbox;
mod port;
mod queue;
mod segment;
mod stats;
mod supervise;
mod tap;
mod timer;
mod vnet_hdr;
mod worker;

#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use dataplane::{Dataplane, DataplaneConfig, OnFailure, StartError};
pub use device::{Device, DeviceConfig, DeviceError, DeviceInfo, Holder, Offloads};
pub use events::Events;
pub use latency::Latency;
pub use stats::IoStats;
pub use tap::{TapFilter, TapReader, Tapped, TooManyTaps};
pub use worker::{WorkerError, WorkerFailure};
