//! `nat64 top`: what happens now, on a screen that follows it.
//!
//! [`state`] is what the screen is about and what news do to it, [`keys`] what keys do, without a terminal or a socket; [`view`] draws it;
//! [`source`] asks the daemon, on a thread of its own, so that keys are answered while the daemon is not.

mod keys;
mod rates;
mod search;
mod source;
mod state;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use self::source::Source;
pub(crate) use self::state::Pane;
use self::state::{App, Effect, Input};
use super::print;
use crate::cli::TopArgs;

/// The size of what `--once` prints.
const PAGE: (u16, u16) = (100, 40);

/// `nat64 top`
pub(super) fn top(args: &TopArgs) -> anyhow::Result<()> {
    let interval = Duration::try_from_secs_f64(args.interval).context("--interval is no number of seconds")?;
    let mut app = App::new(args.filter.clone(), args.pane, std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()));
    // Before the terminal is touched, so that a daemon that is not there is told of in one line.
    app.handle(Input::Sample(Box::new(source::sample(&args.control_socket, &args.filter)?)));
    if args.once {
        thread::sleep(interval);
        app.handle(Input::Sample(Box::new(source::sample(&args.control_socket, &args.filter)?)));
        return print(&page(&app)?);
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("nat64 top needs a terminal; --once prints one screen and ends");
    }
    let (sender, inputs) = mpsc::channel();
    let source = Source::start(args.control_socket.clone(), args.filter.clone(), interval, sender.clone())?;
    thread::Builder::new().name("nat64-keys".to_owned()).spawn(move || read_keys(&sender))?;
    let mut terminal = ratatui::try_init().context("cannot take the terminal over")?;
    let outcome = live(&mut terminal, &mut app, &inputs, &source);
    ratatui::restore();
    outcome
}

/// Draws after each input, until it is to end.
fn live(
    terminal: &mut ratatui::DefaultTerminal,
    app: &mut App,
    inputs: &mpsc::Receiver<Input>,
    source: &Source,
) -> anyhow::Result<()> {
    loop {
        terminal.draw(|frame| view::draw(frame, app)).context("cannot draw")?;
        // One of the threads ends with the terminal.
        let Ok(input) = inputs.recv() else { bail!("the terminal is gone") };
        match app.handle(input) {
            Effect::Nothing => {}
            Effect::Quit => return Ok(()),
            Effect::Tell(command) => source.tell(command),
        }
    }
}

/// Hands on what the terminal tells, until it is gone.
#[expect(clippy::wildcard_enum_match_arm, reason = "nothing else is asked for")]
fn read_keys(inputs: &Sender<Input>) {
    while let Ok(event) = event::read() {
        let input = match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => Input::Key(key),
            Event::Resize(..) => Input::Redraw,
            _ => continue,
        };
        if inputs.send(input).is_err() {
            return;
        }
    }
    let _ = inputs.send(Input::TerminalGone);
}

/// One screen as text.
fn page(app: &App) -> anyhow::Result<String> {
    let mut terminal = Terminal::new(TestBackend::new(PAGE.0, PAGE.1))?;
    terminal.draw(|frame| view::draw(frame, app))?;
    Ok(text_of(terminal.backend().buffer()))
}

/// What stands in a buffer, without blanks at the ends of lines.
fn text_of(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in buffer.content().chunks(usize::from(buffer.area.width).max(1)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
