//! Which paths does Keygate answer itself, and does a route of the operator's want one of them?

use crate::config::check::Checker;
use crate::config::identity_token::IdentityToken;
use crate::config::read::Text;
use crate::config::resource::Resource;
use crate::config::route::HostPattern;
use crate::config::route::Placed;
use crate::model::names::Name;
use std::collections::BTreeMap;

/// A path that Keygate answers itself, because the configuration asks for what is served there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltInRoute {
    /// Stands in logs and metrics like a route's.
    pub name: Name,
    /// Lower case, without port. `None`: whatever host is asked for.
    pub host: Option<String>,
    /// Literal, in normal form.
    pub path: String,
    pub serves: Serves,
}

/// What a built-in route answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serves {
    /// The keys that identity tokens are verified with (RFC 7517 section 5).
    Jwks,
    /// The metadata of a resource (RFC 9728 section 2).
    Resource(Name),
}

/// Every built-in route that the configuration asks for. The keys are the same whatever the gate is called by whoever
/// asks; the metadata are a resource's own, and those of another may be on the same path at another host.
pub(in crate::config) fn all(
    resources: &BTreeMap<Name, Resource>,
    identity_token: Option<&IdentityToken>,
) -> Vec<BuiltInRoute> {
    let known = "names of built-in routes are names";
    let jwks = identity_token.map(|_| BuiltInRoute {
        name: "keygate.jwks".parse().expect(known),
        host: None,
        path: "/oauth/jwks".to_owned(),
        serves: Serves::Jwks,
    });
    let metadata = resources.values().map(|resource| BuiltInRoute {
        name: "keygate.resource-metadata".parse().expect(known),
        host: Some(resource.url.host().to_owned()),
        path: resource.url.metadata_path(),
        serves: Serves::Resource(resource.name.clone()),
    });
    jwks.into_iter().chain(metadata).collect()
}

/// Names under this prefix are built-in routes'.
const RESERVED_PREFIX: &str = "keygate.";

/// An operator's route of such a name would share its metrics with a built-in one.
pub(in crate::config) fn refuse_reserved(name: &Text<Name>, checker: &mut Checker<'_>) {
    if name.get().as_str().starts_with(RESERVED_PREFIX) {
        let problem = checker.with_value(name.at, "names under `keygate.` are those of built-in routes");
        checker.error_with(name.at, "reserved-name", problem, "choose another name");
    }
}

/// Reports every route for exactly a path that is answered here. A wider one (`/{*rest}`) is none: of two routes the
/// more literal one answers, as ever.
pub(in crate::config) fn refuse_overlap(built_ins: &[BuiltInRoute], routes: &[Placed], checker: &mut Checker<'_>) {
    for placed in routes {
        let taken = built_ins.iter().find(|built_in| {
            let path = placed.route.path.as_str() == built_in.path;
            path && placed
                .route
                .hosts
                .iter()
                .any(|host| shares(host, built_in.host.as_deref()))
        });
        if let Some(taken) = taken {
            let at = checker.tree.entry(placed.at, "match").unwrap_or(placed.at);
            let problem = format!("Keygate answers `{}` itself (`{}`)", taken.path, taken.name);
            checker.error_with(at, "overlaps-built-in", problem, "give the route another path or host");
        }
    }
}

/// Whether a request can be for both.
fn shares(pattern: &HostPattern, host: Option<&str>) -> bool {
    let Some(host) = host else {
        return true;
    };
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(name) => name == host,
        HostPattern::Suffix(suffix) => host
            .strip_suffix(suffix.as_str())
            .is_some_and(|labels| labels.ends_with('.')),
    }
}
