//! A sequence of packets and pauses under one of a few policies.

use super::input::Input;
use super::lab::{Lab, POOL, SERVERS, host, policy, six};
use super::wire;

/// The first byte is the policy; then each step is a byte for its kind and what that kind needs.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut lab = Lab::new(policy(input.byte()));
    while !input.is_empty() {
        step(&mut lab, &mut input);
    }
    lab.finish();
}

fn step(lab: &mut Lab, input: &mut Input<'_>) {
    let packet = match input.byte() % 8 {
        0 => return lab.pass(u64::from(input.word() % 4096)),
        1 => {
            let len = usize::from(input.byte());
            input.take(len).to_vec()
        }
        2 | 3 => outbound(input),
        4 => inbound(input),
        5 => turned(&lab.last, input),
        6 => about(&lab.last, input),
        _ => patched(lab.last.clone(), input),
    };
    let _ = lab.send(&packet);
}

fn outbound(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.byte();
    let destination = match kind >> 4 & 3 {
        3 => six(POOL),
        server => six(SERVERS[usize::from(server)]),
    };
    let (next, payload) = transport(input, kind, true);
    let mut packet = wire::v6(host(kind >> 6), destination, next, input.byte() | 2, &payload);
    wire::set_transport_checksum(&mut packet);
    packet
}

fn inbound(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.byte();
    let (protocol, payload) = transport(input, kind, false);
    let place = if kind & 0x80 == 0 { 0x4000 } else { 0 };
    let mut packet = wire::v4(SERVERS[usize::from(kind >> 4) % 3], POOL, protocol, place, input.word(), &payload);
    wire::set_transport_checksum(&mut packet);
    packet
}

/// A transport with ports near each other, so that they meet.
fn transport(input: &mut Input<'_>, kind: u8, six: bool) -> (u8, Vec<u8>) {
    let (a, b) = (input.byte(), input.byte());
    let near = if six { 5000 + u16::from(a % 8) } else { 80 + u16::from(a % 4) };
    let far = if six && kind >> 4 & 3 != 3 { 80 + u16::from(b % 4) } else { 1000 + u16::from(b % 64) };
    let len = usize::from(input.byte()) * if kind & 8 == 0 { 1 } else { 16 };
    let data = input.take(len).to_vec();
    let data = if data.is_empty() { vec![7; len] } else { data };
    let ports = [near.to_be_bytes(), far.to_be_bytes()].concat();
    match kind & 3 {
        0 | 1 => {
            let flags = input.byte();
            let numbers = [input.long().to_be_bytes(), input.long().to_be_bytes()].concat();
            (6, [&ports[..], &numbers, &[0x50, flags, 1, 0, 0, 0, 0, 0], &data].concat())
        }
        2 => {
            let len = u16::try_from(8 + data.len()).unwrap_or(0).to_be_bytes();
            (17, [&ports[..], &len, &[0, 0], &data].concat())
        }
        _ => {
            let reply = u8::from(kind & 4 != 0);
            let (icmp, kind) = if six { (58, 128 + reply) } else { (1, 8 * (1 - reply)) };
            let id = if six { near } else { far }.to_be_bytes();
            (icmp, [&[kind, 0, 0, 0], &id[..], &[0, 1], &data].concat())
        }
    }
}

/// The last packet, sent back by its destination.
fn turned(last: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let mut packet = last.to_vec();
    let (source, width) = if last.first().is_some_and(|first| first >> 4 == 6) { (8, 16) } else { (12, 4) };
    if packet.len() < source + 2 * width + 14 {
        return packet;
    }
    let (protocol, start) = if width == 16 { (packet[6], 40) } else { (packet[9], 20) };
    packet[source..source + 2 * width].rotate_left(width);
    match protocol {
        6 | 17 => packet[start..start + 4].rotate_left(2),
        1 => packet[start] = 8 - packet[start].min(8),
        58 => packet[start] ^= 1,
        _ => {}
    }
    if protocol == 6 {
        packet[start + 13] = input.byte();
    }
    wire::set_header_checksum(&mut packet);
    wire::set_transport_checksum(&mut packet);
    packet
}

/// An ICMP error about the last packet.
fn about(last: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    super::icmp_errors::about(last, input)
}

/// The last packet with some bytes replaced.
fn patched(mut packet: Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    for _ in 0..input.byte() % 4 {
        let at = usize::from(input.byte());
        if let Some(place) = packet.get_mut(at) {
            *place = input.byte();
        }
    }
    wire::set_header_checksum(&mut packet);
    packet
}
