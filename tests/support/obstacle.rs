use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::{env, thread};

/// Programs that the tests run; `netns-scripts/test.sh` installs their packages.
const TOOLS: [&str; 17] = [
    "ip",
    "curl",
    "dig",
    "ethtool",
    "faketime",
    "iperf3",
    "nfcapd",
    "nft",
    "nginx",
    "nsd",
    "ping",
    "prometheus",
    "promtool",
    "setpriv",
    "ssh",
    "sshd",
    "traceroute",
];

/// Says on stderr why this test cannot run here, if it cannot. Past the harness's capture, so that a passing run shows it.
pub(crate) fn skips_this_test() -> bool {
    static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
    let Some(reason) = OBSTACLE.get_or_init(obstacle) else { return false };
    skip(reason);
    true
}

/// The same for what only some tests use.
pub(crate) fn misses_tools(tools: &[&str]) -> bool {
    let reason = missing(tools);
    if let Some(reason) = &reason {
        skip(reason);
    }
    reason.is_some()
}

fn skip(reason: &str) {
    let line = match thread::current().name() {
        Some(test) if test != "main" => format!("skipped: {reason} ({test})\n"),
        _ => format!("skipped: {reason}\n"),
    };
    // One write, so that lines of parallel tests do not mix. A closed stderr is no reason to fail.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root for network namespaces".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("needs /dev/net/tun".to_owned());
    }
    if let Some(reason) = missing(&TOOLS) {
        return Some(reason);
    }
    match Command::new("unshare").args(["--net", "--mount", "true"]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("cannot make namespaces here: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("cannot run unshare: {error}")),
    }
}

fn missing(tools: &[&str]) -> Option<String> {
    let missing: Vec<&str> = tools.iter().copied().filter(|tool| !is_installed(tool)).collect();
    let reason = || format!("needs {} (netns-scripts/test.sh installs what is missing)", missing.join(", "));
    (!missing.is_empty()).then(reason)
}

fn is_installed(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(tool).is_file())
}
