//! The translator against a naive model of it, against what must hold for any packet, and in simulated networks.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "this is a test, of which most functions only help")]
#![expect(clippy::wildcard_enum_match_arm, reason = "what a test does not look for is all the same to it")]

mod differential;
mod findings;
mod fuzz_replay;
mod model;
mod reloads;
mod round_trip;
mod simulation;
mod support;
mod workers;
