//! The server as clients and upstreams see it: real sockets on loopback, upstreams that follow a script.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod client;
mod coupling;
mod edns;
mod encrypted;
mod failures;
mod fronts;
mod hostile;
mod hostile_upstreams;
mod local;
mod others;
mod passing;
mod policy;
mod ready;
mod robust;
mod scenario;
mod secure_upstreams;
mod secured;
mod services;
mod signed;
mod synthesis;
mod upstream;
mod upstreams;
mod validation;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dns64::{Config, Server, Stats};
use tokio::sync::oneshot;

pub(crate) use client::{Ask, answers, ask, authorities};
pub(crate) use upstream::{Script, Upstream};

/// A zone with what most tests need.
pub(crate) const ZONE: &str = "
    example.          3600 SOA 300
    v4.example.        900 A 192.0.2.33
    short.example.      30 A 192.0.2.34
    two.example.       900 A 198.51.100.7
    two.example.       900 A 198.51.100.8
    v6.example.        900 AAAA 2001:db8::1
    both.example.      900 A 192.0.2.1
    both.example.      900 AAAA 2001:db8::2
    www.example.        60 CNAME alias.example.
    alias.example.      70 CNAME v4.example.
    mail.example.      900 MX 10 v4.example.
    text.example.      900 TXT hello
    to-nothing.example. 60 CNAME empty.example.
    empty.example.     900 TXT nothing-else
    to-nowhere.example. 60 CNAME nowhere.example.
    2.0.192.in-addr.arpa.    3600 SOA 300
    33.2.0.192.in-addr.arpa.  900 PTR v4.example.
";

/// A running server that stops when dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    /// Where it takes queries over TLS and HTTPS.
    pub(crate) tls: Vec<SocketAddr>,
    pub(crate) https: Vec<SocketAddr>,
    pub(crate) certificate: dns64::CertificateHandle,
    pub(crate) stats: Arc<Stats>,
    pub(crate) policy: dns64::PolicyHandle,
    pub(crate) explainer: dns64::Explainer,
    pub(crate) cache: dns64::CacheHandle,
    _stop: oneshot::Sender<()>,
}

/// A configuration for tests: loopback, short timeouts, a network-specific prefix that may carry any address.
pub(crate) fn config(upstreams: &[SocketAddr]) -> Config {
    let mut config =
        Config::new(upstreams.iter().copied().map(Into::into).collect(), vec!["2001:db8:64::/96".parse().unwrap()]);
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.timeout = Duration::from_millis(300);
    config.deadline = Duration::from_millis(1500);
    config
}

/// The same with longer timeouts, for tests that show that nobody waits for them.
pub(crate) fn patient(upstreams: &[SocketAddr]) -> Config {
    Config { timeout: Duration::from_secs(2), deadline: Duration::from_secs(4), ..config(upstreams) }
}

pub(crate) async fn start(config: Config) -> Running {
    let server = Server::bind(config).await.unwrap();
    let (address, stats, policy) = (server.local_addrs()[0], server.stats(), server.policy());
    let (explainer, cache) = (server.explainer(), server.cache());
    let (tls, https, certificate) = (server.tls_addrs(), server.https_addrs(), server.certificate());
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(server.run(async move {
        let _ = stopped.await;
    }));
    Running { address, tls, https, certificate, stats, policy, explainer, cache, _stop: stop }
}

/// A server in front of one upstream.
pub(crate) async fn start_with(upstream: &Upstream) -> Running {
    start(config(&[upstream.address])).await
}

/// An address on which nobody answers, kept from others for as long as the socket lives.
pub(crate) fn silent() -> (std::net::UdpSocket, SocketAddr) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// How many answers were timed, by outcome, but for outcomes that there were none of.
pub(crate) fn timed(stats: &Stats) -> Vec<(&'static str, u64)> {
    let counted = stats.answer_times().map(|(outcome, times)| (outcome, times.buckets.iter().map(|(_, n)| n).sum()));
    counted.into_iter().filter(|(_, count)| *count > 0).collect()
}
