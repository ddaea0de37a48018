//! The page of metrics: what the status says, in the words of Prometheus.

use std::fmt;

use nat64_core::{DropReason, Protocol};
use nat64_dataplane::IoStats;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::measured::{Measured, Times};
use crate::control::api::{ByProtocol, SessionLogStatus, Status, Traffic, TranslatorStatus};

/// Counters of the DNS64 server that go down, too.
const DNS64_GAUGES: [&str; 2] = ["cache_entries", "cache_bytes"];

/// The page, in the text format of OpenMetrics.
pub(super) fn render(status: &Status, measured: &Measured) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("nat64");
    registry.register_collector(Box::new(Seen { status: status.clone(), measured: measured.clone() }));
    let mut page = String::with_capacity(16 << 10);
    encode(&mut page, &registry)?;
    Ok(page)
}

/// What the daemon looked like when the page was asked for.
#[derive(Debug)]
struct Seen {
    status: Status,
    measured: Measured,
}

impl Collector for Seen {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder };
        let version = [[("version", self.status.version.clone())]];
        page.gauges("build_info", "The version that runs; always 1", version.map(|labels| (labels, 1)))?;
        page.gauge("uptime_seconds", "Seconds since the daemon became ready", self.status.uptime_seconds)?;
        let panics = self.measured.panics.iter().map(|(thread, count)| ([("thread", (*thread).to_owned())], *count));
        page.counters("panics", "Faults of the code that were contained, by the kind of thread", panics)?;
        if let Some(translator) = &self.status.translator {
            page.traffic(translator)?;
            page.drops(translator)?;
            page.state(translator)?;
            page.workers(&self.measured.workers)?;
            page.worker_time(&self.measured)?;
            if let Some(failures) = self.measured.journal_failures {
                page.counter("journal_failures", "Times that sessions could not be kept for a crash", failures)?;
            }
        }
        page.session_logs(&self.status.session_logs)?;
        if let Some(dns64) = &self.status.dns64 {
            for (name, value) in &dns64.counters {
                page.dns64(name, *value)?;
            }
            let help = "How long queries took that were not ready to be answered";
            page.answer_times("dns64_answer_seconds", help, &self.measured.answers)?;
            let help = "How long upstreams took to answer a question";
            page.times("dns64_upstream_seconds", help, &self.measured.upstreams)?;
        }
        Ok(())
    }
}

struct Page<'e> {
    encoder: DescriptorEncoder<'e>,
}

/// The labels of a sample.
type Labels<const N: usize> = [(&'static str, String); N];

/// One of the numbers that a worker counts.
type OfWorker = fn(&IoStats) -> u64;

impl Page<'_> {
    fn traffic(&mut self, status: &TranslatorStatus) -> fmt::Result {
        let samples = |part: fn(&Traffic) -> u64| {
            let one = move |direction: &'static str, traffic: &ByProtocol<Traffic>| {
                by_protocol(traffic).map(move |(protocol, traffic)| {
                    ([("direction", direction.to_owned()), ("protocol", protocol)], part(&traffic))
                })
            };
            one("6to4", &status.six_to_four).chain(one("4to6", &status.four_to_six))
        };
        let packets = samples(|traffic| traffic.packets);
        self.counters("translated_packets", "Packets translated, super-packets counted as their segments", packets)?;
        let bytes = samples(|traffic| traffic.bytes);
        self.counters("translated_bytes", "Bytes of these as received, IP headers included", bytes)?;
        self.counter("hairpinned_packets", "Packets between two hosts behind this translator", status.hairpinned)?;
        self.counter("held_packets", "Packets kept for later: fragments and stored SYNs", status.held)?;
        self.counter("refusals", "ICMP errors and TCP resets of our own", status.refused)
    }

    fn drops(&mut self, status: &TranslatorStatus) -> fmt::Result {
        let samples = DropReason::ALL.iter().map(|reason| {
            let number = status.dropped.get(reason.name()).copied().unwrap_or(0);
            ([("reason", reason.name().to_owned())], number)
        });
        self.counters("dropped_packets", "Packets that went no further, by reason; see nat64 explain", samples)
    }

    fn state(&mut self, status: &TranslatorStatus) -> fmt::Result {
        self.gauges("sessions", "Sessions now", labelled(&status.sessions))?;
        let states = status.tcp_states.iter().map(|(state, count)| ([("state", state.clone())], u64::from(*count)));
        self.gauges("tcp_sessions", "TCP sessions now, by state (RFC 6146 section 3.5.2)", states)?;
        self.gauge("sessions_limit", "Sessions at the most", status.sessions_limit.into())?;
        self.gauges("mappings", "Mappings (BIB entries) now", labelled(&status.mappings))?;
        self.gauge("mappings_limit", "Mappings at the most", status.mappings_limit.into())?;
        self.gauge("pool_addresses", "Addresses of the pool", status.pool.addresses.into())?;
        self.gauge("pool_ports", "Ports of all pool addresses, for each protocol", status.pool.ports)?;
        self.gauges("pool_ports_taken", "Of these taken or resting", labelled(&status.pool.ports_taken))?;
        let Some(blocks) = status.pool.blocks else { return Ok(()) };
        self.gauge("pool_blocks", "Blocks of ports of all pool addresses", blocks.all.into())?;
        self.gauge("pool_blocks_taken", "Of these in the hands of subscribers", blocks.taken.into())
    }

    fn workers(&mut self, workers: &[IoStats]) -> fmt::Result {
        const EACH: [(&str, &str, OfWorker); 8] = [
            ("worker_reads", "Packets read from the device; a super-packet is one", |worker| worker.reads),
            ("worker_read_errors", "Reads that gave no usable packet", |worker| worker.read_errors),
            ("worker_writes", "Packets written to the device; a super-packet is one", |worker| worker.writes),
            ("worker_write_errors", "Packets that could not be written and are lost", |worker| worker.write_errors),
            ("worker_write_retries", "Writes tried twice since the kernel had no room", |worker| worker.write_retries),
            ("worker_software_offloads", "Packets segmented or summed here", |worker| worker.software_offloads),
            ("worker_events_lost", "Events of sessions that found no room", |worker| worker.events_lost),
            ("worker_spill_lost", "Packets beside the one in work that found no room", |worker| worker.spill_lost),
        ];
        for (name, help, value) in EACH {
            let samples =
                (0..).zip(workers).map(|(number, worker): (u32, _)| ([("worker", number.to_string())], value(worker)));
            self.counters(name, help, samples)?;
        }
        Ok(())
    }

    fn worker_time(&mut self, measured: &Measured) -> fmt::Result {
        let mut metric =
            self.encoder.encode_descriptor("worker_cpu_seconds", "Time on a processor", None, MetricType::Counter)?;
        for (number, seconds) in measured.cpu_seconds.iter().enumerate() {
            if let Some(seconds) = seconds {
                let labels: Labels<1> = [("worker", number.to_string())];
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(seconds, None)?;
            }
        }
        let help = "How long packets stayed, from the first of a batch read to the last written, of one batch in 16";
        self.times("packet_batch_seconds", help, &measured.packets)
    }

    fn times(&mut self, name: &str, help: &str, times: &Times) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(times.sum, times.count(), &times.buckets, None)
    }

    fn answer_times(&mut self, name: &str, help: &str, answers: &[(&'static str, Times)]) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        answers.iter().try_for_each(|(outcome, times)| {
            let labels: Labels<1> = [("outcome", (*outcome).to_owned())];
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                times.sum,
                times.count(),
                &times.buckets,
                None,
            )
        })
    }

    fn session_logs(&mut self, logs: &[SessionLogStatus]) -> fmt::Result {
        if logs.is_empty() {
            return Ok(());
        }
        let samples =
            |value: fn(&SessionLogStatus) -> u64| logs.iter().map(move |log| ([("to", log.to.clone())], value(log)));
        self.counters(
            "session_log_records",
            "Records handed to the file or to the network",
            samples(|log| log.delivered),
        )?;
        self.counters(
            "session_log_lost",
            "Records that found no room while it could not be written",
            samples(|log| log.lost),
        )?;
        self.gauges("session_log_failing", "Whether it cannot be written now", samples(|log| log.failing.into()))
    }

    fn dns64(&mut self, name: &str, value: u64) -> fmt::Result {
        let described = dns64::StatsSnapshot::DESCRIBED.iter().find(|(described, _)| *described == name);
        // The encoder ends the sentence.
        let help = described.map_or("", |(_, help)| help.trim_end_matches('.'));
        let metric = format!("dns64_{name}");
        if DNS64_GAUGES.contains(&name) { self.gauge(&metric, help, value) } else { self.counter(&metric, help, value) }
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<N>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        samples.into_iter().try_for_each(|(labels, value)| {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<N>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        samples.into_iter().try_for_each(|(labels, value)| metric.encode_family(&labels)?.encode_gauge(&value))
    }
}

fn by_protocol<T: Copy>(values: &ByProtocol<T>) -> impl Iterator<Item = (String, T)> + use<T> {
    Protocol::ALL.map(|protocol| protocol.name().to_owned()).into_iter().zip(values.all())
}

fn labelled<T: Copy + Into<u64>>(values: &ByProtocol<T>) -> impl Iterator<Item = (Labels<1>, u64)> + use<T> {
    by_protocol(values).map(|(protocol, value)| ([("protocol", protocol)], value.into()))
}
