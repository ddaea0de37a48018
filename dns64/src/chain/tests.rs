use std::sync::Mutex;

use hickory_proto::op::{Message as HickoryMessage, MessageType, OpCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{RData, Record};

use super::*;
use crate::wire::{Reply, code};

/// Answers from a list of aliases, one at a time, as an authority that knows nothing else would.
struct Aliases {
    next: fn(&str) -> Option<String>,
    asked: Mutex<usize>,
}

impl Lookup for Aliases {
    fn cached(&self, _: &Ask) -> Option<Known> {
        None
    }

    async fn look_up(&self, ask: &Ask, _: Instant) -> Result<Known, u16> {
        *self.asked.lock().unwrap() += 1;
        let name = ask.question.name().unwrap();
        let mut message = HickoryMessage::new(0, MessageType::Response, OpCode::Query);
        message.add_query(ask.question.to_hickory().unwrap());
        let data = match (self.next)(&name.to_ascii()) {
            Some(target) => RData::CNAME(CNAME(Name::from_ascii(target).unwrap())),
            None => RData::A("192.0.2.1".parse().unwrap()),
        };
        message.add_answer(Record::from_rdata(name, 60, data));
        let reply = Reply::parse(message.to_vec().unwrap(), 0, &ask.question).unwrap();
        Ok(Known::fresh(reply.into()))
    }
}

async fn followed(next: fn(&str) -> Option<String>) -> (usize, usize) {
    let aliases = Aliases { next, asked: Mutex::default() };
    let question = Question::new(&Name::from_ascii("0.").unwrap(), code::A).unwrap();
    let ask = Ask { question, recursion: true, checking_disabled: false, dnssec: false, only_known: false };
    let found = follow(&aliases, &ask, None, Instant::now()).await;
    let Outcome::Answered(answered) = found.outcome() else { panic!("no answer") };
    let asked = *aliases.asked.lock().unwrap();
    (answered.sections.answers.len(), asked)
}

fn number(name: &str) -> u32 {
    name.trim_end_matches('.').parse().unwrap()
}

#[tokio::test]
async fn a_chain_is_followed_to_its_address() {
    assert_eq!(followed(|name| (number(name) < 3).then(|| format!("{}.", number(name) + 1))).await, (4, 4));
}

#[tokio::test]
async fn a_ring_of_aliases_ends() {
    assert_eq!(followed(|name| Some(if number(name) == 0 { "1." } else { "0." }.to_owned())).await.1, 2);
}

#[tokio::test]
async fn an_endless_chain_ends_after_eight_steps() {
    assert_eq!(followed(|name| Some(format!("{}.", number(name) + 1))).await, (9, 9));
}
