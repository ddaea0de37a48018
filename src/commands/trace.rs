//! `nat64 trace`: packets as they pass, before and after translation, in words or as a capture.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Output;
use crate::cli::TraceArgs;
use crate::control::api::TracedPacket;
use crate::control::client;
use crate::decode;

/// `nat64 trace`
pub(super) fn trace(args: &TraceArgs) -> anyhow::Result<()> {
    let mut sink = match &args.write {
        Some(path) => Sink::Capture(Box::new(Capture::create(path, args.filter.snap)?)),
        None if args.query.json => Sink::Text(Output::new(), in_json),
        None if args.brief => Sink::Text(Output::new(), |packet| Ok(in_a_line(packet))),
        None => Sink::Text(Output::new(), |packet| Ok(described(packet))),
    };
    let query = serde_urlencoded(args)?;
    let (mut line, mut wants_more) = (Vec::new(), true);
    let mut left = args.count.unwrap_or(u64::MAX);
    client::ask(&args.query.control_socket, &format!("/v1/trace?{query}"), |piece| {
        for &byte in piece {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            if !line.is_empty() {
                let packet: TracedPacket = serde_json::from_slice(&line)?;
                line.clear();
                left -= 1;
                if !sink.take(&packet)? || left == 0 {
                    wants_more = false;
                    return sink.flush().map(|()| false);
                }
            }
        }
        sink.flush().map(|()| true)
    })?;
    ensure!(!wants_more, "nat64 has ended the trace: it is stopping, or packets were not taken for too long");
    Ok(())
}

/// The query that asks for what the options say. No value has a character that a query cannot have.
fn serde_urlencoded(args: &TraceArgs) -> anyhow::Result<String> {
    let serde_json::Value::Object(fields) = serde_json::to_value(&args.filter)? else { bail!("no fields") };
    let pair = |(name, value): (String, serde_json::Value)| match value.as_str() {
        Some(text) => format!("{name}={text}"),
        None => format!("{name}={value}"),
    };
    Ok(fields.into_iter().map(pair).collect::<Vec<_>>().join("&"))
}

/// Where packets go.
enum Sink {
    Text(Output, fn(&TracedPacket) -> anyhow::Result<String>),
    Capture(Box<Capture>),
}

impl Sink {
    /// Takes a packet, and returns whether somebody still reads.
    fn take(&mut self, packet: &TracedPacket) -> anyhow::Result<bool> {
        match self {
            Self::Text(out, told) => out.write(told(packet)?.as_bytes()),
            Self::Capture(capture) => capture.take(packet).map(|()| true),
        }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Text(..) => Ok(()),
            Self::Capture(capture) => capture.flush(),
        }
    }
}

fn in_json(packet: &TracedPacket) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string(packet)?))
}

fn described(packet: &TracedPacket) -> String {
    let at = UNIX_EPOCH + Duration::from_nanos(packet.at_nanos);
    let mut text = String::new();
    if packet.missed > 0 {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "({} packets came faster than they could be shown)", packet.missed);
    }
    let reason = packet.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let _ = writeln!(text, "{} {}{reason}", clock(at), packet.verdict);
    let _ = writeln!(text, "    {}{}", decode::line(&bytes(&packet.before)), more(&packet.before, packet.before_len));
    if let Some(after) = &packet.after {
        let _ = writeln!(text, " -> {}{}", decode::line(&bytes(after)), more(after, packet.after_len));
    }
    if packet.beside > 0 {
        let _ = writeln!(text, " -> {} more packets beside it", packet.beside);
    }
    text
}

/// A packet in one line, the time of day in UTC.
fn in_a_line(packet: &TracedPacket) -> String {
    let at = OffsetDateTime::from(UNIX_EPOCH + Duration::from_nanos(packet.at_nanos));
    let (hour, minute, second) = at.to_hms();
    let reason = packet.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let (what, ends) = decode::brief(&bytes(&packet.before));
    let mut text = format!("{hour:02}:{minute:02}:{second:02}.{:06} {}{reason}", at.microsecond(), packet.verdict);
    // Writing to a String cannot fail.
    let _ = write!(text, ", {what}, {} bytes{}{ends}", packet.before_len, if ends.is_empty() { "" } else { ", " });
    if let Some(after) = &packet.after {
        let (answer, ends) = decode::brief(&bytes(after));
        // What a refused packet is answered with goes back to where that came from.
        let _ = if packet.reason.is_some() { write!(text, " -> {answer}") } else { write!(text, " -> {ends}") };
    }
    if packet.beside > 0 {
        let _ = write!(text, ", {} more beside it", packet.beside);
    }
    if packet.missed > 0 {
        let _ = write!(text, " ({} before it were left out)", packet.missed);
    }
    text.push('\n');
    text
}

/// How long a packet is of which not all is there.
fn more(hex: &str, len: usize) -> String {
    if hex.len() / 2 < len { format!(" of {len}") } else { String::new() }
}

fn clock(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_default()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A capture that Wireshark reads: what came in on one interface and what went out on another, with the verdict as comment.
struct Capture(PcapNgWriter<BufWriter<File>>);

/// The interface of packets as they came.
const BEFORE: u32 = 0;
/// The interface of packets as they went.
const AFTER: u32 = 1;

impl Capture {
    fn create(path: &Path, snap: u16) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("{}: cannot be written", path.display()))?;
        let mut writer = PcapNgWriter::new(BufWriter::new(file)).context("cannot begin the capture")?;
        for name in ["before translation", "after translation"] {
            let options = vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                // Nanoseconds.
                InterfaceDescriptionOption::IfTsResol(9),
            ];
            let interface = InterfaceDescriptionBlock { linktype: DataLink::RAW, snaplen: snap.into(), options };
            writer.write_pcapng_block(interface).context("cannot begin the capture")?;
        }
        Ok(Self(writer))
    }

    fn take(&mut self, packet: &TracedPacket) -> anyhow::Result<()> {
        let reason = packet.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let comment = format!("{}{reason}", packet.verdict);
        self.write(BEFORE, packet, (&packet.before, packet.before_len), &comment)?;
        if let Some(after) = &packet.after {
            self.write(AFTER, packet, (after, packet.after_len), &comment)?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        interface_id: u32,
        packet: &TracedPacket,
        (hex, len): (&str, usize),
        comment: &str,
    ) -> anyhow::Result<()> {
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(packet.at_nanos),
            original_len: u32::try_from(len).unwrap_or(u32::MAX),
            data: Cow::Owned(bytes(hex)),
            options: vec![EnhancedPacketOption::Comment(Cow::Borrowed(comment))],
        };
        self.0.write_pcapng_block(block).map(|_| ()).context("cannot write to the capture")
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        std::io::Write::flush(self.0.get_mut()).context("cannot write to the capture")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> TracedPacket {
        TracedPacket {
            at_nanos: 1_700_000_000_123_456_789,
            worker: 0,
            verdict: "refused".to_owned(),
            reason: Some("no-mapping".to_owned()),
            before: "4500001c000000004011000 0c0000201c6336407".replace(' ', "") + "03e8003500080000",
            before_len: 1500,
            after: None,
            after_len: 0,
            beside: 2,
            missed: 7,
        }
    }

    #[test]
    fn packets_are_told_with_what_became_of_them() {
        insta::assert_snapshot!(described(&packet()), @r"
        (7 packets came faster than they could be shown)
        2023-11-14T22:13:20.123456789Z refused: no-mapping
            IPv4 192.0.2.1 > 198.51.100.7, UDP 1000 > 53 length 8, TTL 64, 28 bytes of 1500
         -> 2 more packets beside it
        ");
    }

    #[test]
    fn a_brief_trace_has_a_line_for_each_packet() {
        let refused = TracedPacket {
            after: Some("4500001c00000000400100 00c6336407c0000201 0303000000000000".replace(' ', "")),
            ..packet()
        };
        let translated = TracedPacket {
            verdict: "translated".to_owned(),
            reason: None,
            after: Some(
                "6000000000081140 20010db8000000000000000000000001 0064ff9b0000000000000000c6336407 03e8003500080000"
                    .replace(' ', ""),
            ),
            beside: 0,
            missed: 0,
            ..packet()
        };
        let broken =
            TracedPacket { before: "00".to_owned(), verdict: "dropped".to_owned(), after: None, ..refused.clone() };
        insta::assert_snapshot!([refused, translated, broken].map(|packet| in_a_line(&packet)).concat(), @r"
        22:13:20.123456 refused: no-mapping, UDP, 1500 bytes, 192.0.2.1:1000 > 198.51.100.7:53 -> ICMP destination unreachable (3), 2 more beside it (7 before it were left out)
        22:13:20.123456 translated, UDP, 1500 bytes, 192.0.2.1:1000 > 198.51.100.7:53 -> [2001:db8::1]:1000 > [64:ff9b::c633:6407]:53
        22:13:20.123456 dropped: no-mapping, no IP packet, 1500 bytes, 2 more beside it (7 before it were left out)
        ");
    }

    #[test]
    fn bytes_come_back_from_their_digits() {
        assert_eq!(bytes("00ff7f"), [0, 255, 127]);
    }
}
