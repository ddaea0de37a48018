//! `nat64 check`

use nat64_core::Policy;
use nat64_core::policy::{PoolRange, PortAssignment};
use nat64_dataplane::Dataplane;

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
        text.push_str(&memory(policy, settings.queues()));
        text.push_str(&deterministic(policy));
        text.push_str(&shared(policy, settings));
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

/// How much memory the translator takes at the most, and what for.
fn memory(policy: &Policy, workers: usize) -> String {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let bound = policy.memory_bound(u32::try_from(workers).unwrap_or(u32::MAX));
    let own = Dataplane::WORKER_BYTES as u64 * workers as u64 + Dataplane::OWN_BYTES as u64;
    let threads = if workers == 1 { "1 thread".to_owned() } else { format!("{workers} threads") };
    format!(
        "# The translator takes at most {} MiB of memory with {threads}: {} for sessions, {} for mappings, {} for ports, \
         {} for fragments, {} for stored SYNs, {} for the threads.\n",
        mib(bound.total() + own),
        mib(bound.sessions),
        mib(bound.mappings),
        mib(bound.ports),
        mib(bound.fragments),
        mib(bound.stored_syns),
        mib(bound.workers + own),
    )
}

/// What `shared` stands for here.
fn shared(policy: &Policy, settings: &Settings) -> String {
    let Some(own) = &settings.own else { return String::new() };
    let ports = |range: &PoolRange| format!("{}-{}", range.first_port, range.last_port);
    let ports: Vec<String> = policy.pool.iter().filter(|range| range.first == own.address).map(ports).collect();
    format!("# shared is {} of {}; its ports {} are the translator's.\n", own.address, own.interface, ports.join(", "))
}

/// What deterministic assignment comes to.
fn deterministic(policy: &Policy) -> String {
    let PortAssignment::Deterministic(sources) = policy.port_assignment else { return String::new() };
    let Some(share) = policy.share_of(sources.network()) else { return String::new() };
    let bits = policy.subscriber_length.saturating_sub(sources.prefix_len());
    format!(
        "# Each of the {} /{} in {sources} has {} ports; `nat64 whose` tells which.\n",
        1_u128.checked_shl(bits.into()).unwrap_or(u128::MAX),
        policy.subscriber_length,
        u32::from(share.last_port - share.first_port) + 1,
    )
}
