//! A million sessions, and packets of them.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use nat64_core::policy::PoolRange;
use nat64_core::{HEADROOM, Offload, PacketBuf, Policy, Timestamp, Translator, Verdict, Worker};
use pref64::Pref64;

pub(crate) const MILLION: u32 = 1_000_000;
/// Half of the sessions are one host's, so that one shard has half a million; the other hosts have 16 each.
pub(crate) const GREEDY: u32 = MILLION / 2;
pub(crate) fn prefix() -> Pref64 {
    "2001:db8:64::/96".parse().unwrap()
}

pub(crate) fn policy() -> Policy {
    let range = PoolRange { last: Ipv4Addr::new(192, 0, 2, 31), ..PoolRange::address(Ipv4Addr::new(192, 0, 2, 0)) };
    let mut policy = Policy::new(vec![prefix()], vec![range]);
    policy.limits.sessions = MILLION + 1000;
    policy.limits.mappings = MILLION + 1000;
    policy
}

/// Host, port and destination of a session.
pub(crate) fn flow(number: u32) -> (Ipv6Addr, u16, Ipv4Addr) {
    let (subnet, port) = if number < GREEDY { (0, number / 50_000) } else { (1 + (number - GREEDY) / 16, number % 16) };
    let host = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(subnet) << 64 | 1);
    // Of the greedy host, each port has 50,000 destinations.
    let destination = if number < GREEDY { number % 50_000 } else { 250 };
    (host, 1024 + u16::try_from(port).unwrap(), Ipv4Addr::from_bits(0xc612_0000 + destination))
}

/// Sends packets through a translator.
pub(crate) struct Sender {
    pub(crate) worker: Worker,
    template: Vec<u8>,
    storage: Vec<u8>,
}

impl Sender {
    pub(crate) fn new() -> Self {
        let mut template = Vec::new();
        PacketBuilder::ipv6([0; 16], [0; 16], 64).udp(0, 53).write(&mut template, b"x").unwrap();
        let storage = vec![0; 2 * HEADROOM + template.len()];
        Self { worker: Worker::new(), template, storage }
    }

    pub(crate) fn send(&mut self, translator: &Translator, number: u32) -> Verdict {
        let (host, port, destination) = flow(number);
        self.template[8..24].copy_from_slice(&host.octets());
        self.template[24..40].copy_from_slice(&prefix().embed(destination).octets());
        self.template[40..42].copy_from_slice(&port.to_be_bytes());
        let len = self.template.len();
        self.storage[HEADROOM..HEADROOM + len].copy_from_slice(&self.template);
        let mut packet = PacketBuf::new(&mut self.storage, HEADROOM, len, Offload::default());
        let verdict = translator.batch(Timestamp::ZERO, &mut self.worker).translate(&mut packet);
        self.worker.events.drain().for_each(drop);
        verdict
    }

    /// Opens all of them.
    pub(crate) fn open_all(&mut self, translator: &Translator) {
        for number in 0..MILLION {
            let verdict = self.send(translator, number);
            assert!(matches!(verdict, Verdict::Translated(_)), "{number}: {verdict:?}");
        }
    }
}
