//! `nat64 run`: starts both halves, watches over them, and takes everything back at the end.

mod address;
mod changing;
mod coupling;
mod links;
mod listeners;
mod logging;
mod mtus;
mod notify;
pub(crate) mod panics;
mod repeats;
mod routes;
mod running;
mod signals;
mod starting;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::cli::RunArgs;
use crate::config::{self, LogFormat, Settings};
use crate::control::change::Wish;
use crate::net::Host;
use crate::privileges;
use changing::Changes;
use running::{Failure, Running};
use signals::{Event, Signals};

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// Why it could not start or go on, after everything is taken back.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<()> {
    let settings = config::load(args.config.as_deref(), &args.overrides)?;
    let repeats = logging::init(settings.log_level, settings.log_format);
    panics::install();
    privileges::gain_none();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("nat64-async")
        .on_thread_start(privileges::give_up_all)
        .enable_all()
        .build()
        .context("cannot start the threads for DNS and control")?;
    runtime.spawn(logging::tell_of_repeats(Arc::clone(&repeats)));
    let outcome = runtime.block_on(live(args, &settings));
    repeats.tell();
    // A client that does not read its listing must not keep us.
    runtime.shutdown_background();
    match outcome {
        Err(problem) if settings.log_format == LogFormat::Json => {
            error!("{}", crate::message(&problem));
            Err(AlreadySaid.into())
        }
        outcome => outcome,
    }
}

/// The message went to the log, where whoever reads JSON expects it.
#[derive(Debug, thiserror::Error)]
#[error("the log says why")]
pub(crate) struct AlreadySaid;

async fn live(args: &RunArgs, settings: &Settings) -> anyhow::Result<()> {
    if let Some(path) = settings.path() {
        info!(file = %path.display(), "configuration read");
    }
    // Before anything is changed, so that a signal during the start is answered after it, not by a sudden end.
    let mut signals = Signals::install().context("cannot take signals")?;
    let (failures, mut failed) = mpsc::channel(16);
    let (wishes, mut wished) = mpsc::channel(16);
    let mut settings = settings.clone();
    settings.share_with(&Host::open()?.addresses().await?);
    let settings = &settings;
    let mut running = starting::start(settings, wishes, &failures).await?;
    privileges::keep_network_only();
    let (path, overrides) = (args.config.clone(), args.overrides.clone());
    let mut changes = Changes::new(path, overrides, settings.clone(), running.sources);
    announce(settings);
    let outcome = watch(&mut running, &mut changes, (&mut signals, &mut wished, &mut failed)).await;
    notify::stopping();
    tokio::spawn(async move {
        signals.stop().await;
        warn!("told to stop a second time; leaving at once, the next start cleans up");
        std::process::exit(1);
    });
    running.stop().await;
    info!("stopped");
    outcome
}

fn announce(settings: &Settings) {
    let halves = match (&settings.policy, &settings.dns64) {
        (Some(_), Some(_)) => "translating packets and answering DNS",
        (Some(_), None) => "translating packets",
        _ => "answering DNS",
    };
    info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "ready");
    notify::ready(halves);
}

/// Waits for a reason to stop, and tells systemd that we live.
async fn watch(
    running: &mut Running,
    changes: &mut Changes,
    (signals, wished, failed): (&mut Signals, &mut mpsc::Receiver<Wish>, &mut mpsc::Receiver<Failure>),
) -> anyhow::Result<()> {
    let patience = notify::watchdog();
    let mut pulse = tokio::time::interval(patience.map_or(Duration::from_secs(3600), |patience| patience / 3));
    loop {
        tokio::select! {
            event = signals.next() => match event {
                Event::Stop(signal) => {
                    info!(signal, "stopping");
                    return Ok(());
                }
                Event::Reload => {
                    notify::reloading();
                    // Whatever came of it is in the log.
                    let _ = changes.reload(running, false).await;
                    notify::ready_again();
                }
            },
            Some(wish) = wished.recv() => changes.grant(running, wish).await,
            Some(failure) = failed.recv() => {
                error!("{failure}");
                return Err(failure.into());
            }
            _ = pulse.tick() => if let Some(patience) = patience {
                if running.view.is_healthy(patience / 3) {
                    notify::alive();
                } else {
                    error!("a worker has not moved for a while; leaving it to systemd's watchdog");
                }
            },
        }
    }
}
