//! For which keys does a start wait? For those of issuers behind a URL, each for its `start_wait`: a gate that accepts connections
//! without them answers good tokens with 503.

use crate::config::KeySource;
use crate::gate::snapshot::Snapshot;
use tokio::time::sleep;

/// Waits until each issuer has keys, or its `start_wait` is over. All are fetched at the same time. `/readyz` names the
/// issuers without keys, during the wait and afterwards.
pub async fn wait(snapshot: &Snapshot) {
    // Every wait begins now.
    let waits: Vec<_> = snapshot
        .issuers
        .iter()
        .filter_map(|issuer| match (&issuer.settings().keys, issuer.keys()) {
            (KeySource::Remote(remote), Some(keys)) => Some((issuer.name(), keys, Box::pin(sleep(remote.start_wait)))),
            _ => None,
        })
        .collect();
    for (name, keys, end) in waits {
        tokio::select! {
            biased;
            () = keys.loaded() => {}
            () = end => tracing::warn!(
                issuer = name.as_str(),
                "Started without the issuer's keys: its tokens are answered 503 until they are fetched"
            ),
        }
    }
}
