//! Which configuration does the gate decide a request by? An immutable snapshot, compiled once.

use crate::config;
use crate::config::AcceptedCredential;
use crate::config::AddressRules;
use crate::config::CertificateRequirement;
use crate::config::Config;
use crate::config::HeaderRules;
use crate::config::KeySource;
use crate::config::Mode;
use crate::config::PathRewrite;
use crate::config::RouteUpstream;
use crate::config::built_in::BuiltInKind;
use crate::gate::accept::AcceptRules;
use crate::gate::accept::Lookup;
use crate::gate::accept::Matcher;
use crate::gate::accept::Oddities;
use crate::gate::accept::inbound;
use crate::gate::accept::matcher::MatcherError;
use crate::gate::accept::matcher::Pattern;
use crate::gate::accept::normalize;
use crate::gate::admit::CompiledLimit;
use crate::gate::admit::PlanLimits;
use crate::gate::admit::failures::FailureLimit;
use crate::gate::answer::BuiltIns;
use crate::gate::answer::Cors;
use crate::gate::answer::built_in::AnswerSource;
use crate::gate::answer::built_in::Document;
use crate::gate::answer::cors::HostCors;
use crate::gate::answer::cors::ResponseCors;
use crate::gate::answer::metadata;
use crate::gate::answer::refusal::AcceptedCredentials;
use crate::gate::authenticate::Authenticator;
use crate::gate::authenticate::Trust;
use crate::gate::authenticate::api_key::ApiKeyAuthenticator;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::authenticate::own_token::OpaqueTokens;
use crate::gate::authorize::Plans;
use crate::gate::authorize::Requirement;
use crate::gate::destination::Destination;
use crate::gate::destination::Destinations;
use crate::gate::identity_token::Signer;
use crate::gate::intake::IntakeRules;
use crate::gate::intake::Place;
use crate::gate::intake::QueryCredentials;
use crate::gate::intake::RouteAccess;
use crate::gate::live::LiveState;
use crate::model::api_key::Digester;
use crate::model::client_address::ClientAddress;
use crate::model::names::Name;
use crate::model::plan::Plan;
use crate::observe::metrics::LimitMetrics;
use crate::observe::metrics::RouteMetrics;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::header;
use http::request::Parts;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One generation of the configuration, compiled. A request holds its snapshot through an `Arc` until it ends.
pub struct Snapshot {
    pub requests: config::RequestLimits,
    pub trusted_proxies: Box<[IpNet]>,
    pub api_key_header: HeaderName,
    /// The rules of the stage `accept`: methods that some route lists, header names that must not be aliased.
    pub accept: AcceptRules,
    /// The headers in which upstreams receive claims of any issuer; each name once.
    pub claim_headers: Box<[HeaderName]>,
    /// The headers in which any issuer may send its JWTs; each name once. Upstreams receive none of them, unless the route
    /// forwards its credential and found it there.
    pub token_headers: Box<[HeaderName]>,
    /// `true` where some route reads the token of a browser's WebSocket from its subprotocols.
    pub websocket_token: bool,
    pub authenticator: Authenticator,
    /// The limit of failed authentications; `None` where it is off.
    pub failures: Option<FailureLimit>,
    pub rate_limit_headers: config::RateLimitHeaders,
    /// `true` if each request is written to the access log.
    pub access_records: bool,
    pub routes: Box<[Arc<Route>]>,
    pub matcher: Matcher<Arc<Route>>,
    /// The CORS rules of refusals without a route.
    pub host_cors: HostCors,
    pub issuers: Box<[Arc<IssuerState>]>,
    pub plans: Plans,
    /// The limits of each plan, by the name of the plan.
    pub plan_limits: BTreeMap<Name, Arc<PlanLimits>>,
    pub token_endpoint: Option<TokenEndpointRules>,
    /// The paths that the gate answers itself, before any route.
    pub built_ins: BuiltIns,
    /// The signer of identity tokens. [`Snapshot::compile`] leaves it `None`; `runtime::install::compile_and_install` sets it.
    pub signer: Option<Arc<Signer>>,
}

/// The rules for requests to the token endpoint and its siblings, checked before the body is read.
pub struct TokenEndpointRules {
    pub allow_clear_text: bool,
    /// The limit per address.
    pub limit: CompiledLimit,
}

/// A route, compiled.
pub struct Route {
    pub name: Name,
    pub public: bool,
    pub intake: IntakeRules,
    pub accepts_jwt: bool,
    pub accepts_api_key: bool,
    /// The issuers that the route trusts, for tokens in `Authorization` and in the subprotocols of a WebSocket.
    pub trust: Trust,
    /// The issuers of each header in the intake's `token_headers`, in the same order.
    pub header_trusts: Box<[Trust]>,
    pub requirement: Requirement,
    /// The addresses of clients that may use the route.
    pub addresses: Arc<AddressRules>,
    /// Requirements on the client's certificate; all must hold.
    pub client_certificates: Box<[CertificateRequirement]>,
    /// The plans that allow access: the subscription of the credential must be under one of these plans. Empty where
    /// the route requires no plan.
    pub plans: Box<[Name]>,
    pub limits: Box<[CompiledLimit]>,
    /// The limits in shadow mode, which count but refuse nothing.
    pub shadow_limits: Box<[CompiledLimit]>,
    pub destinations: Destinations,
    /// The change of the path, which was checked before.
    pub rewrite: Option<Arc<PathRewrite>>,
    pub rewrite_back: bool,
    pub forward_credential: bool,
    /// The ambiguities that the route allows in a path.
    pub allows: Oddities,
    pub cors: Option<Cors>,
    /// The URL at which clients read how to get a token (RFC 9728 section 5.1).
    pub resource_metadata: Option<Box<str>>,
    /// The `aud` of the identity tokens that the upstream receives.
    pub identity_audience: Option<Arc<str>>,
    pub metrics: Arc<RouteMetrics>,
    /// The metrics of `limits`, in the same order.
    pub limit_metrics: Box<[LimitMetrics]>,
    /// The metrics of `shadow_limits`, in the same order.
    pub shadow_limit_metrics: Box<[LimitMetrics]>,
}

impl Route {
    /// Returns whether `other` protects requests with `method` as `self` does. A path that the upstream could read as a
    /// path of `other` may then match `self` (S091).
    pub fn protects_like(&self, other: &Self, method: &Method) -> bool {
        let names = |route: &Self| {
            let issuers = route.trust.issuers.iter();
            issuers.map(|issuer| issuer.name().clone()).collect::<Vec<_>>()
        };
        // Limits are compared too: a limit on `/login` must not be avoidable as `/LOGIN`. Limits in shadow mode refuse
        // nothing, so they are not compared.
        let limits = |route: &Self| {
            route
                .limits
                .iter()
                .map(|limit| limit.name().clone())
                .collect::<BTreeSet<_>>()
        };
        self.public == other.public
            && self.accepts_jwt == other.accepts_jwt
            && self.accepts_api_key == other.accepts_api_key
            && names(self) == names(other)
            && self.trust.audiences == other.trust.audiences
            && self.requirement.is_like(&other.requirement, method)
            && self.addresses == other.addresses
            && self.client_certificates == other.client_certificates
            && self.plans.iter().collect::<BTreeSet<_>>() == other.plans.iter().collect::<BTreeSet<_>>()
            && self.intake.two_credentials == other.intake.two_credentials
            && limits(self) == limits(other)
            // CORS rules decide which web pages may read the response.
            && self.cors == other.cors
    }
}

impl Route {
    /// Returns the issuers that may send a token in `place`.
    pub fn trust_in(&self, place: Option<Place>) -> &Trust {
        match place {
            Some(Place::TokenHeader(index)) => self.header_trusts.get(index).unwrap_or(&self.trust),
            Some(Place::Authorization | Place::ApiKeyHeader | Place::WebSocketProtocols) | None => &self.trust,
        }
    }

    /// Returns whether the route is for clients at this address. An unknown address is none that a rule admits: that of the proxy
    /// would be an unsafe guess.
    pub fn admits(&self, client: ClientAddress) -> bool {
        self.addresses.is_empty() || client.known().is_some_and(|address| self.addresses.admits(address))
    }

    /// Returns the credentials that the route accepts, for the challenges of a refusal.
    pub fn accepted(&self) -> AcceptedCredentials<'_> {
        AcceptedCredentials {
            bearer: self.accepts_jwt || (self.accepts_api_key && self.intake.bearer_key_prefix.is_some()),
            api_key: self.accepts_api_key,
            requirement: &self.requirement,
            resource_metadata: self.resource_metadata.as_deref(),
        }
    }
}

impl Snapshot {
    /// Returns the CORS rules for the refusal of a request that was refused before its route was chosen. If it matches a
    /// route nevertheless, they are those of the route; if only its method does not match, those on which the routes of
    /// its path agree; otherwise those on which the routes of its host agree.
    pub fn cors_without_route(&self, request: &Parts) -> Option<&ResponseCors> {
        let host = inbound::host_of(request)?;
        let Ok(path) = normalize::path(request.uri.path()) else {
            return self.host_cors.of(&host);
        };
        let find = |method: &Method| self.candidates(&host, &path.text, method);
        match find(&request.method) {
            Ok(routes) => common_cors(routes).map(|cors| &cors.responses),
            Err(Lookup::MethodNotAllowed(allowed)) => {
                let mut routes = allowed.iter().map(|method| {
                    let cors = common_cors(find(method).unwrap_or_default());
                    cors.map(|cors| &cors.responses)
                });
                let first = routes.next().flatten();
                first.filter(|_| routes.all(|other| other == first))
            }
            // A client gets the same answer for each.
            Err(
                Lookup::NearMiss | Lookup::NotFound | Lookup::ConditionsUnmet | Lookup::Ambiguous(_) | Lookup::Found(_),
            ) => self.host_cors.of(&host),
        }
    }

    /// Returns every route that may get a request for `method` on `path` at `host`, whatever headers and query it has; see
    /// [`Matcher::candidates`].
    ///
    /// # Errors
    /// Why no route gets it.
    pub fn candidates(
        &self,
        host: &str,
        path: &str,
        method: &Method,
    ) -> Result<Vec<&Arc<Route>>, Lookup<'_, Arc<Route>>> {
        let same = |route: &Arc<Route>, other: &Arc<Route>| route.protects_like(other, method);
        self.matcher.candidates(host, path, method, same)
    }

    /// Compiles `config`. Takes issuers, limits and endpoints from `live`, so that their state survives a reload.
    ///
    /// # Errors
    /// Two routes match the same requests; `config::load` has rejected such a configuration before.
    pub fn compile(config: &Config, live: &LiveState) -> Result<Self, MatcherError> {
        let issuers: BTreeMap<&Name, Arc<IssuerState>> = config
            .issuers
            .iter()
            .map(|(name, issuer)| (name, live.issuer(issuer)))
            .collect();
        let upstreams: BTreeMap<&Name, Arc<Destination>> = config
            .upstreams
            .iter()
            .map(|(name, upstream)| (name, Arc::new(destination(upstream, live))))
            .collect();
        let limits: BTreeMap<&Name, CompiledLimit> = config
            .limits
            .iter()
            .map(|(name, limit)| (name, CompiledLimit::compile(limit, &live.limit(name))))
            .collect();
        let plan_limits = config
            .plans
            .iter()
            .map(|(name, plan)| (name.clone(), Arc::new(plan_limits(plan, config, &limits, live))))
            .collect();
        let routes: Box<[Arc<Route>]> = config
            .routes
            .iter()
            .map(|route| Arc::new(Route::compile(route, config, &issuers, &upstreams, &limits, live)))
            .collect();
        let matcher = Matcher::compile(config.routes.iter().zip(&routes).map(|(settings, route)| {
            let pattern = Pattern {
                hosts: &settings.hosts,
                path: &settings.path,
                methods: &settings.methods,
                conditions: &settings.conditions,
            };
            (pattern, Arc::clone(route))
        }))?;
        let mut host_cors = HostCors::default();
        for (settings, route) in config.routes.iter().zip(&routes) {
            host_cors.add(&settings.hosts, route.cors.as_ref());
        }
        let claim_headers = distinct(config.issuers.values().flat_map(config::Issuer::claim_header_names));
        let token_headers = distinct(
            config
                .issuers
                .values()
                .filter_map(|issuer| issuer.token_header.as_ref()),
        );
        let websocket_token = config.routes.iter().any(|route| route.websocket_token);
        let websocket_protocol = websocket_token.then_some(&header::SEC_WEBSOCKET_PROTOCOL);
        // An upstream that reads `x_version` as `x-version` would find a value that decided no route.
        let matched_headers = distinct(config.routes.iter().flat_map(|route| route.conditions.headers()));
        let built_ins = built_ins(config, &routes, live);
        Ok(Self {
            requests: config.requests.clone(),
            trusted_proxies: config.trusted_proxies.clone().into(),
            api_key_header: config.api_keys.header.clone(),
            accept: AcceptRules::new(config.api_keys.header.clone(), matcher.methods().cloned())
                .with_protected(claim_headers.iter().chain(&token_headers).chain(websocket_protocol))
                .with_protected(&matched_headers),
            claim_headers,
            token_headers,
            websocket_token,
            authenticator: Authenticator {
                api_keys: ApiKeyAuthenticator::new(
                    Arc::clone(&live.directory),
                    Digester::new(config.api_keys.pepper.as_ref()),
                    &config.api_keys.prefix,
                ),
                opaque_tokens: OpaqueTokens::new(Arc::clone(&live.directory)),
                verified: Arc::clone(&live.verified),
                directory: Arc::clone(&live.directory),
                metrics: Arc::clone(&live.metrics),
            },
            failures: config
                .failed_authentication
                .map(|quota| FailureLimit::compile(&quota, &live.failures)),
            rate_limit_headers: config.rate_limit_headers,
            access_records: config.observe.access,
            routes,
            matcher,
            host_cors,
            issuers: issuers.into_values().collect(),
            plans: config.plans.clone(),
            plan_limits,
            token_endpoint: config
                .token_endpoint
                .as_ref()
                .map(|settings| token_endpoint_rules(settings, live)),
            built_ins,
            signer: None,
        })
    }
}

impl Route {
    fn compile(
        route: &config::Route,
        config: &Config,
        issuers: &BTreeMap<&Name, Arc<IssuerState>>,
        upstreams: &BTreeMap<&Name, Arc<Destination>>,
        limits: &BTreeMap<&Name, CompiledLimit>,
        live: &LiveState,
    ) -> Self {
        let known = "config::load resolved every name that a route uses";
        let limits_in = |mode| {
            let is_in = move |name: &&Name| config.limits.get(*name).expect(known).mode == mode;
            route.limits.iter().filter(is_in)
        };
        let compiled_in = |mode| {
            limits_in(mode)
                .map(|name| limits.get(name).expect(known).clone())
                .collect()
        };
        let metrics_in = |mode| {
            limits_in(mode)
                .map(|name| live.metrics.limits.of(name.as_str()))
                .collect()
        };
        let state = |name: &Name| Arc::clone(issuers.get(name).expect(known));
        let is_own = |name: &&Name| config.issuers.get(*name).expect(known).keys == KeySource::Own;
        let is_in_shadow_mode = |name: &Name| config.issuers.get(name).expect(known).mode == Mode::Shadow;
        let mode = if !route.issuers.is_empty() && route.issuers.iter().all(is_in_shadow_mode) {
            Mode::Shadow
        } else {
            Mode::Enforce
        };
        let token_headers = token_headers(route, config);
        let audiences = route.audiences.clone();
        let header_trust = |header: &HeaderName| {
            let sends_here =
                |name: &&Name| config.issuers.get(*name).expect(known).token_header.as_ref() == Some(header);
            Trust {
                issuers: route.issuers.iter().filter(sends_here).map(state).collect(),
                own: None,
                mode,
                audiences: audiences.clone(),
            }
        };
        let destination = |upstream: &Name| destination_of_route(upstreams.get(upstream).expect(known), route);
        Self {
            name: route.name.clone(),
            public: route.public,
            header_trusts: token_headers.iter().map(header_trust).collect(),
            accepts_jwt: route.accept.contains(&AcceptedCredential::Jwt),
            accepts_api_key: route.accept.contains(&AcceptedCredential::ApiKey),
            trust: Trust {
                issuers: route.issuers.iter().map(state).collect(),
                own: route.issuers.iter().find(is_own).map(state),
                mode,
                audiences: audiences.clone(),
            },
            requirement: Requirement::compile(route),
            addresses: Arc::clone(&route.addresses),
            client_certificates: route.client_certificates.clone(),
            plans: route.plans.clone(),
            limits: compiled_in(Mode::Enforce),
            shadow_limits: compiled_in(Mode::Shadow),
            destinations: match &route.upstream {
                RouteUpstream::One(upstream) => Destinations::One(destination(upstream)),
                RouteUpstream::Split(split) => Destinations::split(split, destination),
            },
            rewrite: route.rewrite.clone(),
            rewrite_back: route.rewrite_back,
            forward_credential: route.forward_credential,
            allows: Oddities {
                encoded_slash: route.allow_encoded_slash,
                empty_segment: route.allow_empty_segments,
            },
            cors: route
                .cors
                .as_ref()
                .map(|cors| Cors::compile(cors, &route.accept, &config.api_keys)),
            resource_metadata: route
                .resource
                .as_ref()
                .map(|name| config.resources.get(name).expect(known).url.metadata_url().into()),
            identity_audience: route.identity_token.as_deref().map(Into::into),
            intake: intake_rules(route, token_headers, config),
            metrics: live.metrics.requests.of_route(route.name.as_str()),
            limit_metrics: metrics_in(Mode::Enforce),
            shadow_limit_metrics: metrics_in(Mode::Shadow),
        }
    }
}

/// Returns the CORS rules of all `routes`; `None` where they differ or some route has none. For a request whose headers are not
/// known yet, so that no route's rules open another route to web pages.
pub fn common_cors<'r>(routes: impl IntoIterator<Item = &'r Arc<Route>>) -> Option<&'r Cors> {
    let mut rules = routes.into_iter().map(|route| route.cors.as_ref());
    let first = rules.next().flatten()?;
    rules.all(|other| other == Some(first)).then_some(first)
}

/// Returns the destination of routes that add nothing to the settings of the upstream.
fn destination(settings: &config::Upstream, live: &LiveState) -> Destination {
    let nothing = HeaderRules::default();
    Destination {
        upstream: live.upstream(settings),
        timeouts: settings.timeouts,
        request_headers: request_headers(settings, &nothing),
        response_headers: response_headers(settings, &nothing),
        credential: live.credential(settings).map(Arc::new),
        metrics: Arc::new(live.metrics.upstreams.of(settings.name.as_str())),
    }
}

/// Returns the destination of `route` at the upstream of `plain`.
fn destination_of_route(plain: &Arc<Destination>, route: &config::Route) -> Arc<Destination> {
    if route.timeouts.is_none() && route.request_headers.is_empty() && route.response_headers.is_empty() {
        return Arc::clone(plain);
    }
    let settings = &plain.upstream.settings;
    Arc::new(Destination {
        upstream: Arc::clone(&plain.upstream),
        timeouts: match &route.timeouts {
            Some(overrides) => settings.timeouts.overridden_by(**overrides),
            None => settings.timeouts,
        },
        request_headers: request_headers(settings, &route.request_headers),
        response_headers: response_headers(settings, &route.response_headers),
        credential: plain.credential.clone(),
        metrics: Arc::clone(&plain.metrics),
    })
}

/// Returns the rules for the responses of `upstream` on a route. A challenge to Keygate's own credential is not for clients:
/// they would take it for one to theirs (S086).
fn response_headers(upstream: &config::Upstream, route: &HeaderRules) -> HeaderRules {
    let rules = upstream.response_headers.followed_by(route);
    if upstream.credential.is_none() {
        return rules;
    }
    rules.followed_by(&HeaderRules {
        remove: vec![header::WWW_AUTHENTICATE],
        ..HeaderRules::default()
    })
}

/// Returns the rules for the requests of a route to `upstream`. Its credential comes last: nothing else is in its header.
fn request_headers(upstream: &config::Upstream, route: &HeaderRules) -> HeaderRules {
    let rules = upstream.request_headers.followed_by(route);
    match &upstream.credential {
        Some(credential) => rules.followed_by(&credential.as_rule()),
        None => rules,
    }
}

fn distinct<'h>(names: impl Iterator<Item = &'h HeaderName>) -> Box<[HeaderName]> {
    let mut distinct = Vec::new();
    for name in names {
        if !distinct.contains(name) {
            distinct.push(name.clone());
        }
    }
    distinct.into()
}

fn plan_limits(plan: &Plan, config: &Config, limits: &BTreeMap<&Name, CompiledLimit>, live: &LiveState) -> PlanLimits {
    let known = "config::load resolved every name that a plan uses";
    let names_in = |mode| {
        let is_in = move |name: &&Name| config.limits.get(*name).expect(known).mode == mode;
        plan.limits.iter().filter(is_in)
    };
    let compiled_in = |mode| {
        names_in(mode)
            .map(|name| limits.get(name).expect(known).clone())
            .collect()
    };
    let metrics_in = |mode| {
        names_in(mode)
            .map(|name| live.metrics.limits.of(name.as_str()))
            .collect()
    };
    PlanLimits {
        limits: compiled_in(Mode::Enforce),
        shadow_limits: compiled_in(Mode::Shadow),
        limit_metrics: metrics_in(Mode::Enforce),
        shadow_limit_metrics: metrics_in(Mode::Shadow),
    }
}

/// The name of the token endpoint's limit in response headers, problem details and access records.
const TOKEN_ENDPOINT_LIMIT: &str = "keygate.token_endpoint";

fn token_endpoint_rules(settings: &config::TokenEndpoint, live: &LiveState) -> TokenEndpointRules {
    let limit = config::Limit {
        name: TOKEN_ENDPOINT_LIMIT.parse().expect("it is a name"),
        by: vec![config::LimitBy::Ip],
        quota: settings.limit,
        window: config::LimitWindow::Refilling,
        mode: Mode::Enforce,
    };
    TokenEndpointRules {
        allow_clear_text: settings.allow_clear_text,
        limit: CompiledLimit::compile(&limit, &live.token_requests),
    }
}

/// The maximum `max-age` of built-in documents. A verifier fetches the key set again for an unknown `kid`, so a cached
/// document delays only the withdrawal of keys and changes of metadata.
const DOCUMENT_MAX_AGE_SECS: u64 = 300;

fn built_ins(config: &Config, routes: &[Arc<Route>], live: &LiveState) -> BuiltIns {
    let max_age = |secs: u64| {
        HeaderValue::try_from(format!("public, max-age={secs}")).expect("words and a number are visible ASCII")
    };
    // Not longer than `publish_before`: a client that caches the key set for its full `max-age` must get every new key
    // before the gate signs with that key (S135).
    let published_before = config
        .token_endpoint
        .as_ref()
        .map(|settings| settings.publish_before.as_secs());
    let keys_for = DOCUMENT_MAX_AGE_SECS.min(published_before.unwrap_or(DOCUMENT_MAX_AGE_SECS));
    let source = |kind: &BuiltInKind| match kind {
        BuiltInKind::Jwks => AnswerSource::Document(Document::Changing {
            json: live.identity_tokens.published.document(),
            max_age: max_age(keys_for),
        }),
        BuiltInKind::Resource(name) => AnswerSource::Document(Document::Fixed {
            json: metadata_of(name, config, routes),
            max_age: max_age(DOCUMENT_MAX_AGE_SECS),
        }),
        BuiltInKind::Control(endpoint) => AnswerSource::Control(endpoint.clone()),
    };
    BuiltIns::new(config.built_ins.iter().map(|built_in| {
        let metrics = live.metrics.requests.of_route(built_in.name.as_str());
        (built_in.clone(), metrics, source(&built_in.kind))
    }))
}

fn metadata_of(name: &Name, config: &Config, routes: &[Arc<Route>]) -> Bytes {
    let resource = config
        .resources
        .get(name)
        .expect("a built-in route is made from a resource");
    let pairs = config.routes.iter().zip(routes);
    let own = pairs.filter(|(settings, _)| settings.resource.as_ref() == Some(name));
    let own: Vec<&Arc<Route>> = own.map(|(_, route)| route).collect();
    let issuers = own.iter().flat_map(|route| &route.trust.issuers);
    metadata::document(
        resource,
        issuers.flat_map(|issuer| issuer.settings().issuer.known_urls()),
        own.iter()
            .flat_map(|route| route.requirement.scopes().iter().cloned().collect::<Vec<_>>()),
    )
}

/// Returns the headers in which the issuers of `route` may send their JWTs; each name once.
fn token_headers(route: &config::Route, config: &Config) -> Box<[HeaderName]> {
    let issuers = route.issuers.iter().filter_map(|name| config.issuers.get(name));
    distinct(issuers.filter_map(|issuer| issuer.token_header.as_ref()))
}

fn intake_rules(route: &config::Route, token_headers: Box<[HeaderName]>, config: &Config) -> IntakeRules {
    IntakeRules {
        access: match (route.public, route.forward_credential) {
            (false, _) => RouteAccess::Protected(route.accept.to_vec()),
            (true, false) => RouteAccess::Public,
            (true, true) => RouteAccess::PublicForwarding,
        },
        credential_bytes_max: config.requests.credential_bytes_max,
        query_credentials: if route.reject_query_credentials {
            QueryCredentials::Reject
        } else {
            QueryCredentials::Ignore
        },
        two_credentials: route.two_credentials,
        bearer_key_prefix: config.api_keys.bearer.then(|| config.api_keys.prefix.as_str().into()),
        token_headers,
        websocket_token: route.websocket_token,
    }
}

/// The snapshot in force. [`Self::publish`] replaces it whole; readers keep the snapshot that they loaded.
pub struct CurrentSnapshot(ArcSwap<Snapshot>);

impl CurrentSnapshot {
    pub fn new(snapshot: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    pub fn publish(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}

#[cfg(test)]
mod tests;
