//! The bodies of the targets: each takes any bytes, and panics if something is wrong with what comes of them.

pub mod fragments;
pub mod icmp_errors;
mod input;
mod lab;
pub mod parse;
pub mod translate_with_state;
mod wire;
