//! Which addresses do the names of endpoints have? Names are resolved in the background, so that no request waits for
//! DNS.

use crate::fetch::dns;
use crate::upstream::EndpointSource;
use crate::upstream::Upstream;
use crate::upstream::source::LookupChange;
use std::sync::Arc;
use std::time::Duration;

/// The time between two look-ups of a name. The system resolver does not report the TTL of a record.
pub const RESOLVE_EVERY: Duration = Duration::from_secs(10);

/// The time limit of one look-up.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Resolves the name of `source`, for which [`EndpointSource::begin_lookup`] returned `true`, and gives its addresses to
/// `upstream`. After a failed look-up, the old addresses stay in use.
pub async fn resolve(source: Arc<EndpointSource>, upstream: Arc<Upstream>) {
    let Some(host) = source.host().name() else {
        return;
    };
    let lookup = dns::lookup(source.host(), &upstream.settings.name_servers);
    let result = match tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", RESOLVE_TIMEOUT.as_secs())),
    };
    let upstream_name = upstream.name().as_str();
    let problem = match result {
        Ok(mut lookup) => {
            let problem = lookup.problem.take();
            if source.replace(lookup) {
                let addresses = source.endpoints();
                let addresses = addresses.iter().map(|found| found.endpoint.address().to_string());
                let addresses = addresses.collect::<Vec<_>>().join(", ");
                tracing::info!(upstream = upstream_name, host, addresses, "Endpoint addresses changed");
                upstream.refresh();
            }
            problem
        }
        Err(problem) => Some(problem),
    };
    match (source.end_lookup(problem.clone()), problem) {
        (Some(LookupChange::Fails), Some(problem)) => {
            let addresses = source.endpoints().len();
            let message = if addresses == 0 {
                "Endpoint name does not resolve; it has no addresses"
            } else {
                "Endpoint name does not resolve, or only in part; addresses that it had stay in use"
            };
            tracing::warn!(upstream = upstream_name, host, problem, addresses, "{message}");
        }
        (Some(LookupChange::Succeeds { failures }), _) => {
            tracing::info!(upstream = upstream_name, host, failures, "Endpoint name resolves again");
        }
        (Some(LookupChange::Fails) | None, _) => {}
    }
}
