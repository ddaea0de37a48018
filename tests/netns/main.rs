//! The daemon end to end, in network namespaces, with real programs on both sides.
#![forbid(unsafe_code)]

#[allow(dead_code, unused_imports, reason = "the other target uses the rest")]
#[path = "../support/mod.rs"]
mod support;

mod changes;
mod clients;
mod control;
mod demonstration;
mod encrypted;
mod exchange;
mod explained;
mod faults;
mod flow;
mod idle;
mod ipfix;
mod lifecycle;
mod listings;
mod logs;
mod long_lived;
mod manager;
mod metrics;
mod million;
mod names;
mod own_traffic;
mod path_mtu;
mod privileges;
mod reach;
mod refusal;
mod reloads;
mod resets;
mod servers;
mod session_log;
mod shared;
mod signed;
mod ssh;
mod survival;
mod top;
mod traced;
mod transfer;
