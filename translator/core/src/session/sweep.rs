//! What becomes of the state under a new policy.

use std::net::Ipv6Addr;

use super::close::End;
use super::entry::{Mapping, MappingKind, Session, Subscriber};
use super::overlap::EVERYWHERE;
use super::pool::External;
use super::shard::{Context, Reset, Shard, page_range};
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
            if mapping.external == external {
                // It stays, with its sessions; if its port is one of a block, it is that no more.
                let kind = std::mem::replace(&mut self.mappings[index].kind, MappingKind::Static);
                if kind == MappingKind::Dynamic {
                    self.leave_block(context, external);
                }
                return;
            }
            self.oust(index);
        }
        context.terms.pool.claim(protocol, external);
        self.add_static(context, protocol, internal, external);
    }

    /// Ousts a mapping from a pool address and port, if it has them and is another host's.
    pub(crate) fn oust_from(&mut self, index: u32, protocol: Protocol, internal: (Ipv6Addr, u16), external: External) {
        let is_it = |mapping: &&Mapping| {
            mapping.kind != MappingKind::Free
                && (mapping.protocol, mapping.external) == (protocol, external)
                && (mapping.internal, mapping.internal_port) != internal
        };
        if self.mappings.get(index).filter(is_it).is_some() {
            self.oust(index);
        }
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

    /// Ends the sessions of one page that `wanted` says yes to, and adds those of TCP to `resets`. Returns how many have
    /// ended, and whether there are more pages.
    pub(crate) fn end_wanted(
        &mut self,
        context: &mut Context<'_>,
        page: u32,
        wanted: &mut dyn FnMut(&Mapping, &Session) -> bool,
        mut resets: Option<&mut Vec<Reset>>,
    ) -> (u32, bool) {
        let mut ended = 0;
        for index in self.sessions.page(page) {
            let Some(session) = self.sessions.get(index) else { continue };
            let mapping = &self.mappings[session.mapping];
            if !wanted(mapping, session) {
                continue;
            }
            if let Some(resets) = resets.as_deref_mut().filter(|_| mapping.protocol == Protocol::Tcp) {
                resets.push(Reset::of(mapping, session));
            }
            self.end_session(context, index, EndReason::Closed);
            ended += 1;
        }
        (ended, self.sessions.has_more(page))
    }

    /// Ends the sessions of one page that the policy does not allow, and shortens the lifetimes that it has shortened.
    /// Returns whether there are more pages.
    pub(crate) fn end_disallowed(&mut self, context: &mut Context<'_>, page: u32) -> bool {
        for index in self.sessions.page(page) {
            let Some(session) = self.sessions.get(index) else { continue };
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
        self.sessions.has_more(page)
    }
}

impl Shard {
    /// Lets a mapping go. Its sessions end soon; until then packets from its host do not find it.
    fn oust(&mut self, index: u32) {
        self.detach(index);
        self.mappings[index].ousted = true;
    }

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
        || (!mapping.ousted
            && terms.pool.has(external)
            && terms.allocation.permits(&terms.pool, internal, external)
            && !terms.statics.have_external(protocol, external)
            && terms.statics.external_of(protocol, (internal, internal_port)).is_none());
    has_port
        && terms.prefixes.is_live(session.prefix)
        && filter::may_represent(terms, session.prefix, session.remote).is_ok()
        && filter::exclusion(&terms.policy, internal, (session.remote, session.remote_port), protocol).is_none()
}
