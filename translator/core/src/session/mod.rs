//! State: mappings, sessions, ports and their timers (RFC 6146 §3.1 and §3.5).

mod allocation;
mod bytes;
mod close;
mod entry;
mod known;
mod open;
mod overlap;
mod pool;
mod ports;
mod preview;
mod refresh;
mod restore;
mod sessions;
mod shard;
mod slab;
mod stored_syn;
mod sweep;
pub(crate) mod table;
mod tcp;
mod totals;
mod wheel;

pub(crate) use allocation::{Allocation, block_size};
pub(crate) use entry::{Mapping, MappingKind, Session, Subscriber};
pub(crate) use overlap::{Claim, Overlap};
pub(crate) use pool::{AddressIndex, External, Pool, SHARED};
pub(crate) use refresh::{Lifetimes, Rules};
pub(crate) use shard::{
    Context, Incoming, Internal, Keys, Outgoing, Probe, Reset, Shard, Tcp, Trigger, slot_owner, subscriber_prefix,
};
pub(crate) use stored_syn::StoredSyns;
pub(crate) use tcp::TcpState;
pub(crate) use totals::Totals;
pub(crate) use wheel::Tick;
