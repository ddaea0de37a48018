//! What differs between two configurations, key by key, and what of it can change while the daemon runs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::Settings;

/// The keys that a reload applies; a table stands for all its keys. The others count from the next start on.
pub(crate) const RELOADED: [&str; 35] = [
    "pref64",
    "wkp-allow-private",
    "translator.pool4",
    "translator.ports",
    "translator.follow-address",
    "translator.address-pooling",
    "translator.inbound-refresh",
    "translator.inbound-tcp",
    "translator.hairpinning",
    "translator.check-tcp-resets",
    "translator.reset-unknown-tcp",
    "translator.exclude",
    "translator.static",
    "translator.timers",
    "translator.limits",
    "translator.mtu",
    "translator.header",
    "translator.icmp-errors",
    "dns64.clients",
    "dns64.upstreams",
    "dns64.upstream-order",
    "dns64.routes",
    "dns64.timeout",
    "dns64.attempts",
    "dns64.random-case",
    "dns64.exclude-aaaa",
    "dns64.exclude-a",
    "dns64.ranges",
    "dns64.groups",
    "dns64.domains",
    "dns64.when-unavailable",
    "dns64.tls.upstream-ca",
    "metrics.listen",
    "log.level",
    "log.sessions",
];

/// A key whose value differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct KeyChange {
    /// The key, with its tables.
    pub(crate) key: String,
    /// What it was, as in a file; nothing if it had no value.
    pub(crate) from: Option<String>,
    /// What it is to be.
    pub(crate) to: Option<String>,
}

/// The values of all keys, defaults included, as in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effective(BTreeMap<String, String>);

impl Settings {
    /// The values of all keys.
    pub(crate) fn effective(&self) -> Effective {
        let mut values = BTreeMap::new();
        // A checked configuration is one that can be written and read.
        let table = self.to_toml().ok().and_then(|text| text.parse::<Table>().ok()).unwrap_or_default();
        flatten("", table, &mut values);
        Effective(values)
    }
}

impl Effective {
    /// What has to change to come to `other`, by key.
    pub(crate) fn changes_to(&self, other: &Self) -> Vec<KeyChange> {
        let mut keys: Vec<&String> = self.0.keys().chain(other.0.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        let change = |key: &String| KeyChange {
            key: key.clone(),
            from: self.0.get(key).cloned(),
            to: other.0.get(key).cloned(),
        };
        keys.into_iter().map(change).filter(|change| change.from != change.to).collect()
    }

    /// Notes that a change was made.
    pub(crate) fn note(&mut self, change: &KeyChange) {
        match &change.to {
            Some(value) => self.0.insert(change.key.clone(), value.clone()),
            None => self.0.remove(&change.key),
        };
    }
}

/// Whether a reload applies changes of this key.
pub(crate) fn is_reloaded(key: &str) -> bool {
    RELOADED.iter().any(|known| key.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

fn flatten(above: &str, table: Table, values: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let key = if above.is_empty() { key } else { format!("{above}.{key}") };
        if let Value::Table(table) = value {
            flatten(&key, table, values);
        } else {
            values.insert(key, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Overrides, own::nobody, resolve};
    use super::*;
    use crate::config::place::Source;

    fn effective(text: &str) -> Effective {
        let source = Source { path: None, text: text.to_owned() };
        resolve(source, &Overrides::default(), nobody).unwrap_or_else(|error| panic!("{error}")).effective()
    }

    fn changes(from: &str, to: &str) -> Vec<(String, String, String)> {
        let all = effective(from).changes_to(&effective(to));
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        all.into_iter().map(|change| (change.key, text(change.from), text(change.to))).collect()
    }

    #[test]
    fn what_differs_is_named_by_key_with_both_values_defaults_included() {
        let from = "[translator]\npool4 = [\"192.0.2.1\"]\n";
        let to = "[translator]\npool4 = [\"192.0.2.1\", \"192.0.2.9\"]\n[translator.timers]\nudp = \"60s\"\n";
        let found = changes(from, to);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].0, "translator.pool4");
        assert!(found[0].2.contains("192.0.2.9") && !found[0].1.contains("192.0.2.9"));
        assert_eq!((&*found[1].0, &*found[1].1, &*found[1].2), ("translator.timers.udp", "\"5m\"", "\"1m\""));
        assert_eq!(changes(to, to), []);
    }

    #[test]
    fn what_is_written_out_although_it_is_the_default_is_no_change() {
        let text = "[translator]\npool4 = [\"192.0.2.1\"]\n";
        assert_eq!(changes(text, &format!("{text}hairpinning = true\n[translator.timers]\nudp = \"300s\"\n")), []);
    }

    #[test]
    fn a_change_that_was_made_is_a_change_no_more() {
        let mut now = effective("[translator]\npool4 = [\"192.0.2.1\"]\n");
        let then = effective("[translator]\npool4 = [\"192.0.2.2\"]\nworkers = 3\n");
        let all = now.changes_to(&then);
        all.iter().filter(|change| is_reloaded(&change.key)).for_each(|change| now.note(change));
        let left: Vec<String> = now.changes_to(&then).into_iter().map(|change| change.key).collect();
        assert_eq!(left, ["translator.workers"]);
    }

    #[test]
    fn a_table_stands_for_its_keys_and_a_key_for_nothing_that_begins_like_it() {
        assert!(is_reloaded("translator.timers.udp") && is_reloaded("pref64"));
        for key in ["translator.port-assignment", "translator.ports-of-call", "device.name", "dns64.listen"] {
            assert!(!is_reloaded(key), "{key}");
        }
    }

    #[test]
    fn every_key_that_is_reloaded_exists_and_the_reference_names_it() {
        let file = include_str!("../../packaging/nat64.toml");
        let reference = include_str!("../../docs/reference/configuration.md");
        let section = reference.split("## What a reload applies").nth(1).unwrap().split("\n## ").next().unwrap();
        for key in RELOADED {
            let (last, is_table) = (key.rsplit('.').next().unwrap(), file.contains(&format!("\n[{key}]")));
            assert!(is_table || file.contains(&format!("{last} = ")), "{key}");
            assert!(section.contains(&format!("`{key}`")), "{key} is not in the reference");
        }
    }
}
