//! Where a value came from, and messages that point there.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::Spanned;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nobody wrote it.
    Default,
    /// A command-line option, by its name with the dashes.
    Flag(&'static str),
    /// Bytes of the configuration file.
    File(Range<usize>),
}

/// A value and where it came from. Serialises as the value alone.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    /// The value.
    pub(crate) value: T,
    /// Its place.
    pub(crate) place: Place,
}

impl<T> Located<T> {
    /// A value that nobody wrote.
    pub(crate) const fn default(value: T) -> Self {
        Self { value, place: Place::Default }
    }

    /// A value of the command line.
    pub(crate) const fn flag(flag: &'static str, value: T) -> Self {
        Self { value, place: Place::Flag(flag) }
    }

    /// A complaint about this value.
    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem { message: message.into(), place: self.place.clone(), also: None }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        let place = Place::File(spanned.span());
        Ok(Self { value: spanned.into_inner(), place })
    }
}

impl<T: Serialize> Serialize for Located<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// What is wrong with a value, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What is wrong and what is allowed.
    pub(crate) message: String,
    /// Where it is wrong.
    pub(crate) place: Place,
    /// A second place that matters, and what is there.
    pub(crate) also: Option<(Place, &'static str)>,
}

impl Problem {
    /// A problem that no single value has.
    pub(crate) fn general(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: Place::Default, also: None }
    }

    /// Names a second place.
    pub(crate) fn also<T>(mut self, other: &Located<T>, what: &'static str) -> Self {
        self.also = Some((other.place.clone(), what));
        self
    }
}

/// The text that was read, and the name to call it by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// The file, if there is one.
    pub(crate) path: Option<PathBuf>,
    /// What is in it.
    pub(crate) text: String,
}

impl Source {
    /// The problem with its place, ready for a person.
    pub(crate) fn error(&self, problem: &Problem) -> ConfigError {
        let mut text = String::new();
        self.write_part(&mut text, &problem.place, &problem.message);
        // A second place on the command line is in the message already, and in sight.
        if let Some((place @ Place::File(_), what)) = &problem.also {
            text.push('\n');
            self.write_part(&mut text, place, what);
        }
        ConfigError(text)
    }

    fn write_part(&self, out: &mut String, place: &Place, message: &str) {
        match place {
            Place::Default => match &self.path {
                Some(path) => out.push_str(&format!("{}: {message}", path.display())),
                None => out.push_str(message),
            },
            Place::Flag(flag) => out.push_str(&format!("{flag}: {message}")),
            Place::File(span) => {
                let path = self.path.as_deref().unwrap_or_else(|| Path::new("<configuration>"));
                let at = Position::of(&self.text, span);
                out.push_str(&format!("{}:{}:{}: {message}\n{}", path.display(), at.line, at.column, at.excerpt()));
            }
        }
    }
}

/// A message that says where and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError(pub(crate) String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// A span as people count: lines and columns from 1, columns in characters.
struct Position<'t> {
    line: usize,
    column: usize,
    /// Characters that are marked, on this line.
    width: usize,
    text: &'t str,
}

impl<'t> Position<'t> {
    fn of(text: &'t str, span: &Range<usize>) -> Self {
        let start = floor_boundary(text, span.start);
        let end = floor_boundary(text, span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            width: text[start..end.min(line_end).max(start)].chars().count().max(1),
            text: text[line_start..line_end].trim_end(),
        }
    }

    /// The line with a mark under the place.
    fn excerpt(&self) -> String {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // A tab stays a tab, so that the mark stands under its place at any tab width.
        let indent: String =
            self.text.chars().take(self.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        format!("{margin} |\n{number} | {}\n{margin} | {indent}{}", self.text, "^".repeat(self.width))
    }
}

fn floor_boundary(text: &str, index: usize) -> usize {
    let index = index.min(text.len());
    (0..=index).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}
