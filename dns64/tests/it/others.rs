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

use super::scenario::{Scenario, code_name, question};
use super::*;

/// Stub resolvers give up before.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reverse zones of documentation addresses, which both servers would deny by themselves.
const REVERSE: &str = "2.0.192.in-addr.arpa";

/// A server that is run for a scenario.
trait Other {
    const NAME: &'static str;
    const PROGRAM: &'static str;

    fn version() -> String;

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

    fn version() -> String {
        let text = Command::new("unbound").arg("-V").output().unwrap().stdout;
        first_line(&text).trim_start_matches("Version ").to_owned()
    }

    fn configuration(directory: &Path, port: u16, upstream: SocketAddr, settings: &[String]) -> String {
        let always = words(settings, "domain").into_iter().filter(|rule| rule[1] == "always");
        let ignored: String = always.map(|rule| format!("  dns64-ignore-aaaa: {}\n", rule[0])).collect();
        format!(
            "server:\n  interface: 127.0.0.1\n  port: {port}\n  do-ip6: no\n  username: \"\"\n  chroot: \"\"\n  \
             directory: \"{}\"\n  pidfile: \"\"\n  use-syslog: no\n  logfile: \"\"\n  num-threads: 1\n  \
             access-control: 127.0.0.0/8 allow\n  do-not-query-localhost: no\n  module-config: \"dns64 iterator\"\n  \
             dns64-prefix: {}\n{ignored}  local-zone: \"{REVERSE}\" nodefault\nremote-control:\n  control-enable: no\n\
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
        let block = |prefix: &str, mapped: &str| {
            format!("  dns64 {prefix} {{ clients {{ any; }}; exclude {{ {exclude}}}; mapped {{ {mapped}}}; }};\n")
        };
        let general =
            prefixes(settings).into_iter().map(|prefix| block(prefix, &format!("{}any; ", unmapped.concat())));
        let own =
            ranges.iter().flat_map(|range| range[1..].iter().map(|prefix| block(prefix, &format!("{}; ", range[0]))));
        format!(
            "options {{\n  directory \"{0}\";\n  pid-file none;\n  session-keyfile none;\n  managed-keys-directory \"{0}\";\n  \
             listen-on port {port} {{ 127.0.0.1; }};\n  listen-on-v6 {{ none; }};\n  allow-query {{ any; }};\n  \
             recursion yes;\n  allow-recursion {{ any; }};\n  dnssec-validation no;\n  empty-zones-enable no;\n  \
             forward only;\n  forwarders {{ {1} port {2}; }};\n{3}}};\ncontrols {{ }};\n",
            directory.display(),
            upstream.ip(),
            upstream.port(),
            general.chain(own).collect::<String>()
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

/// What a server makes of each step.
async fn outcomes<O: Other>(scenario: &Scenario) -> Vec<String> {
    let upstream = scenario.upstream().await;
    let server = Process::start::<O>(upstream.address, &scenario.settings).await;
    let mut outcomes = Vec::new();
    for step in &scenario.steps {
        let answer = ask_once(server.address, &step.question, PATIENCE).await;
        outcomes.push(answer.map_or_else(|| "no answer".to_owned(), |answer| compared(&step.expected, &answer)));
    }
    outcomes
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
    let ttls: Vec<&str> = told.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    if sorted(&told, true) == sorted(&wanted, true) {
        return format!("TTL {}", ttls.join(", "));
    }
    if told.is_empty() {
        return "no record".to_owned();
    }
    let data = told.iter().map(|line| line.split(' ').skip(2).collect::<Vec<_>>().join(" "));
    data.collect::<Vec<_>>().join(", ")
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
        for ((step, unbound), bind) in scenario.steps.iter().zip(unbound).zip(bind) {
            let asked = &step.question;
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
