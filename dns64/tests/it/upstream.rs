//! An upstream that follows a script: a small zone, and exceptions to it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::secured::Identity;

/// What an upstream does with a query.
#[derive(Clone)]
pub(crate) enum Script {
    /// What the zone says.
    Zone,
    /// Nothing.
    Silence,
    /// An answer without records.
    Code(ResponseCode),
    /// An answer without records, with extended errors.
    Failing(ResponseCode, Vec<u16>),
    /// What the zone says, with this record in the additional section.
    WithGlue(String),
    /// These bytes, with the query's ID put in.
    Raw(Vec<u8>),
    /// What the zone says, but over UDP only that it does not fit.
    TruncatedOverUdp,
    /// What the zone says, later.
    Late(Duration),
    /// What the zone says, but first an answer with the wrong ID and one to another question.
    AfterForgeries,
    /// What the zone says, to queries without EDNS; FORMERR without OPT otherwise.
    NoEdns,
    /// What the function makes of the answer of the zone.
    Edited(fn(&mut Message)),
    /// What the function makes of an answer without records.
    EditedWithout(fn(&mut Message)),
}

type Choice = dyn Fn(&Query) -> Script + Send + Sync;

/// A running upstream; stops when dropped.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    offered: Arc<Mutex<Vec<u16>>>,
    connections: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

struct Shared {
    zone: Vec<Record>,
    choice: Box<Choice>,
    asked: Arc<Mutex<Vec<String>>>,
    offered: Arc<Mutex<Vec<u16>>>,
}

impl Upstream {
    /// An upstream that serves a zone, one record a line: name, TTL, type, data; an SOA record has its minimum only.
    pub(crate) async fn zone(text: &str) -> Self {
        Self::scripted(text, |_| Script::Zone).await
    }

    pub(crate) async fn scripted(text: &str, choice: impl Fn(&Query) -> Script + Send + Sync + 'static) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let offered = Arc::<Mutex<Vec<u16>>>::default();
        let zone = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(record).collect();
        let shared = Arc::new(Shared {
            zone,
            choice: Box::new(choice),
            asked: Arc::clone(&asked),
            offered: Arc::clone(&offered),
        });
        let connections = Arc::<AtomicUsize>::default();
        let tasks = vec![
            tokio::spawn(serve_udp(Arc::new(udp), Arc::clone(&shared))),
            tokio::spawn(serve_tcp(tcp, shared, Arc::clone(&connections))),
        ];
        Self { address, asked, offered, connections, tasks }
    }

    /// The same over TLS alone; each connection ends after so many answers.
    pub(crate) async fn secured(
        text: &str,
        identity: &Identity,
        answers_each: usize,
        choice: impl Fn(&Query) -> Script + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let zone = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(record).collect();
        let offered = Arc::<Mutex<Vec<u16>>>::default();
        let shared = Arc::new(Shared {
            zone,
            choice: Box::new(choice),
            asked: Arc::clone(&asked),
            offered: Arc::clone(&offered),
        });
        let (acceptor, count) = (identity.acceptor(), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, shared, count) = (acceptor.clone(), Arc::clone(&shared), Arc::clone(&count));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    count.fetch_add(1, Ordering::Relaxed);
                    serve_stream(stream, shared, answers_each).await;
                });
            }
        });
        Self { address, asked, offered, connections, tasks: vec![task] }
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The questions so far, as `name TYPE` or `name TYPE tcp`, without the server's own probes.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|question| !question.to_ascii_lowercase().contains("nat64-probe"))
            .cloned()
            .collect()
    }

    /// The UDP payload sizes that were offered with these questions, where they had an OPT record.
    pub(crate) fn offered(&self) -> Vec<u16> {
        self.offered.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut buffer = vec![0; 4096];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        let (query, socket, shared) = (buffer[..length].to_vec(), Arc::clone(&socket), Arc::clone(&shared));
        tokio::spawn(async move {
            for answer in shared.answers(&query, false).await {
                let _ = socket.send_to(&answer, client).await;
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>, connections: Arc<AtomicUsize>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(serve_stream(stream, Arc::clone(&shared), usize::MAX));
    }
}

async fn serve_stream(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>, mut answers_left: usize) {
    while answers_left > 0 {
        let Ok(length) = stream.read_u16().await else { return };
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await.unwrap();
        for answer in shared.answers(&query, true).await {
            let framed = [&u16::try_from(answer.len()).unwrap().to_be_bytes(), answer.as_slice()].concat();
            stream.write_all(&framed).await.unwrap();
            stream.flush().await.unwrap();
            answers_left -= 1;
        }
    }
}

impl Shared {
    async fn answers(&self, bytes: &[u8], over_tcp: bool) -> Vec<Vec<u8>> {
        let query = Message::from_vec(bytes).unwrap();
        let question = query.queries[0].clone();
        let suffix = if over_tcp { " tcp" } else { "" };
        self.asked.lock().unwrap().push(format!("{} {}{suffix}", question.name(), question.query_type()));
        if !question.name().to_ascii().contains("nat64-probe") {
            self.offered.lock().unwrap().extend(query.edns.as_ref().map(Edns::max_payload));
        }
        let answer = self.zone_answer(&query);
        let encoded = |message: &Message| message.to_vec().unwrap();
        match (self.choice)(&question) {
            Script::Zone => vec![encoded(&answer)],
            Script::Silence => vec![],
            Script::Code(code) => {
                let mut answer = empty(&query);
                answer.metadata.response_code = code;
                vec![encoded(&answer)]
            }
            Script::Failing(code, errors) => {
                let mut answer = empty(&query);
                answer.metadata.response_code = code;
                for error in errors {
                    let option = EdnsOption::Unknown(15, error.to_be_bytes().to_vec());
                    answer.edns.get_or_insert_with(Edns::new).options_mut().insert(option);
                }
                vec![encoded(&answer)]
            }
            Script::WithGlue(glue) => {
                let mut answer = answer;
                answer.additionals.push(record(&glue));
                vec![encoded(&answer)]
            }
            Script::Raw(mut raw) => {
                raw[..2].copy_from_slice(&bytes[..2]);
                vec![raw]
            }
            Script::TruncatedOverUdp if !over_tcp => {
                let mut answer = empty(&query);
                answer.metadata.truncation = true;
                vec![encoded(&answer)]
            }
            Script::TruncatedOverUdp => vec![encoded(&answer)],
            Script::Late(delay) => {
                tokio::time::sleep(delay).await;
                vec![encoded(&answer)]
            }
            Script::AfterForgeries => {
                let mut wrong_id = answer.clone();
                wrong_id.metadata.id = !wrong_id.metadata.id;
                let mut wrong_question = answer.clone();
                wrong_question.queries[0].name = Name::from_ascii("forged.example.").unwrap();
                vec![encoded(&wrong_id), encoded(&wrong_question), encoded(&answer)]
            }
            Script::NoEdns if query.edns.is_some() => {
                let mut answer = empty(&query);
                answer.metadata.response_code = ResponseCode::FormErr;
                answer.edns = None;
                vec![encoded(&answer)]
            }
            Script::NoEdns => vec![encoded(&answer)],
            Script::EditedWithout(edit) => {
                let mut answer = empty(&query);
                edit(&mut answer);
                vec![encoded(&answer)]
            }
            Script::Edited(edit) => {
                let mut answer = answer;
                edit(&mut answer);
                vec![encoded(&answer)]
            }
        }
    }

    fn zone_answer(&self, query: &Message) -> Message {
        let mut answer = empty(query);
        let question = &query.queries[0];
        let kind = question.query_type();
        let mut name = question.name().clone();
        loop {
            let matching =
                |record: &&Record| record.name == name && (record.record_type() == kind || kind == RecordType::ANY);
            let found: Vec<Record> = self.zone.iter().filter(matching).cloned().collect();
            if !found.is_empty() {
                answer.answers.extend(found);
                return answer;
            }
            let alias =
                self.zone.iter().find(|record| record.name == name && record.record_type() == RecordType::CNAME);
            let Some(alias) = alias else { break };
            answer.answers.push(alias.clone());
            let RData::CNAME(target) = &alias.data else { unreachable!() };
            name = target.0.clone();
        }
        if !self.zone.iter().any(|record| name.zone_of(&record.name)) {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        let soa = self.zone.iter().find(|record| record.record_type() == RecordType::SOA && record.name.zone_of(&name));
        answer.authorities.extend(soa.cloned());
        answer
    }
}

fn empty(query: &Message) -> Message {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.authoritative = true;
    answer.queries.clone_from(&query.queries);
    answer.edns = query.edns.as_ref().map(|_| Edns::new());
    answer
}

pub(crate) fn record(line: &str) -> Record {
    let mut words = line.split_whitespace();
    let name = Name::from_ascii(words.next().unwrap()).unwrap();
    let ttl = words.next().unwrap().parse().unwrap();
    let kind: RecordType = words.next().unwrap().parse().unwrap();
    let data: Vec<&str> = words.collect();
    let data = if kind == RecordType::SOA {
        let name = |text| Name::from_ascii(text).unwrap();
        RData::SOA(SOA::new(name("ns.example."), name("root.example."), 1, 2, 3, 4, data[0].parse().unwrap()))
    } else {
        RData::try_from_str(kind, &data.join(" ")).unwrap()
    };
    Record::from_rdata(name, ttl, data)
}
