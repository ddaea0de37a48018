//! The client's side of the control API.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// How long the daemon may take to begin its answer. It is silent while it starts.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the daemon at `socket` for `path`, and hands its answer to `take` piece by piece, in order.
///
/// `take` returns whether it wants more.
///
/// # Errors
/// Nobody answers, the answer is an error, or `take` fails.
pub(crate) fn ask(socket: &Path, path: &str, take: impl FnMut(&[u8]) -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asked = tokio::time::timeout(PATIENCE, request(socket, path)).await;
        let response = asked.with_context(|| {
            format!("nat64 at {} does not answer; it may be starting, or stuck", socket.display())
        })??;
        read(response, take).await
    })
}

async fn request(socket: &Path, path: &str) -> anyhow::Result<Response<Incoming>> {
    let stream = UnixStream::connect(socket).await.with_context(|| {
        format!(
            "cannot reach nat64 at {}: is it running? `systemctl status nat64` or `nat64 run` tell more; --control-socket \
             names another socket",
            socket.display()
        )
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new())?;
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
        bail!("nat64 answers {status}: {}", String::from_utf8_lossy(&text).trim());
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
