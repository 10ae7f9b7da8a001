//! Which parts of a configuration load and are not used by any route?

use crate::config::check::Checker;
use crate::config::parts::Parts;
use crate::config::route::AcceptedCredential;
use crate::config::rule::CONDITION_KEYS;
use crate::config::tree::NodeId;
use crate::config::tree::ROOT;
use crate::model::names::Name;
use std::collections::BTreeSet;

/// Warns of every part that no request comes to.
pub(in crate::config) fn warn(parts: &Parts<'_>, checker: &mut Checker<'_>) {
    warn_of_parts(parts, checker);
    warn_of_api_keys(parts, checker);
    warn_of_defaults(parts, checker);
    warn_of_plans(parts, checker);
}

/// Warns of limits, upstreams and issuers that nothing names, and of identity tokens that no route sends.
fn warn_of_parts(parts: &Parts<'_>, checker: &mut Checker<'_>) {
    let routes = || parts.routes.iter().map(|located| &located.route);
    let of_plans = parts.plans.values().flat_map(|plan| &plan.limits);
    let limits: BTreeSet<&str> = routes()
        .flat_map(|route| &route.limits)
        .chain(of_plans)
        .map(Name::as_str)
        .collect();
    let upstreams: BTreeSet<&str> = routes()
        .flat_map(|route| route.upstream.names())
        .map(Name::as_str)
        .collect();
    let issuers: BTreeSet<&str> = routes().flat_map(|route| &route.issuers).map(Name::as_str).collect();
    for (section, noun, used, by) in [
        (
            "limits",
            "limit",
            limits,
            "the `limits` of a route, of a plan or of the defaults",
        ),
        ("upstreams", "upstream", upstreams, "the `upstream` of a route"),
        (
            "issuers",
            "issuer",
            issuers,
            "the `issuers` of a route that accepts `jwt`",
        ),
    ] {
        let sections: Vec<NodeId> = checker.tree.sections(section).collect();
        let unused: Vec<NodeId> = sections
            .into_iter()
            .flat_map(|all| checker.tree.entries(all))
            .filter_map(|(name, at)| (!used.contains(name)).then_some(at))
            .collect();
        for at in unused {
            let problem = format!("no request comes to this {noun}");
            checker.warn(at, "unused", problem, format!("name it in {by}, or remove it"));
        }
    }
    if let Some(at) = checker.tree.entry(ROOT, "identity_token")
        && routes().all(|route| route.identity_token.is_none())
    {
        let hint = "give a route `identity_token: { audience: … }`, or remove it";
        checker.warn(at, "unused", "no route sends its upstream identity tokens", hint);
    }
}

/// Returns whether a route takes credentials of this type.
fn accepts(parts: &Parts<'_>, credential: AcceptedCredential) -> bool {
    parts
        .routes
        .iter()
        .any(|located| located.route.accept.contains(&credential))
}

/// Warns of a keys file, and of a further place for keys, where no route takes any.
fn warn_of_api_keys(parts: &Parts<'_>, checker: &mut Checker<'_>) {
    if accepts(parts, AcceptedCredential::ApiKey) {
        return;
    }
    let bearer = parts.api_keys.bearer.then_some("bearer");
    for key in ["file"].into_iter().chain(bearer) {
        if let Some(at) = checker.tree.descend(ROOT, &["api_keys", key]) {
            let hint = "add `api_key` to the `accept` of a route, or remove it";
            checker.warn(at, "unused", "no route accepts API keys", hint);
        }
    }
}

/// Warns of defaults that no route inherits: a public one drops most of them, and some are about tokens alone.
fn warn_of_defaults(parts: &Parts<'_>, checker: &mut Checker<'_>) {
    let Some(defaults) = checker.tree.entry(ROOT, "defaults") else {
        return;
    };
    let of_tokens = ["issuers", "audiences"];
    let of_all = ["accept", "rules"].into_iter().chain(CONDITION_KEYS);
    let (keys, problem): (Vec<&str>, &str) = if parts.protected().next().is_none() {
        (
            of_tokens.into_iter().chain(of_all).collect(),
            "every route is public, and a public route does not inherit this",
        )
    } else if !accepts(parts, AcceptedCredential::Jwt) {
        (of_tokens.to_vec(), "no route accepts `jwt`, and this is about tokens")
    } else {
        return;
    };
    for key in keys {
        if let Some(at) = checker.tree.entry(defaults, key) {
            checker.warn(at, "unused", problem, "remove it, or add a route that inherits it");
        }
    }
}

/// Warns of plans whose credentials count nowhere, and of a number of keys in a plan without keys.
fn warn_of_plans(parts: &Parts<'_>, checker: &mut Checker<'_>) {
    for plan in parts.plans.values() {
        let Some(at) = checker.tree.descend(ROOT, &["plans", plan.name.as_str()]) else {
            continue;
        };
        let kinds = plan.credentials;
        if let Some(at) = checker.tree.entry(at, "keys_max")
            && !kinds.api_key
        {
            let hint = "add `api_key` to `credentials`, or remove it";
            checker.warn(at, "no-effect", "this plan has no API keys", hint);
        }
        let at = checker.tree.first_of(at, &["credentials"]);
        let has_clients = kinds.client_secret || kinds.private_key_jwt;
        if kinds.api_key && !has_clients && !accepts(parts, AcceptedCredential::ApiKey) {
            let problem = "this plan has API keys alone, and no route accepts API keys";
            checker.warn(at, "unused", problem, "add `api_key` to the `accept` of a route");
        } else if has_clients && !kinds.api_key && parts.token_endpoint.is_none() {
            let problem = "this plan has clients alone, and without a `token_endpoint` no client gets a token";
            checker.warn(
                at,
                "unused",
                problem,
                "add a `token_endpoint`, or `api_key` to the credentials",
            );
        }
    }
}
