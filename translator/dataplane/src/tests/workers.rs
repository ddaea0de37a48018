use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nat64_core::event::EventKind;
use nat64_core::{Direction, DropReason, Event, GsoKind, Offload, Protocol, Timestamp, Verdict};
use rustix::io::Errno;

use super::fake::{Kernel, SOON, Told, Watched, eventually};
use super::packets::{super_packet, tcp, udp4, udp6, verified_payload, with_partial_checksum};
use crate::clock::Clock;
use crate::dataplane::{DataplaneConfig, Workers};
use crate::device::TunQueue;
use crate::outbox::Merging;
use crate::worker::{WorkerError, WorkerFailure};

fn start(queues: Vec<Watched<TunQueue>>, engine: Told) -> (Workers, Receiver<WorkerFailure>) {
    start_with(queues, engine, |_| {})
}

fn start_with(
    queues: Vec<Watched<TunQueue>>,
    engine: Told,
    on_panic: impl Fn(WorkerFailure) + Send + Sync + 'static,
) -> (Workers, Receiver<WorkerFailure>) {
    let (failed, failures) = mpsc::channel();
    let mut config = DataplaneConfig::new(Clock::start(), move |failure| drop(failed.send(failure)));
    config.event_capacity = 4;
    config.on_panic = Arc::new(on_panic);
    (Workers::start(queues, Arc::new(engine), Merging { tcp: true, udp: true }, &config).unwrap(), failures)
}

#[test]
fn a_translated_super_packet_goes_back_whole_to_its_queue() {
    let (kernel, queue) = Kernel::with_queue();
    let (other, unused) = Kernel::with_queue();
    let (workers, _failures) = start(vec![unused, queue], Told::passing());
    let packet = tcp(GsoKind::TcpV6, &[7; 60_000]);
    let offload = super_packet(&packet, GsoKind::TcpV6, 1400);

    kernel.send(&packet, offload);
    let (written, told) = kernel.receive();

    assert_eq!(written, packet);
    assert_eq!(told.gso.map(|gso| gso.segment_size), Some(1400));
    assert_eq!(told.checksum, offload.checksum);
    other.send(&udp4(b"next"), Offload::default());
    assert_eq!(other.receive().0, udp4(b"next"));
    eventually("the write is counted", || workers.handles[1].io.snapshot().writes == 1);
    let stats = workers.handles[1].io.snapshot();
    assert_eq!((stats.reads, stats.writes, stats.software_offloads), (1, 1, 0));
    assert_eq!((stats.read_bytes, stats.write_bytes), (packet.len() as u64, packet.len() as u64));
}

#[test]
fn a_packet_may_grow_by_the_headroom() {
    let (kernel, queue) = Kernel::with_queue();
    let engine = Told::translating(|packet, _| {
        packet.grow_front(nat64_core::HEADROOM);
        packet.bytes_mut().fill(0x60);
        Verdict::Hairpinned
    });
    let (_workers, _failures) = start(vec![queue], engine);

    kernel.send(&udp4(b"x"), Offload::default());

    assert_eq!(kernel.receive().0, vec![0x60; udp4(b"x").len() + nat64_core::HEADROOM]);
}

#[test]
fn dropped_and_held_packets_are_not_written_but_refusals_are() {
    let (kernel, queue) = Kernel::with_queue();
    let engine = Told::translating(|packet, _| match packet.bytes().last() {
        Some(b'd') => Verdict::Dropped(DropReason::Malformed),
        Some(b'h') => Verdict::Held,
        _ => Verdict::Refused(DropReason::TooBig),
    });
    let (_workers, _failures) = start(vec![queue], engine);

    for payload in [b"d", b"h", b"r"] {
        kernel.send(&udp4(payload), Offload::default());
    }

    assert_eq!(kernel.receive().0, udp4(b"r"));
}

#[test]
fn spilled_packets_follow_the_packet_in_order() {
    let (kernel, queue) = Kernel::with_queue();
    let engine = Told::translating(|_, worker| {
        worker.spill.push(&[&udp4(b"second")], Offload::default());
        worker.spill.push(&[&udp6(b"third")], Offload::default());
        Verdict::Translated(Direction::FourToSix)
    });
    let (_workers, _failures) = start(vec![queue], engine);

    kernel.send(&udp4(b"first"), Offload::default());

    let seen = [kernel.receive().0, kernel.receive().0, kernel.receive().0];
    assert_eq!(seen, [udp4(b"first"), udp4(b"second"), udp6(b"third")]);
}

#[test]
fn a_super_packet_that_the_kernel_refuses_is_written_in_segments() {
    let (kernel, queue) = Kernel::with_queue();
    let queue = queue.before_writes(|_, offload| offload.gso.map_or(Ok(()), |_| Err(Errno::INVAL)));
    let (workers, _failures) = start(vec![queue], Told::passing());
    let packet = tcp(GsoKind::TcpV4, &[7; 2500]);

    kernel.send(&packet, super_packet(&packet, GsoKind::TcpV4, 1000));

    let parts: Vec<_> = (0..3).map(|_| kernel.receive()).collect();
    assert_eq!(parts.iter().map(|(part, _)| verified_payload(part).len()).collect::<Vec<_>>(), [1000, 1000, 500]);
    assert!(parts.iter().all(|(_, offload)| *offload == Offload::default()));
    eventually("written packets are counted", || workers.handles[0].io.snapshot().writes == 3);
    assert_eq!(workers.handles[0].io.snapshot().software_offloads, 1);
}

#[test]
fn a_partial_checksum_that_the_kernel_refuses_is_finished() {
    let (kernel, queue) = Kernel::with_queue();
    let queue = queue.before_writes(|_, offload| offload.checksum.map_or(Ok(()), |_| Err(Errno::INVAL)));
    let (_workers, _failures) = start(vec![queue], Told::passing());
    let (packet, offload) = with_partial_checksum(udp4(b"data"));

    kernel.send(&packet, offload);

    assert_eq!(kernel.receive(), (udp4(b"data"), Offload::default()));
}

#[test]
fn what_the_kernel_never_takes_is_lost_and_counted_and_the_next_packet_passes() {
    for error in [Errno::INVAL, Errno::IO, Errno::NOBUFS, Errno::AGAIN] {
        let (kernel, queue) = Kernel::with_queue();
        let bad = udp4(b"bad");
        let queue = queue.before_writes(move |packet, _| if packet == bad { Err(error) } else { Ok(()) });
        let (workers, _failures) = start(vec![queue], Told::passing());

        kernel.send(&udp4(b"bad"), Offload::default());
        kernel.send(&udp4(b"good"), Offload::default());

        assert_eq!(kernel.receive().0, udp4(b"good"), "after {error}");
        assert_eq!(workers.handles[0].io.snapshot().write_errors, 1, "after {error}");
    }
}

#[test]
fn a_kernel_out_of_room_is_asked_once_more() {
    let (kernel, queue) = Kernel::with_queue();
    let mut answers = vec![Ok(()), Err(Errno::NOBUFS)];
    let queue = queue.before_writes(move |_, _| answers.pop().unwrap_or(Ok(())));
    let (workers, _failures) = start(vec![queue], Told::passing());

    kernel.send(&udp4(b"x"), Offload::default());

    assert_eq!(kernel.receive().0, udp4(b"x"));
    eventually("the write is counted", || workers.handles[0].io.snapshot().writes == 1);
    let stats = workers.handles[0].io.snapshot();
    assert_eq!((stats.write_retries, stats.write_errors), (1, 0));
}

#[test]
fn an_unusable_read_is_counted_and_the_next_one_works() {
    let (kernel, queue) = Kernel::with_queue();
    let mut answers = vec![Err(Errno::INVAL)];
    let queue = queue.before_reads(move || answers.pop().unwrap_or(Ok(())));
    let (workers, _failures) = start(vec![queue], Told::passing());

    kernel.send(&udp4(b"x"), Offload::default());

    assert_eq!(kernel.receive().0, udp4(b"x"));
    assert_eq!(workers.handles[0].io.snapshot().read_errors, 1);
}

#[test]
fn a_dead_queue_ends_its_worker_and_the_owner_hears_of_it() {
    let (_kernel, dead) = Kernel::with_queue();
    let (kernel, alive) = Kernel::with_queue();
    let dead = dead.before_reads(|| Err(Errno::BADFD));
    let (_workers, failures) = start(vec![alive, dead], Told::passing());

    let failure = failures.recv_timeout(SOON).unwrap();

    assert_eq!(failure.worker, 1);
    assert!(matches!(failure.error, WorkerError::Read(_)), "{failure}");
    kernel.send(&udp4(b"x"), Offload::default());
    assert_eq!(kernel.receive().0, udp4(b"x"), "the other worker goes on");
}

#[test]
fn a_queue_that_cannot_be_written_ends_its_worker() {
    let (kernel, queue) = Kernel::with_queue();
    let queue = queue.before_writes(|_, _| Err(Errno::NODEV));
    let (_workers, failures) = start(vec![queue], Told::passing());

    kernel.send(&udp4(b"x"), Offload::default());

    let failure = failures.recv_timeout(SOON).unwrap();
    assert!(matches!(failure.error, WorkerError::Write(_)), "{failure}");
}

#[test]
fn a_panic_is_reported_with_its_message_and_costs_one_packet() {
    let (kernel, queue) = Kernel::with_queue();
    let (told, panics) = mpsc::channel();
    let (workers, failures) = start_with(vec![queue], poisoned(), move |panic| drop(told.send(panic)));

    kernel.send(&udp4(b"poison"), Offload::default());
    kernel.send(&udp4(b"x"), Offload::default());

    assert_eq!(kernel.receive().0, udp4(b"x"), "nothing of the poison, and the worker goes on");
    let panic = panics.recv_timeout(SOON).unwrap();
    assert!(panic.to_string().contains("a packet for the test of panics"), "{panic}");
    drop(workers);
    assert!(failures.try_recv().is_err());
}

#[test]
fn a_panic_of_the_timers_leaves_packets_alone() {
    let (kernel, queue) = Kernel::with_queue();
    let (told, panics) = mpsc::channel();
    let unlucky = Mutex::new(Some(()));
    let engine = Told::passing().expiring(move |_, worker| {
        worker.spill.push(&[&udp6(b"half done")], Offload::default());
        let chance = unlucky.lock().unwrap().take();
        assert!(chance.is_none(), "timers for the test of panics");
        worker.spill.drain(|_, _| {});
        false
    });
    let (_workers, failures) = start_with(vec![queue], engine, move |panic| drop(told.send(panic)));

    panics.recv_timeout(SOON).unwrap();
    kernel.send(&udp4(b"x"), Offload::default());

    assert_eq!(kernel.receive().0, udp4(b"x"), "what was half done is not sent");
    assert!(failures.try_recv().is_err());
}

#[test]
fn panics_that_come_too_often_end_the_worker_and_close_its_queue() {
    let (kernel, queue) = Kernel::with_queue();
    let (other, beside) = Kernel::with_queue();
    let (workers, failures) = start(vec![queue, beside], poisoned());

    for _ in 0..11 {
        kernel.send(&udp4(b"poison"), Offload::default());
    }

    let failure = failures.recv_timeout(SOON).unwrap();
    assert!(failure.to_string().contains("a packet for the test of panics"), "{failure}");
    assert!(kernel.is_alone());
    other.send(&udp4(b"x"), Offload::default());
    assert_eq!(other.receive().0, udp4(b"x"));
    drop(workers);
}

/// An engine that panics at one packet, and passes the others.
fn poisoned() -> Told {
    Told::translating(|packet, worker| {
        if packet.bytes() == udp4(b"poison") {
            worker.spill.push(&[b"half done"], Offload::default());
            panic!("a packet for the test of panics");
        }
        Verdict::Translated(Direction::SixToFour)
    })
}

#[test]
fn stopping_wakes_idle_workers_and_reports_nothing() {
    let (_idle, first) = Kernel::with_queue();
    let (_idle, second) = Kernel::with_queue();
    let (workers, failures) = start(vec![first, second], Told::passing());
    let start = Instant::now();

    drop(workers);

    assert!(start.elapsed() < Duration::from_millis(900), "sooner than an idle worker wakes by itself");
    assert!(failures.try_recv().is_err());
}

#[test]
fn an_idle_worker_sleeps_and_still_shows_life() {
    let (_kernel, queue) = Kernel::with_queue();
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reads);
    let queue = queue.before_reads(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let (workers, _failures) = start(vec![queue], Told::passing());
    let alive_at = Timestamp::from_millis(350);

    eventually("a heartbeat", || workers.handles[0].io.heartbeat.value() >= alive_at.as_millis());

    let wakes = reads.load(Ordering::Relaxed) as u128;
    assert!(wakes <= 2 + u128::from(workers.clock.now().as_millis()) / 100, "{wakes} wake-ups");
}

#[test]
fn timers_run_on_one_worker_at_a_time_and_what_they_send_is_written() {
    let (kernel, first) = Kernel::with_queue();
    let (_other, second) = Kernel::with_queue();
    let running = Arc::new(Mutex::new(0));
    let engine = Told::passing().expiring(move |_, worker| {
        let _alone = running.try_lock().expect("nobody else runs timers");
        worker.spill.push(&[&udp6(b"timer")], Offload::default());
        false
    });
    let (_workers, failures) = start(vec![first, second], engine);

    // The second worker sleeps for longer; the first wakes for every interval.
    for _ in 0..3 {
        assert_eq!(kernel.receive().0, udp6(b"timer"));
    }
    assert!(failures.try_recv().is_err());
}

#[test]
fn timers_with_more_to_do_run_again_at_once() {
    let (_kernel, queue) = Kernel::with_queue();
    let (done, finished) = mpsc::channel();
    let state = Mutex::new((1000, None));
    let engine = Told::passing().expiring(move |now, _| {
        let mut state = state.lock().unwrap();
        let began = *state.1.get_or_insert(now);
        state.0 -= 1;
        if state.0 == 0 {
            done.send(now.since(began)).unwrap();
        }
        state.0 > 0
    });
    let (_workers, _failures) = start(vec![queue], engine);

    let took = finished.recv_timeout(SOON).unwrap();

    assert!(took < Duration::from_secs(10), "a thousand intervals would take 100 s");
}

#[test]
fn events_reach_the_owner_in_order_and_what_does_not_fit_is_counted() {
    let (kernel, queue) = Kernel::with_queue();
    let engine = Told::translating(|_, worker| {
        for port in 1..=6 {
            worker.events.push(Event {
                at: Timestamp::ZERO,
                kind: EventKind::MappingCreated,
                protocol: Protocol::Udp,
                internal: (std::net::Ipv6Addr::LOCALHOST, port),
                external: (std::net::Ipv4Addr::LOCALHOST, port),
                remote: None,
                prefix: 0,
                began: Timestamp::ZERO,
            });
        }
        Verdict::Dropped(DropReason::NotIp)
    });
    let (workers, _failures) = start(vec![queue], engine);
    let events = workers.handles[0].events.clone();

    kernel.send(&udp4(b"x"), Offload::default());

    eventually("the lost events are counted", || workers.handles[0].io.snapshot().events_lost == 2);
    let ports: Vec<_> = std::iter::from_fn(|| events.pop()).map(|event| event.internal.1).collect();
    assert_eq!(ports, [1, 2, 3, 4], "the ring has room for four");
}

#[test]
fn packets_of_the_daemon_are_written_in_order_by_a_worker_that_they_wake() {
    let (kernel, queue) = Kernel::with_queue();
    let (workers, failures) = start(vec![queue], Told::passing());
    let foreign = &workers.shared.foreign;

    // A pair of sockets holds no more than about ten.
    for round in 0..20 {
        for number in 0..5 {
            foreign.push(&udp6(&[round, number]));
        }
        foreign.wake();
        for number in 0..5 {
            assert_eq!(kernel.receive().0, udp6(&[round, number]));
        }
    }

    assert!(foreign.is_empty() && foreign.lost() == 0);
    assert!(failures.try_recv().is_err());
}

#[test]
fn a_worker_with_patience_looks_for_packets_instead_of_sleeping() {
    let (kernel, queue) = Kernel::with_queue();
    let reads = Arc::new(AtomicUsize::new(0));
    let (counted, waited) = (Arc::clone(&reads), queue.waits());
    let queue = queue.before_reads(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let mut config = DataplaneConfig::new(Clock::start(), |failure| panic!("{failure}"));
    config.busy_poll = Duration::from_secs(3600);
    let merging = Merging { tcp: true, udp: true };
    let _workers = Workers::start(vec![queue], Arc::new(Told::passing()), merging, &config).unwrap();
    eventually("it sleeps, since nothing has come yet", || waited.load(Ordering::Relaxed) > 0);

    kernel.send(&udp4(b"first"), Offload::default());
    assert_eq!(kernel.receive().0, udp4(b"first"));

    let (reads_before, waits_before) = (reads.load(Ordering::Relaxed), waited.load(Ordering::Relaxed));
    eventually("it looks again and again", || reads.load(Ordering::Relaxed) > reads_before + 1000);
    kernel.send(&udp4(b"next"), Offload::default());
    assert_eq!(kernel.receive().0, udp4(b"next"));
    assert_eq!(waited.load(Ordering::Relaxed), waits_before, "it does not sleep");
}
