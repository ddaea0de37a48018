//! Sessions outside of the translator: for the next process, which goes on with them.

use std::net::{Ipv4Addr, Ipv6Addr};

use pref64::Pref64;

use crate::event::{Event, EventBuffer, EventKind, Traffic};
use crate::packet::Protocol;
use crate::policy::{MappingBehavior, Timers};
use crate::session::{Context, TcpState, Tick};
use crate::time::Timestamp;
use crate::translator::Translator;

/// A session with its mapping. Moments are those of a clock that both translators go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedSession {
    /// Its protocol.
    pub protocol: Protocol,
    /// Address and port of the host behind the translator.
    pub internal: (Ipv6Addr, u16),
    /// Pool address and port.
    pub external: (Ipv4Addr, u16),
    /// The only destination that the mapping is for, unless it is for all.
    pub scope: Option<(Ipv4Addr, u16)>,
    /// Whether the mapping is one of the configuration's.
    pub is_static: bool,
    /// Address and port of the IPv4 host.
    pub remote: (Ipv4Addr, u16),
    /// The translation prefix that the IPv4 host is seen under.
    pub prefix: Pref64,
    /// When the mapping was made.
    pub mapping_created: Timestamp,
    /// When the session was made.
    pub created: Timestamp,
    /// When it ends if no packet comes.
    pub expires: Timestamp,
    /// From IPv6 to IPv4.
    pub outbound: Traffic,
    /// From IPv4 to IPv6.
    pub inbound: Traffic,
    pub(crate) state: TcpState,
    /// By direction, the sequence number that the receiver expects.
    pub(crate) expected: [u32; 2],
}

/// Why a session could not be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum NotRestored {
    /// Its lifetime has passed.
    #[error("expired meanwhile")]
    Expired,
    /// The policy in force has not its pool address and port, its prefix, or its destination.
    #[error("not allowed by the configuration")]
    NotAllowed,
    /// There is another session or mapping where it would be.
    #[error("its place is taken")]
    Taken,
    /// There are as many sessions or mappings as there may be.
    #[error("the table is full")]
    TableFull,
}

impl SavedSession {
    /// Bytes of a session in [`SavedSession::to_bytes`].
    pub const BYTES: usize = 120;

    /// The session in bytes: numbers little-endian, addresses in network order.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = Writer { bytes: [0; Self::BYTES], at: 0 };
        let scope = self.scope.unwrap_or((Ipv4Addr::UNSPECIFIED, 0));
        out.put(&[self.protocol as u8, self.state as u8]);
        out.put(&[u8::from(self.is_static) | u8::from(self.scope.is_some()) << 1]);
        out.put(&[self.prefix.net().prefix_len()]);
        out.put(&self.prefix.net().addr().octets());
        out.put(&self.internal.0.octets());
        for (address, port) in [self.external, self.remote, scope] {
            out.put(&address.octets());
            out.put(&port.to_le_bytes());
        }
        out.put(&self.internal.1.to_le_bytes());
        for moment in [self.mapping_created, self.created, self.expires] {
            out.put(&moment.as_millis().to_le_bytes());
        }
        for count in [self.outbound.packets, self.outbound.bytes, self.inbound.packets, self.inbound.bytes] {
            out.put(&count.to_le_bytes());
        }
        self.expected.iter().for_each(|number| out.put(&number.to_le_bytes()));
        out.bytes
    }

    /// The session that [`SavedSession::to_bytes`] wrote; nothing if the bytes are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let mut from = Reader(bytes);
        let [protocol, state, flags, prefix_len] = from.take()?;
        let prefix = Ipv6Addr::from(from.take::<16>()?);
        let internal = Ipv6Addr::from(from.take::<16>()?);
        let mut end = || Some((Ipv4Addr::from(from.take::<4>()?), u16::from_le_bytes(from.take()?)));
        let (external, remote, scope) = (end()?, end()?, end()?);
        let internal = (internal, u16::from_le_bytes(from.take()?));
        let mut number = || Some(u64::from_le_bytes(from.take()?));
        let moments = [number()?, number()?, number()?].map(Timestamp::from_millis);
        let traffic = [number()?, number()?, number()?, number()?];
        let expected = [u32::from_le_bytes(from.take()?), u32::from_le_bytes(from.take()?)];
        Some(Self {
            protocol: *Protocol::ALL.get(usize::from(protocol))?,
            internal,
            external,
            scope: (flags & 2 != 0).then_some(scope),
            is_static: flags & 1 != 0,
            remote,
            prefix: Pref64::new(ipnet::Ipv6Net::new(prefix, prefix_len).ok()?).ok()?,
            mapping_created: moments[0],
            created: moments[1],
            expires: moments[2],
            outbound: Traffic { packets: traffic[0], bytes: traffic[1] },
            inbound: Traffic { packets: traffic[2], bytes: traffic[3] },
            state: *TcpState::ALL.get(usize::from(state))?,
            expected,
        })
    }
}

impl SavedSession {
    /// The session that an event of its beginning or its end tells of; nothing if it tells of something else. Of a TCP
    /// connection only the ends are known, so that it is in the state of one that was silent: the next packet opens it again
    /// (RFC 6146 §3.5.2.2, TRANS).
    #[must_use]
    pub fn of_event(event: &Event, prefix: Pref64, is_shared: bool) -> Option<Self> {
        let remote = event.remote?;
        matches!(event.kind, EventKind::SessionCreated | EventKind::SessionEnded { .. }).then_some(Self {
            protocol: event.protocol,
            internal: event.internal,
            external: event.external,
            scope: is_shared.then_some(remote),
            is_static: false,
            remote,
            prefix,
            mapping_created: event.began,
            created: event.began,
            expires: event.at,
            outbound: Traffic::default(),
            inbound: Traffic::default(),
            state: TcpState::Trans,
            expected: [0; 2],
        })
    }

    /// The session with time for its next packet, where it is not known when the last one came.
    #[must_use]
    pub fn given_time(&self, now: Timestamp, timers: &Timers) -> Self {
        let time = match self.protocol {
            Protocol::Tcp => timers.tcp_transitory,
            Protocol::Udp => timers.udp,
            Protocol::Icmp => timers.icmp,
        };
        Self { expires: self.expires.max(now + time), ..*self }
    }
}

impl Translator {
    /// Whether a pool port serves several hosts, towards different destinations (RFC 7857 §3).
    #[must_use]
    pub fn shares_ports(&self) -> bool {
        self.terms().policy.mapping == MappingBehavior::AddressAndPortDependent
    }

    /// Calls `visit` for the sessions of a shard, a few hundred under one lock. What changes meanwhile may be as before or
    /// as after. `visit` must not call the translator.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn save_sessions(&self, shard: usize, visit: &mut dyn FnMut(&SavedSession)) {
        let terms = self.terms();
        let mut page = 0;
        while self.shard(shard).page_to_save(&terms, page, visit) {
            page += 1;
        }
    }

    /// Takes a session over, under the policy in force: with the same addresses, ports, state and lifetime. No event tells of
    /// it; that it ends will be told.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub fn restore(&self, now: Timestamp, session: &SavedSession) -> Result<(), NotRestored> {
        if session.expires <= now {
            return Err(NotRestored::Expired);
        }
        self.with_context(now, |context| self.shard_of(session.internal.0).restore(context, session))
    }

    /// Makes a mapping, and its session if that is meant.
    pub(crate) fn place(&self, now: Timestamp, session: &SavedSession, with_session: bool) {
        self.with_context(now, |context| {
            let mut shard = self.shard_of(session.internal.0);
            if with_session {
                // A session that is about to end may be refused; then the packet does without, as it would a moment later.
                let _ = shard.restore(context, session);
            } else {
                shard.restore_mapping(context, session);
            }
        });
    }

    fn with_context<T>(&self, now: Timestamp, work: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let terms = self.terms();
        let mut context = Context {
            terms: &terms,
            totals: &self.totals,
            stored_syns: &self.stored_syns,
            overlap: &self.overlap,
            now,
            tick: Tick::at(now),
            // They go nowhere.
            events: &mut EventBuffer::new(0),
        };
        work(&mut context)
    }
}

impl SavedSession {
    pub(crate) fn ticks(&self) -> [Tick; 3] {
        [self.mapping_created, self.created, self.expires].map(Tick::at)
    }
}

struct Writer {
    bytes: [u8; SavedSession::BYTES],
    at: usize,
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
mod tests;
