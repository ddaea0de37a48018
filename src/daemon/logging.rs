//! Logs, on standard error.

use std::fmt as text;
use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::repeats::Repeats;
use crate::config::{LogFormat, LogLevel};

/// What changes how much is logged.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Starts logging, and returns what counts the messages that are too many. To be called once.
pub(super) fn init(level: LogLevel, format: LogFormat) -> Arc<Repeats> {
    let for_journal = is_journal();
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let layer = match format {
        LogFormat::Json => {
            let json = fmt::format().with_target(false).json().flatten_event(true);
            let json = Prefixed { for_journal, format: json.with_current_span(false).with_span_list(false) };
            lines.fmt_fields(fmt::format::JsonFields::new()).event_format(json).boxed()
        }
        // The journal has its own time stamps.
        LogFormat::Text if for_journal => {
            let format = fmt::format().with_target(false).without_time();
            lines.event_format(Prefixed { for_journal, format }).boxed()
        }
        LogFormat::Text => lines.with_target(false).boxed(),
    };
    let repeats = Arc::new(Repeats::default());
    let (wanted, handle) = reload::Layer::new(filter(level));
    let _ = FILTER.set(handle);
    let bounded = Bounded { wanted, repeats: Arc::clone(&repeats) };
    tracing_subscriber::registry().with(layer.with_filter(bounded)).init();
    repeats
}

/// Logs at another level from now on.
pub(super) fn set_level(level: LogLevel) {
    if let Some(handle) = FILTER.get() {
        // It fails where logging is no more.
        let _ = handle.reload(filter(level));
    }
}

/// Says each second what was left out of the log.
pub(super) async fn tell_of_repeats(repeats: Arc<Repeats>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        repeats.tell();
    }
}

/// Lets through what is wanted, and not too much of it.
struct Bounded {
    wanted: reload::Layer<Targets, Registry>,
    repeats: Arc<Repeats>,
}

impl Filter<Registry> for Bounded {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, Registry>) -> bool {
        Filter::enabled(&self.wanted, metadata, context)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        Filter::<Registry>::callsite_enabled(&self.wanted, metadata)
    }

    fn event_enabled(&self, event: &Event<'_>, _context: &Context<'_, Registry>) -> bool {
        self.repeats.admits(event.metadata())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<Registry>::max_level_hint(&self.wanted)
    }
}

/// Lines that begin with their priority where the journal reads them (sd-daemon(3)), so that `journalctl -p warning` works.
struct Prefixed<F> {
    for_journal: bool,
    format: F,
}

impl<S, N, F> FormatEvent<S, N> for Prefixed<F>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> text::Result {
        if self.for_journal {
            write!(writer, "<{}>", priority(*event.metadata().level()))?;
        }
        self.format.format_event(context, writer, event)
    }
}

/// The priority of syslog(3).
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
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
