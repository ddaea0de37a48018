//! What each command does.

mod check;
mod version;

use std::io::{self, Write};

use crate::cli::Command;

/// Does what the command line says.
///
/// # Errors
/// One message for the user.
pub(crate) fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Check(args) => check::check(&args),
        Command::Version(args) => version::version(&args),
        _ => anyhow::bail!("not there yet"),
    }
}

/// Writes to standard output. A reader that has gone away, as in `nat64 sessions | head`, is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
