//! Does an accepted key set hold usable public keys and nothing else?

use keygate::jose::jwk::VerifyingKey;
use keygate::jose::jwks::Jwks;
use keygate::jose::jwks::KeyLookupError;
use keygate::model::algorithm::Algorithm;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// Checks the body of an issuer's response.
pub fn check(body: &[u8]) {
    let Ok(set) = Jwks::parse(body) else {
        return;
    };
    assert!(body.len() <= Jwks::BYTES_MAX);
    let document: Value = serde_json::from_slice(body).expect("JSON");
    let entries = document["keys"].as_array().expect("an array");
    assert!((1..=Jwks::KEYS_MAX).contains(&set.len()));
    assert!(set.len() + set.skipped().len() <= entries.len());
    // Neither a key with private parts is in it, nor the public half of one.
    let is_private = |entry: &&Map<String, Value>| {
        let is_said = |member: &str| entry.get(member).is_some_and(|value| !value.is_null() && *value != "");
        PRIVATE.iter().any(|member| is_said(member))
    };
    for leaked in entries.iter().filter_map(Value::as_object).filter(is_private) {
        let members = ["kty", "crv", "x", "y", "n", "e"];
        let public: Map<String, Value> = members
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), leaked.get(*name)?.clone())))
            .collect();
        if let Ok(half) = Jwks::parse(json!({ "keys": [public] }).to_string().as_bytes()) {
            let halves: Vec<&str> = half.keys().map(VerifyingKey::thumbprint).collect();
            assert!(!set.keys().any(|key| halves.contains(&key.thumbprint())), "{leaked:?}");
        }
        assert!(set.publishes_private_keys());
    }
    for kid in set.key_ids() {
        let may_be = |entry: &&Value| entry["kid"].as_str() == Some(kid) && may_verify(entry);
        assert!(
            entries.iter().any(|entry| may_be(&entry)),
            "{kid:?} is no key that may verify"
        );
    }
    // A lookup, with or without `kid`, finds only keys that may verify according to their own members.
    let mut found = 0;
    for algorithm in Algorithm::ALL {
        let names = set.key_ids().map(Some).chain([None]);
        for kid in names {
            match set.find(kid, algorithm) {
                Ok(candidates) => {
                    found += 1;
                    assert!(kid.is_some() || candidates.iter().count() == 1);
                    for key in candidates.iter() {
                        assert!(key.fits(algorithm));
                        assert!(kid.is_none() || key.kid().unwrap_or_else(|| key.thumbprint()) == kid.unwrap());
                        assert_eq!(key.thumbprint().len(), 43);
                    }
                    let fits = |entry: &&Value| may_verify(entry) && is_for(entry, algorithm);
                    assert!(entries.iter().any(|entry| fits(&entry)), "{algorithm:?} of nothing");
                }
                Err(KeyLookupError::Ambiguous) => {
                    found += 1;
                    assert!(set.len() > 1);
                }
                Err(KeyLookupError::NoneFits) => {}
                Err(KeyLookupError::UnknownKid) => panic!("{kid:?} is one of its names"),
            }
        }
        if set.key_ids().next().is_some() {
            assert_eq!(
                set.find(Some("\u{0}no such name"), algorithm).err(),
                Some(KeyLookupError::UnknownKid)
            );
        }
    }
    assert!(found > 0, "a set without a use");
}

/// Returns whether RFC 7517 sections 4.2 and 4.3 allow the key to verify, and an RSA
/// key is as long as RFC 7518 section 3.3 requires.
fn may_verify(entry: &Value) -> bool {
    let operations = stated(entry, "key_ops").map(|operations| operations.as_array().cloned().unwrap_or_default());
    let modulus = entry["n"].as_str().unwrap_or_default().trim_start_matches('A');
    let for_signatures = stated(entry, "use").is_none_or(|purpose| purpose == "sig" || purpose == "jwt-svid");
    for_signatures
        && operations.is_none_or(|operations| operations.iter().any(|operation| operation == "verify"))
        // 2048 bits are 342 characters; four leading zero bits save one.
        && (entry["kty"] != "RSA" || modulus.len() >= 341)
}

/// Returns a member that is neither `null` nor an empty text.
fn stated<'v>(entry: &'v Value, name: &str) -> Option<&'v Value> {
    entry.get(name).filter(|value| !value.is_null() && *value != "")
}

fn is_for(entry: &Value, algorithm: Algorithm) -> bool {
    let declared = stated(entry, "alg").is_none_or(|name| name.as_str().map(str::parse) == Some(Ok(algorithm)));
    let fits = match algorithm.as_str() {
        "ES256" => entry["crv"] == "P-256" && entry["kty"] == "EC",
        "ES384" => entry["crv"] == "P-384" && entry["kty"] == "EC",
        "EdDSA" => entry["crv"] == "Ed25519" && entry["kty"] == "OKP",
        _ => entry["kty"] == "RSA",
    };
    declared && fits
}
