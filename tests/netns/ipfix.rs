//! IPFIX records of every event, read by Wireshark's dissector.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use etherparse::PacketBuilder;

use crate::support::{CLIENT, Lab, Outcome, POOL, SERVER, Topology, eventually, under_pref64};

const SOON: Duration = Duration::from_secs(30);
const COLLECTOR: &str = "127.0.0.1:4739";

/// One subscriber has 16 ports and may have 18 sessions.
const TIGHT: &str = "\
ports = \"1024-1039\"
port-assignment = \"blocks\"
port-blocks = { size = 16, per-subscriber = 1 }
limits = { sessions-per-subscriber = 18 }
timers = { udp = 4, port-quarantine = 0 }
[[log.sessions]]
to = \"udp://127.0.0.1:4739\"
format = \"ipfix\"
destinations = true
record = [\"sessions\", \"mappings\", \"blocks\", \"refusals\"]
";

/// natEvent (RFC 8158 §4.3).
const SESSION_CREATE: &str = "6";
const SESSION_DELETE: &str = "7";
const BIB_CREATE: &str = "10";
const BIB_DELETE: &str = "11";
const PORTS_EXHAUSTED: &str = "12";
const QUOTA_EXCEEDED: &str = "13";
const BLOCK_ALLOCATED: &str = "16";
const BLOCK_RELEASED: &str = "17";

/// 18 sessions and 16 mappings made and removed, a block given and taken back, four and two refusals.
const RECORDS: u64 = 2 * 18 + 2 * 16 + 2 + 4 + 2;

#[test]
fn tshark_reads_every_event_of_rfc_8158_that_there_is() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let collector = lab.gateway.enter(|| UdpSocket::bind(COLLECTOR)).expect("the port is free");
    collector.set_nonblocking(true).expect("a socket can be so");
    let nat64 = lab.nat64(&format!("{}{TIGHT}", Lab::translator()));
    send_from(&lab, 5000..5020, 9);
    // Two more sessions of mappings that exist, and then no more.
    send_from(&lab, 5000..5004, 10);
    let mut messages = Vec::new();
    eventually("the end of everything", SOON, || {
        receive(&collector, &mut messages);
        nat64.ask_json("status")["session_logs"][0]["delivered"] == RECORDS
    });
    nat64.stop();
    receive(&collector, &mut messages);

    let capture = lab.directory().join("ipfix.pcap");
    fs::write(&capture, pcap(&messages)).expect("the lab directory is writable");
    let flows = tshark(&lab, &capture);

    let of = |name: &str| flows.get(name).cloned().unwrap_or_default();
    let events: BTreeSet<String> = of("cflow.nat_event").into_iter().collect();
    let all = [
        SESSION_CREATE,
        SESSION_DELETE,
        BIB_CREATE,
        BIB_DELETE,
        PORTS_EXHAUSTED,
        QUOTA_EXCEEDED,
        BLOCK_ALLOCATED,
        BLOCK_RELEASED,
    ];
    assert_eq!(events, all.map(str::to_owned).into(), "{flows:#?}");
    let count = |event: &str| of("cflow.nat_event").iter().filter(|other| *other == event).count();
    assert_eq!([SESSION_CREATE, SESSION_DELETE, BIB_CREATE, BIB_DELETE].map(count), [18, 18, 16, 16]);
    assert_eq!([BLOCK_ALLOCATED, BLOCK_RELEASED, PORTS_EXHAUSTED, QUOTA_EXCEEDED].map(count), [1, 1, 4, 2]);

    let distinct = |name: &str| of(name).into_iter().collect::<BTreeSet<_>>();
    let only = |value: String| BTreeSet::from([value]);
    assert_eq!(distinct("cflow.srcaddrv6"), only(CLIENT.to_string()));
    assert_eq!(distinct("cflow.post_natsource_ipv4_address"), only(POOL.to_string()));
    assert_eq!(distinct("cflow.dstaddrv6"), only(under_pref64(SERVER).to_string()));
    assert_eq!(distinct("cflow.post_natdestination_ipv4_address"), only(SERVER.to_string()));
    assert_eq!(distinct("cflow.protocol"), only("17".to_owned()));
    assert_eq!(distinct("cflow.dstport"), BTreeSet::from(["9".to_owned(), "10".to_owned()]));
    assert_eq!(of("cflow.port_range_start"), ["1024", "1024"]);
    assert_eq!(of("cflow.port_range_end"), ["1039", "1039"]);
    // Maximum entries per user (RFC 8158 §6.1.4).
    assert_eq!(of("cflow.nat_quota_exceeded_event"), ["3", "3"]);
    let ports: BTreeSet<u16> =
        of("cflow.post_naptsource_transport_port").iter().filter_map(|p| p.parse().ok()).collect();
    assert_eq!(ports, (1024..=1039).collect());
    let sources: BTreeSet<u16> = of("cflow.srcport").iter().filter_map(|p| p.parse().ok()).collect();
    assert_eq!(sources.len(), 16, "{sources:?}");
    assert_eq!(of("_ws.malformed"), Vec::<String>::new());
}

/// Sends a datagram from each of these ports of the client.
fn send_from(lab: &Lab, ports: std::ops::Range<u16>, to: u16) {
    lab.client.enter(|| {
        for port in ports {
            let socket = UdpSocket::bind((CLIENT, port)).expect("the port is free");
            socket.send_to(b"x", (under_pref64(SERVER), to)).expect("it is routed");
        }
    });
}

fn receive(collector: &UdpSocket, messages: &mut Vec<Vec<u8>>) {
    let mut buffer = [0; 2048];
    while let Ok(len) = collector.recv(&mut buffer) {
        messages.push(buffer[..len].to_vec());
    }
}

/// A capture file of datagrams to the collector.
fn pcap(messages: &[Vec<u8>]) -> Vec<u8> {
    /// Packets begin with an IP header.
    const LINKTYPE_RAW: u32 = 101;
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0002_0004_u32.rotate_left(16), 0, 0, 65_535, LINKTYPE_RAW] {
        file.extend(u32::to_ne_bytes(word));
    }
    for (number, message) in (1..).zip(messages) {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4([127, 0, 0, 1], [127, 0, 0, 1], 64).udp(40_000, 4739);
        builder.write(&mut packet, message).expect("a Vec takes everything");
        let len = u32::try_from(packet.len()).expect("a datagram is short");
        for word in [number, 0, len, len] {
            file.extend(u32::to_ne_bytes(word));
        }
        file.extend(packet);
    }
    file
}

/// All values of each field, in their order.
fn tshark(lab: &Lab, capture: &Path) -> BTreeMap<String, Vec<String>> {
    const FIELDS: [&str; 13] = [
        "cflow.nat_event",
        "cflow.srcaddrv6",
        "cflow.post_natsource_ipv4_address",
        "cflow.protocol",
        "cflow.srcport",
        "cflow.post_naptsource_transport_port",
        "cflow.dstaddrv6",
        "cflow.post_natdestination_ipv4_address",
        "cflow.dstport",
        "cflow.port_range_start",
        "cflow.port_range_end",
        "cflow.nat_quota_exceeded_event",
        "_ws.malformed",
    ];
    let mut command = lab.gateway.command("tshark");
    command.arg("-r").arg(capture).args(["-d", "udp.port==4739,cflow", "-T", "fields", "-E", "separator=|"]);
    FIELDS.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    let mut flows = BTreeMap::new();
    for line in Outcome::of(command, SOON).succeeded().lines() {
        for (name, values) in FIELDS.iter().zip(line.split('|')) {
            let values = values.split(',').filter(|value| !value.is_empty()).map(str::to_owned);
            flows.entry((*name).to_owned()).or_insert_with(Vec::new).extend(values);
        }
    }
    flows
}
