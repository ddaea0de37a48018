//! Asking upstreams over TCP, TLS and HTTPS, on connections that are used again (RFC 7766 §6.2).
//!
//! A connection carries many questions at once. A further one is opened when all are full; beyond [`MOST_LINKS`] full ones
//! a question waits.

mod https;
mod link;
mod trust;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{debug, warn};

use super::address::{Transport, Upstream};
use super::exchange::{self, Failure};
use crate::stats::Stats;
use crate::wire::{Ask, EDNS_PAYLOAD, QUERY_BLOCK, Reply, pad};
use https::HttpsLink;
use link::StreamLink;
pub(crate) use trust::Trust;

/// Connections to one upstream at most.
const MOST_LINKS: usize = 4;

/// Questions on one connection at once, at most.
const PIPELINE: u16 = 64;

/// How long a connection may be idle and still be used: servers close theirs after some ten seconds.
const LONGEST_IDLE: Duration = Duration::from_secs(10);

/// One upstream, and the connections to it.
pub(super) struct Streams {
    upstream: Upstream,
    /// How it is spoken to in secret, if it is.
    tls: Option<Tls>,
    links: Mutex<Vec<Link>>,
    /// Held while a connection is opened, so that those who need one at the same moment share it.
    opening: tokio::sync::Mutex<()>,
    /// For every question on any connection.
    places: Arc<Semaphore>,
}

/// What makes a connection secret.
struct Tls {
    name: ServerName<'static>,
    connector: TlsConnector,
    /// Whether it was said that the upstream's certificate is not accepted.
    complained: AtomicBool,
}

/// One connection.
#[derive(Clone)]
struct Link {
    kind: Kind,
    /// Questions that it has room for.
    room: Arc<Semaphore>,
    used: Instant,
    /// Answers that came on it.
    answers: Arc<AtomicU32>,
}

/// The doubt whether a connection still works, which an answer to any question on it ends. A way that has silently gone
/// shows in nothing else.
struct Suspicion<'a> {
    streams: &'a Streams,
    link: &'a Link,
    answers: u32,
}

impl Drop for Suspicion<'_> {
    fn drop(&mut self) {
        if self.link.answers.load(Ordering::Relaxed) == self.answers {
            self.streams.forget(self.link);
        }
    }
}

#[derive(Clone)]
enum Kind {
    Tcp(StreamLink),
    Tls(StreamLink),
    Https(HttpsLink),
}

impl Link {
    fn is_alive(&self, now: Instant) -> bool {
        let is_open = match &self.kind {
            Kind::Tcp(link) | Kind::Tls(link) => link.is_open(),
            Kind::Https(link) => link.is_open(),
        };
        let is_in_use = self.room.available_permits() < PIPELINE.into();
        is_open && (is_in_use || now < self.used + LONGEST_IDLE)
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl Streams {
    /// The connections to an upstream, secret ones if there is `trust`.
    pub(super) fn new(upstream: &Upstream, trust: Option<&Trust>) -> Self {
        Self {
            upstream: upstream.clone(),
            tls: trust.map(|trust| Tls::new(upstream, trust)),
            links: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            places: Arc::new(Semaphore::new(MOST_LINKS * usize::from(PIPELINE))),
        }
    }

    /// The upstream's answer.
    ///
    /// # Errors
    /// There is none in `timeout`, or before `deadline`.
    pub(super) async fn run(
        &self,
        ask: &Ask,
        timeout: Duration,
        deadline: Instant,
        stats: &Stats,
    ) -> Result<Reply, Failure> {
        let end = deadline.min(Instant::now() + timeout);
        let result = timeout_at(end, self.ask(ask, stats)).await.unwrap_or(Err(Failure::Timeout));
        match result {
            Ok(_) => {}
            Err(Failure::Timeout) => stats.upstream_timeouts.increment(),
            Err(_) => stats.upstream_failures.increment(),
        }
        result
    }

    async fn ask(&self, ask: &Ask, stats: &Stats) -> Result<Reply, Failure> {
        let reply = self.ask_with(ask, Some(EDNS_PAYLOAD), stats).await?;
        if reply.lacks_edns() { self.ask_with(ask, None, stats).await } else { Ok(reply) }
    }

    async fn ask_with(&self, ask: &Ask, payload: Option<u16>, stats: &Stats) -> Result<Reply, Failure> {
        let id = match self.upstream.transport {
            // RFC 8484 §4.1: the same query is the same request, which caches on the way know again.
            Transport::Https { .. } => 0,
            Transport::Plain | Transport::Tcp | Transport::Tls { .. } => rand::random(),
        };
        let mut query = exchange::encode(ask, id, payload);
        if self.tls.is_some() {
            pad(&mut query, QUERY_BLOCK);
        }
        let bytes = self.exchange(query, stats).await.map_err(|error| self.unreachable(&error))?;
        match Reply::parse(bytes, id, &ask.question) {
            // Nothing can be too large for a stream.
            Ok(reply) if !reply.truncated => Ok(reply),
            _ => Err(Failure::Unreadable),
        }
    }

    /// Sends a query and waits for the answer; once more on a new connection if an old one turns out to be dead, which a
    /// server that has closed it cannot say in time, and at last on one that others do not share, since there are servers
    /// that answer one query on each.
    ///
    /// # Errors
    /// There is no connection, or it ended before the answer came.
    pub(super) async fn exchange(&self, query: Vec<u8>, stats: &Stats) -> io::Result<Vec<u8>> {
        // The semaphore is never closed, so acquiring only waits.
        let _place = self.places.acquire().await;
        if let Some((link, permit)) = self.open_link() {
            match self.exchange_on(&link, query.clone(), stats, permit).await {
                Err(error) => debug!(upstream = %self.upstream, %error, "connection was dead"),
                answered => return answered,
            }
        }
        let (link, permit) = self.new_link().await?;
        match self.exchange_on(&link, query.clone(), stats, permit).await {
            // HTTP says whether a connection is to be used again.
            Err(error) if !matches!(link.kind, Kind::Https(_)) => {
                debug!(upstream = %self.upstream, %error, "connection ended");
            }
            answered => return answered,
        }
        let link = Box::pin(self.connect()).await?;
        let permit = Arc::clone(&link.room).try_acquire_owned().map_err(io::Error::other)?;
        self.exchange_on(&link, query, stats, permit).await
    }

    async fn exchange_on(
        &self,
        link: &Link,
        query: Vec<u8>,
        stats: &Stats,
        _permit: OwnedSemaphorePermit,
    ) -> io::Result<Vec<u8>> {
        let _suspicion = Suspicion { streams: self, link, answers: link.answers.load(Ordering::Relaxed) };
        let answer = match &link.kind {
            Kind::Tcp(link) => {
                stats.upstream_tcp.increment();
                link.exchange(query).await?
            }
            Kind::Tls(link) => {
                stats.upstream_tls.increment();
                link.exchange(query).await?
            }
            Kind::Https(link) => {
                stats.upstream_https.increment();
                link.exchange(query).await?
            }
        };
        link.answers.fetch_add(1, Ordering::Relaxed);
        Ok(answer)
    }

    /// Lets no further question onto this connection.
    fn forget(&self, link: &Link) {
        self.links().retain(|other| !Arc::ptr_eq(&other.room, &link.room));
    }

    /// A connection that is there and has room.
    fn open_link(&self) -> Option<(Link, OwnedSemaphorePermit)> {
        let now = Instant::now();
        let mut links = self.links();
        links.retain(|link| link.is_alive(now));
        links.iter_mut().find_map(|link| {
            let permit = Arc::clone(&link.room).try_acquire_owned().ok()?;
            link.used = now;
            Some((link.clone(), permit))
        })
    }

    /// A connection that was opened just now, by us or by somebody who needed one too.
    async fn new_link(&self) -> io::Result<(Link, OwnedSemaphorePermit)> {
        let _turn = self.opening.lock().await;
        if let Some(opened) = self.open_link() {
            return Ok(opened);
        }
        let link = Box::pin(self.connect()).await?;
        let permit = Arc::clone(&link.room).try_acquire_owned().map_err(io::Error::other)?;
        let mut links = self.links();
        if links.len() >= MOST_LINKS {
            links.remove(0);
        }
        links.push(link.clone());
        Ok((link, permit))
    }

    /// Opens a connection, which takes kilobytes meanwhile.
    async fn connect(&self) -> io::Result<Link> {
        let stream = TcpStream::connect(self.upstream.address).await?;
        stream.set_nodelay(true)?;
        let kind = match &self.tls {
            Some(tls) => self.secured(tls.handshake(stream, &self.upstream).await?).await?,
            None => Kind::Tcp(StreamLink::new(stream)),
        };
        Ok(Link {
            kind,
            room: Arc::new(Semaphore::new(PIPELINE.into())),
            used: Instant::now(),
            answers: Arc::default(),
        })
    }

    /// What is spoken over a secret connection.
    async fn secured(&self, stream: TlsStream<TcpStream>) -> io::Result<Kind> {
        let Transport::Https { name, path } = &self.upstream.transport else {
            return Ok(Kind::Tls(StreamLink::new(stream)));
        };
        let authority = match name {
            Some(name) => format!("{name}:{}", self.upstream.address.port()),
            None => self.upstream.address.to_string(),
        };
        Ok(Kind::Https(HttpsLink::new(stream, &authority, path).await?))
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        debug!(upstream = %self.upstream, %error, "upstream unreachable");
        Failure::Unreachable
    }

    fn links(&self) -> MutexGuard<'_, Vec<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tls {
    fn new(upstream: &Upstream, trust: &Trust) -> Self {
        let (name, protocol): (_, &[u8]) = match &upstream.transport {
            Transport::Https { name, .. } => (name, b"h2"),
            Transport::Tls { name } => (name, b"dot"),
            Transport::Plain | Transport::Tcp => (&None, b"dot"),
        };
        let given = name.as_deref().and_then(|name| ServerName::try_from(name.to_owned()).ok());
        Self {
            name: given.unwrap_or_else(|| upstream.address.ip().into()),
            connector: trust.connector(protocol),
            complained: AtomicBool::new(false),
        }
    }

    async fn handshake(&self, stream: TcpStream, upstream: &Upstream) -> io::Result<TlsStream<TcpStream>> {
        let secured = self.connector.connect(self.name.clone(), stream).await;
        match &secured {
            Ok(_) => self.complained.store(false, Ordering::Relaxed),
            // An operator must mend this, and the other upstreams would hide it.
            Err(error) if trust::is_about_certificate(error) => {
                if !self.complained.swap(true, Ordering::Relaxed) {
                    warn!(%upstream, %error, "the upstream's certificate is not accepted");
                }
            }
            Err(_) => {}
        }
        secured
    }
}
