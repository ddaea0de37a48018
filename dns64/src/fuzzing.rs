//! The way of any bytes through the reading and writing of messages, for the fuzz target `dns_message` and for the test
//! that replays its corpus.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::Instant;

use crate::cache::Known;
use crate::chain::{Lookup, follow};
use crate::wire::{Ask, Extras, Fault, Limit, Message, Query, Reply, flag, truncate};

/// Bytes of a header.
const HEADER: usize = 12;

/// Takes bytes as a client's query and as an upstream's answer.
///
/// # Panics
/// If what is made of them is wrong.
pub fn message(bytes: &[u8]) {
    match Query::parse(bytes) {
        Ok(query) => check_answer(
            bytes,
            &Message::empty(&query.ask().question, 0).finish(&query, Limit::Datagram, &Extras::default()).0,
        ),
        Err(Fault::Answer(answer)) => check_answer(bytes, &answer),
        Err(Fault::Ignore) => {}
    }
    if let Some(query) = question_of(bytes)
        && let Ok(query) = Query::parse(&query)
    {
        answer(bytes, &query);
    }
}

/// The query that these bytes would be an answer to.
fn question_of(answer: &[u8]) -> Option<Vec<u8>> {
    let mut query = answer.to_vec();
    query.get_mut(2..4)?.fill(0);
    query.get_mut(6..HEADER)?.fill(0);
    Some(query)
}

fn answer(bytes: &[u8], query: &Query<'_>) {
    let ask = query.ask();
    let Ok(reply) = Reply::parse(bytes.to_vec(), query.id, &ask.question) else { return };
    let restored = Reply::restore(reply.message(), reply.extended());
    assert_eq!(format!("{restored:?}"), format!("{:?}", Some(&reply)));
    let reply = Arc::new(reply);
    let known = Known { age: 5, ..Known::fresh(Arc::clone(&reply)) };
    for limit in [Limit::Datagram, Limit::Stream] {
        let (answer, truncated) = Message::from_known(&known).finish(query, limit, &Extras::default());
        check_answer(bytes, &answer);
        assert!(answer.len() <= query.largest_answer(limit, crate::wire::EDNS_PAYLOAD), "{} bytes", answer.len());
        assert!(limit == Limit::Datagram || !truncated || answer.len() < reply.message().len());
    }
    let echo = Echo(reply);
    let found = follow(&echo, &ask, None, Instant::now()).now_or_never();
    if let Some(found) = found {
        let (answer, _) = found.into_message(&ask.question).finish(query, Limit::Stream, &Extras::default());
        check_answer(bytes, &answer);
    }
}

/// What must be true of an answer to a message that began with `bytes`.
fn check_answer(bytes: &[u8], answer: &[u8]) {
    assert!(answer.len() >= HEADER && answer[..2] == bytes[..2], "{answer:02x?}");
    let flags = u16::from_be_bytes([answer[2], answer[3]]);
    assert!(flags & flag::QR != 0, "{answer:02x?}");
    let short = truncate(answer);
    assert!(short.len() <= answer.len().max(HEADER), "{short:02x?}");
}

/// An upstream that says the same to everything.
struct Echo(Arc<Reply>);

impl Lookup for Echo {
    fn cached(&self, _: &Ask) -> Option<Known> {
        None
    }

    async fn look_up(&self, _: &Ask, _: Instant) -> Result<Known, u16> {
        std::future::ready(Ok::<_, Infallible>(Known::fresh(Arc::clone(&self.0)))).await.map_err(|never| match never {})
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn everything_that_fuzzing_has_found_goes_through() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/dns_message");
        let mut inputs = 0;
        for entry in std::fs::read_dir(&corpus).unwrap() {
            super::message(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "no corpus in {}", corpus.display());
    }
}
