//! CPU time and memory by the number of sessions.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use nat64_core::Verdict;
use rustix::time::{ClockId, clock_gettime};

use crate::flows::{Flow, Kind, Template, lab};
use crate::support::Lab;
use crate::table::Table;
use crate::{idle, workers};

/// Packets that are timed, after as many that are not.
const PACKETS: u32 = 1 << 21;

/// Prints what packets of random flows cost with so many sessions, and the rest that depends on time.
pub(crate) fn report(sizes: &[u32]) -> ExitCode {
    let mut table =
        Table::new(&["sessions", "bytes/session", "ns to open", "ns/packet 6to4", "of which to write the packet"]);
    for &sessions in sizes {
        let before = resident();
        let (mut lab, opening) = filled(sessions);
        let bytes = (resident() - before) / u64::from(sessions);
        let writing = time_of(|| random_flows(sessions, |template, flow| template.write(flow)));
        let packet = time_of(|| translate(&mut lab, sessions));
        let of_each = |time: Duration, count: u32| format!("{:.1}", time.as_secs_f64() * 1e9 / f64::from(count));
        table.row([
            sessions.to_string(),
            bytes.to_string(),
            of_each(opening, sessions),
            of_each(packet, PACKETS),
            of_each(writing, PACKETS),
        ]);
    }
    println!("{table}");
    workers::report();
    idle::report();
    ExitCode::SUCCESS
}

/// A translator with so many UDP sessions, each with its mapping, and the time to open them.
pub(crate) fn filled(sessions: u32) -> (Lab, Duration) {
    const PORTS_IN_USE: u32 = 32_768;
    let mut lab = lab(sessions / PORTS_IN_USE + 1);
    let mut template = Template::new(Kind::Udp);
    let before = thread_time();
    for number in 0..sessions {
        template.write(Flow::number(number));
        let verdict = lab.translator.batch(lab.now, &mut lab.worker).translate(&mut template.packet());
        assert!(matches!(verdict, Verdict::Translated(_)), "{verdict:?}");
        lab.worker.events.drain().for_each(drop);
    }
    (lab, thread_time() - before)
}

fn translate(lab: &mut Lab, sessions: u32) {
    let mut batch = lab.translator.batch(lab.now, &mut lab.worker);
    random_flows(sessions, |template, flow| {
        template.write(flow);
        assert!(matches!(batch.translate(&mut template.packet()), Verdict::Translated(_)), "the session exists");
    });
}

/// Calls `each` for [`PACKETS`] random flows.
fn random_flows(sessions: u32, mut each: impl FnMut(&mut Template, Flow)) {
    let mut template = Template::new(Kind::Udp);
    let mut random = Xorshift(0x9e37_79b9);
    for _ in 0..PACKETS {
        each(&mut template, Flow::number(random.below(sessions)));
    }
}

/// The time of the second of two calls, by the thread's own clock.
fn time_of(mut work: impl FnMut()) -> Duration {
    work();
    let before = thread_time();
    work();
    thread_time() - before
}

/// Time that this thread has been on a processor.
pub(crate) fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Numbers in no order that memory could be read ahead in.
#[derive(Debug)]
pub(crate) struct Xorshift(pub(crate) u32);

impl Xorshift {
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        u32::try_from((u64::from(self.0) * u64::from(bound)) >> 32).unwrap()
    }
}
