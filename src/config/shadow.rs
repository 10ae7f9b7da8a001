//! Which parts may a route not have under an issuer in shadow mode? Those that seem to protect it: the route is open.

use crate::config::Issuer;
use crate::config::check::Checker;
use crate::config::limit::Limit;
use crate::config::route::AcceptedCredential;
use crate::config::route::LocatedRoute;
use crate::config::rule::CONDITION_KEYS;
use crate::config::rule::Mode;
use crate::config::tree::NodeId;
use crate::model::names::Name;
use std::collections::BTreeMap;

/// Reports every part of a route that needs a principal, if the route takes tokens of an issuer in shadow mode: a
/// request that merely names that issuer passes without a principal. Also warns that the route is open.
pub(in crate::config) fn check(
    located: &LocatedRoute,
    issuers: &BTreeMap<Name, Issuer>,
    limits: &BTreeMap<Name, Limit>,
    checker: &mut Checker<'_>,
) {
    let route = &located.route;
    let is_in_shadow = |name: &&Name| issuers.get(*name).is_some_and(|issuer| issuer.mode == Mode::Shadow);
    let Some(issuer) = route.issuers.iter().find(is_in_shadow) else {
        return;
    };
    let because = format!("`issuers.{issuer}` is only tried out (`mode: shadow`), so this route is open");
    let tree = &checker.tree;
    let place = |keys: &[&str]| -> NodeId {
        let mut written = keys.iter().filter_map(|key| tree.entry(located.at, key));
        written.next().unwrap_or(located.at)
    };
    let mut refused: Vec<(NodeId, String, &str)> = Vec::new();
    if route.accept.contains(&AcceptedCredential::ApiKey) {
        let problem = format!("{because}, and an API key would prove nothing on it");
        refused.push((place(&["accept"]), problem, "give the API keys a route of their own"));
    }
    if let Some(enforcing) = route.issuers.iter().find(|name| !is_in_shadow(name)) {
        let problem = format!("{because}, and `{enforcing}` would refuse nobody on it");
        refused.push((
            place(&["issuers", "accept"]),
            problem,
            "give each of the issuers a route of its own",
        ));
    }
    if route.rules.iter().any(|rule| rule.mode == Mode::Enforce) {
        let keys: Vec<&str> = CONDITION_KEYS.into_iter().chain(["rules"]).collect();
        let problem = format!("{because}, and a rule would refuse nobody but who shows a good token");
        let hint = "write it under `rules`, with `mode: shadow`, until the issuer's mode is `enforce`";
        refused.push((place(&keys), problem, hint));
    }
    for name in &route.limits {
        if limits.get(name).is_some_and(Limit::needs_principal) {
            let own = located.own_limits.iter().find(|(own, _)| own == name);
            let problem = format!("{because}, and `limits.{name}` counts by who was proved");
            refused.push((
                own.map_or(located.at, |(_, at)| *at),
                problem,
                "count by `ip` or `route` here",
            ));
        }
    }
    let at = place(&["issuers", "accept"]);
    for (at, problem, hint) in refused {
        checker.error_with(at, "shadow-issuer-opens-route", problem, hint);
    }
    let hint = format!(
        "watch keygate_decisions_total{{outcome=\"would_deny\"}}; `mode: enforce` in `issuers.{issuer}` closes it"
    );
    checker.warn(at, "open-route", because, hint);
}
