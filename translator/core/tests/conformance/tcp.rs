//! RFC 6146 §3.5.2, RFC 5382, RFC 7857 §2: the TCP state machine, driven by segments and time.

mod opening;
mod states;
