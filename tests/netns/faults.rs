//! What is taken from under the daemon.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::changes::Echo;
use crate::support::{Lab, POOL, Running, SERVER, Topology, eventually, under_pref64};

const PATIENCE: Duration = Duration::from_secs(20);

/// `nat64 run` in the surroundings that `script` makes for it, once it is ready.
fn start_in(lab: &Lab, script: &str, configuration: &str) -> Running {
    let run = lab.nat64_run("nat64", configuration);
    let mut command = Command::new("bash");
    command.arg("-ec").arg(format!("{script}\nexec \"$@\"")).arg("bash").arg(run.get_program()).args(run.get_args());
    let mut running = Running::start(command, &lab.directory().join("faulty.log"));
    eventually("the daemon to be ready", PATIENCE, || {
        assert!(running.is_running(), "{}", running.log());
        running.log().contains(" ready ")
    });
    running
}

#[test]
fn a_device_that_vanishes_ends_the_daemon_with_a_message_and_the_next_one_goes_on() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let mut echo = Echo::open(&lab, 7500);
    let before = nat64.sessions();

    lab.gateway.ip("link del nat64");

    let (status, log) = nat64.ended(PATIENCE);
    assert!(!status.success(), "systemd starts what failed again:\n{log}");
    assert!(log.contains("the translator is broken: worker"), "{log}");
    assert!(log.contains("TUN device"), "{log}");
    let nat64 = lab.nat64(&Lab::translator());
    let after = nat64.sessions();
    let ends = |sessions: &[serde_json::Value]| {
        sessions.iter().map(|one| (one["internal"].clone(), one["external"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(ends(&after), ends(&before), "{}", nat64.log());
    assert!(echo.lives(), "the connection goes on");
    nat64.stop();
}

#[test]
fn a_route_that_somebody_removed_is_told_once_and_its_return_too() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let route = format!("{POOL}/32");
    let told = |what: &str| nat64.log().lines().filter(|line| line.contains(what) && line.contains(&route)).count();

    lab.gateway.ip(&format!("route del {route} dev nat64"));
    eventually("it is told", PATIENCE, || told("packets do not come to the translator") == 1);
    lab.gateway.ip(&format!("route add {route} dev nat64"));
    eventually("its return is told", PATIENCE, || told("packets come to the translator again") == 1);

    assert_eq!(told("packets do not come to the translator"), 1);
    assert!(Echo::open(&lab, 7501).lives());
    nat64.stop();
}

#[test]
fn a_shared_address_that_somebody_removed_is_told_once_and_so_is_its_return() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let addresses = lab.gateway.ip("-4 -o addr show dev wan");
    let address = addresses.split_whitespace().nth(3).expect("an address").to_owned();
    let (own, _) = address.split_once('/').expect("with a length");
    let shared = format!("[{{ address = \"{own}\", ports = \"10000-29999\" }}]");
    let nat64 = lab.nat64(&Lab::translator().replace(&format!("[\"{POOL}\"]"), &shared));
    let mut echo = Echo::open(&lab, 7502);
    let told = |what: &str| nat64.log().lines().filter(|line| line.contains(what) && line.contains(own)).count();

    lab.gateway.ip(&format!("addr del {address} dev wan"));
    eventually("it is told", PATIENCE, || told("packets do not come to the translator") == 1);
    assert_eq!(told("this host does not have the address any more"), 1, "{}", nat64.log());
    lab.gateway.ip(&format!("addr add {address} dev wan"));
    eventually("its return is told", PATIENCE, || told("packets come to the translator again") == 1);

    assert!(echo.lives(), "the connection goes on:\n{}", nat64.log());
    assert_eq!(told("packets do not come to the translator"), 1);
    nat64.stop();
}

#[test]
fn a_full_disk_costs_no_packet_and_is_told_and_sessions_are_kept_again_when_there_is_room() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let directory = lab.directory().display().to_string();
    // The daemon's own view of the directory of its socket, as the runtime directory is.
    let small = format!(
        "exec unshare --mount --propagation private bash -ec 'cp \"$0\"/nat64.toml /tmp/nat64-$$.toml
        mount -t tmpfs -o size=128k small \"$0\"; mv /tmp/nat64-$$.toml \"$0\"/nat64.toml; exec \"$@\"' {directory} \"$@\""
    );
    let mut nat64 = start_in(&lab, &small, &Lab::translator());
    let inside = PathBuf::from(format!("/proc/{}/root{directory}", nat64.pid()));
    assert!(inside.join("nat64.sessions").exists());
    let mut echo = Echo::open(&lab, 7503);
    fill(&inside.join("fill"));

    // More than there is room for, each a record.
    let mut more: Vec<Echo> = Vec::new();
    eventually("word of the full disk", PATIENCE, || {
        let port = 7600 + u16::try_from(more.len()).expect("few");
        more.push(Echo::open(&lab, port));
        nat64.log().contains("sessions are not kept for the case of a crash; trying again")
    });
    assert!(echo.lives() && more.iter_mut().all(Echo::lives), "no packet is lost");
    fs::remove_file(inside.join("fill")).expect("it is there");
    eventually("word of the room", PATIENCE, || nat64.log().contains("sessions are kept again"));
    assert_eq!(nat64.log().matches("sessions are not kept").count(), 1, "{}", nat64.log());

    // What is written at the end has no room, and what was kept for the case of a crash is left.
    fill(&inside.join("fill"));
    nat64.signal(Signal::TERM);
    assert!(nat64.wait(PATIENCE).success(), "{}", nat64.log());
    assert!(nat64.log().contains("the next start will find sessions as they were some time ago"), "{}", nat64.log());
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file without bytes always fits");
    let piece = [0x5a; 512];
    while file.write_all(&piece).is_ok() {}
}

#[test]
fn a_clock_that_jumps_moves_no_session_and_no_answer() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let _names = lab.name_server();
    let clock = lab.directory().join("clock");
    let log = lab.directory().join("sessions.log");
    fs::write(&clock, "+0").expect("the lab directory is writable");
    // Wall clock time alone is moved: the kernel moves no other.
    let moved = format!(
        "export LD_PRELOAD=$(dpkg -L libfaketime | grep libfaketime.so) FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 \
         FAKETIME_DONT_FAKE_MONOTONIC=1",
        clock.display()
    );
    let configuration = format!(
        "{}[dns64]\nupstreams = [\"{SERVER}\"]\n[log]\nsessions = [{{ to = \"{}\" }}]\n",
        Lab::translator(),
        log.display()
    );
    let mut nat64 = start_in(&lab, &moved, &configuration);
    let mut echo = Echo::open(&lab, 7504);
    lab.resolve_names_at_gateway();
    let asked = || lab.client.check("dig +short +time=2 +tries=1 legacy.example AAAA");
    let text = || fs::read_to_string(&log).unwrap_or_default();
    let answer = asked();
    assert_eq!(answer.trim(), under_pref64(SERVER).to_string());

    for (round, jump) in ["+400d", "-400d", "+0"].into_iter().enumerate() {
        fs::write(&clock, jump).expect("the lab directory is writable");
        assert!(echo.lives(), "after a jump of {jump}:\n{}", nat64.log());
        assert_eq!(asked(), answer, "after a jump of {jump}");
        let port = 7505 + u16::try_from(round).expect("few");
        assert!(Echo::open(&lab, port).lives(), "after a jump of {jump}");
        eventually("the session in the log", PATIENCE, || text().lines().count() > round + 1);
    }
    nat64.signal(Signal::TERM);
    assert!(nat64.wait(PATIENCE).success(), "{}", nat64.log());
    let text = text();
    let years: BTreeSet<&str> = text.lines().filter_map(|line| line.split_once("\"time\":\"")?.1.get(..4)).collect();
    assert!(years.len() >= 3, "the log has the time that the clock shows: {years:?}");
}

#[test]
fn no_memory_for_a_table_ends_the_process_with_a_message_and_the_next_has_the_sessions() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    lab.gateway.ip(&format!("route add 198.18.0.0/15 via {SERVER}"));
    lab.server.ip("route add blackhole 198.18.0.0/15");
    let mut nat64 = start_in(&lab, "", &Lab::translator());
    let mut echo = Echo::open(&lab, 7510);
    let file = lab.directory().join("nat64.sessions");
    eventually("the file has the session", PATIENCE, || fs::metadata(&file).map_or(0, |file| file.len()) >= 64 + 125);

    // A little more than it has now.
    let status = fs::read_to_string(format!("/proc/{}/status", nat64.pid())).expect("it runs");
    let size =
        status.lines().find_map(|line| line.strip_prefix("VmData:")?.split_whitespace().next()?.parse::<u64>().ok());
    let limit = (size.expect("Linux says it") << 10) + (4 << 20);
    lab.gateway.check(&format!("prlimit --pid {} --data={limit}", nat64.pid()));
    let near = lab.client.enter(|| std::net::UdpSocket::bind("[::]:0").expect("a port is free"));
    for number in 0..2_000_000_u32 {
        if number % 1000 == 0 && !nat64.is_running() {
            break;
        }
        let to = std::net::Ipv4Addr::from_bits(0xc612_0000 + number % 131_072);
        near.send_to(b"x", (under_pref64(to), 9)).expect("it can be sent");
    }
    let status = nat64.wait(PATIENCE);
    assert!(!status.success(), "systemd starts what failed again");
    assert!(nat64.log().contains("memory allocation of"), "{}", nat64.log());

    let nat64 = lab.nat64(&Lab::translator());
    assert!(nat64.log().contains("after_crash=true"), "{}", nat64.log());
    assert!(echo.lives(), "{}", nat64.log());
    nat64.stop();
}
