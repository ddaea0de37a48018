//! A whole data plane, device and translator, in a network namespace per test.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use nat64_core::event::EventKind;
use nat64_core::policy::PoolRange;
use nat64_core::{Direction, Event, Policy, Protocol, Translator};

use super::fake::{SOON, eventually};
use super::netns::{in_namespace, ip};
use super::real_devices::{NAME, PEERS, bring_up, config};
use crate::clock::Clock;
use crate::dataplane::{Dataplane, DataplaneConfig};
use crate::device::Device;
use crate::stats::IoStats;
use crate::worker::WorkerError;

const POOL: [u8; 4] = [10, 65, 0, 1];

fn translator() -> Arc<Translator> {
    let policy = Policy::new(vec!["fd65::/96".parse().unwrap()], vec![PoolRange::address(POOL.into())]);
    Arc::new(Translator::new(policy, 1).unwrap())
}

#[test]
fn a_host_reaches_its_own_ipv4_address_through_the_translator() {
    in_namespace(|| {
        let settings = DataplaneConfig::new(Clock::start(), |failure| panic!("{failure}"));
        let device = Device::open(&config(2, true)).unwrap();
        let dataplane = Dataplane::start(device, translator(), &settings).unwrap();
        ip(&format!("address add {}/24 dev {NAME}", PEERS[0].0));
        bring_up();
        ip(&format!("-6 route add fd65::/96 dev {NAME}"));
        ip(&format!("route add {}/32 dev {NAME}", Ipv4Addr::from(POOL)));
        let listener = TcpListener::bind((PEERS[0].0, 0)).unwrap();
        let data: Vec<u8> = (0..2_000_000_u32).flat_map(|word| word.to_le_bytes()).collect();
        let to = (format!("fd65::{}", PEERS[0].0).parse::<Ipv6Addr>().unwrap(), listener.local_addr().unwrap().port());

        let (received, from, echoed) = thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut stream = TcpStream::connect_timeout(&to.into(), SOON).unwrap();
                stream.set_read_timeout(Some(SOON)).unwrap();
                stream.write_all(&data).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut echoed = Vec::new();
                stream.read_to_end(&mut echoed).unwrap();
                echoed
            });
            let (mut stream, from) = listener.accept().unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            stream.write_all(&received).unwrap();
            drop(stream);
            (received, from, client.join().unwrap())
        });

        assert_eq!(from.ip(), IpAddr::from(POOL));
        assert!(received == data && echoed == data, "{} there and {} back", received.len(), echoed.len());
        let stats = IoStats::total(&dataplane.io_stats());
        assert_eq!((stats.read_errors, stats.write_errors, stats.software_offloads), (0, 0, 0));
        assert!(stats.reads < 8_000_000 * 2 / 1400, "super-packets stay whole: {stats:?}");
        let counters = dataplane.counters();
        let translated = |way| counters.iter().map(|worker| worker.translated(way, Protocol::Tcp).bytes).sum::<u64>();
        assert!(translated(Direction::SixToFour) > 8_000_000 && translated(Direction::FourToSix) > 8_000_000);
        let made = |event: &Event| matches!(event.kind, EventKind::SessionCreated) && event.remote.is_some();
        let events = dataplane.events();
        eventually("the session is told of", || {
            events.iter().flat_map(|ring| std::iter::from_fn(|| ring.pop())).any(|event| made(&event))
        });
        dataplane.stop();
    });
}

/// A datagram of a number. Most have the same size, so that they can leave as one.
fn datagram(number: u32) -> Vec<u8> {
    let padding = if number % 9 == 8 { 7 } else { 60 };
    [&number.to_be_bytes()[..], &[0; 60][..padding]].concat()
}

/// Sends numbered datagrams through the translator, many on their way at a time, and receives them.
fn send_in_order(port: u16) {
    const WINDOW: u32 = 64;
    const ROUNDS: u32 = 100;
    let receiver = UdpSocket::bind((PEERS[0].0, port)).unwrap();
    receiver.set_read_timeout(Some(SOON)).unwrap();
    let sender = UdpSocket::bind((PEERS[1].0, port)).unwrap();
    sender.connect((format!("fd65::{}", PEERS[0].0).parse::<Ipv6Addr>().unwrap(), port)).unwrap();
    for round in 0..ROUNDS {
        let window = round * WINDOW..(round + 1) * WINDOW;
        for number in window.clone() {
            sender.send(&datagram(number)).unwrap();
        }
        for number in window {
            let mut buffer = [0; 100];
            let (len, _) = receiver.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{port}, {number}: {error}"));
            assert_eq!(buffer[..len], datagram(number), "flow {port}");
        }
    }
}

#[test]
fn no_flow_is_reordered_by_four_queues_under_load() {
    in_namespace(|| {
        let settings = DataplaneConfig::new(Clock::start(), |failure| panic!("{failure}"));
        let device = Device::open(&config(4, true)).unwrap();
        let dataplane = Dataplane::start(device, translator(), &settings).unwrap();
        ip(&format!("address add {}/24 dev {NAME}", PEERS[0].0));
        bring_up();
        // No window of any flow finds a queue full, even if all meet in one.
        ip(&format!("link set {NAME} txqueuelen 4000"));
        ip(&format!("-6 route add fd65::/96 dev {NAME}"));
        ip(&format!("route add {}/32 dev {NAME}", Ipv4Addr::from(POOL)));

        thread::scope(|scope| {
            let flows: Vec<_> = (5001..5025).map(|port| scope.spawn(move || send_in_order(port))).collect();
            flows.into_iter().for_each(|flow| flow.join().unwrap());
        });

        // A worker counts a write after it, when its datagram may have arrived already.
        let end = Instant::now() + SOON;
        let written = || IoStats::total(&dataplane.io_stats());
        while written().writes + written().merged < 24 * 6400 && Instant::now() < end {
            thread::yield_now();
        }
        let queues = dataplane.io_stats();
        let total = IoStats::total(&queues);
        assert_eq!((total.read_errors, total.write_errors, total.software_offloads), (0, 0, 0));
        let counters = dataplane.counters();
        let translated = counters.iter().map(|worker| worker.translated(Direction::SixToFour, Protocol::Udp).packets);
        assert_eq!(translated.sum::<u64>(), 24 * 6400);
        assert!(total.writes + total.merged >= 24 * 6400, "{total:?}");
        assert!(queues.iter().filter(|queue| queue.reads > 0).count() >= 2, "several queues had work: {queues:?}");
        dataplane.stop();
    });
}

#[test]
fn a_device_that_is_removed_ends_the_workers_with_an_error() {
    in_namespace(|| {
        let translator = translator();
        let (failed, failures) = mpsc::channel();
        let settings = DataplaneConfig::new(Clock::start(), move |failure| drop(failed.send(failure)));
        let device = Device::open(&config(2, true)).unwrap();
        let dataplane = Dataplane::start(device, translator, &settings).unwrap();

        ip(&format!("link delete {NAME}"));

        let mut workers = [failures.recv_timeout(SOON).unwrap(), failures.recv_timeout(SOON).unwrap()];
        workers.sort_by_key(|failure| failure.worker);
        for (worker, failure) in workers.iter().enumerate() {
            assert_eq!(failure.worker, worker);
            assert!(matches!(failure.error, WorkerError::DeviceGone | WorkerError::Read(_)), "{failure}");
        }
        dataplane.stop();
    });
}
