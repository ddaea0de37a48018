//! The requirement ledgers: what the RFCs ask, and which test shows it.
//!
//! `tests/requirements/rfc*.toml` has an entry for each sentence of an RFC that says MUST or SHOULD, for the REQ-n of the
//! NAT requirements, and, as level STATED, for what a text fixes without such a word. `docs/compliance.md` is what is
//! rendered of them; `UPDATE_COMPLIANCE=1 cargo test -p nat64 --test compliance` writes it anew.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::Deserialize;

#[path = "compliance/others.rs"]
mod others;

/// The RFCs that have a ledger, in the order of the page.
const RFCS: [u32; 16] =
    [7915, 6146, 6052, 6147, 7050, 8880, 6891, 7766, 8914, 2308, 6791, 7857, 6888, 4787, 5382, 5508];

/// What the first part of a test's path stands for.
const ROOTS: [(&str, &str); 7] = [
    ("conformance/", "translator/core/tests/conformance/"),
    ("pref64/", "pref64/src/"),
    ("daemon/", "src/"),
    ("dns64/it/", "dns64/tests/it/"),
    ("dns64/unit/", "dns64/src/"),
    ("netns/", "tests/netns/"),
    ("packets/", "tests/packets/"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    rfc: u32,
    title: String,
    requirement: Vec<Requirement>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    id: String,
    section: String,
    level: Level,
    /// What is asked, or for MUST NOT and SHOULD NOT what must not be.
    text: String,
    status: Status,
    /// `path.rs::name`, see [`ROOTS`].
    #[serde(default)]
    tests: Vec<String>,
    /// Why the requirement is not met, or means nothing here.
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
enum Level {
    #[serde(rename = "MUST")]
    Must,
    #[serde(rename = "MUST NOT")]
    MustNot,
    #[serde(rename = "SHOULD")]
    Should,
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
    #[serde(rename = "MAY")]
    May,
    #[serde(rename = "STATED")]
    Stated,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Tested,
    Deviation,
    NotApplicable,
}

#[test]
fn every_entry_has_an_identifier_of_its_own_and_of_its_rfc() {
    let mut seen = BTreeSet::new();
    for ledger in ledgers() {
        for requirement in &ledger.requirement {
            let id = &requirement.id;
            assert!(id.starts_with(&format!("rfc{}-", ledger.rfc)), "{id} is in the ledger of RFC {}", ledger.rfc);
            assert!(seen.insert(id.clone()), "{id} is there twice");
        }
    }
}

#[test]
fn every_requirement_is_shown_by_a_test_or_its_lack_is_given_a_reason() {
    for Requirement { id, text, status, tests, reason, .. } in ledgers().into_iter().flat_map(|l| l.requirement) {
        assert!(!text.is_empty(), "{id} says nothing");
        let reasoned = reason.is_some_and(|reason| !reason.is_empty());
        match status {
            Status::Tested => assert!(!tests.is_empty() && !reasoned, "{id} is shown by tests, and needs no reason"),
            Status::Deviation => assert!(reasoned, "{id} deviates without a reason"),
            Status::NotApplicable => assert!(reasoned && tests.is_empty(), "{id} needs a reason, and no tests"),
        }
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let mut sources = BTreeMap::new();
    for Requirement { id, tests, .. } in ledgers().into_iter().flat_map(|ledger| ledger.requirement) {
        let mut seen = BTreeSet::new();
        for test in tests {
            let (path, name) = located(&test);
            let source = sources.entry(path.clone()).or_insert_with(|| {
                fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{id} names {path}: {error}"))
            });
            assert!(is_test(source, &name), "{id} names {name}, which is no test in {path}");
            assert!(seen.insert((path, name)), "{id} names {test} twice");
        }
    }
}

#[test]
fn the_page_is_what_the_ledgers_render_to() {
    let page = root().join("docs/compliance.md");
    let rendered = render(&ledgers());
    if env::var_os("UPDATE_COMPLIANCE").is_some() {
        fs::write(&page, &rendered).expect("docs/compliance.md can be written");
    }
    let written = fs::read_to_string(&page).unwrap_or_default();
    let same = written == rendered;
    assert!(same, "docs/compliance.md is out of date: run UPDATE_COMPLIANCE=1 cargo test -p nat64 --test compliance");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn ledgers() -> Vec<Ledger> {
    let directory = root().join("tests/requirements");
    let files = fs::read_dir(&directory).expect("the ledgers are there").count();
    assert_eq!(files, RFCS.len(), "a file in {} is no ledger of the list", directory.display());
    RFCS.map(|rfc| ledger(&directory.join(format!("rfc{rfc}.toml")), rfc)).into()
}

fn ledger(path: &PathBuf, rfc: u32) -> Ledger {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let ledger: Ledger = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(ledger.rfc, rfc, "{}", path.display());
    ledger
}

/// The file, from the repository's root, and the function that a test's path names.
fn located(test: &str) -> (String, String) {
    let (path, name) = test.split_once("::").unwrap_or_else(|| panic!("{test} is not path.rs::name"));
    let long = ROOTS.iter().find_map(|(short, long)| path.strip_prefix(short).map(|rest| format!("{long}{rest}")));
    (long.unwrap_or_else(|| path.to_owned()), name.to_owned())
}

/// Whether a source has a function of that name that is marked as a test.
fn is_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let declaration = format!("fn {name}(");
    lines.iter().enumerate().any(|(at, line)| {
        let attributes =
            || lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        line.trim_start_matches("async ").starts_with(&declaration)
            && attributes().any(|attribute| attribute.ends_with("test]"))
    })
}

fn render(ledgers: &[Ledger]) -> String {
    let mut page = String::from(HEAD);
    for ledger in ledgers {
        let count = |status| ledger.requirement.iter().filter(|requirement| requirement.status == status).count();
        writeln!(
            page,
            "| [RFC {0}](#rfc-{0}) | {1} | {2} | {3} | {4} |",
            ledger.rfc,
            ledger.title,
            count(Status::Tested),
            count(Status::Deviation),
            count(Status::NotApplicable)
        )
        .expect("a string takes text");
    }
    ledgers.iter().for_each(|ledger| page.push_str(&render_ledger(ledger)));
    page.push_str(&others::render());
    page
}

const HEAD: &str = "\
# Compliance

What the RFCs ask of a translator and of DNS64, and the tests that show it. This page is rendered from `tests/requirements`; do not edit
it. *Stated* is what a text fixes without saying MUST or SHOULD; a MUST NOT or SHOULD NOT is followed by what is not to
happen. A deviation gives its reason. Most of what is tested of the translator alone is asked once more of the daemon, packet by packet
through kernel and device, in `tests/packets`.

| | | tested | deviations | not applicable |
|---|---|---|---|---|
";

fn render_ledger(ledger: &Ledger) -> String {
    let mut table = format!("\n## RFC {}\n\n{}\n\n", ledger.rfc, ledger.title);
    table.push_str("| Requirement | Section | Level | What is asked | How it is met |\n|---|---|---|---|---|\n");
    for requirement in &ledger.requirement {
        let Requirement { id, section, level, text, .. } = requirement;
        let level = match level {
            Level::Must => "MUST",
            Level::MustNot => "MUST NOT",
            Level::Should => "SHOULD",
            Level::ShouldNot => "SHOULD NOT",
            Level::May => "MAY",
            Level::Stated => "stated",
        };
        writeln!(table, "| {id} | {section} | {level} | {text} | {} |", render_status(requirement))
            .expect("a string takes text");
    }
    table
}

fn render_status(requirement: &Requirement) -> String {
    let tests: Vec<String> = requirement.tests.iter().map(|test| render_test(test)).collect();
    let reason = requirement.reason.as_deref().unwrap_or_default();
    let status = match requirement.status {
        Status::Tested => String::new(),
        Status::Deviation => format!("**Deviation.** {reason}"),
        Status::NotApplicable => format!("Not applicable. {reason}"),
    };
    [status, tests.join(", ")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn render_test(test: &str) -> String {
    let (path, name) = located(test);
    format!("[{}](../{path})", name.replace('_', " "))
}
