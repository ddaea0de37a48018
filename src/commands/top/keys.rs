//! What keys do.

#![expect(clippy::wildcard_enum_match_arm, reason = "keyboards have keys that mean nothing here")]

use std::net::SocketAddr;

use clap::ValueEnum;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::search;
use super::state::{App, Command, Dialog, Effect, Pane, SessionsBy, Side, TalkersBy};
use crate::config::Transport;
use crate::control::filter::{End, Filter};
use crate::control::top::{BusySession, Talker};

impl App {
    /// Takes a key that was pressed.
    pub(super) fn key(&mut self, key: KeyEvent) -> Effect {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Effect::Quit;
        }
        match std::mem::take(&mut self.dialog) {
            Dialog::None => self.command(key.code),
            Dialog::Help => Effect::Nothing,
            Dialog::Search { text, .. } => self.search(key.code, text),
            Dialog::Close { what, filter } => match key.code {
                KeyCode::Char('y' | 'Y') => {
                    self.note = Some(format!("closing {what}"));
                    Effect::Tell(Command::Close(*filter))
                }
                KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => Effect::Nothing,
                // A key that was meant for something else must not decide.
                _ => {
                    self.dialog = Dialog::Close { what, filter };
                    Effect::Nothing
                }
            },
        }
    }

    fn command(&mut self, code: KeyCode) -> Effect {
        self.note = None;
        match code {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Char('?' | 'h') => self.dialog = Dialog::Help,
            KeyCode::Char('/') => self.dialog = Dialog::Search { text: self.filter_text.clone(), problem: None },
            KeyCode::Char('p') => {
                self.is_paused = !self.is_paused;
                return Effect::Tell(Command::Pause(self.is_paused));
            }
            KeyCode::Char('1') => self.turn_to(Pane::Overview),
            KeyCode::Char('2') => self.turn_to(Pane::Talkers),
            KeyCode::Char('3') => self.turn_to(Pane::Sessions),
            KeyCode::Tab => self.change_side(),
            KeyCode::Char('s') => self.sort(),
            KeyCode::Char('c') => self.ask_to_close(),
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => {
                self.selected = (self.selected + 1).min(self.rows().saturating_sub(1))
            }
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = self.rows().saturating_sub(1),
            _ => {}
        }
        Effect::Nothing
    }

    fn search(&mut self, code: KeyCode, mut text: String) -> Effect {
        let mut problem = None;
        match code {
            KeyCode::Esc => return Effect::Nothing,
            KeyCode::Enter => match search::filter(&text) {
                Ok(filter) => {
                    (self.filter, self.filter_text, self.selected) = (filter.clone(), text, 0);
                    return Effect::Tell(Command::Filter(filter));
                }
                Err(wrong) => problem = Some(wrong),
            },
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(c) => text.push(c),
            _ => {}
        }
        self.dialog = Dialog::Search { text, problem };
        Effect::Nothing
    }

    fn turn_to(&mut self, pane: Pane) {
        (self.pane, self.selected) = (pane, 0);
    }

    fn change_side(&mut self) {
        self.side = match self.side {
            Side::Subscribers => Side::Destinations,
            Side::Destinations => Side::Subscribers,
        };
        self.selected = 0;
    }

    fn sort(&mut self) {
        match self.pane {
            Pane::Overview => {}
            Pane::Talkers => {
                self.talkers_by = match self.talkers_by {
                    TalkersBy::Traffic => TalkersBy::Sessions,
                    TalkersBy::Sessions => TalkersBy::Traffic,
                }
            }
            Pane::Sessions => {
                self.sessions_by = match self.sessions_by {
                    SessionsBy::Traffic => SessionsBy::Bytes,
                    SessionsBy::Bytes => SessionsBy::Age,
                    SessionsBy::Age => SessionsBy::Traffic,
                }
            }
        }
        self.selected = 0;
    }

    fn ask_to_close(&mut self) {
        let meant = match self.pane {
            Pane::Overview => None,
            Pane::Talkers => self.talkers(self.side).get(self.selected).map(|talker| self.all_of(talker)),
            Pane::Sessions => self.sessions().get(self.selected).and_then(|busy| exactly(busy)),
        };
        match meant {
            Some((what, filter)) => self.dialog = Dialog::Close { what, filter: Box::new(filter) },
            None => self.note = Some("select a session (3), a subscriber or a destination (2) first".to_owned()),
        }
    }

    /// The sessions of a talker that the filter takes.
    fn all_of(&self, talker: &Talker) -> (String, Filter) {
        let end = Some(End::range(talker.who));
        let what = format!("every session of {} that is shown", talker.who);
        let filter = match self.side {
            Side::Subscribers => Filter { internal: end, ..self.filter.clone() },
            Side::Destinations => Filter { remote: end, ..self.filter.clone() },
        };
        (what, filter)
    }
}

/// One session and no other.
fn exactly(busy: &BusySession) -> Option<(String, Filter)> {
    let session = &busy.session;
    let what = format!("the {} session {} to {}", session.protocol, session.internal, session.remote);
    let internal = SocketAddr::from((session.internal.address, session.internal.port));
    let external = SocketAddr::from((session.external.address, session.external.port));
    let remote = SocketAddr::from((session.remote.address, session.remote.port));
    let filter = Filter {
        internal: Some(internal.into()),
        external: Some(external.into()),
        remote: Some(remote.into()),
        protocol: Some(Transport::from_str(&session.protocol, true).ok()?),
        ..Filter::default()
    };
    Some((what, filter))
}
