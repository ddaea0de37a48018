//! One connection over HTTPS: a request for each question (RFC 8484), over HTTP/2.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What DNS messages are called in HTTP (RFC 8484 §6).
const MESSAGE: &str = "application/dns-message";

/// The longest DNS message, in bytes.
const LONGEST_MESSAGE: usize = 65535;

/// Header fields of one response at most, in bytes.
const LONGEST_HEAD: u32 = 16 * 1024;

/// A connection; it ends when the last copy is dropped.
#[derive(Clone)]
pub(super) struct HttpsLink {
    requests: SendRequest<Full<Bytes>>,
    uri: Uri,
}

impl HttpsLink {
    pub(super) async fn new(stream: TlsStream<TcpStream>, authority: &str, path: &str) -> io::Result<Self> {
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the server does not speak HTTP/2"));
        }
        let uri = Uri::builder().scheme("https").authority(authority).path_and_query(path).build();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).max_header_list_size(LONGEST_HEAD);
        let (requests, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self { requests, uri: uri.map_err(io::Error::other)? })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    /// The answer to a query.
    ///
    /// # Errors
    /// The connection ended before, or HTTP brought something else than an answer.
    pub(super) async fn exchange(&self, query: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut requests = self.requests.clone();
        requests.ready().await.map_err(io::Error::other)?;
        let request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, MESSAGE)
            .header(ACCEPT, MESSAGE)
            .body(Full::new(query.into()))
            .map_err(io::Error::other)?;
        let (head, body) = requests.send_request(request).await.map_err(io::Error::other)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(io::Error::other(format!("HTTP status {}", head.status)));
        }
        if head.headers.get(CONTENT_TYPE).is_none_or(|kind| kind != MESSAGE) {
            return Err(io::Error::other("the response is no DNS message"));
        }
        let body = Limited::new(body, LONGEST_MESSAGE).collect().await.map_err(io::Error::other)?;
        Ok(body.to_bytes().into())
    }
}
