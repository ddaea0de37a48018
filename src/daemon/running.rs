//! The running daemon: what has to be watched, and stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nat64_core::Translator;
use nat64_dataplane::WorkerFailure;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::listeners::MetricsListeners;
use crate::control::server::{self, TranslatorView, View};
use crate::control::{ControlSocket, Guard};
use crate::journal::{self, Keeper};
use crate::net::{Network, Sources};
use crate::session_log::SessionLog;

/// Why the daemon cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A worker of the translator has ended.
    #[error("the translator is broken: {0}")]
    Worker(WorkerFailure),
    /// The DNS64 server has ended.
    #[error("the DNS64 server is broken: {0}")]
    Dns64(String),
    /// The control API has ended.
    #[error("the control API is broken: {0}")]
    Control(String),
    /// The metrics server has ended.
    #[error("the metrics server is broken: {0}")]
    Metrics(String),
}

/// A started daemon.
#[derive(Debug)]
pub(super) struct Running {
    /// The control socket, while it is to be found.
    pub(super) socket: ControlSocket,
    /// What was set up for the translator.
    pub(super) network: Option<Network>,
    /// What the control API tells of, the threads included.
    pub(super) view: Arc<View>,
    /// What runs on the async runtime.
    pub(super) tasks: Tasks,
    /// The logs of sessions.
    pub(super) session_log: Option<SessionLog>,
    /// Addresses for ICMP errors that were found out.
    pub(super) sources: Sources,
    /// What keeps sessions for the next process, if they are to be kept.
    pub(super) keeper: Option<Keeper>,
    /// Where.
    pub(super) sessions_file: PathBuf,
}

/// What runs on the async runtime.
#[derive(Debug)]
pub(super) struct Tasks {
    control: JoinHandle<()>,
    metrics: MetricsListeners,
    dns64: Option<(JoinHandle<()>, oneshot::Sender<()>)>,
    handles: Option<Dns64Handles>,
    followers: Vec<JoinHandle<()>>,
}

/// What changes a running DNS64 server.
#[derive(Clone, Debug)]
pub(super) struct Dns64Handles {
    certificate: dns64::CertificateHandle,
    /// What clients are told.
    pub(super) policy: dns64::PolicyHandle,
    /// Who is asked.
    pub(super) upstreams: dns64::UpstreamsHandle,
    /// Which names clients were told addresses for.
    pub(super) names: dns64::Names,
}

impl Running {
    /// Reads the certificate that DNS clients are shown again.
    pub(super) fn reload_certificate(&self) {
        if let Some(handles) = self.dns64().cloned() {
            // Files may be on a slow disk.
            tokio::task::spawn_blocking(move || handles.certificate.reload());
        }
    }

    /// What changes the DNS64 server, if there is one.
    pub(super) fn dns64(&self) -> Option<&Dns64Handles> {
        self.tasks.handles.as_ref()
    }

    /// Where metrics are served.
    pub(super) const fn metrics(&mut self) -> &mut MetricsListeners {
        &mut self.tasks.metrics
    }

    /// Replaces what follows this host's links.
    pub(super) fn follow(&mut self, followers: Vec<JoinHandle<()>>) {
        let before = std::mem::replace(&mut self.tasks.followers, followers);
        before.iter().for_each(JoinHandle::abort);
    }

    /// Stops everything, the way into it first, and takes everything back.
    pub(super) async fn stop(self) {
        self.tasks.stop().await;
        if let Some(dataplane) = self.view.translator.as_ref().and_then(TranslatorView::take_dataplane) {
            // Waits for threads, which the runtime must not.
            let _ = tokio::task::spawn_blocking(|| dataplane.stop()).await;
        }
        if let Some(log) = self.session_log {
            // After the threads whose events it takes; it waits, too.
            let _ = tokio::task::spawn_blocking(|| drop(log)).await;
        }
        if let (Some(keeper), Some(view)) = (self.keeper, &self.view.translator) {
            let (path, translator) = (self.sessions_file, Arc::clone(&view.translator));
            let _ = tokio::task::spawn_blocking(move || leave_sessions(keeper, &path, &translator)).await;
        }
        if let Some(network) = &self.network {
            network.take_back().await;
        }
        drop(self.socket);
    }
}

/// Leaves the sessions to the next process. Their workers have ended.
fn leave_sessions(keeper: Keeper, path: &Path, translator: &Translator) {
    drop(keeper);
    match journal::save(path, translator) {
        Ok(0) => journal::forget(path),
        Ok(sessions) => info!(sessions, "sessions left to the next start"),
        Err(error) => warn!(%error, "the next start will find sessions as they were some time ago, or none"),
    }
}

impl Tasks {
    /// Serves the control API, the metrics, and DNS64 if it is on, and follows this host's links.
    pub(super) fn start(
        (listener, guard): (UnixListener, Guard),
        metrics: Vec<TcpListener>,
        view: Arc<View>,
        dns64: Option<dns64::Server>,
        followers: Vec<JoinHandle<()>>,
        failures: &mpsc::Sender<Failure>,
    ) -> Self {
        let metrics = MetricsListeners::start(metrics, Arc::clone(&view), failures.clone());
        let report = failures.clone();
        let control = tokio::spawn(async move {
            if let Err(error) = server::serve(listener, view, guard).await {
                let _ = report.send(Failure::Control(error.to_string())).await;
            }
        });
        let handles = dns64.as_ref().map(|server| Dns64Handles {
            certificate: server.certificate(),
            policy: server.policy(),
            upstreams: server.upstreams(),
            names: server.names(),
        });
        Self { control, metrics, handles, dns64: dns64.map(|server| serve_dns64(server, failures.clone())), followers }
    }

    async fn stop(self) {
        // Before what they follow goes away.
        self.followers.iter().for_each(JoinHandle::abort);
        if let Some((task, stop)) = self.dns64 {
            // If the task has ended, there is nobody to tell.
            let _ = stop.send(());
            let _ = task.await;
        }
        self.metrics.stop();
        self.control.abort();
        let _ = self.control.await;
    }
}

fn serve_dns64(server: dns64::Server, failures: mpsc::Sender<Failure>) -> (JoinHandle<()>, oneshot::Sender<()>) {
    let (stop, stopped) = oneshot::channel();
    let work = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    let task = tokio::spawn(async move {
        let problem = match work.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        let _ = failures.send(Failure::Dns64(problem)).await;
    });
    (task, stop)
}
