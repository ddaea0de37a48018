//! `nat64 top` in a terminal, driven by its keys.

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use crate::support::{CLIENT, GATEWAY, Lab, Outcome, POOL, Running, SERVER, Topology, eventually, under_pref64};

const SOON: Duration = Duration::from_secs(30);

/// A terminal that nobody sits at.
struct Terminal<'lab> {
    lab: &'lab Lab,
    socket: String,
}

impl<'lab> Terminal<'lab> {
    /// Runs `nat64 top` with these arguments in a terminal of 110 by 35.
    fn start(lab: &'lab Lab, name: &str, environment: &str, arguments: &str) -> Self {
        let socket = lab.directory().join(format!("{name}.tmux")).display().to_string();
        let terminal = Self { lab, socket };
        let control = lab.directory().join("nat64.sock");
        let line = format!(
            "{environment} {} top --interval 0.3 {arguments} --control-socket {}",
            env!("CARGO_BIN_EXE_nat64"),
            control.display()
        );
        terminal.tmux(&["new-session", "-d", "-x", "110", "-y", "35", line.trim()]).succeeded();
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> Outcome {
        let mut command: Command = self.lab.gateway.command("tmux");
        command.env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color").env_remove("TMUX");
        command.args(["-u", "-f", "/dev/null", "-S", &self.socket]).args(arguments);
        Outcome::of(command, SOON)
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]).succeeded();
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).stdout
    }

    #[track_caller]
    fn shows(&self, texts: &[&str]) {
        let mut last = String::new();
        let shown = crate::support::holds_within(SOON, || {
            last = self.screen();
            texts.iter().all(|text| last.contains(text))
        });
        assert!(shown, "{texts:?} on the screen:\n{last}");
    }

    fn has_ended(&self) -> bool {
        !self.tmux(&["has-session"]).status.success()
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn the_screen_shows_the_flow_closes_it_and_outlives_the_daemon() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let mut ping = lab.client.command("ping");
    ping.args(["-i", "0.1", "-W", "2", &under_pref64(SERVER).to_string()]);
    let ping = Running::start(ping, &lab.directory().join("ping.log"));
    let terminal = Terminal::start(&lab, "top", "", "");

    terminal.shows(&["1 Overview", "packets/s", "1 ICMP", "DNS64"]);
    terminal.press("2");
    terminal.shows(&["Subscribers", &CLIENT.to_string(), &SERVER.to_string()]);
    terminal.press("3");
    terminal.shows(&["icmp", &CLIENT.to_string(), "ACTIVE"]);
    terminal.press("/");
    terminal.shows(&["Show only"]);
    terminal.tmux(&["send-keys", "-l", "tcp"]).succeeded();
    terminal.press("Enter");
    terminal.shows(&["only: tcp (0 sessions)", "nobody"]);
    terminal.press("/");
    for _ in 0..3 {
        terminal.press("BSpace");
    }
    terminal.press("Enter");
    terminal.shows(&["icmp"]);

    drop(ping);
    terminal.press("c");
    terminal.shows(&["Close the icmp session", "y: yes"]);
    assert_eq!(nat64.sessions().len(), 1, "nothing is closed before the answer");
    terminal.press("y");
    terminal.shows(&["1 session closed"]);
    eventually("the session to be gone", SOON, || nat64.sessions().is_empty());

    terminal.tmux(&["resize-window", "-x", "60", "-y", "12"]).succeeded();
    terminal.press("1");
    terminal.shows(&["1 Overview", "IPv6 to IPv4"]);
    nat64.stop();
    terminal.shows(&["NO ANSWER", "cannot reach nat64"]);
    let again = lab.nat64(&Lab::translator());
    terminal.shows(&["nat64 was restarted"]);
    terminal.press("q");
    eventually("the end of top", SOON, || terminal.has_ended());
    again.stop();
}

#[test]
fn colours_are_left_out_where_nobody_wants_them() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let mut ping = lab.client.command("ping");
    ping.args(["-i", "0.1", "-W", "2", &under_pref64(SERVER).to_string()]);
    let _ping = Running::start(ping, &lab.directory().join("ping.log"));
    // The bars of a flow are cyan or green.
    let has_colours = |terminal: &Terminal<'_>| {
        let text = terminal.tmux(&["capture-pane", "-p", "-e"]).stdout;
        ["[36m", "[32m", "[38;5;6m", "[38;5;2m"].iter().any(|code| text.contains(code))
    };
    let coloured = Terminal::start(&lab, "coloured", "env -u NO_COLOR", "");
    let plain = Terminal::start(&lab, "plain", "env NO_COLOR=1", "");

    eventually("colours", SOON, || has_colours(&coloured));
    plain.shows(&["█"]);
    assert!(!has_colours(&plain), "{}", plain.screen());
    nat64.stop();
}

#[test]
fn drops_and_answers_of_dns64_are_counted_on_the_overview() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let _names = lab.name_server();
    let nat64 = lab.nat64(&format!("{}[dns64]\nupstreams = [\"{SERVER}\"]\n", Lab::translator()));
    let counters = || nat64.ask_json("status")["dns64"]["counters"].clone();
    eventually("a synthesised answer", SOON, || {
        lab.client.check(&format!("dig +short +time=2 @{GATEWAY} AAAA legacy.example"));
        counters()["answers_synthesised"].as_u64() > Some(0)
    });
    // Nobody has this port of the pool.
    lab.server
        .enter(|| UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", (POOL, 9))))
        .expect("routed");
    eventually("a drop", SOON, || nat64.ask_json("status")["translator"]["dropped"]["no-mapping"].as_u64() > Some(0));

    let text = nat64.ask(&["top", "--once", "--interval", "0.3"]).succeeded();
    let line = |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_default().to_owned();
    assert!(line("no-mapping").contains("  1  no-mapping"), "{text}");
    assert!(!line("synthesised").contains("      0  synthesised") && !line("synthesised").is_empty(), "{text}");
    nat64.stop();
}

#[test]
fn one_screen_is_printed_for_those_without_a_terminal() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let mut ping = lab.client.command("ping");
    ping.args(["-i", "0.1", "-W", "2", &under_pref64(SERVER).to_string()]);
    let _ping = Running::start(ping, &lab.directory().join("ping.log"));
    eventually("a session", SOON, || nat64.sessions().len() == 1);

    let text = nat64.ask(&["top", "--once", "--interval", "0.6", "--pane", "talkers"]).succeeded();
    assert!(text.contains(&CLIENT.to_string()) && text.contains(&SERVER.to_string()), "{text}");
    assert!(!text.contains('\u{1b}'), "no escapes: {text}");
    let refused = nat64.ask(&["top"]).failed();
    assert!(refused.stderr.contains("needs a terminal; --once prints one screen"), "{refused}");
    nat64.stop();
    let mut nobody = lab.gateway.command(env!("CARGO_BIN_EXE_nat64"));
    nobody.args(["top", "--once", "--control-socket", "/nonexistent/nat64.sock"]);
    let nobody = Outcome::of(nobody, SOON).failed();
    assert!(nobody.stderr.contains("cannot reach nat64 at /nonexistent/nat64.sock"), "{nobody}");
}
