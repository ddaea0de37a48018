//! `nat64 status` for people: one screen.

use std::fmt::Write;

use nat64_core::{DropReason, Protocol};

use super::table::{bits, bytes, count, duration};
use crate::control::api::{
    ByProtocol, Dns64Status, PoolRange, Rate, SessionLogStatus, Status, Traffic, TranslatorStatus,
};

/// The screen.
pub(super) fn render(status: &Status) -> String {
    let mut screen = Screen::default();
    let up = duration(status.uptime_seconds);
    screen.line("nat64", format!("{}, process {}, up {up}", status.version, status.pid));
    screen.line("prefix", status.pref64.join(", "));
    match &status.translator {
        Some(translator) => screen.translator(translator),
        None => screen.line("translator", "off"),
    }
    match &status.dns64 {
        Some(dns64) => screen.dns64(dns64),
        None => screen.line("DNS64", "off"),
    }
    for log in &status.session_logs {
        screen.session_log(log);
    }
    screen.0
}

#[derive(Default)]
struct Screen(String);

impl Screen {
    /// A line with a label, or one that goes on with the label above it.
    fn line(&mut self, label: &str, text: impl AsRef<str>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{label:<12}{}", text.as_ref());
    }

    fn translator(&mut self, status: &TranslatorStatus) {
        let device = &status.device;
        let queues = plural(device.queues as u64, "queue", "queues");
        self.line("device", format!("{}, MTU {}, {queues}, offloads: {}", device.name, device.mtu, device.offloads));
        let mtu = |mtu: Option<u32>| mtu.map_or_else(|| "unknown".to_owned(), |mtu| mtu.to_string());
        let (ipv4, ipv6) = (mtu(device.ipv4_link_mtu), mtu(device.ipv6_link_mtu));
        self.line("", format!("MTU of the links: {ipv4} towards IPv4, {ipv6} towards IPv6"));
        self.errors(status);
        self.pool(status);
        self.line("", format!("{:>12}{:>12}{:>12}", "TCP", "UDP", "ICMP"));
        self.row("sessions", &status.sessions.all().map(|n| count(n.into())), limit(status.sessions_limit));
        self.row("mappings", &status.mappings.all().map(|n| count(n.into())), limit(status.mappings_limit));
        let rates = status.rates.as_ref();
        for (label, traffic, rate) in [
            ("6 to 4", &status.six_to_four, rates.map(|rates| rates.six_to_four)),
            ("4 to 6", &status.four_to_six, rates.map(|rates| rates.four_to_six)),
        ] {
            let now = |text: fn(&Rate) -> String| rate.as_ref().map(text).unwrap_or_default();
            let packets = now(|rate| format!(", now {}/s", count(rate.packets_per_second)));
            let carried = now(|rate| format!(", now {}", bits(rate.bits_per_second)));
            self.row(label, &traffic.all().map(|one| count(one.packets)), format!("packets{packets}"));
            self.row("", &traffic.all().map(|one| bytes(one.bytes)), format!("{}{carried}", total(traffic)));
        }
        let (hairpinned, held, refused) = (count(status.hairpinned), count(status.held), count(status.refused));
        self.line("packets", format!("{hairpinned} hairpinned, {held} held, {refused} errors and resets of our own"));
        self.drops(status);
    }

    fn errors(&mut self, status: &TranslatorStatus) {
        let device = &status.device;
        if device.read_errors + device.write_errors > 0 {
            let (reads, writes) = (count(device.read_errors), count(device.write_errors));
            self.line("", format!("{reads} packets could not be read, {writes} could not be written"));
        }
    }

    fn pool(&mut self, status: &TranslatorStatus) {
        const SHOWN: usize = 8;
        let pool = &status.pool;
        let mut ranges: Vec<String> = pool.ranges.iter().take(SHOWN).map(range).collect();
        if pool.ranges.len() > SHOWN {
            ranges.push(format!("and {} more", pool.ranges.len() - SHOWN));
        }
        self.line("pool", ranges.join(", "));
        let taken = Protocol::ALL.iter().zip(pool.ports_taken.all());
        let taken: Vec<String> =
            taken.map(|(protocol, ports)| format!("{} {}", count(ports), protocol.name())).collect();
        let addresses = plural(pool.addresses.into(), "address", "addresses");
        let blocks = pool.blocks.map_or_else(String::new, |blocks| {
            format!("; {} of {} blocks", count(blocks.taken.into()), count(blocks.all.into()))
        });
        self.line("", format!("{addresses}, {} ports; taken: {}{blocks}", count(pool.ports), taken.join(", ")));
        let draining = &status.draining;
        if draining.everything || !draining.addresses.is_empty() {
            self.line("draining", super::change::drained(draining));
        }
    }

    fn session_log(&mut self, log: &SessionLogStatus) {
        let state = if log.failing { ", cannot be written now" } else { "" };
        self.line("log", format!("{}: {} written, {} lost{state}", log.to, count(log.delivered), count(log.lost)));
    }

    fn row(&mut self, label: &str, [tcp, udp, icmp]: &[String; 3], note: String) {
        self.line(label, format!("{tcp:>12}{udp:>12}{icmp:>12}  {note}"));
    }

    fn drops(&mut self, status: &TranslatorStatus) {
        let mut drops: Vec<(&str, u64)> = status.dropped.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        drops.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
        let mut label = "dropped";
        if drops.is_empty() {
            self.line(label, "nothing");
        }
        for (name, number) in drops {
            let reason = DropReason::ALL.iter().find(|reason| reason.name() == name);
            let meaning = reason.map_or("", |reason| first_sentence(reason.meaning()));
            self.line(label, format!("{:>12}  {name}: {meaning}", count(number)));
            label = "";
        }
    }

    fn dns64(&mut self, status: &Dns64Status) {
        let listen = status.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let of = |name: &str| count(status.counters.get(name).copied().unwrap_or(0));
        self.line("DNS64", format!("{}, asks {}", listen, status.upstreams.join(", ")));
        for prefix in status.prefixes.iter().filter(|prefix| prefix.state != dns64::PrefixState::Up) {
            self.line("  unusable", super::dns::prefix(prefix));
        }
        self.line(
            "  queries",
            format!(
                "{} UDP, {} TCP, {} TLS, {} HTTPS, {} malformed, {} dropped, {} from others than clients",
                of("queries_udp"),
                of("queries_tcp"),
                of("queries_tls"),
                of("queries_https"),
                of("malformed"),
                of("dropped_overload"),
                of("clients_refused")
            ),
        );
        let (synthesised, native, passed) = (of("answers_synthesised"), of("answers_native"), of("answers_passed"));
        self.line(
            "  answers",
            format!(
                "{synthesised} synthesised, {native} native AAAA, {passed} passed on, {} local, {} refused, {} failed",
                of("answers_local"),
                of("answers_refused"),
                of("answers_servfail")
            ),
        );
        let size = bytes(status.counters.get("cache_bytes").copied().unwrap_or(0));
        self.line(
            "  cache",
            format!(
                "{} entries ({size}), {} hits, {} misses",
                of("cache_entries"),
                of("cache_hits"),
                of("cache_misses")
            ),
        );
        self.line(
            "  upstreams",
            format!(
                "{} UDP, {} TCP, {} timeouts, {} failures",
                of("upstream_udp"),
                of("upstream_tcp"),
                of("upstream_timeouts"),
                of("upstream_failures")
            ),
        );
    }
}

fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

fn limit(most: u32) -> String {
    format!("of {}", count(most.into()))
}

fn total(traffic: &ByProtocol<Traffic>) -> String {
    format!("{} in all", bytes(traffic.all().iter().map(|one| one.bytes).sum()))
}

fn range(range: &PoolRange) -> String {
    let addresses =
        if range.first == range.last { range.first.to_string() } else { format!("{}-{}", range.first, range.last) };
    match (range.first_port, range.last_port) {
        (1, u16::MAX) => addresses,
        (first, last) => format!("{addresses} ports {first}-{last}"),
    }
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::busy;

    #[test]
    fn everything_fits_one_screen() {
        let text = render(&busy());

        assert!(text.lines().count() <= 24, "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_half_that_is_off_is_named() {
        let idle = Status { translator: None, dns64: None, session_logs: Vec::new(), ..busy() };

        insta::assert_snapshot!(render(&idle), @"
        nat64       0.1.0, process 4242, up 1d02h
        prefix      64:ff9b::/96
        translator  off
        DNS64       off
        ");
    }
}
