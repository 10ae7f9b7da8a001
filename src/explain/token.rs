//! Which claims does a token have, and which of the issuer's rules do the claims meet? The findings are for display
//! only; `decide` makes the decision. The token and its signature are never printed.

use crate::config::Issuer;
use crate::config::KeySource;
use crate::explain::report::Fact;
use crate::explain::report::display_text;
use crate::gate::authenticate::Trust;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::authenticate::token::ParsedToken;
use crate::gate::authenticate::token::TokenError;
use crate::jose::json;
use crate::jose::jwk::VerifyingKey;
use crate::jose::jwks::KeyLookupError;
use crate::jose::jws::Jws;
use crate::model::clock::Now;
use crate::model::clock::Timestamp;
use crate::observe::log::ErrorChain;
use serde_json::Map;
use serde_json::Value;
use std::time::Duration;

pub(in crate::explain) fn facts(token: &str, trust: &Trust, now: Now) -> Vec<Fact> {
    let mut facts = Vec::new();
    let jws = Jws::parse(token).map_err(TokenError::from);
    let parsed = jws.as_ref().map_err(TokenError::clone).and_then(ParsedToken::read);
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(_) if trust.own_opaque(token).is_some() => {
            return vec![Fact::note("an opaque token of this gate, which looks it up")];
        }
        Err(error) => return vec![unparsed(&error, trust)],
    };
    let typ = jws.as_ref().ok().and_then(|jws| jws.header().typ.clone());
    let trusted = trust
        .issuers
        .iter()
        .find(|issuer| issuer.settings().issuer.is_named_by(parsed.issuer()));
    let Some(issuer) = trusted else {
        let names: Vec<String> = trust
            .issuers
            .iter()
            .map(|issuer| format!("{} ({})", issuer.name(), issuer.settings().issuer.as_str()))
            .collect();
        let text = format!(
            "iss \"{}\"; this route trusts {}",
            display_text(parsed.issuer()),
            names.join(", ")
        );
        facts.push(Fact::check(false, text));
        return facts;
    };
    let settings = issuer.settings();
    facts.push(Fact::check(
        true,
        format!("iss \"{}\": issuer {}", display_text(parsed.issuer()), issuer.name()),
    ));
    let algorithms: Vec<&str> = settings.algorithms.iter().map(|algorithm| algorithm.as_str()).collect();
    facts.push(Fact::check(
        settings.algorithms.contains(&parsed.algorithm()),
        format!("alg {}; accepted: {}", parsed.algorithm(), algorithms.join(", ")),
    ));
    let typ_lower = typ.as_deref().unwrap_or_default().to_ascii_lowercase();
    let types: Vec<&str> = settings
        .types
        .iter()
        .map(|typ| if typ.is_empty() { "absent" } else { typ })
        .collect();
    facts.push(Fact::check(
        settings
            .types
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&typ_lower))
            && typ.as_deref() != Some(""),
        format!("typ {}; accepted: {}", quoted(typ.as_deref()), types.join(", ")),
    ));
    let proved = signature(&parsed, issuer, now, &mut facts);
    if let Ok(claims) = Jws::parse(token)
        .map_err(drop)
        .and_then(|jws| json::object(jws.payload()).map_err(drop))
    {
        if !proved {
            facts.push(Fact::note("the claims below are unproved"));
        }
        times(&claims, settings, now.wall, &mut facts);
        required(&claims, settings, &mut facts);
        audience(&claims, settings, trust, &mut facts);
        for name in settings
            .client_id_claims
            .iter()
            .chain(["sub".to_owned(), settings.organization_claim.clone()].iter())
        {
            if let Some(value) = claims.get(name) {
                facts.push(Fact::note(format!("{name} {}", json_text(value))));
            }
        }
        if let Some((name, value)) = settings
            .scope_claims
            .iter()
            .find_map(|name| Some((name, claims.get(name)?)))
        {
            facts.push(Fact::note(format!("scopes from `{name}`: {}", json_text(value))));
        }
    }
    facts
}

/// Returns the finding about a bearer token that is not a JWT. If an issuer
/// of the route is introspected, the gate introspects the token there.
fn unparsed(error: &TokenError, trust: &Trust) -> Fact {
    match trust.issuers.iter().find(|issuer| issuer.introspection().is_some()) {
        Some(issuer) => Fact::note(format!("no JWT, so issuer {} is asked what it is worth", issuer.name())),
        None => Fact::check(false, format!("the token: {}", ErrorChain(error))),
    }
}

fn quoted(text: Option<&str>) -> String {
    text.map_or_else(|| "absent".to_owned(), |text| format!("\"{}\"", display_text(text)))
}

fn json_text(value: &Value) -> String {
    display_text(&value.to_string())
}

/// Adds the findings about the key and the signature. Returns whether the signature is valid.
fn signature(parsed: &ParsedToken<'_>, issuer: &IssuerState, now: Now, facts: &mut Vec<Fact>) -> bool {
    let Some(keys) = issuer.keys() else {
        facts.push(Fact::note(format!(
            "{} says itself what its tokens are worth",
            issuer.name()
        )));
        return false;
    };
    let keys = match keys.current(now) {
        Ok(keys) => keys,
        Err(error) => {
            facts.push(Fact::check(
                false,
                format!("{error}; pass --jwks {}=FILE", issuer.name()),
            ));
            return false;
        }
    };
    let ids: Vec<String> = keys.jwks.key_ids().map(display_text).collect();
    let known = if ids.is_empty() {
        format!("{} without an id", keys.jwks.len())
    } else {
        ids.join(", ")
    };
    match keys.jwks.find(parsed.kid(), parsed.algorithm()) {
        Ok(candidates) => {
            let thumbprints: Vec<&str> = candidates.iter().map(VerifyingKey::thumbprint).collect();
            facts.push(Fact::check(
                true,
                format!("kid {}: key {}", quoted(parsed.kid()), thumbprints.join(" or ")),
            ));
        }
        Err(none) => {
            facts.push(Fact::check(
                false,
                format!("kid {}: {none}; keys: {known}", quoted(parsed.kid())),
            ));
            if none != KeyLookupError::Ambiguous && matches!(issuer.settings().keys, KeySource::Remote(_)) {
                facts.push(Fact::note("a gate that runs asks the issuer once more for a newer set"));
            }
            return false;
        }
    }
    for skipped in keys.jwks.skipped() {
        let kid = quoted(skipped.kid.as_deref());
        facts.push(Fact::note(format!(
            "a key of the set is not used, kid {kid}: {}",
            skipped.reason
        )));
    }
    match parsed.verify(issuer.rules(), &keys.jwks, now.wall) {
        Err(TokenError::BadSignature) => {
            facts.push(Fact::check(false, "the signature does not verify"));
            false
        }
        // `verify` found this error before it verified the signature.
        Err(
            TokenError::Jws(_)
            | TokenError::Payload(_)
            | TokenError::Issuer
            | TokenError::Algorithm(_)
            | TokenError::Type
            | TokenError::UnknownKey
            | TokenError::KeyMismatch
            | TokenError::AmbiguousKey,
        ) => false,
        Ok(_)
        | Err(
            TokenError::Expired { .. }
            | TokenError::NotYetValid
            | TokenError::IssuedInFuture
            | TokenError::Lifetime
            | TokenError::NotAccessToken(_)
            | TokenError::NotBearer(_)
            | TokenError::ClaimMissing(_)
            | TokenError::ClaimInvalid(_)
            | TokenError::RequiredClaim(_),
        ) => {
            facts.push(Fact::check(true, "the signature holds"));
            true
        }
    }
}

fn times(claims: &Map<String, Value>, settings: &Issuer, now: Timestamp, facts: &mut Vec<Fact>) {
    let skew = settings.clock_skew;
    let read = |name: &str| claims.get(name).and_then(Value::as_u64).map(Timestamp::from_unix_secs);
    let moment = |at: Timestamp| format!("{}, {}", date(at), relative(at, now));
    match (claims.get("exp"), read("exp")) {
        (_, Some(at)) => {
            let text = format!("exp {} (clock_skew {})", moment(at), span(skew));
            facts.push(Fact::check(now <= at.saturating_add(skew), text));
        }
        (Some(value), None) => facts.push(Fact::check(false, format!("exp {} is no time", json_text(value)))),
        (None, None) => facts.push(Fact::check(false, "exp is missing")),
    }
    for name in ["nbf", "iat"] {
        match (claims.get(name), read(name)) {
            (_, Some(at)) => {
                facts.push(Fact::check(
                    at <= now.saturating_add(skew),
                    format!("{name} {}", moment(at)),
                ));
            }
            (Some(value), None) => {
                facts.push(Fact::check(false, format!("{name} {} is no time", json_text(value))));
            }
            (None, None) => {}
        }
    }
    if let (Some(issued), Some(expires)) = (read("iat"), read("exp")) {
        let life = expires.saturating_since(issued);
        let text = format!("good for {} (max_lifetime {})", span(life), span(settings.max_lifetime));
        facts.push(Fact::check(life <= settings.max_lifetime, text));
    }
}

fn required(claims: &Map<String, Value>, settings: &Issuer, facts: &mut Vec<Fact>) {
    for (name, allowed) in &settings.required_claims {
        facts.push(one_of(claims, name, allowed));
    }
}

/// Returns the finding whether the claim is a text in `allowed`, or an array that contains such a text.
fn one_of(claims: &Map<String, Value>, name: &str, allowed: &[String]) -> Fact {
    let members = claims.get(name).map(texts).unwrap_or_default();
    let holds = members.iter().any(|member| allowed.iter().any(|one| one == member));
    let claim_text = claim_text(claims, name);
    Fact::check(holds, format!("{name} {claim_text}; needed: {}", allowed.join(" or ")))
}

fn claim_text(claims: &Map<String, Value>, name: &str) -> String {
    claims.get(name).map_or_else(|| "missing".to_owned(), json_text)
}

fn audience(claims: &Map<String, Value>, settings: &Issuer, trust: &Trust, facts: &mut Vec<Fact>) {
    let expected = trust.audiences.as_deref().or(settings.audiences.as_deref());
    facts.push(match expected {
        Some(expected) => one_of(claims, "aud", expected),
        None => Fact::note(format!("aud {}; any will do", claim_text(claims, "aud"))),
    });
}

/// Returns a string as one member, or the strings in an array; nothing for any other value.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(members) => members.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

pub fn date(at: Timestamp) -> String {
    let secs = i64::try_from(at.as_unix_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(secs).map_or_else(|_| format!("{secs} s after 1970"), |at| at.to_string())
}

/// Returns the distance of `at` from `now`: `3 h ago`, `in 5 min` or `now`.
pub(in crate::explain) fn relative(at: Timestamp, now: Timestamp) -> String {
    match (at.saturating_since(now).as_secs(), now.saturating_since(at).as_secs()) {
        (0, 0) => "now".to_owned(),
        (0, _) => format!("{} ago", span(now.saturating_since(at))),
        (_, _) => format!("in {}", span(at.saturating_since(now))),
    }
}

/// Returns a duration in whole units, rounded down. Uses the largest unit of which it has at least two.
fn span(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_to_now() {
        let now = Timestamp::from_unix_secs(1_000_000);
        for (secs, expected) in [
            (1_000_000, "now"),
            (999_999, "1 s ago"),
            (1_000_119, "in 119 s"),
            (1_000_120, "in 2 min"),
            (1_000_000 - 7_200, "2 h ago"),
            (1_000_000 - 172_799, "47 h ago"),
            (1_000_000 + 172_800, "in 2 d"),
        ] {
            assert_eq!(relative(Timestamp::from_unix_secs(secs), now), expected);
        }
    }
}
