//! `nat64 explain`: what a drop reason means, and what to do.

use anyhow::bail;
use nat64_core::DropReason;
use serde::Serialize;

use super::print;
use crate::cli::ReasonArgs;

/// What `nat64 explain --json` prints.
#[derive(Debug, Serialize)]
struct Explanation {
    reason: &'static str,
    meaning: &'static str,
    remedy: &'static str,
}

impl From<DropReason> for Explanation {
    fn from(reason: DropReason) -> Self {
        Self { reason: reason.name(), meaning: reason.meaning(), remedy: reason.remedy() }
    }
}

/// Explains one reason, or all.
pub(super) fn explain(args: &ReasonArgs) -> anyhow::Result<()> {
    let wanted = |reason: &&DropReason| args.reason.as_ref().is_none_or(|name| name == reason.name());
    let found: Vec<Explanation> = DropReason::ALL.iter().filter(wanted).map(|&reason| reason.into()).collect();
    if found.is_empty() {
        let names: Vec<&str> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        bail!("`{}` is no drop reason; there are {}", args.reason.as_deref().unwrap_or_default(), names.join(", "));
    }
    if args.json {
        return print(&format!("{}\n", serde_json::to_string(&found)?));
    }
    let text = |one: &Explanation| format!("{}\n  {}\n  What to do: {}\n", one.reason, one.meaning, one.remedy);
    print(&found.iter().map(text).collect::<Vec<_>>().join("\n"))
}
