use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

use super::*;
use crate::cli::{Cli, Command, ExplainCommand};

fn args(line: &str) -> PacketArgs {
    let words = ["nat64", "explain", "packet"].into_iter().chain(line.split_whitespace());
    let Command::Explain(args) = Cli::try_parse_from(words).unwrap().command else { unreachable!() };
    let Some(ExplainCommand::Packet(args)) = args.command else { unreachable!() };
    args
}

fn built(line: &str) -> anyhow::Result<String> {
    let args = args(line);
    build(&args, args.from.unwrap(), args.to.unwrap()).map(|packet| crate::decode::line(&packet))
}

#[test]
fn packets_are_built_as_they_are_described() {
    let inside = "--from [2001:db8::1]:5000 --to [64:ff9b::1]:443";
    assert!(built(inside).unwrap().contains("TCP 5000 > 443 [SYN]"));
    assert!(built(&format!("{inside} --flags fin,ACK")).unwrap().contains("[ACK,FIN]"));
    assert!(built(&format!("{inside} --protocol udp --size 100")).unwrap().contains("UDP 5000 > 443 length 108"));
    assert!(built(&format!("{inside} --protocol icmp")).unwrap().contains("ICMPv6 echo request id 5000"));
    let outside = "--from 198.51.100.7:443 --to 192.0.2.1:40000";
    assert!(built(&format!("{outside} --protocol icmp")).unwrap().contains("ICMP echo reply id 40000"));
    let mixed = built("--from 198.51.100.7:443 --to [64:ff9b::1]:443").unwrap_err();
    assert!(mixed.to_string().contains("different IP versions"));
    assert!(built(&format!("{inside} --flags SIN")).unwrap_err().to_string().contains("`SIN` is no flag"));
}

/// A capture that goes away again.
struct Capture(PathBuf);

impl Capture {
    fn new(name: &str, link: DataLink, frames: &[&[u8]]) -> Self {
        let path = std::env::temp_dir().join(format!("nat64-{}-{name}.pcap", std::process::id()));
        let header = PcapHeader { datalink: link, ..PcapHeader::default() };
        let mut writer = PcapWriter::with_header(File::create(&path).unwrap(), header).unwrap();
        for frame in frames {
            let len = u32::try_from(frame.len()).unwrap();
            let packet = PcapPacket { timestamp: Duration::ZERO, orig_len: len, data: Cow::Borrowed(frame) };
            writer.write_packet(&packet).unwrap();
        }
        Self(path)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn captures_are_read_whatever_the_link() {
    let args = args("--from [2001:db8::1]:5000 --to [64:ff9b::1]:443");
    let packet = build(&args, args.from.unwrap(), args.to.unwrap()).unwrap();
    let ethernet = [&[0; 12][..], &[0x86, 0xdd], &packet].concat();
    let arp = [&[0; 12][..], &[0x08, 0x06], &[0; 28]].concat();

    let raw = Capture::new("raw", DataLink::RAW, &[&packet, &packet, &packet]);
    let framed = Capture::new("ethernet", DataLink::ETHERNET, &[&arp, &ethernet]);
    let nothing = Capture::new("nothing", DataLink::ETHERNET, &[&arp]);

    assert_eq!(from_file(&raw.0, 2).unwrap(), [packet.clone(), packet.clone()]);
    assert_eq!(from_file(&framed.0, 10).unwrap(), [packet]);
    assert!(from_file(&nothing.0, 10).unwrap_err().to_string().contains("none of its 1 frames is an IP packet"));
    assert!(from_file(Path::new("/nonexistent"), 1).unwrap_err().to_string().contains("cannot be opened"));
}
