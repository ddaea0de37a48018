use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Bench, Group, POOL};
use crate::one_cpu::OneCpu;
use crate::port::Port;
use crate::support::holds_within;
use crate::wire::{End, Icmp, TCP, UDP, V4, V6};

/// The client's port in most tests.
pub(crate) const PORT: u16 = 40_000;
/// The server's port in most tests.
pub(crate) const SERVICE: u16 = 443;
/// A packet passes the gateway's kernel, the translator and the kernel again. Each is a router to it.
pub(crate) const HOPS: u8 = 3;

pub(crate) const SYN: u8 = 2;
pub(crate) const SYN_ACK: u8 = 18;
pub(crate) const ACK: u8 = 16;
pub(crate) const FIN_ACK: u8 = 17;
pub(crate) const RST: u8 = 4;

/// How long the daemon's counters may take to follow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Reasons for which the packets of an earlier case may be dropped.
const LATE: [&str; 2] = ["fragment-timeout", "stored-syn-timeout"];

/// A test at its bench, with hosts on both sides that no other test has.
pub(crate) struct Case {
    group: &'static Group,
    number: u16,
    inside: Port,
    outside: Port,
    _one_cpu: OneCpu,
    bench: MutexGuard<'static, Bench>,
}

/// A packet, and the side that it is sent from.
pub(crate) trait Packet {
    fn put(&self, case: &Case);
}

impl Packet for V6 {
    fn put(&self, case: &Case) {
        case.inside.send(&self.bytes());
    }
}

impl Packet for V4 {
    fn put(&self, case: &Case) {
        case.outside.send(&self.bytes());
    }
}

impl Group {
    /// A case when the bench is free; `None`, said on stderr, where there can be none.
    pub(crate) fn case(&'static self) -> Option<Case> {
        static NUMBER: AtomicU16 = AtomicU16::new(1);
        self.case_of(NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// A case whose hosts are known beforehand.
    pub(crate) fn case_of(&'static self, number: u16) -> Option<Case> {
        let bench = self.bench()?;
        let (inside, outside) = bench.ports();
        Some(Case { group: self, number, inside, outside, _one_cpu: OneCpu::new(), bench })
    }
}

/// The hosts of a case.
impl Case {
    /// Host number `host` of the subnet behind the translator that is the case's.
    pub(crate) fn host6(&self, host: u16) -> Ipv6Addr {
        self.host_at(0xc, host)
    }

    /// Host number `host` of the case's subnet at another site.
    pub(crate) const fn host_at(&self, site: u16, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, site, self.number, 0, 0, 0, host)
    }

    /// The host on the IPv4 side whose address begins with these octets.
    pub(crate) fn host4(&self, first: u8, second: u8) -> Ipv4Addr {
        let [third, fourth] = self.number.to_be_bytes();
        Ipv4Addr::new(first, second, third, fourth)
    }

    pub(crate) fn client(&self) -> Ipv6Addr {
        self.host6(0x10)
    }

    /// Another host behind the translator.
    pub(crate) fn other(&self) -> Ipv6Addr {
        self.host6(0x20)
    }

    /// A router on the IPv6 side.
    pub(crate) fn router6(&self) -> Ipv6Addr {
        self.host6(1)
    }

    pub(crate) fn server(&self) -> Ipv4Addr {
        self.host4(198, 18)
    }

    /// Another IPv4 host.
    pub(crate) fn stranger(&self) -> Ipv4Addr {
        self.host4(198, 19)
    }

    /// A router on the IPv4 side.
    pub(crate) fn router4(&self) -> Ipv4Addr {
        self.host4(192, 88)
    }

    /// How an IPv4 host looks from inside.
    pub(crate) fn six(&self, address: Ipv4Addr) -> Ipv6Addr {
        self.group.six(address)
    }

    /// The server's end as the client sees it.
    pub(crate) fn service6(&self) -> End<Ipv6Addr> {
        (self.six(self.server()), SERVICE)
    }

    fn is_of_case(&self, packet: &[u8]) -> bool {
        is_for(self.number)(packet)
    }
}

/// Whether a packet is for a host of the case of that number.
fn is_for(number: u16) -> impl Fn(&[u8]) -> bool {
    let number = number.to_be_bytes();
    move |packet| match packet[0] >> 4 {
        4 => packet[18..20] == number,
        _ => packet[24..28] == [0x20, 1, 0xd, 0xb8] && packet[30..32] == number,
    }
}

/// Its packets.
impl Case {
    /// What the client sends to the server.
    pub(crate) fn client_udp(&self, data: &[u8]) -> V6 {
        V6::udp((self.client(), PORT), self.service6(), data)
    }

    /// What the server sends to a pool port.
    pub(crate) fn server_udp(&self, port: u16, data: &[u8]) -> V4 {
        V4::udp((self.server(), SERVICE), (POOL, port), data)
    }

    /// A segment without data from the client to the server.
    pub(crate) fn client_tcp(&self, flags: u8) -> V6 {
        V6::tcp((self.client(), PORT), self.service6(), flags, b"")
    }

    /// A segment without data from the server to a pool port.
    pub(crate) fn server_tcp(&self, port: u16, flags: u8) -> V4 {
        V4::tcp((self.server(), SERVICE), (POOL, port), flags, b"")
    }

    /// An echo request from the client to the server.
    pub(crate) fn client_echo(&self, data: &[u8]) -> V6 {
        V6::icmp(self.client(), self.six(self.server()), &Icmp::echo(128, PORT, 1, data))
    }

    /// Makes a UDP session of the client with the server, and returns its pool port.
    #[track_caller]
    pub(crate) fn open_udp(&mut self) -> u16 {
        self.pass6(&self.client_udp(b"hello")).ports().0
    }

    /// Makes an echo session of the client with the server, and returns its pool identifier.
    #[track_caller]
    pub(crate) fn open_echo(&mut self) -> u16 {
        self.pass6(&self.client_echo(b"ping")).read_icmp().identifier()
    }

    /// Makes an established connection of the client with the server, and returns its pool port.
    #[track_caller]
    pub(crate) fn open_tcp(&mut self) -> u16 {
        let port = self.pass6(&self.client_tcp(SYN)).ports().0;
        self.pass4(&self.server_tcp(port, SYN_ACK));
        self.pass6(&self.client_tcp(ACK));
        port
    }
}

/// What becomes of packets.
impl Case {
    /// Sends a packet and waits for nothing.
    pub(crate) fn send(&self, packet: &impl Packet) {
        packet.put(self);
    }

    /// Waits for the next packet of the case on the IPv4 side.
    #[track_caller]
    pub(crate) fn arrival4(&mut self) -> V4 {
        match self.outside.receive(is_for(self.number)) {
            Some(packet) => V4::read(&packet),
            None => panic!("nothing arrives on the IPv4 side; {}", self.report()),
        }
    }

    /// Waits for the next packet of the case on the IPv6 side.
    #[track_caller]
    pub(crate) fn arrival6(&mut self) -> V6 {
        match self.inside.receive(is_for(self.number)) {
            Some(packet) => V6::read(&packet),
            None => panic!("nothing arrives on the IPv6 side; {}", self.report()),
        }
    }

    /// Waits for all fragments of a datagram on the IPv6 side, which must come in order.
    #[track_caller]
    pub(crate) fn fragments6(&mut self) -> Vec<V6> {
        let mut fragments = vec![self.arrival6()];
        while fragments.last().unwrap().fragment().expect("a fragment").more {
            fragments.push(self.arrival6());
        }
        self.quiet();
        fragments
    }

    /// Waits until everything sent so far has been dealt with.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        self.bench.round_trip(&mut self.inside, &mut self.outside);
    }

    /// The next packet of the case that has arrived on the IPv6 side.
    pub(crate) fn arrived6(&mut self) -> Option<V6> {
        self.inside.take(is_for(self.number)).map(|packet| V6::read(&packet))
    }

    /// Waits until everything sent so far has been dealt with. Nothing of the case may have arrived that was not asked for.
    #[track_caller]
    pub(crate) fn quiet(&mut self) {
        self.settle();
        for packet in self.inside.waiting().chain(self.outside.waiting()) {
            assert!(!self.is_of_case(packet), "more has arrived: {packet:02x?}");
        }
    }

    /// Sends what must arrive on the IPv4 side as one packet.
    #[track_caller]
    pub(crate) fn pass6(&mut self, packet: &V6) -> V4 {
        self.send(packet);
        let got = self.arrival4();
        self.quiet();
        got
    }

    /// Sends what must arrive on the IPv6 side as one packet.
    #[track_caller]
    pub(crate) fn pass4(&mut self, packet: &V4) -> V6 {
        self.send(packet);
        let got = self.arrival6();
        self.quiet();
        got
    }

    /// Sends a packet that must go no further for that reason, and nobody be told.
    #[track_caller]
    pub(crate) fn silent(&mut self, packet: &impl Packet, reason: &str) {
        let before = self.bench.drops();
        self.send(packet);
        self.dropped_since(&before, reason);
        self.quiet();
    }

    /// Sends a packet that must go no further for that reason, and its sender be told: returns the error, and from where.
    #[track_caller]
    pub(crate) fn refused6(&mut self, packet: &V6, reason: &str) -> (V6, Icmp) {
        let before = self.bench.drops();
        self.send(packet);
        let error = self.arrival6();
        self.dropped_since(&before, reason);
        self.quiet();
        let message = error.read_icmp();
        (error, message)
    }

    /// Sends a packet that must go no further for that reason, and its sender be told: returns the error, and from where.
    #[track_caller]
    pub(crate) fn refused4(&mut self, packet: &V4, reason: &str) -> (V4, Icmp) {
        let before = self.bench.drops();
        self.send(packet);
        let error = self.arrival4();
        self.dropped_since(&before, reason);
        self.quiet();
        let message = error.read_icmp();
        (error, message)
    }

    /// Sends a packet from the IPv4 side that must not be delivered, for that reason. Its sender may be told.
    #[track_caller]
    pub(crate) fn not_delivered(&mut self, packet: &V4, reason: &str) {
        let before = self.bench.drops();
        self.send(packet);
        self.dropped_since(&before, reason);
        self.settle();
        self.forget_arrivals();
    }

    /// Takes all that has arrived as seen.
    pub(crate) fn forget_arrivals(&mut self) {
        while self.outside.take(is_for(self.number)).is_some() {}
        while self.inside.take(is_for(self.number)).is_some() {}
    }

    /// Sends a packet that the translator must keep for later.
    #[track_caller]
    pub(crate) fn held(&mut self, packet: &impl Packet) {
        let before = self.bench.count("held");
        self.send(packet);
        self.quiet();
        let counted = holds_within(PATIENCE, || self.bench.count("held") == before + 1);
        assert!(counted, "was not kept; {}", self.report());
    }

    /// Sends a packet that must be kept, or dropped for nothing in particular, without anybody noticing.
    #[track_caller]
    pub(crate) fn swallowed(&mut self, packet: &impl Packet) {
        self.send(packet);
        self.quiet();
    }

    /// How many packets have been dropped, by reason.
    #[track_caller]
    pub(crate) fn drops(&self) -> BTreeMap<String, u64> {
        self.bench.drops()
    }

    /// Waits until one packet more than at `before` was dropped, for that reason. No other may have been.
    #[track_caller]
    pub(crate) fn dropped_since(&self, before: &BTreeMap<String, u64>, reason: &str) {
        let counts = |drops: &BTreeMap<String, u64>| {
            let of_this_case = drops.iter().filter(|(name, _)| *name == reason || !LATE.contains(&name.as_str()));
            of_this_case.map(|(name, count)| (name.clone(), *count)).collect::<BTreeMap<_, _>>()
        };
        let mut wanted = counts(before);
        *wanted.entry(reason.to_owned()).or_default() += 1;
        let mut now = BTreeMap::new();
        let counted = holds_within(PATIENCE, || {
            now = counts(&self.bench.drops());
            now == wanted
        });
        assert!(counted, "{reason} is not what happened: {before:?} became {now:?}");
    }

    /// The case's sessions as the daemon lists them.
    #[track_caller]
    pub(crate) fn sessions(&self) -> Vec<Value> {
        self.listing("sessions")
    }

    /// The case's mappings as the daemon lists them.
    #[track_caller]
    pub(crate) fn mappings(&self) -> Vec<Value> {
        self.listing("mappings")
    }

    /// The pool ports of that protocol that have a mapping, whoever's.
    #[track_caller]
    pub(crate) fn mapped(&self, protocol: u8) -> HashSet<u16> {
        let name = match protocol {
            TCP => "tcp",
            UDP => "udp",
            _ => "icmp",
        };
        let mappings = self.bench.listing("mappings").into_iter().filter(|mapping| mapping["protocol"] == name);
        let ports = mappings.filter_map(|mapping| mapping["external"]["port"].as_u64());
        ports.map(|port| u16::try_from(port).unwrap()).collect()
    }

    /// A pool port of that protocol that has no mapping.
    #[track_caller]
    pub(crate) fn unmapped(&self, protocol: u8) -> u16 {
        let mapped = self.mapped(protocol);
        (4242..).find(|port| !mapped.contains(port)).unwrap()
    }

    /// The state of the only TCP session, `CLOSED` if there is none.
    #[track_caller]
    pub(crate) fn state(&self) -> String {
        match self.sessions().as_slice() {
            [] => "CLOSED".to_owned(),
            [session] => session["state"].as_str().unwrap().to_owned(),
            several => panic!("{several:?}"),
        }
    }

    fn listing(&self, what: &str) -> Vec<Value> {
        let is_ours = |entry: &Value| {
            let host: Ipv6Addr = entry["internal"]["address"].as_str().unwrap().parse().unwrap();
            host.segments()[3] == self.number
        };
        self.bench.listing(what).into_iter().filter(is_ours).collect()
    }

    fn report(&self) -> String {
        let waiting: Vec<_> =
            self.inside.waiting().chain(self.outside.waiting()).filter(|it| self.is_of_case(it)).collect();
        format!("drops so far: {:?}; not asked for: {waiting:02x?}", self.bench.drops())
    }
}
