//! Which settings load and have no effect? Those that nothing names, and those that no request or credential can meet.

use crate::config::KeySource;
use crate::config::Listener;
use crate::config::check::Checker;
use crate::config::file_need::FileNeed;
use crate::config::file_need::KeyFact;
use crate::config::file_need::Need;
use crate::config::issuer::Issuer;
use crate::config::limit::Limit;
use crate::config::limit::LimitBy;
use crate::config::pattern::HostPattern;
use crate::config::read::TypedNode;
use crate::config::route::AcceptedCredential;
use crate::config::route::LocatedRoute;
use crate::config::rule::Condition;
use crate::config::rule::Mode;
use crate::config::token_endpoint::TokenEndpoint;
use crate::config::tree::NodeId;
use crate::config::tree::ROOT;
use crate::model::names::Name;
use crate::model::plan::Plan;
use crate::model::scope::Scope;
use http::Method;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// The converted parts of a configuration.
pub(in crate::config) struct Parts<'a> {
    pub listeners: &'a [TypedNode<Listener>],
    pub issuers: &'a BTreeMap<Name, Issuer>,
    pub limits: &'a BTreeMap<Name, Limit>,
    pub plans: &'a BTreeMap<Name, Plan>,
    pub token_endpoint: Option<&'a TokenEndpoint>,
    pub routes: &'a [LocatedRoute],
    pub has_store: bool,
    /// `true` where API keys come from the store alone.
    pub keys_of_store_alone: bool,
    /// `true` where API keys come from the keys file alone.
    pub keys_in_file_alone: bool,
}

/// Warns of every setting without an effect. Returns the warnings that depend on files with keys.
pub(in crate::config) fn warn(parts: &Parts<'_>, checker: &mut Checker<'_>) -> Vec<FileNeed> {
    // After a mistake, a rejected route or plan may be the one that names the part.
    if !checker.errors.is_empty() || !checker.tree.is_complete() {
        return Vec::new();
    }
    warn_of_unused(parts, checker);
    warn_of_claim_names(checker);
    if !parts.has_store {
        warn_of_lost_counts(parts.limits, checker);
    }
    let mut needs = issuer_needs(parts.issuers, checker);
    for located in parts.routes {
        warn_of_host(located, parts.listeners, checker);
        warn_of_oddities(located, checker);
        warn_of_contradiction(located, checker);
        warn_of_audiences(located, parts.token_endpoint, checker);
        warn_of_plans(located, parts.plans, checker);
        warn_of_limits(located, parts.limits, parts.keys_of_store_alone, checker);
        warn_of_tenants(located, parts.issuers, checker);
        if parts.keys_in_file_alone && located.route.accept.contains(&AcceptedCredential::ApiKey) {
            key_needs(located, parts.limits, checker, &mut needs);
        }
    }
    needs
}

/// Warns of limits, upstreams and issuers that nothing names, and of a keys file and identity tokens without a route.
fn warn_of_unused(parts: &Parts<'_>, checker: &mut Checker<'_>) {
    let routes = || parts.routes.iter().map(|located| &located.route);
    let of_plans = parts.plans.values().flat_map(|plan| &plan.limits);
    let limits: BTreeSet<&str> = routes()
        .flat_map(|route| &route.limits)
        .chain(of_plans)
        .map(Name::as_str)
        .collect();
    let upstreams: BTreeSet<&str> = routes().map(|route| route.upstream.as_str()).collect();
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
    let accepts_keys = routes().any(|route| route.accept.contains(&AcceptedCredential::ApiKey));
    if let Some(at) = place(checker, ROOT, &["api_keys", "file"])
        && !accepts_keys
    {
        let hint = "add `api_key` to the `accept` of a route, or remove it";
        checker.warn(at, "unused", "no route accepts API keys", hint);
    }
    if let Some(at) = place(checker, ROOT, &["identity_token"])
        && routes().all(|route| route.identity_token.is_none())
    {
        let hint = "give a route `identity_token: { audience: … }`, or remove it";
        checker.warn(at, "unused", "no route sends its upstream identity tokens", hint);
    }
}

fn place(checker: &Checker<'_>, from: NodeId, keys: &[&str]) -> Option<NodeId> {
    keys.iter().try_fold(from, |at, key| checker.tree.entry(at, key))
}

/// Returns the first of `keys` that the map at `at` has, or `at`.
fn place_of(checker: &Checker<'_>, at: NodeId, keys: &[&str]) -> NodeId {
    keys.iter().find_map(|key| checker.tree.entry(at, key)).unwrap_or(at)
}

/// Warns of limits of a day or longer. For a configuration without a store, which would keep their counts over a restart.
fn warn_of_lost_counts(limits: &BTreeMap<Name, Limit>, checker: &mut Checker<'_>) {
    let sections: Vec<NodeId> = checker.tree.sections("limits").collect();
    for limit in limits.values().filter(|limit| limit.is_long()) {
        let at = sections
            .iter()
            .find_map(|all| place(checker, *all, &[limit.name.as_str(), "quota"]));
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
        let name = crate::config::tree::printable(&name);
        let problem = format!("`{name}` looks like a path, and claims are found by their whole names");
        let hint = "have the issuer put the value into a claim of its own at the top of the token";
        checker.warn(at, "claim-path", problem, hint);
    }
}

/// Returns whether a name is a JSON pointer, or names joined by dots. A URL or URN is the name of a claim.
fn is_path(name: &str) -> bool {
    name.starts_with('/') || (name.contains('.') && !name.contains([':', '/']))
}

/// Returns a need for each issuer with keys in files: one of them must fit an algorithm.
fn issuer_needs(issuers: &BTreeMap<Name, Issuer>, checker: &Checker<'_>) -> Vec<FileNeed> {
    let local = issuers
        .values()
        .filter(|issuer| matches!(issuer.keys, KeySource::Pem(_) | KeySource::File(_)));
    let need = |issuer: &Issuer| {
        let sections = checker.tree.sections("issuers");
        let mut places = sections.filter_map(|all| checker.tree.entry(all, issuer.name.as_str()));
        let at = places.next()?;
        let algorithms: Vec<&str> = issuer.algorithms.iter().map(|algorithm| algorithm.as_str()).collect();
        let problem = format!(
            "no key of this issuer is for {}, so no token can pass",
            algorithms.join(" or ")
        );
        let hint = "add the algorithm of its keys to `algorithms`";
        let at = place_of(checker, at, &["algorithms", "public_key_files", "jwks_file"]);
        Some(FileNeed {
            need: Need::IssuerKey(issuer.name.clone()),
            warning: checker.warning(at, "refuses-everybody", problem, hint),
        })
    };
    local.filter_map(need).collect()
}

/// Warns of a host that no certificate has, where every listener refuses handshakes for other names.
fn warn_of_host(located: &LocatedRoute, listeners: &[TypedNode<Listener>], checker: &mut Checker<'_>) {
    let is_served = |host: &HostPattern| {
        listeners.iter().any(|listener| match &listener.value.tls {
            None => true,
            Some(tls) if tls.default.is_some() => true,
            Some(tls) => {
                let mut names = tls.certificates.iter().flat_map(|certificate| &certificate.names);
                // Files that were not read have no names.
                let read = tls.certificates.iter().all(|certificate| !certificate.chain.is_empty());
                !read
                    || names.any(|name| match host {
                        HostPattern::Any => true,
                        HostPattern::Exact(host) => name.covers(host.trim_matches(['[', ']'])),
                        HostPattern::Suffix(parent) => name.to_string().ends_with(&format!(".{parent}")),
                    })
            }
        })
    };
    let Some(at) = place(checker, located.at, &["match", "host"]) else {
        return;
    };
    for host in located.route.hosts.iter().filter(|host| !is_served(host)) {
        let host = match host {
            HostPattern::Any => "*".to_owned(),
            HostPattern::Exact(name) => name.clone(),
            HostPattern::Suffix(parent) => format!("*.{parent}"),
        };
        let problem = format!("no certificate of a listener is for `{host}`, so no connection is made for it");
        let hint = "add a certificate for it to `tls.certificates`, or say which is the `tls.default`";
        checker.warn(at, "host-without-certificate", problem, hint);
    }
}

/// Warns of `allow` on a path without braces: neither form can be in a literal path.
fn warn_of_oddities(located: &LocatedRoute, checker: &mut Checker<'_>) {
    let route = &located.route;
    if (route.allow_encoded_slash || route.allow_empty_segments)
        && !route.path.as_str().contains('{')
        && let Some(at) = checker.tree.entry(located.at, "allow")
    {
        let problem = "a path without braces is the same for every request, so nothing is allowed by this";
        checker.warn(
            at,
            "no-effect",
            problem,
            "remove it, or use `{name}` or `{*name}` in the path",
        );
    }
    if route.websocket_token && !(route.methods.is_empty() || route.methods.contains(&Method::GET)) {
        let at = place_of(checker, located.at, &["websocket_token"]);
        let problem = "a WebSocket begins with GET, which is not among the methods of the route";
        checker.warn(
            at,
            "no-effect",
            problem,
            "add GET to `match.methods`, or remove `websocket_token`",
        );
    }
}

/// Warns of two lists of clients, subjects or organizations, both of which must have the principal's and which share none.
fn warn_of_contradiction(located: &LocatedRoute, checker: &mut Checker<'_>) {
    type List = fn(&Condition) -> Option<&Vec<String>>;
    let lists: [(&str, List); 3] = [
        ("clients", clients),
        ("subjects", subjects),
        ("organizations", organizations),
    ];
    for (key, list) in lists {
        let mut common: Option<Vec<&String>> = None;
        for names in enforced(located).filter_map(list) {
            common = Some(match common {
                None => names.iter().collect(),
                Some(known) => known.into_iter().filter(|name| names.contains(name)).collect(),
            });
        }
        if common.is_some_and(|common| common.is_empty()) {
            let at = place_of(checker, located.at, &[key, "rules"]);
            let problem = format!("no name is in every list of `{key}` that holds here, so every request is refused");
            let hint = "all rules of a route and of the defaults must hold; name in one list who may pass";
            checker.warn(at, "refuses-everybody", problem, hint);
        }
    }
}

fn clients(condition: &Condition) -> Option<&Vec<String>> {
    match condition {
        Condition::Clients(names) => Some(names),
        Condition::Subjects(_)
        | Condition::Organizations(_)
        | Condition::Claim(..)
        | Condition::ScopesAll(_)
        | Condition::ScopesAny(_) => None,
    }
}

fn subjects(condition: &Condition) -> Option<&Vec<String>> {
    match condition {
        Condition::Subjects(names) => Some(names),
        Condition::Clients(_)
        | Condition::Organizations(_)
        | Condition::Claim(..)
        | Condition::ScopesAll(_)
        | Condition::ScopesAny(_) => None,
    }
}

fn organizations(condition: &Condition) -> Option<&Vec<String>> {
    match condition {
        Condition::Organizations(names) => Some(names),
        Condition::Clients(_)
        | Condition::Subjects(_)
        | Condition::Claim(..)
        | Condition::ScopesAll(_)
        | Condition::ScopesAny(_) => None,
    }
}

/// Returns the conditions that every request to the route must meet.
fn enforced(located: &LocatedRoute) -> impl Iterator<Item = &Condition> {
    let rules = located.route.rules.iter();
    rules
        .filter(|rule| rule.mode == Mode::Enforce && rule.methods.is_empty())
        .flat_map(|rule| &rule.conditions)
}

/// Returns whether the only tokens that the route accepts are Keygate's own.
fn accepts_only_own_tokens(located: &LocatedRoute) -> bool {
    located.route.issuers == [TokenEndpoint::own_issuer()]
}

/// Warns of audiences that no token of the token endpoint can have, where no other issuer's tokens are accepted.
fn warn_of_audiences(located: &LocatedRoute, endpoint: Option<&TokenEndpoint>, checker: &mut Checker<'_>) {
    let (Some(endpoint), Some(audiences)) = (endpoint, &located.route.audiences) else {
        return;
    };
    if accepts_only_own_tokens(located) && !audiences.iter().any(|audience| endpoint.audiences.contains(audience)) {
        let at = place_of(checker, located.at, &["audiences"]);
        let problem = "no token of the token endpoint can be good for these";
        let hint = format!(
            "those of `token_endpoint.audiences` are: {}",
            endpoint.audiences.join(", ")
        );
        checker.warn(at, "refuses-everybody", problem, hint);
    }
}

/// Warns of plans whose credentials the route does not accept, or whose scopes do not have what it asks for.
fn warn_of_plans(located: &LocatedRoute, plans: &BTreeMap<Name, Plan>, checker: &mut Checker<'_>) {
    let route = &located.route;
    if route.plans.is_empty() {
        return;
    }
    let at = place_of(checker, located.at, &["plans"]);
    let accepts_keys = route.accept.contains(&AcceptedCredential::ApiKey);
    let accepts_own = route.issuers.contains(&TokenEndpoint::own_issuer());
    let named: Vec<&Plan> = route.plans.iter().filter_map(|name| plans.get(name)).collect();
    let is_accepted = |plan: &&Plan| {
        let kinds = plan.credentials;
        (accepts_keys && kinds.api_key) || (accepts_own && (kinds.client_secret || kinds.private_key_jwt))
    };
    if !named.iter().any(is_accepted) {
        let problem = "no credential of these plans is accepted here, so every request is refused";
        let hint = "API keys need `accept: [api_key]`, clients `accept: [jwt]` and the issuer `keygate`";
        checker.warn(at, "refuses-everybody", problem, hint);
        return;
    }
    let asked: Vec<&Scope> = enforced(located)
        .filter_map(|condition| match condition {
            Condition::ScopesAll(scopes) => Some(scopes),
            Condition::Clients(_)
            | Condition::Subjects(_)
            | Condition::Organizations(_)
            | Condition::Claim(..)
            | Condition::ScopesAny(_) => None,
        })
        .flatten()
        .collect();
    let may_have = |plan: &&Plan| {
        plan.scopes
            .as_ref()
            .is_none_or(|scopes| asked.iter().all(|scope| scopes.contains(scope)))
    };
    if !named.iter().any(may_have) {
        let problem = "no credential of these plans can have the scopes that are asked for here";
        checker.warn(at, "refuses-everybody", problem, "add them to `plans.<name>.scopes`");
    }
}

/// Returns the place of a limit on a route: its own list, or the route.
fn limit_place(located: &LocatedRoute, name: &Name) -> NodeId {
    let own = located.own_limits.iter().find(|(own, _)| own == name);
    own.map_or(located.at, |(_, at)| *at)
}

/// Warns of limits by subject where only API keys are accepted: none has one. With `keys_of_store_alone`, none has a client
/// either.
fn warn_of_limits(
    located: &LocatedRoute,
    limits: &BTreeMap<Name, Limit>,
    keys_of_store_alone: bool,
    checker: &mut Checker<'_>,
) {
    if located.route.accept != [AcceptedCredential::ApiKey] {
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
        checker.warn(limit_place(located, name), "limit-stand-in", problem, hint);
    }
}

/// Warns of names that each tenant of an issuer gives by itself, where no claim says which tenant is meant.
fn warn_of_tenants(located: &LocatedRoute, issuers: &BTreeMap<Name, Issuer>, checker: &mut Checker<'_>) {
    let has_tenants = |name: &&Name| {
        issuers
            .get(*name)
            .is_some_and(|issuer| issuer.issuer.has_several_tenants())
    };
    let Some(issuer) = located.route.issuers.iter().find(has_tenants) else {
        return;
    };
    let conditions = || located.route.rules.iter().flat_map(|rule| &rule.conditions);
    let names_tenant = |condition: &Condition| match condition {
        Condition::Claim(pointer, _) => TENANT_CLAIMS.contains(&pointer.as_str()),
        Condition::Clients(_)
        | Condition::Subjects(_)
        | Condition::Organizations(_)
        | Condition::ScopesAll(_)
        | Condition::ScopesAny(_) => false,
    };
    if conditions().any(names_tenant) {
        return;
    }
    let key = conditions().find_map(|condition| match condition {
        Condition::Clients(_) => Some("clients"),
        Condition::Subjects(_) => Some("subjects"),
        Condition::Organizations(_) => Some("organizations"),
        Condition::Claim(..) | Condition::ScopesAll(_) | Condition::ScopesAny(_) => None,
    });
    let Some(key) = key else {
        return;
    };
    let at = place_of(checker, located.at, &[key, "rules"]);
    let problem =
        format!("`{key}` counts for every tenant of `issuers.{issuer}`, and a tenant may choose these names by itself");
    let hint = "say which tenant is meant: `claims: { /iss: [\"https://…\"] }`";
    checker.warn(at, "name-of-any-tenant", problem, hint);
}

/// The claims that say which tenant a token is from: `iss`, and `tid` of Microsoft Entra.
const TENANT_CLAIMS: [&str; 2] = ["/iss", "/tid"];

/// Adds what the keys of the keys file need, so that limits count as they read and, where no token is accepted, so that
/// some key passes.
fn key_needs(located: &LocatedRoute, limits: &BTreeMap<Name, Limit>, checker: &Checker<'_>, needs: &mut Vec<FileNeed>) {
    for name in &located.route.limits {
        let by = limits.get(name).map(|limit| limit.by.as_slice()).unwrap_or_default();
        for (by, fact) in by.iter().filter_map(|by| match by {
            LimitBy::Client => Some((by, KeyFact::AnyClient)),
            LimitBy::Organization => Some((by, KeyFact::AnyOrganization)),
            LimitBy::Credential | LimitBy::Subject | LimitBy::Ip | LimitBy::Route => None,
        }) {
            let problem =
                format!("`limits.{name}` counts by `{by}`, and no key of the keys file has one: each counts by itself");
            let hint = format!("give the keys a `{by}` in the keys file, or count by `credential`");
            needs.push(FileNeed {
                need: Need::ApiKey(fact),
                warning: checker.warning(limit_place(located, name), "limit-stand-in", problem, hint),
            });
        }
    }
    if located.route.accept.contains(&AcceptedCredential::Jwt) {
        return;
    }
    for condition in enforced(located) {
        let (key, fact) = match condition {
            Condition::Clients(names) => ("clients", KeyFact::Client(names.clone())),
            Condition::Organizations(names) => ("organizations", KeyFact::Organization(names.clone())),
            Condition::ScopesAll(scopes) => ("scopes", KeyFact::Scopes(scopes.clone())),
            // No API key has a subject or claims; that is a mistake, reported elsewhere.
            Condition::Subjects(_) | Condition::Claim(..) | Condition::ScopesAny(_) => continue,
        };
        let at = place_of(checker, located.at, &[key, "rules"]);
        let problem = format!("no key of the keys file meets `{key}`, so every request is refused");
        needs.push(FileNeed {
            need: Need::ApiKey(fact),
            warning: checker.warning(at, "refuses-everybody", problem, "give it to a key in the keys file"),
        });
    }
}
