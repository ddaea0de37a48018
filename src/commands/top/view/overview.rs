//! Rates, tables and pool, drops, DNS64.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Color;
use ratatui::widgets::{Block, Paragraph, Sparkline};

use super::{colour, rate};
use crate::commands::table::count;
use crate::commands::top::rates::{Rate, Rates};
use crate::commands::top::state::{App, Shown};
use crate::control::api::{ByProtocol, TranslatorStatus};

pub(super) fn draw(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let Some(shown) = &app.shown else { return };
    let rows = [Constraint::Length(7), Constraint::Length(5), Constraint::Min(0)];
    let [traffic, tables, rest] = Layout::vertical(rows).areas(area);
    let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]);
    let [outbound, inbound] = halves.areas(traffic);
    let rates = &shown.rates;
    flow(frame, app, (outbound, "IPv6 to IPv4", 0), rates.outbound, Color::Cyan);
    flow(frame, app, (inbound, "IPv4 to IPv6", 1), rates.inbound, Color::Green);
    frame.render_widget(Paragraph::new(usage(shown)).block(Block::bordered().title(" In use ")), tables);
    let [drops, dns] = halves.areas(rest);
    frame.render_widget(Paragraph::new(dropped(rates)).block(Block::bordered().title(" Dropped ")), drops);
    frame.render_widget(Paragraph::new(dns64(shown)).block(Block::bordered().title(" DNS64 ")), dns);
}

/// One direction, and how it was in the last minutes.
fn flow(frame: &mut Frame<'_>, app: &App, (area, title, index): (Rect, &str, usize), now: Rate, hue: Color) {
    let text = format!(" {title}: {} packets/s, {}bit/s ", rate(now.packets), rate(now.bits));
    let block = Block::bordered().title(text);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    // The newest on the right, as many as there is room for.
    let room = usize::from(inner.width);
    let newest = app.history.iter().skip(app.history.len().saturating_sub(room)).map(|bits| bits[index]);
    let mut values: Vec<u64> = newest.collect();
    let blank = room.saturating_sub(values.len());
    values.splice(0..0, std::iter::repeat_n(0, blank));
    frame.render_widget(Sparkline::default().data(&values).style(colour(app, hue)), inner);
}

fn usage(shown: &Shown) -> String {
    let Some(translator) = &shown.status.translator else { return "The translator is off.".to_owned() };
    let TranslatorStatus { sessions, mappings, pool, .. } = translator;
    let line = |label: &str, used: [u64; 3], most: u64, of: &str| {
        let protocols: Vec<String> =
            ["TCP", "UDP", "ICMP"].iter().zip(used).map(|(name, used)| format!("{:>6} {name}", count(used))).collect();
        let percent = used.iter().max().unwrap_or(&0) * 100 / most.max(1);
        format!("{label:<9}{}  of {} {of} ({percent}%)\n", protocols.join(" "), count(most))
    };
    let wide = |counts: &ByProtocol<u32>| counts.all().map(u64::from);
    [
        line("sessions", wide(sessions), translator.sessions_limit.into(), "in all"),
        line("mappings", wide(mappings), translator.mappings_limit.into(), "in all"),
        line("ports", pool.ports_taken.all(), pool.ports, "for each"),
    ]
    .concat()
}

fn dropped(rates: &Rates) -> String {
    if rates.dropped.is_empty() {
        return "nothing".to_owned();
    }
    let line = |drop: &super::super::rates::Counted| {
        format!("{:>7}/s {:>7}  {}\n", rate(drop.per_second), count(drop.total), drop.name)
    };
    rates.dropped.iter().map(line).collect()
}

fn dns64(shown: &Shown) -> String {
    if shown.status.dns64.is_none() {
        return "off".to_owned();
    }
    let rates = &shown.rates;
    let of = |name: &str| rates.of_dns(name);
    let transports = ["queries_udp", "queries_tcp", "queries_tls", "queries_https"];
    let queries = transports.map(|name| of(name).per_second).iter().sum();
    let (hits, misses) = (of("cache_hits").total, of("cache_misses").total);
    let share = hits * 100 / (hits + misses).max(1);
    let mut text = format!("{:>7}/s  queries\n", rate(queries));
    for (name, label) in [
        ("answers_synthesised", "synthesised"),
        ("answers_native", "native AAAA"),
        ("answers_passed", "passed on"),
        ("answers_local", "answered locally"),
        ("answers_refused", "refused"),
        ("answers_servfail", "failed"),
        ("upstream_timeouts", "timeouts of upstreams"),
    ] {
        let counted = of(name);
        text.push_str(&format!("{:>7}/s {:>7}  {label}\n", rate(counted.per_second), count(counted.total)));
    }
    text.push_str(&format!("{share:>6}% of questions answered from the cache\n"));
    text
}
