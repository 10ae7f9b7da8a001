//! Which settings load and have no effect? Those that nothing names, and those that no request or credential can meet.

use crate::config::Issuer;
use crate::config::KeySource;
use crate::config::Limit;
use crate::config::LimitBy;
use crate::config::Listener;
use crate::config::PlainProtocol;
use crate::config::RequestLimits;
use crate::config::Upstream;
use crate::config::check::Checker;
use crate::config::claim_reach;
use crate::config::file_need;
use crate::config::file_need::FileNeed;
use crate::config::issuer::JwksLocation;
use crate::config::parts::Parts;
use crate::config::pattern::DEFAULT_METHODS;
use crate::config::pattern::takes;
use crate::config::preflight;
use crate::config::preflight::is_forbidden_request_header;
use crate::config::read::TypedNode;
use crate::config::route::AcceptedCredential;
use crate::config::route::LocatedRoute;
use crate::config::server_name;
use crate::config::tree::NodeId;
use crate::config::tree::ROOT;
use crate::config::tree::printable;
use crate::config::unmet;
use crate::config::unused;
use crate::model::api_key::key_text_bytes;
use crate::model::names::Name;
use crate::model::public_address::not_public_literal;
use http::HeaderName;
use http::Method;
use http::header;
use std::collections::BTreeMap;
use url::Host;
use url::Url;

/// Warns of every setting without an effect. Returns the warnings that depend on files with keys.
pub(in crate::config) fn warn(parts: &Parts<'_>, checker: &mut Checker<'_>) -> Vec<FileNeed> {
    // After a mistake, a rejected route or plan may be the one that names the part.
    if !checker.errors.is_empty() || !checker.tree.is_complete() {
        return Vec::new();
    }
    unused::warn(parts, checker);
    warn_of_claim_names(checker);
    warn_of_key_sources(parts.issuers, checker);
    if !parts.has_store {
        warn_of_lost_counts(parts.limits, checker);
    }
    warn_of_short_credentials(parts, checker);
    server_name::warn_of_resources(parts, checker);
    warn_of_default_methods(parts, checker);
    preflight::warn(parts.routes, checker);
    claim_reach::warn_of_shared(parts, checker);
    let mut needs = file_need::of_issuers(parts.issuers, checker);
    for located in parts.routes {
        server_name::warn(located, parts.listeners, checker);
        warn_of_long_path(located, parts.requests, checker);
        warn_of_oddities(located, checker);
        warn_of_websocket(located, parts, checker);
        warn_of_forwarding(located, parts, checker);
        if let Some(rules) = checker.tree.entry(located.at, "rules") {
            let is_taken = |method: &Method| takes(&located.route.methods, method);
            warn_of_rule_methods(rules, is_taken, checker);
        }
        warn_of_cors(located, parts, checker);
        unmet::warn(located, parts, checker);
        warn_of_limits(located, parts.limits, parts.keys_are_in_store_alone(), checker);
        if parts.keys_are_in_file_alone() && located.route.accept.contains(&AcceptedCredential::ApiKey) {
            file_need::of_keys(located, parts.limits, checker, &mut needs);
        }
    }
    needs
}

/// Warns of limits of a day or longer. For a configuration without a store, which would keep their counts over a restart.
fn warn_of_lost_counts(limits: &BTreeMap<Name, Limit>, checker: &mut Checker<'_>) {
    let sections: Vec<NodeId> = checker.tree.sections("limits").collect();
    for limit in limits.values().filter(|limit| limit.is_long()) {
        let at = sections
            .iter()
            .find_map(|all| checker.tree.descend(*all, &[limit.name.as_str(), "quota"]));
        let problem = format!(
            "the counts of `limits.{}` are lost at a restart, and its quota begins anew",
            limit.name
        );
        let hint = "add a `store`, which keeps the counts of a day and longer";
        checker.warn(at.unwrap_or(ROOT), "counts-lost", problem, hint);
    }
}

/// Warns of names of claims that are written as paths: a claim is found by its whole name at the top of the token.
fn warn_of_claim_names(checker: &mut Checker<'_>) {
    let sections: Vec<NodeId> = checker.tree.sections("issuers").collect();
    let issuers: Vec<NodeId> = sections
        .into_iter()
        .flat_map(|all| checker.tree.entries(all))
        .map(|(_, issuer)| issuer)
        .collect();
    let mut paths: Vec<(NodeId, String)> = Vec::new();
    for issuer in issuers {
        let lists = ["scope_claims", "client_id_claims", "organization_claim"];
        let written = lists.into_iter().filter_map(|key| checker.tree.entry(issuer, key));
        let texts = written.flat_map(|at| checker.tree.texts(at));
        let required = checker.tree.entry(issuer, "required_claims");
        let names = required.into_iter().flat_map(|at| checker.tree.entries(at));
        let all = texts.chain(names.map(|(name, at)| (at, name)));
        paths.extend(
            all.filter(|(_, name)| is_path(name))
                .map(|(at, name)| (at, name.to_owned())),
        );
    }
    for (at, name) in paths {
        let name = printable(&name);
        let problem = format!("`{name}` looks like a path, and claims are found by their whole names");
        let hint = "have the issuer put the value into a claim of its own at the top of the token";
        checker.warn(at, "claim-path", problem, hint);
    }
}

/// Returns whether a name is a JSON pointer, or names joined by dots. A URL or URN is the name of a claim.
fn is_path(name: &str) -> bool {
    name.starts_with('/') || (name.contains('.') && !name.contains([':', '/']))
}

/// Warns of issuers whose server is never connected to, and of keys that are too old before they are fetched again.
fn warn_of_key_sources(issuers: &BTreeMap<Name, Issuer>, checker: &mut Checker<'_>) {
    for issuer in issuers.values() {
        let sections: Vec<NodeId> = checker.tree.sections("issuers").collect();
        let mut places = sections
            .iter()
            .filter_map(|all| checker.tree.entry(*all, issuer.name.as_str()));
        let Some(at) = places.next() else {
            continue;
        };
        let (url, keys, allows_any, has_proxy) = match &issuer.keys {
            KeySource::Remote(remote) => {
                let (url, keys) = match &remote.at {
                    JwksLocation::JwksUrl(url) => (url.clone(), ["jwks_url"].as_slice()),
                    JwksLocation::Discovery(discovery) => (discovery.issuer.to_url(), ["issuer"].as_slice()),
                };
                let connect = &remote.connect;
                if remote.max_stale < remote.max_refresh {
                    let place = checker.tree.first_of(at, &["max_stale", "max_refresh"]);
                    let problem =
                        "`max_stale` is less than `max_refresh`: keys may be too old before they are fetched again";
                    let hint = "until then every token of this issuer is answered 503; the defaults are `24h` and `1h`";
                    checker.warn(place, "stale-before-refresh", problem, hint);
                }
                (url, keys, connect.allow_private_addresses, connect.proxy.is_some())
            }
            KeySource::Introspection(introspection) => (
                introspection.url.clone(),
                ["introspection", "url"].as_slice(),
                introspection.allow_private_addresses,
                introspection.proxy.is_some(),
            ),
            KeySource::Pem(_) | KeySource::File(_) | KeySource::Own => continue,
        };
        if !allows_any && is_private(&url, has_proxy) {
            let place = checker.tree.descend(at, keys).unwrap_or(at);
            let problem =
                "this address is not public, so no connection is made to it, and no token of this issuer can pass";
            let hint = "for a server in your own network, say `allow_private_addresses: true` beside it";
            checker.warn(place, "private-address", checker.with_value(place, problem), hint);
        }
    }
}

/// Returns whether the host of `url` is certainly an address that is not public. A proxy looks up names by itself.
fn is_private(url: &Url, has_proxy: bool) -> bool {
    match url.host() {
        // RFC 6761 section 6.3.
        Some(Host::Domain(name)) => !has_proxy && (name == "localhost" || name.ends_with(".localhost")),
        Some(literal) => not_public_literal(&literal).is_some(),
        None => false,
    }
}

/// Warns of `forward_credential` where `remove_headers` of the upstream and the route remove every header that carries one.
fn warn_of_forwarding(located: &LocatedRoute, parts: &Parts<'_>, checker: &mut Checker<'_>) {
    let route = &located.route;
    if !route.forward_credential {
        return;
    }
    for upstream in route.upstream.names().filter_map(|name| parts.upstreams.get(name)) {
        let rules = upstream.request_headers.followed_by(&route.request_headers);
        if !parts.credential_headers(route).all(|name| rules.remove.contains(name)) {
            continue;
        }
        let at = checker.tree.first_of(located.at, &["forward_credential"]);
        let problem = format!(
            "`remove_headers`, here or of `upstreams.{}`, removes every header with a credential",
            upstream.name
        );
        checker.warn(
            at,
            "no-effect",
            problem,
            "remove the header from that list, or this key",
        );
    }
}

/// Warns of a bound that no API key keeps that is made here.
fn warn_of_short_credentials(parts: &Parts<'_>, checker: &mut Checker<'_>) {
    let needed = key_text_bytes(&parts.api_keys.prefix);
    let bytes = parts.requests.credential_bytes_max;
    let mut accepted = parts.protected().flat_map(|located| &located.route.accept);
    if bytes < needed
        && accepted.any(|accepted| *accepted == AcceptedCredential::ApiKey)
        && let Some(at) = checker.tree.descend(ROOT, &["requests", "credential_bytes"])
    {
        let problem =
            format!("`credential_bytes` ({bytes}) is less than an API key takes that is made here ({needed})");
        checker.warn(at, "out-of-range", problem, "the default is `8KiB`");
    }
}

/// Warns of a path that is longer than a target or a head may be.
fn warn_of_long_path(located: &LocatedRoute, requests: &RequestLimits, checker: &mut Checker<'_>) {
    let path = located.route.path.shortest_path_bytes();
    let method = located.route.methods.iter().map(|method| method.as_str().len()).min();
    // The shortest head: `GET /a HTTP/1.0`, without fields.
    let head = method.unwrap_or("GET".len()) + path + "  HTTP/1.0\r\n\r\n".len();
    let (bound, bytes) = if path > requests.target_bytes_max {
        ("target_bytes", requests.target_bytes_max)
    } else if head > requests.head_bytes_max {
        ("head_bytes", requests.head_bytes_max)
    } else {
        return;
    };
    let at = checker
        .tree
        .descend(located.at, &["match", "path"])
        .unwrap_or(located.at);
    let problem = format!("no request comes here: the path takes {path} bytes, and `requests.{bound}` is {bytes}");
    let hint = format!("raise `requests.{bound}`, or give the route a shorter path");
    checker.warn(at, "path-too-long", problem, hint);
}

/// Warns of forms in `allow` that no path of the route can have.
fn warn_of_oddities(located: &LocatedRoute, checker: &mut Checker<'_>) {
    let route = &located.route;
    let Some(at) = checker.tree.entry(located.at, "allow") else {
        return;
    };
    if !route.path.as_str().contains('{') {
        let problem = "a path without braces is the same for every request, so nothing is allowed by this";
        let hint = "remove it, or use `{name}` or `{*name}` in the path";
        checker.warn(at, "no-effect", problem, hint);
    } else if route.allow_empty_segments && !route.path.has_rest() {
        let texts = checker.tree.texts(at);
        let entry = texts.iter().find(|(_, text)| *text == "empty_segments");
        let at = entry.map_or(at, |(at, _)| *at);
        let problem = "`{name}` stands for a segment that is not empty, so no path with an empty one comes here";
        let hint = "remove it, or use `{*name}` at the end of the path";
        checker.warn(at, "no-effect", problem, hint);
    }
}

/// Warns of `websocket_token` where no request can become a WebSocket: it begins with GET, and HTTP/2 has no `Upgrade`
/// (RFC 9113 section 8.6).
fn warn_of_websocket(located: &LocatedRoute, parts: &Parts<'_>, checker: &mut Checker<'_>) {
    let route = &located.route;
    if !route.websocket_token {
        return;
    }
    let speaks_http2 = |name| parts.upstreams.get(name).is_some_and(Upstream::speaks_http2);
    let is_h2c =
        |listener: &TypedNode<Listener>| listener.value.tls.is_none() && listener.value.plain == PlainProtocol::H2c;
    let (problem, hint) = if !takes(&route.methods, &Method::GET) {
        (
            "a WebSocket begins with GET, which is not among the methods of the route",
            "add GET to `match.methods`, or remove `websocket_token`",
        )
    } else if route.upstream.names().any(speaks_http2) {
        (
            "an upstream speaks HTTP/2 (`protocol: h2` or `h2c`), over which no WebSocket is forwarded",
            "use an upstream with `protocol: http1`, or remove `websocket_token`",
        )
    } else if parts.listeners.iter().all(is_h2c) {
        (
            "every listener speaks HTTP/2 alone (`protocol: h2c`), over which no WebSocket comes",
            "add a listener with `protocol: http1` or `tls`, or remove `websocket_token`",
        )
    } else {
        return;
    };
    let at = checker.tree.first_of(located.at, &["websocket_token"]);
    checker.warn(at, "no-effect", problem, hint);
}

/// Warns of rules of the defaults for methods that no protected route takes.
fn warn_of_default_methods(parts: &Parts<'_>, checker: &mut Checker<'_>) {
    let Some(rules) = checker.tree.descend(ROOT, &["defaults", "rules"]) else {
        return;
    };
    // Where there is no such route, the rules are unused in any case.
    if parts.protected().next().is_some() {
        let is_taken = |method: &Method| parts.protected().any(|located| takes(&located.route.methods, method));
        warn_of_rule_methods(rules, is_taken, checker);
    }
}

/// Warns of each rule in the list at `rules` for methods of which none is taken, and of methods of the operator's own that
/// are not: a usual method in the list of a rule may be there for other routes.
fn warn_of_rule_methods(rules: NodeId, is_taken: impl Fn(&Method) -> bool, checker: &mut Checker<'_>) {
    for rule in checker.tree.items(rules) {
        let Some(at) = checker.tree.entry(rule, "methods") else {
            continue;
        };
        let texts = checker.tree.texts(at).into_iter();
        let methods: Vec<(NodeId, Method)> = texts
            .filter_map(|(at, text)| Some((at, Method::from_bytes(text.as_bytes()).ok()?)))
            .collect();
        if !methods.iter().any(|(_, method)| is_taken(method)) {
            let problem = "no route takes one of these methods, so the rule would never be asked";
            let hint = "see `match.methods` of the routes; a public route is under no rule";
            checker.warn(at, "rule-never-asked", problem, hint);
            continue;
        }
        for (at, method) in methods {
            if !is_taken(&method) && !DEFAULT_METHODS.contains(&method) {
                let problem = checker.with_value(at, "no route that is under this rule takes this method");
                let hint = "add it to `match.methods` of a route, or remove it here";
                checker.warn(at, "method-not-in-route", problem, hint);
            }
        }
    }
}

/// Warns of header names in `cors` that browsers keep from pages in any case, and of a list without a header for the
/// credential that the route asks for.
fn warn_of_cors(located: &LocatedRoute, parts: &Parts<'_>, checker: &mut Checker<'_>) {
    let Some(at) = checker.tree.entry(located.at, "cors") else {
        return;
    };
    let named = |key: &str, is_kept: fn(&str) -> bool, checker: &Checker<'_>| -> Vec<NodeId> {
        let list = checker.tree.entry(at, key);
        let texts = list.into_iter().flat_map(|list| checker.tree.texts(list));
        let kept = texts.filter(|(_, text)| is_kept(&text.to_ascii_lowercase()));
        kept.map(|(at, _)| at).collect()
    };
    for at in named("headers", is_forbidden_request_header, checker) {
        let problem = checker.with_value(at, "browsers let no page set this header");
        let hint = "remove it; a browser sends it by itself, or never (Fetch standard, forbidden request-headers)";
        checker.warn(at, "no-effect", problem, hint);
    }
    for at in named("expose", |name| matches!(name, "set-cookie" | "set-cookie2"), checker) {
        let problem = checker.with_value(at, "browsers let no page read this header");
        let hint = "remove it (Fetch standard, forbidden response-header names)";
        checker.warn(at, "no-effect", problem, hint);
    }
    let headers = located.route.cors.as_ref().and_then(|cors| cors.headers.as_ref());
    if let (Some(headers), Some(at)) = (headers, checker.tree.entry(at, "headers"))
        && !can_carry_credential(headers, located, parts)
    {
        let problem = "none of these headers carries a credential that the route accepts, so every page is refused";
        let hint = "add `authorization`, or the header of API keys, as the route accepts them";
        checker.warn(at, "refuses-everybody", problem, hint);
    }
}

/// Returns whether a page that may set `headers` can send a credential of the route. A proxy in front may add a token of its
/// own, and a WebSocket carries its token elsewhere, without CORS.
fn can_carry_credential(headers: &[HeaderName], located: &LocatedRoute, parts: &Parts<'_>) -> bool {
    let route = &located.route;
    let issuers = route.issuers.iter().filter_map(|name| parts.issuers.get(name));
    let is_elsewhere =
        route.public || route.websocket_token || issuers.into_iter().any(|issuer| issuer.token_header.is_some());
    let in_bearer = parts.api_keys.bearer || route.accept.contains(&AcceptedCredential::Jwt);
    let in_own = route.accept.contains(&AcceptedCredential::ApiKey);
    is_elsewhere
        || (in_bearer && headers.contains(&header::AUTHORIZATION))
        || (in_own && headers.contains(&parts.api_keys.header))
}

/// Warns of limits by subject where only API keys are accepted: none has one. With `keys_of_store_alone`, none has a client
/// either.
fn warn_of_limits(
    located: &LocatedRoute,
    limits: &BTreeMap<Name, Limit>,
    keys_of_store_alone: bool,
    checker: &mut Checker<'_>,
) {
    if *located.route.accept != [AcceptedCredential::ApiKey] {
        return;
    }
    for name in &located.route.limits {
        let counts_by = |by: LimitBy| limits.get(name).is_some_and(|limit| limit.by.contains(&by));
        let (problem, hint) = if counts_by(LimitBy::Subject) {
            (
                format!(
                    "`limits.{name}` counts by `subject`, and API keys have none: each counts by its client, or by itself"
                ),
                "count by `client` or `credential` here",
            )
        } else if counts_by(LimitBy::Client) && keys_of_store_alone {
            (
                format!(
                    "`limits.{name}` counts by `client`, and API keys of the store have none: each counts by itself"
                ),
                "count by `organization` or `credential` here",
            )
        } else {
            continue;
        };
        checker.warn(located.limit_place(name), "limit-stand-in", problem, hint);
    }
}
