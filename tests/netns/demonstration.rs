//! The demonstration does what it says, twice in a row and after a killed run.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Lab, Outcome, Running, Topology, eventually};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn the_demonstration_works_twice_in_a_row_and_after_a_killed_run() {
    // The laboratory itself is not needed; where none can be made, the demonstration cannot run either.
    let Some(lab) = Lab::new(Topology::default()) else { return };
    for _ in 0..2 {
        let said = Outcome::of(demonstration(), PATIENCE).succeeded();
        assert!(said.trim_end().ends_with("Everything shown worked."), "{said}");
    }
    let mut killed = Running::start(demonstration(), &lab.directory().join("demonstration"));
    eventually("the daemon to be shown", PATIENCE, || killed.log().contains("One daemon on the gateway"));
    killed.signal(Signal::KILL);
    killed.wait(PATIENCE);
    Outcome::of(demonstration(), PATIENCE).succeeded();
    assert_eq!(leftovers(), Vec::<String>::new());
}

fn demonstration() -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("netns-scripts/demo.sh"));
    command.env("NAT64_BIN", env!("CARGO_BIN_EXE_nat64"));
    command
}

fn leftovers() -> Vec<String> {
    let directories = ["/run/netns", "/etc/netns", "/tmp"].map(fs::read_dir);
    let entries = directories.into_iter().flatten().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("n64demo-")).collect()
}
