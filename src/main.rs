//! `nat64`: the daemon and its command line. Wires the translator, DNS64 and the system together; decides no packet.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod config;
mod net;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match commands::dispatch(cli::Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nat64: {error:#}");
            ExitCode::FAILURE
        }
    }
}
