//! How is a route written, and which of its keys fit together?

use crate::config::address_rules;
use crate::config::address_rules::AddressRules;
use crate::config::balance::HashKey;
use crate::config::built_in;
use crate::config::check::Checker;
use crate::config::check::values;
use crate::config::client_certificates;
use crate::config::cors;
use crate::config::defaults;
use crate::config::defaults::Defaults;
use crate::config::defaults::distinct_accept;
use crate::config::header_rules;
use crate::config::header_rules::Direction;
use crate::config::header_rules::OwnHeaders;
use crate::config::header_rules::ResponseSection;
use crate::config::identity_token;
use crate::config::limit::Limit;
use crate::config::match_condition;
use crate::config::match_condition::MatchConditions;
use crate::config::match_condition::ParameterName;
use crate::config::path_rewrite;
use crate::config::pattern::HostPattern;
use crate::config::pattern::PathPattern;
use crate::config::pattern::takes;
use crate::config::plan;
use crate::config::read::NamedEntries;
use crate::config::read::OneOrMany;
use crate::config::read::Text;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::resource;
use crate::config::route::AcceptedCredential;
use crate::config::route::LocatedRoute;
use crate::config::route::Route;
use crate::config::route::TwoCredentials;
use crate::config::rule;
use crate::config::rule::CONDITION_KEYS;
use crate::config::rule::ClaimsSection;
use crate::config::rule::ConditionSections;
use crate::config::rule::RULES_MAX;
use crate::config::rule::Rule;
use crate::config::rule::ScopesSection;
use crate::config::rule::TOKEN_KEYS;
use crate::config::split;
use crate::config::text::ExactText;
use crate::config::text::Timeout;
use crate::config::text::texts;
use crate::config::timeouts;
use crate::config::token_endpoint::TokenEndpoint;
use crate::config::tree::NodeId;
use crate::model::names::Name;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which requests, what they must carry, where they go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Route")]
pub(in crate::config) struct Section {
    /// Stands in logs and metrics. No two routes share one. Required.
    #[schemars(required)]
    name: Option<Text<Name>>,
    /// Which requests. Required.
    #[schemars(required)]
    r#match: Option<TypedNode<MatchSection>>,
    /// Credential types that count: `jwt` (bearer tokens, also opaque ones of an issuer with `introspection`), `api_key`.
    /// This, the defaults' or `public: true`.
    accept: Option<TypedNode<Vec<TypedNode<AcceptedCredential>>>>,
    /// `true` lets everybody through; the only way to an open route. Default false.
    public: Option<TypedNode<bool>>,
    /// Whose tokens count, at most one issuer with `introspection` among them; `keygate` is the gate itself, where there is
    /// a `token_endpoint`. Default: the defaults', or those of every issuer, where `accept` has `jwt`.
    issuers: Option<Texts<Name>>,
    /// Replaces the issuers' audiences on this route.
    audiences: Option<Texts<ExactText>>,
    /// What the credential must be allowed to do.
    scopes: Option<ScopesSection>,
    /// The client must be one of these; of an API key, the one in the keys file.
    clients: Option<Texts<ExactText>>,
    /// The token's subject must be one of these. No API key has one.
    subjects: Option<Texts<ExactText>>,
    /// The organization must be one of these; of an API key, the one in the keys file.
    organizations: Option<Texts<ExactText>>,
    /// By JSON pointer (RFC 6901): the claim must be one of the values, or an array that holds one. No API key has any.
    claims: Option<ClaimsSection>,
    /// Further rules, each for some methods or for all; every one must hold.
    rules: Option<TypedNode<Vec<TypedNode<rule::Section>>>>,
    /// The client certificates that pass, beside what else is asked: `any`, or those with one of `names` or `fingerprints`. A
    /// listener with `tls.client_ca` asks clients for them. Default: none is needed.
    client_certificates: Option<client_certificates::Written>,
    /// The addresses of clients that pass, beside what else is asked. The client's address is the peer's, or the one that
    /// `trusted_proxies` report; where these report none, no client passes. Default: every address.
    addresses: Option<TypedNode<address_rules::Section>>,
    /// Names of limits that hold here, beside those of the defaults.
    limits: Option<Texts<Name>>,
    /// Names of plans: the credential must belong to a subscription under one of them. Tokens of other issuers than
    /// `keygate`, and keys of `api_keys.file`, belong to none.
    plans: Option<Texts<Name>>,
    /// Name of the upstream that requests go to, or several with their weights (0 to 1000): `{ orders: 95, orders-next: 5 }`.
    /// Required.
    #[schemars(required)]
    upstream: Option<split::Written>,
    /// What decides among several upstreams, so that a client stays with one: `principal`, `address` or `header:` with a name.
    /// Default `principal`; where a request has none, the client's address.
    split_by: Option<Text<HashKey>>,
    /// To connect. Default: the upstream's.
    connect_timeout: Option<Text<Timeout>>,
    /// Between two reads of the response; also the wait for its head. Default: the upstream's.
    read_timeout: Option<Text<Timeout>>,
    /// Between two writes of the request. Default: the upstream's.
    write_timeout: Option<Text<Timeout>>,
    /// From the first attempt to connect to the last byte of the response, streams excepted. Default: the upstream's.
    total_timeout: Option<Text<Timeout>>,
    /// Headers set on every request, in place of what the client sent and the upstream sets. Values are written as there.
    set_headers: Option<NamedEntries<HeaderName, Text<HeaderValue>>>,
    /// Headers added to every request, beside what the client sent.
    add_headers: Option<NamedEntries<HeaderName, Text<HeaderValue>>>,
    /// Headers removed from every request, also those that the upstream sets.
    remove_headers: Option<Texts<HeaderName>>,
    /// Headers of the responses that clients receive.
    response: Option<ResponseSection>,
    /// Cut off the front of the path before it is forwarded; whole segments.
    strip_prefix: Option<Text<PathPattern>>,
    /// Put before the path, after `strip_prefix`; whole segments.
    add_prefix: Option<Text<PathPattern>>,
    /// The path that the upstream gets, with the braces of `match.path`: `/orders/{id}`, `/v2/{*rest}`. In place of the two.
    rewrite: Option<Text<PathPattern>>,
    /// `false` passes `Location`, `Content-Location` and the `Path` of `Set-Cookie` on as the upstream wrote them, with its own
    /// host and paths. Default true.
    rewrite_back: Option<bool>,
    /// Whether the credential reaches the upstream. On a public route the client's own credential then passes unread: one
    /// `Authorization` of any scheme, or one API key. Default false.
    forward_credential: Option<bool>,
    /// `true` reads the token of a browser's WebSocket, which can set no header, from its subprotocols:
    /// `new WebSocket(url, ["keygate.bearer", "bearer." + base64url(token)])`. Default false.
    websocket_token: Option<TypedNode<bool>>,
    /// A request with both `Authorization` and an API key: `refuse` answers 400. `report` counts it, uses the bearer token
    /// and drops the key, for one migration. Default `refuse`.
    two_credentials: Option<TypedNode<TwoCredentials>>,
    /// Credentials in the query (`access_token`, `api_key` …): `reject` answers 400. Default `reject`; `ignore` on a public
    /// route with `forward_credential`.
    query_credentials: Option<QueryCredentials>,
    /// Forms of a path that are refused otherwise, because two readers may take them differently.
    allow: Option<Vec<Oddity>>,
    /// Which web pages may call this route from a browser. Keygate then answers preflights itself. Default: none.
    cors: Option<TypedNode<cors::Section>>,
    /// Name of the resource that clients know this API as; its metadata say which issuers and scopes. Default: the only
    /// one there is, where `accept` has `jwt`.
    resource: Option<Text<Name>>,
    /// Sends the upstream a signed token that says who was proved, in `x-keygate-identity-token`. Default: none.
    identity_token: Option<TypedNode<identity_token::RouteSection>>,
}

/// Which requests a route is for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Match")]
pub(in crate::config) struct MatchSection {
    /// `api.example.com`, `*.example.com`, or a list. Default: any host.
    host: Option<OneOrMany<Text<HostPattern>>>,
    /// `/v1/orders/{id}`, `/v1/{*rest}`: `{name}` is one segment, `{*name}` the rest, one character at least. Required.
    #[schemars(required)]
    path: Option<Text<PathPattern>>,
    /// Default: every method of RFC 9110.
    methods: Option<Texts<Method>>,
    /// Headers that a request must have, each with its value or a pattern. Default: none.
    headers: Option<match_condition::Written<HeaderName>>,
    /// Query parameters that a request must have, by their decoded names, each with its decoded value or a pattern. Default:
    /// none.
    query: Option<match_condition::Written<ParameterName>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum QueryCredentials {
    Reject,
    Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Oddity {
    /// `%2F`, forwarded as it is.
    EncodedSlash,
    /// `//`, forwarded as it is.
    EmptySegments,
}

pub(in crate::config) fn convert(
    sections: Vec<TypedNode<Section>>,
    defaults: &Defaults,
    limits: &BTreeMap<Name, Limit>,
    own_headers: &OwnHeaders<'_>,
    checker: &mut Checker<'_>,
) -> Vec<LocatedRoute> {
    let mut names: Vec<(Name, NodeId)> = Vec::new();
    for section in &sections {
        let Some(name) = &section.value.name else {
            continue;
        };
        if let Some(&(_, first)) = names.iter().find(|(known, _)| known == name.get()) {
            let problem = checker.with_value(name.at, "another route has this name already");
            checker.error_conflict(name.at, "duplicate-name", problem, first);
        }
        built_in::refuse_reserved(name, checker);
        names.push((name.get().clone(), name.at));
    }
    sections
        .into_iter()
        .filter_map(|section| route(section, defaults, limits, own_headers, checker))
        .collect()
}

fn route(
    TypedNode { value: section, at }: TypedNode<Section>,
    defaults: &Defaults,
    known_limits: &BTreeMap<Name, Limit>,
    own_headers: &OwnHeaders<'_>,
    checker: &mut Checker<'_>,
) -> Option<LocatedRoute> {
    check_openness(&section, at, checker);
    let public = section.public.as_ref().is_some_and(|public| public.value);
    let accept = resolve_accept(section.accept, public, defaults, checker);
    let more = rule::convert(section.rules, checker);
    check_jwt_keys(&accept, &more, at, defaults, checker);
    let issuers = issuers(section.issuers, &accept, at, defaults, checker);
    let name = checker.need(at, "name", section.name, "it stands in logs and metrics");
    let matched = checker.need(
        at,
        "match",
        section.r#match,
        "such as `match: { path: \"/v1/{*rest}\" }`",
    );
    let upstream = checker.need(at, "upstream", section.upstream, "the name of an entry of `upstreams`");
    let upstream = upstream.map(|written| split::convert(written, section.split_by, checker));
    let limits = section.limits.map(|limits| limits.value).unwrap_or_default();
    checker.refer_all("limits", "limit", &limits);
    let sections = ConditionSections {
        scopes: section.scopes,
        clients: section.clients,
        subjects: section.subjects,
        organizations: section.organizations,
        claims: section.claims,
    };
    let base = rule::base(sections, checker);
    let audiences = audiences(section.audiences, &accept, defaults, checker);
    let requests = header_rules::Written {
        set: section.set_headers,
        add: section.add_headers,
        remove: section.remove_headers,
    };
    let request_headers = header_rules::convert(requests, Direction::Request, own_headers, checker);
    let responses = section.response.unwrap_or_default().into();
    let response_headers = header_rules::convert(responses, Direction::Response, own_headers, checker);
    let (hosts, path, methods, conditions) = convert_match(matched?, checker)?;
    let resource = resource::of_route(section.resource, accept.contains(&AcceptedCredential::Jwt), checker);
    let identity_token = section
        .identity_token
        .and_then(|identity_token| identity_token::of_route(identity_token, checker));
    let client_certificates = section
        .client_certificates
        .map(|written| client_certificates::convert(written, checker));
    let addresses = match section.addresses {
        Some(written) => address_rules::convert(written, checker),
        None => Some(AddressRules::default()),
    };
    let inherited = defaults.client_certificates.iter();
    let inherited = inherited.map(|(requirement, _)| requirement.clone());
    let cors = section.cors.map(|cors| cors::convert(cors, &methods, checker));
    let rules = rules(base, more, &accept, &methods, at, defaults, checker);
    let two_credentials = two_credentials(section.two_credentials, &accept, checker);
    let websocket_token = websocket_token(section.websocket_token, &accept, checker);
    let forward_credential = section.forward_credential.unwrap_or(false);
    let rewrite = path_rewrite::convert(
        section.strip_prefix,
        section.add_prefix,
        section.rewrite,
        &path,
        checker,
    );
    let plans = plan::of_route(section.plans, checker);
    let allow = section.allow.unwrap_or_default();
    Some(LocatedRoute {
        at,
        own_limits: limits.iter().map(|limit| (limit.get().clone(), limit.at)).collect(),
        route: Route {
            name: name?.take(),
            hosts: hosts.into(),
            path,
            methods: methods.into(),
            conditions,
            addresses: addresses?.shared(),
            accept: accept.into(),
            public,
            issuers: issuers.into(),
            audiences: audiences.map(Into::into),
            rules,
            client_certificates: inherited.chain(client_certificates).collect(),
            limits: defaults::merge_limits(defaults, &values(limits), public, known_limits).into(),
            plans: if public { Box::default() } else { plans.into() },
            upstream: upstream?,
            timeouts: timeouts::of_route(timeouts::Written {
                connect: section.connect_timeout,
                read: section.read_timeout,
                write: section.write_timeout,
                total: section.total_timeout,
            }),
            request_headers: request_headers.shared(),
            response_headers: response_headers.shared(),
            rewrite: rewrite.map(Arc::new),
            rewrite_back: section.rewrite_back.unwrap_or(true),
            forward_credential,
            two_credentials,
            websocket_token,
            reject_query_credentials: match section.query_credentials {
                Some(QueryCredentials::Reject) => true,
                Some(QueryCredentials::Ignore) => false,
                // An API that signs people in by itself may read what it likes from its query.
                None => !(public && forward_credential),
            },
            allow_encoded_slash: allow.contains(&Oddity::EncodedSlash),
            allow_empty_segments: allow.contains(&Oddity::EmptySegments),
            cors: cors.flatten().map(Box::new),
            resource,
            identity_token,
        },
    })
}

/// Checks that a route either requires a credential or is `public: true`; there is no third way (S100).
fn check_openness(section: &Section, at: NodeId, checker: &mut Checker<'_>) {
    let accept = checker.tree.entry(at, "accept");
    match &section.public {
        Some(public) if public.value => {
            let keys = [
                "accept",
                "issuers",
                "audiences",
                "rules",
                "websocket_token",
                "two_credentials",
                "resource",
                "identity_token",
                "plans",
            ];
            for key in keys.into_iter().chain(CONDITION_KEYS) {
                if let Some(entry) = checker.tree.entry(at, key) {
                    let problem = format!("`{key}` beside `public: true`: the route is open or it asks, not both");
                    checker.error_with(entry, "public-and-protected", problem, "remove one of the two");
                }
            }
        }
        Some(_) | None if accept.is_some() => {}
        // A `public` that is not a boolean was reported already.
        None if checker.tree.entry(at, "public").is_some() => {}
        Some(_) | None if defaults::has("accept", checker) => {}
        Some(_) | None => {
            let hint = "`accept: [jwt]`, `accept: [api_key]` or both; `public: true` lets everybody through";
            checker.error_with(at, "no-credential", "nothing says which credentials count", hint);
        }
    }
}

fn resolve_accept(
    written: Option<TypedNode<Vec<TypedNode<AcceptedCredential>>>>,
    public: bool,
    defaults: &Defaults,
    checker: &mut Checker<'_>,
) -> Vec<AcceptedCredential> {
    let Some(written) = written else {
        let inherited = defaults.accept.as_ref().filter(|_| !public);
        return inherited.map(|accept| accept.list.clone()).unwrap_or_default();
    };
    let own: Vec<(NodeId, AcceptedCredential)> = written.value.iter().map(|item| (item.at, item.value)).collect();
    defaults::refuse_wider("accept", &own, defaults.accept.as_ref(), checker);
    distinct_accept(&written.value, checker)
}

/// Returns the handling of two credentials. Reports `report` on a route without tokens: it uses the token of the two.
fn two_credentials(
    written: Option<TypedNode<TwoCredentials>>,
    accept: &[AcceptedCredential],
    checker: &mut Checker<'_>,
) -> TwoCredentials {
    let Some(TypedNode { value, at }) = written else {
        return TwoCredentials::default();
    };
    if value == TwoCredentials::Report && !accept.is_empty() {
        if accept.contains(&AcceptedCredential::Jwt) {
            let problem = "requests with two credentials pass here: the bearer token counts, the API key is dropped";
            let hint =
                "for one migration: watch keygate_two_credentials_reported_total until it rests, then remove this";
            checker.warn(at, "two-credentials-pass", problem, hint);
        } else {
            let problem = "of two credentials the token is used, and this route does not accept `jwt`";
            checker.error(at, "only-with-jwt", problem);
        }
    }
    value
}

/// Returns whether the subprotocols of a WebSocket may carry a token. Reports that on a route without tokens.
fn websocket_token(written: Option<TypedNode<bool>>, accept: &[AcceptedCredential], checker: &mut Checker<'_>) -> bool {
    let Some(TypedNode { value: true, at }) = written else {
        return false;
    };
    if !accept.is_empty() && !accept.contains(&AcceptedCredential::Jwt) {
        let problem = "`websocket_token` reads a token, and this route does not accept `jwt`";
        checker.error(at, "only-with-jwt", problem);
    }
    true
}

/// Returns whether `key` is present and its value was not rejected.
fn is_intact(checker: &Checker<'_>, at: NodeId, key: &str) -> bool {
    checker
        .tree
        .entry(at, key)
        .is_some_and(|entry| !checker.tree.is_cut(entry))
}

/// Reports keys for tokens on a route that takes none.
///
/// API keys have no subject and no claims. With `subjects` or `claims`
/// such a route would refuse every request: secure, but never intended.
fn check_jwt_keys(
    accept: &[AcceptedCredential],
    rules: &[rule::LocatedRule],
    at: NodeId,
    defaults: &Defaults,
    checker: &mut Checker<'_>,
) {
    if accept.contains(&AcceptedCredential::Jwt) || !accept.contains(&AcceptedCredential::ApiKey) {
        return;
    }
    let in_rules = rules.iter().flat_map(|rule| TOKEN_KEYS.map(|key| (rule.at, key)));
    for (map, key) in ["issuers", "audiences", "resource"]
        .into_iter()
        .chain(TOKEN_KEYS)
        .map(|key| (at, key))
        .chain(in_rules)
    {
        if let Some(entry) = checker.tree.entry(map, key) {
            let problem = format!("`{key}` is about tokens, and this route does not accept `jwt`");
            checker.error(entry, "only-with-jwt", problem);
        }
    }
    if let Some((key, inherited)) = defaults.token_condition {
        let here = checker.tree.entry(at, "accept").unwrap_or(at);
        let whereabouts = checker.tree.whereabouts(inherited, here);
        let problem = format!("no API key can meet `defaults.{key}` ({whereabouts}), and this route accepts no tokens");
        checker.error(here, "only-with-jwt", problem);
    }
}

/// Returns the audiences that replace those of the issuers: the route's own, which must be among the defaults, or the
/// defaults.
fn audiences(
    written: Option<Texts<ExactText>>,
    accept: &[AcceptedCredential],
    defaults: &Defaults,
    checker: &mut Checker<'_>,
) -> Option<Vec<String>> {
    let Some(written) = written else {
        let inherited = defaults
            .audiences
            .as_ref()
            .filter(|_| accept.contains(&AcceptedCredential::Jwt));
        return inherited.map(|audiences| audiences.list.clone());
    };
    let own: Vec<(NodeId, String)> = written
        .value
        .iter()
        .map(|word| (word.at, word.get().0.clone()))
        .collect();
    defaults::refuse_wider("audiences", &own, defaults.audiences.as_ref(), checker);
    Some(texts(checker.distinct(written.value)))
}

/// Returns the rules of the defaults, then the rule of the route's own conditions, then the route's `rules` (S100).
fn rules(
    base: Option<Rule>,
    more: Vec<rule::LocatedRule>,
    accept: &[AcceptedCredential],
    methods: &[Method],
    at: NodeId,
    defaults: &Defaults,
    checker: &mut Checker<'_>,
) -> Arc<[Rule]> {
    for located in &more {
        let written = &located.rule.methods;
        if !written.is_empty() && !written.iter().any(|method| takes(methods, method)) {
            let place = checker.tree.entry(located.at, "methods").unwrap_or(located.at);
            let problem = "the route takes none of these methods, so the rule would never be asked";
            checker.error_with(place, "rule-never-asked", problem, "see `match.methods` of the route");
        }
    }
    if accept.is_empty() {
        // A public route, or one that was reported as neither public nor protected.
        return Arc::default();
    }
    if base.is_none() && more.is_empty() {
        return Arc::clone(&defaults.rules);
    }
    let rules: Arc<[Rule]> = defaults
        .rules
        .iter()
        .cloned()
        .chain(base)
        .chain(more.into_iter().map(|located| located.rule))
        .collect();
    if rules.len() > RULES_MAX {
        let place = checker.tree.entry(at, "rules").unwrap_or(at);
        let problem = format!("{} rules hold here, those of the defaults among them", rules.len());
        checker.error_with(place, "too-many-rules", problem, format!("at most {RULES_MAX} do"));
    }
    rules
}

/// Returns the issuers of accepted tokens: those that the route names, else those of the defaults, else all.
fn issuers(
    written: Option<Texts<Name>>,
    accept: &[AcceptedCredential],
    at: NodeId,
    defaults: &Defaults,
    checker: &mut Checker<'_>,
) -> Vec<Name> {
    if let Some(written) = written {
        let own: Vec<(NodeId, Name)> = written.value.iter().map(|name| (name.at, name.get().clone())).collect();
        defaults::refuse_wider("issuers", &own, defaults.issuers.as_ref(), checker);
        checker.refer_all("issuers", "issuer", &written.value);
        return values(written.value);
    }
    if !accept.contains(&AcceptedCredential::Jwt) {
        return Vec::new();
    }
    if let Some(inherited) = &defaults.issuers {
        return inherited.list.clone();
    }
    let own = checker.has_own_issuer();
    if !own && checker.tree.is_complete() && checker.tree.sections("issuers").next().is_none() {
        let accept_at = checker.tree.entry(at, "accept").unwrap_or(at);
        let hint = "add one under `issuers`, or a `token_endpoint`; or accept only `api_key`";
        checker.error_with(accept_at, "no-issuer", "accepts tokens, and there is no issuer", hint);
        return Vec::new();
    }
    // Sorted by name, so that reordering the file changes nothing.
    let keys = checker.tree.sections("issuers").flat_map(|all| checker.tree.keys(all));
    let mut names: Vec<Name> = keys.filter_map(|name| name.parse().ok()).collect();
    names.extend(own.then(TokenEndpoint::own_issuer));
    names.sort_unstable();
    names.dedup();
    names
}

fn convert_match(
    TypedNode { value: section, at }: TypedNode<MatchSection>,
    checker: &mut Checker<'_>,
) -> Option<(Vec<HostPattern>, PathPattern, Vec<Method>, MatchConditions)> {
    let path = checker.need(at, "path", section.path, "such as `path: \"/v1/{*rest}\"`");
    let hosts = match section.host {
        Some(OneOrMany(hosts)) => checker.distinct(hosts),
        // Without its rejected hosts the route must not match any host and overlap with other routes.
        None if checker.tree.entry(at, "host").is_some() => return None,
        None => vec![HostPattern::Any],
    };
    if !is_intact(checker, at, "methods") && checker.tree.entry(at, "methods").is_some() {
        return None;
    }
    let methods = section.methods.map(|methods| checker.distinct(methods.value));
    let conditions = match_condition::convert(section.headers, section.query, at, checker)?;
    Some((hosts, path?.take(), methods.unwrap_or_default(), conditions))
}
