//! A translator with a host on each side, and a clock that tests move.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use nat64_core::policy::PoolRange;
use nat64_core::{
    DropReason, HEADROOM, MappingInfo, Offload, PacketBuf, Policy, SessionInfo, Timestamp, Translator, Verdict, Worker,
};
use pref64::Pref64;

use crate::wire::{End, Icmp, V4, V6};

/// A host behind the translator.
pub(crate) const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10);
/// Another one.
pub(crate) const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x20);
/// A router on the IPv6 side.
pub(crate) const ROUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1);
/// An IPv4 host.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 80);
/// Another one.
pub(crate) const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 99);
/// A router on the IPv4 side.
pub(crate) const ROUTER4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The pool's only address.
pub(crate) const POOL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The client's port in most tests.
pub(crate) const PORT: u16 = 40_000;
/// The server's port in most tests.
pub(crate) const SERVICE: u16 = 443;

pub(crate) const SYN: u8 = 2;
pub(crate) const SYN_ACK: u8 = 18;
pub(crate) const ACK: u8 = 16;
pub(crate) const FIN_ACK: u8 = 17;
pub(crate) const RST: u8 = 4;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// The prefix of most tests.
pub(crate) fn prefix() -> Pref64 {
    "2001:db8:64::/96".parse().unwrap()
}

/// How an IPv4 host looks from inside.
pub(crate) fn six(address: Ipv4Addr) -> Ipv6Addr {
    prefix().embed(address)
}

/// The policy of most tests.
pub(crate) fn policy() -> Policy {
    Policy::new(vec![prefix()], vec![PoolRange::address(POOL)])
}

/// A translator, its worker and the time.
pub(crate) struct Lab {
    pub(crate) translator: Translator,
    pub(crate) worker: Worker,
    pub(crate) now: Timestamp,
}

/// What came of a packet.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// All that is to be written, in its order.
    pub(crate) packets: Vec<Vec<u8>>,
}

impl Outcome {
    /// Asserts that the packet went no further and nobody was told.
    #[track_caller]
    pub(crate) fn silent(&self, reason: DropReason) {
        assert_eq!((self.verdict, self.packets.len()), (Verdict::Dropped(reason), 0), "{self:?}");
    }

    /// The ICMPv6 error that its sender got, and from where.
    #[track_caller]
    pub(crate) fn error6(&self, reason: DropReason) -> (V6, Icmp) {
        assert_eq!(self.verdict, Verdict::Refused(reason), "{self:?}");
        let error = V6::read(self.only());
        let message = error.read_icmp();
        (error, message)
    }

    /// The ICMP error that its sender got, and from where.
    #[track_caller]
    pub(crate) fn error4(&self, reason: DropReason) -> (V4, Icmp) {
        assert_eq!(self.verdict, Verdict::Refused(reason), "{self:?}");
        let error = V4::read(self.only());
        let message = error.read_icmp();
        (error, message)
    }

    /// Asserts that the packet was kept and nothing came out.
    #[track_caller]
    pub(crate) fn held(&self) {
        assert_eq!((self.verdict, self.packets.len()), (Verdict::Held, 0), "{self:?}");
    }

    /// The only packet that came out.
    #[track_caller]
    pub(crate) fn only(&self) -> &[u8] {
        let [packet] = self.packets.as_slice() else { panic!("not one packet: {self:?}") };
        packet
    }

    /// What came out, all of it IPv4.
    pub(crate) fn all4(&self) -> Vec<V4> {
        self.packets.iter().map(|packet| V4::read(packet)).collect()
    }

    /// What came out, all of it IPv6.
    pub(crate) fn all6(&self) -> Vec<V6> {
        self.packets.iter().map(|packet| V6::read(packet)).collect()
    }
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With a policy that differs from the default.
    pub(crate) fn with(change: impl FnOnce(&mut Policy)) -> Self {
        let mut policy = policy();
        change(&mut policy);
        Self { translator: Translator::new(policy, 42).unwrap(), worker: Worker::new(), now: Timestamp::ZERO }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Outcome {
        let mut storage = vec![0; HEADROOM + bytes.len() + HEADROOM];
        storage[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        let mut packet = PacketBuf::new(&mut storage, HEADROOM, bytes.len(), Offload::default());
        let verdict = self.translator.batch(self.now, &mut self.worker).translate(&mut packet);
        let mut packets = match verdict {
            Verdict::Translated(_) | Verdict::Hairpinned | Verdict::Refused(_) => vec![packet.bytes().to_vec()],
            Verdict::Held | Verdict::Dropped(_) => Vec::new(),
        };
        packets.extend(self.spilled());
        Outcome { verdict, packets }
    }

    pub(crate) fn send6(&mut self, packet: &V6) -> Outcome {
        self.send(&packet.bytes())
    }

    pub(crate) fn send4(&mut self, packet: &V4) -> Outcome {
        self.send(&packet.bytes())
    }

    /// Sends what must come out on the IPv4 side as one packet.
    #[track_caller]
    pub(crate) fn pass6(&mut self, packet: &V6) -> V4 {
        let outcome = self.send6(packet);
        assert!(matches!(outcome.verdict, Verdict::Translated(_)), "{outcome:?}");
        V4::read(outcome.only())
    }

    /// Sends what must come out on the IPv6 side as one packet.
    #[track_caller]
    pub(crate) fn pass4(&mut self, packet: &V4) -> V6 {
        let outcome = self.send4(packet);
        assert!(matches!(outcome.verdict, Verdict::Translated(_)), "{outcome:?}");
        V6::read(outcome.only())
    }

    /// Lets time pass in steps of a tenth of a second, and returns what timers sent.
    pub(crate) fn pass_time(&mut self, duration: Duration) -> Vec<Vec<u8>> {
        let end = self.now + duration;
        let mut sent = Vec::new();
        while self.now < end {
            self.now = (self.now + Duration::from_millis(100)).min(end);
            while self.translator.expire(self.now, &mut self.worker) {}
            sent.extend(self.spilled());
        }
        sent
    }

    /// Makes a UDP session of [`CLIENT`] with [`SERVER`], and returns its pool port.
    pub(crate) fn open_udp(&mut self) -> u16 {
        self.pass6(&client_udp(b"hello")).ports().0
    }

    /// Makes an echo session of [`CLIENT`] with [`SERVER`], and returns its pool identifier.
    pub(crate) fn open_echo(&mut self) -> u16 {
        self.pass6(&V6::icmp(CLIENT, six(SERVER), &Icmp::echo(128, PORT, 1, b"ping"))).read_icmp().identifier()
    }

    /// Makes an established connection of [`CLIENT`] with [`SERVER`], and returns its pool port.
    pub(crate) fn open_tcp(&mut self) -> u16 {
        let port = self.pass6(&client_tcp(SYN)).ports().0;
        self.pass4(&server_tcp(port, SYN_ACK));
        self.pass6(&client_tcp(ACK));
        assert_eq!(self.state(), "ESTABLISHED");
        port
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

    /// The TCP state of the only session, `CLOSED` if there is none.
    #[track_caller]
    pub(crate) fn state(&self) -> &'static str {
        match self.sessions().as_slice() {
            [] => "CLOSED",
            [session] => session.state,
            several => panic!("{several:?}"),
        }
    }

    /// How long the only session lives if nothing comes.
    #[track_caller]
    pub(crate) fn lifetime(&self) -> Duration {
        let [session] = self.sessions()[..] else { panic!("{:?}", self.sessions()) };
        session.expires_in
    }

    /// Asserts that the only session starts to live that long now; its timer counts in tenths of seconds.
    #[track_caller]
    pub(crate) fn lives_for(&self, duration: Duration) {
        let left = self.lifetime();
        assert!((duration..duration + Duration::from_millis(200)).contains(&left), "{left:?} is not {duration:?}");
    }

    /// Asserts that there is no state.
    #[track_caller]
    pub(crate) fn is_empty(&self) {
        assert_eq!((self.sessions(), self.mappings()), (Vec::new(), Vec::new()));
    }

    fn spilled(&mut self) -> Vec<Vec<u8>> {
        let mut spilled = Vec::new();
        self.worker.spill.drain(|bytes, _| spilled.push(bytes.to_vec()));
        spilled
    }
}

/// What the client sends to the server.
pub(crate) fn client_udp(data: &[u8]) -> V6 {
    V6::udp((CLIENT, PORT), service6(), data)
}

/// What the server sends to a pool port.
pub(crate) fn server_udp(port: u16, data: &[u8]) -> V4 {
    V4::udp((SERVER, SERVICE), (POOL, port), data)
}

/// A segment without data from the client to the server.
pub(crate) fn client_tcp(flags: u8) -> V6 {
    V6::tcp((CLIENT, PORT), service6(), flags, b"")
}

/// A segment without data from the server to a pool port.
pub(crate) fn server_tcp(port: u16, flags: u8) -> V4 {
    V4::tcp((SERVER, SERVICE), (POOL, port), flags, b"")
}

/// The server's end as the client sees it.
pub(crate) fn service6() -> End<Ipv6Addr> {
    (six(SERVER), SERVICE)
}
