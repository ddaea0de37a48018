//! A translator with a clock, and packets for it.

pub(crate) mod build;
pub(crate) mod check;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use nat64_core::packet::{HEADROOM, Offload, PacketBuf};
use nat64_core::policy::{Policy, PoolRange};
use nat64_core::{Event, MappingInfo, SessionInfo, Timestamp, Translator, Verdict, Worker};
use pref64::Pref64;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The pool's first address.
pub(crate) const POOL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// An IPv4 host.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 80);
/// A subscriber.
pub(crate) const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10);

/// The prefix of most tests.
pub(crate) fn prefix() -> Pref64 {
    "2001:db8:64::/96".parse().unwrap()
}

/// The policy of most tests.
pub(crate) fn policy() -> Policy {
    Policy::new(vec![prefix()], vec![PoolRange::address(POOL)])
}

/// A packet and what is said of it to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: Offload,
}

/// What came of a packet.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// What is in the buffer, if the verdict says that it is to be written.
    pub(crate) packet: Option<Sent>,
    /// What was in the spill.
    pub(crate) spilled: Vec<Sent>,
}

impl Outcome {
    /// All packets, that of the buffer first, as the data plane writes them.
    pub(crate) fn packets(self) -> Vec<Vec<u8>> {
        self.packet.into_iter().chain(self.spilled).map(|sent| sent.bytes).collect()
    }
}

/// A translator, its worker and the time.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) translator: Translator,
    pub(crate) worker: Worker,
    pub(crate) now: Timestamp,
}

impl Lab {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { translator: Translator::new(policy, 42).unwrap(), worker: Worker::new(), now: Timestamp::ZERO }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Outcome {
        self.send_offloaded(bytes, Offload::default())
    }

    pub(crate) fn send_offloaded(&mut self, bytes: &[u8], offload: Offload) -> Outcome {
        let mut storage = vec![0xee; HEADROOM + bytes.len() + HEADROOM];
        storage[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        let mut packet = PacketBuf::new(&mut storage, HEADROOM, bytes.len(), offload);
        let verdict = self.translator.batch(self.now, &mut self.worker).translate(&mut packet);
        let packet = match verdict {
            Verdict::Translated(_) | Verdict::Hairpinned | Verdict::Refused(_) => {
                Some(Sent { bytes: packet.bytes().to_vec(), offload: packet.offload })
            }
            Verdict::Held | Verdict::Dropped(_) => None,
        };
        Outcome { verdict, packet, spilled: self.spilled() }
    }

    /// Sends what must be translated, and returns what came out in the buffer.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let outcome = self.send(bytes);
        assert!(matches!(outcome.verdict, Verdict::Translated(_) | Verdict::Hairpinned), "{outcome:?}");
        outcome.packet.unwrap().bytes
    }

    /// Moves the clock and lets everything expire that is due. Returns what timers sent.
    pub(crate) fn expire_at(&mut self, now: Timestamp) -> Vec<Sent> {
        self.now = now;
        let mut sent = Vec::new();
        loop {
            let more = self.translator.expire(self.now, &mut self.worker);
            sent.extend(self.spilled());
            if !more {
                break sent;
            }
        }
    }

    /// Lets time pass in steps of a tenth of a second, and returns what timers sent.
    pub(crate) fn pass_time(&mut self, duration: Duration) -> Vec<Sent> {
        let end = self.now + duration;
        let mut sent = Vec::new();
        while self.now < end {
            sent.extend(self.expire_at((self.now + Duration::from_millis(100)).min(end)));
        }
        sent
    }

    pub(crate) fn sessions(&self) -> Vec<SessionInfo> {
        let mut sessions = Vec::new();
        for shard in 0..self.translator.shards() {
            self.translator.visit_sessions(shard, self.now, &mut |session| sessions.push(*session));
        }
        sessions
    }

    pub(crate) fn mappings(&self) -> Vec<MappingInfo> {
        let mut mappings = Vec::new();
        for shard in 0..self.translator.shards() {
            self.translator.visit_mappings(shard, &mut |mapping| mappings.push(*mapping));
        }
        mappings
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        self.worker.events.drain().collect()
    }

    fn spilled(&mut self) -> Vec<Sent> {
        let mut spilled = Vec::new();
        self.worker.spill.drain(|bytes, offload| spilled.push(Sent { bytes: bytes.to_vec(), offload }));
        spilled
    }
}
