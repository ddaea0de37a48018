//! Answers that took time: those of one moment are sent together.

use std::mem;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::SockaddrStorage;
use tokio::task;

use super::socket::{Path, Socket, Source};
use crate::segments;

/// Answers that wait for others of the same moment.
#[derive(Debug, Default)]
pub(super) struct Late(Mutex<Vec<Answer>>);

type Answer = (Path, Vec<u8>);

impl Late {
    /// Sends an answer and those that have come meanwhile, without waiting for the network; `failed` is told of each that
    /// could not be sent.
    pub(super) async fn send(&self, answer: Vec<u8>, path: Path, socket: &Socket, failed: impl Fn(&[u8], Path, Errno)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((path, answer));
        task::yield_now().await;
        let mut answers = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        send_all(&mut answers, socket, &failed);
    }
}

fn send_all(answers: &mut [Answer], socket: &Socket, failed: &impl Fn(&[u8], Path, Errno)) {
    answers.sort_unstable_by_key(|(path, answer)| (*path, answer.len()));
    let groups = answers.chunk_by(|one, other| one.0 == other.0 && one.1.len() == other.1.len());
    for group in groups.flat_map(|group| group.chunks(segments::MOST)) {
        if send_segments(group, socket) {
            continue;
        }
        for (path, answer) in group {
            if let Err(error) = socket.send(answer, *path) {
                failed(answer, *path, error);
            }
        }
    }
}

fn send_segments(group: &[Answer], socket: &Socket) -> bool {
    let [(path, first), _, ..] = group else { return false };
    let source = socket.source(path.local);
    let control = source.as_ref().map(Source::message);
    let to = SockaddrStorage::from(path.client);
    let datagrams = group.iter().map(|(_, answer)| answer.as_slice());
    socket.segments().send(socket, datagrams, first.len(), control, Some(&to)).is_ok()
}
