//! `GET /v1/trace`: packets as they come, before and after translation, one JSON object per line.

use std::convert::Infallible;
use std::time::{Duration, Instant, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use nat64_core::{Direction, DropReason, Protocol, Verdict};
use nat64_dataplane::{TapFilter, TapReader, Tapped};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::api::TracedPacket;
use super::filter;
use super::preview::hex;
use super::server::Api;
use crate::config::Transport;

/// How often the tap is looked at.
const PAUSE: Duration = Duration::from_millis(20);
/// How long nothing may be written, so that a reader that has gone away is noticed.
const SILENCE: Duration = Duration::from_secs(1);
/// How long a reader may take nothing. After that its trace ends, since there are few and each costs the workers time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines that go into one piece.
const PIECE: usize = 64;

/// Which packets are traced, and how much of each. The command line's options and the query of the API are the same.
#[derive(Clone, Debug, PartialEq, Eq, Args, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TraceFilter {
    /// Only packets with this address, or one of this range, before or after translation
    #[arg(long, value_name = "ADDRESS", value_parser = filter::range)]
    #[schemars(with = "Option<String>")]
    #[serde(deserialize_with = "filter::range_in_text", skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<IpNet>,
    /// Only packets with this port, or ICMP identifier, before or after translation
    #[arg(long, value_name = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// Only this protocol
    #[arg(long, value_name = "PROTOCOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<Transport>,
    /// Only packets from this side
    #[arg(long, value_name = "SIDE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Side>,
    /// Only packets that are dropped
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) drops: bool,
    /// Only packets that are dropped for this reason, such as no-mapping
    #[arg(long, value_name = "REASON", value_parser = reason)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Bytes of each packet that are kept, 2048 at the most
    #[arg(long, value_name = "BYTES", default_value_t = SNAP, value_parser = clap::value_parser!(u16).range(1..=2048))]
    pub(crate) snap: u16,
}

const SNAP: u16 = 256;

/// A side of the translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    /// Hosts behind the translator.
    Ipv6,
    /// IPv4 hosts.
    Ipv4,
}

impl Default for TraceFilter {
    fn default() -> Self {
        Self { address: None, port: None, protocol: None, from: None, drops: false, reason: None, snap: SNAP }
    }
}

impl TraceFilter {
    fn tap(&self) -> Result<TapFilter, String> {
        Ok(TapFilter {
            address: self.address,
            port: self.port,
            protocol: self.protocol.map(Protocol::from),
            direction: self.from.map(|side| match side {
                Side::Ipv6 => Direction::SixToFour,
                Side::Ipv4 => Direction::FourToSix,
            }),
            drops: self.drops,
            reason: self.reason.as_deref().map(by_name).transpose()?,
        })
    }
}

/// The path.
pub(super) fn router() -> axum::Router<Api> {
    axum::Router::new().route("/v1/trace", get(trace))
}

async fn trace(State(api): State<Api>, Query(wanted): Query<TraceFilter>) -> Response {
    let filter = match wanted.tap() {
        Ok(filter) => filter,
        Err(problem) => return (StatusCode::BAD_REQUEST, format!("{problem}\n")).into_response(),
    };
    let open = |dataplane: &nat64_dataplane::Dataplane| dataplane.tap(filter, wanted.snap.into());
    let reader = match api.view.translator.as_ref().and_then(|view| view.with_dataplane(open)) {
        None => return (StatusCode::NOT_FOUND, "the translator is off\n").into_response(),
        Some(Err(error)) => return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
        Some(Ok(reader)) => reader,
    };
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(pump(reader, sender));
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async {
        let piece: Bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(piece), receiver))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pieces)).into_response()
}

/// Hands packets on until the client has gone away.
async fn pump(reader: TapReader, sender: mpsc::Sender<Bytes>) {
    let (mut written, mut missed) = (Instant::now(), 0);
    loop {
        let mut piece = Vec::new();
        for _ in 0..PIECE {
            let Some(packet) = reader.next(|packet| described(packet, missed)) else { break };
            missed = reader.take_missed();
            piece.extend(line(&packet));
        }
        let is_idle = piece.is_empty();
        if is_idle && written.elapsed() >= SILENCE {
            piece.push(b'\n');
        }
        if !piece.is_empty() {
            written = Instant::now();
            if !hand_on(&sender, piece.into(), PATIENCE).await {
                return;
            }
        }
        if is_idle {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Hands a piece to the client. Returns whether it is still there, and reads.
async fn hand_on(sender: &mpsc::Sender<Bytes>, piece: Bytes, patience: Duration) -> bool {
    tokio::time::timeout(patience, sender.send(piece)).await.is_ok_and(|sent| sent.is_ok())
}

fn line(packet: &TracedPacket) -> Vec<u8> {
    // The type has no key that is not text.
    let mut line = serde_json::to_vec(packet).unwrap_or_default();
    line.push(b'\n');
    line
}

fn described(packet: &Tapped, missed: u64) -> TracedPacket {
    let at = packet.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (verdict, reason) = match packet.verdict {
        Verdict::Translated(_) => ("translated", None),
        Verdict::Hairpinned => ("hairpinned", None),
        Verdict::Held => ("held", None),
        Verdict::Refused(reason) => ("refused", Some(reason)),
        Verdict::Dropped(reason) => ("dropped", Some(reason)),
    };
    TracedPacket {
        at_nanos: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
        worker: packet.worker,
        verdict: verdict.to_owned(),
        reason: reason.map(|reason| reason.name().to_owned()),
        before: hex(&packet.before),
        before_len: packet.before_len,
        after: (packet.after_len > 0).then(|| hex(&packet.after)),
        after_len: packet.after_len,
        beside: packet.beside,
        missed,
    }
}

/// A name of a drop reason.
fn reason(name: &str) -> Result<String, String> {
    by_name(name).map(|reason| reason.name().to_owned())
}

fn by_name(name: &str) -> Result<DropReason, String> {
    let known = DropReason::ALL.iter().find(|reason| reason.name() == name);
    known.copied().ok_or_else(|| format!("`{name}` is no drop reason; nat64 explain lists them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_given_up_after_a_while_and_one_that_has_gone_at_once() {
        let (sender, mut receiver) = mpsc::channel(1);
        let piece = || Bytes::from_static(b"packet\n");
        assert!(hand_on(&sender, piece(), PATIENCE).await);

        let begun = tokio::time::Instant::now();
        assert!(!hand_on(&sender, piece(), PATIENCE).await);
        assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());

        receiver.recv().await.unwrap();
        assert!(hand_on(&sender, piece(), PATIENCE).await, "it reads again");
        drop(receiver);
        let begun = tokio::time::Instant::now();
        assert!(!hand_on(&sender, piece(), PATIENCE).await && begun.elapsed().is_zero());
    }
}
