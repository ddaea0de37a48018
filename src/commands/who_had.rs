//! `nat64 who-had`: whose a pool address and port was, from a log of sessions.

mod logs;

use std::io::{self, BufRead};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::path::Path;

use anyhow::{Context, bail};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::print;
use crate::cli::WhoHadArgs;
use crate::control::api::Endpoint;
use crate::session_log::Line;

/// Somebody who had the address and port for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Holder {
    /// `tcp`, `udp` or `icmp`; none for a block, which is of all.
    protocol: Option<String>,
    /// The host inside; for a block, the subscriber's prefix with port 0.
    internal: Endpoint<Ipv6Addr>,
    /// From when on (RFC 3339).
    from: String,
    /// Until when; none where the log does not say.
    until: Option<String>,
    /// What the log has: `session`, `mapping` or `block`.
    by: &'static str,
    /// For a session, the name that the host was told the other end's address for, if the log has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The other end of a session, if the log has it.
    #[serde(skip)]
    remote: Option<Endpoint<Ipv4Addr>>,
}

/// Looks it up.
pub(super) fn who_had(args: &WhoHadArgs) -> anyhow::Result<()> {
    let at = args.at.as_deref().map(moment).transpose()?.unwrap_or_else(OffsetDateTime::now_utc);
    let logs = if args.log.is_empty() { logs::configured(args.config.as_deref())? } else { args.log.clone() };
    let mut found = Search::new(args.external, args.protocol.as_deref(), at);
    for path in &logs {
        found.read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if found.lines == 0 && found.unread > 0 {
            bail!("{} is no JSON log of sessions", path.display());
        }
        (found.lines, found.unread) = (0, 0);
    }
    let holders = found.holders();
    if holders.is_empty() {
        let logs: Vec<String> = logs.iter().map(|path| path.display().to_string()).collect();
        bail!("nobody had {} at {}, as far as {} tells", args.external, at.format(&Rfc3339)?, logs.join(", "));
    }
    let mut text = String::new();
    for holder in &holders {
        text.push_str(&if args.json { format!("{}\n", serde_json::to_string(holder)?) } else { row(holder) });
    }
    let has_names = holders.iter().any(|holder| holder.name.is_some());
    print(&if args.json { text } else { format!("{}{text}", heading(has_names)) })
}

fn moment(text: &str) -> anyhow::Result<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339)
        .with_context(|| format!("`{text}` is no time; write it as 2026-11-22T10:00:00Z"))
}

fn heading(has_names: bool) -> String {
    let by = if has_names { "BY      NAME" } else { "BY" };
    format!("{:<5} {:<40} {:<24} {:<24} {by}\n", "PROTO", "INTERNAL", "FROM", "UNTIL")
}

fn row(holder: &Holder) -> String {
    let until = holder.until.as_deref().unwrap_or("not in the log");
    let protocol = holder.protocol.as_deref().unwrap_or("all");
    let by = match &holder.name {
        Some(name) => format!("{:<7} {name}", holder.by),
        None => holder.by.to_owned(),
    };
    format!("{protocol:<5} {:<40} {:<24} {until:<24} {by}\n", holder.internal.to_string(), holder.from)
}

/// The log, read from its beginning on.
struct Search<'a> {
    wanted: SocketAddrV4,
    protocol: Option<&'a str>,
    at: OffsetDateTime,
    open: Vec<Holder>,
    closed: Vec<Holder>,
    /// Lines that tell of an event, and such as do not.
    lines: u64,
    unread: u64,
}

impl<'a> Search<'a> {
    const fn new(wanted: SocketAddrV4, protocol: Option<&'a str>, at: OffsetDateTime) -> Self {
        Self { wanted, protocol, at, open: Vec::new(), closed: Vec::new(), lines: 0, unread: 0 }
    }
}

impl Search<'_> {
    fn read(&mut self, path: &Path) -> io::Result<()> {
        for line in logs::open(path)?.split(b'\n') {
            // A line that the end of a disk has cut off is no reason to miss the others.
            let line = line?;
            match serde_json::from_slice::<Line>(&line) {
                Ok(line) => {
                    self.lines += 1;
                    self.take(&line);
                }
                Err(_) => self.unread += u64::from(!line.is_empty()),
            }
        }
        Ok(())
    }

    fn take(&mut self, line: &Line) {
        let Some((by, is_end)) = meaning(&line.event) else { return };
        let Some(external) = line.external.filter(|external| external.address == *self.wanted.ip()) else { return };
        let ports = external.port..=line.last_port.unwrap_or(external.port);
        let other_protocol = self.protocol.zip(line.protocol.as_deref()).is_some_and(|(wanted, has)| wanted != has);
        if !ports.contains(&self.wanted.port()) || other_protocol {
            return;
        }
        let same = |holder: &Holder| {
            (holder.by, holder.internal, holder.remote) == (by, line.internal, line.remote)
                && holder.protocol == line.protocol
        };
        let begun = self.open.iter().position(same).filter(|_| is_end).map(|place| self.open.swap_remove(place));
        let (begun, name) = begun.map(|begun| (begun.from, begun.name)).unzip();
        let from = line.began.clone().or(begun).unwrap_or_else(|| line.time.clone());
        let holder = Holder {
            protocol: line.protocol.clone(),
            internal: line.internal,
            from,
            until: is_end.then(|| line.time.clone()),
            by,
            // A name may be forgotten before the session ends.
            name: name.flatten().or_else(|| line.name.clone()),
            remote: line.remote,
        };
        if is_end { self.closed.push(holder) } else { self.open.push(holder) }
    }

    /// Who had it at the moment in question.
    fn holders(self) -> Vec<Holder> {
        let at = self.at;
        let covers = |holder: &Holder| {
            let from = OffsetDateTime::parse(&holder.from, &Rfc3339).is_ok_and(|from| from <= at);
            let until = holder
                .until
                .as_ref()
                .is_none_or(|until| OffsetDateTime::parse(until, &Rfc3339).is_ok_and(|until| at <= until));
            from && until
        };
        self.closed.into_iter().chain(self.open).filter(covers).collect()
    }
}

/// What an event tells of, and whether of its end.
fn meaning(event: &str) -> Option<(&'static str, bool)> {
    Some(match event {
        "session-created" => ("session", false),
        "session-ended" => ("session", true),
        "mapping-created" => ("mapping", false),
        "mapping-removed" => ("mapping", true),
        "block-allocated" => ("block", false),
        "block-released" => ("block", true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holders(lines: &[&str], external: &str, at: &str, protocol: Option<&str>) -> Vec<Holder> {
        let (wanted, at) = (external.parse().unwrap(), moment(at).unwrap());
        let mut search = Search::new(wanted, protocol, at);
        lines.iter().for_each(|line| search.take(&serde_json::from_str(line).unwrap()));
        search.holders()
    }

    const LOG: [&str; 4] = [
        r#"{"time":"2026-11-22T10:00:00Z","event":"mapping-created","protocol":"tcp","internal":{"address":"2001:db8::1","port":5},"external":{"address":"192.0.2.1","port":40123}}"#,
        r#"{"time":"2026-11-22T10:05:00Z","event":"mapping-removed","protocol":"tcp","internal":{"address":"2001:db8::1","port":5},"external":{"address":"192.0.2.1","port":40123},"began":"2026-11-22T10:00:00Z"}"#,
        r#"{"time":"2026-11-22T10:10:00Z","event":"mapping-created","protocol":"tcp","internal":{"address":"2001:db8::2","port":6},"external":{"address":"192.0.2.1","port":40123}}"#,
        r#"{"time":"2026-11-22T10:11:00Z","event":"block-allocated","internal":{"address":"2001:db8::3","port":0},"external":{"address":"192.0.2.1","port":1024},"last_port":1535}"#,
    ];

    #[test]
    fn whoever_had_the_port_at_that_time_is_found() {
        let first = holders(&LOG, "192.0.2.1:40123", "2026-11-22T10:03:00Z", None);
        let between = holders(&LOG, "192.0.2.1:40123", "2026-11-22T10:07:00Z", None);
        let second = holders(&LOG, "192.0.2.1:40123", "2026-11-22T12:00:00Z", None);

        assert_eq!((first.len(), first[0].internal.to_string()), (1, "[2001:db8::1]:5".to_owned()));
        assert_eq!(between, []);
        assert_eq!((second.len(), second[0].internal.to_string()), (1, "[2001:db8::2]:6".to_owned()));
        assert_eq!(second[0].until, None);
    }

    #[test]
    fn another_port_address_or_protocol_is_somebody_elses() {
        let at = "2026-11-22T10:03:00Z";

        assert_eq!(holders(&LOG, "192.0.2.1:40124", at, None), []);
        assert_eq!(holders(&LOG, "192.0.2.2:40123", at, None), []);
        assert_eq!(holders(&LOG, "192.0.2.1:40123", at, Some("udp")), []);
    }

    #[test]
    fn a_block_covers_all_of_its_ports_and_every_protocol() {
        let found = holders(&LOG, "192.0.2.1:1200", "2026-11-22T11:00:00Z", Some("udp"));

        assert_eq!((found.len(), found[0].by), (1, "block"));
    }

    #[test]
    fn a_session_whose_beginning_is_in_an_older_log_says_itself_when_it_began() {
        let line = r#"{"time":"2026-11-22T10:05:00Z","event":"session-ended","protocol":"udp","internal":{"address":"2001:db8::1","port":5},"external":{"address":"192.0.2.1","port":7},"began":"2026-11-22T09:00:00Z","reason":"timeout"}"#;

        assert_eq!(holders(&[line], "192.0.2.1:7", "2026-11-22T09:30:00Z", None).len(), 1);
    }

    #[test]
    fn a_session_has_the_name_that_it_began_with() {
        let line = |event: &str, remote: u16, more: &str| {
            format!(
                r#"{{"time":"2026-11-22T10:0{}:00Z","event":"session-{event}","protocol":"udp","internal":{{"address":"2001:db8::1","port":5}},"external":{{"address":"192.0.2.1","port":7}},"remote":{{"address":"198.51.100.7","port":{remote}}}{more}}}"#,
                if event == "ended" { 5 } else { 0 },
            )
        };
        let began = r#","began":"2026-11-22T10:00:00Z""#;
        let lines = [
            line("created", 1, r#","name":"one.example""#),
            line("created", 2, r#","name":"two.example""#),
            line("ended", 2, began),
            line("ended", 1, &format!(r#"{began},"name":"other.example""#)),
        ];
        let lines = lines.each_ref().map(String::as_str);

        let found = holders(&lines, "192.0.2.1:7", "2026-11-22T10:03:00Z", None);

        let names: Vec<&str> = found.iter().filter_map(|holder| holder.name.as_deref()).collect();
        assert_eq!(names, ["two.example", "one.example"]);
        assert!(row(&found[0]).ends_with("session two.example\n"));
    }

    #[test]
    fn rotated_logs_are_found_oldest_first_and_read_compressed_or_not() {
        use std::fs::{self, File};
        use std::io::Write;
        use std::time::{Duration, SystemTime};

        let directory = std::env::temp_dir().join(format!("nat64-who-had-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let write = |name: &str, age: u64, bytes: &[u8]| {
            let mut file = File::create(directory.join(name)).unwrap();
            file.write_all(bytes).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        };
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writeln!(gzip, "{}\nnot a line", LOG[0]).unwrap();
        write("s.json.2.gz", 200, &gzip.finish().unwrap());
        write("s.json-20261122", 100, LOG[1].as_bytes());
        write("s.json", 300, LOG[2].as_bytes());
        for other in ["s.json.swp", "t.json", "s.json.gz"] {
            write(other, 1, b"");
        }

        let found = logs::rotated(&directory.join("s.json")).unwrap();
        let names: Vec<&str> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        let at = moment("2026-11-22T10:03:00Z").unwrap();
        let wanted = "192.0.2.1:40123".parse().unwrap();
        let mut search = Search::new(wanted, None, at);
        found.iter().for_each(|path| search.read(path).unwrap());
        let holders = search.holders();
        fs::remove_dir_all(&directory).unwrap();

        assert_eq!(names, ["s.json.2.gz", "s.json-20261122", "s.json"]);
        assert_eq!((holders.len(), holders[0].until.as_deref()), (1, Some("2026-11-22T10:05:00Z")));
    }
}
