//! Which introspection responses make a token active, and for how long is a verdict cached?

use super::*;
use crate::config::introspection::Breaker;
use crate::config::introspection::ClientAuthentication;
use crate::gate::authenticate::CredentialType;
use crate::gate::authenticate::introspection::response::ActiveToken;
use crate::gate::authenticate::token::TokenError;
use crate::gate::authenticate::token::TokenRules;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::Reasons;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://idp.example";

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn now_at(millis: u64) -> Now {
    let after = Duration::from_millis(millis);
    Now {
        wall: Timestamp::from_unix_secs(NOW).saturating_add(after),
        tick: Tick::ZERO.saturating_add(after),
    }
}

fn issuer(yaml: &str) -> config::Issuer {
    let text = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\nissuers:\n  idp:\n    issuer: {ISSUER}\n    introspection: {{ url: \"https://idp.example/i\", client_id: kg, client_secret: s }}\n    {yaml}\nupstreams: {{ e: {{ builtin: echo }} }}\nroutes: [{{ name: a, match: {{ path: / }}, accept: [jwt], upstream: e }}]\n"
    );
    let config = config::parse(&text, std::path::Path::new("keygate.yaml"), &|_| None);
    config.unwrap_or_else(|errors| panic!("{errors}")).issuers["idp"].clone()
}

fn read_as(yaml: &str, body: &str) -> Result<Verdict, ResponseError> {
    let issuer = issuer(yaml);
    let now = Timestamp::from_unix_secs(NOW);
    read(body.as_bytes(), &issuer.name, &TokenRules::compile(&issuer), now)
}

fn answer(changes: Value) -> String {
    let mut answer = json!({"active": true, "sub": "alice", "client_id": "app", "scope": "a b", "aud": "api", "exp": NOW + 300, "iss": ISSUER, "token_type": "Bearer", "jti": "t-1"});
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(answer.as_object_mut().unwrap().remove(name)),
            value => answer[name] = value.clone(),
        }
    }
    answer.to_string()
}

#[track_caller]
fn accepted(changes: Value) -> ActiveToken {
    match read_as("audiences: [api]", &answer(changes.clone())) {
        Ok(Verdict::Active(good)) => good,
        other => panic!("{changes}: {other:?}"),
    }
}

#[track_caller]
fn refused(changes: Value, expected: IntrospectionRefusal) {
    match read_as("audiences: [api]", &answer(changes.clone())) {
        Ok(Verdict::Refused(not_good)) => assert_eq!(not_good.refusal, expected, "{changes}"),
        other => panic!("{changes}: {other:?}"),
    }
}

#[test]
fn an_active_token_has_the_identity_in_the_response() {
    let good = accepted(json!({ "org": "acme", "username": "not used" }));
    let identity = &good.identity;
    assert_eq!(identity.credential_type, CredentialType::Opaque);
    assert_eq!(identity.subject.as_deref(), Some("alice"));
    assert_eq!(identity.client_id.as_deref(), Some("app"));
    assert_eq!(identity.organization.as_deref(), Some("acme"));
    assert_eq!(identity.credential_id.as_deref(), Some("t-1"));
    assert_eq!(identity.scopes.to_string(), "a b");
    assert_eq!(identity.usable_until, Some(Timestamp::from_unix_secs(NOW + 330)));
    assert_eq!(good.ends, Timestamp::from_unix_secs(NOW + 300));
}

#[test]
fn without_an_expiry_a_stream_still_ends() {
    let good = accepted(json!({ "exp": null, "iss": null, "token_type": null, "sub": null }));
    assert_eq!(good.ends, Timestamp::MAX);
    let day = Timestamp::from_unix_secs(NOW + 86_400 + 30);
    assert_eq!(good.identity.usable_until, Some(day));
}

/// Many servers write every member that they know.
#[test]
fn a_member_that_is_null_or_empty_says_nothing() {
    let said = accepted(json!({}));
    for nothing in ["null", "\"\"", "[]"] {
        let body = answer(json!({ "iss": null, "token_type": null, "org": null }));
        let more = format!(r#","iss":{nothing},"token_type":{nothing},"token_use":{nothing},"org":{nothing}}}"#);
        let body = format!("{}{more}", body.strip_suffix('}').unwrap());
        match read_as("audiences: [api]", &body) {
            Ok(Verdict::Active(active)) => assert_eq!(active.identity.organization, said.identity.organization),
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn s056_only_the_boolean_true_is_active() {
    for odd in [json!("true"), json!(1), json!([true]), json!({}), json!("active")] {
        let body = answer(json!({ "active": odd }));
        assert_eq!(
            read_as("audiences: any", &body).unwrap_err(),
            ResponseError::NoActive,
            "{body}"
        );
    }
    let body = answer(json!({ "active": null }));
    assert_eq!(read_as("audiences: any", &body).unwrap_err(), ResponseError::NoActive);
    assert_eq!(
        read_as("audiences: any", r#"{"active":null}"#).unwrap_err(),
        ResponseError::NoActive
    );
    for body in [
        "",
        "<html>ok</html>",
        "true",
        "[{\"active\":true}]",
        "{\"active\":true",
        "{\"active\":true}{}",
        "{\"active\":false,\"active\":true}",
        "{\"active\":true,\"a\":{\"b\":1,\"b\":2}}",
    ] {
        let read = read_as("audiences: any", body);
        assert!(matches!(read, Err(ResponseError::Json(_))), "{body}: {read:?}");
    }
    refused(json!({ "active": false }), IntrospectionRefusal::Inactive);
    accepted(json!({}));
}

#[test]
fn s059_an_active_token_of_another_issuer_audience_time_or_type_is_refused() {
    let token = IntrospectionRefusal::Token;
    refused(json!({ "iss": "https://idp.example/" }), token(TokenError::Issuer));
    refused(json!({ "aud": null }), token(TokenError::ClaimMissing("aud")));
    refused(json!({ "aud": [] }), token(TokenError::ClaimMissing("aud")));
    refused(json!({ "exp": NOW - 31 }), token(TokenError::Expired { late_secs: 31 }));
    accepted(json!({ "exp": NOW - 30 }));
    refused(json!({ "nbf": NOW + 31 }), token(TokenError::NotYetValid));
    accepted(json!({ "nbf": NOW + 30 }));
    refused(json!({ "iat": NOW + 31 }), token(TokenError::IssuedInFuture));
    refused(json!({ "iat": NOW, "exp": NOW + 86_401 }), token(TokenError::Lifetime));
    for kind in ["DPoP", "mac", "N_A", "Bearer "] {
        refused(
            json!({ "token_type": kind }),
            token(TokenError::NotBearer("token_type")),
        );
    }
    refused(json!({ "cnf": { "jkt": "a" } }), token(TokenError::NotBearer("cnf")));
    for kind in ["bearer", "BEARER"] {
        accepted(json!({ "token_type": kind }));
    }
    for purpose in ["refresh_token", "id"] {
        let refusal = TokenError::NotAccessToken("token_use");
        refused(json!({ "token_use": purpose }), token(refusal));
    }
    accepted(json!({ "token_use": "access_token" }));
    for (name, value) in [
        ("iss", json!(1)),
        ("exp", json!("1800000300")),
        ("exp", json!(-1)),
        ("scope", json!(7)),
        ("sub", json!("x".repeat(513))),
        ("token_type", json!(["Bearer"])),
        ("aud", json!({ "a": 1 })),
    ] {
        refused(json!({ name: value }), token(TokenError::ClaimInvalid(name.to_owned())));
    }
}

#[test]
fn required_claims_hold_for_answers() {
    let rules = "audiences: any\n    required_claims: { environment: [production] }";
    let read = |environment: Value| read_as(rules, &answer(json!({ "environment": environment })));
    assert!(matches!(read(json!("production")), Ok(Verdict::Active(_))));
    for other in [json!("test"), json!(["test"]), Value::Null] {
        assert!(matches!(
            read(other),
            Ok(Verdict::Refused(RefusedToken {
                refusal: IntrospectionRefusal::Token(TokenError::RequiredClaim(_)),
                owner: Some(_),
            }))
        ));
    }
}

proptest! {
    #[test]
    fn reading_an_answer_never_panics(body: Vec<u8>) {
        let issuer = issuer("audiences: any");
        let _ = read(&body, &issuer.name, &TokenRules::compile(&issuer), Timestamp::from_unix_secs(NOW));
    }

    #[test]
    fn only_active_true_is_accepted(active in "(true|false|null|\"true\"|1|0|\\[true\\]|\\{\\})", other in "[a-z]{1,6}") {
        let body = format!("{{\"{other}_\":1,\"active\":{active}}}");
        let good = matches!(read_as("audiences: any", &body), Ok(Verdict::Active(_)));
        prop_assert_eq!(good, active == "true");
    }
}

fn settings(cache_bytes_max: u64) -> config::Introspection {
    config::Introspection {
        url: "https://idp.example/i".parse().unwrap(),
        authentication: ClientAuthentication::BearerToken(Secret::new(b"t".to_vec())),
        allow_http: false,
        allow_private_addresses: false,
        ca_file: None,
        proxy: None,
        cache_ttl: secs(30),
        negative_ttl: secs(5),
        cache_bytes_max,
        timeout: secs(3),
        concurrency: 4,
        breaker: Breaker {
            failures: 5,
            open_for: secs(5),
        },
    }
}

fn metrics() -> IntrospectionMetrics {
    let reasons = Reasons {
        denials: &[],
        heads: &[],
        connections: &[],
    };
    Metrics::new(&reasons, Timestamp::default()).introspection.of("idp")
}

fn memory(bytes_max: u64) -> VerdictCache {
    VerdictCache::new(&settings(bytes_max), metrics())
}

fn good_until(exp: u64) -> Verdict {
    Verdict::Active(accepted(json!({ "exp": exp })))
}

const INACTIVE: RefusedToken = RefusedToken {
    refusal: IntrospectionRefusal::Inactive,
    owner: None,
};

#[test]
fn a_response_is_cached_for_the_ttl_of_its_kind() {
    let memory = memory(1 << 20);
    memory.remember("good", &good_until(NOW + 300), 300, now_at(0));
    memory.remember("bad", &Verdict::Refused(INACTIVE), 20, now_at(0));
    assert!(memory.get("good", now_at(29_999)).unwrap().is_ok());
    assert_eq!(
        memory.get("bad", now_at(4_999)).unwrap().unwrap_err().refusal,
        IntrospectionRefusal::Inactive
    );
    assert!(memory.get("good", now_at(30_000)).is_none());
    assert!(memory.get("bad", now_at(5_000)).is_none());
    assert!(memory.get("good", now_at(0)).is_none(), "forgotten, not only hidden");
    assert!(memory.get("bad", now_at(0)).is_none(), "forgotten, not only hidden");
}

#[test]
fn s060_a_remembered_answer_ends_with_its_token() {
    let memory = memory(1 << 20);
    memory.remember("token", &good_until(NOW + 10), 300, now_at(0));
    assert!(memory.get("token", now_at(9_999)).is_some());
    assert!(memory.get("token", now_at(10_000)).is_none());
    // Setting the wall clock forward ends the entry too; setting it back does not extend it beyond `cache_ttl`.
    memory.remember("token", &good_until(NOW + 10), 300, now_at(0));
    let set_on = Now {
        wall: Timestamp::from_unix_secs(NOW + 10),
        ..now_at(1)
    };
    assert!(memory.get("token", set_on).is_none());
    memory.remember("token", &good_until(NOW + 10), 300, now_at(0));
    let set_back = Now {
        wall: Timestamp::from_unix_secs(NOW - 3600),
        ..now_at(30_000)
    };
    assert!(memory.get("token", set_back).is_none());
}

#[test]
fn a_newer_response_replaces_an_older_one() {
    let memory = memory(1 << 20);
    memory.remember("token", &good_until(NOW + 300), 300, now_at(0));
    memory.remember("token", &Verdict::Refused(INACTIVE), 20, now_at(1));
    assert!(memory.get("token", now_at(2)).unwrap().is_err());
    memory.remember("token", &good_until(NOW + 300), 300, now_at(3));
    assert!(memory.get("token", now_at(4)).unwrap().is_ok());
    assert_eq!(memory.entries(), (1, 0));
}

#[test]
fn only_the_whole_text_is_the_token() {
    let memory = memory(1 << 20);
    memory.remember("abc", &good_until(NOW + 300), 300, now_at(0));
    memory.remember("xyz", &Verdict::Refused(INACTIVE), 20, now_at(0));
    for other in ["", "ab", "abcd", "ABC", "xy", "xyzz", "abc "] {
        assert!(memory.get(other, now_at(0)).is_none(), "{other:?}");
    }
}

#[test]
fn s061_a_million_junk_tokens_take_no_memory_and_no_good_token_away() {
    let memory = memory(1 << 20);
    for index in 0..100 {
        memory.remember(&format!("good-{index}"), &good_until(NOW + 300), 300, now_at(0));
    }
    for index in 0..1_000_000_u32 {
        memory.remember(&format!("junk-{index}"), &Verdict::Refused(INACTIVE), 20, now_at(0));
    }
    let (good, refused) = memory.bytes();
    assert!(good + refused <= 1 << 20, "{good} {refused}");
    let (_, entries) = memory.entries();
    assert!(entries > 0 && entries as u64 <= (1 << 18) / REFUSAL_WEIGHT, "{entries}");
    for index in 0..100 {
        assert!(
            memory.get(&format!("good-{index}"), now_at(1)).unwrap().is_ok(),
            "{index}"
        );
    }
}

#[test]
fn good_tokens_are_bounded_too_and_long_answers_count_for_more() {
    let memory = memory(1 << 20);
    for index in 0..5_000 {
        memory.remember(&format!("good-{index}"), &good_until(NOW + 300), 8_000, now_at(0));
    }
    let (bytes, _) = memory.bytes();
    assert!(bytes <= (1 << 20) * 3 / 4, "{bytes}");
    let (entries, _) = memory.entries();
    assert!(entries > 0 && entries < 50, "{entries}");
}

#[test]
fn a_cached_identity_counts_its_token_and_its_response_and_a_refusal_always_the_same() {
    let memory = memory(1 << 20);
    assert_eq!(memory.bytes(), (0, 0));
    memory.remember("token", &good_until(NOW + 300), 300, now_at(0));
    memory.remember("bad", &Verdict::Refused(INACTIVE), 20, now_at(0));
    memory.remember(&"bad".repeat(100), &Verdict::Refused(INACTIVE), 2_000, now_at(0));
    assert_eq!(memory.bytes(), (IDENTITY_WEIGHT + 5 + 2 * 300, 2 * REFUSAL_WEIGHT));
}

#[test]
fn a_ttl_of_zero_caches_nothing() {
    let settings = config::Introspection {
        cache_ttl: Duration::ZERO,
        negative_ttl: Duration::ZERO,
        ..settings(1 << 20)
    };
    let memory = VerdictCache::new(&settings, metrics());
    memory.remember("good", &good_until(NOW + 300), 300, now_at(0));
    memory.remember("bad", &Verdict::Refused(INACTIVE), 20, now_at(0));
    assert!(memory.get("good", now_at(0)).is_none() && memory.get("bad", now_at(0)).is_none());
}

fn token() -> Secret<String> {
    Secret::new("token".to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_request_gets_the_outcome_of_the_introspecting_task() {
    let introspection = Introspection::new(&settings(1 << 20), metrics());
    let mut inbox = introspection.take_inbox().unwrap();
    assert!(introspection.take_inbox().is_none(), "there is one task");
    let answering = async {
        let request = inbox.recv().await.unwrap();
        assert_eq!(request.token.expose(), "token");
        request.reply.send(Ok(Err(INACTIVE))).unwrap();
    };
    let (outcome, ()) = tokio::join!(introspection.introspect(token()), answering);
    assert_eq!(outcome.unwrap().unwrap_err().refusal, IntrospectionRefusal::Inactive);
}

#[tokio::test(start_paused = true)]
async fn without_an_outcome_in_time_a_token_is_neither_valid_nor_refused() {
    let introspection = Introspection::new(&settings(1 << 20), metrics());
    let mut inbox = introspection.take_inbox().unwrap();
    let start = tokio::time::Instant::now();
    let late = introspection.introspect(token()).await;
    assert_eq!(late.unwrap_err(), Unavailable::NoResponse);
    assert_eq!(start.elapsed(), secs(3));
    assert!(inbox.try_recv().is_ok());

    let dropping = async { drop(inbox.recv().await) };
    let (dropped, ()) = tokio::join!(introspection.introspect(token()), dropping);
    assert_eq!(dropped.unwrap_err(), Unavailable::NoResponse);

    for _ in 0..REQUESTS_MAX {
        let waiting = tokio::time::timeout(Duration::ZERO, introspection.introspect(token())).await;
        assert!(waiting.is_err());
    }
    let busy = introspection.introspect(token()).await;
    assert_eq!(busy.unwrap_err(), Unavailable::Busy);
    drop(inbox);
    let closed = introspection.introspect(token()).await;
    assert_eq!(closed.unwrap_err(), Unavailable::NoResponse);
}

#[test]
fn debug_prints_no_token() {
    let introspection = Introspection::new(&settings(1 << 20), metrics());
    introspection
        .verdicts()
        .remember("hunter2", &Verdict::Refused(INACTIVE), 20, now_at(0));
    assert_eq!(format!("{introspection:?}"), "Introspection { entries: (0, 1), .. }");
}
