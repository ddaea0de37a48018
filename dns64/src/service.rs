//! From a query to its answer.

mod beside;
mod explaining;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record};
use tokio::time::{Instant, timeout};

use crate::arpa;
use crate::cache::Known;
use crate::chain::{self, Found, Lookup};
use crate::config::{Config, PtrMode};
use crate::cookies::Cookies;
use crate::domains::Treatment;
use crate::error::Protocol;
use crate::hot::{Hot, Key};
use crate::limiter::{Limiter, Verdict};
use crate::names::Names;
use crate::policy::{Origin, Policy, View, WhenUnusable};
use crate::resolver::Resolver;
use crate::reverse::{self, Reverse};
use crate::server::PolicyHandle;
use crate::shares::{Share, Shares};
use crate::stats::Stats;
use crate::synthesis::{Decision, Judgement, Outcome, Terms, decide, judge, strip_a};
use crate::wire::{Ask, Errors, Extras, Fault, Limit, Message, Query, Question, Sections, Told, code, ede, rcode};

/// TTL of the alias from an IPv6 reverse name to the IPv4 one, in seconds: it only changes with the prefixes.
const ALIAS_TTL: u32 = 600;

/// How long the absence of a reverse name holds at most, in seconds.
const REVERSE_NEGATIVE_TTL: u32 = 60;

/// How long the AAAA question is asked alone, if the upstream usually takes less than half of it.
const HEAD_START: Duration = Duration::from_millis(2);

/// Refusals over UDP to one client prefix at most, each second.
const REFUSALS: u32 = 5;

/// Everything that answering needs; shared by all fronts.
#[derive(Debug)]
pub(crate) struct Service {
    policy: PolicyHandle,
    resolver: Resolver,
    hot: Hot,
    limiter: Limiter,
    refusals: Limiter,
    shares: Arc<Shares>,
    cookies: Option<Cookies>,
    nsid: Option<Box<[u8]>>,
    edns_payload: u16,
    ptr: PtrMode,
    deadline: Duration,
    ipv4only_ttl: u32,
    names: Names,
    stats: Arc<Stats>,
}

impl Service {
    pub(crate) fn new(config: &Config, policy: PolicyHandle, stats: Arc<Stats>) -> Self {
        let (hot_entries, hot_bytes) = (config.cache_entries / 2, config.cache_bytes / 4);
        let cold = Config { cache_bytes: config.cache_bytes - hot_bytes, ..config.clone() };
        Self {
            policy,
            resolver: Resolver::new(&cold, &stats),
            hot: Hot::new(hot_entries, hot_bytes),
            limiter: Limiter::new(config.rate_limit),
            refusals: Limiter::new(REFUSALS),
            shares: Shares::new(config.in_flight_per_client),
            cookies: config.cookies.then(Cookies::new),
            nsid: config.nsid.as_ref().map(|nsid| nsid.as_bytes().into()),
            edns_payload: config.edns_payload,
            ptr: config.ptr,
            deadline: config.deadline,
            ipv4only_ttl: config.ipv4only_ttl.as_secs().try_into().unwrap_or(u32::MAX),
            names: Names::default(),
            stats,
        }
    }

    /// Asks other upstreams from now on.
    pub(crate) fn replace_upstreams(&self, config: &Config) {
        self.resolver.replace_upstreams(config);
    }

    /// Which names clients were told synthetic addresses for.
    pub(crate) fn names(&self) -> Names {
        self.names.clone()
    }

    /// Looks whether upstreams lead back to us.
    pub(crate) fn probe_upstreams(&self) {
        self.resolver.probe_upstreams();
    }

    /// Whether this client is answered.
    pub(crate) fn permits(&self, client: IpAddr) -> bool {
        self.policy.peek().policy.permits(client)
    }

    /// What somebody is told who is no client: over UDP, where the address may be forged, only a few of a prefix each
    /// second are told anything.
    pub(crate) fn refusal(&self, query: &Query<'_>, limit: Limit, origin: Origin) -> Option<Vec<u8>> {
        self.stats.clients_refused.increment();
        if limit == Limit::Datagram && self.refusals.judge(origin.client, Instant::now()) != Verdict::Send {
            return None;
        }
        let refusal = Message::empty(&query.ask().question, rcode::REFUSED).with_ede(ede::PROHIBITED);
        Some(refusal.finish(query, limit, &self.extras(query, origin)).0)
    }

    /// Copies the answer to `out` if it is ready to be sent.
    pub(crate) fn ready(&self, query: &Query<'_>, origin: Origin, limit: Limit, out: &mut Vec<u8>) -> bool {
        let current = self.policy.peek();
        let key = Key::new(query, current.policy.view(origin).number, current.generation);
        let Some(head) = self.hot.get(&key, Instant::now(), out) else { return false };
        self.count_query(origin);
        self.stats.cache_hits.increment();
        self.count(head.origin);
        self.count_rcode(head.rcode);
        let truncated = head.finish(out, query, limit, &self.extras(query, origin));
        if truncated {
            self.stats.truncated.increment();
        }
        self.remember(head.origin, origin, out);
        true
    }

    /// The answer to a query.
    pub(crate) async fn answer(&self, query: &Query<'_>, limit: Limit, origin: Origin) -> Vec<u8> {
        self.count_query(origin);
        let begun = Instant::now();
        let current = self.policy.load();
        let view = current.policy.view(origin);
        let answer = self.resolve(&query.ask(), &current.policy, view, Instant::now() + self.deadline).await;
        self.count_rcode(answer.rcode());
        if answer.lifetime() > 0 {
            let key = Key::new(query, view.number, current.generation);
            self.hot.insert(&key, &answer, answer.lifetime(), Instant::now());
        }
        let head = answer.head();
        let (bytes, truncated) = answer.finish(query, limit, &self.extras(query, origin));
        if truncated {
            self.stats.truncated.increment();
        }
        self.remember(head.origin, origin, &bytes);
        self.stats.answer_times.add(head, begun.elapsed());
        bytes
    }

    /// A client's room for one more query under work, to be held until it is answered, if there is any.
    pub(crate) fn share(&self, origin: Origin) -> Option<Share> {
        self.shares.admit(origin.client)
    }

    /// What a client is told that has no more room: what is known, and at once, so that it takes nothing from others.
    pub(crate) fn over_share(&self, query: &Query<'_>, limit: Limit, origin: Origin) -> Vec<u8> {
        self.count_query(origin);
        let ask = Ask { only_known: true, ..query.ask() };
        let current = self.policy.load();
        let known = self.resolve(&ask, &current.policy, current.policy.view(origin), Instant::now()).now_or_never();
        let answer = known.unwrap_or_else(|| unanswered(&ask, ede::NOT_READY));
        if answer.rcode() == rcode::SERVER_FAILURE {
            self.stats.clients_over_share.increment();
        }
        self.count_rcode(answer.rcode());
        let told = answer.head().origin;
        let bytes = answer.finish(query, limit, &self.extras(query, origin)).0;
        self.remember(told, origin, &bytes);
        bytes
    }

    /// Forgets what is known of a name and all below it, or of all names; returns how many answers that were.
    pub(crate) fn flush(&self, name: Option<&Question>) -> usize {
        // Its answers are copies of what is forgotten; which ones is not worth a look.
        let count = self.resolver.flush(name);
        self.hot.clear();
        count
    }

    /// Makes what is known older.
    pub(crate) fn age(&self, by: Duration) {
        self.resolver.age(by);
        self.hot.age(by);
    }

    /// What is done with an answer to this query over UDP.
    pub(crate) fn judge(&self, query: &Query<'_>, origin: Origin) -> Verdict {
        let cookie = query.edns.and_then(|edns| edns.cookie);
        if let (Some(cookies), Some(cookie)) = (&self.cookies, &cookie)
            && self.limiter.is_on()
            && cookies.is_good(cookie, origin.client)
        {
            return Verdict::Send;
        }
        let verdict = self.limiter.judge(origin.client, Instant::now());
        if verdict != Verdict::Send {
            self.stats.rate_limited.increment();
        }
        verdict
    }

    /// An answer that only says to come over TCP, to this query.
    pub(crate) fn come_over_tcp(&self, query: &Query<'_>, origin: Origin) -> Vec<u8> {
        let answer = Message::empty(&query.ask().question, rcode::NO_ERROR).cut();
        answer.finish(query, Limit::Datagram, &self.extras(query, origin)).0
    }

    /// What a message that is no query is answered with, if anything.
    pub(crate) fn fault(&self, fault: Fault, origin: Origin) -> Option<Vec<u8>> {
        if !self.permits(origin.client) {
            self.stats.clients_refused.increment();
            return None;
        }
        self.count_query(origin);
        self.stats.malformed.increment();
        match fault {
            Fault::Ignore => None,
            Fault::Answer(answer) => Some(answer),
        }
    }

    fn extras(&self, query: &Query<'_>, origin: Origin) -> Extras<'_> {
        let Some(edns) = query.edns else { return Extras::default() };
        Extras {
            payload: self.edns_payload,
            cookie: self.cookies.as_ref().and_then(|cookies| Some(cookies.answer(&edns.cookie?, origin.client))),
            nsid: self.nsid.as_deref().filter(|_| edns.wants_nsid),
        }
    }

    fn count_query(&self, origin: Origin) {
        match origin.protocol {
            Protocol::Udp => &self.stats.queries_udp,
            Protocol::Tcp => &self.stats.queries_tcp,
            Protocol::Tls => &self.stats.queries_tls,
            Protocol::Https => &self.stats.queries_https,
        }
        .increment();
    }

    fn count_rcode(&self, rcode: u16) {
        match rcode {
            rcode::SERVER_FAILURE => self.stats.answers_servfail.increment(),
            rcode::NAME_ERROR => self.stats.answers_nxdomain.increment(),
            _ => {}
        }
    }

    /// Remembers what an answer tells, before it is sent: no session to its addresses begins earlier.
    fn remember(&self, told: Told, origin: Origin, answer: &[u8]) {
        if told == Told::Synthesised {
            self.names.learn(origin.client, answer);
        }
    }

    fn count(&self, told: Told) {
        match told {
            Told::Passed => &self.stats.answers_passed,
            Told::Native => &self.stats.answers_native,
            Told::Synthesised => &self.stats.answers_synthesised,
            Told::Local => &self.stats.answers_local,
            Told::CutOff => &self.stats.answers_cut_off,
            Told::Refused => &self.stats.answers_refused,
        }
        .increment();
    }

    async fn resolve(&self, ask: &Ask, policy: &Policy, view: &View, deadline: Instant) -> Message {
        let question = &ask.question;
        // A zone transfer is many messages, and not a question for a resolver.
        if matches!(question.kind(), code::AXFR | code::IXFR) || self.resolver.is_own_probe(question) {
            self.count(Told::Refused);
            return Message::empty(question, rcode::REFUSED).with_ede(ede::PROHIBITED).told(Told::Refused);
        }
        // RFC 6147 §5.1: outside class IN there is no DNS64.
        if question.class() != code::CLASS_IN {
            return self.pass(ask, deadline).await;
        }
        if question.is_under_arpa()
            && let Some(name) = question.name()
        {
            return self.arpa(view, ask, name, deadline).await;
        }
        let terms = Terms { view, treatment: policy.treatment(question.name_bytes()) };
        match question.kind() {
            // RFC 6147 §5.5: who sets CD wants to validate, which synthesis would break.
            code::AAAA if terms.synthesises() && !ask.checking_disabled => self.aaaa(terms, ask, deadline).await,
            code::SVCB | code::HTTPS if view.synthesise && !ask.checking_disabled => {
                self.service(policy, view, ask, deadline).await
            }
            code::A | code::ANY if terms.treatment == Treatment::StripA => self.stripped(ask, deadline).await,
            _ => self.pass(ask, deadline).await,
        }
    }

    /// Names under `arpa`, of which we know some ourselves.
    async fn arpa(&self, view: &View, ask: &Ask, name: Name, deadline: Instant) -> Message {
        let question = &ask.question;
        if let Some(answer) = arpa::answer(view, self.ipv4only_ttl, question, &name) {
            self.count(Told::Local);
            return answer.told(Told::Local);
        }
        if ask.checking_disabled {
            return self.pass(ask, deadline).await;
        }
        if let Some((reverse, zone)) = reverse::classify(view.all_prefixes(), &name) {
            self.count(Told::Local);
            return self.reverse(ask, name, reverse, zone, deadline).await.told(Told::Local);
        }
        let answer = self.pass(ask, deadline).await;
        if answer.rcode() == rcode::NAME_ERROR && reverse::is_above(view.all_prefixes(), &name) {
            return answer.with_rcode(rcode::NO_ERROR);
        }
        answer
    }

    /// What an upstream says, unchanged.
    async fn pass(&self, ask: &Ask, deadline: Instant) -> Message {
        match self.resolver.look_up(ask, deadline).await {
            Ok(known) => {
                self.count(Told::Passed);
                Message::from_known(&known)
            }
            Err(ede) => unanswered(ask, ede),
        }
    }

    /// What an upstream says of a service, and where it is under our prefix.
    async fn service(&self, policy: &Policy, view: &View, ask: &Ask, deadline: Instant) -> Message {
        match self.resolver.look_up(ask, deadline).await {
            Ok(known) => {
                self.count(Told::Passed);
                self.with_addresses(policy, view, ask, &known).await
            }
            Err(ede) => unanswered(ask, ede),
        }
    }

    /// What an upstream says, without A records.
    async fn stripped(&self, ask: &Ask, deadline: Instant) -> Message {
        let found = chain::follow(&self.resolver, ask, None, deadline).await;
        self.count(Told::Passed);
        let left = match found.outcome() {
            Outcome::Answered(answered) => strip_a(&answered.sections).map(|sections| (answered.rcode, sections)),
            Outcome::Unanswered(_) => None,
        };
        match left {
            Some((rcode, sections)) => Message::from_sections(&ask.question, rcode, sections).with_ede(ede::FILTERED),
            None => found.into_message(&ask.question),
        }
    }

    /// RFC 6147 §5.1, with both questions asked at once (§5.1.8) unless the first is known.
    async fn aaaa(&self, terms: Terms<'_>, ask: &Ask, deadline: Instant) -> Message {
        let a_ask = ask.about(ask.question.with_kind(code::A));
        let (aaaa, a) = match self.resolver.cached(ask) {
            Some(known) => {
                let aaaa = self.addresses(ask, Some(known), deadline).await;
                if let Some(answer) = self.without_a(terms, ask, &aaaa) {
                    return answer;
                }
                (aaaa, self.addresses(&a_ask, None, deadline).await)
            }
            None => {
                let mut aaaa = std::pin::pin!(self.addresses(ask, None, deadline));
                let a = std::pin::pin!(self.addresses(&a_ask, None, deadline));
                match self.first_alone(&ask.question, aaaa.as_mut()).await {
                    Some(aaaa) => match self.without_a(terms, ask, &aaaa) {
                        Some(answer) => return answer,
                        None => (aaaa, a.await),
                    },
                    None => match select(aaaa, a).await {
                        Either::Left((aaaa, a)) => match self.without_a(terms, ask, &aaaa) {
                            Some(answer) => return answer,
                            None => (aaaa, a.await),
                        },
                        Either::Right((a, aaaa)) => (aaaa.await, a),
                    },
                }
            }
        };
        // RFC 6147 §5.5: that there is no AAAA record must be proven before A records are used, where it can be.
        if a.is_secure()
            && let Some(error) = unproven(aaaa.outcome())
        {
            return unanswered(ask, error);
        }
        let decision = decide(terms, aaaa.outcome(), a.outcome());
        let is_pair_secure = aaaa.is_secure() && a.is_secure() && terms.treatment != Treatment::Always;
        let answer = self.told(ask, &terms.view.when_unusable, decision, aaaa, Some(&a));
        // RFC 6147 §5.5, item 2; without DO, item 1 forbids it.
        if is_pair_secure && ask.dnssec && answer.head().origin == Told::Synthesised {
            answer.authentic()
        } else {
            answer
        }
    }

    /// What is known of a name's addresses.
    async fn addresses(&self, ask: &Ask, first: Option<Known>, deadline: Instant) -> Found {
        chain::follow(&self.resolver, ask, first, deadline).await.of_name(&ask.question)
    }

    /// What becomes of the AAAA question where it is asked first, because the upstream is so near that the A question can
    /// follow without a client noticing: most names need none (RFC 6147 §5.1.8). Nothing if it takes longer.
    async fn first_alone(&self, question: &Question, aaaa: impl Future<Output = Found>) -> Option<Found> {
        if !self.resolver.is_near(question) {
            return None;
        }
        timeout(HEAD_START, aaaa).await.ok()
    }

    /// The answer, if the AAAA side alone decides it.
    fn without_a(&self, terms: Terms<'_>, ask: &Ask, aaaa: &Found) -> Option<Message> {
        let decision = match judge(terms, aaaa.outcome()) {
            Judgement::Final => Decision::AaaaAnswer,
            Judgement::Filtered(sections) => Decision::Filtered(sections),
            Judgement::Empty => return None,
        };
        Some(self.told(ask, &terms.view.when_unusable, decision, aaaa.clone(), None))
    }

    /// What is told; `a` is what synthesis was from.
    fn told(
        &self,
        ask: &Ask,
        when_unusable: &WhenUnusable,
        decision: Decision,
        aaaa: Found,
        a: Option<&Found>,
    ) -> Message {
        let question = &ask.question;
        let left = aaaa.left().min(a.map_or(u32::MAX, Found::left));
        let native = |sections| Message::from_sections(question, rcode::NO_ERROR, sections).told(Told::Native);
        let answer = match decision {
            Decision::Synthesised(sections) => Message::from_sections(question, rcode::NO_ERROR, sections)
                .with_ede(ede::SYNTHESIZED)
                .with_errors(a.map_or(Errors::NONE, |a| a.outcome().errors()))
                .told(Told::Synthesised)
                .lasting(left),
            Decision::AaaaAnswer => aaaa.into_message(question).told(Told::Native).lasting(left),
            Decision::Filtered(sections) => native(sections).lasting(left),
            Decision::AError(a) => native(a.sections).with_rcode(a.rcode).with_errors(a.errors).lasting(left),
            Decision::Unanswered(ede) => return unanswered(ask, ede),
            // Without an SOA record nobody keeps this (RFC 2308 §5): it is over as soon as the translator is there.
            Decision::CutOff => {
                let rcode = match when_unusable {
                    WhenUnusable::ServerFailure => rcode::SERVER_FAILURE,
                    WhenUnusable::NoAaaa | WhenUnusable::Prefixes(_) => rcode::NO_ERROR,
                };
                self.count(Told::CutOff);
                return Message::empty(question, rcode).with_ede(ede::NOT_READY).told(Told::CutOff);
            }
        };
        self.count(answer.head().origin);
        answer
    }

    /// A name under a prefix's reverse zone: an alias to the IPv4 reverse tree, and what is there (RFC 6147 §5.3.1).
    async fn reverse(&self, ask: &Ask, name: Name, reverse: Reverse, zone: Name, deadline: Instant) -> Message {
        let question = &ask.question;
        let address = match reverse {
            Reverse::Address(address) => address,
            Reverse::EmptyNonTerminal => return arpa::negative(question, rcode::NO_ERROR, zone, REVERSE_NEGATIVE_TTL),
            Reverse::Nonexistent => return arpa::negative(question, rcode::NAME_ERROR, zone, REVERSE_NEGATIVE_TTL),
        };
        let target = Name::from(address);
        if question.kind() == code::CNAME && self.ptr == PtrMode::Alias {
            return aliased(ask, name, target, Sections::default());
        }
        if question.kind() == code::PTR
            && let Some(pointer) = arpa::pointer(address, self.ipv4only_ttl)
        {
            let there = Sections { answers: vec![pointer], ..Sections::default() };
            return match self.ptr {
                PtrMode::Alias => aliased(ask, name, target, there),
                PtrMode::Direct => direct(ask, &name, &there),
            };
        }
        let Some(there) = Question::new(&target, question.kind()) else { return unanswered(ask, ede::NETWORK_ERROR) };
        let found = chain::follow(&self.resolver, &ask.about(there), None, deadline).await;
        match found.outcome() {
            Outcome::Answered(there) if there.rcode == rcode::NO_ERROR && !there.sections.answers.is_empty() => {
                match self.ptr {
                    PtrMode::Alias => aliased(ask, name, target, there.sections.clone()),
                    PtrMode::Direct => direct(ask, &name, &there.sections),
                }
            }
            // An alias to nothing helps nobody (RFC 6147 §5.3.1): the absence is told about the name itself.
            Outcome::Answered(there) if matches!(there.rcode, rcode::NO_ERROR | rcode::NAME_ERROR) => {
                let ttl = there.negative_ttl.unwrap_or(REVERSE_NEGATIVE_TTL).min(REVERSE_NEGATIVE_TTL);
                arpa::negative(question, there.rcode, zone, ttl)
            }
            Outcome::Answered(there) => Message::empty(question, there.rcode),
            Outcome::Unanswered(ede) => unanswered(ask, *ede),
        }
    }
}

/// An alias from `name` to `target`, and what is there.
///
/// Where the IPv4 name is an alias itself (RFC 2317), ours leads to where that one does: RFC 6147 §5.3.1 wants no chain to
/// become longer.
fn aliased(ask: &Ask, name: Name, mut target: Name, there: Sections) -> Message {
    let mut ttl = ALIAS_TTL;
    let mut answers = Vec::with_capacity(there.answers.len() + 1);
    for record in there.answers {
        match record.try_borrow::<CNAME>() {
            Some(alias) if record.name == target && !ask.dnssec => {
                ttl = ttl.min(record.ttl);
                target = alias.data().0.clone();
            }
            _ => answers.push(record),
        }
    }
    answers.insert(0, Record::from_rdata(name, ttl, RData::CNAME(CNAME(target))));
    Message::from_sections(&ask.question, rcode::NO_ERROR, Sections { answers, ..there }).with_ede(ede::SYNTHESIZED)
}

/// The records of the IPv4 name as those of `name`, with the least TTL of the chain that led to them and without
/// signatures, which are over another name.
fn direct(ask: &Ask, name: &Name, there: &Sections) -> Message {
    let kind = ask.question.kind();
    let ttl = there.answers.iter().map(|record| record.ttl).min().unwrap_or(0).min(ALIAS_TTL);
    let own = there.answers.iter().filter(|record| u16::from(record.record_type()) == kind);
    let answers = own.map(|record| Record::from_rdata(name.clone(), ttl, record.data.clone())).collect();
    let sections = Sections { answers, ..Sections::default() };
    Message::from_sections(&ask.question, rcode::NO_ERROR, sections).with_ede(ede::SYNTHESIZED)
}

/// Why it is not known whether there is a AAAA record, if so.
fn unproven(aaaa: &Outcome) -> Option<u16> {
    match aaaa {
        Outcome::Unanswered(error) => Some(*error),
        Outcome::Answered(aaaa) if matches!(aaaa.rcode, rcode::NO_ERROR | rcode::NAME_ERROR) => None,
        // That it is bogus is said as such.
        Outcome::Answered(aaaa) if aaaa.errors.iter().any(ede::is_dnssec_failure) => None,
        Outcome::Answered(_) => Some(ede::NO_REACHABLE_AUTHORITY),
    }
}

fn unanswered(ask: &Ask, ede: u16) -> Message {
    Message::empty(&ask.question, rcode::SERVER_FAILURE).with_ede(ede)
}
