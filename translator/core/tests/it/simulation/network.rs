//! A gateway with a translator between two paths of links and routers, on a virtual clock.
//!
//! A path's position 0 is the gateway's kernel, its last position the place of its hosts, and what is between are
//! routers. Links have an MTU each; routers answer or fragment what does not fit, and count hops down.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use nat64_core::{Policy, Timestamp, Verdict};

use super::tcp::Endpoint;
use crate::support::build::{Body, Ends, Ip, fragments, packet};
use crate::support::check::{ends_of, is_sound};
use crate::support::{Lab, SECOND, prefix};

/// The IPv6 side and the IPv4 side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Six,
    Four,
}

/// The links of one side, from the gateway on, and what they do to packets.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) mtus: Vec<usize>,
    /// Packets of a hundred that are lost, come twice or come late.
    pub(super) lost: u32,
    pub(super) doubled: u32,
    pub(super) late: u32,
}

impl Path {
    pub(super) fn of(mtus: &[usize]) -> Self {
        Self { mtus: mtus.to_vec(), lost: 0, doubled: 0, late: 0 }
    }
}

/// Everything.
pub(super) struct Network {
    pub(super) lab: Lab,
    six: Path,
    four: Path,
    pub(super) endpoints: Vec<Endpoint>,
    /// What arrived at hosts and is no TCP, whole.
    pub(super) inbox: Vec<Vec<u8>>,
    /// What the translator said of each packet that it got.
    pub(super) verdicts: Vec<Verdict>,
    queue: BinaryHeap<Reverse<(Timestamp, u64, Arrival)>>,
    pieces: BTreeMap<(IpAddr, IpAddr, u32), Vec<Vec<u8>>>,
    sent: u64,
    chance: u64,
    expired: Timestamp,
}

/// A packet that arrives at the gateway's device or at a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Arrival {
    Device(Vec<u8>),
    Host(Vec<u8>),
}

/// Which way a packet goes along a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Out,
    In,
}

impl Network {
    pub(super) fn new(policy: Policy, six: Path, four: Path) -> Self {
        Self {
            lab: Lab::new(policy),
            six,
            four,
            endpoints: Vec::new(),
            inbox: Vec::new(),
            verdicts: Vec::new(),
            queue: BinaryHeap::new(),
            pieces: BTreeMap::new(),
            sent: 0,
            chance: 1,
            expired: Timestamp::ZERO,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.lab.now
    }

    /// A host sends a packet.
    pub(super) fn send(&mut self, bytes: Vec<u8>) {
        let side = side_of(&bytes);
        let place = self.path(side).mtus.len();
        self.walk(side, place, Way::In, bytes);
    }

    /// Lets things happen for that long.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now() + duration;
        while self.now() < end {
            let next = self.next_event().min(end);
            self.lab.now = next;
            if next >= self.expired + SECOND {
                self.expired = next;
                for sent in self.lab.expire_at(next) {
                    self.route(sent.bytes);
                }
            }
            while self.queue.peek().is_some_and(|Reverse((at, ..))| *at <= next) {
                let Some(Reverse((_, _, arrival))) = self.queue.pop() else { break };
                match arrival {
                    Arrival::Device(bytes) => self.translate(&bytes),
                    Arrival::Host(bytes) => self.receive(bytes),
                }
            }
            for index in 0..self.endpoints.len() {
                let packets = self.endpoints[index].tick(next);
                packets.into_iter().for_each(|packet| self.send(packet));
            }
        }
    }

    /// The next packet, the next timer of an endpoint, or the next time that the translator's timers are looked after,
    /// which is once a second.
    fn next_event(&self) -> Timestamp {
        let arrival = self.queue.peek().map(|Reverse((at, ..))| *at);
        let timers = self.endpoints.iter().filter_map(Endpoint::deadline);
        timers
            .chain(arrival)
            .min()
            .unwrap_or(Timestamp::from_millis(u64::MAX))
            .min(self.expired + SECOND)
            .max(self.now())
    }

    fn translate(&mut self, bytes: &[u8]) {
        let sound = is_sound(bytes).is_ok();
        let outcome = self.lab.send(bytes);
        self.lab.events();
        self.verdicts.push(outcome.verdict);
        for packet in outcome.packets() {
            if sound {
                is_sound(&packet).unwrap();
            }
            self.route(packet);
        }
    }

    /// The gateway's kernel forwards what the translator wrote.
    fn route(&mut self, bytes: Vec<u8>) {
        match ends_of(&bytes).destination {
            IpAddr::V6(address) if prefix().contains(address) => self.arrive(Arrival::Device(bytes)),
            IpAddr::V4(address) if self.in_pool(address) => self.arrive(Arrival::Device(bytes)),
            _ => self.walk(side_of(&bytes), 0, Way::Out, bytes),
        }
    }

    fn in_pool(&self, address: Ipv4Addr) -> bool {
        self.lab.translator.policy().pool.iter().any(|range| (range.first..=range.last).contains(&address))
    }

    /// Takes a packet along a path from one position on; all but the sender are routers.
    fn walk(&mut self, side: Side, from: usize, way: Way, bytes: Vec<u8>) {
        let mtus = self.path(side).mtus.clone();
        let mut packets = vec![bytes];
        let mut place = from;
        let sender = way == Way::In && from == mtus.len();
        loop {
            let first = sender && place == from;
            let arrived = match way {
                Way::Out => place == mtus.len(),
                Way::In => place == 0,
            };
            if arrived && way == Way::Out {
                return packets.into_iter().for_each(|packet| self.arrive(Arrival::Host(packet)));
            }
            // The gateway's device is a link of any size.
            let mtu = match (way, arrived) {
                (_, true) => 65_535,
                (Way::Out, _) => mtus[place],
                (Way::In, _) => mtus[place - 1],
            };
            let mut next = Vec::new();
            for packet in packets {
                match forward(packet, mtu, first) {
                    Ok(forwarded) => next.extend(forwarded),
                    Err(error) => self.tell(side, place, way, error),
                }
            }
            if arrived {
                return next.into_iter().for_each(|packet| self.arrive(Arrival::Device(packet)));
            }
            packets = next;
            place = if way == Way::Out { place + 1 } else { place - 1 };
        }
    }

    /// A router tells the sender of a packet, if that is no error itself.
    fn tell(&mut self, side: Side, place: usize, way: Way, (about, kind): (Vec<u8>, Trouble)) {
        let Some(error) = error_about(router(side, place), &about, kind) else { return };
        let back = if way == Way::Out { Way::In } else { Way::Out };
        if back == Way::Out && place == self.path(side).mtus.len() {
            return self.arrive(Arrival::Host(error));
        }
        if back == Way::In && place == 0 {
            return self.arrive(Arrival::Device(error));
        }
        // The router that says it does not count the hop.
        let place = if back == Way::Out { place + 1 } else { place - 1 };
        if back == Way::Out && place == self.path(side).mtus.len() {
            return self.arrive(Arrival::Host(error));
        }
        self.walk(side, place, back, error);
    }

    /// Lets a packet arrive some time later, once, twice or not at all.
    fn arrive(&mut self, arrival: Arrival) {
        let path = match &arrival {
            Arrival::Device(bytes) | Arrival::Host(bytes) => self.path(side_of(bytes)).clone(),
        };
        let dice = self.dice();
        if dice < path.lost {
            return;
        }
        let copies = if self.dice() < path.doubled { 2 } else { 1 };
        for _ in 0..copies {
            let late = if self.dice() < path.late { 40 } else { 0 };
            let at = self.now() + Duration::from_millis(5 + late);
            self.sent += 1;
            self.queue.push(Reverse((at, self.sent, arrival.clone())));
        }
    }

    fn dice(&mut self) -> u32 {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.chance >> 33) % 100).unwrap()
    }

    /// A host gets a packet: of a connection, or for the inbox.
    fn receive(&mut self, bytes: Vec<u8>) {
        let Some(bytes) = self.whole(bytes) else { return };
        is_sound(&bytes).unwrap();
        let now = self.now();
        for index in 0..self.endpoints.len() {
            if let Some(packets) = self.endpoints[index].receive(&bytes, now) {
                return packets.into_iter().for_each(|packet| self.send(packet));
            }
        }
        self.inbox.push(bytes);
    }

    /// Puts fragments together.
    fn whole(&mut self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let six = bytes[0] >> 4 == 6;
        let (place, more, id, header) = if six {
            if bytes[6] != 44 {
                return Some(bytes);
            }
            let word = u16::from_be_bytes([bytes[42], bytes[43]]);
            let id = u32::from_be_bytes(bytes[44..48].try_into().unwrap());
            (usize::from(word & 0xfff8), word & 1 != 0, id, 48)
        } else {
            let word = u16::from_be_bytes([bytes[6], bytes[7]]);
            if word & 0x3fff == 0 {
                return Some(bytes);
            }
            let id = u32::from(u16::from_be_bytes([bytes[4], bytes[5]]));
            (usize::from(word & 0x1fff) * 8, word & 0x2000 != 0, id, 20)
        };
        let ends = ends_of(&bytes);
        let protocol = if six { bytes[40] } else { bytes[9] };
        let pieces = self.pieces.entry((ends.source, ends.destination, id)).or_default();
        let piece = [&place.to_be_bytes()[..], &[u8::from(more)], &bytes[header..]].concat();
        if !pieces.contains(&piece) {
            pieces.push(piece);
        }
        pieces.sort();
        let mut data = Vec::new();
        for piece in pieces.iter() {
            if usize::from_be_bytes(piece[..8].try_into().unwrap()) != data.len() {
                return None;
            }
            data.extend_from_slice(&piece[9..]);
        }
        if pieces.last().is_none_or(|last| last[8] == 1) {
            return None;
        }
        self.pieces.remove(&(ends.source, ends.destination, id));
        Some(crate::support::build::ip_packet(ends, &Ip::default(), protocol, &data))
    }

    const fn path(&self, side: Side) -> &Path {
        match side {
            Side::Six => &self.six,
            Side::Four => &self.four,
        }
    }
}

/// What a router has against a packet.
#[derive(Clone, Copy)]
enum Trouble {
    TimeExceeded,
    TooBig(usize),
}

/// The address of a router; that of position 0 is the gateway's own.
pub(super) fn router(side: Side, place: usize) -> IpAddr {
    let number = u16::try_from(place).unwrap();
    match side {
        Side::Six => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, number + 1).into(),
        Side::Four => Ipv4Addr::new(203, 0, 113, u8::try_from(number + 1).unwrap()).into(),
    }
}

/// What a router does with a packet for a link: forward it, perhaps in fragments, or object. A sender does not count hops.
fn forward(mut bytes: Vec<u8>, mtu: usize, sender: bool) -> Result<Vec<Vec<u8>>, (Vec<u8>, Trouble)> {
    let six = bytes[0] >> 4 == 6;
    if !sender {
        let at = if six { 7 } else { 8 };
        if bytes[at] <= 1 {
            return Err((bytes, Trouble::TimeExceeded));
        }
        bytes[at] -= 1;
        if !six {
            crate::model::expected::set_header_checksum(&mut bytes);
        }
    }
    if bytes.len() <= mtu {
        return Ok(vec![bytes]);
    }
    if six || bytes[6] & 0x40 != 0 {
        return Err((bytes, Trouble::TooBig(mtu)));
    }
    let id = u16::from_be_bytes([bytes[4], bytes[5]]);
    assert_eq!(u16::from_be_bytes([bytes[6], bytes[7]]) & 0x3fff, 0, "fragments of fragments are not simulated");
    Ok(fragments(&bytes, (mtu - 20) / 8 * 8, id.into()))
}

fn error_about(router: IpAddr, about: &[u8], trouble: Trouble) -> Option<Vec<u8>> {
    let ends = ends_of(about);
    let six = ends.source.is_ipv6();
    let is_error = if six { about[6] == 58 && about[40] < 128 } else { about[9] == 1 && !matches!(about[20], 0 | 8) };
    if is_error {
        return None;
    }
    let (kind, code, rest) = match (six, trouble) {
        (true, Trouble::TimeExceeded) => (3, 0, 0),
        (true, Trouble::TooBig(mtu)) => (2, 0, u32::try_from(mtu).unwrap()),
        (false, Trouble::TimeExceeded) => (11, 0, 0),
        (false, Trouble::TooBig(mtu)) => (3, 4, u32::try_from(mtu).unwrap()),
    };
    let most = if six { 1232 } else { 548 };
    let data = about[..about.len().min(most)].to_vec();
    let ends = Ends { source: router, destination: ends.source };
    Some(packet(ends, &Ip::default(), &Body::Icmp { kind, code, rest, data }))
}

fn side_of(bytes: &[u8]) -> Side {
    if bytes[0] >> 4 == 6 { Side::Six } else { Side::Four }
}
