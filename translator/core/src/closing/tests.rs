use std::net::Ipv6Addr;
use std::time::Duration;

use etherparse::{SlicedPacket, TransportSlice};

use super::*;
use crate::event::{EndReason, EventKind};
use crate::testing::{CLIENT, Flags, Lab, OTHER, POOL, Payload, SERVER, packet4, packet6, policy, ports, six};
use crate::verdict::Verdict;

/// Ends the sessions that `wanted` says yes to. Returns what came of it, the most that ended under one lock, and what is
/// sent to the ends.
fn end(lab: &mut Lab, mut wanted: impl FnMut(&SessionInfo) -> bool, reset: bool) -> (Ended, u64, Vec<Vec<u8>>) {
    let (mut all, mut most, mut sent) = (Ended::default(), 0, Vec::new());
    for shard in 0..lab.translator.shards() {
        let mut page = Some(0);
        while let Some(number) = page {
            let mut tell = |packet: &[u8]| sent.push(packet.to_vec());
            let tell = reset.then_some(&mut tell as Tell<'_>);
            let ended;
            let place = (shard, number);
            (ended, page) = lab.translator.end_sessions(place, lab.now, &mut lab.worker, &mut wanted, tell);
            all.add(&ended);
            most = most.max(ended.sessions);
        }
    }
    (all, most, sent)
}

/// A segment that acknowledges this.
fn acknowledging(mut segment: Vec<u8>, number: u32) -> Vec<u8> {
    let at = if segment[0] >> 4 == 6 { 40 } else { 20 } + 8;
    segment[at..at + 4].copy_from_slice(&number.to_be_bytes());
    segment
}

/// Opens a connection from a port of the client, as far as it is told, and returns its pool port.
fn open(lab: &mut Lab, port: u16, acknowledged: &[u32]) -> u16 {
    let tcp = |flags| packet6(CLIENT, six(SERVER), Payload::Tcp(port, 80, flags));
    let external = ports(&lab.pass(&tcp(Flags::Syn))).0;
    if let Some(&number) = acknowledged.first() {
        let answer = packet4(SERVER, POOL, Payload::Tcp(80, external, Flags::SynAck));
        lab.pass(&acknowledging(answer, number));
    }
    if let Some(&number) = acknowledged.get(1) {
        lab.pass(&acknowledging(tcp(Flags::Ack), number));
    }
    external
}

/// Ends of a reset, and its sequence number.
fn reset(packet: &[u8]) -> (u16, u16, u32) {
    let sliced = SlicedPacket::from_ip(packet).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("{packet:?}") };
    assert!(tcp.rst() && !tcp.ack() && !tcp.syn() && tcp.payload().is_empty());
    let net = sliced.net.unwrap();
    let (header, checksum) = (tcp.to_header(), tcp.checksum());
    let right = match net {
        etherparse::NetSlice::Ipv4(ip) => header.calc_checksum_ipv4(&ip.header().to_header(), &[]).unwrap(),
        etherparse::NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), &[]).unwrap(),
        etherparse::NetSlice::Arp(_) => panic!("no IP packet"),
    };
    assert_eq!(checksum, right);
    (tcp.source_port(), tcp.destination_port(), tcp.sequence_number())
}

#[test]
fn sessions_are_ended_by_choice_and_can_be_opened_again() {
    let mut lab = Lab::new(policy());
    for port in 0..2000 {
        lab.pass(&packet6(CLIENT, six(SERVER), Payload::Udp(1000 + port, 53, b"")));
    }
    lab.pass(&packet6(OTHER, six(SERVER), Payload::Tcp(1000, 80, Flags::Syn)));
    lab.worker.events.drain().for_each(drop);

    let odd = |session: &SessionInfo| session.internal.0 == CLIENT && session.internal.1 % 2 == 1;
    let (ended, most, sent) = end(&mut lab, odd, false);

    assert_eq!((ended, lab.sessions().len()), (Ended { sessions: 1000, resets: Resets::default() }, 1001));
    assert!(most <= 512, "{most} under one lock");
    assert_eq!(sent, [] as [Vec<u8>; 0]);
    let events = lab
        .worker
        .events
        .drain()
        .filter(|event| matches!(event.kind, EventKind::SessionEnded { reason: EndReason::Closed, .. }));
    assert_eq!(events.count(), 1000);
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Udp(1001, 53, b"")));
    lab.pass_time(Duration::from_secs(1000));
    assert_eq!((lab.sessions(), lab.mappings()), (vec![], 0));
    assert_eq!(lab.translator.usage().pool_ports_taken, [0; 3]);
}

#[test]
fn both_ends_of_a_connection_get_a_reset_with_the_number_that_they_expect() {
    let mut lab = Lab::new(policy());
    let external = open(&mut lab, 1000, &[77, 99]);

    let (ended, _, sent) = end(&mut lab, |_| true, true);

    assert_eq!(ended, Ended { sessions: 1, resets: Resets { both: 1, ..Resets::default() } });
    assert_eq!(sent.len(), 2);
    // What the server has acknowledged is what it expects of the client, and the other way around.
    assert_eq!((crate::testing::destination6(&sent[0]), reset(&sent[0])), (CLIENT, (80, 1000, 99)));
    assert_eq!(Ipv6Addr::from(<[u8; 16]>::try_from(&sent[0][8..24]).unwrap()), six(SERVER));
    assert_eq!((crate::testing::destination4(&sent[1]), reset(&sent[1])), (SERVER, (external, 80, 77)));
    assert_eq!(sent[1][12..16], POOL.octets());
    assert_eq!(lab.sessions(), []);
}

#[test]
fn it_is_told_who_could_not_be_told() {
    let mut lab = Lab::new(policy());
    open(&mut lab, 1000, &[]);
    open(&mut lab, 1001, &[77]);
    open(&mut lab, 1002, &[77, 99]);
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Udp(1003, 53, b"")));

    let (ended, _, sent) = end(&mut lab, |_| true, true);

    assert_eq!(ended, Ended { sessions: 4, resets: Resets { both: 1, one: 1, unknown: 1, not_tcp: 1 } });
    assert_eq!(sent.len(), 3);
}

#[test]
fn an_end_that_data_was_on_the_way_to_is_reset_when_it_answers_that() {
    let mut lab = Lab::new(policy());
    let external = open(&mut lab, 1000, &[77, 99]);
    let late = acknowledging(packet4(SERVER, POOL, Payload::Tcp(80, external, Flags::Ack)), 12_345);
    end(&mut lab, |_| true, true);

    let answer = lab.send(&late);
    assert_eq!(answer.verdict, Verdict::Refused(DropReason::NoMapping));
    assert_eq!((crate::testing::destination4(&answer.packet), reset(&answer.packet)), (SERVER, (external, 80, 12_345)));
    for silent in [(81, external, Flags::Ack), (80, external + 1, Flags::Ack), (80, external, Flags::Rst)] {
        let (from, to, flags) = silent;
        let outcome = lab.send(&packet4(SERVER, POOL, Payload::Tcp(from, to, flags)));
        assert_eq!(outcome.verdict, Verdict::Dropped(DropReason::NoMapping));
    }
    lab.pass_time(Duration::from_secs(31));
    assert_eq!(lab.send(&late).verdict, Verdict::Dropped(DropReason::NoMapping));
}

#[test]
fn a_connection_that_was_not_reset_is_forgotten_silently() {
    let mut lab = Lab::new(policy());
    let external = open(&mut lab, 1000, &[77, 99]);
    end(&mut lab, |_| true, false);
    let outcome = lab.send(&packet4(SERVER, POOL, Payload::Tcp(80, external, Flags::Ack)));
    assert_eq!(outcome.verdict, Verdict::Dropped(DropReason::NoMapping));
}

#[test]
fn a_page_full_of_connections_is_told_without_loss() {
    let mut lab = Lab::new(policy());
    for port in 0..1500 {
        open(&mut lab, 1000 + port, &[77, 99]);
    }

    let (ended, most, sent) = end(&mut lab, |_| true, true);

    assert!(most > 300, "{most} fit a page, so that their resets are more than a worker holds");
    assert_eq!((ended.resets.both, sent.len(), lab.worker.spill.lost()), (1500, 3000, 0));
}

#[test]
fn hosts_behind_the_translator_that_talk_to_each_other_are_both_told() {
    let mut lab = Lab::new(policy());
    // OTHER's pool port.
    let served = ports(&lab.pass(&packet6(OTHER, six(SERVER), Payload::Tcp(80, 9, Flags::Syn)))).0;
    let syn = lab.pass(&packet6(CLIENT, six(POOL), Payload::Tcp(1000, served, Flags::Syn)));
    let seen = ports(&syn).0;
    let answer = packet6(OTHER, six(POOL), Payload::Tcp(80, seen, Flags::SynAck));
    lab.pass(&acknowledging(answer, 77));
    let ack = packet6(CLIENT, six(POOL), Payload::Tcp(1000, served, Flags::Ack));
    lab.pass(&acknowledging(ack, 99));

    let (_, _, sent) = end(&mut lab, |session| session.internal.0 == CLIENT, true);

    let mut told: Vec<_> = sent.iter().map(|packet| (crate::testing::destination6(packet), reset(packet).2)).collect();
    told.sort_unstable();
    assert_eq!(told, [(CLIENT, 99), (OTHER, 77)]);
}
