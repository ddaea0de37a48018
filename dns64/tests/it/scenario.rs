//! Scenarios as text: `tests/dns/*.scenario`, whose form its `README.md` describes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dns64::{Config, Domain, RangePrefixes, WhenUnusable};
use hickory_proto::op::{Message, ResponseCode};

use super::policy::extended_error;
use super::*;

/// A file, read.
pub(crate) struct Scenario {
    pub(crate) settings: Vec<String>,
    zone: String,
    exceptions: HashMap<String, String>,
    pub(crate) steps: Vec<Step>,
}

/// A client's question and what must come of it.
pub(crate) struct Step {
    pub(crate) question: String,
    pub(crate) expected: Vec<String>,
}

#[tokio::test]
async fn all_scenarios_go_as_they_are_written() {
    let all = Scenario::all();
    assert!(!all.is_empty(), "no scenarios");
    for (name, scenario) in all {
        scenario.run(&name).await;
    }
}

/// Where the files are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/dns")
}

impl Scenario {
    /// Every file, by name.
    pub(crate) fn all() -> Vec<(String, Self)> {
        let paths = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
        let is_scenario = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "scenario");
        let named = |path: PathBuf| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, Self::parse(&std::fs::read_to_string(&path).unwrap()))
        };
        let mut all: Vec<(String, Self)> = paths.filter(is_scenario).map(named).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// The upstream that the scenario is about.
    pub(crate) async fn upstream(&self) -> Upstream {
        let exceptions = self.exceptions.clone();
        Upstream::scripted(&self.zone, move |question| {
            let question = format!("{} {}", question.name().to_lowercase(), question.query_type());
            exceptions.get(&question).map_or(Script::Zone, |what| script(what))
        })
        .await
    }

    fn parse(text: &str) -> Self {
        let mut scenario =
            Self { settings: Vec::new(), zone: String::new(), exceptions: HashMap::new(), steps: Vec::new() };
        let mut in_zone = false;
        for line in text.lines().map(|line| line.split(';').next().unwrap_or_default()) {
            let words = line.trim();
            let (first, rest) = words.split_once(' ').unwrap_or((words, ""));
            match (line.starts_with(' '), first) {
                (_, "") => {}
                (true, _) if in_zone => scenario.zone.push_str(&format!("{words}\n")),
                (true, _) => {
                    scenario.steps.last_mut().expect("a question before what is expected").expected.push(words.into())
                }
                (false, "zone") => in_zone = true,
                (false, "set") => scenario.settings.push(rest.into()),
                (false, "upstream") => {
                    let (question, what) = rest.split_once(": ").expect("`upstream NAME TYPE: WHAT`");
                    scenario.exceptions.insert(question.into(), what.into());
                }
                (false, "ask") => {
                    in_zone = false;
                    scenario.steps.push(Step { question: rest.into(), expected: Vec::new() });
                }
                (false, other) => panic!("`{other}` is none of set, zone, upstream, ask"),
            }
        }
        scenario
    }

    async fn run(self, name: &str) {
        let upstream = self.upstream().await;
        let mut config = config(&[upstream.address]);
        self.settings.iter().for_each(|setting| set(&mut config, setting));
        let server = start(config).await;
        for step in self.steps {
            let before = upstream.asked().len();
            let answer = asked(&server, &step.question).await;
            let context = format!("{name}: {}", step.question);
            let told = |kind: &str, lines: Vec<String>| {
                lines.into_iter().map(|line| format!("{kind} {line}")).collect::<Vec<_>>()
            };
            let expects = |kind: &str| {
                step.expected.iter().filter(|line| line.split(' ').next() == Some(kind)).cloned().collect::<Vec<_>>()
            };
            let code = answer.metadata.response_code;
            let expected_code = expects("code").pop().unwrap_or_else(|| "code NOERROR".to_owned());
            assert_eq!(format!("code {}", code_name(code)), expected_code, "{context}");
            assert_eq!(told("answer", answers(&answer)), expects("answer"), "{context}");
            if !expects("authority").is_empty() {
                let kinds = answer.authorities.iter().map(|record| format!("{} {}", record.name, record.record_type()));
                assert_eq!(told("authority", kinds.collect()), expects("authority"), "{context}");
            }
            if let Some(error) = expects("error").pop() {
                assert_eq!(Some(error), extended_error(&answer).map(|error| format!("error {error}")), "{context}");
            }
            if step.expected.iter().any(|line| line.starts_with("asked")) {
                let mut asked = told("asked", upstream.asked()[before..].to_vec());
                asked.sort();
                let mut expected = expects("asked");
                expected.retain(|line| line != "asked nothing");
                assert_eq!(asked, expected, "{context}");
            }
        }
    }
}

async fn asked(server: &Running, asked: &str) -> Message {
    let (ask, over_tcp) = question(asked);
    if over_tcp { ask.over_tcp(server.address).await } else { ask.over_udp(server.address).await }
}

/// The question of `NAME TYPE [do] [cd] [tcp]`, and whether it goes over TCP.
pub(crate) fn question(asked: &str) -> (Ask, bool) {
    let mut words = asked.split(' ');
    let (name, kind) = (words.next().unwrap(), words.next().expect("`ask NAME TYPE`"));
    let flags: Vec<&str> = words.collect();
    let has = |flag| flags.contains(&flag);
    (Ask::new(&format!("{name} {kind}")).edns(1232).dnssec(has("do")).unchecked(has("cd")), has("tcp"))
}

fn script(what: &str) -> Script {
    match what {
        "silence" => Script::Silence,
        "truncated" => Script::TruncatedOverUdp,
        "SERVFAIL" => Script::Code(ResponseCode::ServFail),
        "REFUSED" => Script::Code(ResponseCode::Refused),
        "NOTIMP" => Script::Code(ResponseCode::NotImp),
        "FORMERR" => Script::Code(ResponseCode::FormErr),
        other => Script::Late(Duration::from_millis(
            other
                .strip_prefix("late ")
                .and_then(|time| time.strip_suffix("ms"))
                .expect("what an upstream does")
                .parse()
                .unwrap(),
        )),
    }
}

fn set(config: &mut Config, setting: &str) {
    let (key, value) = setting.split_once(' ').expect("`set KEY VALUE`");
    let mut words = value.split(' ');
    let mut next = || words.next().expect("a value");
    match key {
        "prefixes" => config.prefixes = value.split(' ').map(|prefix| prefix.parse().unwrap()).collect(),
        "exclude-aaaa" => config.exclude_aaaa = value.split(' ').map(|net| net.parse().unwrap()).collect(),
        "exclude-a" => config.exclude_a = value.split(' ').map(|net| net.parse().unwrap()).collect(),
        "range" => {
            let range = next().parse().unwrap();
            config
                .range_prefixes
                .push(RangePrefixes { range, prefixes: words.map(|prefix| prefix.parse().unwrap()).collect() });
        }
        "domain" => {
            let domain = next().to_owned();
            let treatment = serde::Deserialize::deserialize(
                serde::de::value::StrDeserializer::<serde::de::value::Error>::new(next()),
            )
            .unwrap();
            config.domains.push(Domain { domain, treatment });
        }
        "when-unusable" => {
            config.when_unusable =
                if value == "server-failure" { WhenUnusable::ServerFailure } else { WhenUnusable::NoAaaa };
        }
        other => panic!("no setting `{other}`"),
    }
}

pub(crate) fn code_name(code: ResponseCode) -> String {
    // The names of RFC 1035 and RFC 6895, as tools show them.
    format!("{code:?}").to_ascii_uppercase()
}
