//! Do opaque tokens and rotated keys of a real authorization server work?

use super::fixture::*;
use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::Provider;
use crate::support::RawClient;
use crate::support::issuer;
use crate::support::provider::GATEWAY_ID;
use crate::support::provider::GATEWAY_WITH_KEY;
use crate::support::wait_until;
use serde_json::Value;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

// The tests below use a real authorization server.

#[test]
fn a_real_issuers_opaque_token_passes_until_it_is_revoked() {
    let provider = Provider::start();
    let key = issuer::key(keygate::model::algorithm::Algorithm::Es256);
    let by_key = format!("client_id: {GATEWAY_WITH_KEY}\n  private_key_jwt: {{ key_file: client.pem }}");
    for client in [Provider::by_secret(), by_key] {
        let upstream = FakeUpstream::start();
        let yaml = GatewayBuilder::new()
            .top(TOP)
            .issuer(
                "provider",
                &provider.introspection_yaml(&client, "cache_ttl: 500ms\n  negative_ttl: 500ms"),
            )
            .upstream("api", upstream.address())
            .route("api", &format!("{ROUTE}\nscopes: {{ all: [\"orders:read\"] }}"))
            .yaml();
        let gate = LocalGate::start_with(&yaml, &[("client.pem", key.to_pkcs8_pem().unwrap().expose())]);
        let token = provider.token("opaque", "orders:read orders:write");
        allowed(&gate, &token);
        let seen = upstream.only_received();
        assert_eq!(seen.headers_named("x-keygate-client-id"), ["app"]);
        assert_eq!(seen.headers_named("x-keygate-scope"), ["orders:read orders:write"]);
        assert_eq!(seen.headers_named("x-keygate-issuer"), ["provider"]);
        check(
            &gate,
            &provider.token("opaque", "orders:write"),
            403,
            "insufficient_scope",
        );
        check(&gate, "made-up", 401, "token_inactive");

        provider.revoke(&token);
        RawClient::connect(gate.data()).exchange_until(&request("/orders", &token), 401, &[200]);
        check(&gate, &token, 401, "token_inactive");
    }
}

#[test]
fn a_real_issuers_token_is_refused_when_it_has_expired() {
    let provider = Provider::start();
    let (gate, _upstream) = start_with::<LocalGate>(|gateway| {
        let yaml = provider.introspection_yaml(&Provider::by_secret(), "cache_ttl: 5m");
        gateway
            .issuer("provider", &format!("{yaml}\nclock_skew: 0s"))
            .route("api", ROUTE)
    });
    let token = provider.token("short", "orders:read");
    allowed(&gate, &token);
    RawClient::connect(gate.data()).exchange_until(&request("/orders", &token), 401, &[200]);
    check(&gate, &token, 401, "token_inactive");
}

#[test]
fn a_real_issuer_that_does_not_know_keygate_is_503() {
    let provider = Provider::start();
    let (gate, upstream) = start_with::<Binary>(|gateway| {
        let client = format!("client_id: \"{GATEWAY_ID}\"\n  client_secret: wrong");
        gateway
            .issuer("provider", &provider.introspection_yaml(&client, ""))
            .route("api", ROUTE)
    });
    let token = provider.token("opaque", "orders:read");
    check(&gate, &token, 503, "introspection_unavailable");
    assert!(upstream.received().is_empty());
    gate.wait_for_output("refused the credential of Keygate itself");
}

#[test]
fn a_real_issuer_rotates_its_keys_while_requests_flow_and_no_good_token_is_refused() {
    let provider = Provider::start();
    let keys = format!("jwks_url: {}/jwks", provider.issuer());
    rotate_while_requests_flow(&provider, &keys);
}

#[test]
fn a_real_issuer_whose_keys_are_discovered_rotates_them_while_requests_flow() {
    rotate_while_requests_flow(&Provider::start(), "discovery: true");
}

/// Publishes new keys, signs with them, then withdraws the old keys, while four threads send tokens of the keys in use.
/// Tokens of the old keys are rejected after the withdrawal, although they have not expired.
fn rotate_while_requests_flow(provider: &Provider, keys: &str) {
    const ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];
    let (gate, upstream) = start_with::<LocalGate>(|gateway| {
        let fast = "min_refresh: 200ms\nmax_refresh: 400ms\ncooldown: 100ms\nwait: 5s";
        gateway
            .issuer("provider", &provider.with_keys_yaml(keys, fast))
            .route("api", ROUTE)
    });
    gate.wait_ready();
    let fetches = "keygate_issuer_key_fetches_total{issuer=\"provider\",result=\"success\"}";
    // Waits for the end of two fetches: the second one began after this call.
    let refreshed = || {
        let before = gate.metric(fetches);
        wait_until("the keys are fetched again", || gate.metric(fetches) >= before + 2.0);
    };
    let tokens = || ALGORITHMS.map(|algorithm| provider.token(algorithm, "orders:read"));
    let first = tokens();
    let current = Arc::new(Mutex::new(first.clone()));
    let stopped = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let senders: Vec<_> = (0..ALGORITHMS.len())
        .map(|index| {
            let (current, stopped, address) = (Arc::clone(&current), Arc::clone(&stopped), gate.data());
            std::thread::spawn(move || {
                let mut client = RawClient::connect(address);
                let mut sent = 0;
                while !stopped.load(Ordering::SeqCst) {
                    let token = current.lock().unwrap()[index].clone();
                    let response = client.exchange(request("/orders", &token));
                    assert_eq!(response.status, 200, "{}", response.text());
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    provider.step("publish");
    refreshed();
    provider.step("sign");
    let second = tokens();
    *current.lock().unwrap() = second.clone();
    for (old, new) in first.iter().zip(&second) {
        assert_ne!(kid(old), kid(new));
        allowed(&gate, old);
    }
    provider.step("withdraw");
    refreshed();
    for (old, new) in first.iter().zip(&second) {
        check(&gate, old, 401, "unknown_key");
        allowed(&gate, new);
    }
    stopped.store(true, Ordering::SeqCst);
    let sent: usize = senders
        .into_iter()
        .map(|sender| sender.join().expect("no good token is refused"))
        .sum();
    assert!(sent > 20, "{sent}");
    assert!(upstream.received().len() > sent);
}

fn kid(token: &str) -> String {
    let header: Value = serde_json::from_slice(&issuer::from_base64url(token.split('.').next().unwrap())).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}
