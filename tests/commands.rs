//! Commands that cannot do what they are told say why in one line, with exit status 1 or 2. Needs no privileges.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a command says on standard error, and its exit status.
#[track_caller]
fn fails(arguments: &[&str], stdout: Stdio, status: i32) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nat64"));
    let output = command.args(arguments).stdout(stdout).stderr(Stdio::piped()).output().expect("it is there");
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    String::from_utf8(output.stderr).expect("it is text")
}

/// A file of its own for a test.
fn file(name: &str, content: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).expect("the directory is writable");
    path.display().to_string()
}

#[test]
fn a_disk_that_is_full_is_told() {
    for arguments in [&["explain"][..], &["openapi"], &["man"], &["version"]] {
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let said = fails(arguments, full.into(), 1);
        assert_eq!(said, "nat64: cannot write the output: No space left on device (os error 28)\n", "{arguments:?}");
    }
}

#[test]
fn a_file_that_is_no_log_of_sessions_is_no_reason_to_say_that_nobody_had_a_port() {
    let log = file("commands-no-log", "<134>1 2026-11-22T10:00:00Z gateway nat64 - session-created -\n");
    let said = fails(&["who-had", "192.0.2.1:40123", "--log", &log], Stdio::null(), 1);
    assert_eq!(said, format!("nat64: {log} is no JSON log of sessions\n"));
    let empty = file("commands-empty-log", "");
    let said = fails(&["who-had", "192.0.2.1:40123", "--log", &empty], Stdio::null(), 1);
    assert!(said.starts_with("nat64: nobody had 192.0.2.1:40123 at "), "{said}");
}

#[test]
fn a_state_that_no_session_can_have_is_refused() {
    let said = fails(&["sessions", "--state", "OPEN"], Stdio::null(), 2);
    assert!(said.contains("`OPEN` is no state; there are V4_INIT, "), "{said}");
}

#[test]
fn a_trace_keeps_no_more_bytes_of_a_packet_than_it_can() {
    for snap in ["0", "2049"] {
        let said = fails(&["trace", "--snap", snap], Stdio::null(), 2);
        assert!(said.contains("is not in 1..=2048"), "{said}");
    }
}

#[test]
fn a_daemon_that_does_not_run_is_told_with_its_socket() {
    for arguments in [&["status"][..], &["sessions"], &["trace"], &["reload"], &["drain"], &["top", "--once"]] {
        let arguments = [arguments, &["--control-socket", "/nonexistent/nat64.sock"]].concat();
        let said = fails(&arguments, Stdio::null(), 1);
        assert!(said.starts_with("nat64: cannot reach nat64 at /nonexistent/nat64.sock: is it running?"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
