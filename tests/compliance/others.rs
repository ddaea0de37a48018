//! What other DNS64 servers make of the scenarios of `tests/dns`.

use std::fmt::Write;
use std::fs;

use serde::Deserialize;

use super::root;

/// `tests/dns/others.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Others {
    server: Vec<Server>,
    step: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    name: String,
    version: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    scenario: String,
    asked: String,
    /// `yes`, or what came instead, by server.
    outcomes: Vec<String>,
}

const HEAD: &str = "
## Other servers

What other DNS64 servers make of the scenarios in `tests/dns`, black boxes on loopback as Debian 12 ships them, configured as far as they have words
for the scenario's settings: *yes* if response code and answer section are those of the scenario, else what came. This server
does all of them as they are written, which its tests show. For bytes that are sent (`send`), the same response code or the same silence is
a *yes*. The steps of a scenario follow each other on one server, so that what it
thinks of an upstream that was silent shows in later steps. *n/a* is what cannot be shown to another server: a scenario about a setting that it
lacks altogether, and steps after `wait`, since its clock cannot be moved, or after `state`, since it knows no translator. `netns-scripts/dns-others.sh`
installs both and measures again.

";

/// The section of the page.
pub(super) fn render() -> String {
    let others = read();
    let mut section = HEAD.to_owned();
    let heads: Vec<String> = others.server.iter().map(|server| format!("{} {}", server.name, server.version)).collect();
    let count = |index: usize, is_meant: fn(&str) -> bool| {
        others.step.iter().filter(|step| is_meant(&step.outcomes[index])).count()
    };
    let counts: Vec<String> = (0..heads.len())
        .map(|index| {
            let (yes, shown) = (count(index, |what| what == "yes"), count(index, |what| !what.starts_with("n/a")));
            format!("{yes} of {shown}")
        })
        .collect();
    write!(section, "| Scenario | Asked | {} |\n|---|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()))
        .expect("text");
    for Step { scenario, asked, outcomes } in &others.step {
        writeln!(section, "| {scenario} | `{asked}` | {} |", outcomes.join(" | ")).expect("text");
    }
    writeln!(section, "| | *yes* | {} |", counts.join(" | ")).expect("text");
    section
}

fn read() -> Others {
    let text = fs::read_to_string(root().join("tests/dns/others.toml")).expect("tests/dns/others.toml");
    toml::from_str(&text).unwrap_or_else(|error| panic!("tests/dns/others.toml: {error}"))
}

#[test]
fn other_servers_were_shown_every_step_of_every_scenario() {
    let others = read();
    assert!(others.step.iter().all(|step| step.outcomes.len() == others.server.len()));
    let shown: Vec<(String, String)> = others.step.into_iter().map(|step| (step.scenario, step.asked)).collect();
    assert_eq!(shown, scenario_steps(), "run netns-scripts/dns-others.sh");
}

/// Every `ask` and `send` of every scenario file, in the order of their names, those in `own` last.
fn scenario_steps() -> Vec<(String, String)> {
    ["", "own/"].into_iter().flat_map(steps_within).collect()
}

fn steps_within(directory: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join("tests/dns").join(directory)).expect("the scenarios are there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "scenario"));
    paths.sort_by_key(|path| path.file_stem().map(ToOwned::to_owned));
    let steps = paths.iter().flat_map(|path| {
        let name = format!("{directory}{}", path.file_stem().expect("a name").to_string_lossy());
        let text = fs::read_to_string(path).expect("a scenario");
        let shown = |line: &str| {
            let line = line.split(';').next()?.trim_end();
            line.strip_prefix("ask ").or_else(|| line.starts_with("send ").then_some(line)).map(str::to_owned)
        };
        text.lines().filter_map(shown).map(|shown| (name.clone(), shown)).collect::<Vec<_>>()
    });
    steps.collect()
}
