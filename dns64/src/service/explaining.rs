//! Answering with an explanation: the same steps as for a query, each with a word about it.

use tokio::time::Instant;

use super::{Service, unproven};
use crate::arpa;
use crate::chain::{Found, Lookup};
use crate::domains::Treatment;
use crate::error::Error;
use crate::explain::{self, Explaining, Explanation, Verdict};
use crate::policy::Origin;
use crate::reverse;
use crate::synthesis::{Outcome, Terms, strip_a};
use crate::wire::{Ask, code, ede};

impl Service {
    /// Why a client is told what it is told about the records of a name. Upstreams are asked as for a query.
    pub(crate) async fn explain(&self, name: &str, kind: &str, origin: Origin) -> Result<Explanation, Error> {
        let (name, ask) = explain::ask(name, kind)?;
        let current = self.policy.load();
        let view = current.policy.view(origin);
        let mut told = Explaining::new(&name, kind, origin, view);
        if !current.policy.permits(origin.client) {
            told.rule("client", "configuration", "the address is not among those that are answered");
            return Ok(told.end(Verdict::Refused));
        }
        let is_local = arpa::answer(view, self.ipv4only_ttl, &ask.question, &name).is_some();
        if is_local || reverse::classify(view.all_prefixes(), &name).is_some() {
            told.rule("local name", "RFC 8880 §7, RFC 6147 §5.3.1", "the name is answered here");
            return Ok(told.end(Verdict::Local));
        }
        let terms = Terms { view, treatment: current.policy.treatment(ask.question.name_bytes()) };
        let is_synthesised = told.synthesises(terms);
        let deadline = Instant::now() + self.deadline;
        Ok(match ask.question.kind() {
            code::AAAA if is_synthesised => self.explain_aaaa(told, terms, &ask, deadline).await,
            code::A | code::ANY if terms.treatment == Treatment::StripA => {
                let a = self.found(&mut told, "question", "RFC 6147 §5.1", &ask, deadline).await;
                let is_stripped = matches!(a.outcome(), Outcome::Answered(a) if strip_a(&a.sections).is_some());
                told.end(if is_stripped { Verdict::Filtered } else { Verdict::Passed })
            }
            code::SVCB | code::HTTPS if view.synthesise => {
                told.rule("type", "RFC 9460 §4", "the records and their hints are told as they are");
                let found = self.found(&mut told, "question", "RFC 6147 §5.1", &ask, deadline).await;
                if let Outcome::Answered(answered) = found.outcome() {
                    let additionals = &answered.sections.additionals;
                    for (name, records) in self.beside(&current.policy, view, &ask, additionals).await {
                        told.beside(&name, &records);
                    }
                }
                told.pass(found.outcome())
            }
            kind => {
                if kind != code::AAAA {
                    told.rule("type", "RFC 6147 §5.1", "only AAAA records are synthesised");
                }
                let outcome = self.found(&mut told, "question", "RFC 6147 §5.1", &ask, deadline).await;
                told.pass(outcome.outcome())
            }
        })
    }

    async fn explain_aaaa(&self, mut told: Explaining, terms: Terms<'_>, ask: &Ask, deadline: Instant) -> Explanation {
        let aaaa = self.found(&mut told, "AAAA question", "RFC 6147 §5.1", ask, deadline).await;
        let aaaa = aaaa.outcome();
        if told.judgement(terms, aaaa).is_some() {
            return told.decision(terms, aaaa, &Outcome::Unanswered(ede::NO_REACHABLE_AUTHORITY));
        }
        let ask = ask.about(ask.question.with_kind(code::A));
        let a = self.found(&mut told, "A question", "RFC 6147 §5.1.6", &ask, deadline).await;
        if a.is_secure() && unproven(aaaa).is_some() {
            told.rule("proof", "RFC 6147 §5.5", "the zone is signed, so a AAAA question that fails proves nothing");
            return told.end(Verdict::Unanswered);
        }
        told.addresses(terms.view, a.outcome());
        told.decision(terms, aaaa, a.outcome())
    }

    /// What is known of a question, with who said it.
    async fn found(
        &self,
        told: &mut Explaining,
        rule: &'static str,
        source: &'static str,
        ask: &Ask,
        deadline: Instant,
    ) -> Found {
        let first = self.resolver.cached(ask);
        let whence = match &first {
            Some(known) => format!("from the cache, {} s old", known.age),
            None => format!("asked of {}", self.resolver.asked(&ask.question)),
        };
        let found = self.addresses(ask, first, deadline).await;
        told.outcome(rule, source, &whence, found.outcome());
        if self.resolver.judges(ask)
            && let Outcome::Answered(answered) = found.outcome()
        {
            let finding = match found.is_secure() {
                true => "the answer is validated",
                false if answered.errors.iter().any(ede::is_dnssec_failure) => "the answer does not validate",
                false => "the answer is provably not signed",
            };
            told.rule("DNSSEC", "RFC 4035 §5", finding);
        }
        found
    }
}
