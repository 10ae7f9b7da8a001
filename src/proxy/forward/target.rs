//! Which target is sent to the upstream?

use crate::gate::accept::Inbound;
use crate::gate::decide::Permit;

/// Returns the target for the upstream, where it differs from the received one: the
/// path that was matched, without the prefix that the route strips, and the query
/// unchanged. `as_sent`: the received target is in origin form and in normal form.
pub fn rewritten(permit: &Permit, inbound: &Inbound<'_>, as_sent: bool) -> Option<String> {
    let route = permit.route();
    let path = match &route.strip_prefix {
        Some(prefix) => strip(inbound.path(), prefix),
        None if as_sent => return None,
        None => inbound.path(),
    };
    Some(match inbound.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    })
}

/// Returns `path` without `prefix`, if the prefix ends at the end of a segment; otherwise the whole `path`.
fn strip<'p>(path: &'p str, prefix: &str) -> &'p str {
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}
