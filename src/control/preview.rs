//! `POST /v1/explain`: what would become of a packet.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use nat64_core::event::{Event, EventKind};
use nat64_core::{DropReason, Preview, Verdict};

use super::api::{self, PacketPreview, Share};
use super::server::{Api, mapping, session};
use crate::decode;

/// The longest packet there is.
const LONGEST: usize = 65_575;

/// The path.
pub(super) fn router() -> axum::Router<Api> {
    axum::Router::new().route("/v1/explain", post(explain)).layer(DefaultBodyLimit::max(LONGEST))
}

async fn explain(State(api): State<Api>, packet: Bytes) -> Response {
    let told = tokio::task::spawn_blocking(move || {
        let view = api.view.translator.as_ref()?;
        let now = view.now();
        let preview = view.translator.preview(now, &packet);
        Some(preview.map(|preview| described(&packet, &preview, now)))
    });
    match told.await {
        Ok(Some(Ok(told))) => Json(told).into_response(),
        Ok(Some(Err(error))) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, "the translator is off\n").into_response(),
        Err(panic) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{panic}\n")).into_response(),
    }
}

fn described(packet: &[u8], preview: &Preview, now: nat64_core::Timestamp) -> PacketPreview {
    let reason = reason(preview.verdict);
    PacketPreview {
        packet: decode::line(packet),
        verdict: verdict(preview.verdict).to_owned(),
        reason: reason.map(|reason| reason.name().to_owned()),
        meaning: reason.map(|reason| reason.meaning().to_owned()),
        remedy: reason.map(|reason| reason.remedy().to_owned()),
        result: preview.packet.as_deref().map(decode::line),
        result_bytes: preview.packet.as_deref().map(hex),
        others: preview.others.iter().map(|packet| decode::line(packet)).collect(),
        prefix: preview.prefix.map(|prefix| prefix.to_string()),
        subscriber: preview.subscriber,
        exclusion: preview.exclusion.as_ref().map(|(place, _)| place + 1),
        pool_rule: preview.pool_rule,
        mapping: preview.mapping.as_ref().map(|info| mapping(info, now)),
        session: preview.session.as_ref().map(|info| session(info, now)),
        would_create: preview.events.iter().filter_map(created).collect(),
        candidates: preview.candidates.clone(),
        share: preview.share.map(|share| Share {
            address: share.address,
            first_port: share.first_port,
            last_port: share.last_port,
        }),
    }
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Translated(_) => "translated",
        Verdict::Hairpinned => "hairpinned",
        Verdict::Held => "held",
        Verdict::Refused(_) => "refused",
        Verdict::Dropped(_) => "dropped",
    }
}

const fn reason(verdict: Verdict) -> Option<DropReason> {
    match verdict {
        Verdict::Refused(reason) | Verdict::Dropped(reason) => Some(reason),
        Verdict::Translated(_) | Verdict::Hairpinned | Verdict::Held => None,
    }
}

fn created(event: &Event) -> Option<api::Created> {
    let what = match event.kind {
        EventKind::MappingCreated => "mapping",
        EventKind::SessionCreated => "session",
        EventKind::BlockAllocated { .. } => "block",
        EventKind::MappingRemoved
        | EventKind::SessionEnded { .. }
        | EventKind::BlockReleased { .. }
        | EventKind::Refused(_) => return None,
    };
    Some(api::Created {
        what: what.to_owned(),
        internal: event.internal.into(),
        external: event.external.into(),
        remote: event.remote.map(Into::into),
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
