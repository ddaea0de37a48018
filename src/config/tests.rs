use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::own::nobody;
use super::place::Source;
use super::{HostAddress, Overrides, Settings, resolve};

/// A command line of nothing but overrides.
#[derive(Parser)]
struct OnlyOverrides {
    #[command(flatten)]
    overrides: Overrides,
}

fn overrides(args: &[&str]) -> Overrides {
    OnlyOverrides::parse_from(std::iter::once(&"nat64").chain(args)).overrides
}

fn source(text: &str) -> Source {
    Source { path: Some(PathBuf::from("nat64.toml")), text: text.to_owned() }
}

pub(super) fn settings(text: &str) -> Settings {
    resolve(source(text), &Overrides::default(), nobody).unwrap()
}

pub(super) fn complaint(text: &str) -> String {
    resolve(source(text), &Overrides::default(), nobody).unwrap_err().to_string()
}

fn flag_complaint(args: &[&str]) -> String {
    resolve(Source::default(), &overrides(args), nobody).unwrap_err().to_string()
}

/// Every key of a table, with dots between the levels.
fn keys(table: &toml::Table, above: &str, into: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        match value {
            toml::Value::Table(inner) => keys(inner, &path, into),
            toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_) => {
                into.insert(path);
            }
        }
    }
}

fn keys_of(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    keys(&text.parse().unwrap(), "", &mut found);
    found
}

pub(super) const SMALLEST: &str = "[translator]\npool4 = \"192.0.2.1\"\n[dns64]\nupstreams = \"192.0.2.53\"\n";

/// What is wrong, and a file that is so.
const MISTAKES: &[(&str, &str)] = &[
    ("no TOML", "pref64 = \n"),
    ("a string without end", "[log]\nlevel = \"info\n"),
    ("an unknown key", "pref64 = \"64:ff9b::/96\"\nprefix = 5\n"),
    ("an unknown key in a table", "[translator.timers]\nupd = \"5m\"\n"),
    ("an unknown table", "[nat]\n"),
    ("a key twice", "[translator]\npool4 = []\npool4 = []\n"),
    ("a number for a switch", "[translator]\nhairpinning = 1\n"),
    ("a string for a number", "[translator]\nworkers = \"two\"\n"),
    ("a number for an address", "[translator]\npool4 = 5\n"),
    ("a number in a list of addresses", "[translator]\npool4 = [\"192.0.2.1\", 5]\n"),
    ("a value for a table", "translator = true\n"),
    ("a negative number", "[translator]\nworkers = -1\n"),
    ("a number above its range", "[translator.limits]\nsessions = 5000000000\n"),
    ("an unknown choice", "[translator]\nfiltering = \"none\"\n"),
    ("an unknown log level", "[log]\nlevel = \"chatty\"\n"),
    ("a prefix of length 97", "pref64 = \"64:ff9b::/97\"\n"),
    ("bits 64 to 71 set", "pref64 = [\n  \"64:ff9b::/96\",\n  \"2001:db8:0:0:100::/96\",\n]\n"),
    ("bits after the prefix", "pref64 = \"2001:db8::1/96\"\n"),
    ("no prefix", "pref64 = \"192.0.2.0/24\"\n"),
    ("an empty list of prefixes", "pref64 = []\n[translator]\npool4 = \"192.0.2.1\"\n"),
    (
        "overlapping prefixes",
        "pref64 = [\"2001:db8::/32\", \"2001:db8:1::/96\"]\n[translator]\npool4 = \"192.0.2.1\"\n",
    ),
    ("an IPv6 pool address", "[translator]\npool4 = \"2001:db8::1\"\n"),
    ("a multicast pool", "[translator]\npool4 = [\"192.0.2.1\", \"224.0.0.0/24\"]\n"),
    ("a loopback address", "[translator]\npool4 = \"127.0.0.1\"\n"),
    ("a pool that holds link-local addresses", "[translator]\npool4 = \"169.253.255.0-169.254.0.255\"\n"),
    ("host bits in a pool", "[translator]\npool4 = \"198.51.100.5/28\"\n"),
    ("a backward range", "[translator]\npool4 = \"192.0.2.9-192.0.2.1\"\n"),
    ("a pool too large", "[translator]\npool4 = \"10.0.0.0/8\"\n"),
    ("overlapping pools", "[translator]\npool4 = [\n  \"198.51.100.0/28\",\n  \"198.51.100.3\",\n]\n"),
    (
        "overlapping ports",
        "[translator]\npool4 = [{ address = \"192.0.2.1\", ports = \"1-100\" }, { address = \"192.0.2.1\", ports = \"100-200\" }]\n",
    ),
    ("an unknown key of a pool entry", "[translator]\npool4 = [{ address = \"192.0.2.1\", port = \"1-100\" }]\n"),
    ("a pool entry without address", "[translator]\npool4 = [{ ports = \"1-100\" }]\n"),
    ("port 0", "[translator]\npool4 = \"192.0.2.1\"\nports = \"0-65535\"\n"),
    ("a port too large", "[translator]\nports = \"1-65536\"\n"),
    ("a short timer", "[translator.timers]\nudp = \"500ms\"\n"),
    ("a timer of zero", "[translator.timers]\nicmp = 0\n"),
    ("a long timer", "[translator.timers]\nicmp = \"31d\"\n"),
    ("no duration", "[translator.timers]\ntcp-established = \"2 hours\"\n"),
    ("an MTU below IPv6's least", "[translator.mtu]\nlowest-ipv6 = 1279\n"),
    ("a link MTU in words", "[translator.mtu]\nipv4-link = \"1500\"\n"),
    ("an IPv6 link below IPv6's least", "[translator.mtu]\nipv6-link = 1279\n"),
    ("an IPv4 link longer than a packet", "[translator.mtu]\nipv4-link = 65536\n"),
    ("a TOS octet beside a copied one", "[translator]\npool4 = \"192.0.2.1\"\n[translator.header]\ntos = 8\n"),
    ("a TOS octet of nine bits", "[translator.header]\ncopy-traffic-class = false\ntos = 256\n"),
    ("an MSS clamp that is no MTU", "[translator.mtu]\ntcp-mss-clamp = 536\n"),
    (
        "too many sources for routers",
        "[translator]\npool4 = \"192.0.2.1\"\n[translator.icmp-errors]\nrouter-sources = \"198.51.100.0/25\"\n",
    ),
    (
        "a source for routers that cannot be one",
        "[translator]\npool4 = \"192.0.2.1\"\n[translator.icmp-errors]\nrouter-sources = [\"198.51.100.9\", \"127.0.0.1\"]\n",
    ),
    ("a source of the wrong family", "[translator.icmp-errors]\nsource4 = \"2001:db8::1\"\n"),
    (
        "a source that cannot be one",
        "[translator]\npool4 = \"192.0.2.1\"\n[translator.icmp-errors]\nsource6 = \"ff02::1\"\n",
    ),
    ("a device name too long", "[device]\nname = \"a-name-that-is-too-long\"\n"),
    ("a device name with a slash", "[device]\nname = \"a/b\"\n"),
    ("a relative socket path", "[control]\nsocket = \"nat64.sock\"\n"),
    ("an upstream by name", "[dns64]\nupstreams = \"dns.example\"\n"),
    ("an upstream that is us", "[dns64]\nlisten = \"192.0.2.1\"\nupstreams = [\"192.0.2.53\", \"192.0.2.1\"]\n"),
    ("an upstream that the default listener is", "[dns64]\nupstreams = \"127.0.0.1\"\n"),
    ("an upstream that nobody is", "[dns64]\nupstreams = \"0.0.0.0\"\n"),
    ("an upstream in the pool", "[translator]\npool4 = \"192.0.2.0/24\"\n[dns64]\nupstreams = \"192.0.2.53\"\n"),
    ("a listener twice", "[dns64]\nlisten = [\"[::]:53\", \"::\"]\nupstreams = \"192.0.2.53\"\n"),
    ("no listener", "[dns64]\nlisten = []\nupstreams = \"192.0.2.53\"\n"),
    ("clients that are no range", "[dns64]\nclients = [\"auto\", \"192.0.2.1/24\"]\n"),
    ("clients by name", "[dns64]\nclients = \"example\"\n"),
    ("an excluded range that is none", "[dns64]\nexclude-aaaa = [\"192.0.2.0/24\"]\n"),
    ("too many attempts", "[dns64]\nattempts = 17\n"),
    ("the translator on without a pool", "[translator]\nenabled = true\n"),
    ("DNS64 on without upstreams", "[dns64]\nenabled = true\n"),
    ("both halves off", "[translator]\nenabled = false\npool4 = \"192.0.2.1\"\n"),
    ("a log to nowhere", "[[log.sessions]]\nto = \"sessions.json\"\n"),
    ("a log without a place", "[[log.sessions]]\nformat = \"json\"\n"),
    ("IPFIX to a file", "[translator]\npool4 = \"192.0.2.1\"\n[[log.sessions]]\nto = \"/x\"\nformat = \"ipfix\"\n"),
    (
        "names without DNS64",
        "[translator]\npool4 = \"192.0.2.1\"\n[[log.sessions]]\nto = \"/x\"\ndestinations = true\nnames = true\n",
    ),
    (
        "names without destinations",
        "[dns64]\nupstreams = \"192.0.2.53\"\n[[log.sessions]]\nto = \"/x\"\nnames = true\n",
    ),
    (
        "names in a format that has no field for them",
        "[dns64]\nupstreams = \"192.0.2.53\"\n[[log.sessions]]\nto = \"/x\"\nformat = \"flow\"\ndestinations = true\nnames = true\n",
    ),
    (
        "two logs in one file",
        "[translator]\npool4 = \"192.0.2.1\"\n[[log.sessions]]\nto = \"/x\"\n[[log.sessions]]\nto = \"/x\"\n",
    ),
    ("an empty file", ""),
    ("a mistake after wide characters and a tab", "# ü\n[log]\n\tlevel = \"ünknown\"\n"),
];

#[test]
fn every_mistake_in_a_file_is_shown_at_its_place_with_what_is_allowed() {
    let mut all = String::new();
    for (what, text) in MISTAKES {
        all.push_str(&format!("---- {what}\n{}\n\n", complaint(text)));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_mistake_on_the_command_line_names_the_option() {
    const MISTAKES: &[&[&str]] = &[
        &["--pref64", "64:ff9b::/97"],
        &["--pool4", "224.0.0.1"],
        &["--pool4", "192.0.2.1", "--pool4", "192.0.2.0/24"],
        &["--pool4", "192.0.2.1", "--ports", "70000"],
        &["--dns-upstream", "resolver"],
        &["--dns-upstream", "127.0.0.1"],
        &["--dns-upstream", "192.0.2.53", "--dns-listen", "everywhere"],
        &["--dns-upstream", "192.0.2.53", "--device", "lo"],
        &["--dns-upstream", "192.0.2.53", "--control-socket", "here"],
        &[],
    ];
    let mut all = String::new();
    for args in MISTAKES {
        all.push_str(&format!("---- {}\n{}\n\n", args.join(" "), flag_complaint(args)));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn overlaps_between_file_and_command_line_name_both() {
    let text = "[translator]\npool4 = \"192.0.2.53\"\n";
    let error = resolve(source(text), &overrides(&["--dns-upstream", "192.0.2.53"]), nobody).unwrap_err();
    insta::assert_snapshot!(error, @r#"
    --dns-upstream: the upstream 192.0.2.53 is in the translator's pool, so that queries would come back to us
    nat64.toml:2:9: it is in this pool entry
      |
    2 | pool4 = "192.0.2.53"
      |         ^^^^^^^^^^^^
    "#);
}

#[test]
fn an_address_of_the_host_needs_ports_in_the_pool_and_cannot_be_upstream() {
    let own = |text: &str| HostAddress { address: text.parse::<IpAddr>().unwrap(), interface: "eth0".to_owned() };
    let settings = settings(SMALLEST);

    assert!(settings.check_host(&[own("192.0.2.2")]).is_ok());
    insta::assert_snapshot!(settings.check_host(&[own("192.0.2.1")]).unwrap_err(), @r#"
    nat64.toml:2:9: the pool address 192.0.2.1 is assigned to this host's interface eth0; sharing it with the host needs ports that are the translator's alone, for example [{ address = "192.0.2.1", ports = "10000-29999" }]
      |
    2 | pool4 = "192.0.2.1"
      |         ^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(settings.check_host(&[own("192.0.2.53")]).unwrap_err(), @r#"
    nat64.toml:4:13: the upstream `192.0.2.53:53` is this server itself, which listens on `[::]:53`; give a resolver elsewhere, or listen on other addresses
      |
    4 | upstreams = "192.0.2.53"
      |             ^^^^^^^^^^^^
    "#);
}

#[test]
fn a_pool_switches_the_translator_on_and_upstreams_switch_dns64_on() {
    let translator_only = settings("[translator]\npool4 = \"192.0.2.1\"\n");
    let dns64_only = settings("[dns64]\nupstreams = \"192.0.2.53\"\n");
    let both = settings(SMALLEST);

    assert!(translator_only.policy.is_some() && translator_only.dns64.is_none());
    assert!(dns64_only.policy.is_none() && dns64_only.dns64.is_some());
    assert!(both.policy.is_some() && both.dns64.is_some());
}

#[test]
fn a_half_that_is_switched_off_stays_off_until_the_command_line_asks_for_it() {
    let text = "[translator]\nenabled = false\npool4 = \"192.0.2.1\"\n[dns64]\nupstreams = \"192.0.2.53\"\n";

    assert!(settings(text).policy.is_none());
    assert!(resolve(source(text), &overrides(&["--pool4", "192.0.2.9"]), nobody).unwrap().policy.is_some());
}

#[test]
fn both_halves_use_the_prefix_and_its_rule() {
    let settings = settings(&format!("pref64 = \"2001:db8::/96\"\nwkp-allow-private = true\n{SMALLEST}"));

    let (policy, dns64) = (settings.policy.unwrap(), settings.dns64.unwrap());
    assert_eq!(policy.prefixes, dns64.prefixes);
    assert_eq!(policy.prefixes[0].to_string(), "2001:db8::/96");
    assert_eq!((policy.well_known, dns64.well_known), (pref64::WellKnownPolicy::AllowPrivate, policy.well_known));
}

#[test]
fn durations_are_text_or_seconds() {
    let settings =
        settings(&format!("{SMALLEST}timeout = \"1s500ms\"\n[translator.timers]\nudp = 90\nicmp = \"1m30s\"\n"));

    let timers = settings.policy.unwrap().timers;
    assert_eq!((timers.udp, timers.icmp), (Duration::from_secs(90), Duration::from_secs(90)));
    assert_eq!(settings.dns64.unwrap().timeout, Duration::from_millis(1500));
}

#[test]
fn a_pool_entry_has_its_own_ports_or_those_of_all() {
    let text = "[translator]\nports = \"1024-65535\"\npool4 = [\"192.0.2.0/30\", { address = \"203.0.113.5\", ports = \"20000-29999\" }]\n";
    let pool = settings(text).policy.unwrap().pool;

    assert_eq!((pool[0].first_port, pool[0].last_port, pool[0].addresses()), (1024, 65535, 4));
    assert_eq!((pool[1].first_port, pool[1].last_port, pool[1].addresses()), (20000, 29999, 1));
}

#[test]
fn pool_entries_may_belong_to_some_sources() {
    let text =
        "[translator]\npool4 = [\"192.0.2.1\", { address = \"192.0.2.8/30\", sources = [\"2001:db8:a::/48\"] }]\n";
    let rules = settings(text).policy.unwrap().pool_rules;

    assert_eq!(rules.len(), 1);
    assert_eq!(
        (rules[0].sources.to_string(), rules[0].first.to_string()),
        ("2001:db8:a::/48".into(), "192.0.2.8".into())
    );
}

#[test]
fn the_opening_and_closing_timers_follow_the_transitory_one() {
    let text =
        "[translator]\npool4 = \"192.0.2.1\"\n[translator.timers]\ntcp-transitory = \"9s\"\ntcp-closing = \"3s\"\n";
    let timers = settings(text).policy.unwrap().timers;

    let seconds = [timers.tcp_transitory, timers.tcp_opening, timers.tcp_closing].map(|timer| timer.as_secs());
    assert_eq!(seconds, [9, 9, 3]);
}

#[test]
fn exclusions_and_static_mappings_are_lists_of_tables() {
    let text = "[translator]\npool4 = \"192.0.2.1\"\n[[translator.exclude]]\nprotocol = \"tcp\"\nports = \"25\"\n\
                [[translator.static]]\nprotocol = \"udp\"\ninternal = \"2001:db8::1\"\nexternal = \"192.0.2.1\"\n\
                ports = \"8000-8009\"\ninternal-ports = \"9000-9009\"\n";
    let policy = settings(text).policy.unwrap();

    assert_eq!(policy.exclusions[0].ports, Some((25, 25)));
    assert_eq!(policy.static_mappings.len(), 10);
    assert_eq!((policy.static_mappings[9].internal.1, policy.static_mappings[9].external.1), (9009, 8009));
    let second = settings(&settings(text).to_toml().unwrap());
    assert_eq!(second.policy.unwrap(), policy);
}

#[test]
fn rules_that_contradict_themselves_are_refused_at_their_place() {
    let with = |rest: &str| complaint(&format!("[translator]\npool4 = \"192.0.2.1\"\n{rest}\n"));

    assert!(with("port-assignment = \"deterministic\"").contains("deterministic-sources"));
    assert!(with("port-blocks.size = 500").contains("power of two"));
    let overlapping = "mapping = \"address-and-port-dependent\"\nport-assignment = \"blocks\"";
    assert!(with(overlapping).contains("shares ports"));
    let outside = "[[translator.static]]\nprotocol = \"tcp\"\ninternal = \"2001:db8::1\"\nexternal = \"192.0.2.9\"\nports = \"80\"";
    assert!(with(outside).contains("192.0.2.9:80 is not in the pool"));
    assert!(with("[[translator.exclude]]\nprotocol = \"icmp\"\nports = \"1\"").contains("ICMP has no ports"));
}

#[test]
fn the_defaults_are_those_of_the_crates_that_use_them() {
    let settings = settings(SMALLEST);

    let (policy, dns64) = (settings.policy.clone().unwrap(), settings.dns64.clone().unwrap());
    let mut expected = nat64_core::Policy::new(policy.prefixes.clone(), policy.pool.clone());
    expected.errors.rate = 100;
    assert_eq!(policy, expected);
    assert_eq!(dns64, dns64::Config::new(dns64.upstreams.clone(), dns64.prefixes.clone()));
}

#[test]
fn the_effective_configuration_reads_back_as_itself() {
    let text = "pref64 = [\"64:ff9b::/96\", \"2001:db8:1::/96\"]\n[translator]\npool4 = [{ address = \"203.0.113.5\", ports = \"20000-29999\" }, \"192.0.2.4-192.0.2.9\"]\n[translator.mtu]\ntcp-mss-clamp = 1400\n[translator.timers]\nudp = 61\n[dns64]\nupstreams = [\"[2001:db8::53]:5353\", \"192.0.2.53\"]\n";
    let first = settings(text);
    let second = settings(&first.to_toml().unwrap());

    assert_eq!((&first.policy, &first.dns64, &first.device), (&second.policy, &second.dns64, &second.device));
    assert_eq!(first.to_toml().unwrap(), second.to_toml().unwrap());
}

#[test]
fn the_example_file_shows_every_key_with_its_default() {
    let example = include_str!("../../packaging/nat64.toml");
    assert!(settings(example).policy.is_some(), "as it is, the example is a working configuration");

    // A line like `#key = value` is a default that is commented out; prose has a space after the sign.
    let uncommented: String = example.lines().map(|line| format!("{}\n", uncomment(line))).collect();
    let expected = settings(SMALLEST).to_toml().unwrap();
    assert_eq!(keys_of(&uncommented), keys_of(&expected));
    let shown =
        resolve(source(&uncommented), &overrides(&["--pool4", "192.0.2.1", "--dns-upstream", "192.0.2.53"]), nobody);
    assert_eq!(shown.unwrap().to_toml().unwrap(), expected);
}

fn uncomment(line: &str) -> &str {
    match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest,
        _ => line,
    }
}

#[test]
fn the_reference_describes_every_key_and_no_other() {
    let reference = include_str!("../../docs/reference/configuration.md");
    let documented: BTreeSet<String> =
        reference.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).map(str::to_owned).collect();

    assert_eq!(documented, keys_of(&settings(SMALLEST).to_toml().unwrap()));
}

#[test]
fn the_reference_gives_the_defaults_that_are_in_force() {
    let reference = include_str!("../../docs/reference/configuration.md");
    let mut documented = String::new();
    let mut key = "";
    for line in reference.lines() {
        if let Some(heading) = line.strip_prefix("### `").and_then(|rest| rest.strip_suffix('`')) {
            key = heading;
        } else if let Some(default) =
            line.split(" | ").nth(1).and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'))
        {
            // A default in words depends on other keys, and follows no back quote or has more behind it.
            documented.push_str(&format!("{key} = {default}\n"));
        }
    }
    let flags = overrides(&["--pool4", "192.0.2.1", "--dns-upstream", "192.0.2.53"]);

    let as_documented =
        resolve(source(&documented), &flags, nobody).unwrap_or_else(|error| panic!("{error}\n{documented}"));

    assert!(documented.lines().count() > 40, "the tables are found: {documented}");
    assert_eq!(as_documented.to_toml().unwrap(), settings(SMALLEST).to_toml().unwrap());
}
