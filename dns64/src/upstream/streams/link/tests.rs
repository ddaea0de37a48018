use std::collections::HashSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::future::join_all;
use tokio::io::{DuplexStream, ReadBuf, duplex};

use super::*;

/// A query with this ID.
fn query(id: u16) -> Vec<u8> {
    [id.to_be_bytes(), [1, 0]].concat()
}

async fn received(peer: &mut DuplexStream) -> Vec<u8> {
    let length = peer.read_u16().await.unwrap();
    let mut message = vec![0; length.into()];
    peer.read_exact(&mut message).await.unwrap();
    message
}

async fn send(peer: &mut DuplexStream, message: &[u8]) {
    peer.write_u16(message.len().try_into().unwrap()).await.unwrap();
    peer.write_all(message).await.unwrap();
}

#[tokio::test]
async fn questions_go_out_without_waiting_with_ids_of_their_own_and_answers_come_in_any_order() {
    let (ours, mut peer) = duplex(1 << 16);
    let link = StreamLink::new(ours);
    // All have the same ID, as a cache between would give them.
    let asked = join_all((0..PIPELINE).map(|number| {
        let (link, query) = (link.clone(), [query(7), number.to_be_bytes().to_vec()].concat());
        async move { link.exchange(query).await.unwrap() }
    }));
    let answered = async {
        let mut all = Vec::new();
        for _ in 0..PIPELINE {
            all.push(received(&mut peer).await);
        }
        let ids: HashSet<_> = all.iter().map(|query| [query[0], query[1]]).collect();
        assert_eq!(ids.len(), usize::from(PIPELINE));
        for query in all.iter().rev() {
            send(&mut peer, query).await;
        }
        peer
    };
    let (answers, _peer) = tokio::join!(asked, answered);
    for (number, answer) in (0..PIPELINE).zip(answers) {
        assert_eq!(answer, [query(7), number.to_be_bytes().to_vec()].concat());
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    tokio::time::pause();
    let (ours, mut peer) = duplex(1 << 16);
    let link = StreamLink::new(ours);
    let answered = async {
        let query = received(&mut peer).await;
        send(&mut peer, &query).await;
        // The end.
        assert!(peer.read_u16().await.is_err());
    };
    let (answer, ()) = tokio::join!(link.exchange(query(1)), answered);
    assert_eq!(answer.unwrap(), query(1));
    assert!(!link.is_open());
}

/// Counts what is written at once.
struct Counting(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counting {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[tokio::test]
async fn length_and_message_are_written_at_once() {
    let (ours, mut peer) = duplex(1 << 16);
    let writes = Arc::<AtomicUsize>::default();
    let link = StreamLink::new(Counting(ours, Arc::clone(&writes)));
    let answered = async {
        let query = received(&mut peer).await;
        send(&mut peer, &query).await;
    };
    let (answer, ()) = tokio::join!(link.exchange(query(1)), answered);
    assert!(answer.is_ok());
    assert_eq!(writes.load(Ordering::Relaxed), 1);
}
