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
    inbound-refresh = false
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

/// No errors at all.
pub(crate) static UNTOLD: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
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

/// All that waits does so for a second.
pub(crate) static WAITING: Group = Group::new(
    "64:ff9b:1::/96",
    r#"
    [translator.timers]
    udp = "1s"
    icmp = "1s"
    fragment = "1s"
    tcp-incoming-syn = "1s"
    tcp-established = "1s"
    tcp-transitory = "1s"
    port-quarantine = "0s"
    "#,
);

/// The well-known prefix, with its guard.
pub(crate) static GUARDED: Group = Group::new("64:ff9b::/96", "");

/// A prefix of each length, and the well-known one without its guard.
pub(crate) static PREFIXES: Group = Group::new(
    r#"["64:ff9b::/96", "3fff:32::/32", "3fff:40::/40", "3fff:48::/48", "3fff:56::/56", "3fff:64::/64", "3fff:96::/96"]
    wkp-allow-private = true"#,
    "",
);
