//! A client: one question, one answer.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Longer than any answer may take in a test.
const PATIENCE: Duration = Duration::from_secs(10);

/// A query in the making: `Ask::new("v4.example. AAAA").dnssec().over_udp(server)`.
#[derive(Clone)]
pub(crate) struct Ask(pub(crate) Message);

impl Ask {
    pub(crate) fn new(question: &str) -> Self {
        let (name, kind) = question.split_once(' ').unwrap();
        let mut message = Message::query();
        let kind: RecordType = kind.parse().unwrap();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.metadata.recursion_desired = true;
        Self(message)
    }

    /// A type that has no name.
    pub(crate) fn of_kind(mut self, kind: u16) -> Self {
        self.0.queries[0].query_type = RecordType::from(kind);
        self
    }

    pub(crate) fn of_class(mut self, class: DNSClass) -> Self {
        self.0.queries[0].query_class = class;
        self
    }

    pub(crate) fn edns(mut self, payload: u16) -> Self {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        self.0.edns = Some(edns);
        self
    }

    /// DO.
    pub(crate) fn dnssec(mut self, wanted: bool) -> Self {
        if wanted {
            self = self.edns(1232);
            self.0.edns.as_mut().unwrap().set_dnssec_ok(true);
        }
        self
    }

    /// CD.
    pub(crate) fn unchecked(mut self, wanted: bool) -> Self {
        self.0.metadata.checking_disabled = wanted;
        self
    }

    /// AD.
    pub(crate) fn wants_ad(mut self) -> Self {
        self.0.metadata.authentic_data = true;
        self
    }

    pub(crate) async fn over_udp_unchecked(&self, server: SocketAddr) -> Message {
        let bytes = udp_bytes(server, &self.0.to_vec().unwrap()).await.expect("an answer");
        Message::from_vec(&bytes).unwrap()
    }

    pub(crate) async fn over_udp(&self, server: SocketAddr) -> Message {
        let answer = self.over_udp_unchecked(server).await;
        assert_eq!(answer.metadata.id, self.0.metadata.id);
        assert_eq!(answer.queries, self.0.queries);
        answer
    }

    pub(crate) async fn over_tcp(&self, server: SocketAddr) -> Message {
        let mut stream = TcpStream::connect(server).await.unwrap();
        send_tcp(&mut stream, &self.0).await;
        receive_tcp(&mut stream).await.expect("an answer")
    }
}

/// The answer over UDP to `name TYPE`.
pub(crate) async fn ask(server: SocketAddr, question: &str) -> Message {
    Ask::new(question).over_udp(server).await
}

/// What comes back for these bytes, if anything does in a second.
pub(crate) async fn udp_bytes(server: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let socket = UdpSocket::bind(any).await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(query).await.unwrap();
    let mut buffer = vec![0; 65535];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.ok()?.unwrap();
    buffer.truncate(length);
    Some(buffer)
}

pub(crate) async fn send_tcp(stream: &mut (impl AsyncWrite + Unpin), message: &Message) {
    let bytes = message.to_vec().unwrap();
    let framed = [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes.as_slice()].concat();
    stream.write_all(&framed).await.unwrap();
}

/// The next answer, or nothing if the connection ends.
pub(crate) async fn receive_tcp(stream: &mut (impl AsyncRead + Unpin)) -> Option<Message> {
    let length = timeout(PATIENCE, stream.read_u16()).await.expect("an answer or an end in time").ok()?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(Message::from_vec(&bytes).unwrap())
}

/// The answer section, a record a line: name, TTL, type, data.
pub(crate) fn answers(message: &Message) -> Vec<String> {
    message.answers.iter().map(shown).collect()
}

/// The authority section.
pub(crate) fn authorities(message: &Message) -> Vec<String> {
    message.authorities.iter().map(shown).collect()
}

pub(crate) fn shown(record: &Record) -> String {
    format!("{} {} {} {}", record.name, record.ttl, record.record_type(), record.data)
}
