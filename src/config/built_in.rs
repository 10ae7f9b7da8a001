//! Which paths does Keygate answer itself, and does an operator's route claim one of them?

use crate::config::check::Checker;
use crate::config::identity_token::IdentityToken;
use crate::config::pattern::HostPattern;
use crate::config::read::Text;
use crate::config::resource::Resource;
use crate::config::route::LocatedRoute;
use crate::config::token_endpoint::TokenEndpoint;
use crate::config::token_paths::TokenPaths;
use crate::model::names::Name;
use std::collections::BTreeMap;

/// A path that Keygate answers itself because the configuration needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltInRoute {
    /// Used in logs and metrics like the name of a route.
    pub name: Name,
    /// Lower case, without port. `None`: any host.
    pub host: Option<String>,
    pub path: BuiltInPath,
    pub kind: BuiltInKind,
}

/// The path of a built-in route, in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuiltInPath {
    Exact(String),
    /// Exactly one segment stands between `before` and `after`: `/t/` and `/oauth/token`.
    Segment {
        before: String,
        after: String,
    },
}

impl BuiltInPath {
    /// Returns whether a request for `path` (in normal form) is for this path.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(own) => own == path,
            Self::Segment { .. } => self.segment(path).is_some(),
        }
    }

    /// Returns the segment of `path` that stands for the organization, if `path` is for this path and has one.
    fn segment<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self {
            Self::Exact(_) => None,
            Self::Segment { before, after } => path
                .strip_prefix(before.as_str())
                .and_then(|rest| rest.strip_suffix(after.as_str()))
                .filter(|segment| !segment.is_empty() && !segment.contains('/')),
        }
    }
}

impl std::fmt::Display for BuiltInPath {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => out.write_str(path),
            Self::Segment { before, after } => write!(out, "{before}{{organization}}{after}"),
        }
    }
}

/// The content or endpoint behind a built-in route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuiltInKind {
    /// The keys that verify Keygate's own identity tokens and access tokens (RFC 7517 section 5).
    Jwks,
    /// The metadata of a resource (RFC 9728 section 2).
    Resource(Name),
    /// An endpoint of the control side.
    Control(ControlEndpoint),
}

/// An endpoint of the control side that is reached on the data listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlEndpoint {
    pub kind: EndpointKind,
    pub path: ControlPath,
}

/// The path that the control side receives. It does not depend on the path that the configuration gives the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlPath {
    Fixed(&'static str),
    /// `/t/`, the organization in the request's path, and `after`.
    Tenant {
        own: BuiltInPath,
        after: &'static str,
    },
}

impl ControlPath {
    /// Returns the path for a request for `path`; `None` where the request's path has no organization.
    pub fn of(&self, path: &str) -> Option<String> {
        match self {
            Self::Fixed(fixed) => Some((*fixed).to_owned()),
            Self::Tenant { own, after } => Some(format!("/t/{}{after}", own.segment(path)?)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointKind {
    /// RFC 6749 section 3.2.
    Token,
    /// RFC 7662 section 2.
    Introspection,
    /// RFC 7009 section 2.
    Revocation,
    /// RFC 8414 section 3, OpenID Connect Discovery 1.0 section 4.
    Metadata,
}

/// The paths of the control side, which its router knows.
const TOKEN: &str = "/oauth/token";
const INTROSPECT: &str = "/oauth/introspect";
const REVOKE: &str = "/oauth/revoke";

/// The paths of both metadata documents for an issuer without a path.
const METADATA: [&str; 2] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
];

/// Returns the routes of the control side's endpoints. Each is below the issuer's
/// path, as clients see it, and at the root too, because a proxy in front may strip
/// that path. RFC 8414 section 3 puts the issuer's path at the end of metadata URLs.
fn of_token_endpoint(token_endpoint: &TokenEndpoint) -> Vec<BuiltInRoute> {
    let prefix = token_endpoint.path_prefix();
    let mut routes = endpoints_below("", &token_endpoint.paths);
    if !prefix.is_empty() {
        routes.extend(endpoints_below(&prefix, &token_endpoint.paths));
        // RFC 8414 section 5 extends this rule to the document of OpenID Connect.
        routes.extend(METADATA.map(|name| metadata_route(BuiltInPath::Exact(format!("{name}{prefix}")), name)));
    }
    // Each organization has documents too. Their URLs are below the issuer's.
    let before = &token_endpoint.paths.tenant_token.before;
    let mut bases = vec![String::new()];
    bases.extend((!prefix.is_empty()).then_some(prefix));
    for base in bases {
        let [_, openid] = METADATA;
        let below = (format!("{base}{before}"), openid.to_owned());
        let behind = METADATA.map(|name| (format!("{name}{base}{before}"), String::new()));
        routes.extend(behind.into_iter().chain([below]).map(tenant_metadata_route));
    }
    routes
}

fn endpoints_below(prefix: &str, paths: &TokenPaths) -> Vec<BuiltInRoute> {
    let exact = |path: &str| BuiltInPath::Exact(format!("{prefix}{path}"));
    let tenants = BuiltInPath::Segment {
        before: format!("{prefix}{}", paths.tenant_token.before),
        after: paths.tenant_token.after.clone(),
    };
    let tenant_path = ControlPath::Tenant {
        own: tenants.clone(),
        after: TOKEN,
    };
    let fixed = ControlPath::Fixed;
    let mut routes = vec![
        control_route("keygate.token", exact(&paths.token), EndpointKind::Token, fixed(TOKEN)),
        control_route("keygate.token", tenants, EndpointKind::Token, tenant_path),
        control_route(
            "keygate.introspect",
            exact(INTROSPECT),
            EndpointKind::Introspection,
            fixed(INTROSPECT),
        ),
        control_route("keygate.revoke", exact(REVOKE), EndpointKind::Revocation, fixed(REVOKE)),
    ];
    routes.extend(METADATA.map(|name| metadata_route(exact(name), name)));
    routes
}

fn metadata_route(path: BuiltInPath, name: &'static str) -> BuiltInRoute {
    control_route(
        "keygate.metadata",
        path,
        EndpointKind::Metadata,
        ControlPath::Fixed(name),
    )
}

/// Returns the route of the documents of organizations. In its path, the organization's name is between `before` and `after`.
fn tenant_metadata_route((before, after): (String, String)) -> BuiltInRoute {
    let [oauth, _] = METADATA;
    let path = BuiltInPath::Segment { before, after };
    let control_path = ControlPath::Tenant {
        own: path.clone(),
        after: oauth,
    };
    control_route("keygate.metadata", path, EndpointKind::Metadata, control_path)
}

fn control_route(name: &str, path: BuiltInPath, kind: EndpointKind, control_path: ControlPath) -> BuiltInRoute {
    BuiltInRoute {
        name: name.parse().expect(KNOWN),
        host: None,
        path,
        kind: BuiltInKind::Control(ControlEndpoint {
            kind,
            path: control_path,
        }),
    }
}

const KNOWN: &str = "names of built-in routes are names";

/// Returns every built-in route that the configuration needs. Keys are served under every host name, the metadata of a
/// resource at its host alone: another resource may have the same path at another host.
pub(in crate::config) fn all(
    resources: &BTreeMap<Name, Resource>,
    identity_token: Option<&IdentityToken>,
    token_endpoint: Option<&TokenEndpoint>,
) -> Vec<BuiltInRoute> {
    let known = KNOWN;
    let jwks = |path: String| BuiltInRoute {
        name: "keygate.jwks".parse().expect(known),
        host: None,
        path: BuiltInPath::Exact(path),
        kind: BuiltInKind::Jwks,
    };
    let any_jwks = identity_token.is_some() || token_endpoint.is_some();
    let prefix = token_endpoint.map(TokenEndpoint::path_prefix).unwrap_or_default();
    let below = (!prefix.is_empty()).then(|| jwks(format!("{prefix}/oauth/jwks")));
    let jwks = any_jwks.then(|| jwks("/oauth/jwks".to_owned()));
    let metadata = resources.values().map(|resource| BuiltInRoute {
        name: "keygate.resource-metadata".parse().expect(known),
        host: Some(resource.url.host().to_owned()),
        path: BuiltInPath::Exact(resource.url.metadata_path()),
        kind: BuiltInKind::Resource(resource.name.clone()),
    });
    jwks.into_iter()
        .chain(below)
        .chain(metadata)
        .chain(token_endpoint.map(of_token_endpoint).unwrap_or_default())
        .collect()
}

/// Names under this prefix are reserved for built-in routes.
pub const RESERVED_PREFIX: &str = "keygate.";

/// Rejects an operator's route with a reserved name: it would share its metrics with a built-in route.
pub(in crate::config) fn refuse_reserved(name: &Text<Name>, checker: &mut Checker<'_>) {
    if name.get().as_str().starts_with(RESERVED_PREFIX) {
        let problem = checker.with_value(name.at, "names under `keygate.` are those of built-in routes");
        checker.error_with(name.at, "reserved-name", problem, "choose another name");
    }
}

/// Reports every route that has exactly a built-in path. A wider pattern
/// (`/{*rest}`) is allowed: the more specific route answers.
pub(in crate::config) fn refuse_overlap(
    built_ins: &[BuiltInRoute],
    routes: &[LocatedRoute],
    checker: &mut Checker<'_>,
) {
    for located in routes {
        let taken = built_ins.iter().find(|built_in| {
            // `/t/{org}/oauth/token` is as specific as the built-in route, and `matches` takes `{org}` for a segment.
            let path = built_in.path.matches(located.route.path.as_str());
            path && located
                .route
                .hosts
                .iter()
                .any(|host| may_match_host(host, built_in.host.as_deref()))
        });
        if let Some(taken) = taken {
            let at = checker.tree.entry(located.at, "match").unwrap_or(located.at);
            let problem = format!("Keygate answers `{}` itself (`{}`)", taken.path, taken.name);
            checker.error_with(at, "overlaps-built-in", problem, "give the route another path or host");
        }
    }
}

/// Returns whether a request can match both `pattern` and `host`; `None` stands for any host.
fn may_match_host(pattern: &HostPattern, host: Option<&str>) -> bool {
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
