use crate::Policy;
use crate::testing::*;
use crate::verdict::{DropReason, Verdict};

fn lab() -> Lab {
    Lab::new(Policy { shared: vec![POOL], ..policy() })
}

/// What the translator writes of a packet that came to the shared address.
fn handed_back(lab: &mut Lab, packet: &[u8]) -> Option<Vec<u8>> {
    let outcome = lab.send(packet);
    (outcome.verdict == Verdict::Held).then(|| outcome.spilled.concat())
}

#[test]
fn echo_without_a_session_is_the_hosts_as_it_came() {
    let mut lab = lab();
    for payload in [Payload::EchoRequest(5), Payload::EchoReply(6)] {
        let packet = packet4(SERVER, POOL, payload);
        assert_eq!(handed_back(&mut lab, &packet), Some(packet));
    }
    assert!(lab.sessions().is_empty());
}

#[test]
fn echo_of_a_session_is_translated_and_that_of_others_with_its_identifier_is_not() {
    let mut lab = lab();
    let (id, _) = ports(&lab.pass(&packet6(CLIENT, six(SERVER), Payload::EchoRequest(77))));
    let stranger = packet4(std::net::Ipv4Addr::new(203, 0, 113, 7), POOL, Payload::EchoReply(id));
    assert_eq!(handed_back(&mut lab, &stranger), Some(stranger));
    assert_eq!(destination6(&lab.pass(&packet4(SERVER, POOL, Payload::EchoReply(id)))), CLIENT);
}

#[test]
fn ports_of_the_pool_are_never_the_hosts() {
    let mut lab = lab();
    let outcome = lab.send(&packet4(SERVER, POOL, Payload::Udp(53, 20_000, b"hello")));
    assert_eq!(outcome.verdict, Verdict::Refused(DropReason::NoMapping));
}

#[test]
fn an_address_of_the_translator_alone_hands_nothing_back() {
    let mut lab = Lab::new(policy());
    let outcome = lab.send(&packet4(SERVER, POOL, Payload::EchoReply(6)));
    assert!(!matches!(outcome.verdict, Verdict::Held), "{outcome:?}");
}
