//! The recorded instruction counts, a text file beside this one.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// What was counted, and with which compiler.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) compiler: String,
    pub(crate) counts: Vec<(String, u64)>,
}

impl Record {
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string(path()).unwrap_or_default();
        let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let compiler = lines.next().unwrap_or_default().to_owned();
        let counts = lines.filter_map(|line| line.split_once(' '));
        Self {
            compiler,
            counts: counts.map(|(name, count)| (name.to_owned(), count.trim().parse().unwrap())).collect(),
        }
    }

    pub(crate) fn of(&self, name: &str) -> Option<u64> {
        self.counts.iter().find(|(of, _)| of == name).map(|(_, count)| *count)
    }

    pub(crate) fn write(&self) {
        let mut text =
            "# Instructions by scenario, as `cargo bench -p nat64-core --bench core -- record` counts them.\n\n"
                .to_owned();
        writeln!(text, "{}", self.compiler).unwrap();
        for (name, count) in &self.counts {
            writeln!(text, "{name:16} {count:>8}").unwrap();
        }
        fs::write(path(), text).unwrap();
    }
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "benches", "core", "instructions.txt"].iter().collect()
}
