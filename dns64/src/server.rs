//! The running server.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::task::JoinSet;
use tracing::info;

use crate::config::{Config, find_loop};
use crate::error::{Error, Protocol};
use crate::listen::{Bounds, Listener, Listeners, TcpFront, UdpFront, bind};
use crate::policy::Policy;
use crate::service::Service;
use crate::stats::Stats;

/// A DNS64 server whose sockets are bound.
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    service: Arc<Service>,
    bounds: Bounds,
    policy: PolicyHandle,
    stats: Arc<Stats>,
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
        if let Some(error) = find_loop(&config, &listeners.addresses()) {
            return Err(error);
        }
        let policy = PolicyHandle::new(config.policy());
        let stats = Arc::<Stats>::default();
        let service = Arc::new(Service::new(&config, policy.clone(), Arc::clone(&stats)));
        Ok(Self { listeners, service, bounds: Bounds::new(&config), policy, stats })
    }

    /// The addresses that queries are taken on, in the order of the configuration.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.addresses()
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
                let front = UdpFront::new(socket).map_err(listen(Protocol::Udp))?;
                fronts.spawn(front.run(Arc::clone(&self.service), self.bounds.clone(), Arc::clone(&self.stats)));
            }
            fronts.spawn(tcp.run(Arc::clone(&self.service), self.bounds.clone(), Arc::clone(&self.stats)));
            info!(%address, "DNS64 listens");
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
    pub(crate) policy: Policy,
    /// How often it was replaced.
    pub(crate) generation: u32,
}

impl PolicyHandle {
    pub(crate) fn new(policy: Policy) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Current { policy, generation: 0 })))
    }

    /// Makes `policy` the one in force.
    pub fn replace(&self, policy: Policy) {
        self.0.rcu(|old| Current { policy: policy.clone(), generation: old.generation.wrapping_add(1) });
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
