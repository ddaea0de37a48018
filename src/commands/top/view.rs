//! Draws the screen.

mod overview;
mod tables;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::state::{App, Dialog, Pane, SessionsBy, TalkersBy};
use crate::commands::table::{count, duration};

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App) {
    let rows = [Constraint::Length(1), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)];
    let [heading, tabs, body, foot] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(title(app), heading);
    frame.render_widget(panes(app), tabs);
    match app.pane {
        Pane::Overview => overview::draw(frame, app, body),
        Pane::Talkers => tables::talkers(frame, app, body),
        Pane::Sessions => tables::sessions(frame, app, body),
    }
    frame.render_widget(footer(app), foot);
    match &app.dialog {
        Dialog::None => {}
        Dialog::Help => popup(frame, "Keys", HELP),
        Dialog::Search { text, problem } => {
            let problem =
                problem.as_deref().unwrap_or("addresses, ranges, ports, protocols, states; empty is everything");
            popup(frame, "Show only", &format!("{text}_\n\n{problem}\n\nEnter: apply   Esc: leave it"));
        }
        Dialog::Close { what, .. } => {
            popup(
                frame,
                "Close",
                &format!("Close {what}?\n\nNeither end is told; a host that sends on begins anew.\n\ny: yes   n: no"),
            );
        }
    }
}

const HELP: &str = "\
1 2 3    overview, talkers, sessions
Tab      subscribers or destinations
Up Down  select a row (k, j; Home, End)
s        sort by something else
/        show only some sessions
c        close what is selected, after a question
p        pause, and go on
?        this help
q        quit

Rates are of the time between two looks. \"Dropped\" shows why
packets went no further: `nat64 explain REASON` says what to do.";

/// A style in colour, or without where colours are not wanted.
fn colour(app: &App, colour: Color) -> Style {
    if app.has_colours { Style::new().fg(colour) } else { Style::new() }
}

fn title(app: &App) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let Some(shown) = &app.shown else { return Line::styled("nat64", bold) };
    let status = &shown.status;
    let state = match (&app.lost, app.is_paused) {
        (Some(_), _) => Span::styled("  NO ANSWER, trying again", colour(app, Color::Red).add_modifier(Modifier::BOLD)),
        (None, true) => Span::styled("  PAUSED", bold),
        (None, false) => Span::raw(""),
    };
    let text = format!(
        " {}, process {}, up {}  {}",
        status.version,
        status.pid,
        duration(status.uptime_seconds),
        status.pref64.join(" ")
    );
    Line::from(vec![Span::styled("nat64", bold), Span::raw(text), state])
}

fn panes(app: &App) -> Line<'static> {
    let names = [("1 Overview", Pane::Overview), ("2 Talkers", Pane::Talkers), ("3 Sessions", Pane::Sessions)];
    let mut spans = Vec::new();
    for (name, pane) in names {
        let style = if app.pane == pane { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        spans.extend([Span::styled(format!(" {name} "), style), Span::raw(" ")]);
    }
    let sorted = match app.pane {
        Pane::Overview => String::new(),
        Pane::Talkers => format!(" by {}", if app.talkers_by == TalkersBy::Traffic { "traffic" } else { "sessions" }),
        Pane::Sessions => match app.sessions_by {
            SessionsBy::Traffic => " by traffic".to_owned(),
            SessionsBy::Bytes => " by bytes so far".to_owned(),
            SessionsBy::Age => " by age".to_owned(),
        },
    };
    spans.push(Span::raw(sorted));
    if !app.filter_text.is_empty() {
        let taken = app.shown.as_ref().map_or(0, |shown| shown.top.sessions);
        spans.push(Span::raw(format!("  only: {} ({} sessions)", app.filter_text, count(taken))));
    }
    Line::from(spans)
}

fn footer(app: &App) -> Line<'static> {
    match (&app.lost, &app.note) {
        (Some(problem), _) => Line::styled(problem.clone(), colour(app, Color::Red)),
        (None, Some(note)) => Line::styled(note.clone(), colour(app, Color::Yellow)),
        (None, None) => Line::raw("q quit  ? help  1 2 3 panes  s sort  / filter  c close  p pause"),
    }
}

/// A box in the middle, on top of everything.
fn popup(frame: &mut Frame<'_>, title: &str, text: &str) {
    let area = frame.area();
    let lines = u16::try_from(text.lines().count()).unwrap_or(u16::MAX);
    let (width, height) = (area.width.min(70), area.height.min(lines.saturating_add(3)));
    let middle = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, middle);
    let block = Block::bordered().title(format!(" {title} "));
    frame.render_widget(Paragraph::new(text.to_owned()).wrap(Wrap { trim: false }).block(block), middle);
}

/// A rate in few digits: `0.4`, `12.3k`.
fn rate(per_second: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are not negative")]
    let whole = per_second.round() as u64;
    if per_second > 0.0 && per_second < 9.95 { format!("{per_second:.1}") } else { count(whole) }
}
