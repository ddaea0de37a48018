//! `nat64 check`

use nat64_core::Policy;

use super::print;
use crate::cli::CheckArgs;
use crate::config::{self, Settings};

/// Checks a configuration and prints it in full.
pub(super) fn check(args: &CheckArgs) -> anyhow::Result<()> {
    let settings = config::load(args.file.as_deref(), &args.overrides)?;
    print(&render(&settings)?)
}

fn render(settings: &Settings) -> anyhow::Result<String> {
    let mut text = String::from("# The effective configuration, defaults written out.\n");
    if let Some(policy) = &settings.policy {
        text.push_str(&format!("# Translator state takes at most {} MiB of memory.\n", translator_mib(policy)));
    }
    if let Some(dns64) = &settings.dns64 {
        text.push_str(&format!(
            "# The DNS cache takes at most {} MiB of memory.\n",
            dns64.cache_bytes.div_ceil(1 << 20)
        ));
    }
    text.push('\n');
    text.push_str(&settings.to_toml()?);
    Ok(text)
}

/// Sessions with their mapping, and held fragments, in MiB.
fn translator_mib(policy: &Policy) -> u64 {
    /// A session together with its mapping.
    const SESSION_BYTES: u64 = 160;
    let limits = &policy.limits;
    let sessions = u64::from(limits.sessions.max(limits.mappings)) * SESSION_BYTES;
    (sessions + u64::from(limits.fragment_bytes)).div_ceil(1 << 20)
}
