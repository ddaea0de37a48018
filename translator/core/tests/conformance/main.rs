//! What the RFCs ask of a translator, asked of this one from outside: packets as the texts draw them go in by the public
//! interface, and every field that a text fixes is checked in what comes out. `tests/requirements` says which test shows
//! which requirement.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "this is a test, of which most functions only help")]

mod lab;
mod wire;

mod addresses;
mod allocation;
mod checksums;
mod errors;
mod fragments;
mod hairpin;
mod header_four_to_six;
mod header_six_to_four;
mod icmp_four_to_six;
mod icmp_six_to_four;
mod limits;
mod malformed;
mod queries;
mod tcp;
mod udp;
