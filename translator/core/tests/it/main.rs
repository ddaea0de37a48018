//! The translator against a naive model of it, against what must hold for any packet, and in simulated networks.

mod differential;
mod fuzz_replay;
mod model;
mod round_trip;
mod simulation;
mod support;
