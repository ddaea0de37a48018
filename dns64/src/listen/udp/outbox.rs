//! Answers as they are sent: those of one length to one client as one datagram that the kernel takes apart at the end of
//! its way, the others with one system call together.

use std::io::IoSlice;
use std::net::IpAddr;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};

use super::BATCH;
use super::socket::{Path, Socket};

/// Room for an answer in bytes, so that none allocates.
const ROOM: usize = 2048;

/// The answers of one batch of queries.
pub(super) struct Outbox {
    answers: Vec<Answer>,
    count: usize,
    /// Indices of answers, so sorted that those that can go together stand together.
    order: Vec<usize>,
    outlet: Outlet,
}

struct Answer {
    bytes: Vec<u8>,
    path: Path,
}

/// What system calls write into, for datagrams with and without a chosen source.
struct Outlet {
    plain: Headers,
    with_source: Headers,
    segments: Headers,
    segments_with_source: Headers,
    clients: Vec<Option<SockaddrStorage>>,
}

type Headers = MultiHeaders<SockaddrStorage>;

impl Outbox {
    /// For answers over this socket.
    pub(super) fn new(socket: &Socket) -> Self {
        let nowhere = Path { local: None, client: socket.address() };
        let answer = || Answer { bytes: Vec::with_capacity(ROOM), path: nowhere };
        Self {
            answers: (0..BATCH).map(|_| answer()).collect(),
            count: 0,
            order: Vec::with_capacity(BATCH),
            outlet: Outlet::new(socket),
        }
    }

    /// Room for the next answer, to be filled before [`Self::push`].
    pub(super) fn next(&mut self) -> &mut Vec<u8> {
        &mut self.answers[self.count].bytes
    }

    /// Puts the answer that was written to [`Self::next`] on its way; there is room for [`BATCH`].
    pub(super) fn push(&mut self, path: Path) {
        self.answers[self.count].path = path;
        self.count += 1;
    }

    /// Sends all answers without waiting; `failed` is told of each that could not be sent.
    pub(super) fn flush(&mut self, socket: &Socket, mut failed: impl FnMut(&[u8], Path, Errno)) {
        let answers = &self.answers[..self.count];
        self.order.clear();
        self.order.extend(0..self.count);
        self.order.sort_unstable_by_key(|&index| (answers[index].path, answers[index].bytes.len()));
        let mut singles = [0; BATCH];
        let mut single_count = 0;
        for group in self.order.chunk_by(|&one, &other| answers[one].goes_with(&answers[other])) {
            if group.len() > 1 && self.outlet.send_segments(socket, answers, group) {
                continue;
            }
            singles[single_count..single_count + group.len()].copy_from_slice(group);
            single_count += group.len();
        }
        let same_source = |one: &usize, other: &usize| answers[*one].path.local == answers[*other].path.local;
        for group in singles[..single_count].chunk_by(same_source) {
            self.outlet.send_each(socket, answers, group, &mut failed);
        }
        self.count = 0;
    }
}

impl Answer {
    fn goes_with(&self, other: &Self) -> bool {
        self.path == other.path && self.bytes.len() == other.bytes.len()
    }
}

impl Outlet {
    fn new(socket: &Socket) -> Self {
        let is_v6 = socket.address().is_ipv6();
        let source = if is_v6 { cmsg_space!(in6_pktinfo) } else { cmsg_space!(in_pktinfo) };
        let both = if is_v6 { cmsg_space!(u16, in6_pktinfo) } else { cmsg_space!(u16, in_pktinfo) };
        Self {
            plain: MultiHeaders::preallocate(BATCH, None),
            with_source: MultiHeaders::preallocate(BATCH, Some(source)),
            segments: MultiHeaders::preallocate(1, Some(cmsg_space!(u16))),
            segments_with_source: MultiHeaders::preallocate(1, Some(both)),
            clients: Vec::with_capacity(BATCH),
        }
    }

    /// Sends answers of one length on one path as one datagram. If this is false, none of them was sent.
    fn send_segments(&mut self, socket: &Socket, answers: &[Answer], group: &[usize]) -> bool {
        let first = &answers[group[0]];
        let Ok(length) = u16::try_from(first.bytes.len()) else { return false };
        if !socket.segments().are_allowed() {
            return false;
        }
        let mut slices = [IoSlice::new(&[]); BATCH];
        for (slice, &index) in slices.iter_mut().zip(group) {
            *slice = IoSlice::new(&answers[index].bytes);
        }
        let slices = [&slices[..group.len()]];
        let client = [Some(first.path.client.into())];
        let segments = ControlMessage::UdpGsoSegments(&length);
        let (fd, flags) = (socket.fd(), MsgFlags::MSG_DONTWAIT);
        let sent = match socket.source(first.path.local) {
            Some(source) => {
                let control = [segments, source.message()];
                sendmmsg(fd, &mut self.segments_with_source, &slices, client, control, flags).map(|_| ())
            }
            None => sendmmsg(fd, &mut self.segments, &slices, client, [segments], flags).map(|_| ()),
        };
        socket.segments().note(sent);
        sent.is_ok()
    }

    /// Sends answers from one address of ours, each as a datagram of its own.
    fn send_each(
        &mut self,
        socket: &Socket,
        answers: &[Answer],
        mut group: &[usize],
        failed: &mut impl FnMut(&[u8], Path, Errno),
    ) {
        let Some(local) = group.first().map(|&index| answers[index].path.local) else { return };
        while let Some((&first, rest)) = group.split_first() {
            match self.send_some(socket, answers, group, local) {
                Ok(count) if count > 0 => group = group.get(count..).unwrap_or_default(),
                Ok(_) => return,
                Err(error) => {
                    failed(&answers[first].bytes, answers[first].path, error);
                    group = rest;
                }
            }
        }
    }

    /// Sends answers up to one that cannot be sent; returns how many were, or why it was none.
    fn send_some(
        &mut self,
        socket: &Socket,
        answers: &[Answer],
        group: &[usize],
        local: Option<IpAddr>,
    ) -> Result<usize, Errno> {
        let mut slices = [[IoSlice::new(&[])]; BATCH];
        for (slice, &index) in slices.iter_mut().zip(group) {
            *slice = [IoSlice::new(&answers[index].bytes)];
        }
        self.clients.clear();
        self.clients.extend(group.iter().map(|&index| Some(answers[index].path.client.into())));
        let (fd, flags) = (socket.fd(), MsgFlags::MSG_DONTWAIT);
        let sent = match socket.source(local) {
            Some(source) => {
                sendmmsg(fd, &mut self.with_source, &slices, &self.clients, [source.message()], flags)?.count()
            }
            None => sendmmsg(fd, &mut self.plain, &slices, &self.clients, [], flags)?.count(),
        };
        Ok(sent)
    }
}
