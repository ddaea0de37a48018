//! The unix socket: made with care for those that are there, removed at the end.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// Someone answers there.
    #[error("another nat64 answers at {}; stop it, wait until it has stopped, or give another --control-socket", .0.display())]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{} exists and is no socket; remove it, or give another --control-socket", .0.display())]
    NoSocket(PathBuf),
    /// The system said no.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

/// A listening control socket. Dropping it removes the file, and the directory if this made it.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: Option<UnixListener>,
    /// The same once more: as long as it is open, another daemon finds somebody there. One that stops has given up its device
    /// before all is taken back, and what it takes back must not be what another has just set up.
    _presence: StdListener,
    path: PathBuf,
    /// The directory, if it was made for the socket.
    made: Option<PathBuf>,
}

impl ControlSocket {
    /// Makes the socket, and its directory if need be, with these permissions and, if there is one, for this group. A socket
    /// that nobody answers at is replaced. On a runtime.
    pub(crate) fn bind(path: &Path, mode: u32, group: Option<u32>) -> Result<Self, SocketError> {
        let error = |action, path: &Path| {
            let path = path.to_owned();
            move |source| SocketError::Io { action, path, source }
        };
        let directory = path.parent().unwrap_or_else(|| Path::new("/"));
        let is_new = !directory.exists();
        if is_new {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
            made.map_err(error("make the directory", directory))?;
        }
        let made = is_new.then(|| directory.to_owned());
        remove_stale(path)?;
        let listen = || {
            let presence = StdListener::bind(path)?;
            presence.set_nonblocking(true)?;
            Ok((UnixListener::from_std(presence.try_clone()?)?, presence))
        };
        let (listener, presence) = listen().map_err(error("make the control socket", path))?;
        let socket = Self { listener: Some(listener), _presence: presence, path: path.to_owned(), made };
        if let Some(group) = group {
            chown(path, None, Some(group)).map_err(error("give the group of control.group to", path))?;
        }
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(error("set the permissions of", path))?;
        Ok(socket)
    }

    /// The listener, once.
    pub(crate) const fn take_listener(&mut self) -> Option<UnixListener> {
        self.listener.take()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Whoever removed them before us did what is to be done.
        let _ = fs::remove_file(&self.path);
        if let Some(directory) = &self.made {
            let _ = fs::remove_dir(directory);
        }
    }
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let io = |action| move |source| SocketError::Io { action, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("look at")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(SocketError::NoSocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(io("remove the stale socket"))
        }
        Err(error) => Err(io("find out who answers at")(error)),
    }
}
