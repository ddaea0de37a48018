//! A laboratory of network namespaces: client, gateway, routers and server, with real programs in them.

mod daemon;
mod exchange;
mod lab;
mod namespace;
mod obstacle;
mod process;
mod servers;
mod wait;

pub(crate) use self::daemon::Daemon;
pub(crate) use self::lab::{CLIENT, GATEWAY, Lab, POOL, SERVER, Topology, under_pref64};
pub(crate) use self::namespace::Namespace;
pub(crate) use self::process::{Outcome, Running};
pub(crate) use self::wait::eventually;
