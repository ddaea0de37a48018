//! Talkers and sessions, as tables with a selected row.

use ipnet::IpNet;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::widgets::{Block, Paragraph, Row, Table, TableState};

use crate::commands::table::{bytes, count, duration};
use crate::commands::top::state::{App, Side};
use crate::control::top::{BusySession, Talker};

pub(super) fn talkers(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let [above, below] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
    for (side, title, area) in [(Side::Subscribers, "Subscribers", above), (Side::Destinations, "Destinations", below)]
    {
        let rows: Vec<Row<'_>> = app.talkers(side).iter().map(talker).collect();
        let heading = ["WHO", "BIT/S OUT", "BIT/S IN", "SESSIONS"];
        let widths = [Constraint::Min(20), Constraint::Length(10), Constraint::Length(10), Constraint::Length(9)];
        let selected = (app.side == side).then_some(app.selected);
        let title = if app.side == side { format!(" {title} (Tab: the others) ") } else { format!(" {title} ") };
        table(frame, app, (area, &title), (&heading, &widths), rows, selected);
    }
}

/// A screen that is narrower has no room for all columns.
const WIDE: u16 = 100;

pub(super) fn sessions(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let heading = ["PROTO", "INTERNAL", "REMOTE", "BIT/S OUT/IN", "STATE", "BYTES", "AGE"];
    let widths = [
        Constraint::Length(5),
        Constraint::Fill(1),
        Constraint::Length(21),
        Constraint::Length(13),
        Constraint::Length(17),
        Constraint::Length(8),
        Constraint::Length(6),
    ];
    let columns = if area.width < WIDE { 4 } else { heading.len() };
    let all = app.shown.as_ref().map_or(0, |shown| shown.top.sessions);
    let title = format!(" The busiest of {} sessions ", count(all));
    let rows = app.sessions().iter().map(|busy| Row::new(session(busy).into_iter().take(columns))).collect();
    table(frame, app, (area, &title), (&heading[..columns], &widths[..columns]), rows, Some(app.selected));
}

fn table(
    frame: &mut Frame<'_>,
    app: &App,
    (area, title): (Rect, &str),
    (heading, widths): (&[&'static str], &[Constraint]),
    rows: Vec<Row<'_>>,
    selected: Option<usize>,
) {
    let block = Block::bordered().title(title.to_owned());
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(nothing(app)).block(block), area);
        return;
    }
    let heading = Row::new(heading.iter().copied()).style(Style::new().add_modifier(Modifier::BOLD));
    let table = Table::new(rows, widths.iter().copied())
        .header(heading)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .highlight_symbol("> ")
        .block(block);
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(selected));
}

/// Why a table is empty.
fn nothing(app: &App) -> &'static str {
    match app.shown.as_ref().map(|shown| shown.top.interval_milliseconds) {
        Some(None) => "measuring: rates are known after the second look",
        _ => "nobody",
    }
}

fn talker(talker: &Talker) -> Row<'static> {
    Row::new([
        who(talker.who),
        count(talker.outbound_bits_per_second),
        count(talker.inbound_bits_per_second),
        count(talker.sessions),
    ])
}

fn session(busy: &BusySession) -> [String; 7] {
    let session = &busy.session;
    [
        session.protocol.clone(),
        session.internal.to_string(),
        session.remote.to_string(),
        format!("{}/{}", count(busy.outbound_bits_per_second), count(busy.inbound_bits_per_second)),
        session.state.clone(),
        bytes(session.outbound.bytes + session.inbound.bytes),
        duration(session.age_seconds),
    ]
}

/// An address, or a range with its length.
fn who(range: IpNet) -> String {
    if range.prefix_len() == range.max_prefix_len() { range.addr().to_string() } else { range.to_string() }
}
