//! `nat64 completions` and `nat64 man`: what packages install beside the program.

use std::fs;

use anyhow::Context;
use clap::CommandFactory;

use super::print;
use crate::cli::{Cli, CompletionsArgs, ManArgs};

/// Prints what a shell completes command lines by.
pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nat64", &mut script);
    print(&String::from_utf8(script)?)
}

/// Writes the manual pages to a directory, or prints the first.
pub(super) fn man(args: &ManArgs) -> anyhow::Result<()> {
    match &args.directory {
        Some(directory) => {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            clap_mangen::generate_to(Cli::command(), directory)
                .with_context(|| format!("cannot write to {}", directory.display()))
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            print(&String::from_utf8(page)?)
        }
    }
}
