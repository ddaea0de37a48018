//! `nat64 reload`, `static`, `drain`, `undrain` and `session`: changes of the running daemon.

use std::fmt::Write as _;

use anyhow::bail;
use serde::Serialize;

use super::print;
use crate::cli::{CloseArgs, QueryArgs, ReloadArgs, SessionCommand, StaticArgs, StaticCommand, TakesNoneArgs};
use crate::config::KeyChange;
use crate::control::api::{Closed, Draining, Reloaded, Resets, StaticEntry};
use crate::control::client::{self, Verb};
use nat64_core::Protocol;

/// `nat64 reload`
pub(super) fn reload(args: &ReloadArgs) -> anyhow::Result<()> {
    let path = client::with_query("/v1/reload", &[("dry-run", args.dry_run.then(|| "true".to_owned()))]);
    let reloaded: Reloaded = client::tell(&args.query.control_socket, Verb::Post, &path)?;
    show(&args.query, &reloaded, described)
}

/// `nat64 static`
pub(super) fn statics(command: &StaticCommand) -> anyhow::Result<()> {
    let (verb, path, query) = match command {
        StaticCommand::List(query) => (Verb::Get, "/v1/static".to_owned(), query),
        StaticCommand::Add(args) => (Verb::Post, static_path(args), &args.query),
        StaticCommand::Del(args) => (Verb::Delete, static_path(args), &args.query),
    };
    let entries: Vec<StaticEntry> = client::tell(&query.control_socket, verb, &path)?;
    show(query, &entries, |entries| static_table(entries))
}

/// `nat64 drain` and `nat64 undrain`
pub(super) fn drain(path: &str, args: &TakesNoneArgs) -> anyhow::Result<()> {
    let path = client::with_query(path, &[("address", args.address.as_ref().map(ToString::to_string))]);
    let draining: Draining = client::tell(&args.query.control_socket, Verb::Post, &path)?;
    show(&args.query, &draining, |draining| format!("{}\n", drained(draining)))
}

/// `nat64 session`
pub(super) fn session(command: &SessionCommand) -> anyhow::Result<()> {
    let SessionCommand::Close(args) = command;
    close(args)
}

fn close(args: &CloseArgs) -> anyhow::Result<()> {
    let filter = args.filter.query();
    if filter.is_empty() && !args.all {
        bail!("which sessions? give a filter, such as --address 2001:db8::1, or --all; see nat64 session close --help");
    }
    let mut path = format!("/v1/sessions{filter}");
    for (name, is_given) in [("all", args.all), ("dry-run", args.dry_run), ("reset", args.reset)] {
        if is_given {
            let _ = write!(path, "{}{name}=true", if path.contains('?') { '&' } else { '?' });
        }
    }
    let closed: Closed = client::tell(&args.query.control_socket, Verb::Delete, &path)?;
    show(&args.query, &closed, |closed| was_closed(closed, args.dry_run))
}

fn was_closed(closed: &Closed, dry_run: bool) -> String {
    let verb = if dry_run { "would be closed" } else { "closed" };
    let count = closed.sessions;
    let mut text = format!("{count} session{} {verb}\n", if count == 1 { "" } else { "s" });
    let Some(Resets { both, one, unknown, not_tcp }) = closed.resets else { return text };
    let told = [
        (both, "reset at both ends"),
        (one, "reset at one end: which sequence number the other expects is not known yet"),
        (unknown, "not reset: which sequence numbers the ends expect is not known yet"),
        (not_tcp, "not reset: not TCP"),
    ];
    for (count, what) in told.into_iter().filter(|(count, _)| *count > 0) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {count} {what}");
    }
    text
}

fn static_path(args: &StaticArgs) -> String {
    let parameters = [
        ("protocol", Some(Protocol::from(args.protocol).name().to_owned())),
        ("external", Some(args.external.to_string())),
        ("internal", Some(args.internal.to_string())),
    ];
    client::with_query("/v1/static", &parameters)
}

fn show<T: Serialize>(query: &QueryArgs, value: &T, text: impl Fn(&T) -> String) -> anyhow::Result<()> {
    if query.json { print(&format!("{}\n", serde_json::to_string(value)?)) } else { print(&text(value)) }
}

fn described(reloaded: &Reloaded) -> String {
    let mut text = String::new();
    let (done, later) = match reloaded.dry_run {
        true => ("Would change", "Would need a restart"),
        false => ("Changed", "Needs a restart, and stays as it was until then"),
    };
    for (title, changes) in [(done, &reloaded.applied), (later, &reloaded.needs_restart)] {
        if !changes.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{title}:");
            changes.iter().for_each(|change| add_change(&mut text, change));
        }
    }
    if text.is_empty() {
        text.push_str("Nothing differs from what is in force.\n");
    } else if !reloaded.dry_run && !reloaded.settled {
        text.push_str("Sessions that are not allowed any more are still being ended.\n");
    }
    text
}

fn add_change(text: &mut String, change: &KeyChange) {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
    let _ = writeln!(text, "  {}: {} -> {}", change.key, value(&change.from), value(&change.to));
}

fn static_table(entries: &[StaticEntry]) -> String {
    if entries.is_empty() {
        return "There are no static mappings.\n".to_owned();
    }
    let mut text = format!("{:<8} {:<22} {:<40} {}\n", "PROTOCOL", "EXTERNAL", "INTERNAL", "FROM");
    for entry in entries {
        let from = if entry.runtime { "command" } else { "configuration" };
        let (external, internal) = (entry.external.to_string(), entry.internal.to_string());
        let _ = writeln!(text, "{:<8} {external:<22} {internal:<40} {from}", entry.protocol);
    }
    text
}

/// What is drained, in a sentence.
pub(super) fn drained(draining: &Draining) -> String {
    let left = match draining.sessions {
        None => String::new(),
        Some(0) => "; none are left".to_owned(),
        Some(1) => "; 1 session goes on".to_owned(),
        Some(left) => format!("; {left} sessions go on"),
    };
    if draining.everything {
        return format!("no new sessions are taken{left}");
    }
    if draining.addresses.is_empty() {
        return "new sessions are taken on every pool address".to_owned();
    }
    let addresses: Vec<String> = draining.addresses.iter().map(ToString::to_string).collect();
    format!("no new sessions are taken on {}{left}", addresses.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, from: Option<&str>, to: Option<&str>) -> KeyChange {
        KeyChange { key: key.to_owned(), from: from.map(str::to_owned), to: to.map(str::to_owned) }
    }

    #[test]
    fn a_reload_is_told_key_by_key() {
        let reloaded = Reloaded {
            dry_run: false,
            applied: vec![change("translator.timers.udp", Some("\"5m\""), Some("\"1m\""))],
            needs_restart: vec![change("device.name", Some("\"nat64\""), Some("\"tun0\""))],
            settled: false,
        };
        insta::assert_snapshot!(described(&reloaded), @r#"
        Changed:
          translator.timers.udp: "5m" -> "1m"
        Needs a restart, and stays as it was until then:
          device.name: "nat64" -> "tun0"
        Sessions that are not allowed any more are still being ended.
        "#);
        assert_eq!(described(&Reloaded::default()), "Nothing differs from what is in force.\n");
    }

    #[test]
    fn closed_sessions_are_told_with_whom_a_reset_could_tell() {
        let closed = |sessions, resets| was_closed(&Closed { sessions, resets }, false);
        assert_eq!(closed(1, None), "1 session closed\n");
        assert_eq!(was_closed(&Closed { sessions: 2, resets: None }, true), "2 sessions would be closed\n");
        insta::assert_snapshot!(closed(10, Some(Resets { both: 4, one: 3, unknown: 2, not_tcp: 1 })), @r"
        10 sessions closed
          4 reset at both ends
          3 reset at one end: which sequence number the other expects is not known yet
          2 not reset: which sequence numbers the ends expect is not known yet
          1 not reset: not TCP
        ");
        assert_eq!(closed(0, Some(Resets { both: 0, one: 0, unknown: 0, not_tcp: 0 })), "0 sessions closed\n");
    }

    #[test]
    fn static_mappings_are_told_with_where_they_are_from() {
        let entry = |port, runtime| StaticEntry {
            protocol: "tcp".to_owned(),
            external: ("192.0.2.1".parse().unwrap(), port).into(),
            internal: ("2001:db8::80".parse().unwrap(), port).into(),
            runtime,
        };
        insta::assert_snapshot!(static_table(&[entry(80, false), entry(443, true)]), @r"
        PROTOCOL EXTERNAL               INTERNAL                                 FROM
        tcp      192.0.2.1:80           [2001:db8::80]:80                        configuration
        tcp      192.0.2.1:443          [2001:db8::80]:443                       command
        ");
    }

    #[test]
    fn draining_is_told_in_a_sentence() {
        let address = "192.0.2.1".parse().unwrap();
        let some = Draining { everything: false, addresses: vec![address], sessions: Some(3) };
        assert_eq!(drained(&some), "no new sessions are taken on 192.0.2.1; 3 sessions go on");
        let [one, none] = [1, 0].map(|left| Draining { sessions: Some(left), ..some.clone() });
        assert_eq!(drained(&one), "no new sessions are taken on 192.0.2.1; 1 session goes on");
        assert_eq!(drained(&none), "no new sessions are taken on 192.0.2.1; none are left");
        let all = Draining { everything: true, ..Draining::default() };
        assert_eq!(drained(&all), "no new sessions are taken");
        assert_eq!(drained(&Draining::default()), "new sessions are taken on every pool address");
    }
}
