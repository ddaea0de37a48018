use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::state::{App, Command, Dialog, Effect, Input, Pane, Sample};
use super::{text_of, view};
use crate::control::api::{ByProtocol, Session, Status, Traffic};
use crate::control::filter::Filter;
use crate::control::testing::busy;
use crate::control::top::{BusySession, Ranking, Talker, Top};

fn app() -> App {
    App::new(Filter::default(), Pane::Overview, true)
}

fn talker(who: &str, outbound: u64, inbound: u64, sessions: u64) -> Talker {
    Talker { who: who.parse().unwrap(), sessions, outbound_bits_per_second: outbound, inbound_bits_per_second: inbound }
}

fn busy_session(protocol: &str, port: u16, outbound: u64, bytes: u64, age: u64) -> BusySession {
    BusySession {
        session: Session {
            protocol: protocol.to_owned(),
            internal: ("2001:db8:64:0:a::2".parse().unwrap(), port).into(),
            external: ("192.0.2.1".parse().unwrap(), 20_000 + port).into(),
            remote: ("198.51.100.10".parse().unwrap(), 443).into(),
            remote6: "64:ff9b::c633:640a".parse().unwrap(),
            state: "ESTABLISHED".to_owned(),
            age_seconds: age,
            expires_in_seconds: 7440,
            outbound: Traffic { packets: 6, bytes },
            inbound: Traffic { packets: 12, bytes: 0 },
        },
        outbound_bits_per_second: outbound,
        inbound_bits_per_second: 2 * outbound,
    }
}

fn top() -> Top {
    let pods = talker("2001:db8:64::/64", 2_000_000, 48_000_000, 840);
    let host = talker("2001:db8:65::7/128", 12_000, 9000, 1204);
    let server = talker("198.51.100.10/32", 2_000_000, 47_000_000, 12);
    Top {
        interval_milliseconds: Some(2000),
        sessions: 1516,
        subscribers: Ranking { by_traffic: vec![pods, host], by_sessions: vec![host, pods] },
        destinations: Ranking { by_traffic: vec![server], by_sessions: vec![server] },
        busiest: vec![busy_session("tcp", 1, 1_500_000, 9000, 60), busy_session("udp", 2, 500, 80_000, 10)],
    }
}

/// The daemon `seconds` later, after so many bytes, drops and queries.
fn later(seconds: u64, amount: u64) -> Sample {
    let mut status = busy();
    status.uptime_seconds += seconds;
    let translator = status.translator.as_mut().unwrap();
    let traffic = Traffic { packets: amount, bytes: 1000 * amount };
    translator.six_to_four = ByProtocol::new([traffic, Traffic::default(), Traffic::default()]);
    translator.four_to_six = ByProtocol::new([Traffic { bytes: 4 * traffic.bytes, ..traffic }; 3]);
    translator.dropped.insert("no-session".to_owned(), amount / 4);
    let dns64 = status.dns64.as_mut().unwrap();
    dns64.counters.insert("queries_udp".to_owned(), 4321 + amount);
    dns64.counters.insert("answers_synthesised".to_owned(), 2000 + amount / 2);
    dns64.counters.extend([("cache_hits".to_owned(), 300), ("cache_misses".to_owned(), 100)]);
    Sample { at: Duration::from_secs(seconds), status, top: Ok(top()) }
}

fn sample(app: &mut App, sample: Sample) {
    assert_eq!(app.handle(Input::Sample(Box::new(sample))), Effect::Nothing);
}

/// An app that has looked a few times.
fn running() -> App {
    let mut app = app();
    for (seconds, amount) in [(0, 0), (2, 1000), (4, 5000), (6, 6000), (8, 14_000)] {
        sample(&mut app, later(seconds, amount));
    }
    app
}

fn press(app: &mut App, code: KeyCode) -> Effect {
    app.handle(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn type_in(app: &mut App, text: &str) {
    for c in text.chars() {
        assert_eq!(press(app, KeyCode::Char(c)), Effect::Nothing);
    }
}

fn screen(app: &App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, app)).unwrap();
    text_of(terminal.backend().buffer())
}

#[test]
fn the_overview_shows_rates_use_drops_and_dns() {
    insta::assert_snapshot!(screen(&running(), 100, 30));
}

#[test]
fn talkers_are_shown_from_both_sides() {
    let mut app = running();
    press(&mut app, KeyCode::Char('2'));
    press(&mut app, KeyCode::Down);
    insta::assert_snapshot!(screen(&app, 80, 24));
}

#[test]
fn sessions_are_shown_with_what_goes_through_them() {
    let mut app = running();
    press(&mut app, KeyCode::Char('3'));
    insta::assert_snapshot!(screen(&app, 110, 12));
}

#[test]
fn help_and_questions_are_in_the_middle() {
    let mut app = running();
    press(&mut app, KeyCode::Char('3'));
    press(&mut app, KeyCode::Char('c'));
    let question = screen(&app, 80, 24);
    press(&mut app, KeyCode::Esc);
    press(&mut app, KeyCode::Char('?'));
    insta::assert_snapshot!(format!("{question}\n{}", screen(&app, 80, 24)));
}

#[test]
fn any_size_can_be_drawn() {
    let mut app = running();
    for pane in ['1', '2', '3', '?'] {
        press(&mut app, KeyCode::Char(pane));
        for (width, height) in [(1, 1), (5, 3), (20, 8), (80, 5), (300, 100)] {
            screen(&app, width, height);
        }
    }
}

#[test]
fn without_colours_nothing_has_one() {
    let coloured = |has_colours| {
        let mut app = App { has_colours, ..running() };
        app.handle(Input::Lost("gone".to_owned()));
        let mut terminal = Terminal::new(TestBackend::new(100, 30)).unwrap();
        terminal.draw(|frame| view::draw(frame, &app)).unwrap();
        terminal.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };

    assert!(coloured(true));
    assert!(!coloured(false));
}

#[test]
fn rates_are_of_the_time_between_two_looks() {
    let mut app = app();
    sample(&mut app, later(10, 1000));
    assert_eq!(app.shown.as_ref().unwrap().rates.outbound.packets, 0.0, "the first look knows no time");
    sample(&mut app, later(14, 3000));

    let rates = &app.shown.as_ref().unwrap().rates;

    assert_eq!((rates.outbound.packets, rates.outbound.bits), (500.0, 4_000_000.0));
    assert_eq!(rates.inbound.bits, 48_000_000.0);
    assert_eq!((rates.dropped[0].name.as_str(), rates.dropped[0].per_second), ("no-session", 125.0));
    assert_eq!(rates.of_dns("queries_udp").per_second, 500.0);
    assert_eq!(app.history, [[4_000_000, 48_000_000]]);
}

#[test]
fn a_restart_begins_anew_and_says_so() {
    let mut app = running();
    let mut restarted = later(10, 5);
    restarted.status.pid += 1;
    sample(&mut app, restarted);

    assert_eq!(app.note.as_deref(), Some("nat64 was restarted: counters began anew"));
    assert_eq!((app.shown.as_ref().unwrap().rates.outbound.packets, app.history.len()), (0.0, 0));
}

#[test]
fn a_daemon_that_is_gone_leaves_its_last_screen_and_comes_back() {
    let mut app = running();
    app.handle(Input::Lost("cannot reach nat64 at /run/nat64/nat64.sock".to_owned()));
    let gone = screen(&app, 100, 30);
    assert!(gone.contains("NO ANSWER, trying again") && gone.contains("cannot reach nat64 at"), "{gone}");
    assert!(gone.contains("no-session"), "what was known is still there: {gone}");

    sample(&mut app, later(12, 20_000));

    assert_eq!((app.lost, app.note.as_deref()), (None, Some("nat64 answers again")));
}

#[test]
fn keys_turn_to_panes_sort_and_select() {
    let mut app = running();
    press(&mut app, KeyCode::Char('2'));
    assert_eq!(app.pane, Pane::Talkers);
    for (key, selected) in
        [(KeyCode::Down, 1), (KeyCode::Down, 1), (KeyCode::Up, 0), (KeyCode::End, 1), (KeyCode::Tab, 0)]
    {
        press(&mut app, key);
        assert_eq!(app.selected, selected, "{key:?}");
    }
    press(&mut app, KeyCode::Tab);
    let first = |app: &App| app.talkers(app.side)[0].sessions;
    assert_eq!(first(&app), 840);
    press(&mut app, KeyCode::Char('s'));
    assert_eq!(first(&app), 1204);

    press(&mut app, KeyCode::Char('3'));
    let orders: Vec<u16> = (0..3)
        .map(|_| {
            let first = app.sessions()[0].session.internal.port;
            press(&mut app, KeyCode::Char('s'));
            first
        })
        .collect();
    assert_eq!(orders, [1, 2, 1], "traffic, bytes, age");
    assert_eq!(press(&mut app, KeyCode::Char('q')), Effect::Quit);
    assert_eq!(app.handle(Input::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL))), Effect::Quit);
}

#[test]
fn pausing_tells_whoever_asks() {
    let mut app = running();
    assert_eq!(press(&mut app, KeyCode::Char('p')), Effect::Tell(Command::Pause(true)));
    assert!(screen(&app, 100, 30).contains("PAUSED"));
    assert_eq!(press(&mut app, KeyCode::Char('p')), Effect::Tell(Command::Pause(false)));
}

#[test]
fn a_filter_is_typed_corrected_and_applied() {
    let mut app = running();
    press(&mut app, KeyCode::Char('/'));
    type_in(&mut app, "example.net!");
    press(&mut app, KeyCode::Enter);
    assert!(matches!(&app.dialog, Dialog::Search { problem: Some(problem), .. } if problem.contains("`example.net!`")));
    for _ in 0.."example.net!".len() {
        press(&mut app, KeyCode::Backspace);
    }
    type_in(&mut app, "tcp 443");
    let Effect::Tell(Command::Filter(filter)) = press(&mut app, KeyCode::Enter) else { panic!("a filter is applied") };

    assert_eq!((filter.query().as_str(), &app.dialog), ("?port=443&protocol=tcp", &Dialog::None));
    assert!(screen(&app, 100, 30).contains("only: tcp 443"));
    press(&mut app, KeyCode::Char('/'));
    assert_eq!(press(&mut app, KeyCode::Esc), Effect::Nothing);
    assert_eq!(app.filter, filter, "leaving the box changes nothing");
}

#[test]
fn closing_asks_first_and_means_exactly_what_was_selected() {
    let mut app = running();
    press(&mut app, KeyCode::Char('c'));
    assert!(app.note.as_deref().unwrap().contains("select a session"), "there is nothing to select on the overview");

    press(&mut app, KeyCode::Char('3'));
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Char('c'));
    // What comes meanwhile in another order does not change what was asked about.
    let mut other = later(10, 15_000);
    other.top.as_mut().unwrap().busiest.reverse();
    sample(&mut app, other);
    assert_eq!(press(&mut app, KeyCode::Char('x')), Effect::Nothing, "not an answer");
    let Effect::Tell(Command::Close(filter)) = press(&mut app, KeyCode::Char('y')) else { panic!("it is closed") };
    assert_eq!(
        filter.query(),
        "?internal=%5B2001%3Adb8%3A64%3A0%3Aa%3A%3A2%5D%3A2&external=192.0.2.1%3A20002&remote=198.51.100.10%3A443&protocol=udp"
    );
    app.handle(Input::Closed(Ok(1)));
    assert_eq!(app.note.as_deref(), Some("1 session closed"));

    press(&mut app, KeyCode::Char('c'));
    assert_eq!(press(&mut app, KeyCode::Char('n')), Effect::Nothing);
    assert_eq!(app.dialog, Dialog::None);
}

#[test]
fn a_talker_is_closed_with_what_the_filter_takes() {
    let mut app = running();
    app.filter.port = Some(443);
    press(&mut app, KeyCode::Char('2'));
    press(&mut app, KeyCode::Char('c'));
    let Effect::Tell(Command::Close(subscriber)) = press(&mut app, KeyCode::Char('y')) else { panic!("closed") };
    press(&mut app, KeyCode::Tab);
    press(&mut app, KeyCode::Char('c'));
    let Effect::Tell(Command::Close(destination)) = press(&mut app, KeyCode::Char('y')) else { panic!("closed") };

    assert_eq!(subscriber.query(), "?port=443&internal=2001%3Adb8%3A64%3A%3A%2F64");
    assert_eq!(destination.query(), "?port=443&remote=198.51.100.10%2F32");
}

#[test]
fn the_other_half_off_is_said() {
    let mut app = app();
    let status = Status { translator: None, dns64: None, ..busy() };
    sample(&mut app, Sample { at: Duration::ZERO, status, top: Ok(Top::default()) });
    let text = screen(&app, 100, 30);
    assert!(text.contains("The translator is off."), "{text}");
}
