//! AAAA records beside the answers to questions for services (RFC 9460 §4), whose hints and records stay as they are.

use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::rr::{Name, Record};
use tokio::time::{Instant, timeout_at};

use super::{Service, unproven};
use crate::cache::Known;
use crate::policy::{Policy, View};
use crate::synthesis::{Decision, Judgement, Terms, a_address, aaaa_address, decide, judge};
use crate::wire::{Ask, Message, Question, Sections, code};

/// Names beside one answer that are looked at, at most.
const MOST: usize = 4;

/// How long the answer is held back at most: its client does without these records if need be, and asks for them itself.
const PATIENCE: Duration = Duration::from_millis(100);

impl Service {
    /// What an upstream says of a service; if it says which IPv4 addresses a name has that the service is at, and nothing of
    /// IPv6, with what a question for the AAAA records of that name would be told.
    pub(super) async fn with_addresses(&self, policy: &Policy, view: &View, ask: &Ask, known: &Known) -> Message {
        let additionals = Sections::decode(known.reply.message()).map(|sections| sections.additionals);
        let found = self.beside(policy, view, ask, &additionals.unwrap_or_default()).await;
        let records: Vec<Record> = found.into_iter().flat_map(|(_, records)| records).collect();
        Message::from_known(known).beside(&records)
    }

    /// The names that these additional records have A records of and no AAAA records, with what is added for each.
    pub(super) async fn beside(
        &self,
        policy: &Policy,
        view: &View,
        ask: &Ask,
        additionals: &[Record],
    ) -> Vec<(Name, Vec<Record>)> {
        let by = Instant::now() + PATIENCE;
        join_all(names_without_aaaa(additionals).into_iter().map(async |name| {
            let records = timeout_at(by, self.synthetic(policy, view, ask, &name, by)).await;
            (name, records.unwrap_or_default())
        }))
        .await
    }

    /// The synthetic records that a question for the AAAA records of this name would be answered with.
    async fn synthetic(&self, policy: &Policy, view: &View, ask: &Ask, name: &Name, deadline: Instant) -> Vec<Record> {
        let Some(question) = Question::new(name, code::AAAA).filter(|question| !question.is_under_arpa()) else {
            return Vec::new();
        };
        let terms = Terms { view, treatment: policy.treatment(question.name_bytes()) };
        if !terms.synthesises() {
            return Vec::new();
        }
        let ask = ask.about(question);
        let aaaa = self.addresses(&ask, None, deadline).await;
        if judge(terms, aaaa.outcome()) != Judgement::Empty {
            return Vec::new();
        }
        let a = self.addresses(&ask.about(ask.question.with_kind(code::A)), None, deadline).await;
        let is_unproven = a.is_secure() && unproven(aaaa.outcome()).is_some();
        let Decision::Synthesised(Sections { mut answers, .. }) = decide(terms, aaaa.outcome(), a.outcome()) else {
            return Vec::new();
        };
        // Records of an alias of it belong to another name.
        answers.retain(|record| !is_unproven && record.name == *name && aaaa_address(record).is_some());
        answers
    }
}

/// The names that additional records have A records of and no AAAA records.
fn names_without_aaaa(additionals: &[Record]) -> Vec<Name> {
    let has_aaaa = |name: &Name| additionals.iter().any(|one| one.name == *name && aaaa_address(one).is_some());
    let mut names: Vec<Name> = Vec::new();
    for record in additionals.iter().filter(|record| a_address(record).is_some()) {
        if names.len() < MOST && !names.contains(&record.name) && !has_aaaa(&record.name) {
            names.push(record.name.clone());
        }
    }
    names
}
