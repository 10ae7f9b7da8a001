//! For which keys does a start wait? For those of issuers behind a URL, each for its `start_wait`: a gate that accepts connections
//! without them answers good tokens with 503.

use crate::config::KeySource;
use crate::gate::snapshot::Snapshot;
use tokio::time::Instant;
use tokio::time::timeout_at;

/// Waits until each issuer has keys, or its `start_wait` is over. All are fetched at the same time. `/readyz` says which are
/// missing meanwhile, and afterwards.
pub async fn wait(snapshot: &Snapshot) {
    let begin = Instant::now();
    for issuer in &snapshot.issuers {
        let (KeySource::Remote(remote), Some(keys)) = (&issuer.settings().keys, issuer.keys()) else {
            continue;
        };
        if timeout_at(begin + remote.start_wait, keys.loaded()).await.is_err() && !remote.start_wait.is_zero() {
            tracing::warn!(
                issuer = issuer.name().as_str(),
                "Started without the issuer's keys: its tokens are answered 503 until they are fetched"
            );
        }
    }
}
