//! The Debian package and the container image, each taken through its life by a script in a throw-away system.
#![forbid(unsafe_code)]

#[allow(dead_code, unused_imports, reason = "the other target uses the rest")]
#[path = "support/mod.rs"]
mod support;

use std::env;
use std::process::Command;

/// Runs a script with the program that is under test, where all that it uses is installed.
fn run(script: &str, tools: &[&str]) {
    if support::skips_this_test() || support::misses_tools(tools) {
        return;
    }
    let script = format!("{}/netns-scripts/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(&script).arg(env!("CARGO_BIN_EXE_nat64")).output().expect("the script can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script}: {}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
}

#[test]
fn the_package_installs_starts_upgrades_and_goes() {
    run("package-test.sh", &["adduser", "cargo-deb", "dpkg-shlibdeps", "lintian", "strip", "systemd-analyze"]);
}

#[test]
fn the_image_runs_with_two_capabilities() {
    run("container-test.sh", &["jq", "skopeo", "umoci"]);
}
