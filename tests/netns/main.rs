//! The daemon end to end, in network namespaces, with real programs on both sides.
#![forbid(unsafe_code)]

mod demonstration;
mod idle;
mod lifecycle;
mod names;
mod path_mtu;
mod reach;
mod refusal;
mod support;
mod transfer;
