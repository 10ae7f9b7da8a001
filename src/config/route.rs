//! Which requests does a route match, which credentials does it require, and where do the requests go?

use crate::config::address_rules::AddressRules;
use crate::config::client_certificates::CertificateRequirement;
use crate::config::cors::Cors;
use crate::config::header_rules::HeaderRules;
use crate::config::match_condition::MatchConditions;
use crate::config::path_rewrite::PathRewrite;
use crate::config::pattern::HostPattern;
use crate::config::pattern::PathPattern;
use crate::config::rule::Condition;
use crate::config::rule::Mode;
use crate::config::rule::Rule;
use crate::config::split::RouteUpstream;
use crate::config::timeouts::TimeoutOverrides;
use crate::config::tree::NodeId;
use crate::model::names::Name;
use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;

/// One entry of `routes`, merged with `defaults`: later stages do not see the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub name: Name,
    pub hosts: Box<[HostPattern]>,
    pub path: PathPattern,
    /// Empty: those of `DEFAULT_METHODS`. GET includes HEAD.
    pub methods: Box<[Method]>,
    /// Conditions on headers and query.
    pub conditions: MatchConditions,
    /// The addresses of clients that may use the route.
    pub addresses: Arc<AddressRules>,
    /// Accepted types of credential. Empty only on a public route.
    pub accept: Box<[AcceptedCredential]>,
    pub public: bool,
    /// Issuers of accepted tokens. Never empty where `accept` has `Jwt`, empty elsewhere.
    pub issuers: Box<[Name]>,
    /// Audiences in place of the issuers' own.
    pub audiences: Option<Box<[String]>>,
    /// Rules of the defaults and the route; all must hold. At most 64. Empty on a public route.
    pub rules: Arc<[Rule]>,
    /// Requirements on the client's certificate, of the defaults and the route; all must hold. Also on a public route.
    pub client_certificates: Box<[CertificateRequirement]>,
    /// Limits of the defaults and the route.
    pub limits: Box<[Name]>,
    /// Plans, one of which the credential's subscription must have. Empty:
    /// no plan is required. Empty on a public route.
    pub plans: Box<[Name]>,
    pub upstream: RouteUpstream,
    /// The time limits in place of those of the upstream.
    pub timeouts: Option<Box<TimeoutOverrides>>,
    /// The rules for the fields of requests, after those of the upstream.
    pub request_headers: Arc<HeaderRules>,
    /// The rules for the fields of responses, after those of the upstream.
    pub response_headers: Arc<HeaderRules>,
    /// The change of the path before it is forwarded.
    pub rewrite: Option<Arc<PathRewrite>>,
    /// `true` where URLs and cookies of responses get back the host and the paths that clients know. Default true.
    pub rewrite_back: bool,
    /// `true` where the upstream receives the credential; on a public route, unread. Default false.
    pub forward_credential: bool,
    pub two_credentials: TwoCredentials,
    /// `true` where the subprotocols of a WebSocket may carry the token.
    pub websocket_token: bool,
    /// `true` where a credential in the query (`access_token`, `api_key` …) is refused with 400. Default true.
    pub reject_query_credentials: bool,
    /// `true` where `%2F` in the path is accepted and forwarded unchanged.
    pub allow_encoded_slash: bool,
    /// `true` where `//` in the path is accepted and forwarded unchanged.
    pub allow_empty_segments: bool,
    /// Web pages that may call the route from a browser. `None`: no page, unless the upstream allows it.
    pub cors: Option<Box<Cors>>,
    /// The resource (of `resources`) to which the route belongs; only where `accept` has `Jwt`.
    pub resource: Option<Name>,
    /// `aud` of the upstream's identity tokens; only where a credential is required.
    pub identity_token: Option<Box<str>>,
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

/// A route, with the places that later checks report.
pub(in crate::config) struct LocatedRoute {
    pub route: Route,
    pub at: NodeId,
    /// The limits that the route itself names.
    pub own_limits: Vec<(Name, NodeId)>,
}

impl LocatedRoute {
    /// Returns the place of a limit on the route: its own list, or the route.
    pub(in crate::config) fn limit_place(&self, name: &Name) -> NodeId {
        let own = self.own_limits.iter().find(|(own, _)| own == name);
        own.map_or(self.at, |(_, at)| *at)
    }

    /// Returns the conditions that every request to the route must meet.
    pub(in crate::config) fn enforced(&self) -> impl Iterator<Item = &Condition> {
        let rules = self.route.rules.iter();
        rules
            .filter(|rule| rule.mode == Mode::Enforce && rule.methods.is_empty())
            .flat_map(|rule| &rule.conditions)
    }
}
