//! Long listings, written piece by piece: memory stays bounded and no worker waits, however slow the reader is.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Bytes that a piece has, more or less.
const PIECE: usize = 64 << 10;

/// Pieces that wait for the reader.
const PIECES: usize = 2;

/// A JSON array of what `collect` finds, one entry per line.
///
/// `collect` appends some entries to the list that it is given and says whether there are more, in which case it is called
/// again; it is called on a thread that may wait.
pub(crate) fn respond<T, F>(permit: OwnedSemaphorePermit, mut collect: F) -> Response
where
    T: Serialize + Send + 'static,
    F: FnMut(&mut Vec<T>) -> bool + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut pieces = Pieces { sender, piece: Vec::with_capacity(2 * PIECE), is_first: true };
        let mut entries = Vec::new();
        let mut has_more = true;
        while has_more {
            has_more = collect(&mut entries);
            for entry in entries.drain(..) {
                if pieces.push(&entry).is_err() {
                    return;
                }
            }
        }
        pieces.finish();
    });
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async {
        let piece: Bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(piece), receiver))
    });
    ([(CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response()
}

struct Pieces {
    sender: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
    is_first: bool,
}

/// The reader has gone away.
struct Gone;

impl Pieces {
    fn push<T: Serialize>(&mut self, entry: &T) -> Result<(), Gone> {
        self.piece.extend_from_slice(if self.is_first { b"[\n" } else { b",\n" });
        self.is_first = false;
        // A Vec takes every byte, and the types have no key that is not text.
        serde_json::to_writer(&mut self.piece, entry).map_err(|_| Gone)?;
        if self.piece.len() < PIECE { Ok(()) } else { self.send() }
    }

    fn finish(mut self) {
        self.piece.extend_from_slice(if self.is_first { b"[]\n" } else { b"\n]\n" });
        let _ = self.send();
    }

    fn send(&mut self) -> Result<(), Gone> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(2 * PIECE));
        self.sender.blocking_send(piece.into()).map_err(|_| Gone)
    }
}
