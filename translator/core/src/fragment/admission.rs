//! What comes to the fragments, and what is to be done with it.

use std::net::IpAddr;

use crate::packet::{Fragment, Upper};
use crate::verdict::DropReason;

/// What fragments of one datagram have in common (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) identification: u32,
    pub(crate) protocol: u8,
}

/// One fragment as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'p> {
    pub(crate) key: Key,
    pub(crate) place: Fragment,
    /// Bytes of IP header (and extension headers) in front of the fragment's data.
    pub(crate) header_len: usize,
    /// The whole packet.
    pub(crate) packet: &'p [u8],
    /// What the first fragment carries; nothing for the others.
    pub(crate) upper: Option<Upper>,
    /// Whether the datagram that starts with this can only be translated whole.
    pub(crate) only_whole: bool,
}

/// What to do with a fragment.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Translate it: its datagram carries this. Then the ones in the list, which came too early.
    Translate(Upper, Vec<Held>),
    /// The datagram is complete: translate this, which is it, instead. So many fragments were held for it.
    Whole(Held, usize),
    /// It is kept.
    Held,
}

/// Why a fragment is dropped, and with it those of its datagram that were held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: DropReason,
    /// How many were held.
    pub(crate) lost: usize,
}

impl From<DropReason> for Rejection {
    fn from(reason: DropReason) -> Self {
        Self { reason, lost: 0 }
    }
}

/// A packet that was kept, with headroom in front.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) storage: Vec<u8>,
    pub(crate) len: usize,
}
