//! The configurations, each with a daemon and a laboratory of its own that its tests share.

use crate::bench::Group;

/// What most tests use: the defaults, with all errors sent that are due.
pub(crate) static STANDARD: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    [translator.timers]
    fragment = "1m"
    tcp-incoming-syn = "1m"
    [translator.icmp-errors]
    rate = 1000000
    "#,
);

/// Whatever of the header and error policy can be set, set.
pub(crate) static OTHERWISE: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    filtering = "address-dependent"
    hairpinning = false
    reset-unknown-tcp = false
    check-tcp-resets = false
    [translator.timers]
    tcp-incoming-syn = "2s"
    [translator.mtu]
    lowest-ipv6 = 1420
    tcp-mss-clamp = true
    [translator.header]
    copy-traffic-class = false
    flow-label = "hash"
    udp-zero-checksum = "drop"
    [translator.icmp-errors]
    rate = 1000000
    source6 = "2001:db8:ffff::64"
    source4 = "203.0.113.64"
    "#,
);

/// What the groups before leave out.
pub(crate) static STRICT: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    filtering = "address-dependent"
    inbound-tcp = false
    [translator.mtu]
    ipv4-link = 1400
    [translator.header]
    copy-traffic-class = false
    tos = 0x28
    udp-zero-checksum = "forward"
    [translator.icmp-errors]
    rate = 1000000
    router-sources = ["203.0.113.66", "203.0.113.67"]
    name-routers = true
    "#,
);

/// IPv6 routers have sources of their own in IPv4, and are named.
pub(crate) static NAMING: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    [translator.icmp-errors]
    router-sources = "192.0.2.128-192.0.2.131"
    name-routers = true
    "#,
);

/// A device without offload.
pub(crate) static PLAIN: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    [device]
    offload = false
    "#,
);

/// A time of its own for everything.
pub(crate) static LIFETIMES: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    [translator.timers]
    tcp-opening = 1000
    tcp-closing = 2000
    tcp-transitory = 3000
    tcp-established = 4000
    udp = 5000
    icmp = 6000
    "#,
);

/// No errors at all, and nothing from outside keeps a session alive.
pub(crate) static UNTOLD: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    inbound-refresh = false
    [translator.timers]
    udp = "1s"
    tcp-incoming-syn = "1s"
    [translator.icmp-errors]
    send = false
    "#,
);

/// Few errors.
pub(crate) static SPARING: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    [translator.icmp-errors]
    rate = 5
    "#,
);

/// All that waits does so for a second or two. Twice, since tests of it take most of the time.
static WAITING: [Group; 2] = [const { Group::new("64:ff9b:1::/96", ONE_SECOND) }; 2];
const ONE_SECOND: &str = r#"
    [translator.timers]
    udp = "2s"
    icmp = "1s"
    fragment = "1s"
    tcp-incoming-syn = "1s"
    tcp-established = "2s"
    tcp-opening = "2s"
    tcp-transitory = "1s"
    "#;

/// The one of [`WAITING`] whose bench is free.
pub(crate) fn waiting() -> &'static Group {
    let [first, second] = &WAITING;
    if first.is_free() { first } else { second }
}

/// The well-known prefix, with its guard.
pub(crate) static GUARDED: Group = Group::new("64:ff9b::/96", "");

/// A prefix of each length, and the well-known one without its guard.
pub(crate) static PREFIXES: Group = Group::new(
    r#"["64:ff9b::/96", "3fff:32::/32", "3fff:40::/40", "3fff:48::/48", "3fff:56::/56", "3fff:64::/64", "3fff:96::/96"]
    wkp-allow-private = true"#,
    "",
);

/// Mappings and exclusions of the configuration. The former belong to [`MAPPED`]'s hosts.
pub(crate) static CONFIGURED: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    exclude = [
        { protocol = "tcp", ports = "25" },
        { destination = "198.19.0.0/16", silent = true },
        { source = "2001:db8:d::/48" },
    ]
    [[translator.static]]
    protocol = "udp"
    internal = "2001:db8:c:f00d::10"
    external = "203.0.113.1"
    ports = "5353"
    internal-ports = "53"
    [[translator.static]]
    protocol = "tcp"
    internal = "2001:db8:c:f00d::10"
    external = "203.0.113.1"
    ports = "8000-8003"
    internal-ports = "80-83"
    [[translator.static]]
    protocol = "icmp"
    internal = "2001:db8:c:f00d::10"
    external = "203.0.113.1"
    ports = "500"
    internal-ports = "5"
    "#,
);
/// The number of the case whose client has the mappings of [`CONFIGURED`].
pub(crate) const MAPPED: u16 = 0xf00d;

/// A subscriber is a subnet of 64 bits, and may have little.
pub(crate) static QUOTAS: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    subscriber-prefix-length = 64
    [translator.limits]
    mappings-per-subscriber = 3
    sessions-per-subscriber = 8
    stored-syns = 2
    fragments = 8
    [translator.timers]
    fragment = "1s"
    [translator.icmp-errors]
    rate = 1000000
    "#,
);

/// A subscriber may open so many mappings in a second.
pub(crate) static PACED: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    [translator.limits]
    new-mappings-per-second = 5
    [translator.icmp-errors]
    rate = 1000000
    "#,
);

/// Little for all together. One mapping and one session more are those of the bench.
pub(crate) static CROWDED: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    [translator.limits]
    mappings = 5
    sessions = 5
    [translator.icmp-errors]
    rate = 1000000
    "#,
);

/// Two addresses with four ports each; a host has one of them.
pub(crate) static SCARCE: Group = Group::with_pool(
    "64:ff9b:1::/96",
    r#"{ address = "203.0.113.2-203.0.113.3", ports = "2000-2003" }"#,
    r#"
    [translator.icmp-errors]
    rate = 1000000
    "#,
);

/// The same, and a host may have both.
pub(crate) static SOFT: Group = Group::with_pool(
    "64:ff9b:1::/96",
    r#"{ address = "203.0.113.2-203.0.113.3", ports = "2000-2003" }"#,
    r#"
    address-pooling = "soft"
    [translator.icmp-errors]
    rate = 1000000
    "#,
);

/// One port, that rests for an hour when it has been used.
pub(crate) static RESTING: Group = Group::with_pool(
    "64:ff9b:1::/96",
    r#"{ address = "203.0.113.2", ports = "5000" }"#,
    r#"
    [translator.timers]
    udp = "1s"
    tcp-transitory = "1s"
    port-quarantine = "1h"
    [translator.icmp-errors]
    rate = 1000000
    "#,
);

/// Several addresses, ports in several pieces, and some for some only.
pub(crate) static RULES: Group = Group::with_pool(
    "64:ff9b:1::/96",
    r#"
    "203.0.113.2-203.0.113.5",
    { address = "198.51.100.7", ports = "3000-3009", sources = ["2001:db8:d::/48"] },
    { address = "198.51.100.7", ports = "5000-5009", sources = ["2001:db8:d::/48"] },
    { address = "198.51.100.8", sources = ["2001:db8:e::/48"] },
    { address = "198.51.100.9", sources = ["2001:db8:e::/49"] }
    "#,
    "",
);

/// A hundred ports for all.
pub(crate) static HUNDRED: Group = Group::with_pool(
    "64:ff9b:1::/96",
    r#"{ address = "203.0.113.2", ports = "10000-10099" }"#,
    r#"
    [translator.icmp-errors]
    rate = 1000000
    "#,
);

/// Ports in blocks.
pub(crate) static BLOCKS: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    port-assignment = "blocks"
    [translator.port-blocks]
    size = 16
    per-subscriber = 2
    [translator.icmp-errors]
    rate = 1000000
    "#,
);

/// Ports that follow from the subscriber's prefix: 65,536 subscribers on 64 addresses.
pub(crate) static DETERMINISTIC: Group = Group::with_pool(
    "64:ff9b:1::/96",
    r#""100.64.0.0/26""#,
    r#"
    port-assignment = "deterministic"
    deterministic-sources = "2001:db8:c::/48"
    subscriber-prefix-length = 64
    [translator.icmp-errors]
    rate = 1000000
    "#,
);

/// Sixteen ports, each for several destinations.
pub(crate) static OVERLAPPING: Group = Group::with_pool(
    "64:ff9b:1::/96",
    r#"{ address = "203.0.113.2", ports = "5000-5015" }"#,
    r#"
    mapping = "address-and-port-dependent"
    [translator.icmp-errors]
    rate = 1000000
    "#,
);
