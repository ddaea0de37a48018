//! Listings as tables. Columns have fixed widths, so that rows can be printed as they come; a long value pushes its row.

use crate::control::api::{Mapping, PoolAddress, Session, Subscriber};

/// The heading of [`session`] rows.
pub(super) fn sessions() -> String {
    let columns =
        ["PROTO", "INTERNAL", "EXTERNAL", "REMOTE", "STATE", "AGE", "EXPIRES", "PACKETS OUT/IN", "BYTES OUT/IN"];
    session_row(columns.map(str::to_owned))
}

/// A row of the sessions.
pub(super) fn session(session: &Session) -> String {
    let is_icmp = session.protocol == "icmp";
    session_row([
        session.protocol.clone(),
        session.internal.to_string(),
        session.external.to_string(),
        if is_icmp { session.remote.address.to_string() } else { session.remote.to_string() },
        session.state.clone(),
        duration(session.age_seconds),
        duration(session.expires_in_seconds),
        format!("{}/{}", count(session.outbound.packets), count(session.inbound.packets)),
        format!("{}/{}", bytes(session.outbound.bytes), bytes(session.inbound.bytes)),
    ])
}

fn session_row([protocol, internal, external, remote, state, age, expires, packets, size]: [String; 9]) -> String {
    format!(
        "{protocol:<5} {internal:<40} {external:<21} {remote:<21} {state:<17} {age:>6} {expires:>7}  {packets:<14} {size}\n"
    )
}

/// The heading of [`mapping`] rows.
pub(super) fn mappings() -> String {
    mapping_row(["PROTO", "INTERNAL", "EXTERNAL", "SESSIONS", "AGE", "KIND"].map(str::to_owned))
}

/// A row of the mappings.
pub(super) fn mapping(mapping: &Mapping) -> String {
    mapping_row([
        mapping.protocol.clone(),
        mapping.internal.to_string(),
        mapping.external.to_string(),
        mapping.sessions.to_string(),
        duration(mapping.age_seconds),
        if mapping.fixed { "static" } else { "dynamic" }.to_owned(),
    ])
}

fn mapping_row([protocol, internal, external, sessions, age, kind]: [String; 6]) -> String {
    format!("{protocol:<5} {internal:<40} {external:<21} {sessions:>8} {age:>6}  {kind}\n")
}

/// The heading of [`subscriber`] rows.
pub(super) fn subscribers() -> String {
    subscriber_row(["PREFIX", "POOL ADDRESS", "MAPPINGS", "SESSIONS"].map(str::to_owned))
}

/// A row of the subscribers.
pub(super) fn subscriber(subscriber: &Subscriber) -> String {
    subscriber_row([
        subscriber.prefix.to_string(),
        subscriber.address.to_string(),
        subscriber.mappings.to_string(),
        subscriber.sessions.to_string(),
    ])
}

fn subscriber_row([prefix, address, mappings, sessions]: [String; 4]) -> String {
    format!("{prefix:<43} {address:<15} {mappings:>8} {sessions:>8}\n")
}

/// The heading of [`pool_address`] rows.
pub(super) fn pool() -> String {
    pool_row(["ADDRESS", "PORTS", "TCP TAKEN", "UDP TAKEN", "ICMP TAKEN", "MOST", "STATE"].map(str::to_owned))
}

/// A row of the pool.
pub(super) fn pool_address(address: &PoolAddress) -> String {
    let [tcp, udp, icmp] = address.taken.all();
    let most = u64::from(tcp.max(udp).max(icmp)) * 100 / u64::from(address.ports.max(1));
    let [ports, tcp, udp, icmp] = [address.ports, tcp, udp, icmp].map(|number| number.to_string());
    let state = if address.draining { "draining" } else { "open" }.to_owned();
    pool_row([address.address.to_string(), ports, tcp, udp, icmp, format!("{most}%"), state])
}

fn pool_row([address, ports, tcp, udp, icmp, most, state]: [String; 7]) -> String {
    format!("{address:<15} {ports:>6} {tcp:>10} {udp:>10} {icmp:>10} {most:>5} {state}\n")
}

/// Seconds as their two largest units: `1h02m`.
pub(super) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A number with at most four digits and a decimal unit: `12.3M`.
pub(super) fn count(number: u64) -> String {
    scaled(number, 1000, &["", "k", "M", "G", "T", "P", "E"])
}

/// Bits in a second with at most four digits and a decimal unit: `12.3Mbit/s`.
pub(super) fn bits(number: u64) -> String {
    scaled(number, 1000, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s", "Ebit/s"])
}

/// Bytes with at most four digits and a binary unit: `12.3MiB`.
pub(super) fn bytes(number: u64) -> String {
    scaled(number, 1024, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

fn scaled(number: u64, base: u64, units: &[&str]) -> String {
    let mut unit = 0;
    let mut divisor: u64 = 1;
    while number / divisor >= base && unit + 1 < units.len() {
        divisor *= base;
        unit += 1;
    }
    let (whole, tenths) = (number / divisor, u128::from(number % divisor) * 10 / u128::from(divisor));
    if unit == 0 || whole >= 100 {
        format!("{whole}{}", units[unit])
    } else {
        format!("{whole}.{tenths}{}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{ByProtocol, Traffic};

    #[test]
    fn numbers_are_short() {
        let counts = [0, 999, 1000, 12_345, 999_999, 1_000_000, u64::MAX].map(count);
        assert_eq!(counts, ["0", "999", "1.0k", "12.3k", "999k", "1.0M", "18.4E"]);
        assert_eq!([0, 1023, 1024, 1 << 30].map(bytes), ["0B", "1023B", "1.0KiB", "1.0GiB"]);
        let durations = [0, 59, 60, 3599, 3600, 86_399, 86_400 * 3 + 3600].map(duration);
        assert_eq!(durations, ["0s", "59s", "1m00s", "59m59s", "1h00m", "23h59m", "3d01h"]);
    }

    #[test]
    fn columns_stand_under_their_headings() {
        let tcp = Session {
            protocol: "tcp".to_owned(),
            internal: ("2001:db8:64:0:a::2".parse().unwrap(), 43210).into(),
            external: ("192.0.2.1".parse().unwrap(), 20001).into(),
            remote: ("198.51.100.10".parse().unwrap(), 80).into(),
            remote6: "64:ff9b::c633:640a".parse().unwrap(),
            state: "ESTABLISHED".to_owned(),
            age_seconds: 12,
            expires_in_seconds: 7440,
            outbound: Traffic { packets: 6, bytes: 512 },
            inbound: Traffic { packets: 120_000, bytes: 170_000_000 },
        };
        let icmp = Session {
            protocol: "icmp".to_owned(),
            remote: ("198.51.100.10".parse().unwrap(), 0).into(),
            state: "ACTIVE".to_owned(),
            ..tcp.clone()
        };
        let owner = Mapping {
            protocol: "tcp".to_owned(),
            internal: tcp.internal,
            external: tcp.external,
            sessions: 1,
            fixed: false,
            age_seconds: 12,
        };
        let host = Subscriber {
            prefix: "2001:db8:64:0:a::2/128".parse().unwrap(),
            address: "192.0.2.1".parse().unwrap(),
            mappings: 12,
            sessions: 340,
        };
        let address =
            PoolAddress { address: host.address, ports: 64512, taken: ByProtocol::new([32256, 7, 0]), draining: true };
        let text = [
            [sessions(), session(&tcp), session(&icmp)].concat(),
            [mappings(), mapping(&owner)].concat(),
            [subscribers(), subscriber(&host)].concat(),
            [pool(), pool_address(&address)].concat(),
        ]
        .concat();
        insta::assert_snapshot!(text);
    }
}
