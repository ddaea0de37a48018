//! Lines with the fields of VPC flow logs, so that what reads those reads these.
//!
//! `version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status
//! pkt-srcaddr pkt-dstaddr`: the addresses of the pool in `srcaddr` and `dstaddr`, and in the last two those of the packets
//! that the host inside sent and received.

use nat64_core::event::{EventKind, Traffic};

use crate::session_log::record::Record;

/// The version in which `pkt-srcaddr` and `pkt-dstaddr` came up.
const VERSION: u8 = 3;

/// The lines of a session that ended, for what it sent and what it received; none for other events.
pub(super) fn lines(record: &Record, destinations: bool) -> [Option<String>; 2] {
    let EventKind::SessionEnded { outbound, inbound, .. } = record.event.kind else { return [None, None] };
    let event = &record.event;
    let protocol = event.protocol.number_v4();
    let (start, end) = (record.began_at() / 1000, record.at / 1000);
    let remote = event.remote.filter(|_| destinations);
    let remote6 = record.remote6.filter(|_| destinations).map_or_else(|| "-".to_owned(), |address| address.to_string());
    let (remote, remote_port) = remote
        .map_or_else(|| ("-".to_owned(), "-".to_owned()), |(address, port)| (address.to_string(), port.to_string()));
    let (pool, pool_port) = (event.external.0.to_string(), event.external.1.to_string());
    let inside = event.internal.0.to_string();
    let line = |[src, dst, src_port, dst_port, pkt_src, pkt_dst]: [&str; 6], Traffic { packets, bytes }: Traffic| {
        (packets > 0).then(|| {
            format!(
                "{VERSION} - nat64 {src} {dst} {src_port} {dst_port} {protocol} {packets} {bytes} {start} {end} ACCEPT OK \
                 {pkt_src} {pkt_dst}"
            )
        })
    };
    [
        line([&pool, &remote, &pool_port, &remote_port, &inside, &remote6], outbound),
        line([&remote, &pool, &remote_port, &pool_port, &remote6, &inside], inbound),
    ]
}
