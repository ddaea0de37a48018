//! Logs, on standard error.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{LogFormat, LogLevel};

/// What changes how much is logged.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Starts logging. To be called once.
pub(super) fn init(level: LogLevel, format: LogFormat) {
    let lines = fmt::layer().with_writer(io::stderr).with_target(false).with_ansi(io::stderr().is_terminal());
    let layer = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        // The journal has its own time stamps.
        LogFormat::Text if is_journal() => lines.without_time().boxed(),
        LogFormat::Text => lines.boxed(),
    };
    let (filter, handle) = reload::Layer::new(filter(level));
    let _ = FILTER.set(handle);
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
}

/// Logs at another level from now on.
pub(super) fn set_level(level: LogLevel) {
    if let Some(handle) = FILTER.get() {
        // It fails where logging is no more.
        let _ = handle.reload(filter(level));
    }
}

/// Our own crates at `level`; the libraries beneath them no more than their warnings, unless everything is asked for.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let others = if level == Level::TRACE { Level::DEBUG } else { level.min(Level::WARN) };
    let ours = ["nat64", "nat64_core", "nat64_dataplane", "dns64", "pref64"];
    // The validator warns of each bogus answer with all that is in it, which is for whoever sends it to choose.
    let validator = if level == Level::TRACE { LevelFilter::DEBUG } else { LevelFilter::OFF };
    Targets::new()
        .with_default(LevelFilter::from_level(others))
        .with_targets(ours.map(|target| (target, level)))
        .with_target("hickory_net::dnssec", validator)
}

/// Whether standard error is the journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quieter_than_we_are() {
        let debug = filter(LogLevel::Debug);
        assert!(debug.would_enable("dns64::upstream", &Level::DEBUG));
        assert!(debug.would_enable("hickory_server", &Level::WARN));
        assert!(!debug.would_enable("hickory_server", &Level::INFO));
        assert!(!debug.would_enable("hickory_net::dnssec::nsec3", &Level::ERROR));

        let error = filter(LogLevel::Error);
        assert!(!error.would_enable("nat64", &Level::WARN) && !error.would_enable("hickory_server", &Level::WARN));
    }
}
