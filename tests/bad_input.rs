//! A bad configuration gets one message that says where the mistake is and what would be right. Needs no privileges.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

#[test]
fn a_good_file_is_accepted_and_printed() {
    let output = check("good", "pref64 = \"64:ff9b:1::/96\"\n[translator]\npool4 = [\"192.0.2.1\"]\n");
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("64:ff9b:1::/96") && printed.contains("192.0.2.1"), "{printed}");
}

#[test]
fn what_check_prints_is_a_good_file_with_the_same_meaning() {
    let first = check("first", "[translator]\npool4 = [\"192.0.2.1\"]\n[dns64]\nupstreams = [\"192.0.2.53\"]\n");
    let printed = String::from_utf8(first.stdout).expect("the configuration is text");
    let second = check("second", &printed);
    assert!(second.status.success(), "{second:?}\n{printed}");
    assert_eq!(String::from_utf8_lossy(&second.stdout), printed);
}

#[test]
fn an_unknown_key_is_refused() {
    refuses("unknown-key", "[translator]\npool4 = [\"192.0.2.1\"]\ncolour = \"red\"\n", "3:1", &["colour"]);
}

#[test]
fn an_unknown_section_is_refused() {
    refuses("unknown-section", "[translator]\npool4 = [\"192.0.2.1\"]\n\n[paint]\n", "4:2", &["paint"]);
}

#[test]
fn a_prefix_of_length_97_is_refused_with_the_lengths_that_exist() {
    refuses("prefix-97", "pref64 = \"2001:db8::/97\"\n", "1:10", &["97", "32", "96"]);
}

#[test]
fn a_prefix_with_bits_64_to_71_set_is_refused() {
    refuses("prefix-bits", "# ours\npref64 = \"2001:db8:0:0:ff00::/96\"\n", "2:10", &["64", "71"]);
}

#[test]
fn overlapping_pools_are_refused() {
    let text = "[translator]\npool4 = [\"198.51.100.0/28\", \"198.51.100.3\"]\n";
    refuses("pool-overlap", text, "2:29", &["198.51.100.3", "overlap"]);
}

#[test]
fn a_pool_address_that_is_not_ipv4_unicast_is_refused() {
    for (name, address) in [
        ("multicast", "224.0.0.1"),
        ("broadcast", "255.255.255.255"),
        ("loopback", "127.0.0.1"),
        ("unspecified", "0.0.0.0"),
    ] {
        refuses(name, &format!("[translator]\npool4 = [\"{address}\"]\n"), "2:10", &[address, "unicast"]);
    }
    refuses("ipv6-pool", "[translator]\npool4 = [\"2001:db8::1\"]\n", "2:10", &["2001:db8::1", "IPv4"]);
}

#[test]
fn a_value_of_the_wrong_kind_is_refused() {
    refuses("kind", "[translator]\npool4 = [\"192.0.2.1\"]\nhairpinning = \"yes\"\n", "3:15", &["hairpinning"]);
}

#[test]
fn a_timer_below_a_second_is_refused() {
    let text = "[translator]\npool4 = [\"192.0.2.1\"]\n[translator.timers]\nudp = \"10ms\"\n";
    refuses("timer", text, "4:7", &["1s"]);
}

#[test]
fn a_file_that_is_no_toml_is_refused() {
    refuses("no-toml", "[translator]\npool4 = [\"192.0.2.1\"\n", "", &[]);
}

#[test]
fn a_file_that_does_not_exist_is_refused_by_name() {
    let output = nat64(&["check", "/nonexistent/nat64.toml"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/nat64.toml"), "{output:?}");
}

/// `nat64 check` must fail with the file, `position` as line:column, and all of `words` in what it says.
#[track_caller]
fn refuses(name: &str, text: &str, position: &str, words: &[&str]) {
    let output = check(name, text);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let place = format!("{name}.toml:{position}");
    assert!(said.contains(&place), "{place} in:\n{said}");
    for word in words {
        assert!(said.contains(word), "{word} in:\n{said}");
    }
}

fn check(name: &str, text: &str) -> Output {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    fs::write(&file, text).expect("the target directory is writable");
    nat64(&["check", file.to_str().expect("the path is text")])
}

fn nat64(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nat64")).args(arguments).output().expect("the binary runs")
}
