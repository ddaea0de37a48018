//! Routing rules that bring the translator's part of an address of this host to the device.
//!
//! The local table, which has the host's own addresses, is asked first of all, by a rule of preference 0. Rules of ours
//! can only come before it when that rule stands further behind, so that it is moved to preference 2: added there before
//! it is removed from its place, and put back before the copy is removed. At no time is the host without it.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use rtnetlink::IpVersion;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use rtnetlink::packet_route::{AddressFamily, IpProtocol};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::netlink::{Netlink, NetlinkError};

/// The routing table that leads to the device.
pub(crate) const TABLE: u32 = 6464;
/// The local table (rtnetlink(7), RT_TABLE_LOCAL).
const LOCAL: u8 = 255;
/// Where our rules are.
const OURS: u32 = 1;
/// Where the rule of the local table is moved to.
const MOVED: u32 = 2;

/// A range of ports of an address of this host that belongs to the translator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Share {
    /// The address.
    pub(crate) address: Ipv4Addr,
    /// The interface that has it.
    pub(crate) interface: String,
    /// The first port.
    pub(crate) first: u16,
    /// The last port.
    pub(crate) last: u16,
}

impl Share {
    fn rules(&self) -> Vec<RuleMessage> {
        let ports = RulePortRange { start: self.first, end: self.last };
        let rule = |protocol, more: Option<RuleAttribute>| {
            let mut rule = rule(OURS, TABLE);
            rule.header.dst_len = 32;
            rule.attributes.push(RuleAttribute::Destination(IpAddr::V4(self.address)));
            rule.attributes.push(RuleAttribute::Iifname(self.interface.clone()));
            rule.attributes.push(RuleAttribute::IpProtocol(protocol));
            rule.attributes.extend(more);
            rule
        };
        vec![
            rule(IpProtocol::Tcp, Some(RuleAttribute::DestinationPortRange(ports))),
            rule(IpProtocol::Udp, Some(RuleAttribute::DestinationPortRange(ports))),
            rule(IpProtocol::Icmp, None),
        ]
    }
}

fn rule(preference: u32, table: u32) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = AddressFamily::Inet;
    rule.header.action = RuleAction::ToTable;
    match u8::try_from(table) {
        Ok(table) => rule.header.table = table,
        Err(_) => rule.attributes.push(RuleAttribute::Table(table)),
    }
    rule.attributes.push(RuleAttribute::Priority(preference));
    rule
}

fn local_table(preference: u32) -> RuleMessage {
    rule(preference, LOCAL.into())
}

fn to_device(index: u32) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new().table_id(TABLE).output_interface(index).build()
}

impl Netlink {
    /// Whether the local table is asked before every other rule.
    pub(crate) async fn asks_local_table_first(&self) -> Result<bool, NetlinkError> {
        let rules: Vec<RuleMessage> = self.handle().rule().get(IpVersion::V4).execute().try_collect().await?;
        let is_first = |rule: &RuleMessage| {
            // The kernel leaves the preference out where it is 0.
            let preference = rule.attributes.iter().any(|attribute| matches!(attribute, RuleAttribute::Priority(1..)));
            !preference && rule.header.table == LOCAL
        };
        Ok(rules.iter().any(is_first))
    }

    /// Makes room for rules before the local table.
    pub(crate) async fn move_local_table(&self) -> Result<(), NetlinkError> {
        self.add_rule(local_table(MOVED)).await?;
        self.remove_rule(local_table(0)).await
    }

    /// Takes back [`Self::move_local_table`].
    pub(crate) async fn put_local_table_back(&self) -> Result<(), NetlinkError> {
        self.add_rule(local_table(0)).await?;
        self.remove_rule(local_table(MOVED)).await
    }

    /// Brings a share to the device.
    pub(crate) async fn add_share(&self, share: &Share, index: u32) -> Result<(), NetlinkError> {
        match self.handle().route().add(to_device(index)).execute().await.map_err(NetlinkError::from) {
            Err(error) if !error.is(Errno::EXIST) => return Err(error),
            _ => {}
        }
        for rule in share.rules() {
            self.add_rule(rule).await?;
        }
        Ok(())
    }

    /// Takes back the rules of [`Self::add_share`]; the route goes with the device.
    pub(crate) async fn remove_share(&self, share: &Share) -> Result<(), NetlinkError> {
        for rule in share.rules() {
            self.remove_rule(rule).await?;
        }
        Ok(())
    }

    /// Adds a rule unless it is there.
    async fn add_rule(&self, rule: RuleMessage) -> Result<(), NetlinkError> {
        let mut request = self.handle().rule().add();
        *request.message_mut() = rule;
        match request.execute().await.map_err(NetlinkError::from) {
            Err(error) if !error.is(Errno::EXIST) => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a rule if it is there.
    async fn remove_rule(&self, rule: RuleMessage) -> Result<(), NetlinkError> {
        match self.handle().rule().del(rule).execute().await.map_err(NetlinkError::from) {
            Err(error) if !error.is(Errno::NOENT) => Err(error),
            _ => Ok(()),
        }
    }
}
