//! A translator with sessions in it, for tests of those who show them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use nat64_core::policy::PoolRange;
use nat64_core::{HEADROOM, Offload, PacketBuf, Policy, Timestamp, Translator, Verdict, Worker};
use pref64::Pref64;

/// A translator and what sends packets through it.
pub(crate) struct Flows {
    /// The translator.
    pub(crate) translator: Arc<Translator>,
    worker: Worker,
    storage: Vec<u8>,
}

impl Flows {
    /// The default policy, with the pool 192.0.2.0/27 and room for two million sessions.
    pub(crate) fn new() -> Self {
        let pool = PoolRange { last: Ipv4Addr::new(192, 0, 2, 31), ..PoolRange::address(Ipv4Addr::new(192, 0, 2, 0)) };
        let mut policy = Policy::new(vec![Self::prefix()], vec![pool]);
        policy.limits.sessions = 2_000_000;
        policy.limits.mappings = 2_000_000;
        let translator = Arc::new(Translator::new(policy, 42).unwrap());
        Self { translator, worker: Worker::new(), storage: vec![0; 4096] }
    }

    fn prefix() -> Pref64 {
        "2001:db8:64::/96".parse().unwrap()
    }

    /// The address of a host inside.
    pub(crate) fn host(number: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 1, number, 0, 0, 0, 1)
    }

    /// Sends UDP from a host and port to port 53 of 198.51.100.`remote`, and so on with larger numbers.
    pub(crate) fn send(&mut self, at: u64, (host, port): (u16, u16), remote: u32, len: usize) {
        let destination = Self::prefix().embed(Ipv4Addr::from_bits(0xc633_6400 + remote));
        let payload = u16::try_from(8 + len).unwrap().to_be_bytes();
        let packet = &mut self.storage[HEADROOM..HEADROOM + 48 + len];
        // An IPv6 header with a hop limit of 64, and one of UDP with some checksum, which nobody looks at on the way.
        packet[..8].copy_from_slice(&[0x60, 0, 0, 0, payload[0], payload[1], 17, 64]);
        packet[8..24].copy_from_slice(&Self::host(host).octets());
        packet[24..40].copy_from_slice(&destination.octets());
        packet[40..42].copy_from_slice(&port.to_be_bytes());
        packet[42..48].copy_from_slice(&[0, 53, payload[0], payload[1], 0x12, 0x34]);
        let mut buffer = PacketBuf::new(&mut self.storage, HEADROOM, 48 + len, Offload::default());
        let verdict = self.translator.batch(Timestamp::from_millis(at), &mut self.worker).translate(&mut buffer);
        assert!(matches!(verdict, Verdict::Translated(_)), "{verdict:?}");
        self.worker.events.drain().for_each(drop);
    }

    /// Opens a million sessions of as many mappings: 16 ports of each of 62,500 hosts, each to one of 250 destinations.
    pub(crate) fn open_a_million(&mut self) {
        for number in 0..1_000_000_u32 {
            let (host, port) = (u16::try_from(number / 16).unwrap(), 1024 + u16::try_from(number % 16).unwrap());
            self.send(0, (host, port), number % 250, 8);
        }
    }

    /// Lets everything expire that is due.
    pub(crate) fn expire_all(&mut self, at: u64) {
        while self.translator.expire(Timestamp::from_millis(at), &mut self.worker) {
            self.worker.events.drain().for_each(drop);
        }
    }
}
