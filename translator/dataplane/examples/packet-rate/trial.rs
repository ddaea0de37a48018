//! One trial: a run of packets, and what arrived of it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Arguments;
use crate::busy::Meter;
use crate::receiver::{Received, Receiver};
use crate::sender::{End, Run, Sender, Sent};

/// Packets per second that sessions are made with before a trial; slow enough for any translator.
const INTRODUCTION_RATE: f64 = 20_000.0;

/// Two namespaces, and a socket in each.
pub(crate) struct Lab {
    sender: Sender,
    receiver: Receiver,
    runs: u32,
    first_flow: u32,
    /// Flows below this number have been used.
    used_flows: u32,
}

/// What to send in a trial.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) rate: Option<f64>,
    pub(crate) flows: u32,
    pub(crate) seconds: f64,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) sent: Sent,
    pub(crate) received: Received,
    busy_seconds: f64,
}

impl Lab {
    pub(crate) fn open(arguments: &Arguments) -> io::Result<Self> {
        let Arguments { from, to, listen, size, first_flow, .. } = *arguments;
        if from.is_ipv4() != to.is_ipv4() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "--from and --to are of different IP versions"));
        }
        Ok(Self {
            sender: in_namespace(&arguments.sender, move || Sender::open(from, to, size))?,
            receiver: in_namespace(&arguments.receiver, move || Receiver::open(listen))?,
            runs: 0,
            first_flow,
            used_flows: first_flow,
        })
    }

    /// Sends the first packet of each flow.
    pub(crate) fn introduce(&mut self, flows: u32) -> io::Result<()> {
        self.trial(Some(INTRODUCTION_RATE), (self.first_flow, flows), End::Packets(flows.into())).map(drop)
    }

    pub(crate) fn run(&mut self, load: Load) -> io::Result<Outcome> {
        self.trial(load.rate, (self.first_flow, load.flows), End::After(Duration::from_secs_f64(load.seconds)))
    }

    /// Sends packets that each are the first of a flow.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are positive, trials short")]
    pub(crate) fn establish(&mut self, rate: f64, seconds: f64) -> io::Result<Outcome> {
        let flows = ((rate * seconds) as u32).max(1);
        let first = self.used_flows;
        self.used_flows += flows;
        self.trial(Some(rate), (first, flows), End::Packets(flows.into()))
    }

    /// Opens flows, then sends on each of them once more, as JSON.
    pub(crate) fn capacity(&mut self, flows: u32, rate: f64) -> io::Result<String> {
        let opened = self.trial(Some(rate), (self.first_flow, flows), End::Packets(flows.into()))?.received.flows();
        let kept = self.trial(Some(rate), (self.first_flow, flows), End::Packets(flows.into()))?.received.flows();
        Ok(format!(r#"{{"flows":{flows},"opened":{opened},"kept":{kept}}}"#))
    }

    fn trial(&mut self, rate: Option<f64>, (first_flow, flows): (u32, u32), end: End) -> io::Result<Outcome> {
        self.runs += 1;
        let run = Run { id: std::process::id() << 10 | self.runs, rate, first_flow, flows, end };
        let (sender, receiver) = (&mut self.sender, &mut self.receiver);
        let all_sent = Mutex::new(None);
        thread::scope(|scope| {
            let counting =
                scope.spawn(|| receiver.run(run.id, || all_sent.lock().map_or(Some(0), |all_sent| *all_sent)));
            let meter = Meter::start()?;
            let outcome = sender.run(&run);
            let busy_seconds = meter.busy_seconds()?;
            if let Ok(mut all_sent) = all_sent.lock() {
                *all_sent = Some(outcome.as_ref().map_or(0, |sent| sent.packets));
            }
            let received = counting.join().map_err(|_| io::Error::other("the receiver panicked"))??;
            Ok(Outcome { sent: outcome?, received, busy_seconds })
        })
    }
}

impl Outcome {
    pub(crate) fn is_lossless(&self) -> bool {
        self.received.packets >= self.sent.packets
    }

    #[expect(clippy::cast_precision_loss, reason = "packets of a trial are far fewer than 2^52")]
    pub(crate) fn to_json(&self) -> String {
        let Self { sent, received, busy_seconds } = self;
        let offered = sent.packets as f64 / sent.took.as_secs_f64();
        // Packets still on their way when sending stopped are not more than the queues hold.
        let delivered = received.packets as f64 / received.took.max(sent.took).as_secs_f64();
        format!(
            r#"{{"sent":{},"received":{},"reordered":{},"offered_per_second":{offered:.0},"delivered_per_second":{delivered:.0},"busy_microseconds_per_packet":{:.3}}}"#,
            sent.packets,
            received.packets,
            received.reordered,
            busy_seconds * 1e6 / received.packets.max(1) as f64,
        )
    }
}

/// Runs `open` on a thread in the namespace of this file. A socket stays in the namespace it was made in.
fn in_namespace<T: Send>(file: &Path, open: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let namespace = File::open(file)?;
    let enter = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        open()
    };
    thread::scope(|scope| scope.spawn(enter).join()).map_err(|_| io::Error::other("opening a socket panicked"))?
}
