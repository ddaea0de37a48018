//! Values of the command line, which replace those of the file.

use std::str::FromStr;

use super::file::{File, LogFormat, LogLevel};
use super::place::{Located, Place, Problem};
use super::value::Many;

/// Options that `run` and `check` share. Given values replace those of the file.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Settings (replace those of the file)")]
pub(crate) struct Overrides {
    /// Translation prefix [default: 64:ff9b::/96]
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    pub(crate) pref64: Vec<String>,
    /// IPv4 address, CIDR or first-last range that the translator owns, or shared for this host's own; :FIRST-LAST after
    /// it are its ports. Switches the translator on
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub(crate) pool4: Vec<String>,
    /// Ports of the pool addresses that the translator uses [default: 1-65535]
    #[arg(long, value_name = "FIRST-LAST")]
    pub(crate) ports: Option<String>,
    /// Recursive resolver to forward to, with a port if it is not 53; switches DNS64 on
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) dns_upstream: Vec<String>,
    /// Address to answer DNS queries on, with a port if it is not 53 [default: every address]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) dns_listen: Vec<String>,
    /// Whom to answer: ranges of addresses, or auto for this host, private addresses and the links of this host
    /// [default: auto]
    #[arg(long, value_name = "RANGE", value_delimiter = ',')]
    pub(crate) dns_clients: Vec<String>,
    /// Let private IPv4 addresses be reached under 64:ff9b::/96, against RFC 6052 section 3.1
    #[arg(long)]
    pub(crate) wkp_allow_private: bool,
    /// Network device to create [default: nat64]
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<String>,
    /// Unix socket that the other commands talk to [default: /run/nat64/nat64.sock]
    #[arg(long, value_name = "PATH")]
    pub(crate) control_socket: Option<String>,
    /// Least severity that is logged [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
    /// How log lines look [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

impl Overrides {
    /// Whether they name a pool or an upstream, so that no file is needed.
    pub(crate) const fn say_what_to_do(&self) -> bool {
        !self.pool4.is_empty() || !self.dns_upstream.is_empty()
    }

    /// Puts the given values into `file`.
    ///
    /// # Errors
    /// The first value that cannot be read.
    pub(crate) fn apply(&self, file: &mut File) -> Result<(), Problem> {
        replace_many("--pref64", &self.pref64, &mut file.pref64, str::parse)?;
        replace_many("--pool4", &self.pool4, &mut file.translator.pool4, str::parse)?;
        if !self.pool4.is_empty() {
            file.translator.enabled = Some(Located::flag("--pool4", true));
        }
        if let Some(ports) = &self.ports {
            file.translator.ports = Located::flag("--ports", parse("--ports", ports)?);
        }
        replace_many("--dns-upstream", &self.dns_upstream, &mut file.dns64.upstreams, str::parse)?;
        if !self.dns_upstream.is_empty() {
            file.dns64.enabled = Some(Located::flag("--dns-upstream", true));
        }
        replace_many("--dns-listen", &self.dns_listen, &mut file.dns64.listen, str::parse)?;
        replace_many("--dns-clients", &self.dns_clients, &mut file.dns64.clients, str::parse)?;
        file.wkp_allow_private |= self.wkp_allow_private;
        if let Some(device) = &self.device {
            file.device.name = parse("--device", device)?;
        }
        if let Some(socket) = &self.control_socket {
            file.control.socket = parse("--control-socket", socket)?;
        }
        file.log.level = self.log_level.unwrap_or(file.log.level);
        file.log.format = self.log_format.unwrap_or(file.log.format);
        Ok(())
    }
}

fn replace_many<T>(
    flag: &'static str,
    given: &[String],
    into: &mut Many<T>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<(), Problem> {
    if given.is_empty() {
        return Ok(());
    }
    let values = given.iter().map(|text| parse(text).map(|value| Located::flag(flag, value)));
    into.0 = values.collect::<Result<_, _>>().map_err(|message| problem(flag, message))?;
    Ok(())
}

fn parse<T: FromStr<Err = String>>(flag: &'static str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|message| problem(flag, message))
}

const fn problem(flag: &'static str, message: String) -> Problem {
    Problem { message, place: Place::Flag(flag), also: None }
}
