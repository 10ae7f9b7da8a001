//! Which request target does the upstream receive?

use crate::config::PathRewrite;
use crate::config::TemplatePart;
use crate::gate::accept::Inbound;
use crate::gate::decide::Permit;
use crate::proxy::forward::response_paths::without_prefix;

/// Returns the target for the upstream: the path in normal form, changed as the route says, and the query unchanged.
/// Returns `None` if that is the received target: the route changes nothing, and the received target is in origin form and
/// in normal form (`as_sent`).
pub fn rewritten(permit: &Permit, inbound: &Inbound<'_>, as_sent: bool) -> Option<String> {
    let mut target = match permit.route().rewrite.as_deref() {
        Some(rewrite) => path(inbound.path(), rewrite),
        None if as_sent => return None,
        None => inbound.path().to_owned(),
    };
    if let Some(query) = inbound.query() {
        target.push('?');
        target.push_str(query);
    }
    Some(target)
}

/// Returns the changed path. Takes whole segments from `path` as they are: what was checked is what the upstream reads (S094).
fn path(path: &str, rewrite: &PathRewrite) -> String {
    let parts = match rewrite {
        PathRewrite::Prefix { strip, add } => {
            let rest = without_prefix(path, strip).unwrap_or(path);
            return match (add.as_str(), rest) {
                ("", "") => "/".to_owned(),
                (add, rest) => format!("{add}{rest}"),
            };
        }
        PathRewrite::Template(parts) => parts,
    };
    let mut changed = String::with_capacity(path.len());
    for part in parts {
        changed.push('/');
        // The route matched the path, so it has every segment.
        changed.push_str(match part {
            TemplatePart::Literal(text) => text,
            TemplatePart::Segment(number) => path.split('/').nth(number + 1).unwrap_or_default(),
            TemplatePart::Rest(number) => path.splitn(number + 2, '/').nth(number + 1).unwrap_or_default(),
        });
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    /// Returns the path for the upstream of a route for `pattern` with `rewrite`.
    fn changed(pattern: &str, rewrite: &str, received: &str) -> String {
        let yaml = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\n\
             upstreams: {{ e: {{ builtin: echo }} }}\n\
             routes: [{{ name: a, match: {{ path: \"{pattern}\" }}, public: true, upstream: e, {rewrite} }}]\n"
        );
        let config = config::parse(&yaml, Path::new("keygate.yaml"), &|_| None);
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        path(received, config.routes[0].rewrite.as_deref().unwrap())
    }

    #[test]
    fn s094_a_prefix_is_stripped_and_added_in_whole_segments() {
        for (rewrite, received, expected) in [
            ("strip_prefix: /v1", "/v1/orders", "/orders"),
            ("strip_prefix: /v1", "/v1/", "/"),
            ("strip_prefix: /v1", "/v1", "/"),
            ("strip_prefix: /v1", "/v1/v1", "/v1"),
            ("strip_prefix: /v1", "/v10/orders", "/v10/orders"),
            ("strip_prefix: /v1", "/orders", "/orders"),
            ("add_prefix: /api/v2", "/v1/a%20b", "/api/v2/v1/a%20b"),
            ("strip_prefix: /v1, add_prefix: /api", "/v1/orders", "/api/orders"),
            ("strip_prefix: /v1, add_prefix: /api", "/v1/", "/api/"),
            ("strip_prefix: /v1, add_prefix: /api", "/v1", "/api"),
            ("rewrite: \"/api/{*rest}\"", "/v1/a/b", "/api/a/b"),
        ] {
            assert_eq!(
                changed("/v1/{*rest}", rewrite, received),
                expected,
                "{rewrite}: {received}"
            );
        }
    }

    #[test]
    fn s094_a_capture_is_the_checked_segment_and_nothing_more() {
        let pattern = "/v1/{tenant}/orders/{id}/{*rest}";
        for (template, received, expected) in [
            ("/o/{id}", "/v1/a/orders/5/x/y", "/o/5"),
            ("/{id}/{tenant}/{id}", "/v1/a/orders/5/x", "/5/a/5"),
            ("/o/{id}", "/v1/a/orders/%2F%3F%23/x", "/o/%2F%3F%23"),
            ("/{tenant}/{*rest}", "/v1/a%2Fb/orders/5/x//y/", "/a%2Fb/x//y/"),
            ("/all/", "/v1/a/orders/5/x", "/all/"),
            ("/", "/v1/a/orders/5/x", "/"),
        ] {
            let rewrite = format!("rewrite: \"{template}\"");
            assert_eq!(changed(pattern, &rewrite, received), expected, "{template}: {received}");
        }
    }
}
