//! How much memory the tables take.

use std::net::Ipv4Addr;

use super::allocation::{Blocks, Resting};
use super::entry::{Mapping, Subscriber};
use super::sessions::Sessions;
use super::shard::Shard;
use super::slab::Slab;
use super::table;
use super::wheel::Wheel;

impl Shard {
    /// Bytes that sessions take at the most, in as many shards.
    pub(crate) const fn session_bytes(sessions: u64, filtered: bool, shards: u64) -> u64 {
        let peers = if filtered { table::bytes::<((u32, Ipv4Addr), u32)>(sessions, shards) } else { 0 };
        let table = table::bytes::<u32>(sessions, shards);
        Sessions::bytes(sessions, shards) + table + peers + shards * (Wheel::BYTES + size_of::<Self>() as u64)
    }

    /// Bytes that mappings, as many subscribers and their blocks take at the most, in as many shards.
    pub(crate) const fn mapping_bytes(mappings: u64, blocks: u64, shards: u64) -> u64 {
        let entries = Slab::<Mapping>::bytes(mappings, shards) + Slab::<Subscriber>::bytes(mappings, shards);
        let blocks = if blocks == 0 { 0 } else { Blocks::bytes(blocks, shards) };
        entries + 2 * table::bytes::<u32>(mappings, shards) + blocks
    }

    /// Bytes that resting ports take at the most, in as many shards.
    pub(crate) const fn resting_bytes(ports: u64, shards: u64) -> u64 {
        table::bytes::<Resting>(ports, shards)
    }
}
