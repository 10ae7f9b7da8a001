//! Which routes contradict the credential of their upstream?

use crate::config::check::Checker;
use crate::config::parts::Parts;
use crate::config::route::LocatedRoute;
use crate::config::upstream::Upstream;
use crate::config::upstream_credential::UpstreamCredential;
use crate::config::upstream_credential::refuse_rules;

/// Reports routes that contradict the credential of their upstream: with rules for its header, or with
/// `forward_credential` where the client's credential may come in the same header.
pub(in crate::config) fn refuse(parts: &Parts<'_>, checker: &mut Checker<'_>) {
    for located in parts.routes {
        for upstream in located.route.upstream.names() {
            let upstream = parts.upstreams.get(upstream);
            if let Some((upstream, credential)) =
                upstream.and_then(|upstream| Some((upstream, upstream.credential.as_ref()?)))
            {
                refuse_one(located, upstream, credential, parts, checker);
            }
        }
    }
}

fn refuse_one(
    located: &LocatedRoute,
    upstream: &Upstream,
    credential: &UpstreamCredential,
    parts: &Parts<'_>,
    checker: &mut Checker<'_>,
) {
    let route = &located.route;
    refuse_rules(credential, &route.request_headers, located.at, checker);
    if route.public {
        let at = checker.tree.first_of(located.at, &["public"]);
        let problem = format!("everybody uses the `credential` of `upstreams.{}` here", upstream.name);
        let hint = "ask for a credential of the client's own, such as `accept: [api_key]`";
        checker.warn(at, "open-credential", problem, hint);
    }
    let name = &credential.header;
    if route.forward_credential && parts.credential_headers(route).any(|carrier| carrier == name) {
        let at = checker.tree.first_of(located.at, &["forward_credential"]);
        let problem = format!(
            "`{name}` carries the `credential` of `upstreams.{}`, not the client's",
            upstream.name
        );
        let hint = "remove one of the two, or give the credential another `header`";
        checker.error_with(at, "conflicting-credentials", problem, hint);
    }
}
