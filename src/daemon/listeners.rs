//! The listeners for metrics, which a reload may move to other addresses.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::warn;

use super::running::Failure;
use crate::control::server::View;
use crate::metrics;

/// What serves metrics, by address.
#[derive(Debug)]
pub(super) struct MetricsListeners {
    view: Arc<View>,
    failures: mpsc::Sender<Failure>,
    served: Vec<(SocketAddr, JoinHandle<()>)>,
}

impl MetricsListeners {
    /// Serves on these listeners.
    pub(super) fn start(listeners: Vec<TcpListener>, view: Arc<View>, failures: mpsc::Sender<Failure>) -> Self {
        let mut started = Self { view, failures, served: Vec::new() };
        started.serve(listeners);
        started
    }

    /// Serves on these addresses, and on no others. An address may cover one that is served, so that those that go are
    /// closed before the new ones are opened.
    ///
    /// # Errors
    /// Which address cannot be had; it is served where it was before, then.
    pub(super) async fn move_to(&mut self, addresses: &[SocketAddr]) -> Result<(), String> {
        let before: Vec<SocketAddr> = self.served.iter().map(|(address, _)| *address).collect();
        self.close_all_but(addresses).await;
        let Err((address, error)) = self.open(addresses).await else { return Ok(()) };
        self.close_all_but(&before).await;
        if let Err((address, error)) = self.open(&before).await {
            warn!(%address, %error, "metrics are not served there any more");
        }
        Err(format!("cannot serve metrics on {address}: {error}; set metrics.listen to a free address"))
    }

    /// Serves nowhere any more.
    pub(super) fn stop(&self) {
        self.served.iter().for_each(|(_, task)| task.abort());
    }

    async fn open(&mut self, addresses: &[SocketAddr]) -> Result<(), (SocketAddr, std::io::Error)> {
        let is_new = |address: &SocketAddr| !self.served.iter().any(|(served, _)| served == address);
        let new: Vec<SocketAddr> = addresses.iter().copied().filter(is_new).collect();
        let listeners = metrics::bind(&new).await?;
        self.serve(listeners);
        Ok(())
    }

    async fn close_all_but(&mut self, kept: &[SocketAddr]) {
        let (kept, gone) =
            std::mem::take(&mut self.served).into_iter().partition(|(address, _)| kept.contains(address));
        self.served = kept;
        for (_, task) in gone {
            task.abort();
            // The socket is closed when the task is gone.
            let _ = task.await;
        }
    }

    fn serve(&mut self, listeners: Vec<TcpListener>) {
        for listener in listeners {
            // A listener that was bound has an address.
            let Ok(address) = listener.local_addr() else { continue };
            let (view, report) = (Arc::clone(&self.view), self.failures.clone());
            let task = tokio::spawn(async move {
                if let Err(error) = metrics::serve(listener, view).await {
                    let _ = report.send(Failure::Metrics(error.to_string())).await;
                }
            });
            self.served.push((address, task));
        }
    }
}
