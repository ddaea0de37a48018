//! The scenarios of `tests/dns` against other servers: what they make of them is written to `tests/dns/others.toml`, from
//! which a section of `docs/compliance.md` is rendered.
//!
//! `UPDATE_OTHERS=1 cargo test -p dns64 --test it others -- --ignored`, with `unbound` and `named` installed.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hickory_proto::op::Message;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::scenario::{Action, Scenario, Step, code_name, question, unhex};
use super::*;

/// Stub resolvers give up before.
const PATIENCE: Duration = Duration::from_secs(10);

/// Records that are shown of an answer.
const MOST_SHOWN: usize = 4;

/// Reverse zones of documentation addresses, which both servers would deny by themselves.
const REVERSE: &str = "2.0.192.in-addr.arpa";

/// A server that is run for a scenario.
trait Other {
    const NAME: &'static str;
    const PROGRAM: &'static str;

    fn version() -> String;

    /// Settings that it has no words for at all.
    const LACKS: &'static [&'static str];

    /// The configuration for a port, an upstream and the scenario's settings, as far as the server knows such.
    fn configuration(directory: &Path, port: u16, upstream: SocketAddr, settings: &[String]) -> String;

    fn arguments(configuration: &Path) -> Vec<String>;
}

struct Unbound;
struct Bind;

/// The words of all settings of a kind.
fn words<'s>(settings: &'s [String], key: &str) -> Vec<Vec<&'s str>> {
    settings
        .iter()
        .filter_map(|one| one.strip_prefix(&format!("{key} ")))
        .map(|rest| rest.split(' ').collect())
        .collect()
}

fn prefixes(settings: &[String]) -> Vec<&str> {
    let given = words(settings, "prefixes").concat();
    if given.is_empty() { vec!["2001:db8:64::/96"] } else { given }
}

impl Other for Unbound {
    const NAME: &'static str = "Unbound";
    const PROGRAM: &'static str = "unbound";
    const LACKS: &'static [&'static str] = &["ptr", "when-unusable", "ipv4only-ttl", "well-known", "group"];

    fn version() -> String {
        let text = Command::new("unbound").arg("-V").output().unwrap().stdout;
        first_line(&text).trim_start_matches("Version ").to_owned()
    }

    fn configuration(directory: &Path, port: u16, upstream: SocketAddr, settings: &[String]) -> String {
        let always = words(settings, "domain").into_iter().filter(|rule| rule[1] == "always");
        let mut more: String = always.map(|rule| format!("  dns64-ignore-aaaa: {}\n", rule[0])).collect();
        for payload in words(settings, "payload").concat() {
            write!(more, "  edns-buffer-size: {payload}\n  max-udp-size: {payload}\n").unwrap();
        }
        for name in words(settings, "nsid").concat() {
            writeln!(more, "  nsid: \"ascii_{name}\"").unwrap();
        }
        let clients = words(settings, "clients").concat();
        let clients = if clients.is_empty() { vec!["127.0.0.0/8"] } else { clients };
        if !clients.contains(&"127.0.0.0/8") {
            more.push_str("  access-control: 127.0.0.0/8 refuse\n");
        }
        clients.iter().for_each(|net| writeln!(more, "  access-control: {net} allow").unwrap());
        format!(
            "server:\n  interface: 127.0.0.1\n  port: {port}\n  do-ip6: no\n  username: \"\"\n  chroot: \"\"\n  \
             directory: \"{}\"\n  pidfile: \"\"\n  use-syslog: no\n  logfile: \"\"\n  num-threads: 1\n  \
             do-not-query-localhost: no\n  module-config: \"dns64 iterator\"\n  \
             dns64-prefix: {}\n{more}  local-zone: \"{REVERSE}\" nodefault\nremote-control:\n  control-enable: no\n\
             forward-zone:\n  name: \".\"\n  forward-addr: {}@{}\n",
            directory.display(),
            prefixes(settings)[0],
            upstream.ip(),
            upstream.port()
        )
    }

    fn arguments(configuration: &Path) -> Vec<String> {
        vec!["-d".into(), "-c".into(), configuration.display().to_string()]
    }
}

impl Other for Bind {
    const NAME: &'static str = "BIND";
    const PROGRAM: &'static str = "named";
    const LACKS: &'static [&'static str] = &["ptr", "when-unusable", "ipv4only-ttl", "well-known"];

    fn version() -> String {
        let text = Command::new("named").arg("-v").output().unwrap().stdout;
        first_line(&text).split(' ').nth(1).unwrap().to_owned()
    }

    fn configuration(directory: &Path, port: u16, upstream: SocketAddr, settings: &[String]) -> String {
        let list = |nets: Vec<&str>| nets.iter().map(|net| format!("{net}; ")).collect::<String>();
        let excluded = list(words(settings, "exclude-aaaa").concat());
        let exclude = if excluded.is_empty() { "::ffff:0:0/96; ".to_owned() } else { excluded };
        let ranges = words(settings, "range");
        let unmapped: Vec<String> = words(settings, "exclude-a")
            .concat()
            .into_iter()
            .chain(ranges.iter().map(|range| range[0]))
            .map(|net| format!("!{net}; "))
            .collect();
        let block = |prefix: &str, clients: &str, mapped: &str| {
            format!("  dns64 {prefix} {{ clients {{ {clients}}}; exclude {{ {exclude}}}; mapped {{ {mapped}}}; }};\n")
        };
        // The longest source prefix counts.
        let mut groups = words(settings, "group");
        groups.sort_by_key(|group| std::cmp::Reverse(group[0].split('/').nth(1).unwrap().parse::<u8>().unwrap()));
        let others = |count: usize| groups[..count].iter().map(|group| format!("!{}; ", group[0])).collect::<String>();
        let all = format!("{}any; ", others(groups.len()));
        let general =
            prefixes(settings).into_iter().map(|prefix| block(prefix, &all, &format!("{}any; ", unmapped.concat())));
        let by_range = ranges
            .iter()
            .flat_map(|range| range[1..].iter().map(|prefix| block(prefix, &all, &format!("{}; ", range[0]))));
        let by_group = groups.iter().enumerate().flat_map(|(index, group)| {
            let clients = format!("{}{}; ", others(index), group[0]);
            let own = group[1..].iter().filter(|prefix| **prefix != "off");
            own.map(|prefix| block(prefix, &clients, "any; ")).collect::<Vec<_>>()
        });
        let clients = words(settings, "clients").concat();
        let clients = list(if clients.is_empty() { vec!["any"] } else { clients });
        let mut more: String = general.chain(by_range).chain(by_group).collect();
        for payload in words(settings, "payload").concat() {
            write!(more, "  edns-udp-size {payload};\n  max-udp-size {payload};\n").unwrap();
        }
        for name in words(settings, "nsid").concat() {
            writeln!(more, "  server-id \"{name}\";").unwrap();
        }
        format!(
            "options {{\n  directory \"{0}\";\n  pid-file none;\n  session-keyfile none;\n  managed-keys-directory \"{0}\";\n  \
             listen-on port {port} {{ 127.0.0.1; }};\n  listen-on-v6 {{ none; }};\n  allow-query {{ {clients}}};\n  \
             recursion yes;\n  allow-recursion {{ {clients}}};\n  dnssec-validation no;\n  empty-zones-enable no;\n  \
             forward only;\n  forwarders {{ {1} port {2}; }};\n{more}}};\ncontrols {{ }};\n",
            directory.display(),
            upstream.ip(),
            upstream.port()
        )
    }

    fn arguments(configuration: &Path) -> Vec<String> {
        vec!["-g".into(), "-c".into(), configuration.display().to_string()]
    }
}

fn first_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().next().unwrap_or_default().to_owned()
}

/// A running program in a directory of its own; both are gone when dropped.
struct Process {
    child: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Process {
    async fn start<O: Other>(upstream: SocketAddr, settings: &[String]) -> Self {
        let directory = std::env::temp_dir().join(format!("dns64-others-{}-{}", O::PROGRAM, std::process::id()));
        let _old = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let address = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let configuration = directory.join("configuration");
        fs::write(&configuration, O::configuration(&directory, address.port(), upstream, settings)).unwrap();
        let log = fs::File::create(directory.join("log")).unwrap();
        let child = Command::new(O::PROGRAM)
            .args(O::arguments(&configuration))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut this = Self { child, directory, address };
        let ready =
            async { while ask_once(address, "ready.invalid. TXT", Duration::from_millis(200)).await.is_none() {} };
        if timeout(PATIENCE, ready).await.is_err() {
            let log = fs::read_to_string(this.directory.join("log")).unwrap_or_default();
            panic!("{} does not answer ({:?}):\n{log}", O::PROGRAM, this.child.try_wait());
        }
        this
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
        let _gone = fs::remove_dir_all(&self.directory);
    }
}

async fn ask_once(server: SocketAddr, asked: &str, patience: Duration) -> Option<Message> {
    let (ask, over_tcp) = question(asked);
    if over_tcp {
        return timeout(patience, ask.over_tcp(server)).await.ok();
    }
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    let mut buffer = vec![0; 65535];
    let answered = async {
        socket.send(&ask.0.to_vec().unwrap()).await.ok()?;
        socket.recv(&mut buffer).await.ok()
    };
    let Ok(Some(length)) = timeout(patience, answered).await else {
        // Refused at once if nobody listens yet.
        tokio::time::sleep(Duration::from_millis(20)).await;
        return None;
    };
    Message::from_vec(&buffer[..length]).ok()
}

/// What a server makes of each step that can be shown to it.
async fn outcomes<O: Other>(scenario: &Scenario) -> Vec<String> {
    let (upstream, exceptions) = scenario.upstream().await;
    let keys = scenario.settings.iter().filter_map(|setting| setting.split(' ').next());
    let lacking = keys.into_iter().find(|key| O::LACKS.contains(key));
    let mut obstacle = lacking.map(|key| format!("n/a: no `{key}`"));
    let server = match &obstacle {
        None => Some(Process::start::<O>(upstream.address, &scenario.settings).await),
        Some(_) => None,
    };
    let mut outcomes = Vec::new();
    for step in &scenario.steps {
        match (&step.action, &server) {
            (Action::Upstream, _) => exceptions.change(&step.question),
            // What follows is about what these change.
            (Action::Wait, _) => _ = obstacle.get_or_insert_with(|| "n/a: after `wait`".to_owned()),
            (Action::State, _) => _ = obstacle.get_or_insert_with(|| "n/a: after `state`".to_owned()),
            (Action::Await, _) => {}
            (Action::Ask | Action::Send, Some(server)) if obstacle.is_none() => {
                outcomes.push(outcome(step, server.address).await);
            }
            (Action::Ask | Action::Send, _) => outcomes.extend(obstacle.clone()),
        }
    }
    outcomes
}

async fn outcome(step: &Step, server: SocketAddr) -> String {
    if matches!(step.action, Action::Send) {
        return sent(step, server).await;
    }
    match ask_once(server, &step.question, PATIENCE).await {
        Some(answer) => compared(&step.expected, &answer),
        None => "no answer".to_owned(),
    }
}

/// `yes` if a datagram is answered with the same response code, or is not answered, as is expected.
async fn sent(step: &Step, server: SocketAddr) -> String {
    let code = |bytes: &[u8]| {
        Message::from_vec(bytes).map_or_else(
            |_| format!("RCODE {}", bytes.get(3).map_or(0, |byte| byte & 0xf)),
            |answer| code_name(answer.metadata.response_code),
        )
    };
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&unhex(&step.question), server).await.unwrap();
    let mut buffer = vec![0; 4096];
    // Nobody needs to be asked about any of them.
    let length = timeout(Duration::from_secs(1), socket.recv(&mut buffer)).await;
    let told = length.map_or_else(|_| "no answer".to_owned(), |length| code(&buffer[..length.unwrap()]));
    let expected = step.expected.iter().find_map(|line| line.strip_prefix("reply "));
    let expected = expected.map_or_else(|| "no answer".to_owned(), |reply| code(&unhex(reply)));
    if told == expected { "yes".to_owned() } else { told }
}

/// `yes` if response code and answer section are those that are expected, else what they are.
fn compared(expected: &[String], answer: &Message) -> String {
    let of =
        |kind: &str| expected.iter().filter_map(|line| line.strip_prefix(kind)).map(str::to_owned).collect::<Vec<_>>();
    let code = code_name(answer.metadata.response_code);
    if code != of("code ").pop().unwrap_or_else(|| "NOERROR".to_owned()) {
        return code;
    }
    let (told, wanted) = (answers(answer), of("answer "));
    // Addresses of one name have no order of their own.
    let sorted = |lines: &[String], drop_ttl: bool| {
        let shown = |line: &String| {
            let mut words: Vec<&str> = line.split(' ').collect();
            if drop_ttl {
                words.remove(1);
            }
            words.join(" ").to_ascii_lowercase()
        };
        let mut lines: Vec<String> = lines.iter().map(shown).collect();
        lines.sort();
        lines
    };
    if sorted(&told, false) == sorted(&wanted, false) {
        return "yes".to_owned();
    }
    let mut ttls: Vec<&str> = told.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    ttls.dedup();
    if sorted(&told, true) == sorted(&wanted, true) {
        return format!("TTL {}", ttls.join(", "));
    }
    if told.is_empty() {
        return "no record".to_owned();
    }
    let mut told = told;
    told.sort();
    let data = told.iter().take(MOST_SHOWN).map(|line| line.split(' ').skip(2).collect::<Vec<_>>().join(" "));
    let more = told.len().checked_sub(MOST_SHOWN).filter(|more| *more > 0).map(|more| format!("and {more} more"));
    data.chain(more).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
#[ignore = "runs Unbound and BIND, which have to be installed"]
async fn other_servers_are_shown_the_same_scenarios() {
    let mut text = String::from(
        "# What other DNS64 servers make of the scenarios, as they come with Debian 12. Written by\n\
         # UPDATE_OTHERS=1 cargo test -p dns64 --test it others -- --ignored\n",
    );
    for (name, version) in [(Unbound::NAME, Unbound::version()), (Bind::NAME, Bind::version())] {
        write!(text, "\n[[server]]\nname = \"{name}\"\nversion = \"{version}\"\n").unwrap();
    }
    for (name, scenario) in Scenario::all() {
        let (unbound, bind) = (outcomes::<Unbound>(&scenario).await, outcomes::<Bind>(&scenario).await);
        let shown = scenario.steps.iter().filter_map(|step| match step.action {
            Action::Ask => Some(step.question.clone()),
            Action::Send => Some(format!("send {}", step.question)),
            Action::Await | Action::State | Action::Upstream | Action::Wait => None,
        });
        for ((asked, unbound), bind) in shown.zip(unbound).zip(bind) {
            write!(
                text,
                "\n[[step]]\nscenario = \"{name}\"\nasked = \"{asked}\"\noutcomes = [\"{unbound}\", \"{bind}\"]\n"
            )
            .unwrap();
        }
    }
    if std::env::var_os("UPDATE_OTHERS").is_some() {
        fs::write(scenario::directory().join("others.toml"), &text).unwrap();
    }
    // Both can synthesise at all, so what they differ in is theirs.
    let first = text.split("asked = \"v4.example. AAAA\"").nth(1).unwrap();
    assert!(text.contains("scenario = \"synthesis\"") && first.lines().count() > 1);
}
