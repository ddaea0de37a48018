//! Who is at the other end of the control socket, and what it may do there.
//!
//! Reading is for whoever the permissions of the socket let in. Changing is for root, the daemon's own user and the members
//! of one group; the kernel says who a peer is (unix(7), `SO_PEERCRED`), so that nobody can claim to be another.

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::net::UnixListener;
use tracing::{info, warn};

use crate::config::AccessSettings;

/// The process at the other end, as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer(Option<Credentials>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Credentials {
    user: Uid,
    group: Gid,
    process: Option<i32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let known = stream.io().peer_cred().ok();
        Self(known.map(|peer| Credentials {
            user: Uid::from_raw(peer.uid()),
            group: Gid::from_raw(peer.gid()),
            process: peer.pid(),
        }))
    }
}

/// Who may change things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guard {
    owner: Uid,
    group: Option<Gid>,
}

/// The group that is to be let in cannot be found.
#[derive(Debug, thiserror::Error)]
#[error(
    "control.group: there is no group `{0}` on this host; make it (`groupadd --system {0}`), name another, or leave the key away"
)]
pub(crate) struct NoGroup(String);

impl Guard {
    /// Lets root, this process's user and the members of the configured group in.
    ///
    /// # Errors
    /// There is no such group.
    pub(crate) fn new(settings: &AccessSettings) -> Result<Self, NoGroup> {
        let group = settings.group.as_deref().map(group_called).transpose()?;
        Ok(Self { owner: Uid::effective(), group })
    }

    /// The group that the socket is to belong to.
    pub(crate) fn group(self) -> Option<u32> {
        self.group.map(Gid::as_raw)
    }

    /// Whether a peer may change things. Asks the host's database of users, which may take a while.
    fn admits(self, peer: Credentials) -> bool {
        let is_member = |group: Gid| {
            let Ok(Some(user)) = User::from_uid(peer.user) else { return false };
            let Ok(name) = std::ffi::CString::new(user.name) else { return false };
            getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&group))
        };
        peer.user.is_root()
            || peer.user == self.owner
            || self.group.is_some_and(|group| peer.group == group || is_member(group))
    }
}

fn group_called(name: &str) -> Result<Gid, NoGroup> {
    let named = Group::from_name(name).ok().flatten().map(|group| group.gid);
    named.or_else(|| name.parse().ok().map(Gid::from_raw)).ok_or_else(|| NoGroup(name.to_owned()))
}

/// Lets requests through that only read, and those of peers that may change things; says who changed what.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if is_for_all(request.method(), request.uri().path()) {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<ConnectInfo<Peer>>().and_then(|info| info.0.0);
    let admitted = match peer {
        Some(peer) => tokio::task::spawn_blocking(move || guard.admits(peer)).await.unwrap_or(false),
        None => false,
    };
    let (user, process) = (peer.map(|peer| peer.user.as_raw()), peer.and_then(|peer| peer.process));
    let (method, what) = (request.method().clone(), request.uri().clone());
    if !admitted {
        warn!(user, process, %method, %what, "refused over the control socket");
        return (StatusCode::FORBIDDEN, refusal(&method, user)).into_response();
    }
    let response = next.run(request).await;
    if method == Method::GET {
        info!(user, process, %method, %what, status = response.status().as_u16(), "traced over the control socket");
        return response;
    }
    info!(user, process, %method, %what, status = response.status().as_u16(), "changed over the control socket");
    response
}

/// Whether a request is for whoever can connect.
fn is_for_all(method: &Method, path: &str) -> bool {
    match *method {
        // It shows what users send.
        Method::GET | Method::HEAD => path != "/v1/trace",
        // A packet is too long for a path.
        Method::POST => path == "/v1/explain",
        _ => false,
    }
}

fn refusal(method: &Method, user: Option<u32>) -> String {
    let who = user.map_or_else(|| "an unknown user".to_owned(), |user| format!("user {user}"));
    let may = if *method == Method::GET { "may not see packets" } else { "may read, not change" };
    format!(
        "{who} {may}: that is for root, for the user that nat64 runs as, and for members of the group that \
         control.group names\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: u32 = 65_534;

    fn peer(user: u32, group: u32) -> Credentials {
        Credentials { user: Uid::from_raw(user), group: Gid::from_raw(group), process: Some(1) }
    }

    #[test]
    fn root_the_owner_and_the_group_may_change_things_and_nobody_else() {
        let guard = Guard { owner: Uid::from_raw(990), group: Some(Gid::from_raw(991)) };
        assert!(guard.admits(peer(0, 0)));
        assert!(guard.admits(peer(990, NOBODY)));
        assert!(guard.admits(peer(NOBODY, 991)));
        assert!(!guard.admits(peer(NOBODY, NOBODY)));
        let without_group = Guard { group: None, ..guard };
        assert!(!without_group.admits(peer(NOBODY, 991)));
    }

    #[test]
    fn a_group_is_found_by_name_and_by_number() {
        let guard = |group: &str| Guard::new(&AccessSettings { mode: 0o660, group: Some(group.to_owned()) });
        assert_eq!(guard("root").unwrap().group(), Some(0));
        assert_eq!(guard("4242").unwrap().group(), Some(4242));
        let error = guard("no-such-group").unwrap_err().to_string();
        assert!(error.contains("`no-such-group`") && error.contains("groupadd"), "{error}");
    }
}
