//! Sends UDP packets from one network namespace to another, at a fixed rate or as fast as it goes, and tells what came
//! of them as one line of JSON. For measuring whatever forwards between the two, in the manner of RFC 8219 and RFC 9693.
//!
//! Packets are made on a raw socket, so that a flow costs no socket and millions of flows are no more work than one.

mod busy;
mod packets;
mod receiver;
mod search;
mod sender;
mod trial;

use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::trial::{Lab, Load};

/// Where to send, and what.
#[derive(Debug, Parser)]
struct Arguments {
    /// File of the sender's network namespace, such as /run/netns/client.
    #[arg(long)]
    sender: PathBuf,
    /// File of the receiver's network namespace.
    #[arg(long)]
    receiver: PathBuf,
    /// Source address. Flow n is from its port 1024 + n, and from the next address when the ports are used up.
    #[arg(long)]
    from: IpAddr,
    /// Destination address.
    #[arg(long)]
    to: IpAddr,
    /// Address in the receiver's namespace where packets arrive.
    #[arg(long)]
    listen: IpAddr,
    /// Bytes of UDP payload, 16 to 1400.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(16..=1400))]
    size: u16,
    /// Flows, one packet of each in turn.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    flows: u32,
    /// Number of the first flow.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000_000))]
    first_flow: u32,
    /// Length of a trial in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Mode {
    /// One trial.
    Load {
        /// Packets per second; without it, as many as it goes.
        #[arg(long)]
        rate: Option<f64>,
    },
    /// The highest rate at which no packet is lost (RFC 8219 §7.1, trials shorter).
    Lossless {
        /// Where to begin, in packets per second.
        #[arg(long, default_value_t = 400_000.0)]
        most: f64,
    },
    /// The highest rate of packets, each the first of its flow, at which none is lost (RFC 9693 §4.4).
    Establish {
        /// Where to begin, in packets per second.
        #[arg(long, default_value_t = 200_000.0)]
        most: f64,
    },
    /// How many of so many flows, opened one after the other, are still known when all are (RFC 9693 §4.8).
    Capacity {
        /// Packets per second.
        #[arg(long, default_value_t = 50_000.0)]
        rate: f64,
    },
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let mut lab = Lab::open(&arguments)?;
    let load = |rate| Load { rate, flows: arguments.flows, seconds: arguments.seconds };
    let line = match arguments.mode {
        Mode::Load { rate } => {
            // Sessions exist before anything is counted.
            lab.introduce(arguments.flows)?;
            lab.run(load(rate))?.to_json()
        }
        Mode::Lossless { most } => {
            lab.introduce(arguments.flows)?;
            search::highest(most, |rate| lab.run(load(Some(rate))))?
        }
        Mode::Establish { most } => search::highest(most, |rate| lab.establish(rate, arguments.seconds))?,
        Mode::Capacity { rate } => lab.capacity(arguments.flows, rate)?,
    };
    writeln!(std::io::stdout(), "{line}")
}
