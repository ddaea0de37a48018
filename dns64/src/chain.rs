//! Chains of aliases, followed to their end (RFC 6147 §5.1.5).
//!
//! A recursive upstream gives whole chains. One that knows only its own zones stops where a chain leaves them; the rest
//! is asked for here, so that synthesis always sees the end.

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::time::Instant;

use crate::cache::Known;
use crate::synthesis::{Answered, Outcome};
use crate::wire::{Ask, Message, Question, Sections, ede, rcode};

/// Further questions for one chain, at most.
const MOST_STEPS: usize = 8;

/// Where answers come from.
pub(crate) trait Lookup {
    /// The answer, if it is known.
    fn cached(&self, ask: &Ask) -> Option<Known>;

    /// The answer, asked for if need be.
    ///
    /// # Errors
    /// Nobody answers before the deadline; the extended error says why.
    async fn look_up(&self, ask: &Ask, deadline: Instant) -> Result<Known, u16>;
}

/// What is known of a name and type once its chain is complete.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    outcome: Outcome,
    /// The answer as received, if it was complete by itself.
    whole: Option<Known>,
    /// How long all of it may be told again, in seconds.
    left: u32,
    /// Whether we have validated all of it.
    secure: bool,
}

impl Found {
    const fn unanswered(ede: u16) -> Self {
        Self { outcome: Outcome::Unanswered(ede), whole: None, left: 0, secure: false }
    }

    /// How long this may be told again without looking, in seconds.
    pub(crate) const fn left(&self) -> u32 {
        self.left
    }

    /// Whether we have validated all of it ourselves (RFC 4035 §5).
    pub(crate) const fn is_secure(&self) -> bool {
        self.secure
    }

    pub(crate) const fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The same without addresses of other names than the one that the chain ends at, which nobody asked for; what was
    /// received stays as it is.
    pub(crate) fn of_name(mut self, question: &Question) -> Self {
        if let (Outcome::Answered(answered), Some(name)) = (&mut self.outcome, question.name()) {
            let answers = &mut answered.sections.answers;
            let end = end_of_chain(&name, answers).clone();
            answers.retain(|record| record.name == end || !matches!(record.data, RData::A(_) | RData::AAAA(_)));
        }
        self
    }

    /// The answer as a client is told it; the received bytes if there was but one answer.
    pub(crate) fn into_message(self, question: &Question) -> Message {
        match (self.whole, self.outcome) {
            (Some(known), _) => Message::from_known(&known),
            (None, Outcome::Answered(answered)) => {
                Message::from_sections(question, answered.rcode, answered.sections).with_errors(answered.errors)
            }
            (None, Outcome::Unanswered(ede)) => Message::empty(question, rcode::SERVER_FAILURE).with_ede(ede),
        }
    }
}

/// The answer to `ask`, beginning with `first` if that is known already.
pub(crate) async fn follow(lookup: &impl Lookup, ask: &Ask, first: Option<Known>, deadline: Instant) -> Found {
    let first = match first {
        Some(known) => Ok(known),
        None => lookup.look_up(ask, deadline).await,
    };
    let (first, mut answered) = match first.and_then(decoded) {
        Ok(both) => both,
        Err(ede) => return Found::unanswered(ede),
    };
    let mut left = first.left;
    let mut secure = is_secure(&first);
    let mut whole = Some(first);
    let mut seen = Vec::new();
    while let Some(target) = open_end(&answered, ask) {
        if seen.len() == MOST_STEPS || seen.contains(&target) {
            break;
        }
        let Some(question) = Question::new(&target, ask.question.kind()) else { break };
        seen.push(target);
        whole = None;
        match lookup.look_up(&ask.about(question), deadline).await.and_then(decoded) {
            Ok((known, next)) => {
                left = left.min(known.left);
                secure &= is_secure(&known);
                answered = joined(answered, next);
            }
            Err(ede) => return Found::unanswered(ede),
        }
    }
    Found { outcome: Outcome::Answered(answered), whole, left, secure }
}

fn is_secure(known: &Known) -> bool {
    known.reply.secure && !known.is_stale
}

fn decoded(known: Known) -> Result<(Known, Answered), u16> {
    let reply = &known.reply;
    let answered = Answered {
        rcode: reply.rcode,
        errors: known.errors(),
        negative_ttl: known.negative_ttl(),
        sections: Sections::decode(&known.bytes()).ok_or(ede::NETWORK_ERROR)?,
    };
    Ok((known, answered))
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
    let name = ask.question.name()?;
    let end = end_of_chain(&name, answers);
    (*end != name).then(|| end.clone())
}

/// Where the aliases of an answer section lead from this name.
fn end_of_chain<'a>(name: &'a Name, answers: &'a [Record]) -> &'a Name {
    let mut targets = HashMap::with_hasher(RandomState::default());
    for record in answers {
        if let RData::CNAME(target) = &record.data {
            targets.entry(&record.name).or_insert(&target.0);
        }
    }
    let mut end = name;
    // A step takes its alias away, so a ring of them ends too.
    while let Some(next) = targets.remove(end) {
        end = next;
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
