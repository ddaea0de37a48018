//! The part of the API that is about DNS64.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use pref64::Pref64;
use schemars::JsonSchema;
use serde::Deserialize;

use super::api::{Drained, Flushed};
use super::server::{Api, Dns64View};

/// The paths under `/v1/dns`.
pub(super) fn router() -> axum::Router<Api> {
    axum::Router::new()
        .route("/v1/dns/explain", get(explain))
        .route("/v1/dns/flush", post(flush))
        .route("/v1/dns/drain", post(drain))
        .route("/v1/dns/undrain", post(undrain))
}

/// What to explain.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Question {
    /// The name that is asked for.
    name: String,
    /// The type of the records.
    #[serde(default = "aaaa", rename = "type")]
    kind: String,
    /// Who asks; this host without it.
    client: Option<IpAddr>,
    /// Where it asks; the first listener without it.
    listener: Option<SocketAddr>,
}

fn aaaa() -> String {
    "AAAA".to_owned()
}

/// A name, or all.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Meant {
    /// The name, with all names below it; all names without it.
    name: Option<String>,
}

/// A prefix, or all.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct MeantPrefix {
    /// The prefix; all prefixes without it.
    #[schemars(with = "Option<String>")]
    prefix: Option<Pref64>,
}

async fn explain(State(api): State<Api>, Query(question): Query<Question>) -> Response {
    let Some(dns64) = &api.view.dns64 else { return off() };
    let client = question.client.unwrap_or_else(|| Ipv6Addr::LOCALHOST.into());
    match dns64.explainer.explain(&question.name, &question.kind, client, question.listener).await {
        Ok(explanation) => Json(explanation).into_response(),
        Err(error) => wrong(&error),
    }
}

async fn flush(State(api): State<Api>, Query(meant): Query<Meant>) -> Response {
    let Some(dns64) = &api.view.dns64 else { return off() };
    let cache = dns64.cache.clone();
    // A large cache takes a while to be walked over.
    match tokio::task::spawn_blocking(move || cache.flush(meant.name.as_deref())).await {
        Ok(Ok(answers)) => Json(Flushed { answers }).into_response(),
        Ok(Err(error)) => wrong(&error),
        Err(panic) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{panic}\n")).into_response(),
    }
}

async fn drain(State(api): State<Api>, Query(meant): Query<MeantPrefix>) -> Response {
    let Some(dns64) = &api.view.dns64 else { return off() };
    change(dns64, meant.prefix, true)
}

async fn undrain(State(api): State<Api>, Query(meant): Query<MeantPrefix>) -> Response {
    let Some(dns64) = &api.view.dns64 else { return off() };
    change(dns64, meant.prefix, false)
}

fn change(dns64: &Dns64View, prefix: Option<Pref64>, is_drained: bool) -> Response {
    if dns64.health.drain(prefix, is_drained) {
        return Json(Drained { prefixes: dns64.health.status() }).into_response();
    }
    let known: Vec<String> = dns64.health.status().into_iter().map(|status| status.prefix).collect();
    wrong(&format!("this is no prefix of ours; there are {}", known.join(", ")))
}

fn off() -> Response {
    (StatusCode::NOT_FOUND, "DNS64 is off\n").into_response()
}

fn wrong(problem: &impl ToString) -> Response {
    (StatusCode::BAD_REQUEST, format!("{}\n", problem.to_string())).into_response()
}
