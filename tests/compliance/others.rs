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
does all of them as they are written, which its tests show. The steps of a scenario follow each other on one server, so that what it
thinks of an upstream that was silent shows in later steps. `UPDATE_OTHERS=1 cargo test -p dns64 --test it others -- --ignored`
measures again.

";

/// The section of the page.
pub(super) fn render() -> String {
    let others = read();
    let mut section = HEAD.to_owned();
    let heads: Vec<String> = others.server.iter().map(|server| format!("{} {}", server.name, server.version)).collect();
    let counts: Vec<String> = (0..heads.len())
        .map(|index| others.step.iter().filter(|step| step.outcomes[index] == "yes").count().to_string())
        .collect();
    write!(section, "| Scenario | Asked | {} |\n|---|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()))
        .expect("text");
    for Step { scenario, asked, outcomes } in &others.step {
        writeln!(section, "| {scenario} | `{asked}` | {} |", outcomes.join(" | ")).expect("text");
    }
    writeln!(section, "| | of {} | {} |", others.step.len(), counts.join(" | ")).expect("text");
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
    assert_eq!(shown, scenario_steps(), "run UPDATE_OTHERS=1 cargo test -p dns64 --test it others -- --ignored");
}

/// Every `ask` of every scenario file, in the order of their names.
fn scenario_steps() -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join("tests/dns")).expect("the scenarios are there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "scenario"));
    paths.sort();
    let steps = paths.iter().flat_map(|path| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(path).expect("a scenario");
        let asked = |line: &str| Some(line.split(';').next()?.strip_prefix("ask ")?.trim().to_owned());
        text.lines().filter_map(asked).map(|asked| (name.clone(), asked)).collect::<Vec<_>>()
    });
    steps.collect()
}
