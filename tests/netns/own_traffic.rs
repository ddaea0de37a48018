//! The gateway's own traffic beside the translated one: programs on the gateway that use the prefix, and what goes to and from
//! the only IPv4 address of a gateway that the translator has a part of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use crate::ssh::{Ssh, ssh_server};
use crate::support::{CLIENT, Lab, POOL, SERVER, Topology, under_pref64};

/// The gateway's only IPv4 address.
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Beside the gateway, towards the server.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const BRIEF: Duration = Duration::from_secs(10);

const SHARED: &str = "pref64 = \"64:ff9b:1::/96\"\n[translator]\npool4 = \"shared\"\n";

#[test]
fn programs_on_the_gateway_use_the_prefix_too() {
    for configuration in [Lab::translator(), SHARED.to_owned()] {
        let Some(lab) = Lab::new(Topology::default()) else { return };
        let _web = lab.web_server();
        let nat64 = lab.nat64(&configuration);
        let server = under_pref64(SERVER);

        lab.gateway.check(&format!("ping -c 3 -i 0.1 -W 2 {server}"));
        lab.gateway.check(&format!("curl -sS -o /dev/null -m 5 http://[{server}]/"));
        let route = lab.gateway.check(&format!("traceroute -6 -n -q 1 -w 2 {server}"));
        assert!(route.contains(&under_pref64(ROUTER).to_string()) && route.contains(&server.to_string()), "{route}");
        let protocols = nat64.sessions().iter().map(|session| session["protocol"].clone()).collect::<Vec<_>>();
        assert!(["tcp", "icmp"].iter().all(|protocol| protocols.contains(&(*protocol).into())), "{protocols:?}");
        nat64.stop();
    }
}

#[test]
fn ssh_dig_and_traceroute_of_the_gateway_go_on_beside_translated_traffic() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let (_web, _names) = (lab.web_server(), lab.name_server());
    let _sshd = ssh_server(&lab, &lab.gateway, OWN);
    let mut before = Ssh::open(&lab, &lab.server, OWN.into());
    before.answers("before the start");
    let nat64 = lab.nat64(SHARED);
    assert!(!nat64.log().contains("the kernel may translate source addresses"), "{}", nat64.log());
    let server = under_pref64(SERVER);
    let used = |round: u32| {
        lab.client.check(&format!("curl -sS -o /dev/null -m 5 http://[{server}]/"));
        lab.client.check(&format!("ping -c 1 -W 2 {server}"));
        let answer = lab.gateway.check(&format!("dig +short +time=2 +tries=1 @{SERVER} legacy.example A"));
        assert_eq!(answer.trim(), SERVER.to_string(), "round {round}");
    };
    used(0);
    before.answers("after the start");
    let mut after = Ssh::open(&lab, &lab.server, OWN.into());
    for round in 1..5 {
        used(round);
        after.answers("beside translated traffic");
    }

    for (from, command) in [
        (&lab.gateway, format!("traceroute -n -q 1 -w 2 {SERVER}")),
        (&lab.gateway, format!("traceroute -n -q 1 -w 2 -I {SERVER}")),
        (&lab.client, format!("traceroute -6 -n -q 1 -w 2 {server}")),
    ] {
        let route = from.check(&command);
        let [router, end] = if command.contains("-6") {
            [under_pref64(ROUTER).to_string(), server.to_string()]
        } else {
            [ROUTER.to_string(), SERVER.to_string()]
        };
        assert!(route.contains(&router) && route.contains(&end), "{command}: {route}");
    }
    let to_it = lab.server.check(&format!("traceroute -n -q 1 -w 2 {OWN}"));
    assert!(to_it.contains(&OWN.to_string()), "{to_it}");

    nat64.stop();
    for ssh in [&mut before, &mut after] {
        ssh.answers("after the end");
    }
    before.ends_well();
    after.ends_well();
}

#[test]
fn an_address_may_be_shared_beside_a_pool_that_is_routed() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let echo = lab.server.enter(|| UdpSocket::bind((SERVER, 7777)).unwrap());
    echo.set_read_timeout(Some(BRIEF)).unwrap();
    lab.client.ip("addr add 2001:db8:1::11/64 dev eth0 nodad");
    let other: Ipv6Addr = "2001:db8:1::11".parse().unwrap();
    let configuration = format!(
        "pref64 = \"64:ff9b:1::/96\"\n[translator]\npool4 = [\"{POOL}\", {{ address = \"shared\", sources = [\"{other}/128\"] }}]\n"
    );
    let nat64 = lab.nat64(&configuration);
    let mut byte = [0];
    for (host, pool) in [(CLIENT, POOL), (other, OWN)] {
        let near = lab.client.enter(|| UdpSocket::bind((host, 0)).unwrap());
        near.set_read_timeout(Some(BRIEF)).unwrap();
        near.send_to(b"x", (under_pref64(SERVER), 7777)).unwrap();
        let (_, from) = echo.recv_from(&mut byte).unwrap();
        assert_eq!(from.ip(), pool, "{host}");
        echo.send_to(b"y", from).unwrap();
        near.recv(&mut byte).unwrap();
        lab.client.check(&format!("ping -c 1 -W 2 -I {host} {}", under_pref64(SERVER)));
    }
    lab.server.check(&format!("ping -c 1 -W 2 {OWN}"));
    nat64.stop();
}

#[test]
fn a_gateway_behind_another_nat_shares_its_private_address() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let (_web, _names) = (lab.web_server(), lab.name_server());
    let router = &lab.routers[0];
    router.check("nft add table ip nat");
    router.check("nft add chain ip nat post { type nat hook postrouting priority srcnat; }");
    router.check("nft add rule ip nat post oifname east masquerade");
    let echo = lab.server.enter(|| UdpSocket::bind((SERVER, 7777)).unwrap());
    echo.set_read_timeout(Some(BRIEF)).unwrap();
    let nat64 = lab.nat64(SHARED);
    let server = under_pref64(SERVER);

    let near = lab.client.enter(|| UdpSocket::bind((CLIENT, 0)).unwrap());
    near.set_read_timeout(Some(BRIEF)).unwrap();
    let (sent, mut got) = ([7; 4000], [0; 5000]);
    near.send_to(&sent, (server, 7777)).unwrap();
    let (len, from) = echo.recv_from(&mut got).unwrap();
    assert_eq!((len, from.ip().to_string().as_str()), (4000, "198.51.100.1"), "the router's address, and not {OWN}");
    echo.send_to(&sent, from).unwrap();
    assert_eq!(near.recv(&mut got).unwrap(), 4000);
    lab.client.check(&format!("curl -sS -o /dev/null -m 5 http://[{server}]/"));
    lab.client.check(&format!("ping -c 2 -i 0.1 -W 2 {server}"));
    let route = lab.client.check(&format!("traceroute -6 -n -q 1 -w 2 {server}"));
    assert!(route.contains(&under_pref64(ROUTER).to_string()) && route.contains(&server.to_string()), "{route}");
    lab.gateway.check(&format!("curl -sS -o /dev/null -m 5 http://{SERVER}/"));
    lab.gateway.check(&format!("ping -c 2 -i 0.1 -W 2 {SERVER}"));
    assert_eq!(
        lab.gateway.check(&format!("dig +short +time=2 +tries=1 @{SERVER} legacy.example A")).trim(),
        SERVER.to_string()
    );
    nat64.stop();
}

#[test]
fn a_nat_of_the_kernel_on_the_same_address_and_the_translator_leave_each_other_alone() {
    const FIRST: u16 = 10_000;
    const FLOWS: u16 = 300;
    let Some(lab) = Lab::new(Topology::default()) else { return };
    lab.client.ip("addr add 10.9.0.2/24 dev eth0");
    lab.client.ip("route add default via 10.9.0.1");
    lab.gateway.ip("addr add 10.9.0.1/24 dev lan");
    lab.gateway.sysctl("net/ipv4/ip_forward", "1");
    lab.gateway.check("nft add table ip nat");
    lab.gateway.check("nft add chain ip nat post { type nat hook postrouting priority srcnat; }");
    lab.gateway.check("nft add rule ip nat post oifname wan ip saddr 10.9.0.0/24 masquerade");
    let echo = lab.server.enter(|| UdpSocket::bind((SERVER, 7777)).unwrap());
    echo.set_read_timeout(Some(BRIEF)).unwrap();
    let ports = format!("shared:{FIRST}-{}", FIRST + 2 * FLOWS);
    let nat64 = lab.nat64(&SHARED.replace("shared", &ports));
    assert!(nat64.log().contains("the kernel may translate source addresses"), "{}", nat64.log());
    assert!(nat64.log().contains("chain ip nat post"), "{}", nat64.log());

    // The kernel keeps the ports of the first, which are those that the translator gives to the second.
    let mut sockets = Vec::new();
    for port in FIRST..FIRST + FLOWS {
        for to in [SERVER.into(), under_pref64(SERVER).into()] {
            let from: IpAddr =
                if matches!(to, IpAddr::V4(_)) { Ipv4Addr::new(10, 9, 0, 2).into() } else { CLIENT.into() };
            let socket = lab.client.enter(|| UdpSocket::bind((from, port)).unwrap());
            socket.connect((to, 7777)).unwrap();
            socket.set_read_timeout(Some(BRIEF)).unwrap();
            sockets.push(socket);
        }
    }
    let mut word = [0; 4];
    for round in 0..3_u32 {
        for (number, socket) in (0_u32..).zip(&sockets) {
            let sent = (round << 16 | number).to_be_bytes();
            socket.send(&sent).unwrap();
            let (_, from) = echo.recv_from(&mut word).unwrap_or_else(|error| panic!("{number} in {round}: {error}"));
            assert_eq!((word, from.ip()), (sent, OWN.into()));
            echo.send_to(&word, from).unwrap();
            let len = socket.recv(&mut word).unwrap_or_else(|error| panic!("{number} from {from} in {round}: {error}"));
            assert_eq!(word[..len], sent, "{number} from {from}");
        }
    }
    assert_eq!(nat64.sessions().len(), usize::from(FLOWS));
    nat64.stop();
}
