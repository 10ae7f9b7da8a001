//! Which request target does the upstream receive?

use crate::gate::accept::Inbound;
use crate::gate::decide::Permit;

/// Returns the target for the upstream: the path in normal form, without the prefix that the route strips, and the
/// query unchanged. Returns `None` if that is the received target: the route strips nothing, and the received target is
/// in origin form and in normal form (`as_sent`).
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

/// Returns `path` without `prefix`, or `/` if nothing is left. Returns `path` if `prefix` ends within a segment.
fn strip<'p>(path: &'p str, prefix: &str) -> &'p str {
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_stripped_in_whole_segments() {
        for (path, prefix, expected) in [
            ("/v1/orders", "/v1", "/orders"),
            ("/v1/", "/v1", "/"),
            ("/v1", "/v1", "/"),
            ("/v1/v1", "/v1", "/v1"),
            ("/v10/orders", "/v1", "/v10/orders"),
            ("/orders", "/v1", "/orders"),
        ] {
            assert_eq!(strip(path, prefix), expected, "{path}");
        }
    }
}
