//! What becomes of the state under a new policy.

use std::net::Ipv6Addr;

use super::close::End;
use super::entry::{Mapping, MappingKind, Session, Subscriber};
use super::overlap::EVERYWHERE;
use super::pool::External;
use super::shard::{Context, Shard, page_range};
use crate::event::EndReason;
use crate::filter;
use crate::packet::Protocol;
use crate::terms::Terms;

impl Shard {
    /// Makes a static mapping, unless it exists.
    pub(crate) fn adopt_static(
        &mut self,
        context: &mut Context<'_>,
        protocol: Protocol,
        internal: (Ipv6Addr, u16),
        external: External,
    ) {
        if let Some((index, mapping)) = self.mapping_of(protocol, internal, EVERYWHERE) {
            if mapping.kind == MappingKind::Static && mapping.external == external {
                return;
            }
            // Its sessions end soon; until then they are found by their port alone.
            self.detach(index);
        }
        // If the port is not free, it is a mapping's whose sessions end soon, or rests. Neither gives it back: it is kept
        // for the static mapping from now on.
        context.terms.pool.take_exactly(protocol, external);
        self.add_static(context, protocol, internal, external);
    }

    /// Turns the static mappings of one page that the policy does not have any more into such as go with their last
    /// session. Returns whether there are more pages.
    pub(crate) fn demote_statics(&mut self, context: &mut Context<'_>, page: u32) -> bool {
        for index in page_range(page, self.mappings.end()) {
            let Some(mapping) = self.mappings.get(index) else { continue };
            if mapping.kind != MappingKind::Static || is_in_force(context.terms, mapping) {
                continue;
            }
            let without_sessions = mapping.sessions == 0;
            self.mappings[index].kind = MappingKind::Former;
            if without_sessions {
                self.remove_mapping(context, index, End::Clean);
            }
        }
        page_range(page + 1, self.mappings.end()).start < self.mappings.end()
    }

    /// Ends the sessions of one page that `wanted` says yes to. Returns how many, and whether there are more pages.
    pub(crate) fn end_wanted(
        &mut self,
        context: &mut Context<'_>,
        page: u32,
        wanted: &mut dyn FnMut(&Mapping, &Session) -> bool,
    ) -> (u32, bool) {
        let mut ended = 0;
        for index in page_range(page, self.sessions.end()) {
            let Some(session) = self.sessions.get(index) else { continue };
            if session.mapping != Session::REMOVED && wanted(&self.mappings[session.mapping], session) {
                self.end_session(context, index, EndReason::Removed);
                ended += 1;
            }
        }
        (ended, page_range(page + 1, self.sessions.end()).start < self.sessions.end())
    }

    /// Ends the sessions of one page that the policy does not allow, and shortens the lifetimes that it has shortened.
    /// Returns whether there are more pages.
    pub(crate) fn end_disallowed(&mut self, context: &mut Context<'_>, page: u32) -> bool {
        for index in page_range(page, self.sessions.end()) {
            let Some(session) = self.sessions.get(index) else { continue };
            if session.mapping == Session::REMOVED {
                continue;
            }
            let mapping = &self.mappings[session.mapping];
            if !allows(context.terms, mapping, session) {
                self.pair_anew(context, session.mapping);
                self.end_session(context, index, EndReason::Removed);
                continue;
            }
            let latest = context.tick.plus(context.terms.lifetimes.of(mapping.protocol, session.state));
            if latest < session.expires {
                self.bring_forward(index, latest);
            }
        }
        page_range(page + 1, self.sessions.end()).start < self.sessions.end()
    }
}

impl Shard {
    /// Gives the subscriber of a mapping another pool address, if it may not have that of the mapping any more, so that what
    /// it opens from now on comes from one address again (RFC 4787 REQ-2).
    fn pair_anew(&mut self, context: &Context<'_>, mapping: u32) {
        let Mapping { internal, external, subscriber, .. } = self.mappings[mapping];
        let Subscriber { prefix, address, .. } = self.subscribers[subscriber];
        let terms = context.terms;
        if address != external.address || terms.allocation.permits(&terms.pool, internal, external) {
            return;
        }
        let addresses = terms.allocation.addresses(internal);
        if let Some(other) = addresses.get(self.least_loaded(context, prefix, addresses)) {
            self.subscribers[subscriber].address = *other;
        }
    }
}

/// Whether the policy has a static mapping.
fn is_in_force(terms: &Terms, mapping: &Mapping) -> bool {
    terms.statics.external_of(mapping.protocol, (mapping.internal, mapping.internal_port)) == Some(mapping.external)
}

/// Whether a session may exist.
pub(super) fn allows(terms: &Terms, mapping: &Mapping, session: &Session) -> bool {
    let Mapping { protocol, internal, internal_port, external, .. } = *mapping;
    let has_port = mapping.kind == MappingKind::Static
        || (terms.pool.has(external)
            && terms.allocation.permits(&terms.pool, internal, external)
            && !terms.statics.have_external(protocol, external)
            && terms.statics.external_of(protocol, (internal, internal_port)).is_none());
    has_port
        && terms.prefixes.is_live(session.prefix)
        && filter::may_represent(terms, session.prefix, session.remote).is_ok()
        && filter::exclusion(&terms.policy, internal, (session.remote, session.remote_port), protocol).is_none()
}
