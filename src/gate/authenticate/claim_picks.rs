//! Which configured claims of a token are kept? The facts that rules check, and the claims that upstreams receive in
//! headers; all other claims are dropped.

use crate::config;
use crate::gate::authenticate::header_value::header_value;
use crate::jose::json::Json;
use crate::jose::json::Members;
use crate::model::claim::ClaimFact;
use crate::model::claim::ClaimPointer;
use http::HeaderName;
use http::HeaderValue;
use serde_json::Value;
use std::sync::Arc;

/// The claims to keep of an issuer's tokens, compiled from its configuration.
#[derive(Clone, Debug)]
pub struct ClaimPicks {
    facts: Box<[Arc<ClaimFact>]>,
    headers: Box<[(ClaimPointer, HeaderName)]>,
}

/// The claims kept of one token. Their size is bounded by the configuration and by
/// `HEADER_BYTES_MAX`, not by the token.
#[derive(Clone, Debug, Default)]
pub struct PickedClaims {
    facts: Box<[Arc<ClaimFact>]>,
    headers: Box<[(HeaderName, HeaderValue)]>,
}

/// The claim that is too long for a header to the upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("claim `{0}` is too long for a header")]
pub struct ClaimTooLong(pub ClaimPointer);

/// The longest header value of a claim in bytes; most servers accept 8 KiB for all fields together.
const HEADER_BYTES_MAX: usize = 4096;

impl ClaimPicks {
    pub fn compile(issuer: &config::Issuer) -> Self {
        Self {
            facts: issuer.claim_facts.iter().cloned().map(Arc::new).collect(),
            headers: issuer.claim_headers.clone().into(),
        }
    }

    /// Returns the claims to keep from `claims`, the claims of a token or the members of an introspection response.
    ///
    /// # Errors
    /// A header value is longer than [`HEADER_BYTES_MAX`]. The header is not left out, because without it an upstream
    /// could attribute the request to another user.
    pub fn pick(&self, claims: &Members<'_>) -> Result<PickedClaims, ClaimTooLong> {
        let find = |pointer: &ClaimPointer| pointer.find(|name| claims.get(name).map(Json::to_value));
        let holds = |fact: &&Arc<ClaimFact>| find(&fact.pointer).is_some_and(|claim| fact.value.is_in(&claim));
        let mut headers = Vec::with_capacity(self.headers.len());
        for (pointer, name) in &self.headers {
            if let Some(value) = find(pointer).as_ref().and_then(claim_value) {
                if value.len() > HEADER_BYTES_MAX {
                    return Err(ClaimTooLong(pointer.clone()));
                }
                headers.push((name.clone(), value));
            }
        }
        Ok(PickedClaims {
            facts: self.facts.iter().filter(holds).cloned().collect(),
            headers: headers.into(),
        })
    }
}

impl PickedClaims {
    /// Returns the facts that rules check and that are true of the token.
    pub fn facts(&self) -> impl Iterator<Item = &ClaimFact> {
        self.facts.iter().map(|fact| &**fact)
    }

    /// Returns the claims of a token of which `facts` are true.
    #[cfg(test)]
    pub fn of_facts(facts: impl IntoIterator<Item = ClaimFact>) -> Self {
        Self {
            facts: facts.into_iter().map(Arc::new).collect(),
            headers: Box::default(),
        }
    }

    /// Returns the headers for the upstream; each name is in the issuer's `claim_headers`.
    pub fn headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.headers.iter().map(|(name, value)| (name, value))
    }

    /// Returns the approximate number of bytes on the heap.
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(_, value)| 96 + value.len()).sum();
        self.facts.len() * size_of::<Arc<ClaimFact>>() + headers
    }
}

/// Returns a claim as one header value: a string, a number, `true` or `false`, or an array of these joined by commas,
/// which no encoded value contains (S083). Returns `None` for an object or `null`, for an array that contains an
/// object, `null` or an array, and for an empty string or array.
fn claim_value(claim: &Value) -> Option<HeaderValue> {
    let values: Vec<HeaderValue> = match claim {
        Value::Array(members) => members.iter().map(scalar_value).collect::<Option<_>>()?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            vec![scalar_value(claim)?]
        }
    };
    let joined = values
        .iter()
        .map(HeaderValue::as_bytes)
        .collect::<Vec<_>>()
        .join(&b","[..]);
    let value = HeaderValue::from_bytes(&joined).expect("header values and commas are a header value");
    (!value.is_empty()).then_some(value)
}

fn scalar_value(value: &Value) -> Option<HeaderValue> {
    match value {
        Value::String(text) => Some(header_value(text)),
        Value::Number(number) => Some(header_value(&number.to_string())),
        Value::Bool(yes) => Some(HeaderValue::from_static(if *yes { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::claim::ClaimValue;
    use proptest::prelude::*;
    use serde_json::json;

    fn picks(facts: &[(&str, ClaimValue)], headers: &[(&str, &'static str)]) -> ClaimPicks {
        let fact = |(pointer, value): &(&str, ClaimValue)| {
            Arc::new(ClaimFact {
                pointer: pointer.parse().unwrap(),
                value: value.clone(),
            })
        };
        let header = |(pointer, name): &(&str, &'static str)| (pointer.parse().unwrap(), HeaderName::from_static(name));
        ClaimPicks {
            facts: facts.iter().map(fact).collect(),
            headers: headers.iter().map(header).collect(),
        }
    }

    fn pick(picks: &ClaimPicks, claims: &Value) -> Result<PickedClaims, ClaimTooLong> {
        let text = claims.to_string();
        picks.pick(&Members::parse(text.as_bytes()).unwrap())
    }

    #[track_caller]
    fn check_header(claim: Value, expected: Option<&str>) {
        let picked = pick(&picks(&[], &[("/c", "x-user-c")]), &json!({ "c": claim })).unwrap();
        let found: Vec<_> = picked.headers().map(|(_, value)| value.to_str().unwrap()).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{claim}");
    }

    #[test]
    fn s083_a_mapped_claim_is_one_header_value_or_none() {
        check_header(json!("alice@example.com"), Some("alice@example.com"));
        check_header(json!("a\r\nx-admin: 1"), Some("a%0D%0Ax-admin: 1"));
        check_header(json!("a\0b"), Some("a%00b"));
        check_header(json!("a,b"), Some("a%2Cb"));
        check_header(json!("🦀"), Some("%F0%9F%A6%80"));
        check_header(json!(["a", "b,c", 7, true]), Some("a,b%2Cc,7,true"));
        check_header(json!([" a ", "b"]), Some("%20a%20,b"));
        check_header(json!(1.5), Some("1.5"));
        check_header(json!(false), Some("false"));
        for nothing in [
            json!(null),
            json!({}),
            json!([]),
            json!(""),
            json!(["a", null]),
            json!([["a"]]),
            json!([{}]),
        ] {
            check_header(nothing, None);
        }
        let picks = picks(&[], &[("/c", "x-user-c")]);
        assert_eq!(pick(&picks, &json!({})).unwrap().headers().count(), 0, "absent");
    }

    #[test]
    fn a_claim_too_long_for_a_header_refuses_the_token() {
        let picks = picks(&[], &[("/c", "x-user-c")]);
        let pick_of = |length: usize| pick(&picks, &json!({ "c": "x".repeat(length) })).map(drop);
        assert_eq!(pick_of(HEADER_BYTES_MAX), Ok(()));
        assert_eq!(pick_of(HEADER_BYTES_MAX + 1), Err(ClaimTooLong("/c".parse().unwrap())));
    }

    #[test]
    fn s152_only_configured_facts_that_hold_are_kept() {
        let admin = ClaimValue::Text("admin".into());
        let picks = picks(
            &[
                ("/roles", admin.clone()),
                ("/level", ClaimValue::Integer(3)),
                ("/deep/x", admin),
            ],
            &[],
        );
        let held = |claims: Value| {
            let picked = pick(&picks, &claims).unwrap();
            picked.facts().map(|fact| fact.pointer.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(held(json!({})), [""; 0]);
        assert_eq!(held(json!({ "roles": null, "level": "3", "deep": "admin" })), [""; 0]);
        assert_eq!(
            held(json!({ "roles": ["user", "admin"], "other": "admin" })),
            ["/roles"]
        );
        assert_eq!(
            held(json!({ "level": 3, "deep": { "x": "admin" } })),
            ["/level", "/deep/x"]
        );
    }

    #[test]
    fn kept_claims_take_a_pointer_for_a_fact_and_the_bytes_of_a_header() {
        let facts = [("/a", ClaimValue::Integer(1)), ("/b", ClaimValue::Integer(2))];
        let picks = picks(&facts, &[("/c", "x-user-c"), ("/d", "x-user-d")]);
        let bytes = |claims: Value| pick(&picks, &claims).unwrap().bytes();
        assert_eq!(bytes(json!({})), 0);
        assert_eq!(bytes(json!({ "a": 1, "b": 2 })), 16);
        assert_eq!(bytes(json!({ "c": "1234", "d": "12" })), 96 + 4 + 96 + 2);
        assert_eq!(bytes(json!({ "a": 1, "c": "1234" })), 8 + 96 + 4);
    }

    proptest! {
        #[test]
        fn s083_no_claim_splits_its_header(members in prop::collection::vec(".{0,20}", 1..5)) {
            let picks = picks(&[], &[("/c", "x-user-c")]);
            let picked = pick(&picks, &json!({ "c": members.clone() })).unwrap();
            for (_, value) in picked.headers() {
                let text = value.to_str().unwrap();
                prop_assert!(text.bytes().all(|byte| (0x20..0x7F).contains(&byte)));
                prop_assert_eq!(text.split(',').count(), members.len());
            }
        }

        #[test]
        fn kept_claims_are_bounded_by_the_configuration(members in prop::collection::vec("[ab]", 0..200)) {
            let picks = picks(&[("/c", ClaimValue::Text("a".into()))], &[]);
            let picked = pick(&picks, &json!({ "c": members })).unwrap();
            prop_assert!(picked.facts().count() <= 1 && picked.bytes() <= 8);
        }
    }
}
