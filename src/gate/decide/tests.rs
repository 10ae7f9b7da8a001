//! Which outcome does [`decide`] give a request? In memory: requests and a manual clock in, outcomes out.

use super::Permit;
use super::decide;
use super::is_still_valid;
use crate::config;
use crate::gate::accept::Inbound;
use crate::gate::answer::refusal::row;
use crate::gate::authenticate::token::TokenError;
use crate::gate::decision_trace::DecisionTrace;
use crate::gate::denial::Denial;
use crate::gate::intake::IntakeError;
use crate::gate::live::LiveState;
use crate::gate::snapshot::Snapshot;
use crate::gate::stage::Stage;
use crate::gate::stop::Stop;
use crate::jose::jwks::Jwks;
use crate::jose::sign::SigningKey;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::ApiKeyText;
use crate::model::api_key::Digester;
use crate::model::api_key::system_random;
use crate::model::certificate::CertificateName;
use crate::model::certificate::ClientCertificate;
use crate::model::certificate::Fingerprint;
use crate::model::clock::Clock;
use crate::model::clock::ManualClock;
use crate::model::clock::Timestamp;
use crate::model::directory::KeyRecord;
use crate::model::directory::KeyState;
use crate::model::names::Name;
use crate::model::plan::CredentialKinds;
use crate::model::plan::Plan;
use crate::model::subscription::Subscription;
use crate::model::subscription::SubscriptionState;
use crate::runtime::assemble;
use http::request::Parts;
use serde_json::Value;
use serde_json::json;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

/// Seconds since 1970 at which the manual clock starts.
const START: u64 = 1_700_000_000;
const ISSUER: &str = "https://issuer.example.test";
const AUDIENCE: &str = "https://api.example.test";
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// A gate without sockets.
struct Gate {
    live: LiveState,
    snapshot: Snapshot,
    clock: ManualClock,
    key: SigningKey,
}

impl Gate {
    /// Returns a gate with `top` at the top level of the configuration and `more` on its only route.
    fn new(top: &str, more: &str) -> Self {
        let route = format!("match: {{ path: \"/{{*rest}}\" }}\naccept: [jwt, api_key]\n{more}\nupstream: api");
        Self::with_routes(top, &[("api", &route)])
    }

    /// Returns a gate with one protected route and `more` in the section of its issuer.
    fn with_issuer(more: &str) -> Self {
        let route = "match: { path: \"/{*rest}\" }\naccept: [jwt]\nupstream: api";
        Self::of(&yaml("failed_authentication: off", more, &[("api", route)]))
    }

    /// Returns a gate with these routes, each of a name and the YAML of its section.
    fn with_routes(top: &str, routes: &[(&str, &str)]) -> Self {
        Self::of(&yaml(top, "", routes))
    }

    fn of(yaml: &str) -> Self {
        let clock = ManualClock::at(Timestamp::from_unix_secs(START));
        let live = LiveState::new(assemble::metrics(clock.now().wall), "127.0.0.1:9".parse().unwrap());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/keygate.yaml");
        let config = config::parse(yaml, &file, &|_| None).unwrap_or_else(|errors| panic!("{errors}\n{yaml}"));
        let gate = Self {
            snapshot: Snapshot::compile(&config, &live).unwrap(),
            live,
            clock,
            key: SigningKey::generate_es256().unwrap(),
        };
        gate.publish(&[&gate.key]);
        gate
    }

    /// Replaces the issuer's key set, as a successful fetch would.
    fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public_jwk()).collect();
        let set = json!({ "keys": keys }).to_string();
        let jwks = Jwks::parse(set.as_bytes()).unwrap();
        let now = self.clock.now();
        let keys = self.snapshot.issuers[0].keys().unwrap();
        keys.start_attempt(now).succeed(set.as_bytes(), jwks, now);
    }

    fn token(&self, change: Value) -> String {
        token(&self.key, &change)
    }

    fn ask(&self, headers: &[(&str, &str)]) -> String {
        self.ask_from(PEER, "GET", "/orders", headers)
    }

    /// Returns what [`Self::ask`] does, for a request over a connection on which the client showed a certificate with `name`.
    fn ask_with_certificate(&self, name: &str, headers: &[(&str, &str)]) -> String {
        let certificate = ClientCertificate {
            names: vec![CertificateName::of_host(name).unwrap()],
            fingerprint: Fingerprint::of(name.as_bytes()),
        };
        let parts = request("GET", "/orders", headers);
        let inbound = Inbound::new(&parts, PEER, &self.snapshot.trusted_proxies, &self.snapshot.accept)
            .unwrap()
            .with_client_certificate(Some(&certificate));
        let decided = decide(
            &self.snapshot,
            &self.live,
            &inbound,
            self.clock.now(),
            &mut DecisionTrace::default(),
        );
        match decided {
            Ok(_) => "allowed".to_owned(),
            Err(Stop::Denied(denial)) => denial.reason().to_owned(),
            Err(_) => panic!("not decided"),
        }
    }

    fn bearer(&self, token: &str) -> String {
        self.ask(&[("authorization", &format!("Bearer {token}"))])
    }

    /// Returns `allowed`, `needs`, `control`, the reason of the denial, or the label of the gate's own answer.
    fn ask_from(&self, peer: IpAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> String {
        let parts = request(method, target, headers);
        match self.decide(peer, &parts, &mut DecisionTrace::default()) {
            Ok(_) => "allowed".to_owned(),
            Err(Stop::Denied(denial)) => denial.reason().to_owned(),
            Err(Stop::Needs(_)) => "needs".to_owned(),
            Err(Stop::Answered(label, _)) => label.as_str().to_owned(),
            Err(Stop::Control(_)) => "control".to_owned(),
        }
    }

    fn decide(&self, peer: IpAddr, parts: &Parts, trace: &mut DecisionTrace) -> Result<Permit, Stop> {
        let inbound = Inbound::new(parts, peer, &self.snapshot.trusted_proxies, &self.snapshot.accept)?;
        decide(&self.snapshot, &self.live, &inbound, self.clock.now(), trace)
    }

    /// Returns the permit and the trace of a request to `target` that passes.
    #[track_caller]
    fn permit(&self, target: &str, headers: &[(&str, &str)]) -> (Permit, DecisionTrace) {
        let mut trace = DecisionTrace::default();
        match self.decide(PEER, &request("GET", target, headers), &mut trace) {
            Ok(permit) => (permit, trace),
            Err(Stop::Denied(denial)) => panic!("denied: {}", denial.reason()),
            Err(Stop::Needs(_) | Stop::Answered(..) | Stop::Control(_)) => panic!("not decided"),
        }
    }

    /// Puts an active API key into the directory, in place of all others, and returns its text.
    fn put_key(&self, change: impl FnOnce(&mut KeyRecord)) -> ApiKeyText {
        let key = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
        let mut record = KeyRecord::unrestricted(key.id(), Digester::new(None).digest(key.expose()));
        change(&mut record);
        self.live.directory.replace(vec![record]);
        key
    }

    fn advance(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }
}

/// Returns a configuration with `top` at its top level, `issuer` in the section of its issuer, and `routes` to the upstream
/// `api`. The tests set the issuer's keys by hand, so nothing connects to its URL.
fn yaml(top: &str, issuer: &str, routes: &[(&str, &str)]) -> String {
    let mut yaml = format!(
        "{top}\n\
         listeners: [{{ address: 127.0.0.1:0 }}]\n\
         admin: {{ address: 127.0.0.1:0 }}\n\
         api_keys: {{ file: keys.yaml }}\n\
         issuers:\n  main: {{ issuer: {ISSUER}, audiences: [{AUDIENCE}], jwks_url: {ISSUER}/jwks, cooldown: 30s, {issuer} }}\n\
         upstreams:\n  api: {{ endpoints: [127.0.0.1:9] }}\n\
         routes:\n"
    );
    for (name, section) in routes {
        yaml.push_str(&format!("  - name: {name}\n"));
        for line in section.lines() {
            yaml.push_str(&format!("    {line}\n"));
        }
    }
    yaml
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder()
        .method(method)
        .uri(target)
        .header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// Returns a token for `AUDIENCE` that `key` signed, with the members of `change` in place of the usual claims.
fn token(key: &SigningKey, change: &Value) -> String {
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "client_id": "app-1",
        "scope": "orders:read", "iat": START, "exp": START + 600,
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    key.sign("at+jwt", &claims).unwrap()
}

#[test]
fn s037_a_token_ends_at_exp_and_skew_to_the_millisecond_fresh_or_remembered() {
    for remembered in [true, false] {
        let gate = Gate::new("failed_authentication: off", "");
        let token = gate.token(json!({}));
        if remembered {
            assert_eq!(gate.bearer(&token), "allowed");
        }
        gate.advance(630_000 - 1);
        if remembered {
            assert_eq!(gate.bearer(&token), "allowed");
        }
        gate.advance(1);
        assert_eq!(gate.bearer(&token), "allowed", "at exp + skew");
        gate.advance(1);
        assert_eq!(gate.bearer(&token), "token_expired", "one millisecond later");
        gate.advance(1_000);
        assert_eq!(gate.bearer(&token), "token_expired");
        assert!(gate.live.verified.is_empty(), "forgotten");
    }
}

#[test]
fn s051_a_remembered_token_is_refused_once_its_key_is_gone() {
    let gate = Gate::new("failed_authentication: off", "");
    let token = gate.token(json!({}));
    assert_eq!(gate.bearer(&token), "allowed");
    assert_eq!(gate.bearer(&token), "allowed");
    assert_eq!(gate.live.metrics.token_cache.hits.get(), 1);
    let other = SigningKey::generate_es256().unwrap();
    gate.publish(&[&other]);
    // Within the cooldown after that fetch, the gate does not ask for a newer set.
    assert_eq!(gate.bearer(&token), "unknown_key");
    assert!(gate.live.verified.is_empty(), "forgotten");
    gate.publish(&[&other, &gate.key]);
    assert_eq!(gate.bearer(&token), "allowed");
}

#[test]
fn an_unknown_key_is_fetched_once_and_a_failure_is_no_miss() {
    let gate = Gate::new("failed_authentication: off", "");
    let stranger = SigningKey::generate_es256().unwrap();
    let unknown = token(&stranger, &json!({}));
    assert_eq!(gate.bearer(&unknown), "unknown_key", "just fetched");
    gate.advance(30_000);
    assert_eq!(gate.bearer(&unknown), "needs");
    // S043: the fetch fails, so the gate cannot know whether the key exists.
    let keys = gate.snapshot.issuers[0].keys().unwrap();
    let attempt = keys.start_attempt(gate.clock.now());
    assert_eq!(gate.bearer(&unknown), "needs", "one is under way");
    attempt.fail("on purpose");
    assert_eq!(gate.bearer(&unknown), "keys_unavailable");
    assert_eq!(gate.bearer(&gate.token(json!({}))), "allowed", "known keys go on");
    gate.advance(30_000);
    assert_eq!(gate.bearer(&unknown), "needs");
    gate.publish(&[&gate.key]);
    assert_eq!(gate.bearer(&unknown), "unknown_key");
}

#[test]
fn keys_too_stale_answer_503_and_never_401() {
    let gate = Gate::new("failed_authentication: off", "");
    let long = gate.token(json!({ "exp": START + 86_400, "jti": "1" }));
    assert_eq!(gate.bearer(&long), "allowed");
    gate.advance(24 * 3600 * 1000);
    assert_eq!(gate.bearer(&long), "allowed", "at max_stale");
    gate.advance(1);
    assert_eq!(gate.bearer(&long), "keys_unavailable", "remembered");
    assert_eq!(
        gate.bearer(&gate.token(json!({ "exp": START + 86_400 }))),
        "keys_unavailable"
    );
}

#[test]
fn s067_an_expired_key_stays_expired_when_the_clock_is_set_back() {
    let gate = Gate::new("failed_authentication: off", "");
    let key = gate.put_key(|record| record.expires_at = Some(Timestamp::from_unix_secs(START + 60)));
    let ask = || gate.ask(&[("x-api-key", key.expose())]);
    assert_eq!(ask(), "allowed");
    gate.advance(59_999);
    assert_eq!(ask(), "allowed");
    gate.advance(1);
    assert_eq!(ask(), "api_key_expired", "from that instant");
    gate.clock.set_wall(Timestamp::from_unix_secs(START));
    assert_eq!(ask(), "api_key_expired", "for ever");
}

/// A proxy appends to `Forwarded` or to `X-Forwarded-For`; the other field may be the client's own. When the two
/// disagree, the gate must not fall back to the proxy's address, which the key allows.
#[test]
fn s082_a_disputed_client_address_opens_no_key_that_is_bound_to_addresses() {
    let gate = Gate::new("trusted_proxies: [10.0.0.0/8]\nfailed_authentication: off", "");
    let key = gate.put_key(|record| record.addresses = ["10.0.0.0/8".parse().unwrap()].into());
    let proxy = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let ask = |origin: &[(&str, &str)]| {
        let headers = [&[("x-api-key", key.expose())], origin].concat();
        gate.ask_from(proxy, "GET", "/orders", &headers)
    };
    let outside = ("x-forwarded-for", "203.0.113.9");
    assert_eq!(ask(&[]), "allowed", "the proxy itself");
    assert_eq!(ask(&[("x-forwarded-for", "10.0.0.2")]), "allowed");
    assert_eq!(
        ask(&[outside, ("forwarded", "for=203.0.113.9")]),
        "api_key_wrong_address"
    );
    assert_eq!(ask(&[outside]), "api_key_wrong_address");
    for claimed in ["for=10.0.0.2", "for=1.2.3.4", "for=unknown", "nonsense"] {
        assert_eq!(
            ask(&[outside, ("forwarded", claimed)]),
            "api_key_wrong_address",
            "{claimed}"
        );
    }
    // Nor where the proxy does not say who its client is.
    for unknown in [
        ("x-forwarded-for", "unknown"),
        ("x-forwarded-for", "203.0.113.9, _hidden, 10.0.0.2"),
        ("x-forwarded-for", ""),
        ("forwarded", "for=unknown"),
        ("forwarded", "for=_hidden;proto=https"),
        ("forwarded", "proto=https"),
    ] {
        assert_eq!(ask(&[unknown]), "api_key_wrong_address", "{unknown:?}");
    }
    assert_eq!(ask(&[("forwarded", "for=10.0.0.2;")]), "allowed");
}

#[test]
fn s110_clients_that_a_proxy_does_not_name_share_a_bucket_that_is_not_the_proxys() {
    let gate = Gate::with_routes(
        "trusted_proxies: [10.0.0.0/8]\nlimits: { few: { by: ip, quota: 2/hour } }\n\
         failed_authentication: { quota: 1/hour, burst: 1 }",
        &[
            (
                "few",
                "match: { path: \"/few\" }\npublic: true\nlimits: [few]\nupstream: api",
            ),
            ("key", "match: { path: \"/key\" }\naccept: [api_key]\nupstream: api"),
        ],
    );
    let proxy = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    let hidden = [("x-forwarded-for", "_hidden")];
    let few = |from, headers: &[(&str, &str)]| gate.ask_from(from, "GET", "/few", headers);
    assert_eq!(few(proxy(1), &hidden), "allowed");
    assert_eq!(few(proxy(1), &[("forwarded", "for=unknown")]), "allowed");
    assert_eq!(few(proxy(1), &hidden), "limit_spent");
    assert_eq!(few(proxy(1), &[]), "allowed", "the proxy itself");
    assert_eq!(
        few(proxy(1), &[("x-forwarded-for", "10.0.0.1")]),
        "allowed",
        "the proxy itself"
    );
    assert_eq!(few(proxy(1), &[]), "limit_spent", "the proxy itself");
    assert_eq!(few(proxy(2), &hidden), "allowed", "another proxy");
    assert_eq!(few(proxy(1), &[("x-forwarded-for", "192.0.2.1")]), "allowed");
    // Failed authentications are counted alike.
    let guess = |headers: &[(&str, &str)]| {
        let headers = [&[("x-api-key", "sk-wrong")], headers].concat();
        gate.ask_from(proxy(1), "GET", "/key", &headers)
    };
    assert_eq!(guess(&hidden), "api_key_unknown");
    assert_eq!(guess(&hidden), "too_many_failures");
    assert_eq!(guess(&[]), "api_key_unknown", "the proxy itself");
}

#[test]
fn s091_another_spelling_of_a_path_does_not_escape_its_limit() {
    let gate = Gate::with_routes(
        "limits: { few: { by: ip, quota: 2/hour } }",
        &[
            (
                "login",
                "match: { path: /login }\npublic: true\nlimits: [few]\nupstream: api",
            ),
            ("site", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api"),
        ],
    );
    let ask = |path: &str| gate.ask_from(PEER, "POST", path, &[]);
    assert_eq!(
        [ask("/login"), ask("/login"), ask("/login")],
        ["allowed", "allowed", "limit_spent"]
    );
    for near in ["/LOGIN", "/login/", "/login.", "/login;x"] {
        assert_eq!(ask(near), "path_near_miss", "{near}");
    }
    assert_eq!(ask("/logins"), "allowed");
}

#[test]
fn s109_limits_count_the_proved_client_not_the_text_that_was_sent() {
    let top = "limits: { few: { by: credential, quota: 3/hour } }\nfailed_authentication: off";
    let gate = Gate::new(top, "limits: [few]");
    let one = |jti: &str| gate.token(json!({ "jti": jti }));
    assert_eq!(gate.bearer(&one("1")), "allowed");
    assert_eq!(gate.bearer(&one("2")), "allowed", "another token of the same client");
    assert_eq!(
        gate.ask(&[("authorization", &format!("bEARER {}", one("3")))]),
        "allowed"
    );
    for header in [
        vec![("authorization", format!("Bearer {}", one("4")))],
        vec![("authorization", format!("bearer {}", one("1")))],
        vec![
            ("authorization", format!("Bearer {}", one("5"))),
            ("x-forwarded-for", "203.0.113.9".to_owned()),
        ],
    ] {
        let headers: Vec<(&str, &str)> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(gate.ask(&headers), "limit_spent");
    }
    // A request with a bad signature spends nothing of the quota of the client that it names.
    let other = gate.token(json!({ "client_id": "app-2" }));
    for _ in 0..10 {
        assert_eq!(gate.bearer(&format!("{other}AAAA")), "bad_signature");
    }
    for _ in 0..3 {
        assert_eq!(gate.bearer(&other), "allowed");
    }
    assert_eq!(gate.bearer(&other), "limit_spent");
}

#[test]
fn a_request_without_the_scope_spends_nothing() {
    let top = "limits: { few: { by: client, quota: 2/hour } }\nfailed_authentication: off";
    let gate = Gate::new(top, "limits: [few]\nscopes: { all: [admin] }");
    for _ in 0..5 {
        assert_eq!(
            gate.bearer(&gate.token(json!({ "scope": "other" }))),
            "insufficient_scope"
        );
    }
    let good = gate.token(json!({ "scope": "admin" }));
    let outcomes: Vec<String> = (0..3).map(|_| gate.bearer(&good)).collect();
    assert_eq!(outcomes, ["allowed", "allowed", "limit_spent"]);
}

#[test]
fn a_body_over_its_limit_spends_nothing() {
    let top = "limits: { few: { by: client, quota: 2/hour } }\nrequests: { body_bytes: 1KiB }";
    let gate = Gate::new(top, "limits: [few]");
    let authorization = format!("Bearer {}", gate.token(json!({})));
    let announce = |length: &str| gate.ask(&[("authorization", &authorization), ("content-length", length)]);
    for _ in 0..5 {
        assert_eq!(announce("1025"), "body_too_large");
    }
    let outcomes: Vec<String> = (0..3).map(|_| announce("1024")).collect();
    assert_eq!(outcomes, ["allowed", "allowed", "limit_spent"]);
}

#[test]
fn s117_a_source_that_failed_too_often_still_passes_with_a_good_credential() {
    let gate = Gate::new("failed_authentication: { quota: 5/hour, burst: 5 }", "");
    let good = gate.token(json!({}));
    let bad = format!("{good}AAAA");
    for _ in 0..5 {
        assert_eq!(gate.bearer(&bad), "bad_signature");
    }
    for _ in 0..3 {
        assert_eq!(gate.bearer(&bad), "too_many_failures");
        // S118: an unknown API key gets the same refusal as a token.
        assert_eq!(gate.ask(&[("x-api-key", "unknown-foreign-key")]), "too_many_failures");
        assert_eq!(gate.bearer(&good), "allowed");
    }
    let authorization = format!("Bearer {bad}");
    let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8));
    let outcome = gate.ask_from(elsewhere, "GET", "/orders", &[("authorization", &authorization)]);
    assert_eq!(outcome, "bad_signature", "another address has its own count");
    // S110: an untrusted peer cannot choose its address.
    let outcome = gate.ask(&[("authorization", &authorization), ("x-forwarded-for", "203.0.113.1")]);
    assert_eq!(outcome, "too_many_failures");
    gate.advance(12 * 60 * 1000);
    assert_eq!(gate.ask(&[("x-api-key", "unknown-foreign-key")]), "api_key_unknown");
    assert_eq!(gate.ask(&[("x-api-key", "unknown-foreign-key")]), "too_many_failures");
}

#[test]
fn a_refusal_before_authentication_is_no_failed_authentication() {
    let gate = Gate::new("failed_authentication: { quota: 1/hour, burst: 1 }", "");
    let good = gate.token(json!({}));
    for _ in 0..3 {
        assert_eq!(gate.ask(&[]), "credential_missing");
        assert_eq!(gate.ask(&[("authorization", "Bearer a b")]), "authorization_malformed");
        assert_eq!(gate.ask(&[("authorization", "Basic YTpi")]), "authorization_scheme");
        assert_eq!(
            gate.ask(&[("authorization", "Bearer a"), ("x-api-key", "b")]),
            "two_credentials"
        );
    }
    assert_eq!(gate.bearer(&format!("{good}AAAA")), "bad_signature");
    assert_eq!(gate.bearer(&format!("{good}AAAA")), "too_many_failures");
}

#[test]
fn every_request_has_one_outcome() {
    let gate = Gate::with_routes(
        "failed_authentication: off",
        &[
            ("open", "match: { path: /open }\npublic: true\nupstream: api"),
            (
                "read",
                "match: { path: \"/orders/{*id}\", methods: [GET] }\naccept: [jwt]\nscopes: { any: [read, admin] }\nupstream: api",
            ),
            ("key", "match: { path: /key }\naccept: [api_key]\nupstream: api"),
        ],
    );
    let reader = format!("Bearer {}", gate.token(json!({ "scope": "read" })));
    let admin = format!("Bearer {}", gate.token(json!({ "scope": "admin" })));
    let other = format!("Bearer {}", gate.token(json!({ "scope": "reader" })));
    let elsewhere = format!("Bearer {}", gate.token(json!({ "iss": "https://other.example.test" })));
    let authorization = |value: &'static str| vec![("authorization", value)];
    let bearer = |value: &str| vec![("authorization".to_owned(), value.to_owned())];
    let check = |method: &str, target: &str, headers: &[(String, String)], expected: &str| {
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            gate.ask_from(PEER, method, target, &headers),
            expected,
            "{method} {target}"
        );
    };
    check("GET", "/open", &[], "allowed");
    check("GET", "/open", &bearer("Bearer junk"), "allowed");
    check("GET", "/open?access_token=x", &[], "query_credential");
    check("GET", "/orders/1", &bearer(&reader), "allowed");
    check("HEAD", "/orders/1", &bearer(&reader), "allowed");
    check("GET", "/orders/1", &bearer(&admin), "allowed");
    check("GET", "/orders/1", &bearer(&other), "insufficient_scope");
    check("GET", "/orders/1", &bearer(&elsewhere), "unknown_issuer");
    check("GET", "/orders/1", &[], "credential_missing");
    check("HEAD", "/orders/1", &[], "credential_missing");
    check("POST", "/orders/1", &bearer(&reader), "method_not_allowed");
    check("OPTIONS", "/orders/1", &[], "method_not_allowed");
    check("get", "/orders/1", &bearer(&reader), "method_unknown");
    check("GET", "/orders/", &bearer(&reader), "no_route");
    check("GET", "/orders/../open", &[], "path_dot_segment");
    check("GET", "/orders/1/%2e%2e/2", &bearer(&reader), "path_dot_segment");
    check("GET", "/orders//1", &bearer(&reader), "path_empty_segment");
    check("GET", "/orders/1%2f2", &bearer(&reader), "path_encoded_slash");
    check("GET", "/key", &bearer(&reader), "credential_type");
    check("GET", "/nowhere", &bearer(&reader), "no_route");
    assert_eq!(
        gate.ask_from(PEER, "GET", "/orders/1", &authorization("Basic YTpi")),
        "authorization_scheme"
    );
}

#[test]
fn every_reason_a_token_is_refused_for_has_its_row() {
    for &reason in TokenError::REASONS {
        let row = row(reason);
        assert_eq!((row.reason, row.status), (reason, 401));
    }
}

#[test]
fn the_credential_is_forwarded_in_its_own_field_and_only_where_the_route_says_so() {
    let top = "failed_authentication: off";
    let (keeps, forwards) = (Gate::new(top, ""), Gate::new(top, "forward_credential: true"));
    for (gate, is_forwarded) in [(&keeps, false), (&forwards, true)] {
        let (key, bearer) = (gate.put_key(|_| ()), format!("Bearer {}", gate.token(json!({}))));
        let (permit, _) = gate.permit("/orders", &[("authorization", &bearer)]);
        assert_eq!(permit.principal().unwrap().identity().subject.as_deref(), Some("alice"));
        assert_eq!(
            (permit.forwards_authorization(), permit.forwards_api_key()),
            (is_forwarded, false)
        );
        let (permit, _) = gate.permit("/orders", &[("x-api-key", key.expose())]);
        assert_eq!(
            (permit.forwards_authorization(), permit.forwards_api_key()),
            (false, is_forwarded)
        );
    }
}

#[test]
fn two_credentials_are_refused_everywhere_but_on_a_route_that_reports_them() {
    let path =
        |path: &str, more: &str| format!("match: {{ path: \"{path}\" }}\naccept: [jwt, api_key]\n{more}upstream: api");
    let gate = Gate::with_routes(
        "failed_authentication: off",
        &[
            ("old", &path("/old", "two_credentials: report\n")),
            ("new", &path("/new", "")),
        ],
    );
    let (key, bearer) = (gate.put_key(|_| ()), format!("Bearer {}", gate.token(json!({}))));
    let both = [("authorization", bearer.as_str()), ("x-api-key", key.expose())];
    for (target, route) in [("/new", Some("new")), ("/nowhere", None)] {
        let mut trace = DecisionTrace::default();
        let refused = gate.decide(PEER, &request("GET", target, &both), &mut trace);
        assert!(
            matches!(refused, Err(Stop::Denied(Denial::Intake(IntakeError::TwoCredentials)))),
            "{target}"
        );
        // The record of the refusal names the route.
        assert_eq!(trace.route.as_ref().map(|route| route.name.as_str()), route);
    }
    let (_, trace) = gate.permit("/old", &both);
    assert!(trace.reported_two_credentials);
    assert_eq!(trace.would_deny.unwrap().reason, "two_credentials");
    let (_, trace) = gate.permit("/old", &both[..1]);
    assert!(!trace.reported_two_credentials && trace.would_deny.is_none());
}

#[test]
fn a_refused_token_of_an_issuer_in_shadow_mode_passes_unproved_and_is_recorded() {
    let gate = Gate::with_issuer("mode: shadow");
    let good = format!("Bearer {}", gate.token(json!({})));
    let (permit, trace) = gate.permit("/orders", &[("authorization", &good)]);
    assert!(permit.principal().is_some() && trace.would_deny.is_none());
    let bad = format!("{good}AAAA");
    let (permit, trace) = gate.permit("/orders", &[("authorization", &bad)]);
    assert!(permit.principal().is_none());
    let would_deny = trace.would_deny.unwrap();
    assert_eq!(
        (would_deny.reason, would_deny.by.as_ref().map(Name::as_str)),
        ("bad_signature", Some("main"))
    );
    // Only a token of the issuer passes.
    assert_eq!(gate.ask(&[]), "credential_missing");
    assert_eq!(gate.ask(&[("x-api-key", "unknown-foreign-key")]), "credential_type");
    assert_eq!(gate.bearer("a.b.c"), "token_malformed");
}

#[test]
fn a_token_in_shadow_mode_whose_key_is_unknown_causes_one_fetch_and_then_passes() {
    let gate = Gate::with_issuer("mode: shadow");
    let stranger = SigningKey::generate_es256().unwrap();
    let unknown = format!("Bearer {}", token(&stranger, &json!({})));
    gate.advance(30_000);
    let parts = request("GET", "/orders", &[("authorization", &unknown)]);
    let mut trace = DecisionTrace::default();
    assert!(matches!(gate.decide(PEER, &parts, &mut trace), Err(Stop::Needs(_))));
    assert!(trace.would_deny.is_none());
    let permit = gate.decide(PEER, &parts, &mut trace);
    assert!(permit.is_ok_and(|permit| permit.principal().is_none()));
    assert_eq!(trace.would_deny.unwrap().reason, "keys_unavailable");
}

#[test]
fn a_certificate_is_asked_for_after_the_credential_and_before_the_rules() {
    let gate = Gate::new(
        "failed_authentication: off",
        "client_certificates: { names: [billing.example.com] }\nscopes: { all: [\"orders:write\"] }",
    );
    let token = format!("Bearer {}", gate.token(json!({})));
    let proved = [("authorization", &*token)];
    assert_eq!(gate.ask(&[]), "credential_missing");
    assert_eq!(gate.ask(&proved), "client_certificate_missing");
    assert_eq!(
        gate.ask_with_certificate("other.example.com", &proved),
        "client_certificate_not_allowed"
    );
    assert_eq!(
        gate.ask_with_certificate("billing.example.com", &proved),
        "insufficient_scope"
    );
}

#[test]
fn a_public_route_asks_for_a_certificate_and_a_request_without_it_spends_nothing() {
    let route = "match: { path: /orders }\npublic: true\nlimits: [once]\nclient_certificates: any\nupstream: api";
    let gate = Gate::with_routes("limits: { once: { by: ip, quota: 1/day } }", &[("open", route)]);
    assert_eq!(gate.ask(&[]), "client_certificate_missing");
    assert_eq!(gate.ask(&[]), "client_certificate_missing");
    assert_eq!(gate.ask_with_certificate("a", &[]), "allowed");
    assert_eq!(gate.ask_with_certificate("a", &[]), "limit_spent");
}

#[test]
fn no_route_drops_the_certificate_of_the_defaults() {
    let route = |more: &str| format!("match: {{ path: \"/{{*rest}}\" }}\nupstream: api\n{more}");
    let asks = |more: &str| {
        let defaults = "defaults: { client_certificates: { names: [a.example, b.example] } }";
        let gate = Gate::with_routes(defaults, &[("api", &route(more))]);
        ["a.example", "b.example", "c.example"].map(|name| gate.ask_with_certificate(name, &[]))
    };
    let no = "client_certificate_not_allowed";
    assert_eq!(asks("public: true"), ["allowed", "allowed", no]);
    assert_eq!(
        asks("public: true\nclient_certificates: { names: [b.example, c.example] }"),
        [no, "allowed", no]
    );
    assert_eq!(
        asks("public: true\nclient_certificates: any"),
        ["allowed", "allowed", no]
    );
}

#[test]
fn a_token_that_passes_in_shadow_mode_still_takes_a_certificate() {
    let route = "match: { path: \"/{*rest}\" }\naccept: [jwt]\nclient_certificates: any\nupstream: api";
    let gate = Gate::of(&yaml("failed_authentication: off", "mode: shadow", &[("api", route)]));
    for change in [json!({}), json!({ "exp": START - 600 })] {
        let token = format!("Bearer {}", gate.token(change));
        let shown = [("authorization", &*token)];
        assert_eq!(gate.ask(&shown), "client_certificate_missing");
        assert_eq!(gate.ask_with_certificate("a", &shown), "allowed");
    }
}

#[test]
fn s091_another_spelling_of_a_path_does_not_escape_its_certificate() {
    let gate = Gate::with_routes(
        "",
        &[
            (
                "guarded",
                "match: { path: /orders }\npublic: true\nclient_certificates: any\nupstream: api",
            ),
            ("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api"),
        ],
    );
    assert_eq!(gate.ask_from(PEER, "GET", "/orders", &[]), "client_certificate_missing");
    assert_eq!(gate.ask_from(PEER, "GET", "/other", &[]), "allowed");
    for spelling in ["/ORDERS", "/orders/"] {
        assert_eq!(
            gate.ask_from(PEER, "GET", spelling, &[]),
            "path_near_miss",
            "{spelling}"
        );
    }
}

#[test]
fn s038_a_permit_is_valid_until_its_key_or_its_subscription_ends() {
    let mut gate = Gate::new("failed_authentication: off", "");
    let plan = Plan::open("gold".parse().unwrap(), CredentialKinds::ANY);
    gate.snapshot.plans = [(plan.name.clone(), plan)].into_iter().collect();
    let is_valid = |permit: &Permit| {
        let principal = permit.principal().unwrap();
        is_still_valid(principal, &gate.snapshot, &gate.live, gate.clock.now().wall)
    };
    let subscribe = |state, revision| {
        let subscription = Subscription {
            id: "sub_1".parse().unwrap(),
            organization: "acme".parse().unwrap(),
            plan: "gold".parse().unwrap(),
            environment: ApiKeyEnvironment::Live,
            state,
            paid: false,
        };
        gate.live.directory.put_subscription(subscription, revision);
    };
    let mut active = None;
    let key = gate.put_key(|record| {
        record.organization = Some("acme".into());
        record.subscription = Some("sub_1".parse().unwrap());
        active = Some(record.clone());
    });
    subscribe(SubscriptionState::Active, 1);
    let (permit, _) = gate.permit("/orders", &[("x-api-key", key.expose())]);
    assert!(is_valid(&permit));
    subscribe(SubscriptionState::Cancelled, 2);
    assert!(!is_valid(&permit), "the key is good, its subscription is not");
    subscribe(SubscriptionState::Active, 3);
    assert!(is_valid(&permit));
    let active = active.unwrap();
    let disabled = KeyRecord {
        state: KeyState::Disabled,
        ..active.clone()
    };
    gate.live.directory.replace(vec![disabled]);
    assert!(!is_valid(&permit), "the subscription is good, the key is disabled");
    gate.live.directory.replace(vec![active]);
    assert!(is_valid(&permit));
    gate.live.directory.replace(Vec::new());
    assert!(!is_valid(&permit), "the subscription is good, the key is gone");
}

#[test]
fn a_decision_enters_its_stages_in_order_and_none_after_its_refusal() {
    let mut gate = Gate::new("failed_authentication: off", "scopes: { all: [admin] }");
    let entered = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&entered);
    gate.live.probe = Some(Box::new(move |stage| log.lock().unwrap().push(stage)));
    let stages = |headers: &[(&str, &str)]| {
        let _ = gate.ask(headers);
        std::mem::take(&mut *entered.lock().unwrap())
    };
    let all = [
        Stage::Accept,
        Stage::Intake,
        Stage::Authenticate,
        Stage::Authorize,
        Stage::Limit,
    ];
    let bearer = |scope: &str| format!("Bearer {}", gate.token(json!({ "scope": scope })));
    let authorization = |value: &str| stages(&[("authorization", value)]);
    assert_eq!(authorization(&bearer("admin")), all);
    assert_eq!(authorization(&bearer("other")), all[..4]);
    assert_eq!(authorization("Bearer a.b.c"), all[..3]);
    assert_eq!(stages(&[]), all[..2]);
    assert_eq!(stages(&[("authorization", "a"), ("x-api-key", "b")]), all[..1]);
}
