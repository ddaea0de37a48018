//! What the screen is about, and what keys and news do to it. No terminal, no socket, no clock.

use std::collections::VecDeque;
use std::time::Duration;

use clap::ValueEnum;
use ratatui::crossterm::event::KeyEvent;

use super::rates::Rates;
use crate::control::api::Status;
use crate::control::filter::Filter;
use crate::control::top::{BusySession, Talker, Top};

/// Samples that the sparklines remember.
const HISTORY: usize = 240;

/// What the screen shows.
#[derive(Debug)]
pub(super) struct App {
    pub(super) pane: Pane,
    pub(super) side: Side,
    pub(super) talkers_by: TalkersBy,
    pub(super) sessions_by: SessionsBy,
    pub(super) selected: usize,
    pub(super) is_paused: bool,
    pub(super) dialog: Dialog,
    pub(super) filter: Filter,
    pub(super) filter_text: String,
    pub(super) shown: Option<Shown>,
    /// Why the daemon does not answer, while it does not.
    pub(super) lost: Option<String>,
    /// The last thing that happened.
    pub(super) note: Option<String>,
    /// Bits in a second from IPv6 to IPv4 and back, oldest first.
    pub(super) history: VecDeque<[u64; 2]>,
    pub(super) has_colours: bool,
}

/// Which part of it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pane {
    /// Rates, tables and pool, drops, DNS64.
    #[default]
    Overview,
    /// Who talks most, inside and outside.
    Talkers,
    /// The busiest sessions.
    Sessions,
}

/// Which of the two tables of talkers has the selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Side {
    #[default]
    Subscribers,
    Destinations,
}

/// What talkers are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TalkersBy {
    #[default]
    Traffic,
    Sessions,
}

/// What sessions are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SessionsBy {
    #[default]
    Traffic,
    Bytes,
    Age,
}

/// What takes the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Dialog {
    #[default]
    None,
    Help,
    /// A filter is typed; with what is wrong with it.
    Search {
        text: String,
        problem: Option<String>,
    },
    /// Sessions are to be closed, if the answer is yes.
    Close {
        what: String,
        filter: Box<Filter>,
    },
}

/// The last sample, and what it says of the time since the one before.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) at: Duration,
    pub(super) status: Status,
    pub(super) top: Top,
    pub(super) rates: Rates,
}

/// What the daemon said.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// When, on any clock.
    pub(super) at: Duration,
    pub(super) status: Status,
    /// Or why there is none.
    pub(super) top: Result<Top, String>,
}

/// Something that happens.
#[derive(Debug)]
pub(super) enum Input {
    Key(KeyEvent),
    Sample(Box<Sample>),
    /// The daemon does not answer.
    Lost(String),
    /// So many sessions were closed, or why they were not.
    Closed(Result<u64, String>),
    /// The terminal has another size.
    Redraw,
    TerminalGone,
}

/// What is to be done because of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    Quit,
    /// Something for whoever asks the daemon.
    Tell(Command),
}

/// What whoever asks the daemon is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Filter(Filter),
    Pause(bool),
    Close(Filter),
}

impl App {
    pub(super) fn new(filter: Filter, pane: Pane, has_colours: bool) -> Self {
        let filter_text = filter.query().trim_start_matches('?').to_owned();
        Self {
            pane,
            side: Side::default(),
            talkers_by: TalkersBy::default(),
            sessions_by: SessionsBy::default(),
            selected: 0,
            is_paused: false,
            dialog: Dialog::None,
            filter,
            filter_text,
            shown: None,
            lost: None,
            note: None,
            history: VecDeque::new(),
            has_colours,
        }
    }

    /// Takes what happens.
    pub(super) fn handle(&mut self, input: Input) -> Effect {
        match input {
            Input::Key(key) => return self.key(key),
            Input::Sample(sample) => self.take(*sample),
            Input::Lost(problem) => self.lost = Some(problem),
            Input::Closed(Ok(1)) => self.note = Some("1 session closed".to_owned()),
            Input::Closed(Ok(count)) => self.note = Some(format!("{count} sessions closed")),
            Input::Closed(Err(problem)) => self.note = Some(problem),
            Input::Redraw => {}
            Input::TerminalGone => return Effect::Quit,
        }
        Effect::Nothing
    }

    /// The subscribers or destinations in the order in force.
    pub(super) fn talkers(&self, side: Side) -> &[Talker] {
        let Some(Shown { top, .. }) = &self.shown else { return &[] };
        let ranking = match side {
            Side::Subscribers => &top.subscribers,
            Side::Destinations => &top.destinations,
        };
        match self.talkers_by {
            TalkersBy::Traffic => &ranking.by_traffic,
            TalkersBy::Sessions => &ranking.by_sessions,
        }
    }

    /// The busiest sessions in the order in force.
    pub(super) fn sessions(&self) -> Vec<&BusySession> {
        let mut sessions: Vec<&BusySession> = self.shown.iter().flat_map(|shown| &shown.top.busiest).collect();
        let total = |busy: &&BusySession| busy.session.outbound.bytes + busy.session.inbound.bytes;
        match self.sessions_by {
            SessionsBy::Traffic => {}
            SessionsBy::Bytes => sessions.sort_by_key(|busy| std::cmp::Reverse(total(busy))),
            SessionsBy::Age => sessions.sort_by_key(|busy| std::cmp::Reverse(busy.session.age_seconds)),
        }
        sessions
    }

    fn take(&mut self, sample: Sample) {
        let Sample { at, status, top } = sample;
        let before = self.shown.take();
        let is_restarted = before.as_ref().is_some_and(|before| before.status.pid != status.pid);
        if is_restarted {
            self.note = Some("nat64 was restarted: counters began anew".to_owned());
            self.history.clear();
        } else if self.lost.is_some() {
            self.note = Some("nat64 answers again".to_owned());
        }
        self.lost = None;
        let before = before.filter(|_| !is_restarted);
        let elapsed = before.as_ref().map_or(Duration::ZERO, |before| at.saturating_sub(before.at));
        let rates = Rates::between(before.as_ref().map(|before| &before.status), &status, elapsed);
        if before.is_some() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are not negative")]
            let bits = [rates.outbound.bits, rates.inbound.bits].map(|bits| bits as u64);
            self.history.push_back(bits);
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
        }
        let top = top.unwrap_or_else(|problem| {
            self.note = Some(problem);
            before.map(|before| before.top).unwrap_or_default()
        });
        self.shown = Some(Shown { at, status, top, rates });
        self.selected = self.selected.min(self.rows().saturating_sub(1));
    }

    /// How many rows the selection can be on.
    pub(super) fn rows(&self) -> usize {
        match self.pane {
            Pane::Overview => 0,
            Pane::Talkers => self.talkers(self.side).len(),
            Pane::Sessions => self.shown.as_ref().map_or(0, |shown| shown.top.busiest.len()),
        }
    }
}
