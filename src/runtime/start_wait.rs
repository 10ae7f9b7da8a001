//! What does a start wait for? For what requests need and only others can say: issuers' keys, the tokens of OAuth clients, the
//! addresses of names. A gate that accepts connections without them answers good requests with 503.

use crate::config::KeySource;
use crate::gate::Gate;
use std::time::Duration;
use tokio::time::sleep;

/// The longest wait for tokens and addresses. Issuers have a `start_wait` of their own.
const LONGEST: Duration = Duration::from_secs(5);

/// Waits until each issuer has keys, each OAuth client a token, and each name of an endpoint was looked up, or until their time is
/// over. All are fetched at the same time. `/readyz` names the issuers and upstreams that lack theirs, during the wait and
/// afterwards.
pub async fn wait(gate: &Gate) {
    tokio::join!(wait_for_keys(gate), wait_for_tokens(gate), wait_for_addresses(gate));
}

async fn wait_for_keys(gate: &Gate) {
    let snapshot = gate.snapshot();
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
        if !ends_before(keys.loaded(), end).await {
            tracing::warn!(
                issuer = name.as_str(),
                "Started without the issuer's keys: its tokens are answered 503 until they are fetched"
            );
        }
    }
}

async fn wait_for_tokens(gate: &Gate) {
    let waits = gate.live.client_tokens().into_iter();
    let waits: Vec<_> = waits.map(|wait| (wait, Box::pin(sleep(LONGEST)))).collect();
    for ((upstream, token), end) in waits {
        // A reload during the wait may have removed it.
        if !ends_before(token.fetched(), end).await
            && gate.live.client_tokens().iter().any(|(name, _)| *name == upstream)
        {
            tracing::warn!(
                upstream = upstream.as_str(),
                "Started without a token for the upstream: its requests are answered 503 until it is fetched"
            );
        }
    }
}

async fn wait_for_addresses(gate: &Gate) {
    let mut end = Box::pin(sleep(LONGEST));
    for upstream in gate.live.upstreams() {
        for entry in upstream.entries() {
            // A name that does not resolve was logged when its look-up failed.
            ends_before(entry.source.looked_up(), end.as_mut()).await;
        }
    }
}

/// Returns whether `wait` ends before `end`.
async fn ends_before(wait: impl Future<Output = ()>, end: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        () = wait => true,
        () = end => false,
    }
}
