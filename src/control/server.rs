//! The daemon's side of the control API.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use nat64_core::{
    Counters, Direction, DropReason, MappingInfo, Page, Protocol, SessionInfo, SubscriberInfo, Timestamp, Translator,
};
use nat64_dataplane::{Clock, Dataplane, DeviceInfo, IoStats};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use super::api::{
    BlockUse, ByProtocol, DeviceStatus, Dns64Status, Draining, Mapping, PoolAddress, PoolRange, PoolStatus, Session,
    SessionLogStatus, Status, Subscriber, Traffic, TranslatorStatus,
};
use super::change::Wishes;
use super::filter::Filter;
use super::health::PrefixHealth;
use super::listing;
use super::peer::{self, Guard, Peer};
use super::rates::{Meter, Totals};
use super::top::Watchers;
use crate::session_log::SinkStats;

/// Listings that are written at once; each holds a page of entries in memory, and a thread.
const LISTINGS: usize = 4;

/// What the API tells of.
#[derive(Debug)]
pub(crate) struct View {
    /// When the daemon became ready.
    pub(crate) started: Instant,
    /// Where wishes for changes go.
    pub(crate) wishes: Wishes,
    /// What passes now.
    pub(crate) meter: Meter,
    /// The translator, unless it is off.
    pub(crate) translator: Option<TranslatorView>,
    /// The DNS64 server, unless it is off.
    pub(crate) dns64: Option<Dns64View>,
    /// The logs of sessions.
    pub(crate) session_logs: Mutex<Vec<Arc<SinkStats>>>,
}

/// The translator, seen from outside.
#[derive(Debug)]
pub(crate) struct TranslatorView {
    /// The device's MTU.
    pub(crate) mtu: u16,
    /// Its state.
    pub(crate) translator: Arc<Translator>,
    /// How often sessions could not be kept for the case of a crash, if they are to be.
    pub(crate) journal_failures: Option<Arc<std::sync::atomic::AtomicU64>>,
    /// What its time is told by.
    pub(crate) clock: Clock,
    /// The threads; none once they are stopped.
    pub(crate) dataplane: std::sync::RwLock<Option<Dataplane>>,
}

/// The DNS64 server, seen from outside.
#[derive(Debug)]
pub(crate) struct Dns64View {
    /// Where it answers.
    pub(crate) listen: Vec<std::net::SocketAddr>,
    /// Whom it asks, and how.
    pub(crate) upstreams: std::sync::RwLock<Vec<dns64::Upstream>>,
    /// Its counters.
    pub(crate) stats: Arc<dns64::Stats>,
    /// Its prefixes.
    pub(crate) health: Arc<PrefixHealth>,
    /// Says why it answers as it does.
    pub(crate) explainer: dns64::Explainer,
    /// What it remembers.
    pub(crate) cache: dns64::CacheHandle,
}

impl Dns64View {
    /// A server seen from outside.
    pub(crate) fn new(server: &dns64::Server, config: &dns64::Config) -> Self {
        Self {
            listen: server.local_addrs(),
            upstreams: std::sync::RwLock::new(config.upstreams.clone()),
            stats: server.stats(),
            health: Arc::new(PrefixHealth::new(&config.prefixes, server.policy())),
            explainer: server.explainer(),
            cache: server.cache(),
        }
    }
}

/// Answers on `listener` until the task is dropped.
pub(crate) async fn serve(listener: UnixListener, view: Arc<View>, guard: Guard) -> std::io::Result<()> {
    let router = router(view).layer(middleware::from_fn_with_state(guard, peer::guard));
    axum::serve(listener, router.into_make_service_with_connect_info::<Peer>()).await
}

/// The paths of the API.
pub(crate) fn router(view: Arc<View>) -> Router {
    let api = Api { view, listings: Arc::new(Semaphore::new(LISTINGS)), watchers: Arc::default() };
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/sessions", get(sessions).delete(super::change::close))
        .route("/v1/mappings", get(mappings))
        .route("/v1/subscribers", get(subscribers))
        .route("/v1/pool", get(pool))
        .merge(super::change::router())
        .merge(super::preview::router())
        .route("/v1/top", get(top))
        .merge(super::trace::router())
        .merge(super::dns::router())
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is no such path; see nat64 openapi\n") })
        .with_state(api)
}

#[derive(Clone)]
pub(super) struct Api {
    pub(super) view: Arc<View>,
    listings: Arc<Semaphore>,
    watchers: Arc<Watchers>,
}

async fn status(State(api): State<Api>) -> Json<Status> {
    Json(api.view.status())
}

async fn sessions(State(api): State<Api>, Query(filter): Query<Filter>) -> Response {
    list(&api, move |translator, page, now, found: &mut Vec<Session>| {
        let mut add = |info: &SessionInfo| {
            if filter.takes_session(info, now) {
                found.push(session(info, now));
            }
        };
        translator.page_of_sessions(page, now, &mut add)
    })
}

async fn mappings(State(api): State<Api>, Query(filter): Query<Filter>) -> Response {
    if filter.remote.is_some() || filter.state.is_some() {
        return (StatusCode::BAD_REQUEST, "mappings have no remote end and no state; sessions have\n").into_response();
    }
    list(&api, move |translator, page, now, found: &mut Vec<Mapping>| {
        let mut add = |info: &MappingInfo| {
            if filter.takes_mapping(info, now) {
                found.push(mapping(info, now));
            }
        };
        translator.page_of_mappings(page, &mut add)
    })
}

async fn subscribers(State(api): State<Api>) -> Response {
    list(&api, |translator, page, _, found: &mut Vec<Subscriber>| {
        let mut add = |info: &SubscriberInfo| {
            let SubscriberInfo { prefix, address, mappings, sessions } = *info;
            found.push(Subscriber { prefix, address, mappings, sessions });
        };
        translator.page_of_subscribers(page, &mut add)
    })
}

async fn pool(State(api): State<Api>) -> Response {
    list(&api, |translator, _, _, found: &mut Vec<PoolAddress>| {
        let nat64_core::Draining { everything, addresses } = translator.policy().draining;
        found.extend(translator.pool_addresses().into_iter().map(|info| PoolAddress {
            address: info.address,
            ports: info.ports,
            taken: ByProtocol::new(info.taken),
            draining: everything || addresses.contains(&info.address),
        }));
        None
    })
}

async fn top(State(api): State<Api>, Query(filter): Query<Filter>) -> Response {
    let Some(sampler) = api.watchers.sampler(&filter) else {
        let message = "too many others watch with filters of their own; try again when one has ended\n";
        return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    };
    // A million sessions take a while to be looked at.
    let looked = tokio::task::spawn_blocking(move || {
        let view = api.view.translator.as_ref()?;
        Some(sampler.lock().unwrap_or_else(PoisonError::into_inner).look(&view.translator, &filter, view.now()))
    });
    match looked.await {
        Ok(top) => Json(top.unwrap_or_default()).into_response(),
        Err(panic) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{panic}\n")).into_response(),
    }
}

/// Answers with what `collect` finds on each page of the translator; nothing if that is off.
fn list<T, F>(api: &Api, mut collect: F) -> Response
where
    T: serde::Serialize + Send + 'static,
    F: FnMut(&Translator, Page, Timestamp, &mut Vec<T>) -> Option<Page> + Send + 'static,
{
    let Ok(permit) = Arc::clone(&api.listings).try_acquire_owned() else {
        let message = "too many listings are being read; try again when one has ended\n";
        return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    };
    let view = Arc::clone(&api.view);
    let mut page = Some(Page::default());
    listing::respond(permit, move |found| {
        page = page
            .zip(view.translator.as_ref())
            .and_then(|(page, translator)| collect(&translator.translator, page, translator.now(), found));
        page.is_some()
    })
}

impl View {
    /// How long a worker may take for one round of its loop; a healthy one takes a second at the most.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

    /// Whether every worker of the translator began its loop within `limit`.
    pub(crate) fn is_healthy(&self, limit: Duration) -> bool {
        let limit = limit.max(Self::PATIENCE);
        let healthy = |dataplane: &Dataplane| {
            let now = dataplane.clock().now();
            dataplane.heartbeats().iter().all(|beat| now.since(*beat) < limit)
        };
        self.translator.as_ref().and_then(|view| view.with_dataplane(healthy)).unwrap_or(true)
    }

    /// The translation prefixes in force.
    fn prefixes(&self) -> Vec<String> {
        match (&self.translator, &self.dns64) {
            (Some(view), _) => view.translator.policy().prefixes.iter().map(ToString::to_string).collect(),
            (None, Some(dns64)) => dns64.health.status().into_iter().map(|status| status.prefix).collect(),
            (None, None) => Vec::new(),
        }
    }

    /// Whether new sessions are taken.
    pub(crate) fn takes_sessions(&self) -> bool {
        self.translator.as_ref().is_none_or(|view| !view.translator.policy().draining.everything)
    }

    fn session_logs(&self) -> Vec<SessionLogStatus> {
        let logs = self.session_logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.iter().map(|stats| session_log(stats)).collect()
    }

    /// Everything that fits one screen.
    pub(crate) fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            pref64: self.prefixes(),
            translator: self
                .translator
                .as_ref()
                .and_then(|view| Some(TranslatorStatus { rates: self.meter.rates(), ..view.status()? })),
            dns64: self.dns64.as_ref().map(Dns64View::status),
            session_logs: self.session_logs(),
        }
    }
}

impl TranslatorView {
    /// Takes the threads, to stop them. After that there is no status.
    pub(crate) fn take_dataplane(&self) -> Option<Dataplane> {
        self.dataplane.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn device_status(&self, device: &DeviceInfo, io: &IoStats) -> DeviceStatus {
        let links = self.translator.link_mtus();
        DeviceStatus {
            name: device.name.clone(),
            mtu: self.mtu,
            ipv4_link_mtu: links.ipv4,
            ipv6_link_mtu: links.ipv6,
            queues: device.queues,
            offloads: device.offloads.to_string(),
            read_errors: io.read_errors,
            write_errors: io.write_errors,
        }
    }

    /// What `look` sees of the threads, while they run.
    pub(crate) fn with_dataplane<T>(&self, look: impl FnOnce(&Dataplane) -> T) -> Option<T> {
        self.dataplane.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }

    /// The time by the translator's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What both directions have carried, from IPv6 first.
    pub(super) fn totals(&self) -> Option<[Totals; 2]> {
        let counters = self.with_dataplane(Dataplane::counters)?;
        Some([Direction::SixToFour, Direction::FourToSix].map(|direction| {
            let carried =
                counters.iter().flat_map(|worker| Protocol::ALL.map(|protocol| worker.translated(direction, protocol)));
            carried.fold(Totals::default(), |sum, one| Totals {
                packets: sum.packets + one.packets,
                bytes: sum.bytes + one.bytes,
            })
        }))
    }

    fn status(&self) -> Option<TranslatorStatus> {
        let seen = |dataplane: &Dataplane| {
            (dataplane.device().clone(), dataplane.counters(), IoStats::total(&dataplane.io_stats()))
        };
        let (device, counters, io) = self.with_dataplane(seen)?;
        let (usage, policy) = (self.translator.usage(), self.translator.policy());
        Some(TranslatorStatus {
            device: self.device_status(&device, &io),
            pool: PoolStatus {
                ranges: policy.pool.iter().map(pool_range).collect(),
                addresses: usage.pool_addresses,
                ports: usage.pool_ports,
                ports_taken: ByProtocol::new(usage.pool_ports_taken),
                blocks: usage.pool_blocks.map(|blocks| BlockUse { taken: blocks.taken, all: blocks.all }),
            },
            sessions: ByProtocol::new(usage.sessions),
            tcp_states: usage.tcp_states.map(|(state, count)| (state.to_owned(), count)).into(),
            sessions_limit: policy.limits.sessions,
            mappings: ByProtocol::new(usage.mappings),
            mappings_limit: policy.limits.mappings,
            six_to_four: translated(&counters, Direction::SixToFour),
            four_to_six: translated(&counters, Direction::FourToSix),
            hairpinned: counters.iter().map(|worker| worker.hairpinned()).sum(),
            held: counters.iter().map(|worker| worker.held()).sum(),
            refused: counters.iter().map(|worker| worker.refused()).sum(),
            rates: None,
            draining: Draining {
                everything: policy.draining.everything,
                addresses: policy.draining.addresses,
                sessions: None,
            },
            dropped: dropped(&counters),
        })
    }
}

impl Dns64View {
    /// Notes that others are asked from now on.
    pub(crate) fn set_upstreams(&self, upstreams: &[dns64::Upstream]) {
        *self.upstreams.write().unwrap_or_else(PoisonError::into_inner) = upstreams.to_vec();
    }

    fn upstreams(&self) -> std::sync::RwLockReadGuard<'_, Vec<dns64::Upstream>> {
        self.upstreams.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Dns64Status {
        let counters = serde_json::to_value(self.stats.snapshot()).and_then(serde_json::from_value);
        Dns64Status {
            listen: self.listen.clone(),
            upstreams: self.upstreams().iter().map(ToString::to_string).collect(),
            prefixes: self.health.status(),
            counters: counters.unwrap_or_default(),
        }
    }
}

fn session_log(stats: &SinkStats) -> SessionLogStatus {
    SessionLogStatus {
        to: stats.target.clone(),
        delivered: stats.delivered(),
        lost: stats.lost(),
        failing: stats.is_failing(),
    }
}

const fn pool_range(range: &nat64_core::policy::PoolRange) -> PoolRange {
    PoolRange { first: range.first, last: range.last, first_port: range.first_port, last_port: range.last_port }
}

fn translated(counters: &[Arc<Counters>], direction: Direction) -> ByProtocol<Traffic> {
    ByProtocol::new(Protocol::ALL.map(|protocol| {
        counters.iter().map(|worker| worker.translated(direction, protocol)).fold(Traffic::default(), |sum, one| {
            Traffic { packets: sum.packets + one.packets, bytes: sum.bytes + one.bytes }
        })
    }))
}

fn dropped(counters: &[Arc<Counters>]) -> std::collections::BTreeMap<String, u64> {
    let count = |reason| counters.iter().map(|worker| worker.dropped(reason)).sum::<u64>();
    DropReason::ALL
        .iter()
        .map(|&reason| (reason.name().to_owned(), count(reason)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

pub(super) fn session(info: &SessionInfo, now: Timestamp) -> Session {
    Session {
        protocol: info.protocol.name().to_owned(),
        internal: info.internal.into(),
        external: info.external.into(),
        remote: info.remote.into(),
        remote6: info.remote6,
        state: info.state.to_owned(),
        age_seconds: now.since(info.created).as_secs(),
        expires_in_seconds: info.expires_in.as_secs(),
        outbound: info.outbound.into(),
        inbound: info.inbound.into(),
    }
}

pub(super) fn mapping(info: &MappingInfo, now: Timestamp) -> Mapping {
    Mapping {
        protocol: info.protocol.name().to_owned(),
        internal: info.internal.into(),
        external: info.external.into(),
        sessions: info.sessions,
        fixed: info.fixed,
        age_seconds: now.since(info.created).as_secs(),
    }
}
