//! Where a log is written to: a file, or a collector.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::encode::{Frames, Framing};

/// How long a collector may take to accept a connection or data.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a log is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A file that grows. If it is renamed or removed, as `logrotate` does, it is made anew.
    File(PathBuf),
    /// Datagrams to a collector.
    Udp(SocketAddr),
    /// A connection to a collector, made anew when it breaks.
    Tcp(SocketAddr),
    /// Datagrams to a local socket, as `/dev/log`.
    Unix(PathBuf),
}

impl Target {
    /// How messages are told apart there.
    pub(crate) const fn framing(&self) -> Framing {
        match self {
            Self::File(_) => Framing::Lines,
            Self::Udp(_) | Self::Unix(_) => Framing::Datagrams,
            Self::Tcp(_) => Framing::Stream,
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "`{text}` is no place for a log; write an absolute path, udp://192.0.2.9:514, tcp://[2001:db8::9]:6514 or \
                 unix:/dev/log"
            )
        };
        let absolute = |path: &str| Path::new(path).is_absolute().then(|| PathBuf::from(path)).ok_or_else(wrong);
        let socket = |text: &str| text.parse().map_err(|_| wrong());
        match (text.strip_prefix("udp://"), text.strip_prefix("tcp://"), text.strip_prefix("unix:")) {
            (Some(address), ..) => socket(address).map(Self::Udp),
            (_, Some(address), _) => socket(address).map(Self::Tcp),
            (.., Some(path)) => absolute(path).map(Self::Unix),
            _ => absolute(text).map(Self::File),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A target, opened when it is first written to.
#[derive(Debug)]
pub(super) struct Output {
    target: Target,
    open: Option<Open>,
}

#[derive(Debug)]
enum Open {
    File(File, Identity),
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixDatagram),
}

/// Device and inode of a file.
type Identity = (u64, u64);

impl Output {
    pub(super) const fn new(target: Target) -> Self {
        Self { target, open: None }
    }

    /// Writes the frames that are left. After an error those that were not written are left, and the target is opened
    /// anew the next time.
    pub(super) fn write(&mut self, frames: &mut Frames) -> io::Result<()> {
        if self.was_moved() {
            self.open = None;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                // A new connection begins with a whole message.
                frames.restart_frame();
                none.insert(Open::of(&self.target)?)
            }
        };
        let outcome = open.write(frames);
        // A full disk keeps the part of the line that fitted: the rest has to follow it, in the same file.
        if outcome.is_err() && !matches!(open, Open::File(..)) {
            self.open = None;
        }
        outcome
    }

    /// Whether the file is no longer the one that its name leads to.
    fn was_moved(&self) -> bool {
        let (Some(Open::File(_, identity)), Target::File(path)) = (&self.open, &self.target) else { return false };
        identity_of(path).ok() != Some(*identity)
    }
}

impl Open {
    fn of(target: &Target) -> io::Result<Self> {
        match target {
            Target::File(path) => {
                if let Some(directory) = path.parent() {
                    fs::create_dir_all(directory)?;
                }
                // It says who talked to whom: for the owner and the group alone.
                let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
                Ok(Self::File(file, identity_of(path)?))
            }
            Target::Udp(address) => {
                let any: SocketAddr = match address {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                Ok(Self::Udp(socket))
            }
            Target::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Tcp(stream))
            }
            Target::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(PATIENCE))?;
                socket.connect(path)?;
                Ok(Self::Unix(socket))
            }
        }
    }

    fn write(&mut self, frames: &mut Frames) -> io::Result<()> {
        while let Some(rest) = frames.rest() {
            let written = match self {
                Self::File(file, _) => file.write(frames.all())?,
                Self::Tcp(stream) => stream.write(frames.all())?,
                Self::Udp(socket) => socket.send(rest)?,
                Self::Unix(socket) => socket.send(rest)?,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            frames.advance(written);
        }
        Ok(())
    }
}

fn identity_of(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}
