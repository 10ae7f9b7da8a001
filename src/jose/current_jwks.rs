//! Which key set of a client is the current one, or why is that unknown? The data side fetches the sets, and the control side
//! verifies with them; neither names the other.

use crate::jose::jwks::Jwks;
use std::sync::Arc;
use std::time::Duration;

/// A usable key set.
#[derive(Clone, Debug)]
pub struct CurrentJwks {
    pub jwks: Arc<Jwks>,
    /// `true` if the set was fetched after the request for it, or is known to be without the requested key: there is no
    /// newer set to look for a key in.
    pub is_latest: bool,
}

/// Why it is unknown whether the client has a key. `retry_after` is the time until another attempt may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksUnavailable {
    /// There is no usable set, or the fetch of a newer one failed or still runs.
    #[error("the client's keys cannot be fetched")]
    Fetch { retry_after: Duration },
    /// The set was fetched a moment before the key was missed, and is not fetched again so soon.
    #[error("the client's keys were fetched a moment ago")]
    Recent { retry_after: Duration },
}
