//! `nat64 status`, `sessions`, `mappings`, `subscribers` and `pool`: questions to the running daemon.

use serde::de::DeserializeOwned;

use super::{Output, table};
use crate::cli::{ListArgs, QueryArgs};
use crate::control::api::{Mapping, PoolAddress, Session, Status, Subscriber};
use crate::control::client;

/// `nat64 status`
pub(super) fn status(args: &QueryArgs) -> anyhow::Result<()> {
    let mut answer = Vec::new();
    client::ask(&args.control_socket, "/v1/status", |piece| {
        answer.extend_from_slice(piece);
        Ok(true)
    })?;
    let mut out = Output::new();
    if args.json {
        answer.push(b'\n');
        out.write(&answer)?;
    } else {
        let status: Status = serde_json::from_slice(&answer)?;
        out.write(super::status::render(&status).as_bytes())?;
    }
    Ok(())
}

/// `nat64 sessions`
pub(super) fn sessions(args: &ListArgs) -> anyhow::Result<()> {
    let path = format!("/v1/sessions{}", args.filter.query());
    list::<Session>(&args.query, &path, table::sessions, table::session)
}

/// `nat64 mappings`
pub(super) fn mappings(args: &ListArgs) -> anyhow::Result<()> {
    let path = format!("/v1/mappings{}", args.filter.query());
    list::<Mapping>(&args.query, &path, table::mappings, table::mapping)
}

/// `nat64 subscribers`
pub(super) fn subscribers(args: &QueryArgs) -> anyhow::Result<()> {
    list::<Subscriber>(args, "/v1/subscribers", table::subscribers, table::subscriber)
}

/// `nat64 pool`
pub(super) fn pool(args: &QueryArgs) -> anyhow::Result<()> {
    list::<PoolAddress>(args, "/v1/pool", table::pool, table::pool_address)
}

/// Prints a listing as it comes, however long it is.
fn list<T: DeserializeOwned>(
    args: &QueryArgs,
    path: &str,
    header: fn() -> String,
    row: impl Fn(&T) -> String,
) -> anyhow::Result<()> {
    let mut out = Output::new();
    if args.json {
        return client::ask(&args.control_socket, path, |piece| out.write(piece));
    }
    let mut lines = Lines::default();
    let mut has_header = false;
    client::ask(&args.control_socket, path, |piece| {
        let mut text = String::new();
        if !has_header {
            text.push_str(&header());
            has_header = true;
        }
        for entry in lines.entries(piece) {
            text.push_str(&row(&serde_json::from_slice(&entry)?));
        }
        out.write(text.as_bytes())
    })
}

/// Cuts a JSON array that has one entry per line into its entries.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// The entries that `piece` completes.
    fn entries(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        self.rest.extend_from_slice(piece);
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else { return Vec::new() };
        let complete: Vec<u8> = self.rest.drain(..=end).collect();
        complete
            .split(|&byte| byte == b'\n')
            .map(|line| line.strip_suffix(b",").unwrap_or(line))
            .filter(|line| line.starts_with(b"{"))
            .map(<[u8]>::to_vec)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_wherever_the_pieces_are_cut() {
        let text = b"[\n{\"a\":1},\n{\"a\":2}\n]\n";
        for cut in 0..text.len() {
            let mut lines = Lines::default();
            let mut entries = lines.entries(&text[..cut]);
            entries.extend(lines.entries(&text[cut..]));

            assert_eq!(entries, [b"{\"a\":1}", b"{\"a\":2}"], "cut at {cut}");
        }
    }

    #[test]
    fn an_empty_array_has_no_entries() {
        assert_eq!(Lines::default().entries(b"[]\n"), Vec::<Vec<u8>>::new());
    }
}
