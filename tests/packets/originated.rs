//! RFC 7915 §4.4 and §5.4, RFC 4443 §2.4, RFC 6791: errors of the translator's own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use crate::bench::POOL;
use crate::case::{Case, PATIENCE, PORT};
use crate::groups::{OTHERWISE, SPARING, STANDARD, UNTOLD};
use crate::rows::rows;
use crate::support::{GATEWAY, eventually};
use crate::wire::{Icmp, V4, V6, pattern};

/// Packets whose hop limit the kernel leaves 1 of.
fn dying6(case: &Case, data: &[u8]) -> V6 {
    case.client_udp(data).with(|header| header.hop_limit = 2)
}

fn dying4(case: &Case, data: &[u8]) -> V4 {
    case.server_udp(9, data).with(|header| header.time_to_live = 2)
}

#[test]
fn an_error_of_our_own_has_the_hop_limit_of_a_new_packet() {
    let Some(mut case) = STANDARD.case() else { return };
    // The kernel has counted one down.
    let (error, _) = case.refused6(&dying6(&case, b"x"), "hop-limit-exceeded");
    assert_eq!(error.header.hop_limit, 63);
    let (error, _) = case.refused4(&dying4(&case, b"x"), "hop-limit-exceeded");
    assert_eq!((error.header.time_to_live, error.header.dont_fragment), (63, false));
}

#[test]
fn an_error_of_our_own_is_no_longer_than_1280_bytes_in_ipv6() {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = dying6(&case, &pattern(3000));
    let (error, message) = case.refused6(&sent, "hop-limit-exceeded");
    let about = sent.with(|header| header.hop_limit = 1).bytes();
    assert_eq!((error.bytes().len(), &message.body[..]), (1280, &about[..1232]));
}

#[test]
fn an_error_of_our_own_is_no_longer_than_576_bytes_in_ipv4() {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = dying4(&case, &pattern(3000));
    let (error, message) = case.refused4(&sent, "hop-limit-exceeded");
    let about = sent.with(|header| header.time_to_live = 1).bytes();
    assert_eq!((error.bytes().len(), &message.body[..]), (576, &about[..548]));
}

#[test]
fn errors_of_our_own_come_from_the_gateway_s_addresses_unless_others_are_configured() {
    let Some(mut case) = STANDARD.case() else { return };
    assert_eq!(case.refused6(&dying6(&case, b"x"), "hop-limit-exceeded").0.source(), GATEWAY);
    let own = Ipv4Addr::new(198, 51, 100, 1);
    assert_eq!(case.refused4(&dying4(&case, b"x"), "hop-limit-exceeded").0.source(), own);
}

#[test]
fn the_source_of_errors_is_configurable() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let own: Ipv6Addr = "2001:db8:ffff::64".parse().unwrap();
    assert_eq!(case.refused6(&dying6(&case, b"x"), "hop-limit-exceeded").0.source(), own);
    let own = Ipv4Addr::new(203, 0, 113, 64);
    assert_eq!(case.refused4(&dying4(&case, b"x"), "hop-limit-exceeded").0.source(), own);
}

#[test]
fn errors_can_be_switched_off() {
    let Some(mut case) = UNTOLD.case() else { return };
    case.silent(&dying6(&case, b"x"), "hop-limit-exceeded");
    case.silent(&dying4(&case, b"x"), "hop-limit-exceeded");
    case.silent(&V6::new(case.client(), case.service6().0, 132, &pattern(40)), "unsupported-protocol");
    case.silent(&V4::new(case.server(), POOL, 132, &pattern(40)), "unsupported-protocol");
    case.silent(&case.server_udp(9, b"x"), "no-mapping");
}

#[test]
fn errors_are_limited_in_rate() {
    const RATE: u64 = 5;
    const SENT: u64 = 300;
    let Some(mut case) = SPARING.case() else { return };
    let before = case.drops();
    let start = Instant::now();
    (0..SENT).for_each(|_| case.send(&dying6(&case, b"x")));
    case.settle();
    let told = u64::try_from(std::iter::from_fn(|| case.arrived6()).count()).unwrap();
    // A second's worth at once, and what each second that has passed since allows.
    let allowed = RATE * (start.elapsed().as_secs() + 2);
    assert!((1..=allowed).contains(&told), "{told} of {SENT}, in {:?}", start.elapsed());
    case.quiet();
    let count =
        |drops: &BTreeMap<String, u64>, reason| drops.get(reason).unwrap_or(&0) - before.get(reason).unwrap_or(&0);
    eventually("all to be counted", PATIENCE, || {
        let now = case.drops();
        (count(&now, "hop-limit-exceeded"), count(&now, "error-rate-limit")) == (SENT, SENT - told)
    });
}

rows! { nobody_is_told_about_an_icmp_error:
    nobody_is_told_about_unreachable(3, 1);
    nobody_is_told_about_time_exceeded(11, 3);
    nobody_is_told_about_a_parameter_problem(12, 4);
}

/// RFC 1122 §3.2.2, RFC 4443 §2.4 (e.1).
#[track_caller]
fn nobody_is_told_about_an_icmp_error(kind4: u8, kind6: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    let out = case.pass6(&case.client_udp(b"x")).bytes();
    let error = V4::icmp(case.router4(), POOL, &Icmp::error(kind4, 0, 0, &out));
    case.silent(&error.with(|header| header.time_to_live = 2), "hop-limit-exceeded");
    let delivered = V6::udp(case.service6(), (case.client(), PORT), b"x").bytes();
    let error = V6::icmp(case.router6(), case.service6().0, &Icmp::error(kind6, 0, 0, &delivered));
    case.silent(&error.with(|header| header.hop_limit = 2), "hop-limit-exceeded");
}

#[test]
fn an_echo_whose_hop_limit_runs_out_is_answered_since_traceroute_lives_on_it() {
    let Some(mut case) = STANDARD.case() else { return };
    let echo = case.client_echo(b"x").with(|header| header.hop_limit = 2);
    assert_eq!(case.refused6(&echo, "hop-limit-exceeded").1.kind, 3);
    let echo = V4::icmp(case.server(), POOL, &Icmp::echo(8, 1, 1, b"x")).with(|header| header.time_to_live = 2);
    assert_eq!(case.refused4(&echo, "hop-limit-exceeded").1.kind, 11);
}

#[test]
fn nobody_is_told_about_later_fragments_of_a_datagram() {
    // RFC 1122 §3.2.2: no error about a fragment other than the first.
    let Some(mut case) = STANDARD.case() else { return };
    let tail = case.server_udp(9, &pattern(1200)).fragments(&[800], 7)[1].clone();
    case.silent(&tail.with(|header| header.time_to_live = 2), "hop-limit-exceeded");
}

#[test]
fn errors_of_our_own_have_identifications_of_their_own() {
    let Some(mut case) = STANDARD.case() else { return };
    let mut id = || case.refused4(&dying4(&case, b"x"), "hop-limit-exceeded").0.header.identification;
    let [a, b, c] = [id(), id(), id()];
    assert!(a != b && b != c && a != c, "{a} {b} {c}");
}
