//! What a busy gateway says of itself, for tests of those who show it.

use super::api::{
    BlockUse, ByProtocol, DeviceStatus, Dns64Status, Draining, PoolRange, PoolStatus, PrefixStatus, Rate, Rates,
    SessionLogStatus, Status, Traffic, TranslatorStatus,
};

/// A status in which nothing is empty.
pub(crate) fn busy() -> Status {
    let traffic = |packets, bytes| Traffic { packets, bytes };
    Status {
        version: "0.1.0".to_owned(),
        pid: 4242,
        uptime_seconds: 93_784,
        pref64: vec!["64:ff9b::/96".to_owned()],
        translator: Some(TranslatorStatus {
            device: DeviceStatus {
                name: "nat64".to_owned(),
                mtu: 65535,
                ipv4_link_mtu: Some(1500),
                ipv6_link_mtu: None,
                queues: 4,
                offloads: "checksum, tso, uso".to_owned(),
                read_errors: 0,
                write_errors: 3,
            },
            pool: PoolStatus {
                ranges: vec![
                    PoolRange {
                        first: "192.0.2.1".parse().unwrap(),
                        last: "192.0.2.1".parse().unwrap(),
                        first_port: 1,
                        last_port: 65535,
                    },
                    PoolRange {
                        first: "198.51.100.0".parse().unwrap(),
                        last: "198.51.100.15".parse().unwrap(),
                        first_port: 20000,
                        last_port: 29999,
                    },
                ],
                addresses: 17,
                ports: 225_535,
                ports_taken: ByProtocol::new([812, 95, 2]),
                blocks: Some(BlockUse { taken: 61, all: 220 }),
            },
            sessions: ByProtocol::new([1204, 310, 2]),
            tcp_states: [("ESTABLISHED".to_owned(), 1200), ("TRANS".to_owned(), 4)].into(),
            sessions_limit: 1_000_000,
            mappings: ByProtocol::new([812, 95, 2]),
            mappings_limit: 1_000_000,
            six_to_four: ByProtocol::new([traffic(1_200_000, 90 << 20), traffic(10_000, 5 << 20), traffic(20, 2000)]),
            four_to_six: ByProtocol::new([traffic(3_400_000, 4 << 30), traffic(9000, 6 << 20), traffic(20, 2000)]),
            hairpinned: 0,
            held: 12,
            refused: 40,
            rates: Some(Rates {
                six_to_four: Rate { packets_per_second: 12_000, bits_per_second: 9_600_000 },
                four_to_six: Rate { packets_per_second: 31_000, bits_per_second: 310_000_000 },
            }),
            draining: Draining::default(),
            dropped: [("no-mapping".to_owned(), 1234), ("not-our-prefix".to_owned(), 2)].into(),
        }),
        dns64: Some(Dns64Status {
            listen: vec!["[::]:53".parse().unwrap()],
            upstreams: vec!["192.0.2.53:53".parse().unwrap()],
            prefixes: vec![PrefixStatus {
                prefix: "64:ff9b::/96".to_owned(),
                state: dns64::PrefixState::Down,
                reason: Some("its device is down".to_owned()),
            }],
            counters: [("queries_udp".to_owned(), 4321), ("answers_synthesised".to_owned(), 2000)].into(),
        }),
        session_logs: vec![SessionLogStatus {
            to: "/var/log/nat64/sessions.json".to_owned(),
            delivered: 51_200,
            lost: 3,
            failing: true,
        }],
    }
}
