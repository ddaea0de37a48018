//! A gateway with one IPv4 address, of which the translator has a range of ports and the host the rest.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::support::{Lab, Namespace, SERVER, Topology, eventually, under_pref64};

/// The gateway's only IPv4 address.
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The address that it gets next.
const MOVED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);
/// A port of the host on it.
const SSH: u16 = 22;
const BRIEF: Duration = Duration::from_secs(10);

fn shared() -> String {
    format!("pref64 = \"64:ff9b:1::/96\"\n[translator]\npool4 = [{{ address = \"{OWN}\", ports = \"10000-29999\" }}]\n")
}

/// A datagram from `near` to the server's port 7777, and back; whom it came from there.
fn to_and_fro(near: &Namespace, to: IpAddr, server: &UdpSocket) -> SocketAddr {
    let exchange = || -> io::Result<SocketAddr> {
        let near = near.enter(|| UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }))?;
        near.set_read_timeout(Some(BRIEF))?;
        server.set_read_timeout(Some(BRIEF))?;
        let mut got = [0; 16];
        near.send_to(b"there", (to, 7777))?;
        let (_, from) = server.recv_from(&mut got)?;
        server.send_to(b"back", from)?;
        let len = near.recv(&mut got)?;
        assert_eq!(&got[..len], b"back");
        Ok(from)
    };
    exchange().unwrap_or_else(|error| panic!("no datagram to {to} and back: {error}"))
}

/// Gives the gateway another address in the place of the one that it has, as DHCP does.
fn move_to(lab: &Lab, address: Ipv4Addr) {
    lab.gateway.ip("addr flush dev wan scope global");
    lab.gateway.ip(&format!("addr add {address}/28 dev wan"));
    // They went with the address.
    lab.gateway.ip("route replace 198.51.100.0/24 via 192.0.2.2");
    lab.gateway.ip("route replace default via 192.0.2.2");
}

/// What must be the same before and after.
fn state(lab: &Lab) -> Vec<String> {
    let reserved = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").expect("Linux has it");
    vec![lab.gateway.ip("rule show"), lab.gateway.check("nft list ruleset"), lab.gateway.enter(reserved)]
}

#[test]
fn hosts_behind_it_use_the_address_and_so_does_the_gateway() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _web = lab.web_server();
    let _nat64 = lab.nat64(&shared());
    let server = under_pref64(SERVER);

    lab.client.check(&format!("curl -sS -o /dev/null -m 5 http://[{server}]/"));
    lab.client.check(&format!("ping -c 3 -i 0.1 -W 2 {server}"));
    lab.gateway.check(&format!("curl -sS -o /dev/null -m 5 http://{SERVER}/"));
    lab.gateway.check(&format!("ping -c 3 -i 0.1 -W 2 {SERVER}"));
    lab.server.check(&format!("ping -c 3 -i 0.1 -W 2 {OWN}"));
}

#[test]
fn connections_to_the_gateway_itself_are_its_own() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let listener = lab.gateway.enter(|| TcpListener::bind((OWN, SSH)).unwrap());
    let _nat64 = lab.nat64(&shared());

    let mut caller = lab.server.enter(|| TcpStream::connect_timeout(&SocketAddr::from((OWN, SSH)), BRIEF).unwrap());
    let (mut called, _) = listener.accept().unwrap();
    called.write_all(b"hello").unwrap();
    let mut said = [0; 5];
    caller.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hello");
}

#[test]
fn the_word_shared_is_enough() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _web = lab.web_server();
    let echo = lab.server.enter(|| UdpSocket::bind((SERVER, 7777)).unwrap());
    let ssh = lab.gateway.enter(|| TcpListener::bind(("0.0.0.0", SSH)).unwrap());
    let nat64 = lab.nat64_without_file("--pref64 64:ff9b:1::/96 --pool4 shared");
    let server = under_pref64(SERVER);

    lab.client.check(&format!("ping -c 3 -i 0.1 -W 2 {server}"));
    lab.client.check(&format!("curl -sS -o /dev/null -m 5 http://[{server}]/"));
    let seen = to_and_fro(&lab.client, server.into(), &echo);
    assert!(seen.ip() == OWN && (10_000..30_000).contains(&seen.port()), "{seen}");
    let sessions = nat64.sessions().len();
    assert!(sessions >= 3, "{sessions}");

    lab.gateway.check(&format!("curl -sS -o /dev/null -m 5 http://{SERVER}/"));
    lab.gateway.check(&format!("ping -c 3 -i 0.1 -W 2 {SERVER}"));
    let seen = to_and_fro(&lab.gateway, SERVER.into(), &echo);
    assert!(seen.ip() == OWN && !(10_000..30_000).contains(&seen.port()), "{seen}");
    let address = SocketAddr::from((OWN, SSH));
    let _caller = lab.server.enter(|| TcpStream::connect_timeout(&address, BRIEF).unwrap());
    assert_eq!(ssh.accept().unwrap().1.ip(), SERVER);
    assert_eq!(nat64.sessions().len(), sessions, "what is the gateway's own needs no session");

    let pool = nat64.ask(&["pool"]).succeeded();
    assert!(pool.contains(&OWN.to_string()), "{pool}");
}

#[test]
fn a_gateway_without_a_default_route_is_told_what_shared_would_need() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    lab.gateway.ip("route del default");
    let said = lab.nat64_refuses("[translator]\npool4 = \"shared\"\n").stderr;
    assert!(said.contains("refused.toml:2:9: ") && said.contains("there is no IPv4 default route"), "{said}");
}

#[test]
fn fragments_find_the_host_that_they_are_for() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _nat64 = lab.nat64(&shared());
    let far = lab.server.enter(|| UdpSocket::bind((SERVER, 7777)).unwrap());
    let near = lab.client.enter(|| UdpSocket::bind("[::]:0").unwrap());
    for socket in [&far, &near] {
        socket.set_read_timeout(Some(BRIEF)).unwrap();
    }
    let (sent, mut got) = ([7; 4000], [0; 5000]);

    near.send_to(&sent, (under_pref64(SERVER), 7777)).unwrap();
    let (len, from) = far.recv_from(&mut got).unwrap();
    assert_eq!((len, from.ip()), (4000, OWN.into()));
    assert!((10_000..30_000).contains(&from.port()), "{from}");
    far.send_to(&sent, from).unwrap();
    assert_eq!(near.recv_from(&mut got).unwrap().0, 4000);
    assert_eq!(got[..4000], sent);

    lab.client.check(&format!("ping -c 2 -i 0.1 -W 2 -s 4000 {}", under_pref64(SERVER)));
    lab.gateway.check(&format!("ping -c 2 -i 0.1 -W 2 -s 4000 {SERVER}"));
    lab.server.check(&format!("ping -c 2 -i 0.1 -W 2 -s 4000 {OWN}"));
}

#[test]
fn errors_reach_who_sent_the_packet() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500, 1400], ..Topology::default() }) else { return };
    let _nat64 = lab.nat64(&shared());
    let server = under_pref64(SERVER);

    let refused = |to: SocketAddr| {
        let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
        socket.set_read_timeout(Some(BRIEF)).unwrap();
        socket.connect(to).unwrap();
        socket.send(b"anybody?").unwrap();
        socket.recv(&mut [0; 16]).unwrap_err().kind()
    };
    let expected = std::io::ErrorKind::ConnectionRefused;
    assert_eq!(lab.client.enter(|| refused((server, 4242).into())), expected);
    assert_eq!(lab.gateway.enter(|| refused((SERVER, 4242).into())), expected);
    // Path MTU discovery of a host behind and of the gateway itself.
    lab.client.run(&format!("ping -c 1 -W 2 -M do -s 1440 {server}"), BRIEF).failed();
    eventually("the client's path MTU", BRIEF, || lab.client.ip(&format!("route get {server}")).contains("mtu 1420"));
    lab.gateway.run(&format!("ping -c 1 -W 2 -M do -s 1440 {SERVER}"), BRIEF).failed();
    eventually("the gateway's path MTU", BRIEF, || lab.gateway.ip(&format!("route get {SERVER}")).contains("mtu 1400"));
}

#[test]
fn programs_of_the_gateway_never_get_a_port_of_the_translator() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    lab.gateway.sysctl("net/ipv4/ip_local_port_range", "29000 31000");
    let _nat64 = lab.nat64(&shared());
    let ports: Vec<u16> = lab.gateway.enter(|| {
        let sockets: Vec<UdpSocket> = (0..900).map(|_| UdpSocket::bind((OWN, 0)).unwrap()).collect();
        sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
    });
    assert!(ports.iter().all(|port| *port > 29_999), "{ports:?}");
}

#[test]
fn stopping_restores_rules_and_sysctls_and_so_does_the_start_after_a_kill() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let untouched = state(&lab);
    lab.nat64(&shared()).stop();
    assert_eq!(state(&lab), untouched);

    lab.gateway.sysctl("net/ipv4/ip_local_reserved_ports", "8080,9148-9150");
    let before = state(&lab);
    lab.nat64(&shared()).stop();
    assert_eq!(state(&lab), before);

    lab.nat64(&shared()).kill();
    assert_ne!(state(&lab), before);
    lab.nat64(&Lab::translator()).stop();
    assert_eq!(state(&lab), before);
}

#[test]
fn a_port_that_a_program_has_is_named() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _listener = lab.gateway.enter(|| TcpListener::bind("[::]:12345").unwrap());
    let before = state(&lab);
    let said = lab.nat64_refuses(&shared()).stderr;
    assert!(
        said.contains("port 12345 of 192.0.2.1 is in the pool, but a program on this host uses it (TCP ::)"),
        "{said}"
    );
    assert_eq!(state(&lab), before);
}

/// The ports that no program gets by chance.
fn reserved(lab: &Lab) -> String {
    let text = lab.gateway.enter(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports"));
    text.expect("Linux has it").trim().to_owned()
}

#[test]
fn a_reload_moves_the_translator_to_other_ports_and_to_another_address() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let echo = lab.server.enter(|| UdpSocket::bind((SERVER, 7777)).unwrap());
    let server = IpAddr::from(under_pref64(SERVER));
    let shared = |ports: &str| format!("pref64 = \"64:ff9b:1::/96\"\n[translator]\npool4 = \"shared{ports}\"\n");
    let before = state(&lab);
    let nat64 = lab.nat64(&shared(":10000-10999"));
    assert!((10_000..11_000).contains(&to_and_fro(&lab.client, server, &echo).port()));

    lab.nat64_run("nat64", &shared(":10500-11999"));
    nat64.ask(&["reload"]).succeeded();
    assert_eq!(reserved(&lab), "10500-11999");
    for _ in 0..20 {
        let seen = to_and_fro(&lab.client, server, &echo);
        assert!((10_500..12_000).contains(&seen.port()), "{seen}");
    }
    lab.client.check(&format!("ping -c 1 -W 2 {server}"));

    move_to(&lab, MOVED);
    let said = nat64.ask(&["reload"]).succeeded();
    assert!(said.contains("192.0.2.1 of wan") && said.contains("192.0.2.3 of wan"), "{said}");
    assert_eq!(to_and_fro(&lab.client, server, &echo).ip(), MOVED);
    lab.client.check(&format!("ping -c 1 -W 2 {server}"));
    lab.server.check(&format!("ping -c 1 -W 2 {MOVED}"));
    let rules = lab.gateway.ip("rule show");
    assert!(!rules.contains(&format!("{OWN} ")) && rules.contains(&MOVED.to_string()), "{rules}");
    nat64.stop();
    assert_eq!(state(&lab), before);
}

#[test]
fn an_address_that_changes_is_followed_if_asked_for() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let echo = lab.server.enter(|| UdpSocket::bind((SERVER, 7777)).unwrap());
    let server = IpAddr::from(under_pref64(SERVER));
    let before = state(&lab);
    let nat64 = lab.nat64("pref64 = \"64:ff9b:1::/96\"\n[translator]\npool4 = \"shared\"\nfollow-address = true\n");
    assert_eq!(to_and_fro(&lab.client, server, &echo).ip(), OWN);

    lab.gateway.ip("addr flush dev wan scope global");
    eventually("word of the missing address", BRIEF, || nat64.log().contains("is not followed until there is one"));
    assert!(nat64.ask(&["status"]).status.success());

    move_to(&lab, MOVED);
    eventually("the new address", BRIEF, || nat64.log().contains("followed the shared address"));
    assert_eq!(to_and_fro(&lab.client, server, &echo).ip(), MOVED);
    lab.client.check(&format!("ping -c 1 -W 2 {server}"));
    lab.server.check(&format!("ping -c 1 -W 2 {MOVED}"));
    let old = |session: &serde_json::Value| session.to_string().contains(&OWN.to_string());
    eventually("the end of sessions on the old address", BRIEF, || !nat64.sessions().iter().any(old));
    assert_eq!(nat64.log().matches("followed the shared address").count(), 1, "{}", nat64.log());

    move_to(&lab, OWN);
    eventually("the first address again", BRIEF, || nat64.log().matches("followed the shared address").count() == 2);
    assert_eq!(to_and_fro(&lab.client, server, &echo).ip(), OWN);
    nat64.stop();
    assert_eq!(state(&lab), before);
}
