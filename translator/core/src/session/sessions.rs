//! The sessions of a shard, with the first of each mapping where a packet finds it without waiting for the mapping.
//!
//! Whoever has a mapping's index can ask for its first session at once: the processor fetches both from memory at the same
//! time. Most mappings have one session, so that this is where most packets end.

use super::entry::Session;
use super::shard::page_range;
use super::slab::Slab;

/// Says of an index that the session is not at its mapping's.
const BESIDE: u32 = 1 << 31;

/// Sessions by an index that stays the same.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// At the index of its mapping, one session of each that has any.
    home: Slab<Session>,
    /// The others.
    beside: Slab<Session>,
}

impl Sessions {
    pub(crate) const fn new() -> Self {
        Self { home: Slab::new(), beside: Slab::new() }
    }

    /// Whether there is no session.
    pub(crate) const fn is_empty(&self) -> bool {
        self.home.is_empty() && self.beside.is_empty()
    }

    /// The session at a mapping's index, if it has one there.
    #[inline(always)]
    pub(crate) fn at_home(&self, mapping: u32) -> Option<&Session> {
        // A session that was removed belongs to no mapping.
        self.home.get(mapping).filter(|session| session.mapping == mapping)
    }

    /// As [`Sessions::at_home`], to be changed.
    #[inline(always)]
    pub(crate) fn at_home_mut(&mut self, mapping: u32) -> Option<&mut Session> {
        self.home.get_mut(mapping).filter(|session| session.mapping == mapping)
    }

    /// Whether the session at an index is at that of its mapping.
    pub(crate) const fn is_at_home(index: u32) -> bool {
        index & BESIDE == 0
    }

    /// Puts a session in, at its mapping's index if it is the only one there, and returns its index.
    pub(crate) fn insert(&mut self, session: Session) -> u32 {
        if self.home.insert_at(session.mapping, session, Session::BLANK) {
            session.mapping
        } else {
            BESIDE | self.beside.insert(session)
        }
    }

    /// Takes a session out. The index must be in use.
    pub(crate) fn remove(&mut self, index: u32) {
        self[index].mapping = Session::REMOVED;
        let (slab, index) = self.place_mut(index);
        slab.remove(index);
    }

    /// The indices of one page, not all of which have a session: see [`Sessions::get`].
    pub(crate) fn page(&self, page: u32) -> impl Iterator<Item = u32> + use<> {
        // Pages of the one and of the other take turns, so that none changes its number while one of them grows.
        let (slab, mark) = if page.is_multiple_of(2) { (&self.home, 0) } else { (&self.beside, BESIDE) };
        page_range(page / 2, slab.end()).map(move |index| mark | index)
    }

    /// Whether there are pages behind this one.
    pub(crate) fn has_more(&self, page: u32) -> bool {
        let end = self.home.end().max(self.beside.end());
        page.is_multiple_of(2) || page_range(page / 2 + 1, end).start < end
    }

    /// The session at an index, if there is one.
    pub(crate) fn get(&self, index: u32) -> Option<&Session> {
        let (slab, index) = self.place(index);
        slab.get(index).filter(|session| session.mapping != Session::REMOVED)
    }

    #[inline]
    const fn place(&self, index: u32) -> (&Slab<Session>, u32) {
        if Self::is_at_home(index) { (&self.home, index) } else { (&self.beside, index & !BESIDE) }
    }

    #[inline]
    const fn place_mut(&mut self, index: u32) -> (&mut Slab<Session>, u32) {
        if Self::is_at_home(index) { (&mut self.home, index) } else { (&mut self.beside, index & !BESIDE) }
    }

    /// Bytes that `sessions` of them take in `shards` shards at the most.
    pub(crate) const fn bytes(sessions: u64, shards: u64) -> u64 {
        Slab::<Session>::bytes(sessions, 2 * shards)
    }
}

impl std::ops::Index<u32> for Sessions {
    type Output = Session;

    #[inline]
    fn index(&self, index: u32) -> &Session {
        let (slab, index) = self.place(index);
        &slab[index]
    }
}

impl std::ops::IndexMut<u32> for Sessions {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Session {
        let (slab, index) = self.place_mut(index);
        &mut slab[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mapping: u32, remote_port: u16) -> Session {
        Session { mapping, remote_port, ..Session::BLANK }
    }

    fn listed(sessions: &Sessions) -> Vec<(u32, u16)> {
        let pages = (0..).scan(true, |more, page| std::mem::replace(more, sessions.has_more(page)).then_some(page));
        let listed = pages.flat_map(|page| sessions.page(page)).filter_map(|index| sessions.get(index));
        let mut listed: Vec<_> = listed.map(|session| (session.mapping, session.remote_port)).collect();
        listed.sort_unstable();
        listed
    }

    #[test]
    fn the_first_session_of_a_mapping_is_at_its_index_and_the_others_are_not() {
        let mut sessions = Sessions::new();
        let first = sessions.insert(of(5000, 1));
        let [second, third] = [2, 3].map(|port| sessions.insert(of(5000, port)));
        assert_eq!((first, Sessions::is_at_home(second), Sessions::is_at_home(third)), (5000, false, false));
        assert_eq!(sessions.at_home(5000).map(|session| session.remote_port), Some(1));
        for before in [4999, 0, 5001, 9999] {
            assert!(sessions.at_home(before).is_none(), "{before} has none");
        }
        assert_eq!(listed(&sessions), [(5000, 1), (5000, 2), (5000, 3)]);

        sessions.remove(first);
        assert!(sessions.at_home_mut(5000).is_none());
        assert_eq!(sessions.insert(of(5000, 4)), 5000, "its place is free again");
        sessions.remove(second);
        assert_eq!(listed(&sessions), [(5000, 3), (5000, 4)]);
        sessions.remove(third);
        sessions.remove(5000);
        assert!(sessions.is_empty() && listed(&sessions).is_empty());
    }

    #[test]
    fn pages_have_every_session_once() {
        let mut sessions = Sessions::new();
        let mut expected = Vec::new();
        for mapping in (0..3000).rev().step_by(7) {
            for port in 0..5 {
                sessions.insert(of(mapping, port));
                expected.push((mapping, port));
            }
        }
        expected.sort_unstable();
        assert_eq!(listed(&sessions), expected);
    }
}
