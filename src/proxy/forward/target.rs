//! Which target reaches the upstream?

use crate::gate::accept::Inbound;
use crate::gate::decide::Permit;

/// The target that goes to the upstream, where it differs from the one that came: the path that was matched, without
/// the prefix that the route strips, and the query as it is. `as_sent`: what came is in origin form and normal form.
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

/// `path` without `prefix`, which ends at a segment's end; as it is when it does not start so.
fn strip<'p>(path: &'p str, prefix: &str) -> &'p str {
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}
