//! `nat64`: the daemon and its command line. Wires the translator, DNS64 and the system together; decides no packet.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod config;
mod control;
mod daemon;
mod decode;
mod journal;
mod metrics;
mod net;
mod privileges;
mod session_log;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let Err(error) = commands::dispatch(cli::Cli::parse().command) else { return ExitCode::SUCCESS };
    if error.is::<config::ConfigError>() {
        // Begins with file, line and column, where editors look for them.
        eprintln!("{error}");
    } else if !error.is::<daemon::AlreadySaid>() {
        eprintln!("nat64: {}", message(&error));
    }
    ExitCode::FAILURE
}

/// The error and its causes, leaving out a cause that is in the text already.
pub(crate) fn message(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.as_str() {
            "" => cause,
            said if said.contains(&cause) => text,
            said => format!("{said}: {cause}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::message;

    #[test]
    fn a_cause_is_said_once() {
        let repeated = anyhow!("in use").context("cannot bind: in use; stop it");
        let separate = anyhow!("no such file").context("cannot read").context("cannot start");

        assert_eq!(message(&repeated), "cannot bind: in use; stop it");
        assert_eq!(message(&separate), "cannot start: cannot read: no such file");
    }
}
