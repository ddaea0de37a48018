//! Queries on a connection that carries messages with their lengths (RFC 1035 §4.2.2, RFC 7858 §3.3): framing and idle
//! timeout of `hickory-server`, queries of one connection answered side by side (RFC 7766 §6.2.1).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::StreamExt;
use hickory_server::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_server::net::tcp::TcpStream as DnsStream;
use hickory_server::net::xfer::DnsStreamHandle;
use hickory_server::proto::op::SerialMessage;
use hickory_server::server::TimeoutStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tracing::debug;

use super::accept::Serving;
use crate::policy::Origin;
use crate::service::Service;
use crate::wire::{ANSWER_BLOCK, Limit, Query, pad};

/// Queries of one connection under work at once, at most; further ones are not read.
pub(super) const PIPELINE: u16 = 32;

/// Answers the queries of one connection until it ends or says nothing for too long.
pub(super) async fn serve<S>(stream: S, client: SocketAddr, listener: SocketAddr, serving: &Serving) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
{
    let Serving { service, bounds, protocol } = serving;
    let origin = Origin { client: client.ip(), listener, protocol: *protocol };
    let stream = AsyncIoTokioAsStd(stream);
    let (stream, answers) = DnsStream::from_stream_with_buffer_size(stream, client, PIPELINE.into());
    let mut queries = TimeoutStream::new(stream, bounds.idle);
    let pipeline = Arc::new(Semaphore::new(PIPELINE.into()));
    // The semaphores are never closed, so acquiring only waits.
    loop {
        let query = match queries.next().await {
            Some(Ok(query)) => query.into_parts().0,
            // Idle, or no more to come; answers may be under way.
            Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut => break,
            None => break,
            Some(Err(error)) => return Err(error),
        };
        let Ok(place) = Arc::clone(&pipeline).acquire_owned().await else { break };
        let Ok(permit) = Arc::clone(&bounds.queries).acquire_owned().await else { break };
        let (service, mut answers) = (Arc::clone(service), answers.clone());
        tokio::spawn(async move {
            if let Some(answer) = answer(&service, &query, origin).await
                && let Err(error) = answers.send(SerialMessage::new(answer, client))
            {
                debug!(%client, %error, "cannot send answer");
            }
            drop((permit, place));
        });
    }
    // Wait for the last answers, then poll once more to have them written.
    let _all = pipeline.acquire_many(PIPELINE.into()).await;
    let _end = queries.next().await;
    Ok(())
}

/// The answer to a message, if it gets any; padded if the query was and nobody on the way can read either.
pub(super) async fn answer(service: &Service, message: &[u8], origin: Origin) -> Option<Vec<u8>> {
    match Query::parse(message) {
        // Since the connection was accepted, who is a client may have changed.
        Ok(query) if !service.permits(origin.client) => service.refusal(&query, Limit::Stream, origin),
        Ok(query) => {
            let mut bytes = Vec::new();
            if !service.ready(&query, origin, Limit::Stream, &mut bytes) {
                bytes = match service.share(origin) {
                    Some(_share) => service.answer(&query, Limit::Stream, origin).await,
                    None => service.over_share(&query, Limit::Stream, origin),
                };
            }
            if origin.protocol.is_encrypted() && query.edns.is_some_and(|edns| edns.is_padded) {
                pad(&mut bytes, ANSWER_BLOCK);
            }
            Some(bytes)
        }
        Err(fault) => service.fault(fault, origin),
    }
}
