//! What becomes of a packet.

/// Which way a packet was going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// From the IPv6 side to the IPv4 side.
    SixToFour = 0,
    /// From the IPv4 side to the IPv6 side.
    FourToSix = 1,
}

/// What the translator decided. Whatever it is, packets in [`crate::Spill`] are to be written too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The buffer holds the translated packet: write it.
    Translated(Direction),
    /// The buffer holds the packet, translated twice, for a destination behind this translator (RFC 6146 §3.8): write it.
    Hairpinned,
    /// The packet was kept or answered by other packets; the buffer holds nothing to write. See [`crate::Spill`].
    Held,
    /// The packet goes no further and the buffer holds the ICMP error for its sender: write that.
    Refused(DropReason),
    /// The packet goes no further.
    Dropped(DropReason),
}

macro_rules! drop_reasons {
    ($($(#[doc = $what:literal])+ $variant:ident, $name:literal, $fix:literal;)+) => {
        /// Why a packet went no further. The one list behind counters, metric labels, `nat64 explain` and the docs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[doc = $what])+ $variant,)+ }

        impl DropReason {
            /// Every reason, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in counters, labels and listings: lower case with hyphens, stable.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What happened, in a sentence or two.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($what,)+).trim_ascii(),)+ }
            }

            /// What an operator can do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $fix,)+ }
            }
        }
    };
}

drop_reasons! {
    // What the packet itself is.
    /// The packet is shorter than its headers say, or a header field contradicts another.
    Malformed, "malformed", "Look at the sender; capture on the device with tcpdump.";
    /// The packet is neither IPv4 nor IPv6.
    NotIp, "not-ip", "Nothing but IP belongs on the device; look for another program that writes to it.";
    /// The IPv4 header checksum is wrong.
    BadHeaderChecksum, "bad-header-checksum", "Look at the sender or the link; the packet was damaged.";
    /// The transport is not TCP, UDP or ICMP (RFC 6146 section 3.4).
    UnsupportedProtocol, "unsupported-protocol", "SCTP, DCCP, ESP and others cannot be translated statefully; give these hosts another path.";
    /// The ICMP or ICMPv6 type or code has no counterpart (RFC 7915 sections 4.2 and 5.2).
    UntranslatableIcmp, "untranslatable-icmp", "Nothing to do: such messages stay in their own IP version.";
    /// The packet inside an ICMP error is too short, or is an ICMP error itself.
    BadEmbeddedPacket, "bad-embedded-packet", "Nothing to do unless frequent; then capture the errors.";
    /// An IPv6 Routing header has segments left (RFC 7915 section 5.1).
    RoutingHeader, "routing-header", "The sender source-routes; translation cannot follow that.";
    /// An IPv4 source route option has not expired (RFC 7915 section 4.1).
    SourceRoute, "source-route", "The sender source-routes; translation cannot follow that.";
    /// The packet reached us with a hop limit or TTL of 1 or 0.
    HopLimitExceeded, "hop-limit-exceeded", "Normal for traceroute; otherwise look for a routing loop.";
    /// A UDP packet without checksum came from IPv4 and policy is to drop it (RFC 7915 section 4.5).
    ZeroUdpChecksum, "zero-udp-checksum", "Allow them by configuration if a sender needs it.";
    /// The translated packet does not fit the next link and must not be fragmented.
    TooBig, "too-big", "Normal for path MTU discovery: the sender was told the size that fits.";

    // Addresses.
    /// The IPv6 destination is under no translation prefix.
    NotOurPrefix, "not-our-prefix", "Route only the translation prefix to the device.";
    /// The IPv4 destination is not in the pool.
    NotOurPool, "not-our-pool", "Route only pool addresses to the device.";
    /// The source address cannot be a sender's: multicast, loopback, unspecified, link-local or reserved.
    IllegalSource, "illegal-source", "Look at the sender, or at what forwards its packets here. One or two at the start are what Linux itself sends on a new device.";
    /// The destination cannot be reached through a translator: multicast, loopback, link-local or reserved.
    IllegalDestination, "illegal-destination", "The client asked for an address that only its own link or host can have.";
    /// The source is under the translation prefix or in the pool: a loop (RFC 6146 section 3.5).
    Loop, "loop", "A route sends translated packets back; check routes to the prefix and to the pool.";
    /// The well-known prefix 64:ff9b::/96 must not carry this non-global IPv4 address (RFC 6052 section 3.1).
    WellKnownPrefix, "well-known-prefix", "Use a prefix of your own or 64:ff9b:1::/96 for private IPv4 destinations, or set wkp-allow-private = true.";

    // Policy.
    /// An address-dependent filter found no session with this sender (RFC 6146 section 3.5).
    Filtered, "filtered", "Unsolicited traffic; use endpoint-independent filtering if it is wanted.";
    /// The configuration excludes this source, destination or port from translation, or connections from outside.
    AdministrativelyProhibited, "administratively-prohibited", "Change the exclusion, or translator.inbound-tcp, if the traffic is wanted.";

    // State.
    /// No mapping exists for this pool address and port.
    NoMapping, "no-mapping", "Unsolicited traffic from outside, or a mapping that has expired.";
    /// A TCP packet that is no SYN belongs to no session.
    NoSession, "no-session", "Normal after a restart or an expired session; the client reconnects.";
    /// No free port on the pool addresses that this subscriber may use.
    PoolExhausted, "pool-exhausted", "Add pool addresses or ports, or shorten timers; see nat64 mappings.";
    /// The table of mappings or of sessions is full.
    TableFull, "table-full", "Raise the limit if memory allows, or find who fills it with nat64 sessions.";
    /// The translator, or the pool address that the packet would use, is being drained: it takes no new sessions.
    Draining, "draining", "Wait for sessions to end, or take it back with nat64 undrain; hosts should be sent to another gateway.";
    /// The subscriber has as many mappings or sessions, or new ones per second, as it may.
    SubscriberLimit, "subscriber-limit", "Raise the subscriber's limit, or look at what the host does.";
    /// A stored SYN was not answered from inside in time (RFC 6146 section 3.5.2.2).
    StoredSynTimeout, "stored-syn-timeout", "Unsolicited connection from outside.";
    /// No room to keep another SYN from outside.
    StoredSynLimit, "stored-syn-limit", "Under attack, or raise the limit.";

    // Fragments.
    /// The fragments of a datagram did not arrive in time.
    FragmentTimeout, "fragment-timeout", "Loss on the path; prefer path MTU discovery to fragmentation.";
    /// No room to keep another fragment.
    FragmentLimit, "fragment-limit", "Raise the limit, or look for a host that sends fragments without end.";
    /// Fragments overlap or contradict each other (RFC 5722), or one came twice.
    FragmentOverlap, "fragment-overlap", "Duplicates are the network's; otherwise look at the sender, which is malicious or broken.";

    // Resources.
    /// An ICMP error was due, but the rate limit for errors of our own was reached (RFC 4443 section 2.4 (f)).
    ErrorRateLimit, "error-rate-limit", "Nothing to do unless constant; then look for scanning.";
}
