//! Fragments of a few datagrams in any order, overlapping, of both IP versions, with pauses.

use super::input::Input;
use super::lab::{Lab, POOL, SERVERS, host, policy, six};
use super::wire;

/// The first byte is the policy; then six bytes and some data for each fragment.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut lab = Lab::new(policy(input.byte()));
    while !input.is_empty() {
        let kind = input.byte();
        if kind & 0xf0 == 0xf0 {
            lab.pass(u64::from(input.word() % 4096));
            continue;
        }
        let packet = fragment(&mut input, kind);
        let _ = lab.send(&packet);
    }
    lab.finish();
}

/// Bit 0: IP version; bits 1 and 2: transport; bit 3: more follow; bits 4 to 6: datagram.
fn fragment(input: &mut Input<'_>, kind: u8) -> Vec<u8> {
    let v6 = kind & 1 == 0;
    let protocol = match kind >> 1 & 3 {
        0 => 17,
        1 => 6,
        2 if v6 => 58,
        2 => 1,
        _ => 132,
    };
    let more = kind & 8 != 0;
    let id = u16::from(kind >> 4);
    let offset = u16::from(input.byte()) * if kind & 0x80 == 0 { 1 } else { 61 };
    let units = usize::from(input.byte() % 32);
    let len = units * 8 + if more { 0 } else { usize::from(input.byte() % 8) };
    let mut data = input.take(len).to_vec();
    data.resize(len, 0x55);
    if offset == 0 {
        start(&mut data, protocol, v6, input);
    }
    let place = offset & 0x1fff;
    if v6 {
        let word = (place << 3 | u16::from(more)).to_be_bytes();
        let header = [protocol, 0, word[0], word[1], 0, 0, 0, kind >> 4];
        let destination = if id == 7 { six(POOL) } else { six(SERVERS[0]) };
        wire::v6(host(kind >> 6), destination, 44, 64, &[&header[..], &data].concat())
    } else {
        wire::v4(SERVERS[0], POOL, protocol, place | u16::from(more) << 13, id, &data)
    }
}

/// Makes the start of a datagram that of a transport which may be let through.
fn start(data: &mut [u8], protocol: u8, v6: bool, input: &mut Input<'_>) {
    let choice = input.byte();
    let ports = if v6 { [0x13, 0x88, 0, 80] } else { [0, 80, 3, 0xe8 + choice % 4] };
    match (protocol, data.len()) {
        (17, 8..) => {
            data[..4].copy_from_slice(&ports);
            data[4..6].copy_from_slice(&[0, 8 | choice]);
            if choice & 1 != 0 {
                data[6..8].fill(0);
            }
        }
        (6, 20..) => {
            data[..4].copy_from_slice(&ports);
            data[12] = 0x50;
            data[13] = if choice & 1 == 0 { 2 } else { 16 };
        }
        (1 | 58, 8..) => {
            data[0] = if v6 { 128 | choice & 1 } else { 8 * (choice & 1) };
            data[1] = 0;
        }
        _ => {}
    }
}
