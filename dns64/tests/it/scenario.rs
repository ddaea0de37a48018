//! Scenarios as text: `tests/dns/*.scenario`, whose form its `README.md` describes.

mod text;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Record};
use tokio::task::yield_now;

pub(crate) use self::text::{Action, Scenario, Step};
use super::client::shown;
use super::*;

#[tokio::test]
async fn all_scenarios_go_as_they_are_written() {
    let all = Scenario::all();
    assert!(!all.is_empty(), "no scenarios");
    for (name, scenario) in all {
        run(&name, scenario).await;
    }
}

/// Where the files are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/dns")
}

impl Scenario {
    /// Every file, by name: those in `own` last.
    pub(crate) fn all() -> Vec<(String, Self)> {
        let own = Self::within(&directory().join("own")).into_iter();
        let own = own.map(|(name, scenario)| (format!("own/{name}"), scenario));
        Self::within(&directory()).into_iter().chain(own).collect()
    }

    fn within(directory: &Path) -> Vec<(String, Self)> {
        let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let is_scenario = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "scenario");
        let named = |path: PathBuf| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, Self::parse(&std::fs::read_to_string(&path).unwrap()))
        };
        let mut all: Vec<(String, Self)> = paths.filter(is_scenario).map(named).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// The upstream that the scenario is about, and what changes it.
    pub(crate) async fn upstream(&self) -> (Upstream, Exceptions) {
        let exceptions = Exceptions(Arc::new(Mutex::new(self.exceptions.clone())));
        let shared = exceptions.clone();
        let upstream = Upstream::scripted(&self.zone, move |question| {
            let question = format!("{} {}", question.name().to_lowercase(), question.query_type());
            shared.0.lock().unwrap().get(&question).map_or(Script::Zone, |what| text::script(what))
        });
        (upstream.await, exceptions)
    }
}

/// What an upstream does with questions instead of what its zone says.
#[derive(Clone)]
pub(crate) struct Exceptions(Arc<Mutex<HashMap<String, String>>>);

impl Exceptions {
    /// `NAME TYPE: WHAT`
    pub(crate) fn change(&self, words: &str) {
        let (question, what) = text::exception(words);
        self.0.lock().unwrap().insert(question, what);
    }
}

async fn run(name: &str, scenario: Scenario) {
    let (upstream, exceptions) = scenario.upstream().await;
    let mut config = config(&[upstream.address]);
    scenario.settings.iter().for_each(|setting| text::set(&mut config, setting));
    let server = start(config).await;
    let started = Instant::now();
    for step in scenario.steps {
        let before = upstream.asked().len();
        let context = format!("{name}: {}", step.question);
        match &step.action {
            Action::Ask => {
                let answer = asked(&server, &step.question).await;
                check(&step, &answer, started.elapsed(), &context);
            }
            Action::Await => {
                let is_there = async {
                    let mut answer = asked(&server, &step.question).await;
                    while told(&answer, &step, started.elapsed()) != step.expects("answer") {
                        yield_now().await;
                        answer = asked(&server, &step.question).await;
                    }
                };
                assert!(tokio::time::timeout(PATIENCE, is_there).await.is_ok(), "{context} does not come");
            }
            Action::Send => {
                let expected = step.expects("reply").pop().map(|bytes| hex(&unhex(&bytes)));
                let replied = replied(&server, &unhex(&step.question), expected.is_some()).await;
                assert_eq!(replied.map(|bytes| hex(&bytes)), expected, "{context}");
            }
            Action::State => {
                let (prefix, state) = text::state(&step.question);
                server.policy.set_prefix_state(prefix, state);
            }
            Action::Upstream => exceptions.change(&step.question),
            Action::Wait => server.cache.age(text::duration(&step.question)),
        }
        let mut expected = step.expects("asked");
        if !expected.is_empty() {
            expected.retain(|line| line != "nothing");
            // What is refreshed is asked for after its answer.
            let has_asked = async {
                while upstream.asked().len() < before + expected.len() {
                    yield_now().await
                }
            };
            let _late = tokio::time::timeout(PATIENCE, has_asked).await;
            let mut asked = upstream.asked()[before..].to_vec();
            asked.sort();
            assert_eq!(asked, expected, "{context}");
        }
    }
}

/// Longer than anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answer section, with the TTLs that are expected where they are lower only by the seconds since the beginning that a
/// slow machine took.
fn told(answer: &Message, step: &Step, since: Duration) -> Vec<String> {
    let expected = step.expects("answer");
    let shown = |(index, line): (usize, String)| {
        let lower = expected.get(index).and_then(|expected| {
            let [expected_ttl, ttl] = [expected, &line].map(|line| line.split(' ').nth(1)?.parse::<u64>().ok());
            expected_ttl?.checked_sub(ttl?)
        });
        let is_late = lower.is_some_and(|lower| lower > 0 && lower <= since.as_secs());
        match expected.get(index) {
            Some(expected) if is_late && without_ttl(expected) == without_ttl(&line) => expected.clone(),
            _ => line,
        }
    };
    answers(answer).into_iter().enumerate().map(shown).collect()
}

/// What a datagram is answered with. Where nothing is expected, nothing has come before the answers to two later queries.
async fn replied(server: &Running, bytes: &[u8], is_expected: bool) -> Option<Vec<u8>> {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(bytes, server.address).await.unwrap();
    let mut rounds = if is_expected { 0 } else { 2 };
    loop {
        let later = Ask::new("ipv4only.arpa. A").0;
        if rounds > 0 {
            socket.send_to(&later.to_vec().unwrap(), server.address).await.unwrap();
        }
        let mut buffer = vec![0; 4096];
        let received = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut buffer)).await;
        buffer.truncate(received.expect("an answer").unwrap());
        if rounds == 0 || buffer[..2] != later.metadata.id.to_be_bytes() {
            return Some(buffer);
        }
        rounds -= 1;
        if rounds == 0 {
            return None;
        }
    }
}

async fn asked(server: &Running, asked: &str) -> Message {
    let (ask, over_tcp) = question(asked);
    if over_tcp { ask.over_tcp(server.address).await } else { ask.over_udp(server.address).await }
}

/// The question of `NAME TYPE` with its flags, and whether it goes over TCP.
pub(crate) fn question(asked: &str) -> (Ask, bool) {
    let mut words = asked.split(' ');
    let (name, kind) = (words.next().unwrap(), words.next().expect("`ask NAME TYPE`"));
    let flags: Vec<&str> = words.collect();
    let has = |flag| flags.contains(&flag);
    let value = |flag: &str| flags.iter().find_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
    let number = kind.strip_prefix("TYPE").and_then(|number| number.parse().ok());
    let mut ask = Ask::new(&format!("{name} {}", if number.is_some() { "A" } else { kind }));
    if let Some(number) = number {
        ask = ask.of_kind(number);
    }
    if value("class") == Some("CH") {
        ask = ask.of_class(DNSClass::CH);
    }
    if !has("plain") {
        ask = ask.edns(1232);
    }
    ask = ask.dnssec(has("do")).unchecked(has("cd"));
    if let Some(payload) = value("payload") {
        ask.0.edns.as_mut().unwrap().set_max_payload(payload.parse().unwrap());
    }
    (if has("ad") { ask.wants_ad() } else { ask }, has("tcp"))
}

fn without_ttl(line: &str) -> Vec<&str> {
    line.split(' ').enumerate().filter(|(at, _)| *at != 1).map(|(_, word)| word).collect()
}

fn check(step: &Step, answer: &Message, since: Duration, context: &str) {
    let expected_code = step.expects("code").pop().unwrap_or_else(|| "NOERROR".to_owned());
    assert_eq!(code_name(answer.metadata.response_code), expected_code, "{context}");
    assert_eq!(told(answer, step, since), step.expects("answer"), "{context}");
    let expects = |kind| Some(step.expects(kind)).filter(|lines| !lines.is_empty());
    if let Some(expected) = expects("authority") {
        // The TTL is looked at where one is given.
        let has_ttl = |index: usize| expected.get(index).is_some_and(|line| line.split(' ').count() == 3);
        let shown = |(index, record): (usize, &Record)| match has_ttl(index) {
            true => format!("{} {} {}", record.name, record.ttl, record.record_type()),
            false => format!("{} {}", record.name, record.record_type()),
        };
        let told: Vec<String> = answer.authorities.iter().enumerate().map(shown).collect();
        assert_eq!(told, expected, "{context}");
    }
    if let Some(expected) = expects("additional") {
        assert_eq!(answer.additionals.iter().map(shown).collect::<Vec<_>>(), expected, "{context}");
    }
    if let Some(expected) = expects("error") {
        let told: Vec<String> = errors(answer).iter().map(ToString::to_string).collect();
        assert_eq!(told, if expected == ["none"] { vec![] } else { expected }, "{context}");
    }
    if let Some(expected) = expects("flags") {
        let metadata = &answer.metadata;
        let flags = [("tc", metadata.truncation), ("aa", metadata.authoritative), ("ad", metadata.authentic_data)];
        let set: Vec<&str> = flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
        assert_eq!(if set.is_empty() { "none".to_owned() } else { set.join(" ") }, expected[0], "{context}");
    }
}

/// The codes of the extended errors (RFC 8914).
pub(crate) fn errors(message: &Message) -> Vec<u16> {
    let options = message.edns.iter().flat_map(|edns| &edns.options().options);
    let code = |option: &EdnsOption| {
        let EdnsOption::Unknown(15, data) = option else { return None };
        Some(u16::from_be_bytes([data[0], data[1]]))
    };
    options.filter_map(|(_, option)| code(option)).collect()
}

pub(crate) fn code_name(code: ResponseCode) -> String {
    // The names of RFC 1035 and RFC 6895, as tools show them.
    format!("{code:?}").to_ascii_uppercase()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
