//! Which values of claims can no token have that is accepted? Some values follow from the configuration, such as `iss`.

use crate::config::Issuer;
use crate::config::KeySource;
use crate::config::check::Checker;
use crate::config::parts::Parts;
use crate::config::tree::NodeId;
use crate::config::tree::ROOT;
use crate::config::tree::Value;
use crate::config::tree::printable;
use crate::model::claim::ClaimPointer;
use crate::model::claim::ClaimValue;

/// Warns of claims in the defaults and of required claims of issuers that no token has: several routes share these.
pub(in crate::config) fn warn_of_shared(parts: &Parts<'_>, checker: &mut Checker<'_>) {
    let sections: Vec<NodeId> = checker.tree.sections("issuers").collect();
    for issuer in parts.issuers.values() {
        let required = sections
            .iter()
            .find_map(|all| checker.tree.descend(*all, &[issuer.name.as_str(), "required_claims"]));
        let names = required.into_iter().flat_map(|at| checker.tree.entries(at));
        let claims = names.filter_map(|(name, at)| {
            let pointer = ClaimPointer::of_claim(name).ok()?;
            Some(claim_at(pointer, at, checker))
        });
        for claim in claims.collect::<Vec<_>>() {
            warn_of_claim(&claim, &[issuer], checker);
        }
    }
    if let Some(defaults) = checker.tree.entry(ROOT, "defaults") {
        let issuers: Vec<&Issuer> = parts.protected().flat_map(|located| parts.trusted(located)).collect();
        if !issuers.is_empty() {
            warn_of_claims(defaults, &issuers, checker);
        }
    }
}

/// The accepted values of a claim, each with its place.
struct LocatedClaim {
    pointer: ClaimPointer,
    at: NodeId,
    values: Vec<(NodeId, ClaimValue)>,
}

fn claim_at(pointer: ClaimPointer, at: NodeId, checker: &Checker<'_>) -> LocatedClaim {
    let value = |at: NodeId| match checker.tree.value(at) {
        Value::Text(text) => Some((at, ClaimValue::Text(text.as_str().into()))),
        Value::Integer(number) => Some((at, ClaimValue::Integer(*number))),
        Value::Bool(yes) => Some((at, ClaimValue::Bool(*yes))),
        Value::Null | Value::Float(_) | Value::List(_) | Value::Map(_) => None,
    };
    LocatedClaim {
        pointer,
        at,
        values: checker.tree.items(at).into_iter().filter_map(value).collect(),
    }
}

/// Warns of `claims` in the map at `map` and in its `rules` that no token of `issuers` has.
pub(in crate::config) fn warn_of_claims(map: NodeId, issuers: &[&Issuer], checker: &mut Checker<'_>) {
    let rules = checker.tree.entry(map, "rules");
    let rules = rules.into_iter().flat_map(|rules| checker.tree.items(rules));
    let maps = std::iter::once(map).chain(rules);
    let written = maps.filter_map(|map| checker.tree.entry(map, "claims"));
    let entries = written.flat_map(|claims| checker.tree.entries(claims));
    let claims: Vec<LocatedClaim> = entries
        .filter_map(|(pointer, at)| Some(claim_at(pointer.parse().ok()?, at, checker)))
        .collect();
    for claim in &claims {
        warn_of_claim(claim, issuers, checker);
    }
}

/// Warns of the values that no token of `issuers` can have in the claim.
fn warn_of_claim(claim: &LocatedClaim, issuers: &[&Issuer], checker: &mut Checker<'_>) {
    let may_be = |value: &ClaimValue| issuers.iter().any(|issuer| may_have(issuer, &claim.pointer, value));
    let never: Vec<NodeId> = claim
        .values
        .iter()
        .filter(|(_, value)| !may_be(value))
        .map(|(at, _)| *at)
        .collect();
    let pointer = printable(claim.pointer.as_str());
    let hint = claim_hint(&claim.pointer, issuers);
    if never.is_empty() {
        return;
    }
    if never.len() == claim.values.len() {
        let problem = format!("no token that is accepted here has such a value in `{pointer}`");
        checker.warn(claim.at, "claim-out-of-reach", problem, hint);
        return;
    }
    for at in never {
        let problem = format!("no token that is accepted here has this in `{pointer}`");
        let problem = checker.with_value(at, &problem);
        checker.warn(at, "claim-out-of-reach", problem, hint.clone());
    }
}

/// Returns the hint for a claim that no token of `issuers` has.
fn claim_hint(pointer: &ClaimPointer, issuers: &[&Issuer]) -> String {
    const NAMES_MAX: usize = 4;
    let (name, _) = pointer.split();
    match &*name {
        "iss" => {
            let mut names: Vec<&str> = issuers.iter().map(|issuer| issuer.issuer.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            let more = if names.len() > NAMES_MAX { " …" } else { "" };
            names.truncate(NAMES_MAX);
            format!("compared byte by byte; `iss` is one of: {}{more}", names.join(", "))
        }
        "exp" | "nbf" | "iat" => "a time is a number (RFC 7519 section 2); see `max_lifetime` of the issuer".to_owned(),
        "aud" => "see `token_endpoint.audiences`".to_owned(),
        _ if issuers.iter().all(|issuer| is_own(issuer)) => {
            "tokens of `keygate` have `iss`, `sub`, `client_id`, `org`, `scope`, `aud`, `jti`, `iat` and `exp`"
                .to_owned()
        }
        _ => "this claim is a text".to_owned(),
    }
}

/// Returns whether the issuer is Keygate's own token endpoint.
pub(in crate::config) fn is_own(issuer: &Issuer) -> bool {
    issuer.keys == KeySource::Own
}

/// Returns whether a valid token of `issuer` may have `value` at `pointer`, as far as the configuration says.
pub(in crate::config) fn may_have(issuer: &Issuer, pointer: &ClaimPointer, value: &ClaimValue) -> bool {
    let (name, deeper) = pointer.split();
    let text = text_of(value);
    let is_whole_text = deeper.is_empty() && text.is_some();
    match &*name {
        "iss" => deeper.is_empty() && text.is_some_and(|iss| issuer.issuer.is_named_by(iss)),
        "exp" | "nbf" | "iat" => deeper.is_empty() && matches!(value, ClaimValue::Integer(0..)),
        "sub" => is_whole_text,
        "aud" if is_own(issuer) => {
            let audiences = issuer.audiences.iter().flatten();
            text.is_some_and(|text| audiences.into_iter().any(|audience| audience == text))
        }
        "client_id" | "org" | "scope" | "jti" if is_own(issuer) => is_whole_text,
        _ if is_own(issuer) => false,
        name if name == issuer.organization_claim => is_whole_text,
        // Required claims are texts, or arrays of texts.
        name if issuer.required_claims.iter().any(|(required, _)| required == name) => text.is_some(),
        _ => true,
    }
}

/// Returns the text that a claim must be, if it must be one.
pub(in crate::config) fn text_of(value: &ClaimValue) -> Option<&str> {
    match value {
        ClaimValue::Text(text) => Some(text),
        ClaimValue::Integer(_) | ClaimValue::Bool(_) => None,
    }
}
