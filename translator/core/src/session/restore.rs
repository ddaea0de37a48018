//! Taking sessions out of the tables and back in, for the next process.

use super::allocation::block_size;
use super::close::End;
use super::entry::{Mapping, MappingKind, Session, Tally};
use super::open::Plan;
use super::overlap::{Claim, EVERYWHERE};
use super::pool::External;
use super::shard::{Context, Shard, subscriber_prefix};
use super::sweep::allows;
use super::wheel::Links;
use crate::saved::{NotRestored, SavedSession};
use crate::terms::Terms;

impl Shard {
    /// Calls `visit` for the sessions of one page, and returns whether there are more pages.
    pub(crate) fn page_to_save(&self, terms: &Terms, page: u32, visit: &mut dyn FnMut(&SavedSession)) -> bool {
        for session in self.sessions.page(page).filter_map(|index| self.sessions.get(index)) {
            visit(&saved(terms, &self.mappings[session.mapping], session));
        }
        self.sessions.has_more(page)
    }

    /// Takes a session over that has not expired.
    pub(crate) fn restore(&mut self, context: &mut Context<'_>, saved: &SavedSession) -> Result<(), NotRestored> {
        let limits = &context.terms.policy.limits;
        if context.totals.sessions() >= limits.sessions {
            return Err(NotRestored::TableFull);
        }
        let (external, prefix) = placed(context.terms, saved).ok_or(NotRestored::NotAllowed)?;
        let [_, created, expires] = saved.ticks();
        let session = Session {
            mapping: Session::REMOVED,
            remote: saved.remote.0,
            remote_port: saved.remote.1,
            state: saved.state,
            prefix,
            expires,
            links: Links::NEW,
            created,
            outbound: Tally::of(saved.outbound),
            inbound: Tally::of(saved.inbound),
            expected: saved.expected,
        };
        let mapping = self.mapping_to_restore(context, (saved, external), Some(&session))?;
        if self.session_of(mapping, &self.mappings[mapping], saved.remote).is_some() {
            return Err(NotRestored::Taken);
        }
        self.wheel.skip_to(context.tick, &self.sessions);
        self.insert_session(context, Session { mapping, ..session });
        Ok(())
    }

    /// Takes a mapping over without the session that comes with it. Until it has one it stays.
    pub(crate) fn restore_mapping(&mut self, context: &mut Context<'_>, saved: &SavedSession) {
        if let Some((external, _)) = placed(context.terms, saved) {
            // What is not allowed any more is about to end.
            let _ = self.mapping_to_restore(context, (saved, external), None);
        }
    }

    /// The mapping of a session that is taken over: one that is there, or a new one.
    fn mapping_to_restore(
        &mut self,
        context: &mut Context<'_>,
        (saved, external): (&SavedSession, External),
        session: Option<&Session>,
    ) -> Result<u32, NotRestored> {
        let scope = saved.scope.unwrap_or(EVERYWHERE);
        if let Some((index, mapping)) = self.mapping_of(saved.protocol, saved.internal, scope) {
            if mapping.external != external {
                return Err(NotRestored::Taken);
            }
            let is_allowed = session.is_none_or(|session| allows(context.terms, mapping, session));
            return if is_allowed { Ok(index) } else { Err(NotRestored::NotAllowed) };
        }
        if context.totals.mappings() >= context.terms.policy.limits.mappings {
            return Err(NotRestored::TableFull);
        }
        let kind = match (saved.is_static, saved.scope) {
            (true, _) => MappingKind::Former,
            (false, Some(_)) => MappingKind::Overlapping,
            (false, None) => MappingKind::Dynamic,
        };
        self.take_back(context, saved, external, kind)?;
        let prefix = subscriber_prefix(context.terms.policy.subscriber_length, saved.internal.0);
        let plan = Plan { external, subscriber: self.subscriber_of(prefix), prefix, scope, kind };
        let index = self.insert_mapping(context, plan, saved.protocol, saved.internal);
        let [mapping_created, ..] = saved.ticks();
        self.mappings[index].created = mapping_created;
        // It was no haste of this second.
        let subscriber = self.mappings[index].subscriber;
        self.subscribers[subscriber].opened = 0;
        if session.is_none_or(|session| allows(context.terms, &self.mappings[index], session)) {
            return Ok(index);
        }
        self.remove_mapping(context, index, End::Clean);
        Err(NotRestored::NotAllowed)
    }

    /// Takes the port that a mapping had.
    fn take_back(
        &mut self,
        context: &Context<'_>,
        saved: &SavedSession,
        external: External,
        kind: MappingKind,
    ) -> Result<(), NotRestored> {
        let (pool, protocol) = (&context.terms.pool, saved.protocol);
        if let Some(scope) = saved.scope {
            let claim = Claim { protocol, external, scope };
            return if context.overlap.take_exactly(pool, &claim) { Ok(()) } else { Err(NotRestored::Taken) };
        }
        if !pool.take_exactly(protocol, external) {
            return Err(NotRestored::Taken);
        }
        if let Some(size) = block_size(&context.terms.policy).filter(|_| kind == MappingKind::Dynamic) {
            let subscriber = subscriber_prefix(context.terms.policy.subscriber_length, saved.internal.0);
            if !self.blocks.take_back(pool, size, subscriber, external) {
                pool.give_back(protocol, external);
                return Err(NotRestored::Taken);
            }
        }
        Ok(())
    }
}

/// The places of a session's pool address and prefix.
fn placed(terms: &Terms, saved: &SavedSession) -> Option<(External, u8)> {
    let external = External { address: terms.pool.index_of(saved.external.0)?, port: saved.external.1 };
    let is_shared = terms.policy.mapping == crate::policy::MappingBehavior::AddressAndPortDependent;
    let (number, _) = terms.prefixes.iter().find(|(_, prefix)| *prefix == saved.prefix)?;
    (terms.pool.has(external) && is_shared | saved.scope.is_none()).then_some((external, number))
}

pub(super) fn saved(terms: &Terms, mapping: &Mapping, session: &Session) -> SavedSession {
    SavedSession {
        protocol: mapping.protocol,
        internal: (mapping.internal, mapping.internal_port),
        external: (terms.pool.address(mapping.external.address), mapping.external.port),
        scope: (mapping.kind == MappingKind::Overlapping).then_some(mapping.scope),
        is_static: matches!(mapping.kind, MappingKind::Static | MappingKind::Former),
        remote: (session.remote, session.remote_port),
        prefix: terms.prefixes.at(session.prefix),
        mapping_created: mapping.created.start(),
        created: session.created.start(),
        expires: session.expires.start(),
        outbound: session.outbound.total(),
        inbound: session.inbound.total(),
        state: session.state,
        expected: session.expected,
    }
}
