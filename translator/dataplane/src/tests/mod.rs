//! Workers on queues that a test holds the other end of, and on real devices.

pub(crate) mod fake;
mod netns;
pub(crate) mod packets;
mod real_devices;
mod super_packets;
mod whole;
mod workers;
