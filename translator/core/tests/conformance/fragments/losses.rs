//! Every fragment that goes no further is counted by its reason, those that had been held too.

use nat64_core::DropReason;
use nat64_core::policy::{Exclusion, UdpZeroChecksum};

use crate::lab::*;
use crate::wire::{Icmp, V4, V6, pattern};

/// The fragments of a datagram of the client, the first one last.
fn reversed(packet: &V6) -> Vec<V6> {
    let mut fragments = packet.fragments(&[800, 1600, 2400], 7);
    fragments.reverse();
    fragments
}

/// How many packets were dropped for that reason, after nothing has come out.
#[track_caller]
fn dropped(lab: &mut Lab, packets: &[Vec<u8>], reason: DropReason) -> u64 {
    let written: usize = packets.iter().map(|packet| lab.send(packet).packets.len()).sum();
    lab.pass_time(3 * SECOND);
    assert_eq!(written, 0);
    lab.worker.counters.dropped(reason)
}

fn bytes6(packets: &[V6]) -> Vec<Vec<u8>> {
    packets.iter().map(V6::bytes).collect()
}

fn bytes4(packets: &[V4]) -> Vec<Vec<u8>> {
    packets.iter().map(V4::bytes).collect()
}

#[test]
fn those_that_waited_for_one_that_is_refused_are_counted_with_it() {
    let mut lab = Lab::with(|policy| policy.exclusions = vec![Exclusion { silent: true, ..Exclusion::default() }]);
    let sent = bytes6(&reversed(&client_udp(&pattern(3000))));
    assert_eq!(dropped(&mut lab, &sent, DropReason::AdministrativelyProhibited), 4);

    let mut lab = Lab::with(|policy| policy.errors.send = false);
    let mut sent = server_udp(4242, &pattern(3000)).fragments(&[800, 1600], 7);
    sent.reverse();
    assert_eq!(dropped(&mut lab, &bytes4(&sent), DropReason::NoMapping), 3);
}

#[test]
fn those_that_waited_for_one_that_cannot_be_turned_round_are_counted_with_it() {
    let mut lab = Lab::with(|policy| policy.errors.send = false);
    let sent = bytes6(&reversed(&V6::udp((CLIENT, PORT), (six(POOL), 9), &pattern(3000))));
    assert_eq!(dropped(&mut lab, &sent, DropReason::NoMapping), 4);
}

#[test]
fn those_of_a_condemned_datagram_are_counted() {
    let mut lab = Lab::new();
    let mut sent = reversed(&client_udp(&pattern(3000)));
    sent[2] = client_udp(&pattern(3000)).fragments(&[792, 1608, 2400], 7)[1].clone();
    assert_eq!(dropped(&mut lab, &bytes6(&sent), DropReason::FragmentOverlap), 4);
}

#[test]
fn those_of_a_datagram_for_which_there_is_no_room_are_counted() {
    let mut lab = Lab::with(|policy| policy.limits.fragment_bytes = 2500);
    let sent = bytes6(&reversed(&client_udp(&pattern(3000))));
    assert_eq!(dropped(&mut lab, &sent, DropReason::FragmentLimit), 4);
}

#[test]
fn those_of_a_datagram_that_was_put_together_in_vain_are_counted() {
    let mut lab = Lab::with(|policy| policy.errors.send = false);
    let echo = Icmp::echo(8, 77, 1, &pattern(3000));
    let sent = V4::icmp(SERVER, POOL, &echo).fragments(&[800, 1600], 7);
    assert_eq!(dropped(&mut lab, &bytes4(&sent), DropReason::NoMapping), 3);
}

#[test]
fn those_without_checksum_that_are_to_be_dropped_are_not_held_for_long() {
    for reverse in [false, true] {
        let mut lab = Lab::with(|policy| policy.header.udp_zero_checksum = UdpZeroChecksum::Drop);
        let mut datagram = server_udp(lab.open_udp(), &pattern(3000));
        datagram.payload[6..8].fill(0);
        let mut sent = datagram.fragments(&[800, 1600], 7);
        if reverse {
            sent.reverse();
        }
        assert_eq!(dropped(&mut lab, &bytes4(&sent), DropReason::ZeroUdpChecksum), 3, "reversed: {reverse}");
    }
}
