//! What a host tries first: ping, traceroute, and being told at once what cannot be reached.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::support::{GATEWAY, Lab, Namespace, SERVER, Topology, eventually, under_pref64};

/// What "at once" means on a busy machine; a silent drop takes TCP a second to repeat and minutes to give up.
const AT_ONCE: Duration = Duration::from_millis(900);
const BRIEF: Duration = Duration::from_secs(20);
/// The first router behind the gateway.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// No network of the lab.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 200);
const CLOSED_PORT: u16 = 4242;

#[test]
fn ping_gets_every_answer_whatever_the_size() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    let server = under_pref64(SERVER);
    for size in [0, 1, 56, 1400, 1432] {
        let said = lab.client.check(&format!("ping -c 3 -i 0.1 -W 2 -s {size} {server}"));
        assert!(said.contains("3 received"), "{said}");
    }
}

#[test]
fn ping_reaches_the_routers_on_the_ipv4_side() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(ROUTER)));
}

#[test]
fn traceroute_with_icmp_shows_the_ipv4_hops() {
    traceroute_shows_the_ipv4_hops("-I");
}

#[test]
fn traceroute_with_udp_shows_the_ipv4_hops() {
    traceroute_shows_the_ipv4_hops("");
}

#[test]
fn traceroute_with_udp_to_one_port_shows_the_ipv4_hops() {
    traceroute_shows_the_ipv4_hops("-U -p 33434");
}

#[test]
fn traceroute_with_tcp_shows_the_ipv4_hops() {
    traceroute_shows_the_ipv4_hops("-T -p 80");
}

fn traceroute_shows_the_ipv4_hops(method: &str) {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500, 1500, 1500], ..Topology::default() }) else { return };
    let _web = lab.web_server();
    let _nat64 = lab.nat64(&Lab::translator());
    let server = under_pref64(SERVER);
    // One probe at a time: a host that is probed by many at once answers only some (icmp_ratelimit of Linux).
    let said = lab.client.run(&format!("traceroute -6 -n -q 1 -N 1 -w 2 {method} {server}"), BRIEF).succeeded();
    let hops: Vec<&str> = said.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    let second_router = under_pref64(Ipv4Addr::new(192, 0, 2, 18));
    let expected = [GATEWAY, under_pref64(ROUTER), second_router, server].map(|hop| hop.to_string());
    let mut remaining = expected.iter().peekable();
    for hop in &hops {
        remaining.next_if(|expected| hop == *expected);
    }
    assert_eq!(remaining.next(), None, "expected {expected:?} in this order:\n{said}");
    assert_eq!(hops.last().copied(), Some(server.to_string().as_str()), "{said}");
    assert!(!hops.contains(&"*"), "a hop does not answer:\n{said}");
}

#[test]
fn a_closed_tcp_port_is_refused_at_once() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    let (error, elapsed) = connect_failure(&lab.client, under_pref64(SERVER));
    assert_eq!(error, ErrorKind::ConnectionRefused);
    assert!(elapsed < AT_ONCE, "took {elapsed:?}");
}

#[test]
fn a_closed_udp_port_is_reported_at_once() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    let (error, elapsed) = datagram_failure(&lab.client, under_pref64(SERVER));
    assert_eq!(error, ErrorKind::ConnectionRefused);
    assert!(elapsed < AT_ONCE, "took {elapsed:?}");
}

#[test]
fn a_network_that_a_router_cannot_reach_is_reported_at_once() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    unreachable_at_once(&lab);
}

#[test]
fn a_network_that_the_gateway_cannot_reach_is_reported_at_once() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    unreachable_at_once(&lab);
}

fn unreachable_at_once(lab: &Lab) {
    let nowhere = under_pref64(NOWHERE);
    let (error, elapsed) = connect_failure(&lab.client, nowhere);
    assert!(matches!(error, ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable), "{error:?}");
    assert!(elapsed < AT_ONCE, "took {elapsed:?}");
    // To a UDP socket this is no lasting error, so Linux does not report it there; traceroute sees it.
    let ping = lab.client.run(&format!("ping -n -c 1 -W 5 {nowhere}"), BRIEF).failed();
    assert!(ping.stdout.contains("Destination unreachable: No route"), "{ping}");
    assert!(ping.elapsed < AT_ONCE, "{ping}");
    let trace = lab.client.run(&format!("traceroute -6 -n -q 1 -w 2 {nowhere}"), BRIEF).succeeded();
    assert!(trace.contains("!N"), "{trace}");
}

#[test]
fn a_host_that_answers_late_is_not_given_up() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    let socket = connected_socket(&lab.client, under_pref64(SERVER), 7777);
    let echo = lab.server.enter(|| UdpSocket::bind("0.0.0.0:7777")).expect("the port is free");
    let mut buffer = [0; 16];
    socket.send(b"question").expect("the first packet leaves");
    let (length, from) = echo.recv_from(&mut buffer).expect("the question arrives");
    echo.send_to(&buffer[..length], from).expect("the answer leaves");
    eventually("the answer", Duration::from_secs(5), || socket.recv(&mut buffer).is_ok_and(|length| length == 8));
}

fn connect_failure(from: &Namespace, to: Ipv6Addr) -> (ErrorKind, Duration) {
    let start = Instant::now();
    let result = from.enter(|| TcpStream::connect_timeout(&SocketAddr::from((to, CLOSED_PORT)), BRIEF));
    (result.expect_err("nobody listens there").kind(), start.elapsed())
}

fn datagram_failure(from: &Namespace, to: Ipv6Addr) -> (ErrorKind, Duration) {
    let socket = connected_socket(from, to, CLOSED_PORT);
    let start = Instant::now();
    socket.send(b"anybody there?").expect("the first packet leaves");
    let error = socket.recv(&mut [0; 16]).expect_err("nobody listens there");
    (error.kind(), start.elapsed())
}

fn connected_socket(from: &Namespace, to: Ipv6Addr, port: u16) -> UdpSocket {
    from.enter(|| {
        let socket = UdpSocket::bind("[::]:0")?;
        socket.set_read_timeout(Some(BRIEF))?;
        socket.connect((to, port))?;
        Ok::<_, std::io::Error>(socket)
    })
    .expect("the client has a route")
}
