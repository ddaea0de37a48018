//! DNS64 alone, without the daemon around it: `forward LISTEN UPSTREAM [THREADS]`, under the well-known prefix.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use dns64::{Config, Server};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream, rest @ ..] = &arguments[..] else {
        return Err("usage: forward LISTEN UPSTREAM [THREADS], for example forward [::1]:5300 192.0.2.53:53 1".into());
    };
    let (listen, upstream): (SocketAddr, SocketAddr) = (listen.parse()?, upstream.parse()?);
    let threads = rest.first().map_or(Ok(2), |threads| threads.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        let server =
            Server::bind(Config { listen: vec![listen], ..Config::new(vec![upstream.into()], vec![]) }).await?;
        server.run(std::future::pending()).await
    })?;
    Ok(())
}
