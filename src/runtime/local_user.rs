//! Which user of this machine makes a request without a token? The one that the system names for the other end of a socket,
//! or that this process runs as.

use crate::control::admin::access::Peer;
use crate::control::registry::actor::LocalUser;
use nix::unistd::Uid;
use nix::unistd::User;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The longest wait for the name of a user, who may be one of a directory server that does not answer.
const NAME_WAIT: Duration = Duration::from_secs(2);

/// Returns the user that this process runs as.
pub fn own() -> LocalUser {
    let uid = Uid::effective().as_raw();
    LocalUser::new(Some(uid), name(uid))
}

/// Returns the user at the other end of `stream`, without a name: its look-up may take long.
pub fn of(stream: &UnixStream) -> LocalUser {
    let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
    LocalUser::new(uid, None)
}

/// Returns `peer`, a local one with the name of its user.
pub async fn with_name(peer: Peer) -> Peer {
    let uid = match &peer {
        Peer::Local(user) => user.uid(),
        Peer::Network(_) => None,
    };
    let Some(uid) = uid else {
        return peer;
    };
    let lookup = tokio::task::spawn_blocking(move || name(uid));
    let name = match timeout(NAME_WAIT, lookup).await {
        Ok(Ok(name)) => name,
        Ok(Err(_)) | Err(_) => None,
    };
    Peer::Local(LocalUser::new(Some(uid), name))
}

fn name(uid: u32) -> Option<String> {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
    Some(user.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::registry::Actor;

    #[tokio::test]
    async fn both_ends_of_a_socket_are_the_user_of_this_process() {
        let (here, there) = UnixStream::pair().unwrap();
        for stream in [&here, &there] {
            assert_eq!(with_name(Peer::Local(of(stream))).await, Peer::Local(own()));
        }
        let actor = Actor::local(&own());
        let uid = format!("(uid {})", Uid::effective());
        assert!(
            actor.name().starts_with("local") && actor.name().ends_with(&uid),
            "{actor:?}"
        );
    }
}
