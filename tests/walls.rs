//! The walls of the house: who may depend on whom, who may be asynchronous, who may be unsafe.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;

/// Each package of the workspace with the packages of the workspace that it may use.
const WALLS: [(&str, &[&str]); 5] = [
    ("pref64", &[]),
    ("nat64-core", &["pref64"]),
    ("nat64-dataplane", &["nat64-core", "pref64"]),
    ("dns64", &["pref64"]),
    ("nat64", &["dns64", "nat64-core", "nat64-dataplane", "pref64"]),
];
const ASYNCHRONOUS: [&str; 2] = ["dns64", "nat64"];
const UNSAFE: &str = "nat64-dataplane";

#[test]
fn packages_depend_on_each_other_in_one_direction() {
    let metadata = metadata();
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from(WALLS);
    let members = members(&metadata);
    assert_eq!(members.keys().copied().collect::<Vec<_>>(), allowed.keys().copied().collect::<Vec<_>>());
    for (name, package) in &members {
        for used in dependencies(package).filter(|used| members.contains_key(used)) {
            assert!(allowed[name].contains(&used), "{name} must not depend on {used}");
        }
    }
}

#[test]
fn the_packet_path_reaches_no_asynchronous_runtime() {
    let metadata = metadata();
    for name in members(&metadata).keys().filter(|name| !ASYNCHRONOUS.contains(name)) {
        let reached = reached_from(&metadata, name);
        assert!(!reached.contains("tokio"), "{name} reaches tokio");
    }
}

#[test]
fn a_c_compiler_is_all_that_is_needed_beside_rust() {
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).expect("Cargo.lock");
    for heavy in ["cmake", "openssl-sys", "aws-lc-sys", "bindgen"] {
        assert!(!lock.contains(&format!("name = \"{heavy}\"")), "{heavy} needs more than a C compiler to be built");
    }
}

#[test]
fn only_the_dataplane_may_be_unsafe() {
    let metadata = metadata();
    for (name, package) in members(&metadata) {
        let targets = package["targets"].as_array().expect("a package has targets");
        for root in targets.iter().filter_map(|target| target["src_path"].as_str()) {
            let text = fs::read_to_string(root).expect("a target's root exists");
            let forbids = text.contains("#![forbid(unsafe_code)]");
            assert!(forbids || name == UNSAFE, "{root} lacks #![forbid(unsafe_code)]");
        }
    }
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &host()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// The platform the tests were built on and for, so that nothing of other platforms has to be at hand.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

fn members(metadata: &Value) -> BTreeMap<&str, &Value> {
    let ids = list(&metadata["workspace_members"]);
    let packages = list(&metadata["packages"]).iter().filter(|package| ids.contains(&package["id"]));
    packages.map(|package| (text(&package["name"]), package)).collect()
}

/// Names of the packages that a package uses outside its tests.
fn dependencies(package: &Value) -> impl Iterator<Item = &str> {
    let all = list(&package["dependencies"]).iter();
    all.filter(|dependency| dependency["kind"] != "dev").map(|dependency| text(&dependency["name"]))
}

/// Names of all packages that end up in `package`, itself included.
fn reached_from<'a>(metadata: &'a Value, package: &str) -> BTreeSet<&'a str> {
    let names: BTreeMap<&str, &str> =
        list(&metadata["packages"]).iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), node)).collect();
    let mut reached = BTreeSet::new();
    let mut waiting = vec![text(&members(metadata)[package]["id"])];
    while let Some(id) = waiting.pop() {
        if !reached.insert(id) {
            continue;
        }
        let edges = list(&nodes[id]["deps"])
            .iter()
            .filter(|edge| list(&edge["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev"));
        waiting.extend(edges.map(|edge| text(&edge["pkg"])));
    }
    reached.into_iter().map(|id| names[id]).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo metadata has a string there")
}
