//! ssh and sshd.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::support::{Lab, Namespace, Running};

const PATIENCE: Duration = Duration::from_secs(20);

/// sshd in `namespace` on an address of it, which lets root in with a key.
pub(crate) fn ssh_server(lab: &Lab, namespace: &Namespace, address: Ipv4Addr) -> Running {
    let directory = lab.directory().join("ssh");
    fs::create_dir(&directory).expect("the lab directory is writable");
    for key in ["host", "user"] {
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.join(key)).status();
        assert!(made.expect("ssh-keygen is there").success());
    }
    let at = directory.display();
    let configuration = format!(
        "Port 22\nListenAddress {address}\nHostKey {at}/host\nAuthorizedKeysFile {at}/user.pub\nStrictModes no\nUsePAM yes\n\
         PermitRootLogin prohibit-password\nPidFile none\n"
    );
    fs::write(directory.join("sshd_config"), configuration).expect("the lab directory is writable");
    // Where sshd keeps those apart that have not logged in yet.
    fs::create_dir_all("/run/sshd").expect("root may write /run");
    fs::set_permissions("/run/sshd", fs::Permissions::from_mode(0o755)).expect("it is root's");
    let mut command = namespace.command("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(directory.join("sshd_config"));
    let running = Running::start(command, &lab.directory().join("sshd.log"));
    namespace.wait_for_listener(22);
    running
}

/// A shell elsewhere that says every line again.
pub(crate) struct Ssh {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    said: u64,
}

impl Ssh {
    /// From `namespace` to `address`.
    pub(crate) fn open(lab: &Lab, namespace: &Namespace, address: IpAddr) -> Self {
        let mut command = namespace.command("ssh");
        command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-i"]).arg(lab.directory().join("ssh/user"));
        command.arg(format!("root@{}", address)).arg("while read -r line; do echo \"$line\"; done");
        let errors = fs::File::create(lab.directory().join("ssh.log")).expect("the lab directory is writable");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().expect("ssh is there");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, input, lines, said: 0 }
    }

    #[track_caller]
    pub(crate) fn answers(&mut self, when: &str) {
        self.said += 1;
        let line = format!("line {}", self.said);
        writeln!(self.input, "{line}").unwrap_or_else(|error| panic!("ssh {when}: {error}"));
        match self.lines.recv_timeout(PATIENCE) {
            Ok(answer) => assert_eq!(answer, line, "ssh {when}"),
            Err(error) => panic!("ssh {when}: {error}"),
        }
    }

    #[track_caller]
    pub(crate) fn ends_well(mut self) {
        drop(self.input);
        assert!(self.child.wait().expect("it is a child").success());
    }
}
