//! RFC 7915 §4.3 and §5.3, RFC 4884: the packet inside an ICMP error; RFC 5508: whose error it is and whom it reaches.

mod embedded;
mod extensions;
mod links;
mod originated;
