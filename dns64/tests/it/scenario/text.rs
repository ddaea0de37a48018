//! The form of a scenario: lines into settings, records, exceptions and steps.

use std::collections::HashMap;
use std::time::Duration;

use dns64::{Config, Domain, Group, PrefixState, PtrMode, RangePrefixes, WhenUnusable};
use hickory_proto::op::ResponseCode;
use serde::de::value::StrDeserializer;

use crate::Script;

/// A file, read.
pub(crate) struct Scenario {
    pub(crate) settings: Vec<String>,
    pub(super) zone: String,
    pub(super) exceptions: HashMap<String, String>,
    pub(crate) steps: Vec<Step>,
}

/// What happens, and what must come of it.
pub(crate) struct Step {
    pub(crate) action: Action,
    /// What is asked, sent, or changed.
    pub(crate) question: String,
    pub(crate) expected: Vec<String>,
}

/// What happens.
pub(crate) enum Action {
    /// A client asks.
    Ask,
    /// A client sends bytes.
    Send,
    /// The same, again and again until what comes is what is expected.
    Await,
    /// The translator of a prefix changes.
    State,
    /// The upstream does something else from now on.
    Upstream,
    /// Time goes by, of which nobody has to wait for any.
    Wait,
}

impl Scenario {
    pub(super) fn parse(text: &str) -> Self {
        let mut scenario =
            Self { settings: Vec::new(), zone: String::new(), exceptions: HashMap::new(), steps: Vec::new() };
        let mut in_zone = false;
        for line in text.lines().map(|line| line.split(';').next().unwrap_or_default()) {
            let words = line.trim();
            let (first, rest) = words.split_once(' ').unwrap_or((words, ""));
            if first.is_empty() {
                continue;
            }
            if line.starts_with(' ') {
                match scenario.steps.last_mut() {
                    _ if in_zone => scenario.zone.push_str(&format!("{words}\n")),
                    Some(step) => step.expected.push(words.into()),
                    None => panic!("`{words}` is expected of nothing"),
                }
                continue;
            }
            in_zone = first == "zone";
            scenario.line(first, rest);
        }
        scenario
    }

    fn line(&mut self, first: &str, rest: &str) {
        let is_at_start = self.steps.is_empty();
        let mut step = |action| self.steps.push(Step { action, question: rest.into(), expected: Vec::new() });
        match first {
            "zone" => {}
            "set" => self.settings.push(rest.into()),
            "upstream" if is_at_start => {
                let (question, what) = exception(rest);
                self.exceptions.insert(question, what);
            }
            "upstream" => step(Action::Upstream),
            "ask" => step(Action::Ask),
            "await" => step(Action::Await),
            "send" => step(Action::Send),
            "state" => step(Action::State),
            "wait" => step(Action::Wait),
            other => panic!("`{other}` is none of set, zone, upstream, ask, await, send, state, wait"),
        }
    }
}

impl Step {
    /// What is expected of one kind, as the lines say it without the kind.
    pub(super) fn expects(&self, kind: &str) -> Vec<String> {
        let lines = self.expected.iter().filter(|line| line.split(' ').next() == Some(kind));
        lines.map(|line| line[kind.len()..].trim_start().to_owned()).collect()
    }
}

/// `NAME TYPE: WHAT`
pub(super) fn exception(words: &str) -> (String, String) {
    let (question, what) = words.split_once(": ").expect("`upstream NAME TYPE: WHAT`");
    (question.to_owned(), what.to_owned())
}

/// `30s`, `5m`, `25h`
pub(super) fn duration(words: &str) -> Duration {
    let (number, unit) = words.split_at(words.len() - 1);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        other => panic!("`{other}` is none of s, m, h"),
    };
    Duration::from_secs(number.parse::<u64>().expect("a number and a unit") * seconds)
}

/// What an upstream does with a question, by its description.
pub(super) fn script(what: &str) -> Script {
    let (first, rest) = what.split_once(' ').unwrap_or((what, ""));
    match first {
        "zone" => Script::Zone,
        "silence" => Script::Silence,
        "truncated" => Script::TruncatedOverUdp,
        "authentic" => Script::Edited(|answer| answer.metadata.authentic_data = true),
        "glue" => Script::WithGlue(rest.to_owned()),
        "late" => Script::Late(Duration::from_millis(
            rest.strip_suffix("ms").and_then(|time| time.parse().ok()).expect("a time such as 100ms"),
        )),
        code => {
            let errors = rest.split(' ').filter(|word| !word.is_empty()).map(|word| word.parse().unwrap()).collect();
            Script::Failing(response_code(code), errors)
        }
    }
}

fn response_code(name: &str) -> ResponseCode {
    match name {
        "SERVFAIL" => ResponseCode::ServFail,
        "REFUSED" => ResponseCode::Refused,
        "NOTIMP" => ResponseCode::NotImp,
        "FORMERR" => ResponseCode::FormErr,
        "NXDOMAIN" => ResponseCode::NXDomain,
        "YXDOMAIN" => ResponseCode::YXDomain,
        other => panic!("`{other}` is nothing that an upstream does"),
    }
}

/// `PREFIX STATE`
pub(super) fn state(words: &str) -> (pref64::Pref64, PrefixState) {
    let (prefix, state) = words.split_once(' ').expect("`state PREFIX STATE`");
    (prefix.parse().unwrap(), named(state))
}

/// Puts one setting into the configuration.
pub(super) fn set(config: &mut Config, setting: &str) {
    let (key, value) = setting.split_once(' ').expect("`set KEY VALUE`");
    let mut words = value.split(' ');
    let mut next = || words.next().expect("a value");
    match key {
        "prefixes" => config.prefixes = list(value),
        "clients" => config.clients = list(value),
        "exclude-aaaa" => config.exclude_aaaa = list(value),
        "exclude-a" => config.exclude_a = list(value),
        "payload" => config.edns_payload = value.parse().unwrap(),
        "nsid" => config.nsid = Some(value.to_owned()),
        "max-stale" => config.max_stale = duration(value),
        "well-known" => config.well_known = named(value),
        "ipv4only-ttl" => config.ipv4only_ttl = Duration::from_secs(value.parse().unwrap()),
        "ptr" => config.ptr = named::<PtrMode>(value),
        "range" => {
            let range = next().parse().unwrap();
            config.range_prefixes.push(RangePrefixes { range, prefixes: list(&words.collect::<Vec<_>>().join(" ")) });
        }
        "domain" => config.domains.push(Domain { domain: next().to_owned(), treatment: named(next()) }),
        "group" => config.groups.push(group(value)),
        "when-unusable" => {
            config.when_unusable = match value {
                "no-aaaa" => WhenUnusable::NoAaaa,
                "server-failure" => WhenUnusable::ServerFailure,
                prefixes => WhenUnusable::Prefixes(list(prefixes)),
            };
        }
        other => panic!("no setting `{other}`"),
    }
}

/// `CLIENTS off` or `CLIENTS PREFIX…`
fn group(value: &str) -> Group {
    let (clients, rest) = value.split_once(' ').expect("`set group CLIENTS off` or `set group CLIENTS PREFIX…`");
    let group = Group { name: clients.to_owned(), clients: list(clients), ..Group::default() };
    match rest {
        "off" => Group { synthesise: Some(false), ..group },
        prefixes => Group { prefixes: Some(list(prefixes)), ..group },
    }
}

fn list<T: std::str::FromStr<Err: std::fmt::Debug>>(words: &str) -> Vec<T> {
    words.split(' ').map(|word| word.parse().unwrap()).collect()
}

fn named<T: for<'de> serde::Deserialize<'de>>(name: &str) -> T {
    T::deserialize(StrDeserializer::<serde::de::value::Error>::new(name)).unwrap()
}
