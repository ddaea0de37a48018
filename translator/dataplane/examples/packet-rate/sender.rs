//! The sending end.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, MMsgHdr, SendAncillaryBuffer, SendFlags, SocketType, ipproto};

use crate::packets::{Label, Template};

/// Packets that one system call sends, at most.
const BATCH: usize = 32;
/// How long the sender sleeps when nothing is due. What falls due meanwhile leaves together, as it would from an interface
/// that moderates its interrupts; a timer for each packet would cost more than the packet.
const PAUSE: Duration = Duration::from_micros(250);

pub(crate) struct Sender {
    socket: OwnedFd,
    batch: Vec<Template>,
}

/// A run of packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) id: u32,
    /// Packets per second; without it, as many as it goes.
    pub(crate) rate: Option<f64>,
    /// The first flow's number.
    pub(crate) first_flow: u32,
    pub(crate) flows: u32,
    pub(crate) end: End,
}

/// When a run is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    After(Duration),
    Packets(u64),
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) took: Duration,
}

impl Sender {
    /// A sender in the calling thread's network namespace.
    pub(crate) fn open(from: IpAddr, to: IpAddr, size: u16) -> io::Result<Self> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket(family, SocketType::RAW, Some(ipproto::RAW))?;
        rustix::net::connect(&socket, &SocketAddr::new(to, 0))?;
        Ok(Self { socket, batch: (0..BATCH).map(|_| Template::new(from, to, size)).collect() })
    }

    /// Sends a run's packets, its flows in turn.
    pub(crate) fn run(&mut self, run: &Run) -> io::Result<Sent> {
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let start = Instant::now();
        let (mut packets, mut took) = (0, Duration::ZERO);
        let most = match run.end {
            End::Packets(most) => most,
            End::After(_) => u64::MAX,
        };
        while packets < most && !matches!(run.end, End::After(length) if took >= length) {
            match run.wait_or_due(packets, took).min(most - packets) {
                0 => {}
                due => packets += self.send(run, packets, due)?,
            }
            took = start.elapsed();
        }
        Ok(Sent { packets, took })
    }

    fn send(&mut self, run: &Run, number: u64, due: u64) -> io::Result<u64> {
        let count = usize::try_from(due).unwrap_or(BATCH).min(BATCH);
        for (template, number) in self.batch[..count].iter_mut().zip(number..) {
            template.write(run.label(number));
        }
        let slices: Vec<[IoSlice<'_>; 1]> = self.batch[..count].iter().map(|one| [IoSlice::new(one.bytes())]).collect();
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = (0..count).map(|_| Default::default()).collect();
        let mut messages: Vec<MMsgHdr<'_>> =
            slices.iter().zip(&mut controls).map(|(slice, control)| MMsgHdr::new(slice, control)).collect();
        match rustix::net::sendmmsg(&self.socket, &mut messages, SendFlags::empty()) {
            Ok(sent) => Ok(sent as u64),
            // The first link is full: the packet counts as lost there.
            Err(Errno::NOBUFS | Errno::AGAIN) => Ok(1),
            Err(error) => Err(error.into()),
        }
    }
}

impl Run {
    fn label(&self, number: u64) -> Label {
        let flow = u32::try_from(number % u64::from(self.flows)).unwrap_or_default();
        Label { run: self.id, flow: self.first_flow + flow, number: number / u64::from(self.flows) }
    }

    /// How many packets are to be sent now. When there are none, sleeps a little.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are positive, runs short")]
    fn wait_or_due(&self, packets: u64, elapsed: Duration) -> u64 {
        let Some(rate) = self.rate else { return BATCH as u64 };
        let due = ((elapsed.as_secs_f64() * rate) as u64 + 1).saturating_sub(packets);
        if due == 0 {
            std::thread::sleep(PAUSE);
        }
        due
    }
}
