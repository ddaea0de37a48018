//! Chains of aliases, followed to their end (RFC 6147 §5.1.5).
//!
//! A recursive upstream gives whole chains. One that knows only its own zones stops where a chain leaves them; the rest
//! is asked for here, so that synthesis always sees the end.

use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RecordType};
use tokio::time::Instant;

use crate::cache::Known;
use crate::synthesis::{Answered, Outcome};
use crate::wire::{Ask, Message, Question, Sections, rcode};

/// Further questions for one chain, at most.
const MOST_STEPS: usize = 8;

/// Where answers come from.
pub(crate) trait Lookup {
    /// The answer, if it is known.
    fn cached(&self, ask: &Ask) -> Option<Known>;

    /// The answer, asked for if need be; nothing if nobody answers before the deadline.
    async fn look_up(&self, ask: &Ask, deadline: Instant) -> Option<Known>;
}

/// What is known of a name and type once its chain is complete.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    outcome: Outcome,
    /// The answer as received, if it was complete by itself.
    whole: Option<Known>,
}

impl Found {
    pub(crate) const fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The answer as a client is told it; the received bytes if there was but one answer.
    pub(crate) fn into_message(self, question: &Question) -> Message {
        match (self.whole, self.outcome) {
            (Some(known), _) => Message::from_reply(&known.reply, known.age),
            (None, Outcome::Answered(answered)) => Message::from_sections(question, answered.rcode, answered.sections),
            (None, Outcome::Unanswered) => Message::empty(question, rcode::SERVER_FAILURE),
        }
    }
}

/// The answer to `ask`, beginning with `first` if that is known already.
pub(crate) async fn follow(lookup: &impl Lookup, ask: &Ask, first: Option<Known>, deadline: Instant) -> Found {
    let first = match first {
        Some(known) => Some(known),
        None => lookup.look_up(ask, deadline).await,
    };
    let Some(first) = first else { return Found { outcome: Outcome::Unanswered, whole: None } };
    let Some(mut answered) = decode(&first) else { return Found { outcome: Outcome::Unanswered, whole: None } };
    let mut whole = Some(first);
    let mut seen = Vec::new();
    while let Some(target) = open_end(&answered, ask) {
        if seen.len() == MOST_STEPS || seen.contains(&target) {
            break;
        }
        let Some(question) = Question::new(&target, ask.question.kind()) else { break };
        seen.push(target);
        whole = None;
        let next = lookup.look_up(&ask.about(question), deadline).await.and_then(|known| decode(&known));
        let Some(next) = next else { return Found { outcome: Outcome::Unanswered, whole: None } };
        answered = joined(answered, next);
    }
    Found { outcome: Outcome::Answered(answered), whole }
}

fn decode(known: &Known) -> Option<Answered> {
    let reply = &known.reply;
    Some(Answered {
        rcode: reply.rcode,
        ede: reply.ede,
        negative_ttl: reply.negative_ttl.map(|ttl| ttl.saturating_sub(known.age)),
        sections: Sections::decode(reply, known.age)?,
    })
}

/// Where a chain leads that the answer does not follow to its end.
fn open_end(answered: &Answered, ask: &Ask) -> Option<Name> {
    let kind = RecordType::from(ask.question.kind());
    let answers = &answered.sections.answers;
    let is_final = answered.rcode != rcode::NO_ERROR
        || answered.negative_ttl.is_some()
        || kind == RecordType::CNAME
        || kind == RecordType::ANY
        || answers.iter().any(|record| record.record_type() == kind);
    if is_final {
        return None;
    }
    let mut name = ask.question.name()?;
    let mut end = None;
    // Every record takes the walk one step at most, so a ring of aliases ends too.
    for _ in answers {
        let next = answers.iter().filter(|record| record.name == name).find_map(|record| record.try_borrow::<CNAME>());
        let Some(next) = next.map(|alias| alias.data().0.clone()) else { break };
        name = next.clone();
        end = Some(next);
    }
    end
}

fn joined(chain: Answered, rest: Answered) -> Answered {
    let mut answers = chain.sections.answers;
    answers.extend(rest.sections.answers);
    Answered { sections: Sections { answers, ..rest.sections }, ..rest }
}

#[cfg(test)]
mod tests;
