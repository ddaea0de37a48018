//! What the daemon's log looks like to the journal.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Lab, Running, Topology, holds_within};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn lines_for_the_journal_begin_with_their_priority() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    for (format, line) in [("text", "<6> INFO ready version="), ("json", "<6>{\"timestamp\":")] {
        let log = lab.directory().join("journal.log");
        fs::write(&log, "").expect("the lab directory is writable");
        let file = fs::metadata(&log).expect("it was just made");
        let configuration = format!("{}[log]\nformat = \"{format}\"\n", Lab::translator());
        let mut command = lab.nat64_run("journal", &configuration);
        command.env("JOURNAL_STREAM", format!("{}:{}", file.dev(), file.ino()));

        let mut daemon = Running::start(command, &log);
        let ready = holds_within(PATIENCE, || !daemon.is_running() || daemon.log().contains("ready"));
        assert!(ready && daemon.is_running(), "{}", daemon.log());
        daemon.signal(Signal::TERM);
        daemon.wait(PATIENCE);

        let text = daemon.log();
        assert!(text.lines().all(|line| line.starts_with('<')), "{text}");
        assert!(text.lines().any(|found| found.starts_with(line)), "{text}");
    }
}
