//! One connection over TCP or TLS: answers come in any order (RFC 7766 §7, RFC 7858 §3.3) and are told apart by ID.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{LONGEST_IDLE, PIPELINE};

/// Messages that answer nothing, after which the connection ends.
const MOST_MISMATCHES: usize = 100;

/// A connection, served by a task until it is idle, broken, or closed by the other side.
#[derive(Clone)]
pub(super) struct StreamLink {
    queries: mpsc::Sender<Question>,
}

/// A query and where its answer goes.
type Question = (Vec<u8>, oneshot::Sender<Vec<u8>>);

/// The ID that a query had before, and where its answer goes.
type Asker = ([u8; 2], oneshot::Sender<Vec<u8>>);

/// Who waits, by the ID on this connection.
#[derive(Default)]
struct Waiting(Mutex<HashMap<u16, Asker>>);

impl StreamLink {
    pub(super) fn new(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (queries, questions) = mpsc::channel(PIPELINE.into());
        tokio::spawn(serve(stream, questions));
        Self { queries }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.queries.is_closed()
    }

    /// The answer to a query.
    ///
    /// # Errors
    /// The connection ended before.
    pub(super) async fn exchange(&self, query: Vec<u8>) -> io::Result<Vec<u8>> {
        let (answer, answered) = oneshot::channel();
        let ended = || io::Error::from(io::ErrorKind::ConnectionAborted);
        self.queries.send((query, answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite, mut questions: mpsc::Receiver<Question>) {
    let waiting = Arc::<Waiting>::default();
    let (mut reader, mut writer) = split(stream);
    // Whoever still waits when either ends learns of it, since `waiting` goes with this task.
    tokio::select! {
        _ended = read(&mut reader, &waiting) => {}
        ended = write(&mut writer, &mut questions, &waiting) => {
            if ended.is_ok() {
                let _said = timeout(LONGEST_IDLE, writer.shutdown()).await;
            }
        }
    }
    // First nobody can ask any more, then those who wait learn that they wait in vain.
    drop(questions);
    drop(waiting);
}

async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    questions: &mut mpsc::Receiver<Question>,
    waiting: &Waiting,
) -> io::Result<()> {
    loop {
        let (mut query, answer) = match timeout(LONGEST_IDLE, questions.recv()).await {
            Ok(Some(question)) => question,
            Ok(None) => return Ok(()),
            Err(_) if waiting.is_empty() => return Ok(()),
            Err(_) => continue,
        };
        if !waiting.add(&mut query, answer) {
            continue;
        }
        // RFC 7766 §8: length and message in one write.
        let length = u16::try_from(query.len()).map_err(io::Error::other)?;
        writer.write_all(&[&length.to_be_bytes(), query.as_slice()].concat()).await?;
        writer.flush().await?;
    }
}

async fn read(reader: &mut (impl AsyncRead + Unpin), waiting: &Waiting) -> io::Result<()> {
    let mut mismatches = 0;
    while mismatches < MOST_MISMATCHES {
        let length = reader.read_u16().await?;
        let mut answer = vec![0; length.into()];
        reader.read_exact(&mut answer).await?;
        if !waiting.answer(answer) {
            mismatches += 1;
        }
    }
    Ok(())
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Gives a query an ID that no other has here. Nothing is to be sent if nobody waits for its answer any more.
    fn add(&self, query: &mut [u8], answer: oneshot::Sender<Vec<u8>>) -> bool {
        let mut waiting = self.lock();
        waiting.retain(|_, (_, answer)| !answer.is_closed());
        let Some(id) = query.first_chunk_mut::<2>() else { return false };
        // At most as many wait as have a place, so a free ID is found soon.
        let free = loop {
            let candidate = rand::random();
            if !waiting.contains_key(&candidate) {
                break candidate;
            }
        };
        waiting.insert(free, (*id, answer));
        *id = free.to_be_bytes();
        true
    }

    /// Hands an answer to who waits for it; false if nobody does.
    fn answer(&self, mut answer: Vec<u8>) -> bool {
        let Some(id) = answer.first_chunk_mut::<2>() else { return false };
        let Some((original, waiting)) = self.lock().remove(&u16::from_be_bytes(*id)) else { return false };
        *id = original;
        waiting.send(answer).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u16, Asker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
