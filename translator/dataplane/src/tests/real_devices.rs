//! On devices of the running kernel, each test in a network namespace of its own.
//!
//! Packets reach an engine that swaps source and destination: who sends to the peer's address meets itself, with the
//! kernel making and checking all packets on both sides.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nat64_core::{Direction, DropReason, GsoKind, PacketBuf, Verdict};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::fake::{SOON, Told, Watched, eventually};
use super::netns::{in_namespace, ip};
use crate::clock::Clock;
use crate::dataplane::{DataplaneConfig, Workers};
use crate::device::{Device, DeviceConfig, DeviceError, Offloads, TunQueue, index_of, open_driver, set_interface};
use crate::outbox::Merging;

pub(super) const NAME: &str = "dptest";
pub(super) const PEERS: [(&str, &str); 2] = [("10.64.0.1", "10.64.0.2"), ("fd64::1", "fd64::2")];

pub(super) fn config(queues: usize, offload: bool) -> DeviceConfig {
    DeviceConfig { name: NAME.to_owned(), queues, offload }
}

#[test]
fn a_device_has_its_queues_and_offloads_and_goes_away_when_closed() {
    in_namespace(|| {
        let device = Device::open(&config(3, true)).unwrap();

        assert_eq!((device.info().name.as_str(), device.info().queues), (NAME, 3));
        assert_eq!(index_of(NAME), Ok(device.info().index));
        assert!(device.info().offloads.checksum && device.info().offloads.tso, "{}", device.info().offloads);
        drop(device);
        // A child that another test forks has copies of our descriptors until it runs its program.
        eventually("the device goes", || index_of(NAME).is_err());
    });
}

#[test]
fn without_offload_a_device_has_its_queues_all_the_same() {
    for queues in [1, 2] {
        in_namespace(|| {
            let device = Device::open(&config(queues, false)).unwrap();
            assert_eq!((device.info().queues, device.info().offloads), (queues, Offloads::NONE));
        });
    }
}

#[test]
fn a_device_in_use_is_refused_and_its_holder_named() {
    let variants = [(1, true), (2, true), (1, false), (2, false)];
    for (queues, offload) in variants {
        in_namespace(|| {
            let _held = Device::open(&config(queues, offload)).unwrap();
            for (queues, offload) in variants {
                let refusal = Device::open(&config(queues, offload)).unwrap_err();
                let DeviceError::InUse { name, holder } = refusal else { panic!("{refusal}") };
                assert_eq!((name.as_str(), holder.pid), (NAME, std::process::id()));
            }
        });
    }
}

#[test]
fn a_device_of_another_kind_is_left_alone() {
    in_namespace(|| {
        for (queues, offload) in [(2, true), (1, false)] {
            let name = "lo".to_owned();
            let refusal = Device::open(&DeviceConfig { name, queues, offload }).unwrap_err();
            assert!(matches!(refusal, DeviceError::Exists(_)), "{refusal}");
        }
    });
}

#[test]
fn other_users_can_neither_make_nor_join_a_device() {
    in_namespace(|| {
        let _held = Device::open(&config(2, true)).unwrap();
        let outsider = open_driver().unwrap();
        let latecomer = open_driver().unwrap();
        let nobody = (Uid::from_raw(65534), Gid::from_raw(65534));
        // For this thread only.
        rustix::thread::set_thread_res_gid(nobody.1, nobody.1, nobody.1).unwrap();
        rustix::thread::set_thread_res_uid(nobody.0, nobody.0, nobody.0).unwrap();

        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
        assert_eq!(set_interface(&outsider, NAME, flags), Err(Errno::PERM));
        assert_eq!(set_interface(&latecomer, "dpother", flags), Err(Errno::PERM));
    });
}

/// What a reflecting engine saw.
#[derive(Default)]
struct Seen {
    super_packets: [AtomicUsize; 3],
}

impl Seen {
    fn of(&self, kind: GsoKind) -> usize {
        self.super_packets[kind as usize].load(Ordering::Relaxed)
    }
}

/// Swaps source and destination, which no checksum notices.
fn reflect(packet: &mut PacketBuf<'_>, seen: &Seen) -> Verdict {
    if let Some(gso) = packet.offload.gso {
        seen.super_packets[gso.kind as usize].fetch_add(1, Ordering::Relaxed);
    }
    let bytes = packet.bytes_mut();
    let (from, len) = match bytes[0] >> 4 {
        4 => (12, 4),
        // Not neighbour discovery and the like.
        _ if bytes[24] == 0xff => return Verdict::Dropped(DropReason::IllegalDestination),
        _ => (8, 16),
    };
    bytes[from..from + 2 * len].rotate_left(len);
    Verdict::Translated(Direction::SixToFour)
}

/// Sets the link up, with the IPv6 address that a link loses when it goes down.
pub(super) fn bring_up() {
    ip(&format!("link set {NAME} up"));
    ip(&format!("address add {}/64 dev {NAME} nodad", PEERS[1].0));
    // The kernel adds the address's own route later, from a work queue, and receives nothing for it until then.
    let has_route = || ip(&format!("-6 route get {}", PEERS[1].0)).starts_with("local ");
    eventually("the address is in use", has_route);
}

/// Runs `test` beside workers that reflect, on queues as `change` makes them.
fn with_reflector(
    config: &DeviceConfig,
    change: fn(Watched<TunQueue>) -> Watched<TunQueue>,
    test: fn(&Seen, &Workers),
) {
    in_namespace(|| {
        let (info, queues) = Device::open(config).unwrap().into_parts();
        ip(&format!("address add {}/24 dev {NAME}", PEERS[0].0));
        bring_up();
        let seen = Arc::new(Seen::default());
        let engine = Told::translating({
            let seen = Arc::clone(&seen);
            move |packet, _| reflect(packet, &seen)
        });
        let settings = DataplaneConfig::new(Clock::start(), |failure| panic!("{failure}"));
        let queues = queues.into_iter().map(|queue| change(Watched::new(queue))).collect();
        let merging = Merging { tcp: info.offloads.tso, udp: info.offloads.uso };
        let workers = Workers::start(queues, Arc::new(engine), merging, &settings).unwrap();
        test(&seen, &workers);
        assert_eq!(workers.handles.len(), info.queues);
        for worker in &workers.handles {
            let stats = worker.io.snapshot();
            assert_eq!((stats.read_errors, stats.write_errors), (0, 0), "{stats:?}");
        }
    });
}

/// Sends megabytes to each peer and compares what comes out.
fn transfer_tcp() {
    let data: Vec<u8> = (0..6_000_000_u32).flat_map(|word| word.to_le_bytes()).collect();
    for (here, peer) in PEERS {
        let listener = TcpListener::bind((here, 0)).unwrap();
        let to = SocketAddr::new(peer.parse::<IpAddr>().unwrap(), listener.local_addr().unwrap().port());
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = TcpStream::connect_timeout(&to, SOON).unwrap();
                stream.set_write_timeout(Some(SOON)).unwrap();
                stream.write_all(&data).unwrap();
            });
            let (mut stream, from) = listener.accept().unwrap();
            assert_eq!(from.ip().to_string(), peer);
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            assert!(received == data, "{} of {} bytes, or other ones", received.len(), data.len());
        });
    }
}

/// Sends datagrams as one UDP super-packet to the peer and receives them one by one.
fn transfer_udp() {
    for (here, peer) in PEERS {
        let socket = UdpSocket::bind((here, 0)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let segment_size: libc::c_int = 1000;
        // SAFETY: UDP_SEGMENT reads one int, which outlives the call.
        let outcome = unsafe {
            let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap();
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_UDP,
                libc::UDP_SEGMENT,
                (&raw const segment_size).cast(),
                size,
            )
        };
        assert_eq!(outcome, 0, "Linux 4.18 or later");
        let data: Vec<u8> = (0..10_500_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();

        socket.send_to(&data, (peer, socket.local_addr().unwrap().port())).unwrap();

        let mut buffer = [0; 2000];
        for chunk in data.chunks(1000) {
            let (len, from) = socket.recv_from(&mut buffer).unwrap_or_else(|error| panic!("from {peer}: {error}"));
            assert_eq!((from.ip().to_string().as_str(), &buffer[..len]), (peer, chunk));
        }
    }
}

#[test]
fn tcp_super_packets_pass_whole() {
    with_reflector(
        &config(2, true),
        |queue| queue,
        |seen, workers| {
            transfer_tcp();
            assert!(seen.of(GsoKind::TcpV4) > 10 && seen.of(GsoKind::TcpV6) > 10);
            assert!(workers.handles.iter().all(|worker| worker.io.snapshot().software_offloads == 0));
        },
    );
}

#[test]
fn udp_super_packets_pass_whole_where_the_kernel_has_them() {
    with_reflector(
        &config(1, true),
        |queue| queue,
        |seen, _| {
            transfer_udp();
            let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
            let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
            let version = (numbers.next().unwrap(), numbers.next().unwrap_or(0));
            assert_eq!(seen.of(GsoKind::Udp), if version >= (6, 2) { 2 } else { 0 });
        },
    );
}

#[test]
fn the_kernel_accepts_what_is_segmented_and_summed_in_software() {
    let refuse = |queue: Watched<TunQueue>| {
        queue.before_writes(|_, offload| if offload.checksum.is_some() { Err(Errno::INVAL) } else { Ok(()) })
    };
    with_reflector(&config(2, true), refuse, |seen, workers| {
        transfer_tcp();
        transfer_udp();
        assert!(seen.of(GsoKind::TcpV4) > 10 && seen.of(GsoKind::TcpV6) > 10);
        assert!(workers.handles.iter().any(|worker| worker.io.snapshot().software_offloads > 0));
    });
}

#[test]
fn without_offload_everything_passes_in_segments() {
    for queues in [1, 2] {
        with_reflector(
            &config(queues, false),
            |queue| queue,
            |seen, _| {
                transfer_tcp();
                transfer_udp();
                assert_eq!([GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::Udp].map(|kind| seen.of(kind)), [0; 3]);
            },
        );
    }
}

#[test]
fn a_link_that_goes_down_and_up_works_again() {
    with_reflector(
        &config(1, true),
        |queue| queue,
        |_, _| {
            ip(&format!("link set {NAME} down"));
            bring_up();
            transfer_udp();
        },
    );
}
