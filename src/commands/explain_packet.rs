//! `nat64 explain packet`: what the running daemon would do with a packet.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep, SlicedPacket};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};

use super::Output;
use crate::cli::PacketArgs;
use crate::config::Transport;
use crate::control::api::{Created, PacketPreview};
use crate::control::client;

/// `nat64 explain packet`
pub(super) fn packet(args: &PacketArgs) -> anyhow::Result<()> {
    let packets = match (&args.file, args.from, args.to) {
        (Some(file), _, _) => from_file(file, args.count)?,
        (None, Some(from), Some(to)) => vec![build(args, from, to)?],
        _ => bail!("which packet? give --from and --to, or --file with a capture; see nat64 explain packet --help"),
    };
    let mut out = Output::new();
    for packet in packets {
        let preview: PacketPreview = client::tell_of(&args.query.control_socket, "/v1/explain", packet)?;
        let text = if args.query.json { format!("{}\n", serde_json::to_string(&preview)?) } else { rendered(&preview) };
        if !out.write(text.as_bytes())? {
            break;
        }
    }
    Ok(())
}

/// A packet as somebody would send it.
fn build(args: &PacketArgs, from: SocketAddr, to: SocketAddr) -> anyhow::Result<Vec<u8>> {
    /// As most hosts send them.
    const HOPS: u8 = 64;
    let (start, is_v6): (PacketBuilderStep<IpHeaders>, bool) = match (from.ip(), to.ip()) {
        (IpAddr::V6(from), IpAddr::V6(to)) => (PacketBuilder::ipv6(from.octets(), to.octets(), HOPS), true),
        (IpAddr::V4(from), IpAddr::V4(to)) => (PacketBuilder::ipv4(from.octets(), to.octets(), HOPS), false),
        _ => bail!("--from and --to are of different IP versions; from inside both are IPv6, from outside IPv4"),
    };
    let mut bytes = Vec::new();
    let payload = vec![0; args.size.into()];
    match args.protocol {
        Transport::Udp => start.udp(from.port(), to.port()).write(&mut bytes, &payload),
        Transport::Icmp if is_v6 => start.icmpv6_echo_request(from.port(), 1).write(&mut bytes, &payload),
        Transport::Icmp => start.icmpv4_echo_reply(to.port(), 1).write(&mut bytes, &payload),
        Transport::Tcp => {
            let mut tcp = start.tcp(from.port(), to.port(), 1, 65_535);
            for flag in args.flags.split(',').filter(|flag| !flag.is_empty()) {
                tcp = match flag.to_ascii_uppercase().as_str() {
                    "SYN" => tcp.syn(),
                    "ACK" => tcp.ack(1),
                    "FIN" => tcp.fin(),
                    "RST" => tcp.rst(),
                    "PSH" => tcp.psh(),
                    other => bail!("`{other}` is no flag of TCP here; there are SYN, ACK, FIN, RST and PSH"),
                };
            }
            tcp.write(&mut bytes, &payload)
        }
    }
    .context("cannot build the packet")?;
    Ok(bytes)
}

/// The first IP packets of a capture.
fn from_file(path: &Path, count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let cannot = || format!("{}: cannot be read as pcap or pcapng", path.display());
    let open = || File::open(path).with_context(|| format!("{}: cannot be opened", path.display()));
    let mut packets = Vec::new();
    let mut frames = 0;
    let mut take = |link: DataLink, frame: &[u8]| {
        frames += 1;
        packets.extend(ip_of(link, frame));
        packets.len() < count
    };
    if let Ok(mut reader) = PcapReader::new(open()?) {
        let link = reader.header().datalink;
        while let Some(packet) = reader.next_packet() {
            if !take(link, &packet.with_context(cannot)?.data) {
                break;
            }
        }
    } else {
        let mut reader = PcapNgReader::new(open()?).with_context(cannot)?;
        let mut links = Vec::new();
        while let Some(block) = reader.next_block() {
            #[expect(clippy::wildcard_enum_match_arm, reason = "other blocks have no packet")]
            let (interface, frame) = match block.with_context(cannot)? {
                Block::InterfaceDescription(interface) => {
                    links.push(interface.linktype);
                    continue;
                }
                Block::EnhancedPacket(packet) => (packet.interface_id as usize, packet.data.into_owned()),
                Block::SimplePacket(packet) => (0, packet.data.into_owned()),
                _ => continue,
            };
            let link = links.get(interface).copied().unwrap_or(DataLink::RAW);
            if !take(link, &frame) {
                break;
            }
        }
    }
    ensure!(!packets.is_empty(), "{}: none of its {frames} frames is an IP packet", path.display());
    Ok(packets)
}

/// The IP packet in a frame.
fn ip_of(link: DataLink, frame: &[u8]) -> Option<Vec<u8>> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "there are hundreds")]
    let packet = match link {
        DataLink::ETHERNET => {
            let sliced = SlicedPacket::from_ethernet(frame).ok()?;
            let payload = sliced.ether_payload()?;
            payload.payload
        }
        DataLink::LINUX_SLL => frame.get(16..)?,
        DataLink::LINUX_SLL2 => frame.get(20..)?,
        _ => frame,
    };
    matches!(packet.first()? >> 4, 4 | 6).then(|| packet.to_vec())
}

fn rendered(preview: &PacketPreview) -> String {
    let mut text = format!("{}\n", preview.packet);
    let mut line = |label: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {label:<14}{value}");
    };
    match &preview.reason {
        Some(reason) => line("would be", format!("{}: {reason}", preview.verdict)),
        None => line("would be", preview.verdict.clone()),
    }
    if let Some(result) = &preview.result {
        line(if preview.reason.is_some() { "answered by" } else { "as" }, result.clone());
    }
    preview.others.iter().for_each(|other| line("and", other.clone()));
    if let Some(meaning) = &preview.meaning {
        line("because", meaning.clone());
    }
    if let Some(remedy) = &preview.remedy {
        line("what to do", remedy.clone());
    }
    if let Some(number) = preview.exclusion {
        line("exclusion", format!("number {number} of translator.exclude"));
    }
    if let Some(prefix) = &preview.prefix {
        line("prefix", prefix.clone());
    }
    if let Some(subscriber) = preview.subscriber {
        line("subscriber", subscriber.to_string());
    }
    match &preview.mapping {
        Some(mapping) => line(
            "mapping",
            format!(
                "{} {} is {}{}, with {} sessions",
                mapping.protocol,
                mapping.internal,
                mapping.external,
                if mapping.fixed { " (static)" } else { "" },
                mapping.sessions
            ),
        ),
        None => line("mapping", "none yet".to_owned()),
    }
    match &preview.session {
        Some(session) => line(
            "session",
            format!("with {}, {}, {} s left", session.remote, session.state, session.expires_in_seconds),
        ),
        None => line("session", "none yet".to_owned()),
    }
    preview.would_create.iter().for_each(|created| line("would make", made(created)));
    if preview.would_create.iter().any(|created| created.what == "mapping") {
        line("port", port_choice(preview));
    }
    text
}

fn made(created: &Created) -> String {
    let Created { what, internal, external, remote } = created;
    match remote {
        Some(remote) => format!("a {what} of {internal} as {external} with {remote}"),
        None => format!("a {what} of {internal} as {external}"),
    }
}

/// Where the port of a new mapping comes from.
fn port_choice(preview: &PacketPreview) -> String {
    if let Some(share) = &preview.share {
        return format!("at random from {} to {} of {}", share.first_port, share.last_port, share.address);
    }
    const SHOWN: usize = 4;
    let mut addresses: Vec<String> = preview.candidates.iter().take(SHOWN).map(ToString::to_string).collect();
    if preview.candidates.len() > SHOWN {
        addresses.push("others".to_owned());
    }
    let rule = preview.pool_rule.map(|sources| format!(", by the rule for {sources}")).unwrap_or_default();
    format!("at random; the one here is an example. On {}{rule}", addresses.join(", "))
}

#[cfg(test)]
mod tests;
