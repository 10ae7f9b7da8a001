//! Does a decision allocate? A program of its own, because counting replaces the global allocator.

#[path = "../benches/fixture/mod.rs"]
mod fixture;

use fixture::BenchRequest;
use fixture::Fixture;
use fixture::request;
use http::request::Parts;
use keygate::config;
use keygate::gate::authenticate::ApiKeyIdentity;
use keygate::gate::authenticate::Identity;
use keygate::gate::identity_token::IdentityTokens;
use keygate::gate::identity_token::Signer;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::model::clock::Timestamp;
use keygate::proxy::head;
use keygate::proxy::head::Framing;
use keygate::proxy::head::HeadLimits;
use keygate::runtime::assemble;
use std::sync::Arc;
use std::time::Duration;

/// Counts the allocations of a second decision about `parts`; the first may fill caches.
#[track_caller]
fn allocations(fixture: &Fixture, parts: &Parts, reason: Option<&str>) -> u64 {
    let check = || match reason {
        None => fixture.permits(parts),
        Some(reason) => fixture.denies(parts, reason),
    };
    check();
    let counted = allocation_counter::measure(|| drop(fixture.decide(parts)));
    // The measured decision does not change the next decision.
    check();
    counted.count_total
}

fn ask(path: &str) -> BenchRequest<'_> {
    BenchRequest {
        path,
        api_key: None,
        token: None,
    }
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(7))));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn allowing_an_api_key_allocates_nothing() {
    let fixture = Fixture::with_keys(100);
    for key in &fixture.keys {
        let parts = request(BenchRequest {
            api_key: Some(key),
            ..ask("/v1/orders/7?page=2")
        });
        assert_eq!(allocations(&fixture, &parts, None), 0);
    }
}

#[test]
fn allowing_a_remembered_token_allocates_nothing() {
    let fixture = Fixture::with_keys(0);
    let token = fixture.fresh_token("orders:read orders:write");
    let parts = request(BenchRequest {
        token: Some(&token),
        ..ask("/v1/orders/7")
    });
    assert_eq!(allocations(&fixture, &parts, None), 0);
    fixture.forget_token(&token);
    let counted = allocation_counter::measure(|| drop(fixture.decide(&parts)));
    assert!(counted.count_total > 10, "a token seen first is taken apart");
}

/// Keygate's own tokens are looked up in the directory each time, and both the plan and the route have a limit.
#[test]
fn allowing_a_token_of_our_own_allocates_nothing() {
    let fixture = Fixture::with_own_tokens();
    let token = fixture.own_token();
    let parts = request(BenchRequest {
        token: Some(&token),
        ..ask("/v1/own")
    });
    assert_eq!(allocations(&fixture, &parts, None), 0);
}

#[test]
fn rules_about_claims_and_rules_in_shadow_mode_allocate_nothing() {
    let fixture = Fixture::with_keys(1);
    let token = fixture.fresh_token("orders:read");
    let ruled = |path| {
        request(BenchRequest {
            token: Some(&token),
            ..ask(path)
        })
    };
    assert_eq!(allocations(&fixture, &ruled("/v1/ruled"), None), 0);
    assert_eq!(
        allocations(&fixture, &ruled("/v1/forbidden"), Some("claim_not_allowed")),
        0
    );
}

#[test]
fn a_remembered_answer_about_a_token_allocates_nothing() {
    let fixture = Fixture::with_keys(0);
    let ask_about = |token| {
        request(BenchRequest {
            token: Some(token),
            ..ask("/v1/told")
        })
    };
    fixture.cache_introspection("opaque", &Fixture::introspection_response());
    assert_eq!(allocations(&fixture, &ask_about("opaque"), None), 0);
    fixture.cache_introspection("revoked", &serde_json::json!({ "active": false }));
    assert_eq!(allocations(&fixture, &ask_about("revoked"), Some("token_inactive")), 0);
    fixture.denies(&ask_about("never-seen"), "needs");
}

#[test]
fn checking_a_head_allocates_nothing() {
    let limits = HeadLimits {
        head_bytes_max: 16_384,
        header_count_max: 100,
        target_bytes_max: 8_192,
    };
    let head = b"POST /v1/orders?a=b HTTP/1.1\r\nhost: API.example:443\r\ncontent-length: 5\r\nx_a: \xE9\r\n\r\n";
    let counted = allocation_counter::measure(|| {
        assert_eq!(head::find_end(head, 0), Some(head.len()));
        assert_eq!(head::check(head, &limits), Ok(Framing::ContentLength(5)));
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_public_route_allocates_nothing() {
    let fixture = Fixture::with_keys(0);
    assert_eq!(allocations(&fixture, &request(ask("/v1/open")), None), 0);
}

#[test]
fn a_remembered_identity_token_allocates_nothing() {
    let settings = config::IdentityToken {
        issuer: "https://gate.example".parse().expect("a URL"),
        algorithm: Algorithm::Es256,
        signing_key_file: None,
        ttl: Duration::from_secs(60),
    };
    let now = Timestamp::from_unix_secs(1_800_000_000);
    let tokens = IdentityTokens::new(assemble::metrics(now), IdentityTokens::DEFAULT_BYTES_MAX);
    let signer = Signer::new(&settings, Arc::new(SigningKey::generate_es256().expect("a key")));
    let identity = Arc::new(Identity::of_api_key(ApiKeyIdentity::default()));
    let audience: Arc<str> = "https://orders.internal".into();
    let token = || tokens.token(&signer, &identity, &audience, now).expect("a token");
    let first = token();
    // The first copy of a header value makes the value shared, which allocates.
    drop(token());
    assert_eq!(allocation_counter::measure(|| drop(token())).count_total, 0);
    assert_eq!(token(), first);
}

/// Any client can send such requests at any rate.
#[test]
fn refusing_a_stranger_allocates_nothing() {
    let fixture = Fixture::with_keys(1);
    let stranger = Fixture::with_keys(1);
    let token = fixture.fresh_token("orders:read");
    let unknown = BenchRequest {
        api_key: Some(&stranger.keys[0]),
        ..ask("/v1/orders/7")
    };
    let both = BenchRequest {
        api_key: Some(&fixture.keys[0]),
        token: Some(&token),
        ..ask("/v1/orders/7")
    };
    for (ask_about, reason) in [
        (ask("/v2/orders/7"), "no_route"),
        (ask("/v1/orders/7"), "credential_missing"),
        (unknown, "api_key_unknown"),
        (both, "two_credentials"),
        (ask("/v1/open?api_key=x"), "query_credential"),
    ] {
        assert_eq!(allocations(&fixture, &request(ask_about), Some(reason)), 0, "{reason}");
    }
}

#[test]
fn refusing_for_a_scope_or_a_limit_allocates_nothing() {
    let fixture = Fixture::with_keys(1);
    let key = &fixture.keys[0];
    let with_key = |path| {
        request(BenchRequest {
            api_key: Some(key),
            ..ask(path)
        })
    };
    assert_eq!(
        allocations(&fixture, &with_key("/v1/admin/7"), Some("insufficient_scope")),
        0
    );
    fixture.permits(&with_key("/v1/spent"));
    assert_eq!(allocations(&fixture, &with_key("/v1/spent"), Some("limit_spent")), 0);
}
