//! A laboratory of network namespaces: client, gateway, routers and server, and the daemon on the gateway. Shared by the
//! targets that need one, each of which uses a part of it.

mod daemon;
mod lab;
mod leftovers;
mod namespace;
mod obstacle;
mod process;
mod wait;

pub(crate) use self::daemon::Daemon;
pub(crate) use self::lab::{CLIENT, GATEWAY, Lab, POOL, SERVER, Topology, under_pref64};
pub(crate) use self::namespace::Namespace;
pub(crate) use self::obstacle::{misses_tools, skips_this_test};
pub(crate) use self::process::{Outcome, Running};
pub(crate) use self::wait::{eventually, holds_within};
