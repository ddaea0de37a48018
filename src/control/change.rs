//! The part of the API that changes the running daemon.

use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, RawQuery, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use nat64_core::policy::StaticMapping;
use nat64_core::{Protocol, SessionInfo};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::api::{Closed, Draining, Reloaded, Resets, StaticEntry};
use super::filter::Filter;
use super::server::Api;
use crate::config::{OwnAddress, Transport};

/// Where the answer to a wish goes: what was done, or why it was not.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, String>>;

/// Something that is to change. One comes after the other, whoever wishes it.
#[derive(Debug)]
pub(crate) enum Wish {
    /// The configuration is to be read again.
    Reload {
        /// It is only to be told what would change.
        dry_run: bool,
        /// What did.
        answer: Answer<Reloaded>,
    },
    /// `shared` in the pool is to stand for this address of the host. What came of it is in the log.
    Follow {
        /// The address.
        own: OwnAddress,
    },
    /// Static mappings are to be told, or one to be made or removed.
    Static {
        /// Which, unless they are only to be told.
        change: Option<(StaticChange, StaticMapping)>,
        /// All of them.
        answer: Answer<Vec<StaticEntry>>,
    },
    /// New sessions are to be refused, or not any more.
    Drain {
        /// On this pool address, or in all.
        address: Option<Ipv4Addr>,
        /// Whether they are.
        is_drained: bool,
        /// What is drained.
        answer: Answer<Draining>,
    },
}

/// What becomes of a static mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StaticChange {
    /// It is made.
    Add,
    /// It is removed; its sessions go on.
    Remove,
}

/// Where wishes go.
pub(crate) type Wishes = mpsc::Sender<Wish>;

/// How long an answer waits for sessions to end that are not allowed any more.
const SETTLED: Duration = Duration::from_secs(5);

/// The paths that change things.
pub(super) fn router() -> axum::Router<Api> {
    axum::Router::new()
        .route("/v1/reload", post(reload))
        .route("/v1/static", get(statics).post(add_static).delete(remove_static))
        .route("/v1/drain", post(drain))
        .route("/v1/undrain", post(undrain))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct How {
    /// Only tell what would change.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// The protocol.
    protocol: Transport,
    /// The pool address and port.
    external: SocketAddrV4,
    /// The host inside and its port.
    internal: SocketAddrV6,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct What {
    /// A pool address; the whole gateway without it.
    address: Option<Ipv4Addr>,
}

impl From<nat64_core::Resets> for Resets {
    fn from(resets: nat64_core::Resets) -> Self {
        let nat64_core::Resets { both, one, unknown, not_tcp } = resets;
        Self { both, one, unknown, not_tcp }
    }
}

/// What is wanted of sessions beside a filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) struct Closing {
    /// All sessions, if there is no filter.
    #[schemars(default)]
    all: bool,
    /// Only count them.
    #[schemars(default)]
    dry_run: bool,
    /// Tell both ends of TCP connections by a reset.
    #[schemars(default)]
    reset: bool,
}

async fn reload(State(api): State<Api>, Query(how): Query<How>) -> Response {
    let wish = |answer| Wish::Reload { dry_run: how.dry_run, answer };
    match ask(&api, wish).await {
        Ok(mut reloaded) => {
            reloaded.settled = settled(&api).await;
            Json(reloaded).into_response()
        }
        Err(response) => response,
    }
}

async fn statics(State(api): State<Api>) -> Response {
    told(ask(&api, |answer| Wish::Static { change: None, answer }).await)
}

async fn add_static(State(api): State<Api>, Query(which): Query<Which>) -> Response {
    change_static(&api, StaticChange::Add, &which).await
}

async fn remove_static(State(api): State<Api>, Query(which): Query<Which>) -> Response {
    change_static(&api, StaticChange::Remove, &which).await
}

async fn change_static(api: &Api, change: StaticChange, which: &Which) -> Response {
    let mapping = StaticMapping {
        protocol: Protocol::from(which.protocol),
        internal: (*which.internal.ip(), which.internal.port()),
        external: (*which.external.ip(), which.external.port()),
    };
    let answer = ask(api, |answer| Wish::Static { change: Some((change, mapping)), answer }).await;
    settled(api).await;
    told(answer)
}

async fn drain(State(api): State<Api>, Query(what): Query<What>) -> Response {
    change_drain(api, what.address, true).await
}

async fn undrain(State(api): State<Api>, Query(what): Query<What>) -> Response {
    change_drain(api, what.address, false).await
}

async fn change_drain(api: Api, address: Option<Ipv4Addr>, is_drained: bool) -> Response {
    let mut draining = match ask(&api, |answer| Wish::Drain { address, is_drained, answer }).await {
        Ok(draining) => draining,
        Err(response) => return response,
    };
    let counted = tokio::task::spawn_blocking(move || {
        let mut count = 0;
        if let Some(view) = &api.view.translator {
            let now = view.now();
            let mut add = |info: &SessionInfo| {
                count += u64::from(draining.everything || draining.addresses.contains(&info.external.0));
            };
            (0..view.translator.shards()).for_each(|shard| view.translator.visit_sessions(shard, now, &mut add));
        }
        draining.sessions = Some(count);
        draining
    });
    told(counted.await.map_err(|panic| (StatusCode::INTERNAL_SERVER_ERROR, format!("{panic}\n")).into_response()))
}

/// `DELETE /v1/sessions`: ends the sessions that a filter takes.
pub(super) async fn close(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let (filter, Closing { all, dry_run, reset }) = match closing(&query.unwrap_or_default()) {
        Ok(wanted) => wanted,
        Err(problem) => return refused(problem),
    };
    if filter == Filter::default() && !all {
        return refused("which sessions? give a filter, or say that all are meant".to_owned());
    }
    let ended = tokio::task::spawn_blocking(move || {
        let view = api.view.translator.as_ref()?;
        view.with_dataplane(|dataplane| {
            let now = dataplane.clock().now();
            let mut wanted = |info: &SessionInfo| filter.takes_session(info, now);
            if !dry_run {
                let ended = dataplane.end_sessions(&mut wanted, reset);
                return Closed { sessions: ended.sessions, resets: reset.then(|| ended.resets.into()) };
            }
            let mut sessions = 0;
            for shard in 0..view.translator.shards() {
                view.translator.visit_sessions(shard, now, &mut |info| sessions += u64::from(wanted(info)));
            }
            Closed { sessions, resets: None }
        })
    });
    match ended.await {
        Ok(closed) => Json(closed.unwrap_or(Closed { sessions: 0, resets: None })).into_response(),
        Err(panic) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{panic}\n")).into_response(),
    }
}

/// The filter and what is beside it in a query.
fn closing(query: &str) -> Result<(Filter, Closing), String> {
    let mut closing = Closing::default();
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match name {
            "all" => &mut closing.all,
            "dry-run" => &mut closing.dry_run,
            "reset" => &mut closing.reset,
            _ => {
                rest.push(pair);
                continue;
            }
        };
        *place = value.parse().map_err(|_| format!("{name} is true or false, not `{value}`"))?;
    }
    let uri = format!("/?{}", rest.join("&")).parse::<Uri>().map_err(|error| error.to_string())?;
    let Query(filter) = Query::<Filter>::try_from_uri(&uri).map_err(|error| error.to_string())?;
    Ok((filter, closing))
}

async fn ask<T>(api: &Api, wish: impl FnOnce(Answer<T>) -> Wish) -> Result<T, Response> {
    let (answer, answered) = oneshot::channel();
    let stopping = || (StatusCode::SERVICE_UNAVAILABLE, "nat64 is stopping\n").into_response();
    api.view.wishes.send(wish(answer)).await.map_err(|_| stopping())?;
    answered.await.map_err(|_| stopping())?.map_err(refused)
}

fn told<T: serde::Serialize>(answer: Result<T, Response>) -> Response {
    answer.map_or_else(|refusal| refusal, |answer| Json(answer).into_response())
}

fn refused(problem: String) -> Response {
    (StatusCode::BAD_REQUEST, format!("{problem}\n")).into_response()
}

/// Waits for what a change does to sessions, for a while; returns whether all of it is done.
async fn settled(api: &Api) -> bool {
    const PAUSE: Duration = Duration::from_millis(5);
    let is_settled = || api.view.translator.as_ref().is_none_or(|view| view.translator.is_settled());
    let done = async {
        while !is_settled() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(SETTLED, done).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_to_close_is_a_filter_and_a_little_more() {
        let (filter, how) = closing("port=53&dry-run=true&protocol=udp").unwrap();
        assert_eq!((filter.port, how), (Some(53), Closing { dry_run: true, ..Closing::default() }));
        let all = Closing { all: true, reset: true, dry_run: false };
        assert_eq!(closing("all=true&reset=true").unwrap(), (Filter::default(), all));
        assert_eq!(closing("").unwrap(), (Filter::default(), Closing::default()));
        assert_eq!(closing("all=false&dry-run=false").unwrap(), (Filter::default(), Closing::default()));
        assert_eq!(closing("dry-run=yes").unwrap_err(), "dry-run is true or false, not `yes`");
        for wrong in ["prot=53", "all=yes", "reset=1", "port=99999", "address=x"] {
            assert!(closing(wrong).is_err(), "{wrong}");
        }
    }
}
