//! `nat64 dns`: questions and changes to the DNS64 server of the running daemon.

use std::fmt::Write as _;

use super::print;
use crate::cli::{DnsCommand, DrainArgs, ExplainArgs, FlushArgs};
use crate::control::api::{Drained, Explanation, Flushed, PrefixStatus};
use crate::control::client::{self, Verb};

/// Does what the command line says.
pub(super) fn dispatch(command: &DnsCommand) -> anyhow::Result<()> {
    match command {
        DnsCommand::Explain(args) => explain(args),
        DnsCommand::Flush(args) => flush(args),
        DnsCommand::Drain(args) => drain("/v1/dns/drain", args),
        DnsCommand::Undrain(args) => drain("/v1/dns/undrain", args),
    }
}

fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    let parameters = [
        ("name", Some(args.name.clone())),
        ("type", Some(args.kind.clone())),
        ("client", args.client.as_ref().map(ToString::to_string)),
        ("listener", args.listener.as_ref().map(ToString::to_string)),
    ];
    let path = client::with_query("/v1/dns/explain", &parameters);
    let mut answer = Vec::new();
    client::ask(&args.query.control_socket, &path, |piece| {
        answer.extend_from_slice(piece);
        Ok(true)
    })?;
    let explanation: Explanation = serde_json::from_slice(&answer)?;
    if args.query.json {
        print(&format!("{}\n", serde_json::to_string(&explanation)?))
    } else {
        print(&rendered(&explanation))
    }
}

fn flush(args: &FlushArgs) -> anyhow::Result<()> {
    let path = client::with_query("/v1/dns/flush", &[("name", args.name.clone())]);
    let flushed: Flushed = client::tell(&args.query.control_socket, Verb::Post, &path)?;
    if args.query.json {
        return print(&format!("{}\n", serde_json::to_string(&flushed)?));
    }
    print(&format!(
        "{} forgotten\n",
        if flushed.answers == 1 { "1 answer".to_owned() } else { format!("{} answers", flushed.answers) }
    ))
}

fn drain(path: &str, args: &DrainArgs) -> anyhow::Result<()> {
    let path = client::with_query(path, &[("prefix", args.prefix.clone())]);
    let drained: Drained = client::tell(&args.query.control_socket, Verb::Post, &path)?;
    if args.query.json {
        return print(&format!("{}\n", serde_json::to_string(&drained)?));
    }
    let lines: Vec<String> = drained.prefixes.iter().map(|status| format!("{}\n", prefix(status))).collect();
    print(&lines.concat())
}

/// A prefix with its state.
pub(super) fn prefix(status: &PrefixStatus) -> String {
    let state = match status.state {
        dns64::PrefixState::Up => "up",
        dns64::PrefixState::Draining => "draining",
        dns64::PrefixState::Down => "down",
    };
    let reason = status.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{} {state}{reason}", status.prefix)
}

fn rendered(explanation: &Explanation) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} {} asked by {} (group {})",
        explanation.name, explanation.kind, explanation.client, explanation.group
    );
    for rule in &explanation.rules {
        let _ = writeln!(text, "  {:<14} {}  [{}]", rule.rule, rule.finding, rule.source);
    }
    let _ = writeln!(text, "{}", verdict(&explanation.verdict));
    for address in &explanation.addresses {
        let _ = writeln!(text, "  {address}");
    }
    text
}

/// The verdict as a sentence.
fn verdict(verdict: &str) -> &str {
    match verdict {
        "refused" => "refused",
        "local" => "answered here, without asking anybody",
        "passed" => "told as the upstream says it",
        "native" => "told as the upstream answers the AAAA question",
        "filtered" => "told without some of the records",
        "synthesised" => "told with synthesised AAAA records",
        "failed" => "told the error that the A question met",
        "unanswered" => "told SERVFAIL, since nobody answers",
        "cut-off" => "told what dns64.when-unavailable says",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::Rule;

    #[test]
    fn an_explanation_reads_as_a_list_of_rules() {
        let rule = |rule: &str, source: &str, finding: &str| Rule {
            rule: rule.to_owned(),
            source: source.to_owned(),
            finding: finding.to_owned(),
        };
        let explanation = Explanation {
            name: "v4.example.".to_owned(),
            kind: "AAAA".to_owned(),
            client: "2001:db8::1".parse().unwrap(),
            group: "phones".to_owned(),
            rules: vec![
                rule("client group", "configuration", "synthesis is on for this group"),
                rule("decision", "RFC 6147 §5.1.6, §5.1.7", "AAAA records are made from A records"),
            ],
            verdict: "synthesised".to_owned(),
            addresses: vec!["64:ff9b::808:808".parse().unwrap()],
        };
        insta::assert_snapshot!(rendered(&explanation), @"
        v4.example. AAAA asked by 2001:db8::1 (group phones)
          client group   synthesis is on for this group  [configuration]
          decision       AAAA records are made from A records  [RFC 6147 §5.1.6, §5.1.7]
        told with synthesised AAAA records
          64:ff9b::808:808
        ");
    }
}
