//! How many mappings and sessions there are in all shards together.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::packet::Protocol;

/// Counts by protocol. A limit is checked against them without a lock, so that workers that open sessions at the same
/// moment may exceed it by one each.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    mappings: [AtomicU32; Protocol::ALL.len()],
    sessions: [AtomicU32; Protocol::ALL.len()],
    resting_ports: AtomicU32,
}

impl Totals {
    /// Takes the counts of others over.
    pub(crate) fn copy(&self, others: &Self) {
        let copy = |to: &[AtomicU32], from: &[AtomicU32]| {
            to.iter().zip(from).for_each(|(to, from)| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed));
        };
        copy(&self.mappings, &others.mappings);
        copy(&self.sessions, &others.sessions);
        copy(std::slice::from_ref(&self.resting_ports), std::slice::from_ref(&others.resting_ports));
    }

    pub(crate) fn mapping_added(&self, protocol: Protocol) {
        self.mappings[protocol as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn mapping_removed(&self, protocol: Protocol) {
        self.mappings[protocol as usize].fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn session_added(&self, protocol: Protocol) {
        self.sessions[protocol as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn session_removed(&self, protocol: Protocol) {
        self.sessions[protocol as usize].fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn port_rests(&self) {
        self.resting_ports.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn port_rested(&self) {
        self.resting_ports.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn resting_ports(&self) -> u32 {
        self.resting_ports.load(Ordering::Relaxed)
    }

    pub(crate) fn mappings(&self) -> u32 {
        self.mappings_by_protocol().iter().sum()
    }

    pub(crate) fn sessions(&self) -> u32 {
        self.sessions_by_protocol().iter().sum()
    }

    pub(crate) fn mappings_by_protocol(&self) -> [u32; Protocol::ALL.len()] {
        self.mappings.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    pub(crate) fn sessions_by_protocol(&self) -> [u32; Protocol::ALL.len()] {
        self.sessions.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}
