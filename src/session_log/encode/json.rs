//! A JSON object for each record, in the words of the control API.

use std::net::{Ipv4Addr, Ipv6Addr};

use nat64_core::event::{EndReason, EventKind};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Says;
use crate::control::api::{Endpoint, Traffic};
use crate::session_log::record::Record;

/// A record as it is written. What an event does not have is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) struct Line {
    /// When it happened, UTC (RFC 3339).
    pub(crate) time: String,
    /// `session-created`, `session-ended`, `mapping-created`, `mapping-removed`, `block-allocated`, `block-released` or
    /// `refused`.
    pub(crate) event: String,
    /// `tcp`, `udp` or `icmp`; blocks are of all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) protocol: Option<String>,
    /// The host inside; for a block, its subscriber's prefix with port 0.
    pub(crate) internal: Endpoint<Ipv6Addr>,
    /// The pool address and port; for a block, its first port.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) external: Option<Endpoint<Ipv4Addr>>,
    /// The last port of a block.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) last_port: Option<u16>,
    /// The other end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) remote: Option<Endpoint<Ipv4Addr>>,
    /// The other end's address as the host inside sees it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) remote6: Option<Ipv6Addr>,
    /// The name that the host inside was told that address for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) name: Option<String>,
    /// When a session that ended, or a mapping that was removed, began, UTC (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) began: Option<String>,
    /// Why a session ended (`timeout`, `removed`), or the drop reason of a refusal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) reason: Option<String>,
    /// From inside to outside, for a session that ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) outbound: Option<Traffic>,
    /// From outside to inside.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) inbound: Option<Traffic>,
}

impl Line {
    /// The record as it is written.
    pub(crate) fn new(record: &Record, says: Says) -> Self {
        let event = &record.event;
        let remote = event.remote.filter(|_| says.destinations);
        let mut line = Self {
            time: rfc3339(record.at),
            event: name(event.kind).to_owned(),
            protocol: Some(event.protocol.name().to_owned()),
            internal: event.internal.into(),
            external: (!event.external.0.is_unspecified()).then(|| event.external.into()),
            last_port: None,
            remote: remote.map(Endpoint::from),
            remote6: record.remote6.filter(|_| remote.is_some()),
            name: record.name.as_deref().filter(|_| says.names && remote.is_some()).map(str::to_owned),
            began: None,
            reason: None,
            outbound: None,
            inbound: None,
        };
        match event.kind {
            EventKind::SessionEnded { reason, outbound, inbound } => {
                line.began = Some(rfc3339(record.began_at()));
                line.reason = Some(end_reason(reason).to_owned());
                line.outbound = Some(outbound.into());
                line.inbound = Some(inbound.into());
            }
            EventKind::BlockAllocated { last_port } | EventKind::BlockReleased { last_port } => {
                line.protocol = None;
                line.last_port = Some(last_port);
            }
            EventKind::Refused(reason) => line.reason = Some(reason.name().to_owned()),
            EventKind::MappingRemoved => line.began = Some(rfc3339(record.began_at())),
            EventKind::SessionCreated | EventKind::MappingCreated => {}
        }
        line
    }
}

/// Appends the object, without a line feed.
pub(super) fn write(record: &Record, says: Says, text: &mut Vec<u8>) {
    // A Vec takes every byte, and the type has no key that is not text.
    let _ = serde_json::to_writer(text, &Line::new(record, says));
}

/// The name of an event in logs.
pub(super) const fn name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::SessionCreated => "session-created",
        EventKind::SessionEnded { .. } => "session-ended",
        EventKind::MappingCreated => "mapping-created",
        EventKind::MappingRemoved => "mapping-removed",
        EventKind::BlockAllocated { .. } => "block-allocated",
        EventKind::BlockReleased { .. } => "block-released",
        EventKind::Refused(_) => "refused",
    }
}

pub(super) const fn end_reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Timeout => "timeout",
        EndReason::Removed => "removed",
        EndReason::Closed => "closed",
    }
}

/// Milliseconds since 1970 as RFC 3339 has them, UTC.
pub(super) fn rfc3339(millis: u64) -> String {
    let nanos = i128::from(millis) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    // The years that four digits do not hold are far off.
    time.format(&Rfc3339).unwrap_or_default()
}
