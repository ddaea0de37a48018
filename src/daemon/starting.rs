//! The start, in an order in which everything that can be refused is refused before anything is changed.

use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use anyhow::{Context, bail};
use dns64::{Names, Server};
use nat64_core::{Policy, Translator};
use nat64_dataplane::{Clock, Dataplane, DataplaneConfig, Device, DeviceConfig};
use pref64::{Pref64, WellKnownPolicy, special};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::address::Address;
use super::coupling::Coupling;
use super::links::{self, Follower};
use super::mtus::Mtus;
use super::routes::Routes;
use super::running::{Failure, Running, Tasks};
use crate::config::{HostAddress, Settings};
use crate::control::change::Wishes;
use crate::control::rates::{self, Meter};
use crate::control::server::{Dns64View, TranslatorView, View};
use crate::control::{ControlSocket, Guard};
use crate::journal::{self, Keeper};
use crate::metrics;
use crate::net::{Host, Links, Network, OwnWatch, Sources, Watch};
use crate::privileges;
use crate::session_log::{Onlooker, SessionLog};

/// Starts both halves as configured.
///
/// # Errors
/// Why that is not possible; nothing is left of the attempt.
pub(super) async fn start(
    settings: &Settings,
    wishes: Wishes,
    failures: &mpsc::Sender<Failure>,
) -> anyhow::Result<Running> {
    let host = Host::open()?;
    let own = host.addresses().await?;
    settings.check_host(&own)?;
    if settings.policy.is_some() && !privileges::may_administer_network() {
        bail!(
            "CAP_NET_ADMIN is missing, which the translator needs for its device and routes; run as root or give the \
             capability, or leave the pool out to run DNS64 alone"
        );
    }
    let guard = Guard::new(&settings.access)?;
    let mut socket = ControlSocket::bind(&settings.socket, settings.access.mode, guard.group())?;
    let metrics = bind_metrics(settings).await?;
    let dns64 = match &settings.dns64 {
        Some(config) => Some(bind_dns64(settings, config, &own).await?),
        None => None,
    };
    let (dns64, links) = dns64.unzip();
    let dns64_view = dns64.as_ref().zip(settings.dns64.as_ref()).map(|(server, config)| Dns64View::new(server, config));
    let (network, started) = match &settings.policy {
        Some(policy) => {
            let names = dns64.as_ref().map(Server::names).unwrap_or_default();
            names.remember(settings.wants_names());
            let (network, started) = start_translator(settings, policy, host, names, failures).await?;
            (Some(network), Some(started))
        }
        None => (None, None),
    };
    let (translator_view, mtus, session_log, sources, keeper) = match started {
        Some(Started { view, mtus, log, sources, keeper }) => (Some(view), Some(mtus), Some(log), sources, keeper),
        None => (None, None, None, Sources::default(), None),
    };
    let view = Arc::new(View {
        started: Instant::now(),
        wishes,
        meter: Meter::default(),
        translator: translator_view,
        dns64: dns64_view,
        session_logs: session_log.as_ref().map(SessionLog::stats).unwrap_or_default().into(),
    });
    let follower = links.flatten().map(|follower| tokio::spawn(follower.run()));
    let coupling = couple(settings, &view).map(|coupling| tokio::spawn(coupling.run()));
    let routes = watch_routes(settings, &view).map(|routes| tokio::spawn(routes.run()));
    let address = follow_address(settings, &view).map(|address| tokio::spawn(address.run()));
    let followers =
        follower.into_iter().chain(coupling).chain(routes).chain(address).chain(mtus.map(Mtus::follow)).collect();
    // It ends with the view.
    tokio::spawn(rates::follow(Arc::downgrade(&view)));
    let listener = socket.take_listener().context("the control socket was taken")?;
    let tasks = Tasks::start((listener, guard), metrics, Arc::clone(&view), dns64, followers, failures);
    Ok(Running { socket, network, view, tasks, session_log, sources, keeper, sessions_file: settings.sessions_file() })
}

/// Follows this host's links by settings that have changed.
///
/// # Errors
/// The kernel cannot be asked; what was followed is followed on.
pub(super) async fn follow_anew(running: &mut Running, settings: &Settings) -> anyhow::Result<()> {
    let view = Arc::clone(&running.view);
    let mut followers = Vec::new();
    if let (Some(translator), Some(_)) = (&view.translator, &settings.policy)
        && let Some(index) = translator.with_dataplane(|dataplane| dataplane.device().index)
    {
        let mtus = Mtus::tell(settings.links, Arc::clone(&translator.translator), index).await?;
        followers.push(mtus.follow());
    }
    if let (Some(config), Some(handles)) = (&settings.dns64, running.dns64())
        && settings.serves_links
    {
        let (config, policy) = (config.clone(), handles.policy.clone());
        let mut links = Links::open()?;
        let prefixes = links.prefixes().await?;
        policy.replace(links::with_clients(&config, &prefixes).policy());
        followers.push(tokio::spawn(Follower { links, prefixes, config, policy }.run()));
    }
    followers.extend(couple(settings, &view).map(|coupling| tokio::spawn(coupling.run())));
    followers.extend(watch_routes(settings, &view).map(|routes| tokio::spawn(routes.run())));
    followers.extend(follow_address(settings, &view).map(|address| tokio::spawn(address.run())));
    running.follow(followers);
    Ok(())
}

/// What follows the address that `shared` stands for, if it is to be followed.
fn follow_address(settings: &Settings, view: &Arc<View>) -> Option<Address> {
    settings.policy.as_ref()?;
    let told = settings.own.clone().filter(|_| settings.follow_address)?;
    let watch = OwnWatch::open().inspect_err(|error| warn!(%error, "the shared address is not followed")).ok()?;
    Some(Address { watch, wishes: view.wishes.clone(), told })
}

/// What says when the translator's routes are gone, if they are ours to set up.
fn watch_routes(settings: &Settings, view: &Arc<View>) -> Option<Routes> {
    let view = view.translator.as_ref().filter(|_| settings.policy.is_some() && settings.device.routes)?;
    let index = view.with_dataplane(|dataplane| dataplane.device().index)?;
    let watch = Watch::open(index, true).inspect_err(|error| warn!(%error, "routes are not looked after")).ok()?;
    Some(Routes { watch, translator: Arc::clone(&view.translator) })
}

/// What lets DNS64 follow the translator, if both are on.
fn couple(settings: &Settings, view: &Arc<View>) -> Option<Coupling> {
    let (policy, dns64) = (settings.policy.as_ref()?, view.dns64.as_ref()?);
    let index = view.translator.as_ref()?.with_dataplane(|dataplane| dataplane.device().index)?;
    let watch = Watch::open(index, settings.device.routes)
        .inspect_err(|error| warn!(%error, "DNS64 does not follow the translator"))
        .ok()?;
    let (view, health) = (Arc::clone(view), Arc::clone(&dns64.health));
    Some(Coupling { watch, view, health, prefixes: policy.prefixes.clone() })
}

/// Binds the sockets; with what makes clients of the hosts on this host's links, if they are to be clients.
async fn bind_dns64(
    settings: &Settings,
    config: &dns64::Config,
    own: &[HostAddress],
) -> anyhow::Result<(dns64::Server, Option<Follower>)> {
    let host_addresses = own.iter().map(|own| own.address).collect();
    let config = dns64::Config { host_addresses, ..config.clone() };
    if !settings.serves_links {
        return Ok((dns64::Server::bind(config).await?, None));
    }
    let mut links = Links::open()?;
    let prefixes = links.prefixes().await?;
    let server = dns64::Server::bind(links::with_clients(&config, &prefixes)).await?;
    let follower = Follower { links, prefixes, config, policy: server.policy() };
    Ok((server, Some(follower)))
}

/// The listeners for metrics. Nobody asked for the default one, so that it is no reason not to start.
async fn bind_metrics(settings: &Settings) -> anyhow::Result<Vec<TcpListener>> {
    match metrics::bind(&settings.metrics.listen).await {
        Ok(listeners) => Ok(listeners),
        Err((address, error)) if settings.metrics.is_default => {
            warn!(%address, %error, "no metrics: the default address cannot be had; set metrics.listen");
            Ok(Vec::new())
        }
        Err((address, error)) => {
            bail!("cannot serve metrics on {address}: {error}; set metrics.listen to a free address")
        }
    }
}

/// A translator with all its threads.
struct Started {
    view: TranslatorView,
    mtus: Mtus,
    log: SessionLog,
    sources: Sources,
    keeper: Option<Keeper>,
}

/// Opens the device, sets the network up, and starts the threads.
async fn start_translator(
    settings: &Settings,
    policy: &Policy,
    host: Host,
    names: Names,
    failures: &mpsc::Sender<Failure>,
) -> anyhow::Result<(Network, Started)> {
    let config = DeviceConfig {
        name: settings.device.name.clone(),
        queues: settings.queues(),
        offload: settings.device.offload,
    };
    let kept = Device::kept(&config);
    let is_kept = kept.is_some();
    let device = match kept {
        Some(device) => device,
        None => Device::open(&config)?,
    };
    let index = device.info().index;
    info!(device = config.name, queues = device.info().queues, offloads = %device.info().offloads, is_kept, "device opened");
    if settings.keep_sessions {
        device.keep();
    } else {
        device.keep_not();
    }
    // Now that the device is ours alone, what others left in its name is theirs no more.
    let directory = settings.socket.parent().unwrap_or_else(|| Path::new("/"));
    host.clean_up(directory, &config.name).await?;
    let network = host.set_up(&settings.device, index, policy, directory).await?;
    match start_threads(settings, policy, &network, device, names, failures).await {
        Ok(started) => Ok((network, started)),
        Err(error) => {
            network.take_back().await;
            Err(error)
        }
    }
}

async fn start_threads(
    settings: &Settings,
    policy: &Policy,
    network: &Network,
    device: Device,
    names: Names,
    failures: &mpsc::Sender<Failure>,
) -> anyhow::Result<Started> {
    let found = if settings.find_source4 || settings.find_source6 {
        network.sources(&settings.device.name, device.info().index).await?
    } else {
        Sources::default()
    };
    let mut policy = policy.clone();
    policy.errors.source6 = policy.errors.source6.or_else(|| found.source6.filter(|_| settings.find_source6));
    policy.errors.source4 = policy.errors.source4.or_else(|| found.source4.filter(|_| settings.find_source4));
    info!(
        source6 = policy.errors.source6.map(tracing::field::display),
        source4 = policy.errors.source4.map(tracing::field::display),
        "sources of ICMP errors"
    );
    warn_of_private_addresses(&policy);
    let clock = Clock::start();
    let translator = Arc::new(Translator::new(policy.clone(), seed()?)?);
    let mtus = Mtus::tell(settings.links, Arc::clone(&translator), device.info().index).await?;
    let keeper = keep_sessions(settings, &translator, clock).await?;
    let failures = failures.clone();
    let mut config = DataplaneConfig::new(clock, move |failure| {
        // When the channel is full, the daemon has reason enough to stop.
        let _ = failures.try_send(Failure::Worker(failure));
    });
    config.busy_poll = settings.busy_poll;
    config.on_panic = Arc::new(|panic| warn!(%panic, "a packet is lost; the worker goes on with the next"));
    let dataplane = Dataplane::start(device, Arc::clone(&translator), &config)?;
    let known = Arc::clone(&translator);
    let prefix_of = Box::new(move |number| known.prefix(number));
    let name_of = Box::new(move |host, address, ago| names.find(host, address, ago));
    let inlet = keeper.as_ref().map(Keeper::inlet);
    let onlooker: Onlooker = inlet.map(|inlet| Box::new(move |event: &_| inlet.offer(event)) as _);
    let log = SessionLog::start(&settings.session_logs, dataplane.events(), clock, (prefix_of, name_of), onlooker)
        .context("cannot start the threads for logs of sessions")?;
    let dataplane = RwLock::new(Some(dataplane));
    let journal_failures = keeper.as_ref().map(Keeper::failures);
    Ok(Started {
        view: TranslatorView { mtu: settings.device.mtu, translator, journal_failures, clock, dataplane },
        mtus,
        log,
        sources: found,
        keeper,
    })
}

/// Goes on with the sessions of the process before, and begins to keep them for the next.
async fn keep_sessions(
    settings: &Settings,
    translator: &Arc<Translator>,
    clock: Clock,
) -> anyhow::Result<Option<Keeper>> {
    let path = settings.sessions_file();
    if !settings.keep_sessions {
        journal::forget(&path);
        return Ok(None);
    }
    let (file, to) = (path.clone(), Arc::clone(translator));
    // A million sessions take a while.
    let restored = tokio::task::spawn_blocking(move || journal::restore(&file, &to, clock.now())).await?;
    match restored {
        Ok(Some(restored)) => journal::tell(&restored),
        Ok(None) => {}
        Err(error) => warn!(%error, "starting without the sessions of before"),
    }
    Keeper::start(path, Arc::clone(translator)).map(Some).context("cannot start the thread that keeps sessions")
}

/// An operator whose IPv4 side is private would otherwise wonder why nothing of it can be reached.
fn warn_of_private_addresses(policy: &Policy) {
    let strict = policy.well_known == WellKnownPolicy::Strict && policy.prefixes.iter().any(Pref64::is_well_known);
    if strict && policy.errors.source4.is_some_and(|own| !special::is_global(own)) {
        warn!(
            "this host's IPv4 address is not a global one, and 64:ff9b::/96 must not stand for such addresses (RFC 6052 \
             section 3.1): they are refused; if hosts have to reach them, take another prefix, such as 64:ff9b:1::/96, or \
             set wkp-allow-private"
        );
    }
}

/// Eight bytes that nobody can predict.
fn seed() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("the kernel gives no random bytes")?;
    anyhow::ensure!(filled == bytes.len(), "the kernel gives too few random bytes");
    Ok(u64::from_ne_bytes(bytes))
}
