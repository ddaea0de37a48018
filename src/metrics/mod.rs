//! Metrics for Prometheus (OpenMetrics), and answers for probes: is it alive, is it ready?
//!
//! | Path | Answer |
//! |---|---|
//! | `GET /metrics` | [`page::render`] |
//! | `GET /healthz` | 200 while every worker moves, else 503 |
//! | `GET /readyz` | 200 while it serves new sessions, else 503 |

mod measured;
mod page;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::control::server::View;
use measured::Measured;

/// The type that a scraper recognises OpenMetrics text by.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Binds every address.
///
/// # Errors
/// The first address that cannot be had, and why.
pub(crate) async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for &address in addresses {
        listeners.push(TcpListener::bind(address).await.map_err(|error| (address, error))?);
    }
    Ok(listeners)
}

/// Answers on `listener` until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, view: Arc<View>) -> io::Result<()> {
    axum::serve(listener, router(view)).await
}

fn router(view: Arc<View>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(view)
}

async fn metrics(State(view): State<Arc<View>>) -> Response {
    match page::render(&view.status(), &Measured::of(&view)) {
        Ok(page) => ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        // Writing to a string does not fail.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz(State(view): State<Arc<View>>) -> Response {
    probe(view.is_healthy(View::PATIENCE), "a worker of the translator does not move\n")
}

async fn readyz(State(view): State<Arc<View>>) -> Response {
    probe(view.is_healthy(View::PATIENCE) && view.takes_sessions(), "takes no new sessions\n")
}

fn probe(good: bool, otherwise: &'static str) -> Response {
    if good { "ok\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, otherwise).into_response() }
}
