use etherparse::TcpOptionElement::{MaximumSegmentSize, Noop, SelectiveAcknowledgementPermitted};

use super::*;
use crate::packet::testing::{self, Family, Ip, SIX, in_buffer};
use crate::packet::{Offload, PartialChecksum};

fn syn(options: &[u8]) -> Vec<u8> {
    let mut header = testing::tcp_header(&SIX);
    (header.syn, header.ack) = (true, false);
    header.set_options_raw(options).unwrap();
    Family::packet(&SIX, &Ip::default(), 6, &testing::segment(&SIX, header, b""))
}

fn options(mss: u16) -> Vec<u8> {
    let mut header = testing::tcp_header(&SIX);
    header.set_options(&[Noop, MaximumSegmentSize(mss), SelectiveAcknowledgementPermitted]).unwrap();
    header.options.as_slice().to_vec()
}

#[test]
fn a_large_mss_is_lowered_and_the_checksum_follows() {
    // Both at an even and at an odd offset.
    for before in [&[][..], &[1], &[1, 1], &[4, 2, 1]] {
        let with = |mss: u16| syn(&[before, &[2, 4], &mss.to_be_bytes(), &[0; 2]].concat());
        let (changed, bytes, _) = in_buffer(&with(8960), Offload::default(), |buf| clamp_mss(buf, 40, 1440));
        assert!(changed);
        assert_eq!(bytes, with(1440));
    }
}

#[test]
fn a_small_mss_and_none_are_left_alone() {
    for packet in [syn(&options(1440)), syn(&options(536)), syn(&[]), syn(&[1, 1, 4, 2])] {
        let (changed, bytes, _) = in_buffer(&packet, Offload::default(), |buf| clamp_mss(buf, 40, 1440));
        assert!(!changed);
        assert_eq!(bytes, packet);
    }
}

#[test]
fn a_partial_checksum_is_left_alone() {
    let packet = syn(&options(8960));
    let offload = Offload { checksum: Some(PartialChecksum { start: 40, offset: 16 }), ..Offload::default() };
    let (changed, bytes, _) = in_buffer(&packet, offload, |buf| clamp_mss(buf, 40, 1440));
    assert!(changed);
    assert_eq!(bytes[56..58], packet[56..58]);
    assert_eq!(bytes[60..], syn(&options(1440))[60..]);
}

#[test]
fn options_that_make_no_sense_are_left_alone() {
    for options in [
        &[8, 0, 2, 4, 9, 9, 0, 0][..],
        &[8, 1, 2, 4],
        &[2, 3, 9, 9],
        &[1, 1, 2, 4],
        &[0, 2, 4, 9, 9, 0, 0, 0],
        &[8, 200, 2, 4],
    ] {
        let packet = syn(options);
        let (changed, bytes, _) = in_buffer(&packet, Offload::default(), |buf| clamp_mss(buf, 40, 10));
        assert!(!changed, "{options:?}");
        assert_eq!(bytes, packet);
    }
}

#[test]
fn a_segment_that_is_cut_anywhere_is_left_alone() {
    let packet = syn(&options(8960));
    for len in 0..packet.len() {
        let (changed, bytes, _) = in_buffer(&packet[..len], Offload::default(), |buf| clamp_mss(buf, 40, 1440));
        assert!(!changed);
        assert_eq!(bytes, packet[..len]);
    }
}
