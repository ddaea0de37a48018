//! The DNS over HTTPS front (RFC 8484), HTTP/2 and HTTP/1.1.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::accept::{Serving, accept};
use super::stream::{self, PIPELINE};
use super::{Bounds, tls};
use crate::error::Protocol;
use crate::policy::Origin;
use crate::service::Service;
use crate::stats::Stats;
use crate::wire::freshness;

/// What DNS messages are called in HTTP (RFC 8484 §6).
const MESSAGE: &str = "application/dns-message";

/// The longest DNS message, in bytes.
const LONGEST_MESSAGE: usize = 65535;

/// Header fields of one request at most, in bytes; a query in the path needs less than 1 KiB.
const LONGEST_HEAD: u32 = 16 * 1024;

/// What clients may send without being read, in bytes: of one request, and of a connection. Queries are short.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;

/// One listening socket.
pub(crate) struct HttpsFront {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    path: Arc<str>,
}

impl HttpsFront {
    pub(crate) fn new(listener: std::net::TcpListener, config: Arc<ServerConfig>, path: &str) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::from_std(listener)?, acceptor: config.into(), path: path.into() })
    }

    /// Takes connections for as long as it is polled.
    pub(crate) async fn run(self, service: Arc<Service>, bounds: Bounds, stats: Arc<Stats>) {
        let (serving, acceptor, path) =
            (Serving { service, bounds, protocol: Protocol::Https }, self.acceptor, self.path);
        accept(self.listener, serving, stats, |connection, client, serving| {
            serve(connection, client, acceptor.clone(), Arc::clone(&path), serving)
        })
        .await;
    }
}

/// One connection.
struct Session {
    serving: Serving,
    path: Arc<str>,
    origin: Origin,
    activity: Activity,
}

async fn serve(
    connection: TcpStream,
    client: SocketAddr,
    acceptor: TlsAcceptor,
    path: Arc<str>,
    serving: Serving,
) -> io::Result<()> {
    let origin = Origin { client: client.ip(), listener: connection.local_addr()?, protocol: serving.protocol };
    let idle = serving.bounds.idle;
    let secured = tls::handshake(connection, &acceptor, idle).await?;
    let is_http2 = secured.get_ref().1.alpn_protocol() == Some(b"h2");
    let session = Arc::new(Session { serving, path, origin, activity: Activity::default() });
    let answering = Arc::clone(&session);
    let respond = service_fn(move |request| {
        let session = Arc::clone(&answering);
        async move { Ok::<_, Infallible>(session.respond(request).await) }
    });
    let secured = TokioIo::new(secured);
    // Both kinds of connection end alike, but are of different types.
    macro_rules! until_idle {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            tokio::select! {
                ended = connection.as_mut() => return ended.map_err(io::Error::other),
                () = session.activity.idle(idle) => {}
            }
            connection.as_mut().graceful_shutdown();
            timeout(idle, connection).await?.map_err(io::Error::other)
        }};
    }
    if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).max_concurrent_streams(u32::from(PIPELINE)).max_header_list_size(LONGEST_HEAD);
        builder.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        until_idle!(builder.serve_connection(secured, respond))
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(LONGEST_HEAD as usize);
        until_idle!(builder.serve_connection(secured, respond))
    }
}

/// What is going on in a connection.
#[derive(Debug)]
struct Activity(Mutex<(usize, Instant)>);

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new((0, Instant::now())))
    }
}

/// A request under way, which is over when this is dropped: answered, or given up by the client.
struct Open<'a>(&'a Activity);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.note(-1);
    }
}

impl Activity {
    /// Notes that a request begins.
    fn begin(&self) -> Open<'_> {
        self.note(1);
        Open(self)
    }

    /// Notes that a request begins or has ended.
    fn note(&self, change: isize) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (state.0.saturating_add_signed(change), Instant::now());
    }

    /// Waits until there was no request for so long.
    async fn idle(&self, limit: Duration) {
        loop {
            let (open, last) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if open == 0 && last + limit <= now {
                return;
            }
            sleep_until(if open == 0 { last + limit } else { now + limit }).await;
        }
    }
}

impl Session {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let _open = self.activity.begin();
        match self.query(request).await {
            Ok(query) => self.answer(&query).await,
            Err(status) => refusal(status),
        }
    }

    /// The DNS message that a request carries (RFC 8484 §4.1).
    async fn query(&self, request: Request<Incoming>) -> Result<Vec<u8>, StatusCode> {
        if request.uri().path() != &*self.path {
            return Err(StatusCode::NOT_FOUND);
        }
        match *request.method() {
            Method::GET => from_uri(request.uri().query().unwrap_or_default()).ok_or(StatusCode::BAD_REQUEST),
            Method::POST if request.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != MESSAGE) => {
                Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            Method::POST => {
                let body = Limited::new(request.into_body(), LONGEST_MESSAGE).collect();
                match timeout(self.serving.bounds.idle, body).await {
                    Ok(Ok(body)) => Ok(body.to_bytes().into()),
                    Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
                    Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
                }
            }
            _ => Err(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    async fn answer(&self, query: &[u8]) -> Response<Full<Bytes>> {
        // The semaphore is never closed, so acquiring only waits.
        let _permit = self.serving.bounds.queries.acquire().await;
        let Some(answer) = stream::answer(&self.serving.service, query, self.origin).await else {
            return refusal(StatusCode::BAD_REQUEST);
        };
        let mut response = Response::builder().header(CONTENT_TYPE, MESSAGE);
        // RFC 8484 §5.1: HTTP must not keep it longer than DNS allows.
        response = response.header(CACHE_CONTROL, format!("max-age={}", freshness(&answer)));
        response.body(Full::new(answer.into())).unwrap_or_else(|_| refusal(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

/// The message in `dns=…` (RFC 8484 §6).
fn from_uri(query: &str) -> Option<Vec<u8>> {
    let text = query.split('&').find_map(|pair| pair.strip_prefix("dns="))?;
    BASE64URL_NOPAD.decode(text.as_bytes()).ok().filter(|message| message.len() <= LONGEST_MESSAGE)
}

fn refusal(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, POST"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_in_a_uri_is_base64url_without_padding() {
        assert_eq!(from_uri("dns=AAEC_w"), Some(vec![0, 1, 2, 255]));
        assert_eq!(from_uri("ct=x&dns=AAEC"), Some(vec![0, 1, 2]));
        for wrong in ["", "dns", "dns=AAEC_w==", "dns=AAEC+w", "dns=A", "xdns=AAEC"] {
            assert_eq!(from_uri(wrong), None, "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_without_requests() {
        let (activity, limit, start) = (Activity::default(), Duration::from_secs(10), Instant::now());
        let open = activity.begin();
        let busy = timeout(Duration::from_secs(60), activity.idle(limit)).await;
        assert!(busy.is_err());
        drop(open);
        activity.idle(limit).await;
        assert!(start.elapsed() >= Duration::from_secs(70));
    }
}
