//! The client's side of the control API.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// How long the daemon may take to begin its answer. It is silent while it starts.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to end what is told to end: with a reset to both ends a million sessions take more than [`PATIENCE`].
const PATIENCE_TO_END: Duration = Duration::from_secs(120);

/// What is done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// It is looked at.
    Get,
    /// It is told to do something.
    Post,
    /// It is removed.
    Delete,
}

impl From<Verb> for Method {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Get => Self::GET,
            Verb::Post => Self::POST,
            Verb::Delete => Self::DELETE,
        }
    }
}

/// Tells the daemon at `socket` to do what `path` says, and returns its answer.
///
/// # Errors
/// Nobody answers, or the answer is an error.
pub(crate) fn tell<T: DeserializeOwned>(socket: &Path, verb: Verb, path: &str) -> anyhow::Result<T> {
    let mut answer = Vec::new();
    send(socket, verb.into(), path, |piece| {
        answer.extend_from_slice(piece);
        Ok(true)
    })?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Asks the daemon at `socket` for `path`, and hands its answer to `take` piece by piece, in order.
///
/// `take` returns whether it wants more.
///
/// # Errors
/// Nobody answers, the answer is an error, or `take` fails.
pub(crate) fn ask(socket: &Path, path: &str, take: impl FnMut(&[u8]) -> anyhow::Result<bool>) -> anyhow::Result<()> {
    send(socket, Method::GET, path, take)
}

/// A path with a query, which is made of the parameters that have a value.
pub(crate) fn with_query(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let query: Vec<String> = given.map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

/// Everything but unreserved characters as percent codes (RFC 3986 §2.1, §2.3).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// As [`tell`], with a body.
pub(crate) fn tell_of<T: DeserializeOwned>(socket: &Path, path: &str, body: Vec<u8>) -> anyhow::Result<T> {
    let mut answer = Vec::new();
    send_with(socket, (Method::POST, path), body.into(), |piece| {
        answer.extend_from_slice(piece);
        Ok(true)
    })?;
    Ok(serde_json::from_slice(&answer)?)
}

fn send(
    socket: &Path,
    method: Method,
    path: &str,
    take: impl FnMut(&[u8]) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    send_with(socket, (method, path), Bytes::new(), take)
}

fn send_with(
    socket: &Path,
    (method, path): (Method, &str),
    body: Bytes,
    take: impl FnMut(&[u8]) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let patience = if method == Method::DELETE { PATIENCE_TO_END } else { PATIENCE };
        let asked = tokio::time::timeout(patience, request(socket, method, path, body)).await;
        let response = asked.with_context(|| {
            format!("nat64 at {} does not answer; it may be starting, or stuck", socket.display())
        })??;
        read(response, take).await
    })
}

async fn request(socket: &Path, method: Method, path: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
    let stream = UnixStream::connect(socket).await.with_context(|| {
        format!(
            "cannot reach nat64 at {}: is it running? `systemctl status nat64` or `nat64 run` tell more; --control-socket \
             names another socket",
            socket.display()
        )
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "localhost").body(Full::new(body))?;
    let response = sender.send_request(request).await;
    response.with_context(|| format!("nat64 at {} hung up; it may be stopping", socket.display()))
}

async fn read(
    mut response: Response<Incoming>,
    mut take: impl FnMut(&[u8]) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    if response.status() != StatusCode::OK {
        let status = response.status();
        let text = response.into_body().collect().await?.to_bytes();
        let said = String::from_utf8_lossy(&text);
        if said.trim().is_empty() {
            bail!("nat64 answers {status}; is it of another version than this program?");
        }
        // It is in words for whoever asked.
        bail!("{}", said.trim());
    }
    while let Some(frame) = response.frame().await {
        if let Some(data) = frame.context("nat64 hung up in the middle of its answer")?.data_ref()
            && !take(data)?
        {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_the_parameters_that_are_given_with_everything_special_encoded() {
        let parameters =
            [("name", Some("a b&c=ü.example".to_owned())), ("type", None), ("x", Some("64:ff9b::/96".to_owned()))];
        assert_eq!(with_query("/p", &parameters), "/p?name=a%20b%26c%3D%C3%BC.example&x=64%3Aff9b%3A%3A%2F96");
        assert_eq!(with_query("/p", &[("name", None)]), "/p");
    }
}
