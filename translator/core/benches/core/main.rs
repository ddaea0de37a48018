//! What the translator alone costs, without a device: instructions under callgrind, CPU time, memory.
//!
//! ```console
//! $ cargo bench -p nat64-core --bench core -- count           # instructions of each scenario, beside the recorded ones
//! $ cargo bench -p nat64-core --bench core -- check           # the same; fails where one has got 3 % dearer
//! $ cargo bench -p nat64-core --bench core -- record          # records them
//! $ cargo bench -p nat64-core --bench core -- time [SESSIONS] # CPU time and memory by number of sessions, two workers
//! ```

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is what a benchmark is for")]
#![expect(clippy::unwrap_used, reason = "what was arranged for a measurement is there")]

mod count;
mod flows;
mod idle;
mod record;
mod scenarios;
#[path = "../../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "the tests of this crate use the rest")]
mod support;
mod table;
mod time;
mod workers;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["count"] => count::count(count::Purpose::Show),
        ["check"] => count::count(count::Purpose::Check),
        ["record"] => count::count(count::Purpose::Record),
        ["run", scenario, count] => scenarios::run(scenario, count.parse().unwrap()),
        ["time"] => time::report(&[10_000, 1_000_000]),
        ["time", sessions @ ..] => time::report(&sessions.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>()),
        _ => {
            println!("what to do: count, check, record, time [SESSIONS...]");
            ExitCode::FAILURE
        }
    }
}
