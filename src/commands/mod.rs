//! What each command does.

mod change;
mod check;
mod dns;
mod explain;
mod explain_packet;
mod generate;
mod query;
mod status;
mod table;
mod top;
mod trace;
mod version;
mod who_had;
mod whose;

use std::io::{self, BufWriter, Stdout, Write};

use anyhow::Context;

pub(crate) use self::top::Pane;
pub(crate) use self::whose::Asked;
use crate::cli::{Command, ExplainCommand};
use crate::daemon;

/// Does what the command line says.
///
/// # Errors
/// One message for the user.
pub(crate) fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => daemon::run(&args),
        Command::Check(args) => check::check(&args),
        Command::Status(args) => query::status(&args),
        Command::Top(args) => top::top(&args),
        Command::Sessions(args) => query::sessions(&args),
        Command::Mappings(args) => query::mappings(&args),
        Command::Whose(args) => whose::whose(&args),
        Command::Subscribers(args) => query::subscribers(&args),
        Command::Pool(args) => query::pool(&args),
        Command::Explain(args) => match &args.command {
            Some(ExplainCommand::Packet(packet)) => explain_packet::packet(packet),
            None => explain::explain(&args),
        },
        Command::Openapi => print(&crate::control::openapi::text()?),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args),
        Command::WhoHad(args) => who_had::who_had(&args),
        Command::Trace(args) => trace::trace(&args),
        Command::Reload(args) => change::reload(&args),
        Command::Static(command) => change::statics(&command),
        Command::Session(command) => change::session(&command),
        Command::Drain(args) => change::drain("/v1/drain", &args),
        Command::Undrain(args) => change::drain("/v1/undrain", &args),
        Command::Dns(command) => dns::dispatch(&command),
        Command::Version(args) => version::version(&args),
    }
}

/// Standard output. A reader that goes away, as in `nat64 sessions | head`, is no error.
struct Output {
    out: BufWriter<Stdout>,
}

impl Output {
    fn new() -> Self {
        Self { out: BufWriter::with_capacity(64 << 10, io::stdout()) }
    }

    /// Writes and returns whether somebody still reads.
    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<bool> {
        match self.out.write_all(bytes).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error).context("cannot write the output"),
        }
    }
}

/// Writes to standard output.
fn print(text: &str) -> anyhow::Result<()> {
    Output::new().write(text.as_bytes()).map(|_| ())
}
