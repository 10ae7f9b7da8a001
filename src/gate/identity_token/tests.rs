//! Does an identity token describe the principal, and is its lifetime right?

use super::*;
use crate::config;
use crate::gate::authenticate::ApiKeyIdentity;
use crate::gate::authenticate::TokenIdentity;
use crate::gate::identity_token::published::SigningKeyOrigin;
use crate::jose::jwks::Jwks;
use crate::jose::jws::Jws;
use crate::jose::sign::SigningKey;
use crate::model::algorithm::Algorithm;
use crate::observe::metrics::Reasons;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn metrics() -> Arc<Metrics> {
    let reasons = Reasons {
        denials: &[],
        heads: &[],
        connections: &[],
    };
    Arc::new(Metrics::new(&reasons, NOW))
}

fn tokens() -> IdentityTokens {
    IdentityTokens::new(metrics(), IdentityTokens::DEFAULT_BYTES_MAX)
}

fn settings(ttl: Duration) -> config::IdentityToken {
    config::IdentityToken {
        issuer: "https://gate.test".parse().unwrap(),
        algorithm: Algorithm::Es256,
        signing_key_file: None,
        ttl,
    }
}

fn signer(ttl: Duration) -> Signer {
    Signer::new(&settings(ttl), Arc::new(SigningKey::generate_es256().unwrap()))
}

/// Returns the identity of a token that expires at `expires_at` and is valid for `skew` longer.
fn identity(expires_at: Timestamp, skew: Duration) -> Arc<Identity> {
    let token = TokenIdentity {
        tenant_issuer: None,
        issued_at: None,
        credential_type: Default::default(),
        subject: Some("alice".to_owned()),
        client_id: Some("app-1".to_owned()),
        organization: Some("acme".to_owned()),
        token_id: Some("token-1".to_owned()),
        scopes: crate::model::scope::ScopeSet::parse_list("orders:read orders:write").unwrap(),
        audiences: vec!["api".to_owned()],
        expires_at,
        claims: Default::default(),
        usable_until: expires_at.saturating_add(skew),
    };
    Arc::new(Identity::of_token("main".parse().unwrap(), token))
}

fn everlasting() -> Arc<Identity> {
    Arc::new(Identity::of_api_key(ApiKeyIdentity {
        key_id: "0123456789abcdef".to_owned(),
        ..ApiKeyIdentity::default()
    }))
}

fn audience(text: &str) -> Arc<str> {
    text.into()
}

/// Returns the claims of a token that `key` signed.
#[track_caller]
fn claims(key: &SigningKey, token: &HeaderValue) -> Value {
    let set = json!({ "keys": [key.public_jwk()] }).to_string();
    let jwks = Jwks::parse(set.as_bytes()).unwrap();
    let jws = Jws::parse(token.to_str().unwrap()).unwrap();
    assert_eq!(jws.header().typ.as_deref(), Some(signer::TYP));
    jws.verify(jwks.find(jws.header().kid.as_deref(), key.algorithm()).unwrap().first())
        .unwrap();
    serde_json::from_slice(jws.payload()).unwrap()
}

#[test]
fn a_token_has_the_principal_and_the_credential() {
    let (tokens, signer) = (tokens(), signer(secs(60)));
    let identity = identity(NOW.saturating_add(secs(600)), secs(30));
    let token = tokens
        .token(&signer, &identity, &audience("https://orders"), NOW)
        .unwrap();
    let mut claims = claims(signer.key(), &token);
    let id = claims.as_object_mut().unwrap().remove("jti").unwrap();
    assert_eq!(id.as_str().unwrap().len(), 22);
    assert_eq!(
        claims,
        json!({
            "iss": "https://gate.test", "aud": "https://orders", "sub": "alice", "client_id": "app-1", "org": "acme",
            "scope": "orders:read orders:write", "iat": 1_700_000_000, "exp": 1_700_000_060,
            "credential_type": "jwt", "credential_id": "token-1", "credential_issuer": "main",
        })
    );
    assert!(token.is_sensitive());
    assert!(!format!("{token:?} {tokens:?} {signer:?}").contains("eyJ"));
    assert_eq!(format!("{tokens:?}"), "IdentityTokens { len: 1, .. }");
    assert!(format!("{signer:?}").contains(r#"issuer: "https://gate.test""#));
}

#[test]
fn unknown_attributes_have_no_claim() {
    let (tokens, signer) = (tokens(), signer(secs(60)));
    let token = tokens.token(&signer, &everlasting(), &audience("a"), NOW).unwrap();
    let claims = claims(signer.key(), &token);
    let names: Vec<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names.len(), 8, "{names:?}");
    assert_eq!(claims["sub"], "0123456789abcdef");
    assert_eq!(claims["credential_type"], "api_key");
}

#[test]
fn a_token_is_remembered_for_its_principal_audience_and_signer() {
    let metrics = metrics();
    let tokens = IdentityTokens::new(Arc::clone(&metrics), IdentityTokens::DEFAULT_BYTES_MAX);
    let (one, two) = (signer(secs(60)), signer(secs(60)));
    let (alice, same_name) = (everlasting(), everlasting());
    let (orders, billing) = (audience("orders"), audience("billing"));
    let again = audience("orders");
    let token = |signer, identity, audience, now| tokens.token(signer, identity, audience, now).unwrap();
    let first = token(&one, &alice, &orders, NOW);
    assert_eq!(token(&one, &alice, &again, NOW), first, "the audience is a text");
    assert_eq!(metrics.identity_tokens.signed.get(), 1);
    let others = [
        token(&one, &alice, &billing, NOW),
        // The same attributes, but from another credential, which may expire or be revoked at another time.
        token(&one, &same_name, &orders, NOW),
        token(&two, &alice, &orders, NOW),
    ];
    assert!(!others.contains(&first));
    assert_eq!(metrics.identity_tokens.signed.get(), 4);
    assert_eq!(tokens.len(), 3);
    // The token of the other signer has replaced the first token in the cache.
    assert_ne!(token(&one, &alice, &orders, NOW), first);
}

#[test]
fn a_token_is_sent_until_half_its_time_is_left() {
    let (tokens, signer, alice, orders) = (tokens(), signer(secs(60)), everlasting(), audience("orders"));
    let at = |millis: u64| {
        let now = NOW.saturating_add(Duration::from_millis(millis));
        tokens.token(&signer, &alice, &orders, now).unwrap()
    };
    let first = at(0);
    assert_eq!(at(29_999), first);
    assert_eq!(at(30_000), first);
    assert_ne!(at(30_001), first);
    // After the clock was set back, the cached token would be valid for too long.
    let now = tokens
        .token(&signer, &alice, &orders, NOW.saturating_sub(secs(3600)))
        .unwrap();
    assert_eq!(claims(signer.key(), &now)["exp"], 1_700_000_000 - 3600 + 60);
}

#[test]
fn a_token_ends_with_its_credential() {
    let signer = signer(secs(60));
    let lifetime = |left: u64, skew: u64, now: Timestamp| {
        signer.lifetime(&identity(NOW.saturating_add(secs(left)), secs(skew)), now)
    };
    assert_eq!(lifetime(600, 30, NOW).expires_at, NOW.saturating_add(secs(60)));
    assert_eq!(lifetime(60, 30, NOW).expires_at, NOW.saturating_add(secs(60)));
    assert_eq!(lifetime(59, 30, NOW).expires_at, NOW.saturating_add(secs(59)));
    assert_eq!(lifetime(1, 30, NOW).expires_at, NOW.saturating_add(secs(1)));
    // The credential has expired, but is accepted within the clock skew.
    let late = NOW.saturating_add(secs(10));
    assert_eq!(lifetime(5, 30, late).expires_at, NOW.saturating_add(secs(35)));
    let at_its_end = NOW.saturating_add(secs(5));
    assert_eq!(lifetime(5, 30, at_its_end).expires_at, NOW.saturating_add(secs(35)));
    // Sent until its end only where a new token would end at the same time.
    let half = NOW.saturating_add(secs(31));
    assert!(lifetime(59, 30, NOW).may_be_sent_at(half) && !lifetime(60, 30, NOW).may_be_sent_at(half));
    assert_eq!(
        signer.lifetime(&everlasting(), NOW).expires_at,
        NOW.saturating_add(secs(60))
    );
}

#[test]
fn a_lifetime_is_over_after_its_end_and_before_its_start() {
    let lifetime = signer(secs(60)).lifetime(&everlasting(), NOW);
    let (tick, end) = (Duration::from_millis(1), NOW.saturating_add(secs(60)));
    assert!(!lifetime.is_over_at(NOW) && !lifetime.is_over_at(end));
    assert!(lifetime.is_over_at(NOW.saturating_sub(tick)) && lifetime.is_over_at(end.saturating_add(tick)));
}

#[test]
fn memory_is_bounded_however_many_principals_come() {
    let bytes_max = 256 * 1024;
    let (tokens, signer) = (IdentityTokens::new(metrics(), bytes_max), signer(secs(60)));
    for _ in 0..300 {
        tokens.token(&signer, &everlasting(), &audience("a"), NOW).unwrap();
    }
    assert!(tokens.bytes() <= bytes_max, "{}", tokens.bytes());
    assert!(!tokens.is_empty() && tokens.len() < 100, "{}", tokens.len());
}

#[test]
fn the_default_is_room_for_about_8_000_tokens_of_usual_length() {
    let (tokens, signer) = (tokens(), signer(secs(60)));
    let alice = identity(NOW.saturating_add(secs(600)), secs(30));
    let token = tokens.token(&signer, &alice, &audience("orders"), NOW).unwrap();
    let weight = FIXED_WEIGHT + 6 + 2 * token.len() as u64;
    assert_eq!(tokens.bytes(), weight);
    let room = IdentityTokens::DEFAULT_BYTES_MAX / weight;
    assert!((7_000..9_000).contains(&room), "{room}");
}

#[test]
fn sweep_drops_expired_tokens_and_their_identities() {
    let (tokens, signer, alice) = (tokens(), signer(secs(60)), everlasting());
    tokens.token(&signer, &alice, &audience("a"), NOW).unwrap();
    assert_eq!(Arc::strong_count(&alice), 2);
    tokens.sweep(NOW.saturating_add(secs(60)));
    assert_eq!(tokens.len(), 1);
    tokens.sweep(NOW.saturating_add(secs(61)));
    assert!(tokens.is_empty());
    assert_eq!(Arc::strong_count(&alice), 1);
}

/// Returns the key ids in the published set.
fn kids(published: &PublishedKeys) -> Vec<String> {
    let set: Value = serde_json::from_slice(&published.document().load()).unwrap();
    let keys = set["keys"].as_array().unwrap();
    assert!(keys.iter().all(|key| key.get("d").is_none() && key["use"] == "sig"));
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn s135_a_key_stays_published_until_its_last_token_is_over() {
    let published = PublishedKeys::default();
    assert!(kids(&published).is_empty());
    let new = || SigningKey::generate_es256().unwrap();
    let (first, second) = (new(), new());
    let (one, two) = (first.kid().to_owned(), second.kid().to_owned());
    let first = published.signer(&settings(secs(60)), first, SigningKeyOrigin::File);
    published.replace(Some((first, SigningKeyOrigin::File)), NOW);
    assert_eq!(kids(&published), [&*one]);
    let second = published.signer(&settings(secs(60)), second, SigningKeyOrigin::File);
    published.replace(Some((second, SigningKeyOrigin::File)), NOW);
    assert_eq!(kids(&published), [&*two, &*one]);
    published.sweep(NOW.saturating_add(secs(120)));
    assert_eq!(kids(&published), [&*two, &*one]);
    published.sweep(NOW.saturating_add(secs(121)));
    assert_eq!(kids(&published), [&*two]);
    published.replace(None, NOW);
    assert_eq!(kids(&published), [&*two]);
}

#[test]
fn a_key_whose_lifetime_was_shortened_stays_published_for_the_tokens_of_the_longer_one() {
    let published = PublishedKeys::default();
    let key = || {
        SigningKey::from_pkcs8_pem(
            Algorithm::Es256,
            include_str!("../../../tests/data/jose/p256.private.pem"),
        )
    };
    for ttl in [600, 60] {
        let signer = published.signer(&settings(secs(ttl)), key().unwrap(), SigningKeyOrigin::File);
        published.replace(Some((signer, SigningKeyOrigin::File)), NOW);
    }
    let kid = key().unwrap().kid().to_owned();
    published.replace(None, NOW);
    published.sweep(NOW.saturating_add(secs(660)));
    assert_eq!(kids(&published), [kid]);
    published.sweep(NOW.saturating_add(secs(661)));
    assert!(kids(&published).is_empty());
}

#[test]
fn keys_of_access_tokens_are_published_after_those_of_identity_tokens() {
    let published = PublishedKeys::default();
    let new = || SigningKey::generate_es256().unwrap();
    let (signing, access, next) = (new(), new(), new());
    let names = [&signing, &access, &next].map(|key| key.kid().to_owned());
    published.replace_access_keys(vec![access.public_jwk()], NOW);
    assert_eq!(kids(&published), [&*names[1]]);
    let signer = published.signer(&settings(secs(60)), signing, SigningKeyOrigin::File);
    published.replace(Some((signer, SigningKeyOrigin::File)), NOW);
    assert_eq!(kids(&published), names[..2]);
    published.replace_access_keys(vec![next.public_jwk()], NOW);
    assert_eq!(kids(&published), [&*names[0], &*names[2]]);
}

#[test]
fn a_reload_that_changes_nothing_changes_no_signer() {
    let published = PublishedKeys::default();
    let key = || {
        SigningKey::from_pkcs8_pem(
            Algorithm::Es256,
            include_str!("../../../tests/data/jose/p256.private.pem"),
        )
    };
    let first = published.signer(&settings(secs(60)), key().unwrap(), SigningKeyOrigin::File);
    published.replace(Some((Arc::clone(&first), SigningKeyOrigin::File)), NOW);
    let again = published.signer(&settings(secs(60)), key().unwrap(), SigningKeyOrigin::File);
    assert!(Arc::ptr_eq(&first, &again));
    published.replace(Some((again, SigningKeyOrigin::File)), NOW);
    assert_eq!(kids(&published).len(), 1);
    let longer = published.signer(&settings(secs(61)), key().unwrap(), SigningKeyOrigin::File);
    assert_ne!(longer.uid(), first.uid());
    published.replace(Some((longer, SigningKeyOrigin::File)), NOW);
    assert_eq!(kids(&published).len(), 1, "the same key twice is one");
}

#[test]
fn a_key_that_was_made_is_kept_and_one_of_a_file_replaces_it() {
    let published = PublishedKeys::default();
    let new = || SigningKey::generate_es256().unwrap();
    let first = published.signer(&settings(secs(60)), new(), SigningKeyOrigin::Generated);
    published.replace(Some((Arc::clone(&first), SigningKeyOrigin::Generated)), NOW);
    let again = published.signer(&settings(secs(60)), new(), SigningKeyOrigin::Generated);
    assert_eq!(again.key().kid(), first.key().kid());
    let file = published.signer(&settings(secs(60)), new(), SigningKeyOrigin::File);
    assert_ne!(file.key().kid(), first.key().kid());
}

proptest! {
    /// A token sent to the upstream has half its lifetime left or ends with its credential, never ends later than its
    /// credential, and was not made in the future.
    #[test]
    fn an_upstream_never_gets_a_token_with_less_than_half_its_time_left(
        ttl in 10_u64..=600,
        expires in prop::option::of(0_u64..2_000),
        skew in 0_u64..=120,
        steps in prop::collection::vec(1_u64..200_000, 1..20),
    ) {
        let signer = signer(secs(ttl));
        let identity = match expires {
            Some(left) => identity(NOW.saturating_add(secs(left)), secs(skew)),
            None => everlasting(),
        };
        let mut now = NOW;
        let mut last: Option<TokenLifetime> = None;
        for step in steps {
            now = now.saturating_add(Duration::from_millis(step));
            if identity.usable_until.is_some_and(|end| now > end) {
                break;
            }
            let signed = match last {
                Some(signed) if signed.may_be_sent_at(now) => signed,
                Some(_) | None => signer.lifetime(&identity, now),
            };
            last = Some(signed);
            let left = signed.expires_at.saturating_since(now);
            let end = identity.usable_until.unwrap_or(Timestamp::MAX);
            prop_assert!(signed.expires_at <= end && signed.issued_at <= now);
            prop_assert!(signed.expires_at <= signed.issued_at.saturating_add(secs(ttl)));
            if identity.expires_at.is_some_and(|own| own > signed.issued_at.saturating_add(secs(1))) {
                prop_assert!(identity.expires_at.is_none_or(|own| signed.expires_at <= own));
            }
            let ends_with_credential = identity
                .expires_at
                .into_iter()
                .chain(identity.usable_until)
                .any(|end| end.as_unix_secs() == signed.expires_at.as_unix_secs());
            // Whole seconds: `iat` may be up to one second before the signature.
            prop_assert!(ends_with_credential || left + secs(1) > secs(ttl) / 2, "{left:?} of {ttl}");
        }
    }
}
