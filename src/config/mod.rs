//! The configuration: a TOML file, overridden by the command line, checked, and turned into [`Settings`].
//!
//! [`place`] knows where each value came from, so that every complaint points there; [`mod@file`] is the file's shape with
//! types whose range is part of them; [`check`] holds the rules between values.

mod check;
mod difference;
mod dns64;
mod file;
mod link;
mod overrides;
mod own;
mod place;
mod rules;
mod scalar;
mod session_log;
mod settings;
#[cfg(test)]
mod tests;
mod value;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use difference::{Effective, KeyChange, is_reloaded};
pub(crate) use file::{DEFAULT_SOCKET, LogFormat, LogLevel};
pub(crate) use overrides::Overrides;
pub(crate) use place::ConfigError;
use place::{Place, Problem, Source};
pub(crate) use rules::Transport;
pub(crate) use session_log::SessionLogSettings;
pub(crate) use settings::{AccessSettings, DeviceSettings, HostAddress, Settings};

use crate::net;
use file::File;
pub(crate) use own::OwnAddress;

/// Where the file is looked for when nobody names one.
pub(crate) const DEFAULT_FILE: &str = "/etc/nat64/nat64.toml";

/// Reads, overrides and checks the configuration.
///
/// Without `path`, [`DEFAULT_FILE`] is read if it exists and the overrides do not say themselves what to do.
///
/// # Errors
/// What is wrong, where, and what is allowed.
pub(crate) fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Settings, ConfigError> {
    let source = match path {
        Some(path) => read(path)?,
        None if overrides.say_what_to_do() => Source::default(),
        None => read_default()?,
    };
    resolve(source, overrides, net::own_address)
}

/// [`load`] with the text at hand, and who knows which address `shared` stands for.
fn resolve(source: Source, overrides: &Overrides, find: own::Find) -> Result<Settings, ConfigError> {
    let mut file = parse(&source)?;
    overrides.apply(&mut file).map_err(|problem| source.error(&problem))?;
    let own = own::resolve(&mut file, find).map_err(|problem| source.error(&problem))?;
    Settings::new(file, source, own)
}

fn parse(source: &Source) -> Result<File, ConfigError> {
    toml::from_str(&source.text).map_err(|error| {
        let place = error.span().map_or(Place::Default, Place::File);
        source.error(&Problem { message: in_our_words(error.message()), place, also: None })
    })
}

/// The parser's messages in the words of the documentation: `wrong type: integer 5; allowed is a string`.
///
/// What breaks TOML's own grammar keeps the parser's words.
fn in_our_words(message: &str) -> String {
    const WORDS: [(&str, &str); 6] = [
        ("unknown field", "unknown key"),
        ("missing field", "missing key"),
        ("unknown variant", "unknown value"),
        ("invalid type:", "wrong type:"),
        ("invalid value: integer", "out of range:"),
        ("duplicate key", "duplicate key; a key is given once in its table"),
    ];
    let Some((theirs, ours)) = WORDS.into_iter().find(|(theirs, _)| message.starts_with(theirs)) else {
        return message.to_owned();
    };
    message
        .replacen(theirs, ours, 1)
        .replacen(", expected one of", "; allowed are", 1)
        .replacen(", expected a boolean", "; allowed is true or false", 1)
        .replacen(", expected", "; allowed is", 1)
}

fn read(path: &Path) -> Result<Source, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| cannot_read(path, &error))?;
    Ok(Source { path: Some(path.to_owned()), text })
}

fn read_default() -> Result<Source, ConfigError> {
    let path = PathBuf::from(DEFAULT_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Source { path: Some(path), text }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Source::default()),
        Err(error) => Err(cannot_read(&path, &error)),
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> ConfigError {
    ConfigError(format!("{}: cannot be read: {error}", path.display()))
}
