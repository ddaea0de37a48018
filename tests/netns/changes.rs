//! Changes of a running gateway: connections go on where they may, and nothing changes where something is wrong.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{
    CLIENT, Daemon, GATEWAY, Lab, POOL, Running, SERVER, Topology, eventually, holds_within, under_pref64,
};

const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(5);
/// A second address of the pool that the IPv4 side routes to the gateway.
const POOL2: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// A connection from the client to a server that sends everything back.
pub(crate) struct Echo {
    stream: TcpStream,
    server: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn open(lab: &Lab, port: u16) -> Self {
        let listener = lab.server.enter(|| TcpListener::bind((SERVER, port)).expect("the port is free"));
        let server = thread::spawn(move || {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
        });
        let to = SocketAddr::from((under_pref64(SERVER), port));
        let stream = lab.client.enter(|| TcpStream::connect_timeout(&to, ANSWER)).expect("the server answers");
        stream.set_read_timeout(Some(ANSWER)).expect("a timeout can be set");
        Self { stream, server: Some(server) }
    }

    /// Whether what is sent comes back.
    pub(crate) fn lives(&mut self) -> bool {
        self.say() && self.hears()
    }

    pub(crate) fn say(&mut self) -> bool {
        self.stream.write_all(b"hello").is_ok()
    }

    /// Whether what was said comes back.
    pub(crate) fn hears(&mut self) -> bool {
        let mut back = [0; 5];
        self.stream.read_exact(&mut back).is_ok() && back == *b"hello"
    }

    fn port(&self) -> u16 {
        self.stream.local_addr().expect("it is connected").port()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if self.server.as_ref().is_some_and(JoinHandle::is_finished) {
            let _ = self.server.take().map(JoinHandle::join);
        }
    }
}

fn lab() -> Option<Lab> {
    Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() })
}

/// Writes the daemon's file anew.
fn rewrite(lab: &Lab, configuration: &str) {
    fs::write(lab.directory().join("nat64.toml"), configuration).expect("the lab directory is writable");
}

#[track_caller]
fn reload(lab: &Lab, nat64: &Daemon<'_>, configuration: &str) -> String {
    rewrite(lab, configuration);
    nat64.ask(&["reload"]).succeeded()
}

fn with_pool(pool: &str, rest: &str) -> String {
    format!("pref64 = \"64:ff9b:1::/96\"\n[translator]\npool4 = {pool}\n{rest}")
}

#[test]
fn connections_go_on_across_reloads_of_everything_that_allows_them() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let mut echo = Echo::open(&lab, 7001);
    assert!(echo.lives());
    let both = format!("[\"{POOL}\", \"{POOL2}\"]");
    let more = [
        with_pool(&both, ""),
        with_pool(
            &both,
            "static = [{ protocol = \"tcp\", internal = \"2001:db8:1::10\", external = \"203.0.113.2\", ports = \"80\" }]\n",
        ),
        with_pool(&both, "exclude = [{ destination = \"192.0.2.0/24\" }]\n[translator.timers]\nudp = \"30s\"\n"),
        with_pool(&both, "[translator.limits]\nsessions-per-subscriber = 100\n"),
        with_pool(&both, "").replace("\"64:ff9b:1::/96\"", "[\"2001:db8:64::/96\", \"64:ff9b:1::/96\"]"),
        Lab::translator(),
    ];
    for configuration in &more {
        let said = reload(&lab, &nat64, configuration);
        assert!(said.starts_with("Changed:\n"), "{said}");
        assert!(echo.lives(), "after a reload that says\n{said}");
    }
    assert_eq!(nat64.ask(&["reload"]).succeeded(), "Nothing differs from what is in force.\n");
    nat64.stop();
}

#[test]
fn a_transfer_stays_whole_through_many_reloads() {
    let Some(lab) = lab() else { return };
    let web = lab.web_server();
    let nat64 = lab.nat64(&Lab::translator());
    let size = 48 << 20;
    let original: Vec<u8> =
        (0..size / 8).flat_map(|number: u64| (number.wrapping_mul(0x9e37_79b9)).to_le_bytes()).collect();
    fs::write(web.root().join("original"), &original).expect("there is room");
    let copy = lab.storage().join("copy");
    let mut command = lab.client.command("curl");
    command.args(["--silent", "--show-error", "--fail", "--globoff", "--limit-rate", "16M", "-o"]).arg(&copy);
    command.arg(format!("http://[{}]/original", under_pref64(SERVER)));
    let mut curl = Running::start(command, &lab.directory().join("curl.log"));
    // The connection is on the first address, which is the only one when it begins.
    eventually("the transfer begins", PATIENCE, || !nat64.sessions().is_empty());
    let mut reloads = 0;
    while curl.is_running() {
        let pool = if reloads % 2 == 0 { format!("[\"{POOL}\", \"{POOL2}\"]") } else { format!("[\"{POOL}\"]") };
        reload(&lab, &nat64, &with_pool(&pool, ""));
        reloads += 1;
    }
    assert!(curl.wait(PATIENCE).success(), "{}", curl.log());
    assert!(fs::read(&copy).expect("curl wrote it") == original, "the copy differs");
    assert!(reloads >= 5, "{reloads} reloads");
    nat64.stop();
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_the_mistake_is_shown() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let mut echo = Echo::open(&lab, 7002);
    for (wrong, message) in [
        (with_pool("[\"203.0.113.300\"]", ""), ":3:"),
        (format!("{}hairpinnig = true\n", Lab::translator()), "unknown key `hairpinnig`"),
        (with_pool(&format!("[\"{POOL}\", \"{POOL}\"]"), ""), "overlap"),
        (with_pool("[\"198.51.100.1\"]", ""), "198.51.100.1"),
    ] {
        rewrite(&lab, &wrong);
        let refused = nat64.ask(&["reload"]).failed();
        assert!(refused.stderr.contains(message) && refused.stderr.contains("nat64.toml"), "{}", refused.stderr);
        assert!(echo.lives());
    }
    assert_eq!(nat64.ask_json("pool")[0]["address"], POOL.to_string());
    assert_eq!(reload(&lab, &nat64, &Lab::translator()), "Nothing differs from what is in force.\n");
    nat64.stop();
}

#[test]
fn a_dry_run_tells_and_changes_nothing_and_what_needs_a_restart_is_named() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let new = with_pool(&format!("[\"{POOL2}\"]"), "workers = 2\n[device]\nname = \"other\"\n");
    rewrite(&lab, &new);

    let told = nat64.ask(&["reload", "--dry-run"]).succeeded();
    assert!(told.contains("Would change:\n  translator.pool4: ") && told.contains("Would need a restart:\n"), "{told}");
    assert_eq!(nat64.ask_json("pool")[0]["address"], POOL.to_string());

    let done = nat64.ask(&["reload"]).succeeded();
    assert!(done.contains("  device.name: \"nat64\" -> \"other\"\n  translator.workers: 0 -> 2\n"), "{done}");
    assert_eq!(nat64.ask_json("pool")[0]["address"], POOL2.to_string());
    let again = nat64.ask(&["reload"]).succeeded();
    assert!(!again.contains("translator.pool4") && again.contains("translator.workers"), "{again}");
    nat64.stop();
}

#[test]
fn hang_up_reloads_as_the_command_does() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let mut echo = Echo::open(&lab, 7003);
    rewrite(&lab, &with_pool(&format!("[\"{POOL}\", \"{POOL2}\"]"), ""));
    nat64.signal(Signal::HUP);
    eventually("the second address is in the pool", PATIENCE, || {
        nat64.ask_json("pool").as_array().is_some_and(|pool| pool.len() == 2)
    });
    assert!(echo.lives() && nat64.log().contains("changed by reload"), "{}", nat64.log());
    rewrite(&lab, "nonsense");
    nat64.signal(Signal::HUP);
    eventually("the log says what is wrong", PATIENCE, || nat64.log().contains("the configuration stays as it is"));
    assert!(echo.lives());
    nat64.stop();
}

#[test]
fn sessions_on_an_address_that_leaves_the_pool_end_and_new_ones_have_another() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let mut echo = Echo::open(&lab, 7004);
    assert!(echo.lives());

    reload(&lab, &nat64, &with_pool(&format!("[\"{POOL2}\"]"), ""));

    assert_eq!(nat64.sessions(), Vec::<serde_json::Value>::new());
    assert!(!echo.lives());
    let mut other = Echo::open(&lab, 7005);
    assert!(other.lives());
    assert_eq!(nat64.sessions()[0]["external"]["address"], POOL2.to_string());
    let routes = lab.gateway.ip("route show");
    assert!(routes.contains("203.0.113.2 dev nat64") && !routes.contains("203.0.113.1 dev nat64"), "{routes}");
    nat64.stop();
    assert!(!lab.gateway.ip("route show").contains("203.0.113"), "nothing is left");
}

#[test]
fn dns64_asks_other_upstreams_and_tells_something_else_after_a_reload() {
    let Some(lab) = lab() else { return };
    let _names = lab.name_server();
    let dns = |upstream: &str, rest: &str| {
        format!(
            "pref64 = \"64:ff9b:1::/96\"\n[dns64]\nupstreams = [\"{upstream}\"]\ntimeout = \"200ms\"\ndeadline = \"400ms\"\nattempts = 1\nfailure-ttl = \"0s\"\n{rest}"
        )
    };
    let nat64 = lab.nat64(&dns("198.51.100.77", ""));
    let dig = || lab.client.check(&format!("dig +short +tries=1 +time=3 @{GATEWAY} AAAA legacy.example"));
    assert_eq!(dig(), "", "nobody is there");

    reload(&lab, &nat64, &dns(&SERVER.to_string(), ""));
    assert_eq!(dig().trim(), "64:ff9b:1::c633:640a");
    assert_eq!(nat64.ask_json("status")["dns64"]["upstreams"][0], format!("{SERVER}:53"));

    let group =
        format!("groups = [{{ name = \"here\", clients = [\"{CLIENT}\"], pref64 = [\"2001:db8:64::/96\"] }}]\n");
    reload(&lab, &nat64, &dns(&SERVER.to_string(), &group));
    assert_eq!(dig().trim(), "2001:db8:64::c633:640a");
    nat64.stop();
}

#[test]
fn static_mappings_are_made_and_removed_by_command() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let listener = lab.client.enter(|| TcpListener::bind((CLIENT, 8080)).expect("the port is free"));
    let external = format!("{POOL}:80");
    let internal = format!("[{CLIENT}]:8080");
    let connect = || {
        let to = SocketAddr::from((POOL, 80));
        lab.server.enter(|| TcpStream::connect_timeout(&to, Duration::from_millis(500)))
    };
    assert!(connect().is_err());

    let listed = nat64.ask(&["static", "add", "tcp", &external, &internal]).succeeded();
    assert!(listed.contains("command"), "{listed}");
    let stream = connect().expect("the mapping lets it in");
    let (mut inside, from) = listener.accept().expect("it arrives");
    assert_eq!(from.ip(), under_pref64(SERVER));

    let twice = nat64.ask(&["static", "add", "tcp", &external, "[2001:db8:1::99]:8080"]).failed();
    assert!(twice.stderr.contains("share"), "{}", twice.stderr);
    let outside = nat64.ask(&["static", "add", "tcp", "192.0.2.200:80", &internal]).failed();
    assert!(outside.stderr.contains("outside of the pool"), "{}", outside.stderr);

    nat64.ask(&["reload"]).succeeded();
    assert!(nat64.ask(&["static", "list"]).succeeded().contains(&external), "it outlives a reload");
    nat64.ask(&["static", "del", "tcp", &external, &internal]).succeeded();
    inside.write_all(b"still").expect("the connection lives");
    let mut still = [0; 5];
    (&stream).read_exact(&mut still).expect("and arrives");
    drop((stream, inside));
    let gone = nat64.ask(&["static", "del", "tcp", &external, &internal]).failed();
    assert!(gone.stderr.contains("no such static mapping"), "{}", gone.stderr);
    nat64.stop();
}

#[test]
fn a_drained_gateway_takes_no_new_sessions_and_dns64_hands_out_no_addresses() {
    let Some(lab) = lab() else { return };
    let _names = lab.name_server();
    let nat64 = lab.nat64(&format!("{}[dns64]\nupstreams = [\"{SERVER}\"]\n", Lab::translator()));
    let mut echo = Echo::open(&lab, 7006);
    let dig = || lab.client.check(&format!("dig +short @{GATEWAY} AAAA legacy.example"));
    let ready = || lab.gateway.check("curl -sS -o /dev/null -w %{http_code} http://127.0.0.1:9464/readyz");
    assert_eq!((dig().trim(), &*ready()), ("64:ff9b:1::c633:640a", "200"));

    let said = nat64.ask(&["drain"]).succeeded();

    assert_eq!(said, "no new sessions are taken; 1 session goes on\n");
    assert_eq!((dig().trim(), &*ready()), ("", "503"));
    assert!(echo.lives());
    let refused = lab.client.run(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)), ANSWER);
    assert!(refused.stdout.contains("Address unreachable"), "{}", refused.stdout);
    assert!(nat64.ask(&["status"]).succeeded().contains("no new sessions are taken"));
    reload(&lab, &nat64, &format!("{}hairpinning = false\n[dns64]\nupstreams = [\"{SERVER}\"]\n", Lab::translator()));
    assert_eq!(ready(), "503", "a reload does not end it");

    nat64.ask(&["undrain"]).succeeded();
    assert_eq!((dig().trim(), &*ready()), ("64:ff9b:1::c633:640a", "200"));
    lab.client.check(&format!("ping -c 1 -W 2 {}", under_pref64(SERVER)));
    nat64.stop();
}

#[test]
fn a_drained_address_keeps_its_sessions_and_gets_no_others() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&with_pool(&format!("[\"{POOL}\", \"{POOL2}\"]"), ""));
    let mut echo = Echo::open(&lab, 7007);
    let address = nat64.sessions()[0]["external"]["address"].as_str().expect("an address").to_owned();

    let said = nat64.ask(&["drain", &address]).succeeded();
    assert_eq!(said, format!("no new sessions are taken on {address}; 1 session goes on\n"));
    let pool = nat64.ask(&["pool"]).succeeded();
    let states = pool.lines().skip(1).map(|line| line.ends_with("draining") == line.starts_with(&*address));
    assert_eq!(states.collect::<Vec<_>>(), [true, true], "{pool}");

    let _other = Echo::open(&lab, 7008);
    assert!(echo.lives());
    let elsewhere =
        nat64.sessions().iter().filter(|session| session["external"]["address"] != address.as_str()).count();
    assert_eq!((elsewhere, nat64.sessions().len()), (1, 2));
    let unknown = nat64.ask(&["drain", "192.0.2.200"]).failed();
    assert!(unknown.stderr.contains("192.0.2.200 is not in the pool"), "{}", unknown.stderr);

    let other = if address == POOL.to_string() { POOL2 } else { POOL };
    reload(&lab, &nat64, &with_pool(&format!("[\"{other}\"]"), ""));
    assert!(!echo.lives(), "its address has left the pool");
    nat64.ask(&["undrain", &address]).succeeded();
    nat64.ask(&["undrain", &address]).failed();
    nat64.stop();
}

#[test]
fn sessions_are_closed_by_filter() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let (mut one, mut other) = (Echo::open(&lab, 7009), Echo::open(&lab, 7010));
    assert!(one.lives() && other.lives());
    let no_filter = nat64.ask(&["session", "close"]).failed();
    assert!(no_filter.stderr.contains("which sessions?"), "{}", no_filter.stderr);
    let port = one.port().to_string();

    let counted = nat64.ask(&["session", "close", "--port", &port, "--dry-run"]).succeeded();
    assert_eq!((&*counted, nat64.sessions().len()), ("1 session would be closed\n", 2));
    let closed = nat64.ask(&["session", "close", "--port", &port]).succeeded();

    assert_eq!((&*closed, nat64.sessions().len()), ("1 session closed\n", 1));
    assert!(other.lives());
    assert_eq!(nat64.ask(&["session", "close", "--all"]).succeeded(), "1 session closed\n");
    nat64.stop();
}

#[test]
fn two_reloads_at_once_come_one_after_the_other() {
    let Some(lab) = lab() else { return };
    let nat64 = lab.nat64(&Lab::translator());
    rewrite(&lab, &with_pool(&format!("[\"{POOL}\", \"{POOL2}\"]"), ""));
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nat64"));
        command.arg("reload").arg("--control-socket").arg(nat64.socket());
        command
    };
    let commands: Vec<Running> =
        (0..8).map(|number| Running::start(start(), &lab.directory().join(format!("reload{number}.log")))).collect();
    let said: Vec<String> = commands
        .into_iter()
        .map(|mut command| {
            assert!(command.wait(PATIENCE).success(), "{}", command.log());
            command.log()
        })
        .collect();
    assert_eq!(said.iter().filter(|said| said.starts_with("Changed:")).count(), 1, "{said:?}");
    assert!(holds_within(ANSWER, || nat64.ask(&["status"]).status.success()));
    nat64.stop();
}
