//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{Asked, Pane};
use crate::config::{DEFAULT_SOCKET, Overrides, Transport};
use crate::control::filter::Filter;
use crate::control::trace::TraceFilter;

/// Stateful NAT64 and DNS64: lets hosts that have only IPv6 reach the IPv4 Internet, by name.
#[derive(Debug, Parser)]
#[command(name = "nat64", version, max_term_width = 100, after_help = EXAMPLES, propagate_version = false)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  nat64 run --pool4 192.0.2.1 --dns-upstream 192.0.2.53
  nat64 check /etc/nat64/nat64.toml
  nat64 status";

const RUN: &str = "\
Translate packets and answer DNS queries until stopped by SIGTERM or SIGINT.

Creates its network device, routes and forwarding settings, says what it did, and undoes all of it when it stops. Without \
--config, /etc/nat64/nat64.toml is read if it exists and neither --pool4 nor --dns-upstream is given.";

const CHECK: &str = "\
Check a configuration and print it with every default written out.

The effective configuration goes to standard output, as a file that can be used in place of the one checked. What is wrong \
goes to standard error as FILE:LINE:COLUMN: MESSAGE, with exit status 1. Nothing is changed, and no privilege is needed.";

const WHOSE: &str = "\
Tell whose a pool port is, and which ports a host has, by the configuration alone.

With deterministic ports (RFC 7422) a configuration says for all the time that it was in force which subscriber had a port, \
without any log. Static mappings are told, too. The running daemon is not asked, and no privilege is needed.";

const RELOAD: &str = "\
Read the configuration again and apply what differs; no session that it allows is lost.

The daemon reads the file that it was started with, under the same options. If anything is wrong with it, nothing changes and \
the mistake is shown as FILE:LINE:COLUMN: MESSAGE. Otherwise what differs is printed key by key. What cannot change while the \
daemon runs is named, and stays as it is until the next start. SIGHUP does the same; the log tells what came of it.";

const TAKE_NONE: &str = "\
Take no new sessions, on a pool address or at all; those that exist go on.

Without an address the whole gateway is drained: DNS64 hands out no more addresses under its prefixes, and /readyz says no. It \
lasts until `nat64 undrain`, or the end of the daemon.";

const CLOSE: &str = "\
End the sessions that all the given options match.

Neither end is told, and a host that sends on opens another session if it may. With --reset, each end of a TCP connection gets a \
reset in the name of the other, so that its program notices at once. That needs the sequence number that the end expects, which is \
known once it has acknowledged something; what could not be told is said.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Translate packets and answer DNS queries until stopped by SIGTERM or SIGINT
    #[command(long_about = RUN)]
    Run(RunArgs),
    /// Check a configuration and print it with every default written out
    #[command(long_about = CHECK)]
    Check(CheckArgs),
    /// Show what the running daemon does, on one screen
    Status(QueryArgs),
    /// Watch what happens now: rates, talkers, sessions, drops, DNS64
    #[command(long_about = TOP)]
    Top(TopArgs),
    /// List the sessions: who inside talks to whom outside
    Sessions(ListArgs),
    /// List the mappings (BIB): which pool address and port belong to whom inside
    Mappings(ListArgs),
    /// List the subscribers that have mappings: with which pool address, and how many
    Subscribers(QueryArgs),
    /// List the pool addresses and how many of their ports are taken
    Pool(QueryArgs),
    /// Explain drop reasons, or what would become of a packet
    Explain(ReasonArgs),
    /// Tell whose a pool port is, and which ports a host has, by the configuration alone
    #[command(long_about = WHOSE)]
    Whose(WhoseArgs),
    /// Say whose a pool address and port was at a time, from a JSON log of sessions
    WhoHad(WhoHadArgs),
    /// Show packets as they pass, before and after translation, and what was decided
    #[command(long_about = TRACE)]
    Trace(TraceArgs),
    /// Read the configuration again and apply what differs; no session that it allows is lost
    #[command(long_about = RELOAD)]
    Reload(ReloadArgs),
    /// List, add and remove static mappings of the running daemon
    #[command(subcommand)]
    Static(StaticCommand),
    /// End sessions
    #[command(subcommand)]
    Session(SessionCommand),
    /// Take no new sessions, on a pool address or at all; those that exist go on
    #[command(long_about = TAKE_NONE)]
    Drain(TakesNoneArgs),
    /// Take new sessions again
    Undrain(TakesNoneArgs),
    /// Ask and change the DNS64 server of the running daemon
    #[command(subcommand)]
    Dns(DnsCommand),
    /// Print the description of the control API (OpenAPI 3.1)
    Openapi,
    /// Print what a shell completes command lines by
    Completions(CompletionsArgs),
    /// Print the manual page, or write all of them to a directory
    Man(ManArgs),
    /// Print the version of this program
    Version(VersionArgs),
}

/// `nat64 run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Configuration file
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Values that replace those of the file.
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// `nat64 check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Configuration file [default: /etc/nat64/nat64.toml if it exists]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Values that replace those of the file.
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// `nat64 whose`
#[derive(Debug, Args)]
pub(crate) struct WhoseArgs {
    /// Pool address and port, such as 192.0.2.1:40123, or the IPv6 address of a host
    #[arg(value_name = "ADDRESS:PORT|HOST")]
    pub(crate) what: Asked,
    /// Configuration file [default: /etc/nat64/nat64.toml if it exists]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Values that replace those of the file.
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// Options of the commands that ask the running daemon.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// Print JSON: one object, or one per line for listings
    #[arg(long)]
    pub(crate) json: bool,
    /// Unix socket of the running daemon
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) control_socket: PathBuf,
}

/// `nat64 who-had`
#[derive(Debug, Args)]
pub(crate) struct WhoHadArgs {
    /// Pool address and port, such as 192.0.2.1:40123
    #[arg(value_name = "ADDRESS:PORT", value_parser = pool_port)]
    pub(crate) external: SocketAddrV4,
    /// The time, as in 2026-11-22T10:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// Only this protocol
    #[arg(long, value_parser = ["tcp", "udp", "icmp"])]
    pub(crate) protocol: Option<String>,
    /// A JSON log of sessions, mappings or blocks, which may be compressed by gzip; the older one first if there are several
    /// [default: those of the configuration, with what became of them when they were rotated]
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Vec<PathBuf>,
    /// Configuration file that names the logs [default: /etc/nat64/nat64.toml]
    #[arg(long, short, value_name = "FILE", conflicts_with = "log")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `nat64 dns`
#[derive(Debug, Subcommand)]
pub(crate) enum DnsCommand {
    /// Say why a client is told what it is told about a name, rule by rule
    #[command(long_about = EXPLAIN)]
    Explain(ExplainArgs),
    /// Forget cached answers: those for a name and all names below it, or all
    Flush(FlushArgs),
    /// Hand out no more addresses under a prefix, so that new sessions go elsewhere or nowhere
    #[command(long_about = DRAIN)]
    Drain(DrainArgs),
    /// Hand out addresses under a prefix again
    Undrain(DrainArgs),
}

const EXPLAIN: &str = "\
Say why a client is told what it is told about a name, rule by rule.

The name is looked up as for a query of that client; what is not in the cache is asked of upstreams. Each line is a rule, where \
it comes from, and what it found; the last one decided.";

const DRAIN: &str = "\
Hand out no more addresses under a prefix, so that new sessions go elsewhere or nowhere.

Clients are told what dns64.when-unavailable says; sessions go on. It lasts until `nat64 dns undrain`, or the end of the daemon.";

/// `nat64 dns explain`
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The name that is asked for
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The type of the records, by name or as TYPE and a number
    #[arg(long = "type", value_name = "TYPE", default_value = "AAAA")]
    pub(crate) kind: String,
    /// The client that asks [default: this host]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) client: Option<IpAddr>,
    /// Where it asks [default: the first of dns64.listen]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listener: Option<SocketAddr>,
    /// How to ask.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// `nat64 dns flush`
#[derive(Debug, Args)]
pub(crate) struct FlushArgs {
    /// The name [default: all names]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// How to ask.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// `nat64 dns drain` and `undrain`
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// The prefix [default: all prefixes of the daemon]
    #[arg(value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    /// How to ask.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

const TRACE: &str = "\
Show packets as they pass, before and after translation, and what was decided.

Packets do not wait: what comes faster than it can be shown is counted and left out. As with tcpdump, checksums may be left to \
the network card, and a super-packet that will be cut into segments is one packet. With --write the packets go to a file that \
Wireshark reads: both sides, with the decision as comment. Ends with --count or an interrupt.

  nat64 trace --drops
  nat64 trace --address 2001:db8:1::10 --protocol tcp --write trouble.pcapng";

/// `nat64 trace`
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// Which packets.
    #[command(flatten)]
    pub(crate) filter: TraceFilter,
    /// End after so many packets
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// One line for each packet: time (UTC), decision, what it is, who to whom, and what became of that
    #[arg(long, conflicts_with_all = ["json", "write"])]
    pub(crate) brief: bool,
    /// Write a capture in pcapng to this file
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) write: Option<PathBuf>,
    /// How to ask.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// `nat64 reload`
#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    /// Only show what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How to ask.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// `nat64 static`
#[derive(Debug, Subcommand)]
pub(crate) enum StaticCommand {
    /// List the static mappings, those of the configuration included
    List(QueryArgs),
    /// Add a static mapping until the daemon ends; what has its port or host until now loses it
    Add(StaticArgs),
    /// Remove a static mapping that was added by command; its sessions go on
    Del(StaticArgs),
}

/// `nat64 static add` and `del`
#[derive(Debug, Args)]
pub(crate) struct StaticArgs {
    /// The protocol
    #[arg(value_name = "PROTOCOL")]
    pub(crate) protocol: Transport,
    /// Pool address and port (for ICMP: identifier), such as 192.0.2.1:443
    #[arg(value_name = "EXTERNAL", value_parser = pool_port)]
    pub(crate) external: SocketAddrV4,
    /// Host and port behind the translator, such as [2001:db8::80]:443
    #[allow(rustdoc::broken_intra_doc_links)] // the brackets are an address's, and the help shows them as they stand
    #[arg(value_name = "INTERNAL", value_parser = host_port)]
    pub(crate) internal: SocketAddrV6,
    /// How to ask.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// `nat64 session`
#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// End the sessions that all the given options match
    #[command(long_about = CLOSE)]
    Close(CloseArgs),
}

/// `nat64 session close`
#[derive(Debug, Args)]
pub(crate) struct CloseArgs {
    /// Which.
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// All sessions
    #[arg(long)]
    pub(crate) all: bool,
    /// Only count them
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Tell both ends of TCP connections by a reset
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) reset: bool,
    /// How to ask.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// `nat64 drain` and `undrain`
#[derive(Debug, Args)]
pub(crate) struct TakesNoneArgs {
    /// A pool address [default: the whole gateway]
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: Option<Ipv4Addr>,
    /// How to ask.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

const TOP: &str = "\
Watch what happens now: rates, talkers, sessions, drops, DNS64.

Keys: 1 2 3 for the panes, Tab, Up and Down to select, s to sort, / to show only some sessions, c to close what is selected, p to \
pause, ? for help, q to quit. Colours are left out where NO_COLOR is set. If the daemon goes away, the screen stays and goes on \
when it is back.";

/// `nat64 top`
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) interval: f64,
    /// What is shown first
    #[arg(long, value_name = "PANE", value_enum, default_value = "overview")]
    pub(crate) pane: Pane,
    /// Print one screen after one interval, and end
    #[arg(long)]
    pub(crate) once: bool,
    /// Whose traffic is shown.
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Unix socket of the running daemon
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) control_socket: PathBuf,
}

/// A pool address and port.
fn pool_port(text: &str) -> Result<SocketAddrV4, String> {
    text.parse().map_err(|_| format!("`{text}` is no IPv4 address and port; write 192.0.2.1:443"))
}

/// A host's address and port.
fn host_port(text: &str) -> Result<SocketAddrV6, String> {
    text.parse().map_err(|_| format!("`{text}` is no IPv6 address and port; write [2001:db8::80]:443"))
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.2..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "allowed are 0.2 to 3600 seconds".to_owned())
}

/// Options of the listings that can be narrowed down.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// What is listed.
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Whom to ask.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// `nat64 explain`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ReasonArgs {
    /// Something else to explain.
    #[command(subcommand)]
    pub(crate) command: Option<ExplainCommand>,
    /// A drop reason, as in `nat64 status` [default: all of them]
    #[arg(value_name = "REASON")]
    pub(crate) reason: Option<String>,
    /// Print JSON: an array of objects
    #[arg(long)]
    pub(crate) json: bool,
}

/// `nat64 explain` with something else than a reason
#[derive(Debug, Subcommand)]
pub(crate) enum ExplainCommand {
    /// Say what the running daemon would do with a packet, and why; nothing is sent or changed
    #[command(long_about = PACKET)]
    Packet(PacketArgs),
}

const PACKET: &str = "\
Say what the running daemon would do with a packet, and why; nothing is sent or changed.

The packet is built from --from, --to and --protocol, or read from a capture. From inside, both ends are IPv6 addresses, the \
destination under a translation prefix; from outside, both are IPv4 addresses, the destination in the pool.

  nat64 explain packet --from [2001:db8:1::10]:50000 --to [64:ff9b::c633:6407]:443 --protocol tcp
  nat64 explain packet --file trouble.pcapng --count 5";

/// `nat64 explain packet`
#[derive(Debug, Args)]
pub(crate) struct PacketArgs {
    /// Who sends it, with the port (for ICMP: the identifier)
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "file", requires = "to")]
    pub(crate) from: Option<SocketAddr>,
    /// Whom it is for, with the port (for ICMP from outside: the identifier)
    #[arg(long, value_name = "ADDRESS:PORT", requires = "from")]
    pub(crate) to: Option<SocketAddr>,
    /// The protocol; for ICMP an echo request from inside, a reply from outside
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp")]
    pub(crate) protocol: Transport,
    /// Flags of TCP, separated by commas
    #[arg(long, value_name = "FLAGS", default_value = "SYN")]
    pub(crate) flags: String,
    /// Bytes of data after the transport header
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) size: u16,
    /// Take packets from this file, in pcap or pcapng
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The first so many IP packets of the file
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub(crate) count: usize,
    /// How to ask.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// `nat64 completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `nat64 man`
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write nat64.1 and a page for each command to this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
}

/// `nat64 version`
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    /// The help of every command, one after the other.
    fn all_help() -> String {
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut text = command.render_long_help().to_string();
        add_help(&mut command, "", &mut text);
        text
    }

    fn add_help(command: &mut clap::Command, above: &str, text: &mut String) {
        for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
            let name = format!("{above}{}", sub.get_name());
            let help = sub.render_long_help();
            text.push_str(&format!("\n==== {name}\n{help}"));
            add_help(sub, &format!("{name} "), text);
        }
    }

    fn assert_described(command: &clap::Command, above: &str, reference: &str) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let name = format!("{above} {}", sub.get_name());
            assert!(reference.contains(&name), "{name}");
            for option in sub.get_opts().filter_map(clap::Arg::get_long) {
                assert!(reference.contains(&format!("`--{option}")), "--{option} of {name}");
            }
            assert_described(sub, &name, reference);
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_reference_names_every_command_and_option() {
        let reference = include_str!("../docs/reference/cli.md");
        let mut command = Cli::command();
        command.build();
        assert_described(&command, "nat64", reference);
    }

    #[test]
    fn an_address_without_a_port_is_answered_with_one_that_has_it() {
        let said =
            |arguments: &[&str]| Cli::command().try_get_matches_from(arguments).map(drop).unwrap_err().to_string();
        let add = ["nat64", "static", "add", "tcp", "192.0.2.1:443"];
        assert!(said(&[&add[..], &["2001:db8::80"]].concat()).contains("write [2001:db8::80]:443"));
        assert!(said(&["nat64", "who-had", "192.0.2.1"]).contains("write 192.0.2.1:443"));
    }

    #[test]
    fn help_reads_well() {
        insta::assert_snapshot!(all_help());
    }
}
