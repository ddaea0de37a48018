//! `nat64 version`

use serde::Serialize;

use super::print;
use crate::cli::VersionArgs;

/// What `nat64 version --json` prints.
#[derive(Debug, Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
    os: &'static str,
    arch: &'static str,
}

/// Prints the version.
pub(super) fn version(args: &VersionArgs) -> anyhow::Result<()> {
    let version = Version {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
    };
    if args.json {
        print(&format!("{}\n", serde_json::to_string(&version)?))
    } else {
        print(&format!("{} {} ({} {})\n", version.name, version.version, version.os, version.arch))
    }
}
