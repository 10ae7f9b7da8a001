//! Which identity does a bearer token get from the issuers of a route? With a signing issuer, an introspecting issuer
//! and Keygate's own token endpoint.

use super::*;
use crate::config;
use crate::gate::authenticate::CredentialType;
use crate::gate::authenticate::introspection::IntrospectionOutcome;
use crate::gate::authenticate::introspection::IntrospectionRefusal;
use crate::gate::authenticate::introspection::Unavailable;
use crate::gate::authenticate::introspection::read;
use crate::gate::live::LiveState;
use crate::gate::snapshot::Route;
use crate::gate::snapshot::Snapshot;
use crate::jose::jwks::Jwks;
use crate::jose::sign::SigningKey;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::ApiKeyText;
use crate::model::api_key::CredentialDigest;
use crate::model::api_key::KeyId;
use crate::model::api_key::system_random;
use crate::model::clock::Clock;
use crate::model::clock::ManualClock;
use crate::model::clock::Timestamp;
use crate::model::directory::ApiKeyOrigin;
use crate::model::directory::ClientEntry;
use crate::model::directory::KeyRecord;
use crate::model::directory::OpaqueToken;
use crate::model::plan::CredentialKind;
use crate::observe::metrics::Reasons;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const NOW: u64 = 1_800_000_000;
const OWN: &str = "https://auth.example.test";
const SIGNING: &str = "https://signing.example.test";
const BOTH: &str = "https://both.example.test";
/// The issuer of one tenant.
const TENANT: &str = "https://tenants.example.test/one";
/// The path of the configuration, for relative paths in it.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/keygate.yaml");

/// The issuers `signs` and `introspects`, `both-signs` and `both-introspects` of the same URL, and `tenants-sign` and
/// `tenant-introspects`, of which the second is a tenant of the first.
fn yaml() -> String {
    let introspection =
        |at: &str| format!("introspection: {{ url: \"{at}/introspect\", client_id: kg, client_secret: s }}");
    let introspects = introspection("https://introspects.example.test");
    let (both, tenant) = (introspection(BOTH), introspection(TENANT));
    let mut yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\n\
         admin: {{ address: 127.0.0.1:0 }}\n\
         store: {{ path: x.db }}\n\
         token_endpoint: {{ issuer: {OWN}, audiences: [api] }}\n\
         api_keys: {{ pepper: \"01234567890123456789012345678901\" }}\n\
         issuers:\n  \
           signs: {{ issuer: {SIGNING}, audiences: [api], jwks_url: {SIGNING}/jwks, claim_headers: {{ /sub: x-sub }} }}\n  \
           introspects: {{ issuer: https://introspects.example.test, audiences: [api], {introspects} }}\n  \
           both-signs: {{ issuer: {BOTH}, audiences: [api], jwks_url: {BOTH}/jwks }}\n  \
           both-introspects: {{ issuer: {BOTH}, audiences: [api], {both} }}\n  \
           tenants-sign: {{ issuer: \"https://tenants.example.test/{{tenant}}\", tenants: [one, two], audiences: [api], \
             jwks_url: https://tenants.example.test/jwks }}\n  \
           tenant-introspects: {{ issuer: {TENANT}, audiences: [api], {tenant} }}\n\
         upstreams: {{ e: {{ builtin: echo }} }}\n\
         routes:\n"
    );
    for (name, issuers) in [
        ("own", "keygate"),
        ("signs", "signs"),
        ("introspects", "introspects"),
        ("mixed", "keygate, signs, introspects"),
        ("both", "both-introspects, both-signs"),
        ("tenants", "tenant-introspects, tenants-sign"),
    ] {
        yaml.push_str(&format!(
            "  - {{ name: {name}, match: {{ path: /{name} }}, accept: [jwt], issuers: [{issuers}], upstream: e }}\n"
        ));
    }
    yaml
}

struct Fixture {
    snapshot: Snapshot,
    live: LiveState,
    clock: ManualClock,
    key: SigningKey,
}

fn fixture() -> Fixture {
    let config = config::parse(&yaml(), Path::new(FILE), &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let clock = ManualClock::at(Timestamp::from_unix_secs(NOW));
    let reasons = Reasons {
        denials: &[],
        heads: &[],
        connections: &[],
    };
    let metrics = Arc::new(Metrics::new(&reasons, clock.now().wall));
    let live = LiveState::new(metrics, "127.0.0.1:9".parse().unwrap());
    let fixture = Fixture {
        snapshot: Snapshot::compile(&config, &live).unwrap(),
        live,
        clock,
        key: SigningKey::generate_es256().unwrap(),
    };
    let set = json!({ "keys": [fixture.key.public_jwk()] }).to_string();
    for issuer in &fixture.snapshot.issuers {
        if let Some(keys) = issuer.keys() {
            let now = fixture.clock.now();
            let jwks = Jwks::parse(set.as_bytes()).unwrap();
            keys.start_attempt(now).succeed(set.as_bytes(), jwks, now);
        }
    }
    fixture
}

impl Fixture {
    fn route(&self, name: &str) -> &Route {
        let mut routes = self.snapshot.routes.iter();
        routes.find(|route| route.name.as_str() == name).unwrap()
    }

    fn issuer(&self, name: &str) -> &Arc<IssuerState> {
        let mut issuers = self.snapshot.issuers.iter();
        issuers.find(|issuer| issuer.name().as_str() == name).unwrap()
    }

    fn jwt(&self, issuer: &str, audience: &str) -> String {
        let claims = json!({
            "iss": issuer, "aud": audience, "sub": "alice", "client_id": "client_1", "jti": "jwt-1",
            "iat": NOW, "exp": NOW + 600,
        });
        self.key.sign("at+jwt", &claims).unwrap()
    }

    fn authenticate(&self, route: &str, token: &str, verdict: Option<&IssuerVerdict>) -> Result<Principal, Failure> {
        let (credential, trust) = (Credential::Bearer(token.into()), &self.route(route).trust);
        let authenticator = &self.snapshot.authenticator;
        authenticator.authenticate(&credential, trust, None, verdict, self.clock.now())
    }

    /// Checks the issuer of the principal, the reason of the refusal, `needs keys`, `needs NAME`, or `unverifiable`.
    #[track_caller]
    fn check(&self, route: &str, token: &str, expected: &str) {
        self.check_with(route, token, None, expected);
    }

    #[track_caller]
    fn check_with(&self, route: &str, token: &str, verdict: Option<&IssuerVerdict>, expected: &str) {
        let found = match self.authenticate(route, token, verdict) {
            Ok(principal) => principal.identity().issuer.as_ref().unwrap().to_string(),
            Err(Failure::Refused { refusal, .. }) => refusal.reason().to_owned(),
            Err(Failure::Needs(Need::Keys { .. })) => "needs keys".to_owned(),
            Err(Failure::Needs(Need::Introspection { issuer, .. })) => format!("needs {}", issuer.name()),
            Err(Failure::Unverifiable(_)) => "unverifiable".to_owned(),
        };
        assert_eq!(found, expected, "{route} {token}");
    }

    fn put_client(&self, tokens_not_before: Option<Timestamp>, revision: u64) {
        let client = ClientEntry {
            id: "client_1".parse().unwrap(),
            organization: "acme".parse().unwrap(),
            subscription: "sub_1".parse().unwrap(),
            environment: ApiKeyEnvironment::Live,
            kind: CredentialKind::ClientSecret,
            tokens_not_before,
            token_series: 0,
        };
        self.live.directory.put_client(client, revision);
    }

    fn put_opaque(&self, text: &str, scopes: &str) {
        self.live.directory.put_opaque(OpaqueToken {
            digest: CredentialDigest::sha256(text),
            id: "opaque-1".into(),
            client: "client_1".parse().unwrap(),
            scopes: Arc::new(crate::model::scope::ScopeSet::parse_list(scopes).unwrap()),
            audiences: ["api".to_owned()].into(),
            issued_at: Timestamp::from_unix_secs(NOW),
            expires_at: Timestamp::from_unix_secs(NOW + 60),
        });
    }

    /// Returns the outcome for an active token with `audience`.
    fn active(&self, audience: &str) -> IntrospectionOutcome {
        let body = json!({ "active": true, "sub": "alice", "aud": audience, "exp": NOW + 600 }).to_string();
        let issuer = self.issuer("introspects");
        let verdict = read(body.as_bytes(), issuer.name(), issuer.rules(), self.clock.now().wall);
        Ok(verdict.unwrap().into_identity())
    }

    fn verdict(&self, issuer: &str, outcome: IntrospectionOutcome) -> IssuerVerdict {
        let issuer = self.issuer(issuer).uid();
        IssuerVerdict { issuer, outcome }
    }
}

#[test]
fn an_issuer_has_keys_or_introspects_and_a_number_of_its_own() {
    let fixture = fixture();
    for (name, signs, is_own) in [
        ("keygate", true, true),
        ("signs", true, false),
        ("introspects", false, false),
    ] {
        let issuer = fixture.issuer(name);
        assert_eq!((issuer.keys().is_some(), issuer.is_own()), (signs, is_own), "{name}");
        assert_eq!(issuer.introspection().is_some(), !signs, "{name}");
    }
    let mut uids: Vec<u64> = fixture.snapshot.issuers.iter().map(|issuer| issuer.uid()).collect();
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), fixture.snapshot.issuers.len());
}

#[test]
fn an_opaque_token_of_keygate_is_valid_from_its_issue_to_its_expiry() {
    let fixture = fixture();
    fixture.check("own", "kgt_a", "token_unknown");
    fixture.put_opaque("kgt_a", "a");
    fixture.check("own", "kgt_a", "client_unknown");
    fixture.put_client(None, 1);
    fixture.check("own", "kgt_a", "keygate");
    fixture.check("own", "kgt_b", "token_unknown");
    // A route without Keygate's own issuer does not look the token up.
    fixture.check("signs", "kgt_a", "token_malformed");
    fixture.check("introspects", "kgt_a", "needs introspects");
    let principal = fixture.authenticate("own", "kgt_a", None).unwrap();
    let identity = principal.identity();
    assert_eq!(identity.credential_type, CredentialType::Opaque);
    assert_eq!(identity.subject.as_deref(), Some("client_1"));
    assert_eq!(identity.organization.as_deref(), Some("acme"));
    assert_eq!(identity.scopes.to_string(), "a");
    fixture.clock.advance(Duration::from_millis(59_999));
    fixture.check("own", "kgt_a", "keygate");
    fixture.clock.advance(Duration::from_millis(1));
    fixture.check("own", "kgt_a", "token_expired");
}

#[test]
fn a_cached_identity_of_an_opaque_token_is_that_of_the_token_in_the_directory() {
    let fixture = fixture();
    fixture.put_client(None, 1);
    fixture.put_opaque("kgt_a", "a");
    let identity = || {
        let principal = fixture.authenticate("own", "kgt_a", None).unwrap();
        Arc::clone(principal.shared_identity())
    };
    let first = identity();
    assert!(Arc::ptr_eq(&first, &identity()));
    fixture.put_opaque("kgt_a", "b");
    assert_eq!(identity().scopes.to_string(), "b");
}

#[test]
fn a_token_of_keygate_ends_with_a_revocation_of_it_or_of_its_client() {
    let fixture = fixture();
    let jwt = fixture.jwt(OWN, "api");
    fixture.check("own", &jwt, "client_unknown");
    fixture.put_client(None, 1);
    fixture.put_opaque("kgt_a", "a");
    for (token, id) in [("kgt_a", "opaque-1"), (jwt.as_str(), "jwt-1")] {
        fixture.check("own", token, "keygate");
        let principal = fixture.authenticate("own", token, None).unwrap();
        let binding = principal.binding().unwrap();
        assert_eq!(binding.subscription.as_str(), "sub_1");
        assert_eq!(binding.kind, CredentialKind::ClientSecret);
        fixture
            .live
            .directory
            .revoke_token(id, Timestamp::from_unix_secs(NOW + 600));
        fixture.check("own", token, "token_revoked");
    }
    fixture.put_client(Some(Timestamp::from_unix_secs(NOW + 1)), 2);
    fixture.check("own", &jwt, "client_tokens_revoked");
}

#[test]
fn a_token_of_another_issuer_is_not_looked_up_in_the_directory() {
    let fixture = fixture();
    let jwt = fixture.jwt(SIGNING, "api");
    for route in ["signs", "mixed"] {
        fixture.check(route, &jwt, "signs");
        assert!(fixture.authenticate(route, &jwt, None).unwrap().binding().is_none());
    }
}

#[test]
fn a_jwt_is_verified_by_the_issuer_that_it_names() {
    let fixture = fixture();
    fixture.check("mixed", &fixture.jwt(SIGNING, "api"), "signs");
    fixture.check(
        "mixed",
        &fixture.jwt("https://introspects.example.test", "api"),
        "needs introspects",
    );
    fixture.check("mixed", &fixture.jwt(BOTH, "api"), "unknown_issuer");
    fixture.check("signs", &fixture.jwt(OWN, "api"), "unknown_issuer");
    fixture.check("signs", &fixture.jwt(SIGNING, "other"), "wrong_audience");
    fixture.check("signs", "a.b.c", "token_malformed");
    fixture.check("mixed", "a.b.c", "needs introspects");
    // Of two issuers with the same URL, the one with keys is asked.
    fixture.check("both", &fixture.jwt(BOTH, "api"), "both-signs");
    fixture.check("both", "opaque", "needs both-introspects");
}

#[test]
fn an_identity_has_the_claims_that_the_configuration_keeps() {
    let fixture = fixture();
    let principal = fixture
        .authenticate("signs", &fixture.jwt(SIGNING, "api"), None)
        .unwrap();
    let headers: Vec<_> = principal.identity().claims.headers().collect();
    assert_eq!(headers.len(), 1);
    assert_eq!(
        (headers[0].0.as_str(), headers[0].1.as_bytes()),
        ("x-sub", &b"alice"[..])
    );
}

/// An issuer may put a new key in the place of one with the same name.
#[test]
fn a_signature_that_no_known_key_made_is_checked_with_newer_keys_once_a_cooldown() {
    let fixture = fixture();
    let jwt = fixture.jwt(SIGNING, "api");
    let (signed, _) = jwt.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(86));
    fixture.check("signs", &forged, "bad_signature");
    fixture.clock.advance(Duration::from_secs(31));
    fixture.check("signs", &forged, "needs keys");
    let keys = fixture.issuer("signs").keys().unwrap();
    let now = fixture.clock.now();
    let set = json!({ "keys": [fixture.key.public_jwk()] }).to_string();
    let jwks = Jwks::parse(set.as_bytes()).unwrap();
    keys.start_attempt(now).succeed(set.as_bytes(), jwks, now);
    fixture.check("signs", &forged, "bad_signature");
    fixture.check("signs", &jwt, "signs");
    fixture.clock.advance(Duration::from_secs(31));
    fixture.check("signs", &forged, "needs keys");
    // A fetch that failed proves nothing new, and the keys at hand did not make the signature.
    keys.start_attempt(fixture.clock.now()).fail("down");
    fixture.check("signs", &forged, "bad_signature");
}

#[test]
fn a_remembered_jwt_is_for_its_issuer_and_its_audience_alone() {
    let fixture = fixture();
    let jwt = fixture.jwt(SIGNING, "api");
    fixture.check("signs", &jwt, "signs");
    assert_eq!(fixture.live.metrics.token_cache.misses.get(), 1);
    fixture.check("signs", &jwt, "signs");
    assert_eq!(fixture.live.metrics.token_cache.hits.get(), 1);
    fixture.check("own", &jwt, "unknown_issuer");
    assert_eq!(fixture.live.metrics.token_cache.hits.get(), 1);
}

#[test]
fn the_verdict_of_the_issuer_decides_about_a_token_that_it_introspects() {
    let fixture = fixture();
    let of = |outcome| fixture.verdict("introspects", outcome);
    fixture.check("introspects", "opaque", "needs introspects");
    let active = of(fixture.active("api"));
    fixture.check_with("introspects", "opaque", Some(&active), "introspects");
    fixture.check_with("mixed", "a.b.c", Some(&active), "introspects");
    let other_audience = of(fixture.active("other"));
    fixture.check_with("introspects", "opaque", Some(&other_audience), "wrong_audience");
    fixture.check_with("mixed", "a.b.c", Some(&other_audience), "wrong_audience");
    let inactive = of(Ok(Err(RefusedToken {
        refusal: IntrospectionRefusal::Inactive,
        owner: None,
    })));
    fixture.check_with("introspects", "opaque", Some(&inactive), "token_inactive");
    let jwt = fixture.jwt("https://introspects.example.test", "api");
    for route in ["introspects", "mixed"] {
        fixture.check_with(route, &jwt, Some(&active), "introspects");
    }
    let unavailable = of(Err(Unavailable::Busy));
    fixture.check_with("introspects", "opaque", Some(&unavailable), "unverifiable");
    // The verdict of another issuer does not apply.
    let other = fixture.verdict("both-introspects", fixture.active("api"));
    fixture.check_with("introspects", "opaque", Some(&other), "needs introspects");
}

#[test]
fn a_cached_verdict_decides_like_a_new_one() {
    let fixture = fixture();
    let introspection = fixture.issuer("introspects").introspection().unwrap();
    let body = json!({ "active": true, "sub": "alice", "aud": "api", "exp": NOW + 600 }).to_string();
    let issuer = fixture.issuer("introspects");
    let now = fixture.clock.now();
    let verdict = read(body.as_bytes(), issuer.name(), issuer.rules(), now.wall).unwrap();
    introspection.verdicts().remember("opaque", &verdict, body.len(), now);
    fixture.check("introspects", "opaque", "introspects");
    fixture.check("mixed", "opaque", "introspects");
}

#[test]
fn s011_an_api_key_in_the_place_of_a_token_is_not_shown_to_an_issuer() {
    let fixture = fixture();
    let imported = "sk-imported";
    let digest = CredentialDigest::sha256(imported);
    fixture.live.directory.replace(vec![KeyRecord {
        origin: ApiKeyOrigin::Imported,
        ..KeyRecord::unrestricted(KeyId::of_imported(&digest), digest)
    }]);
    let own = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
    for route in ["introspects", "mixed"] {
        for key in [own.expose(), "kg_test_mistyped", imported] {
            fixture.check(route, key, "token_malformed");
        }
        for token in ["kg_prod_x", "sk-other"] {
            fixture.check(route, token, "needs introspects");
        }
    }
}

#[test]
fn a_verdict_about_a_jwt_is_not_used_where_another_issuer_of_the_same_url_signs() {
    let fixture = fixture();
    let verdict = fixture.verdict("both-introspects", fixture.active("api"));
    fixture.check_with("both", &fixture.jwt(BOTH, "other"), Some(&verdict), "wrong_audience");
    fixture.check_with("both", "opaque", Some(&verdict), "introspects");
    let verdict = fixture.verdict("tenant-introspects", fixture.active("api"));
    let jwt = fixture.jwt(TENANT, "other");
    fixture.check_with("tenants", &jwt, Some(&verdict), "wrong_audience");
    let (signed, _) = jwt.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(86));
    fixture.check_with("tenants", &forged, Some(&verdict), "bad_signature");
    fixture.check_with("tenants", "opaque", Some(&verdict), "introspects");
}

#[test]
fn the_type_and_the_issuer_of_a_credential_follow_from_its_form() {
    let fixture = fixture();
    let jwt = fixture.jwt(SIGNING, "api");
    let check = |route: &str, credential: Credential<'_>, kind: CredentialType, issuer: Option<&str>| {
        let trust = &fixture.route(route).trust;
        assert_eq!(trust.credential_type(&credential), kind, "{route}");
        assert_eq!(
            trust.issuer_named_by(&credential).map(|name| name.as_str()),
            issuer,
            "{route}"
        );
    };
    let bearer = |token: &'static str| Credential::Bearer(token.into());
    check("mixed", Credential::ApiKey("k"), CredentialType::ApiKey, None);
    check("mixed", bearer("kgt_a"), CredentialType::Opaque, Some("keygate"));
    check(
        "mixed",
        Credential::Bearer(jwt.as_str().into()),
        CredentialType::Jwt,
        Some("signs"),
    );
    check("mixed", bearer("opaque"), CredentialType::Opaque, Some("introspects"));
    check("mixed", bearer("a.b.c"), CredentialType::Jwt, Some("introspects"));
    check("mixed", bearer("a.b.c.d"), CredentialType::Opaque, Some("introspects"));
    check("signs", bearer("kgt_a"), CredentialType::Jwt, None);
    check("signs", bearer("opaque"), CredentialType::Jwt, None);
    check(
        "own",
        Credential::Bearer(jwt.as_str().into()),
        CredentialType::Jwt,
        None,
    );
}
