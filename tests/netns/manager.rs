//! What stands for systemd: it keeps the descriptors of a service over its restarts.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::support::{Lab, Running};

const PATIENCE: Duration = Duration::from_secs(20);

/// What systemd is to the daemon: it is told things, and keeps descriptors.
pub(crate) struct Manager {
    socket: UnixDatagram,
    kept: Vec<OwnedFd>,
}

impl Manager {
    pub(crate) fn new(lab: &Lab) -> Self {
        let path = lab.directory().join("notify.sock");
        let socket = UnixDatagram::bind(path).expect("the lab directory is writable");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self { socket, kept: Vec::new() }
    }

    /// Starts the daemon as systemd does, with the descriptors that are kept, and waits until it is ready.
    pub(crate) fn start(&mut self, lab: &Lab, configuration: &str) -> Running {
        let run = lab.nat64_run("nat64", configuration);
        // It comes as standard input, since what is open across programs would go to those that other tests start, too.
        let (input, script) = match self.kept.as_slice() {
            [] => (Stdio::null(), ""),
            [device] => (Stdio::from(device.try_clone().expect("it is open")), "exec 3<&0 0</dev/null; "),
            more => panic!("{} descriptors cannot be given to a program here", more.len()),
        };
        let mut script = script.to_owned();
        let names = vec!["tun"; self.kept.len()].join(":");
        script.push_str(&format!("export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={names}; ", self.kept.len()));
        let mut command = Command::new("bash");
        command.arg("-c").arg(script + "exec \"$@\"").arg("bash").arg(run.get_program()).args(run.get_args());
        command.env("NOTIFY_SOCKET", lab.directory().join("notify.sock"));
        let running = Running::start_with(command, input, &lab.directory().join("managed.log"));
        while !self.hear().contains("READY=1") {}
        running
    }

    /// The next thing that it is told.
    fn hear(&mut self) -> String {
        let (mut text, mut space) = ([0; 4096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))]);
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let told = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut text)], &mut ancillary, RecvFlags::CMSG_CLOEXEC);
        let len = told.expect("the daemon says something").bytes;
        let text = String::from_utf8_lossy(&text[..len]).into_owned();
        if text.contains("FDSTOREREMOVE=1") {
            self.kept.clear();
        }
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                assert!(text.contains("FDSTORE=1") && text.contains("FDNAME=tun"), "{text}");
                self.kept.extend(descriptors);
            }
        }
        text
    }

    /// How many descriptors it keeps.
    pub(crate) const fn keeps(&self) -> usize {
        self.kept.len()
    }

    /// Closes what it keeps.
    pub(crate) fn forget(&mut self) {
        self.kept.clear();
    }
}
