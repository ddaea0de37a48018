//! What is measured beside the status: what workers read and wrote, their time on processors, and how long things took.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nat64_dataplane::{Dataplane, IoStats};

use crate::control::server::{TranslatorView, View};
use crate::daemon::panics;

/// Numbers of one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// Reads and writes, by worker.
    pub(super) workers: Vec<IoStats>,
    /// Seconds on a processor, by worker; nothing where the kernel does not tell.
    pub(super) cpu_seconds: Vec<Option<f64>>,
    /// Panics, by the kind of thread.
    pub(super) panics: Vec<(&'static str, u64)>,
    /// How often sessions could not be kept for the case of a crash, if they are to be.
    pub(super) journal_failures: Option<u64>,
    /// How long packets stayed, of all workers.
    pub(super) packets: Times,
    /// How long DNS queries took that had to be worked on, by what they came to.
    pub(super) answers: Vec<(&'static str, Times)>,
    /// How long upstreams took for a question.
    pub(super) upstreams: Times,
}

/// A histogram: numbers by upper bound in seconds, the last without one, and the sum in seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) sum: f64,
}

impl Measured {
    /// As it is now.
    pub(super) fn of(view: &View) -> Self {
        let seen = |dataplane: &Dataplane| (dataplane.io_stats(), dataplane.threads(), dataplane.latencies());
        let translator = view.translator.as_ref().and_then(|view: &TranslatorView| view.with_dataplane(seen));
        let (workers, threads, latencies) = translator.unwrap_or_default();
        let mut packets = Times::default();
        latencies.iter().for_each(|latency| packets.add(&latency.buckets, latency.sum));
        let (mut answers, mut upstreams) = (Vec::new(), Times::default());
        if let Some(dns64) = &view.dns64 {
            answers.extend(dns64.stats.answer_times().map(|(outcome, times)| (outcome, Times::of(&times))));
            upstreams = Times::of(&dns64.stats.upstream_times());
        }
        let failures = view.translator.as_ref().and_then(|view| view.journal_failures.as_ref());
        let journal_failures = failures.map(|failures| failures.load(Ordering::Relaxed));
        Self {
            panics: panics::counts(),
            journal_failures,
            workers,
            cpu_seconds: threads.into_iter().map(cpu_seconds).collect(),
            packets,
            answers,
            upstreams,
        }
    }
}

impl Times {
    fn of(times: &dns64::Latency) -> Self {
        let mut all = Self::default();
        all.add(&times.buckets, times.sum);
        all
    }

    fn add(&mut self, buckets: &[(Option<Duration>, u64)], sum: Duration) {
        self.buckets.resize(self.buckets.len().max(buckets.len()), (f64::INFINITY, 0));
        for ((bound, count), (limit, more)) in self.buckets.iter_mut().zip(buckets) {
            *bound = limit.map_or(f64::INFINITY, |limit| limit.as_secs_f64());
            *count += more;
        }
        self.sum += sum.as_secs_f64();
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

/// How long a thread of this process was on a processor.
fn cpu_seconds(thread: u64) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let nanos: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_thread_grows_while_it_works() {
        let thread = u64::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        let before = cpu_seconds(thread).unwrap();
        while cpu_seconds(thread).unwrap() == before {}
        assert_eq!(cpu_seconds(u64::MAX), None);
    }

    #[test]
    fn histograms_of_workers_are_summed() {
        let micro = Duration::from_micros(1);
        let mut times = Times::default();
        times.add(&[(Some(micro), 2), (None, 1)], Duration::from_secs(1));
        times.add(&[(Some(micro), 3), (None, 0)], Duration::from_secs(2));
        assert_eq!((times.buckets[0], times.buckets[1].1, times.count()), ((1e-6, 5), 1, 6));
        assert!((times.sum - 3.0).abs() < 1e-9);
    }
}
