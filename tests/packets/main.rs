//! One packet in, what the RFCs say out: through the kernel, the device and the daemon, in network namespaces.
//!
//! A raw socket on the far end of each of the gateway's two cables stands for all hosts on that side. Their kernels have no
//! addresses and say nothing, so that whatever arrives was sent by the gateway. What is expected is taken from the texts;
//! nothing of the product's is linked in.
//!
//! What the gateway's own kernel refuses never reaches the translator. That it would be refused there too is shown by the
//! tests of `translator/core/tests/conformance`: IPv4 packets with a wrong header checksum, length or malformed option, to
//! or from 0.0.0.0/8, 127.0.0.0/8, multicast and broadcast addresses (`malformed.rs`, `header_four_to_six.rs`,
//! `addresses.rs`); strict source routes and a TTL of 1 (`header_four_to_six.rs`); IPv6 packets from unspecified, loopback,
//! multicast, link-local and IPv4-mapped addresses, with a hop limit of 1 or an option that says so
//! (`header_six_to_four.rs`); packets longer than any link's MTU (`header_six_to_four.rs`).
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "this is a test, of which most functions only help")]

#[allow(dead_code, unused_imports, reason = "the other target uses the rest")]
#[path = "../support/mod.rs"]
mod support;
#[allow(dead_code, reason = "the translator's own tests use the rest")]
#[path = "../../translator/core/tests/conformance/wire.rs"]
mod wire;

mod bench;
mod case;
mod groups;
mod one_cpu;
mod port;
mod rows;
mod whole;

mod addresses;
mod allocation;
mod checksums;
mod devices;
mod error_sources;
mod extensions;
mod four_to_six;
mod fragments;
mod hairpin;
mod icmp_four_to_six;
mod icmp_six_to_four;
mod lifetimes;
mod limits;
mod malformed;
mod originated;
mod packets_in_error;
mod path_mtu;
mod six_to_four;
mod tcp;
mod udp;
