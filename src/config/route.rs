//! A route: what it matches, what it asks for, where it leads.

use crate::config::cors::Cors;
use crate::config::pattern::HostPattern;
use crate::config::pattern::PathPattern;
use crate::config::rule::Rule;
use crate::config::tree::NodeId;
use crate::model::names::Name;
use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;

/// One entry of `routes`, with what it inherits from `defaults`: nothing after this knows that there are defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub name: Name,
    pub hosts: Vec<HostPattern>,
    pub path: PathPattern,
    /// Empty: every method that HTTP registers (RFC 9110 section 9).
    pub methods: Vec<Method>,
    /// Credential types that count. Empty only on a public route.
    pub accept: Vec<AcceptedCredential>,
    pub public: bool,
    /// Whose tokens count. Never empty where `accept` has `Jwt`, empty elsewhere.
    pub issuers: Vec<Name>,
    /// Replaces the issuers' audiences on this route.
    pub audiences: Option<Vec<String>>,
    /// All of them must hold: the defaults' and the route's own. At most 64. Empty on a public route.
    pub rules: Vec<Rule>,
    /// The defaults' and the route's own.
    pub limits: Vec<Name>,
    /// The credential's subscription must be under one of these. Empty: none is asked for. Empty on a public route.
    pub plans: Vec<Name>,
    pub upstream: Name,
    /// Cut off the front of the path before it is forwarded; matches whole segments. Starts with `/`, does not end
    /// with it.
    pub strip_prefix: Option<String>,
    /// The credential reaches the upstream. Default false.
    pub forward_credential: bool,
    pub two_credentials: TwoCredentials,
    /// `access_token`, `api_key` … in the query are answered with 400. Default true.
    pub reject_query_credentials: bool,
    /// `%2F` in the path is accepted and forwarded as it is.
    pub allow_encoded_slash: bool,
    /// `//` in the path is accepted and forwarded as it is.
    pub allow_empty_segments: bool,
    /// Which web pages may call it from a browser. `None`: none, or what the upstream says.
    pub cors: Option<Cors>,
    /// The resource of `resources` that its clients know it as; only where `accept` has `Jwt`.
    pub resource: Option<Name>,
    /// `aud` of the identity tokens that its upstream gets; only where a credential is asked for.
    pub identity_token: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcceptedCredential {
    Jwt,
    ApiKey,
}

impl fmt::Display for AcceptedCredential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Jwt => "jwt",
            Self::ApiKey => "api_key",
        })
    }
}

/// What becomes of a request with both `Authorization` and an API key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TwoCredentials {
    #[default]
    Refuse,
    /// The bearer token is used, the key is dropped, and it is counted. Only where each of them is well-formed.
    Report,
}

/// A route and where the parts stand that later checks speak of.
pub(in crate::config) struct LocatedRoute {
    pub route: Route,
    pub at: NodeId,
    /// The limits that the route itself names.
    pub own_limits: Vec<(Name, NodeId)>,
}
