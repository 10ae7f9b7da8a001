//! Which requirements of a route can no credential meet that the route accepts?

use crate::config::AcceptedCredential;
use crate::config::CertificateRequirement;
use crate::config::Condition;
use crate::config::Issuer;
use crate::config::Mode;
use crate::config::TokenEndpoint;
use crate::config::check::Checker;
use crate::config::claim_reach::is_own;
use crate::config::claim_reach::may_have;
use crate::config::claim_reach::text_of;
use crate::config::claim_reach::warn_of_claims;
use crate::config::parts::Parts;
use crate::config::pattern::DEFAULT_METHODS;
use crate::config::route::LocatedRoute;
use crate::config::tree::NodeId;
use crate::config::tree::printable;
use crate::model::certificate::Fingerprint;
use crate::model::names::Name;
use crate::model::plan::Plan;
use crate::model::scope::Scope;
use http::Method;
use std::collections::BTreeMap;

/// The code of warnings about a route that lets nobody through.
const REFUSES_EVERYBODY: &str = "refuses-everybody";

/// Warns of requirements of the route that no credential meets, and of credentials that never meet them.
pub(in crate::config) fn warn(located: &LocatedRoute, parts: &Parts<'_>, checker: &mut Checker<'_>) {
    let before = checker.warnings.len();
    warn_of_contradiction(located, checker);
    warn_of_fingerprints(located, checker);
    warn_of_audiences(located, parts.token_endpoint, checker);
    warn_of_plans(located, parts.plans, checker);
    let issuers: Vec<&Issuer> = parts.trusted(located).collect();
    if !issuers.is_empty() {
        warn_of_claims(located.at, &issuers, checker);
    }
    let is_said = |warning: &crate::config::ConfigWarning| warning.0.code == REFUSES_EVERYBODY;
    if !checker.warnings[before..].iter().any(is_said) {
        warn_of_sources(located, parts, checker);
    }
    warn_of_every_audience(located, parts.token_endpoint, checker);
    warn_of_tenants(located, parts.issuers, checker);
}

/// Warns of two lists of clients, subjects or organizations, both of which must have the principal's and which share none.
fn warn_of_contradiction(located: &LocatedRoute, checker: &mut Checker<'_>) {
    let methods = match &*located.route.methods {
        [] => &DEFAULT_METHODS,
        listed => listed,
    };
    for key in ["clients", "subjects", "organizations"] {
        let is_refused = |method: &&Method| {
            let mut common: Option<Vec<&str>> = None;
            let lists = enforced_for(located, method).filter_map(admitted);
            for (_, names) in lists.filter(|(of, _)| *of == key) {
                common = Some(match common {
                    None => names,
                    Some(known) => known.into_iter().filter(|name| names.contains(name)).collect(),
                });
            }
            common.is_some_and(|common| common.is_empty())
        };
        let refused: Vec<&str> = methods.iter().filter(is_refused).map(Method::as_str).collect();
        if refused.is_empty() {
            continue;
        }
        let at = checker.tree.first_of(located.at, &[key, "rules"]);
        let (holds, requests) = if refused.len() == methods.len() {
            ("here".to_owned(), "every request")
        } else {
            (format!("for {}", refused.join(", ")), "every such request")
        };
        let problem = format!("no name is in every list of `{key}` that holds {holds}, so {requests} is refused");
        let hint = "all rules of a route and of the defaults must hold; name in one list who may pass";
        checker.warn(at, REFUSES_EVERYBODY, problem, hint);
    }
}

/// Returns the names that a condition admits, with the key of the list that they stand in. Values of the claim `sub` count as
/// subjects.
fn admitted(condition: &Condition) -> Option<(&'static str, Vec<&str>)> {
    fn texts(names: &[String]) -> Vec<&str> {
        names.iter().map(String::as_str).collect()
    }
    match condition {
        Condition::Clients(names) => Some(("clients", texts(names))),
        Condition::Subjects(names) => Some(("subjects", texts(names))),
        Condition::Organizations(names) => Some(("organizations", texts(names))),
        Condition::Claim(pointer, values) if pointer.as_str() == "/sub" => {
            Some(("subjects", values.iter().filter_map(text_of).collect()))
        }
        Condition::Claim(..) | Condition::ScopesAll(_) | Condition::ScopesAny(_) => None,
    }
}

/// Returns the conditions that every request with `method` to the route must meet.
fn enforced_for<'l>(located: &'l LocatedRoute, method: &Method) -> impl Iterator<Item = &'l Condition> {
    let rules = located.route.rules.iter();
    rules
        .filter(|rule| rule.mode == Mode::Enforce && rule.is_for(method))
        .flat_map(|rule| &rule.conditions)
}

/// Warns of two lists of fingerprints that share none: a certificate has one.
fn warn_of_fingerprints(located: &LocatedRoute, checker: &mut Checker<'_>) {
    let mut common: Option<Vec<&Fingerprint>> = None;
    for requirement in &located.route.client_certificates {
        let CertificateRequirement::OneOf { names, fingerprints } = requirement else {
            continue;
        };
        if names.is_empty() {
            common = Some(match common {
                None => fingerprints.iter().collect(),
                Some(known) => known.into_iter().filter(|one| fingerprints.contains(one)).collect(),
            });
        }
    }
    if common.is_some_and(|common| common.is_empty()) {
        let at = checker.tree.first_of(located.at, &["client_certificates"]);
        let problem = "no fingerprint is in this list and in that of the defaults, so every request is refused";
        let hint = "both must hold; name in the defaults every certificate that may pass somewhere";
        checker.warn(at, REFUSES_EVERYBODY, problem, hint);
    }
}

/// Returns whether the only tokens that the route accepts are Keygate's own.
fn accepts_only_own_tokens(located: &LocatedRoute) -> bool {
    *located.route.issuers == [TokenEndpoint::own_issuer()]
}

/// Warns of audiences that no token of the token endpoint can have, where no other issuer's tokens are accepted.
fn warn_of_audiences(located: &LocatedRoute, endpoint: Option<&TokenEndpoint>, checker: &mut Checker<'_>) {
    let (Some(endpoint), Some(audiences)) = (endpoint, &located.route.audiences) else {
        return;
    };
    if !accepts_only_own_tokens(located) {
        return;
    }
    let hint = format!(
        "those of `token_endpoint.audiences` are: {}",
        endpoint.audiences.join(", ")
    );
    if !audiences.iter().any(|audience| endpoint.audiences.contains(audience)) {
        let at = checker.tree.first_of(located.at, &["audiences"]);
        let problem = "no token of the token endpoint can be good for these";
        checker.warn(at, REFUSES_EVERYBODY, problem, hint);
        return;
    }
    let written = checker.tree.entry(located.at, "audiences").into_iter();
    let written = written.flat_map(|at| checker.tree.texts(at));
    let never = written.filter(|(_, text)| !endpoint.audiences.iter().any(|audience| audience == text));
    for at in never.map(|(at, _)| at).collect::<Vec<_>>() {
        let problem = checker.with_value(at, "no token of the token endpoint can be good for this");
        checker.warn(at, "audience-out-of-reach", problem, hint.clone());
    }
}

/// Warns of a route that takes Keygate's own tokens for every audience, though tokens are for a part of these by default: a
/// client that narrows its token does not narrow it for this route.
fn warn_of_every_audience(located: &LocatedRoute, endpoint: Option<&TokenEndpoint>, checker: &mut Checker<'_>) {
    let route = &located.route;
    let Some(endpoint) = endpoint else {
        return;
    };
    let is_narrowed = endpoint.default_audiences.len() < endpoint.audiences.len();
    if is_narrowed && route.audiences.is_none() && route.issuers.contains(&TokenEndpoint::own_issuer()) {
        let at = checker.tree.first_of(located.at, &["issuers", "accept"]);
        let problem = format!(
            "route `{}` takes tokens of `keygate` for every audience, so a `resource` that a client chooses narrows nothing here",
            route.name
        );
        let hint = format!(
            "say which are meant in its `audiences`: {}",
            endpoint.audiences.join(", ")
        );
        checker.warn(at, "every-audience", problem, hint);
    }
}

/// Warns of plans whose credentials the route does not accept, or whose scopes do not have what it asks for.
fn warn_of_plans(located: &LocatedRoute, plans: &BTreeMap<Name, Plan>, checker: &mut Checker<'_>) {
    let route = &located.route;
    if route.plans.is_empty() {
        return;
    }
    let at = checker.tree.first_of(located.at, &["plans"]);
    let accepts_keys = route.accept.contains(&AcceptedCredential::ApiKey);
    let accepts_own = route.issuers.contains(&TokenEndpoint::own_issuer());
    let accepted: Vec<&Plan> = named_plans(located, plans)
        .filter(|plan| (accepts_keys && plan.credentials.api_key) || (accepts_own && has_clients(plan)))
        .collect();
    if accepted.is_empty() {
        let problem = "no credential of these plans is accepted here, so every request is refused";
        let hint = "API keys need `accept: [api_key]`, clients `accept: [jwt]` and the issuer `keygate`";
        checker.warn(at, REFUSES_EVERYBODY, problem, hint);
        return;
    }
    let may_have = |plan: &&Plan| {
        let has = |scope: &Scope| plan.scopes.as_ref().is_none_or(|scopes| scopes.contains(scope));
        located.enforced().all(|condition| match condition {
            Condition::ScopesAll(scopes) => scopes.iter().all(has),
            Condition::ScopesAny(scopes) => scopes.iter().any(has),
            Condition::Clients(_) | Condition::Subjects(_) | Condition::Organizations(_) | Condition::Claim(..) => true,
        })
    };
    if !accepted.iter().any(may_have) {
        let problem = "no credential of these plans can have the scopes that are asked for here";
        checker.warn(at, REFUSES_EVERYBODY, problem, "add them to `plans.<name>.scopes`");
    }
}

/// Returns the plans, one of which the route requires.
fn named_plans<'p>(located: &'p LocatedRoute, plans: &'p BTreeMap<Name, Plan>) -> impl Iterator<Item = &'p Plan> {
    located.route.plans.iter().filter_map(|name| plans.get(name))
}

fn has_clients(plan: &Plan) -> bool {
    plan.credentials.client_secret || plan.credentials.private_key_jwt
}

/// The credentials of one origin that a route accepts.
#[derive(Clone, Copy)]
enum CredentialSource<'p> {
    ApiKeys,
    Tokens(&'p Issuer),
}

/// A requirement that no credential of a source meets.
struct Obstacle {
    /// The key of the route that states the requirement.
    key: &'static str,
    /// The reason, as a sentence about one credential.
    because: String,
}

impl CredentialSource<'_> {
    /// Returns the first requirement that no credential of this source meets.
    fn obstacle(self, located: &LocatedRoute, parts: &Parts<'_>) -> Option<Obstacle> {
        let obstacle = |key, because: String| Some(Obstacle { key, because });
        let plans = || named_plans(located, parts.plans);
        let has_plans = !located.route.plans.is_empty();
        match self {
            Self::ApiKeys if has_plans && !plans().any(|plan| plan.credentials.api_key) => {
                obstacle("plans", "no plan of the route has API keys".to_owned())
            }
            Self::ApiKeys => located.enforced().find_map(|condition| match condition {
                Condition::Claim(..) => obstacle("claims", "an API key has no claims".to_owned()),
                Condition::Subjects(_) => obstacle("subjects", "an API key has no subject".to_owned()),
                // Only keys of the store belong to a plan.
                Condition::Clients(_) if has_plans || parts.keys_are_in_store_alone() => {
                    obstacle("clients", "an API key of the store has no client".to_owned())
                }
                Condition::Clients(_)
                | Condition::Organizations(_)
                | Condition::ScopesAll(_)
                | Condition::ScopesAny(_) => None,
            }),
            Self::Tokens(issuer) if has_plans && !is_own(issuer) => {
                obstacle("plans", format!("a token of `{}` belongs to no plan", issuer.name))
            }
            Self::Tokens(_) if has_plans && !plans().any(has_clients) => {
                obstacle("plans", "no plan of the route has clients".to_owned())
            }
            Self::Tokens(issuer) => {
                let is_reachable = |audience: &String| issuer.audiences.iter().flatten().any(|known| known == audience);
                let audiences = located.route.audiences.as_ref().filter(|_| is_own(issuer));
                if audiences.is_some_and(|audiences| !audiences.iter().any(is_reachable)) {
                    return obstacle(
                        "audiences",
                        "no token of `keygate` is for one of the `audiences`".to_owned(),
                    );
                }
                located.enforced().find_map(|condition| match condition {
                    Condition::Claim(pointer, values)
                        if !values.iter().any(|value| may_have(issuer, pointer, value)) =>
                    {
                        let pointer = printable(pointer.as_str());
                        obstacle(
                            "claims",
                            format!("no token of `{}` has such a `{pointer}`", issuer.name),
                        )
                    }
                    Condition::Claim(..)
                    | Condition::Clients(_)
                    | Condition::Subjects(_)
                    | Condition::Organizations(_)
                    | Condition::ScopesAll(_)
                    | Condition::ScopesAny(_) => None,
                })
            }
        }
    }
}

/// Warns of a route that accepts no credential that can meet what it asks for, and of credentials that the route itself
/// names and that never can.
fn warn_of_sources(located: &LocatedRoute, parts: &Parts<'_>, checker: &mut Checker<'_>) {
    let route = &located.route;
    let keys = route.accept.contains(&AcceptedCredential::ApiKey);
    let keys = keys.then_some(CredentialSource::ApiKeys);
    let sources = keys
        .into_iter()
        .chain(parts.trusted(located).map(CredentialSource::Tokens));
    let sources: Vec<(CredentialSource<'_>, Option<Obstacle>)> = sources
        .map(|source| (source, source.obstacle(located, parts)))
        .collect();
    let (of_keys, of_tokens): (Vec<_>, Vec<_>) = sources
        .iter()
        .partition(|(source, _)| matches!(source, CredentialSource::ApiKeys));
    let blocked = |sources: &[&(CredentialSource<'_>, Option<Obstacle>)]| -> Option<String> {
        let all: Option<Vec<&str>> = sources
            .iter()
            .map(|(_, obstacle)| obstacle.as_ref().map(|obstacle| obstacle.because.as_str()))
            .collect();
        let mut all = all.filter(|all| !all.is_empty())?;
        all.dedup();
        Some(all.join("; "))
    };
    let (no_key, no_token) = (blocked(&of_keys), blocked(&of_tokens));
    let everything: Vec<_> = sources.iter().collect();
    if let Some(because) = blocked(&everything) {
        let key = sources.iter().find_map(|(_, obstacle)| Some(obstacle.as_ref()?.key));
        let at = checker.tree.first_of(located.at, &[key.unwrap_or("accept"), "rules"]);
        let problem = format!("no credential can pass here: {because}");
        let hint = "give each kind of credential a route of its own, with what it can meet";
        checker.warn(at, REFUSES_EVERYBODY, problem, hint);
        return;
    }
    for (word, noun, because) in [("api_key", "API key", &no_key), ("jwt", "token", &no_token)] {
        let accept = checker.tree.entry(located.at, "accept").into_iter();
        let entry = accept
            .flat_map(|at| checker.tree.texts(at))
            .find(|(_, text)| *text == word);
        if let (Some(because), Some((at, _))) = (because, entry) {
            let problem = format!("no {noun} can pass here: {because}");
            let hint = format!("remove `{word}` from `accept`, or use a route of its own for it");
            checker.warn(at, "no-effect", problem, hint);
        }
    }
    if no_token.is_some() {
        return;
    }
    let written = checker.tree.entry(located.at, "issuers").into_iter();
    let written: Vec<(NodeId, String)> = written
        .flat_map(|at| checker.tree.texts(at))
        .map(|(at, text)| (at, text.to_owned()))
        .collect();
    for (source, obstacle) in of_tokens {
        let CredentialSource::Tokens(issuer) = source else {
            continue;
        };
        let entry = written.iter().find(|(_, text)| text == issuer.name.as_str());
        if let (Some(obstacle), Some((at, _))) = (obstacle, entry) {
            let problem = format!("no token of this issuer can pass here: {}", obstacle.because);
            checker.warn(*at, "no-effect", problem, "remove it, or use a route of its own for it");
        }
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
    let at = checker.tree.first_of(located.at, &[key, "rules"]);
    let problem =
        format!("`{key}` counts for every tenant of `issuers.{issuer}`, and a tenant may choose these names by itself");
    let hint = "say which tenant is meant: `claims: { /iss: [\"https://…\"] }`";
    checker.warn(at, "name-of-any-tenant", problem, hint);
}

/// The claims that say which tenant a token is from: `iss`, and `tid` of Microsoft Entra.
const TENANT_CLAIMS: [&str; 2] = ["/iss", "/tid"];
