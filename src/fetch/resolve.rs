//! Which addresses do the names of endpoints have? Names are resolved in the background, so that no request waits for
//! DNS.

use crate::upstream::EndpointState;
use std::net::SocketAddr;
use std::time::Duration;

/// The time between two look-ups of a name. The system resolver does not report the TTL of a record.
pub const RESOLVE_EVERY: Duration = Duration::from_secs(10);

/// The time limit of one look-up.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Resolves the name of one endpoint and replaces its addresses. After a failed look-up, the old addresses stay in use.
pub async fn resolve(endpoint: &EndpointState) {
    let target = (endpoint.host(), endpoint.port());
    match tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(target)).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<SocketAddr> = found.collect();
            addresses.sort_unstable();
            addresses.dedup();
            if !addresses.is_empty() {
                endpoint.replace(addresses);
            }
        }
        Ok(Err(error)) => {
            tracing::warn!(host = endpoint.host(), error = %error, "Endpoint name does not resolve");
        }
        Err(_) => tracing::warn!(host = endpoint.host(), "Endpoint name took too long to resolve"),
    }
}
