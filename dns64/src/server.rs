//! The running server.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use pref64::Pref64;
use tokio::task::JoinSet;
use tracing::info;

use crate::config::{Config, find_loop};
use crate::error::{Error, Protocol};
use crate::explain::Explanation;
use crate::listen::{
    Bounds, Certificate, HttpsFront, Listener, Listeners, StreamListener, TcpFront, TlsFront, UdpFront, bind,
    bind_streams,
};
use crate::names::Names;
use crate::policy::{Origin, Policy, PrefixState};
use crate::service::Service;
use crate::stats::Stats;

/// A DNS64 server whose sockets are bound.
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    encrypted: Option<Encrypted>,
    service: Arc<Service>,
    bounds: Bounds,
    policy: PolicyHandle,
    stats: Arc<Stats>,
}

/// What takes encrypted queries.
#[derive(Debug)]
struct Encrypted {
    certificate: Arc<Certificate>,
    tls: Vec<StreamListener>,
    https: Vec<StreamListener>,
    path: String,
}

impl Encrypted {
    /// Reads the certificate and binds the sockets; nothing if there is no certificate.
    fn bind(config: &Config) -> Result<Option<Self>, Error> {
        let Some(files) = &config.certificate else { return Ok(None) };
        Ok(Some(Self {
            certificate: Arc::new(Certificate::load(&files.certificate, &files.key)?),
            tls: bind_streams(&config.listen_tls, Protocol::Tls)?,
            https: bind_streams(&config.listen_https, Protocol::Https)?,
            path: config.https_path.clone(),
        }))
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.tls.iter().chain(&self.https).map(|listener| listener.address)
    }

    /// Starts the fronts, and the look after the certificate.
    fn run(
        self,
        fronts: &mut JoinSet<()>,
        service: &Arc<Service>,
        bounds: &Bounds,
        stats: &Arc<Stats>,
    ) -> Result<(), Error> {
        let shared = || (Arc::clone(service), bounds.clone(), Arc::clone(stats));
        let listen = |address, protocol| move |source| Error::Listen { address, protocol, source };
        let (dot, doh) = (self.certificate.tls(&[b"dot"]), self.certificate.tls(&[b"h2", b"http/1.1"]));
        for StreamListener { address, socket } in self.tls {
            let front = TlsFront::new(socket, Arc::clone(&dot)).map_err(listen(address, Protocol::Tls))?;
            let (service, bounds, stats) = shared();
            fronts.spawn(front.run(service, bounds, stats));
            info!(%address, "DNS64 listens for TLS");
        }
        for StreamListener { address, socket } in self.https {
            let front = HttpsFront::new(socket, Arc::clone(&doh), &self.path);
            let (service, bounds, stats) = shared();
            fronts.spawn(front.map_err(listen(address, Protocol::Https))?.run(service, bounds, stats));
            info!(%address, "DNS64 listens for HTTPS");
        }
        fronts.spawn(self.certificate.watch());
        Ok(())
    }
}

/// Reads the certificate of a running server again.
#[derive(Clone, Debug)]
pub struct CertificateHandle(Option<Arc<Certificate>>);

impl CertificateHandle {
    /// Reads the certificate and its key again; bad files are told in the log and leave the old ones in use. Does nothing
    /// if the server has no certificate. Reads files, so it blocks.
    pub fn reload(&self) {
        if let Some(certificate) = &self.0 {
            certificate.reload();
        }
    }
}

impl Server {
    /// Checks the configuration and binds every socket; queries wait in them until [`Self::run`].
    ///
    /// Needs to be called on a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// A value that is not allowed, a socket that cannot be bound, or an upstream that is this server itself.
    #[expect(clippy::unused_async, reason = "sockets register with the runtime that the caller awaits this on")]
    pub async fn bind(config: Config) -> Result<Self, Error> {
        config.validate_values()?;
        let listeners = bind(&config.listen, udp_sockets(&config))?;
        let encrypted = Encrypted::bind(&config)?;
        let mut bound = listeners.addresses();
        bound.extend(encrypted.iter().flat_map(Encrypted::addresses));
        if let Some(error) = find_loop(&config, &bound) {
            return Err(error);
        }
        let policy = PolicyHandle::new(config.policy());
        let stats = Arc::<Stats>::default();
        let service = Arc::new(Service::new(&config, policy.clone(), Arc::clone(&stats)));
        Ok(Self { listeners, encrypted, service, bounds: Bounds::new(&config), policy, stats })
    }

    /// The addresses that queries are taken on, in the order of the configuration.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.addresses()
    }

    /// The addresses that queries over TLS are taken on, in the order of the configuration.
    #[must_use]
    pub fn tls_addrs(&self) -> Vec<SocketAddr> {
        self.encrypted.iter().flat_map(|encrypted| &encrypted.tls).map(|listener| listener.address).collect()
    }

    /// The addresses that queries over HTTPS are taken on, in the order of the configuration.
    #[must_use]
    pub fn https_addrs(&self) -> Vec<SocketAddr> {
        self.encrypted.iter().flat_map(|encrypted| &encrypted.https).map(|listener| listener.address).collect()
    }

    /// A handle to read the certificate again while the server runs.
    #[must_use]
    pub fn certificate(&self) -> CertificateHandle {
        CertificateHandle(self.encrypted.as_ref().map(|encrypted| Arc::clone(&encrypted.certificate)))
    }

    /// The counters, which live on while the server runs.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// A handle to replace the policy while the server runs.
    #[must_use]
    pub fn policy(&self) -> PolicyHandle {
        self.policy.clone()
    }

    /// A handle to ask other upstreams, while the server runs.
    #[must_use]
    pub fn upstreams(&self) -> UpstreamsHandle {
        let listen = self.local_addrs().into_iter().chain(self.tls_addrs()).chain(self.https_addrs()).collect();
        UpstreamsHandle { service: Arc::clone(&self.service), listen }
    }

    /// A handle to ask why a client is told what it is told, while the server runs.
    #[must_use]
    pub fn explainer(&self) -> Explainer {
        let listener = self.local_addrs().first().copied().expect("a server has a listen address");
        Explainer { service: Arc::clone(&self.service), listener }
    }

    /// Which names clients were told synthetic addresses for, if that is to be remembered.
    #[must_use]
    pub fn names(&self) -> Names {
        self.service.names()
    }

    /// A handle to forget answers, while the server runs.
    #[must_use]
    pub fn cache(&self) -> CacheHandle {
        CacheHandle(Arc::clone(&self.service))
    }

    /// Answers queries until `shutdown` completes.
    ///
    /// # Errors
    /// A listening socket broke.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let mut fronts = JoinSet::new();
        for Listener { address, udp, tcp } in self.listeners.0 {
            let listen = |protocol| move |source| Error::Listen { address, protocol, source };
            let tcp = TcpFront::new(tcp).map_err(listen(Protocol::Tcp))?;
            for socket in udp {
                let (service, bounds) = (Arc::clone(&self.service), self.bounds.clone());
                let front = UdpFront::start(socket, service, bounds, Arc::clone(&self.stats));
                fronts.spawn(front.map_err(listen(Protocol::Udp))?.run());
            }
            fronts.spawn(tcp.run(Arc::clone(&self.service), self.bounds.clone(), Arc::clone(&self.stats)));
            info!(%address, "DNS64 listens");
        }
        if let Some(encrypted) = self.encrypted {
            encrypted.run(&mut fronts, &self.service, &self.bounds, &self.stats)?;
        }
        self.service.probe_upstreams();
        tokio::select! {
            () = shutdown => Ok(()),
            Some(Err(error)) = fronts.join_next() => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Ok(()),
            },
        }
    }
}

/// How many UDP sockets each listen address has.
fn udp_sockets(config: &Config) -> usize {
    match config.udp_sockets {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count.into(),
    }
}

/// Replaces the policy of a running server; answers after that follow the new one, with the cache intact.
#[derive(Clone, Debug)]
pub struct PolicyHandle(Arc<ArcSwap<Current>>);

/// The policy in force.
#[derive(Debug)]
pub(crate) struct Current {
    /// What applies now: as configured, without the prefixes that are not to be used.
    pub(crate) policy: Policy,
    /// How often that was replaced.
    pub(crate) generation: u32,
    configured: Policy,
    unusable: Vec<Pref64>,
}

impl Current {
    fn new(configured: Policy, unusable: Vec<Pref64>, generation: u32) -> Self {
        Self { policy: configured.without(&unusable), generation, configured, unusable }
    }
}

impl PolicyHandle {
    pub(crate) fn new(policy: Policy) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Current::new(policy, Vec::new(), 0))))
    }

    /// Makes `policy` the one in force. What is known of prefixes stays.
    pub fn replace(&self, policy: Policy) {
        self.0.rcu(|old| {
            // What is ready to be sent stays if only the clients change, as they do whenever a link comes or goes.
            let step = u32::from(!old.configured.tells_the_same(&policy));
            Current::new(policy.clone(), old.unusable.clone(), old.generation.wrapping_add(step))
        });
    }

    /// Says whether the translator of a prefix takes new sessions: nothing is synthesised under the prefix while it does
    /// not. All prefixes are up at first.
    pub fn set_prefix_state(&self, prefix: Pref64, state: PrefixState) {
        let is_usable = state == PrefixState::Up;
        if self.peek().unusable.contains(&prefix) != is_usable {
            return;
        }
        info!(%prefix, ?state, "synthesis follows its translator");
        self.0.rcu(|old| {
            let mut unusable: Vec<Pref64> = old.unusable.iter().copied().filter(|one| *one != prefix).collect();
            unusable.extend((!is_usable).then_some(prefix));
            Current::new(old.configured.clone(), unusable, old.generation.wrapping_add(1))
        });
    }

    /// The policy for a while: for as long as one answer takes.
    pub(crate) fn load(&self) -> Arc<Current> {
        self.0.load_full()
    }

    /// The policy for a moment.
    pub(crate) fn peek(&self) -> Guard<Arc<Current>> {
        self.0.load()
    }
}

/// Gives a running server other upstreams.
#[derive(Clone, Debug)]
pub struct UpstreamsHandle {
    service: Arc<Service>,
    listen: Vec<SocketAddr>,
}

impl UpstreamsHandle {
    /// Asks the upstreams of `config` from the next question on, by its routes, order, timeout, attempts, random case and
    /// authorities; the rest of it is not looked at. Questions under way end as they began, and what is cached stays.
    ///
    /// To be called on a tokio runtime. Reads the file of authorities, if there is one, so it blocks for a moment.
    ///
    /// # Errors
    /// A value that is not allowed, or an upstream that is this server itself; nothing has changed then.
    pub fn replace(&self, config: &Config) -> Result<(), Error> {
        self.check(config)?;
        self.service.replace_upstreams(config);
        Ok(())
    }

    /// Whether [`UpstreamsHandle::replace`] would take this configuration.
    ///
    /// # Errors
    /// As there.
    pub fn check(&self, config: &Config) -> Result<(), Error> {
        config.validate_values()?;
        find_loop(config, &self.listen).map_or(Ok(()), Err)
    }
}

/// Forgets answers of a running server, or makes them older.
#[derive(Clone, Debug)]
pub struct CacheHandle(Arc<Service>);

impl CacheHandle {
    /// Forgets what upstreams said of `name` and all names below it, failures too; without a name, of all names. Returns how
    /// many answers that were.
    ///
    /// # Errors
    /// `name` is not a domain name.
    pub fn flush(&self, name: Option<&str>) -> Result<usize, Error> {
        let question = name.map(|name| crate::explain::ask(name, "ANY").map(|(_, ask)| ask.question)).transpose()?;
        Ok(self.0.flush(question.as_ref()))
    }

    /// Makes all that is known older by whole seconds, as though they had gone by: TTLs that are left, negative ones too, how
    /// stale an answer is, and how long a failure is remembered. For tests, which need not wait then.
    #[doc(hidden)]
    pub fn age(&self, by: Duration) {
        self.0.age(by);
    }
}

/// Says why clients are told what they are told.
#[derive(Clone, Debug)]
pub struct Explainer {
    service: Arc<Service>,
    listener: SocketAddr,
}

impl Explainer {
    /// Why this client is told what it is told about the records of `name` of type `kind` (`AAAA`, `TYPE65`), if it asks on
    /// `listener` or, without one, on the first listen address. Upstreams are asked as for a query.
    ///
    /// # Errors
    /// `name` is not a domain name, or `kind` no record type.
    pub async fn explain(
        &self,
        name: &str,
        kind: &str,
        client: IpAddr,
        listener: Option<SocketAddr>,
    ) -> Result<Explanation, Error> {
        self.service
            .explain(
                name,
                kind,
                Origin { client, listener: listener.unwrap_or(self.listener), protocol: Protocol::Udp },
            )
            .await
    }
}
