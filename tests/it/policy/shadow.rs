//! Does shadow mode count each denial without refusing the request, and does the log warn of it?

use crate::policy::Gate;
use crate::policy::protected;
use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::TestIssuer;
use crate::support::issuer;
use crate::support::issuer::claims_with;
use crate::support::lane::lanes;
use keygate::model::algorithm::Algorithm;
use serde_json::Value;
use serde_json::json;

lanes!(a_rule_in_shadow_mode_counts_and_refuses_nothing);
fn a_rule_in_shadow_mode_counts_and_refuses_nothing() {
    let rules = "rules:\n  - { name: tried, mode: shadow, clients: [shop] }\n  - { mode: shadow, scopes: { all: [never] } }\n  - { organizations: [acme] }";
    let gate = Gate::start(|gate| gate.route("api", &protected("api", "[jwt, api_key]", rules)));
    let response = gate.ask("GET", "/api", &gate.bearer(json!({ "org": "acme" })));
    let record = gate.record(&response);
    assert_eq!(response.status, 200);
    assert_eq!(
        (&record["decision"], &record["reason"]),
        (&json!("allow"), &Value::Null)
    );
    assert_eq!(
        (&record["would_deny"], &record["would_deny_by"]),
        (&json!("client_not_allowed"), &json!("tried"))
    );
    assert_eq!(gate.decisions("api", "jwt", "would_deny", "client_not_allowed"), 1.0);
    assert_eq!(gate.decisions("api", "jwt", "allow", "none"), 0.0);
    // The identity was proved, so the upstream receives it.
    let record = gate.record(&gate.ask("GET", "/api", &gate.api_key()));
    assert_eq!(
        (&record["would_deny"], &record["client_id"]),
        (&json!("insufficient_scope"), &json!("shop"))
    );
    assert_eq!(
        gate.upstream.received()[1].headers_named("x-keygate-client-id"),
        ["shop"]
    );
    // Rules in shadow mode do not weaken the rules in force.
    gate.refuses("GET", "/api", &gate.bearer(json!({})), 403, "organization_not_allowed");
    assert_eq!(gate.decisions("api", "jwt", "deny", "organization_not_allowed"), 1.0);
    gate.refuses("GET", "/api", "", 401, "credential_missing");
}

lanes!(a_limit_in_shadow_mode_counts_and_tells_no_client_anything);
fn a_limit_in_shadow_mode_counts_and_tells_no_client_anything() {
    let gate = Gate::start(|gate| {
        gate.limit("tried", "by: credential\nquota: 2/hour\nmode: shadow")
            .limit("real", "by: credential\nquota: 4/hour")
            .route("tried", &protected("tried", "[api_key]", "limits: [tried]"))
            .route("both", &protected("both", "[api_key]", "limits: [tried, real]"))
    });
    for turn in 0..4 {
        let response = gate.ask("GET", "/tried", &gate.api_key());
        assert_eq!(response.status, 200);
        let reported = response
            .headers
            .iter()
            .any(|(name, _)| name.to_ascii_lowercase().contains("ratelimit"));
        assert!(!reported, "{:?}", response.headers);
        let record = gate.record(&response);
        let expected = if turn < 2 { Value::Null } else { json!("limit_spent") };
        assert_eq!(
            (&record["would_deny"], record.get("limit")),
            (&expected, None),
            "{turn}"
        );
        assert_eq!(record["would_deny_by"].as_str(), (turn >= 2).then_some("tried"));
    }
    assert_eq!(gate.decisions("tried", "api_key", "would_deny", "limit_spent"), 2.0);
    let counted = |limit: &str, outcome: &str| {
        gate.running.count_of_ended(&format!(
            "keygate_limit_decisions_total{{limit=\"{limit}\",outcome=\"{outcome}\"}}"
        ))
    };
    assert_eq!(
        (
            counted("tried", "allow"),
            counted("tried", "would_deny"),
            counted("tried", "deny")
        ),
        (2.0, 2.0, 0.0)
    );
    for left in ["3", "2", "1", "0"] {
        let response = gate.ask("GET", "/both", &gate.api_key());
        assert_eq!(
            (response.status, response.header("x-ratelimit-remaining")),
            (200, Some(left))
        );
        assert!(response.header("ratelimit-policy").unwrap().contains("real"));
    }
    gate.refuses("GET", "/both", &gate.api_key(), 429, "limit_spent");
    assert_eq!(
        (
            counted("real", "allow"),
            counted("real", "deny"),
            counted("tried", "would_deny")
        ),
        (4.0, 1.0, 6.0)
    );
}

/// A gate whose only issuer is in shadow mode, with its keys behind a URL.
struct ShadowGate {
    running: LocalGate,
    upstream: FakeUpstream,
    _issuer: TestIssuer,
}

impl ShadowGate {
    fn start(more: &str) -> Self {
        let upstream = FakeUpstream::start();
        let issuer = TestIssuer::start(&[&issuer::key(Algorithm::Es256)]);
        let yaml = GatewayBuilder::new()
            .issuer(
                "tried",
                &issuer.yaml("mode: shadow\nclaim_headers: { \"/email\": x-user-email }\nwait: 100ms"),
            )
            .upstream("up", upstream.address())
            .route("api", &protected("api", "[jwt]", more))
            .yaml();
        let running = LocalGate::start(&yaml);
        Self {
            running,
            upstream,
            _issuer: issuer,
        }
    }

    #[track_caller]
    fn status(&self, fields: &str) -> u16 {
        self.ask(fields).status
    }

    #[track_caller]
    fn ask(&self, fields: &str) -> Response {
        let request = format!("GET /api HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
        RawClient::connect(self.running.data()).exchange(request)
    }
}

const CLAIMED: &str = "x-keygate-subject: root\r\nx-user-email: root@x\r\n";

lanes!(a_shadow_issuer_lets_through_without_identity_who_names_it_and_is_not_good);
fn a_shadow_issuer_lets_through_without_identity_who_names_it_and_is_not_good() {
    let gate = ShadowGate::start("rules: [{ mode: shadow, clients: [app-1] }]");
    gate.running.wait_ready();
    let signer = issuer::key(Algorithm::Es256);
    let bearer = |token: &str| format!("{CLAIMED}Authorization: Bearer {token}\r\n");
    let token = |change: Value| issuer::token(&signer, &claims_with(change));
    let good = token(json!({ "email": "alice@x" }));
    let tampered = format!("{}AAAA", &good[..good.len() - 4]);
    let stranger = keygate::jose::sign::SigningKey::generate_es256().unwrap();
    let cases = [
        (good.clone(), None),
        (tampered, Some("bad_signature")),
        (
            token(json!({ "exp": issuer::now() - 3600, "iat": issuer::now() - 7200 })),
            Some("token_expired"),
        ),
        (token(json!({ "aud": "other" })), Some("wrong_audience")),
        (token(json!({ "client_id": "other" })), Some("client_not_allowed")),
        (issuer::token(&stranger, &claims_with(json!({}))), Some("unknown_key")),
    ];
    for (number, (token, would_deny)) in cases.into_iter().enumerate() {
        let response = gate.ask(&bearer(&token));
        assert_eq!(response.status, 200, "{would_deny:?}");
        let record = gate.running.record(&response);
        assert_eq!(record["would_deny"].as_str(), would_deny, "{record}");
        let received = gate.upstream.received().swap_remove(number);
        let proved = matches!(would_deny, None | Some("client_not_allowed"));
        let subjects = received.headers_named("x-keygate-subject");
        assert_eq!(subjects, if proved { vec!["alice"] } else { vec![] }, "{would_deny:?}");
        let emails = received.headers_named("x-user-email");
        assert_eq!(emails, if would_deny.is_none() { vec!["alice@x"] } else { vec![] });
        let identity = received
            .headers
            .iter()
            .any(|(name, _)| name.to_ascii_lowercase().starts_with("x-keygate-"));
        assert_eq!(identity, proved, "{:?}", received.headers);
        assert!(received.headers_named("authorization").is_empty());
        assert_eq!(record.get("subject").is_some(), proved);
    }
    // The token names no configured issuer, so no issuer in shadow mode applies.
    let named = token(json!({ "iss": "https://evil.test" }));
    assert_eq!(gate.status(&bearer(&named)), 401);
    assert_eq!(gate.status(&bearer("a.b.c")), 401);
    assert_eq!(gate.status(""), 401);
    assert_eq!(gate.status(&format!("{}x-api-key: k\r\n", bearer(&good))), 400);
    assert_eq!(gate.status(&bearer(&good).repeat(2)), 400);
    assert_eq!(gate.upstream.received().len(), 6);
}

lanes!(a_shadow_issuer_without_keys_lets_through_and_says_so);
fn a_shadow_issuer_without_keys_lets_through_and_says_so() {
    let signer = issuer::key(Algorithm::Es256);
    let upstream = FakeUpstream::start();
    let issuer = TestIssuer::start(&[]);
    issuer.respond_with("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");
    let yaml = GatewayBuilder::new()
        .issuer("tried", &issuer.yaml("mode: shadow"))
        .upstream("up", upstream.address())
        .route("api", &protected("api", "[jwt]", ""))
        .yaml();
    let running = Binary::start(&yaml);
    let token = issuer::token(&signer, &claims_with(json!({})));
    let request = format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    assert_eq!(RawClient::connect(running.data()).exchange(request).status, 200);
    let record = running.wait_access_records(1).swap_remove(0);
    assert_eq!(
        (&record["would_deny"], &record["would_deny_by"]),
        (&json!("keys_unavailable"), &json!("tried"))
    );
    assert!(upstream.received()[0].headers_named("x-keygate-issuer").is_empty());
    running.wait_for_output("The configuration protects less than it looks");
}

lanes!(two_credentials_are_reported_where_a_route_says_so_and_refused_everywhere_else);
fn two_credentials_are_reported_where_a_route_says_so_and_refused_everywhere_else() {
    let report = "two_credentials: report";
    let gate = Gate::start(|gate| {
        gate.route("report", &protected("report", "[jwt, api_key]", report))
            .route(
                "forward",
                &protected(
                    "forward",
                    "[jwt, api_key]",
                    &format!("{report}\nforward_credential: true"),
                ),
            )
            .route("tokens", &protected("tokens", "[jwt]", report))
            .route("refuse", &protected("refuse", "[jwt, api_key]", ""))
    });
    let good = gate.bearer(json!({}));
    let both = format!("{good}{}", gate.api_key());
    for (number, path) in ["/report", "/forward", "/tokens"].into_iter().enumerate() {
        let response = gate.ask("GET", path, &both);
        assert_eq!(response.status, 200);
        let record = gate.record(&response);
        assert_eq!(
            (&record["would_deny"], &record["credential_type"]),
            (&json!("two_credentials"), &json!("jwt"))
        );
        let received = &gate.upstream.received()[number];
        assert_eq!(received.headers_named("x-keygate-credential-type"), ["jwt"]);
        assert!(received.headers_named("x-api-key").is_empty(), "{path}");
        assert_eq!(
            received.headers_named("authorization").len(),
            usize::from(path == "/forward")
        );
    }
    let reported = |route: &str| {
        gate.running
            .count_of_ended(&format!("keygate_two_credentials_reported_total{{route=\"{route}\"}}"))
    };
    assert_eq!((reported("report"), reported("refuse")), (1.0, 0.0));
    assert_eq!(gate.decisions("report", "jwt", "would_deny", "two_credentials"), 1.0);
    // The key is never looked up: every key gets the same response.
    for key in ["unknown", "kg_live_0_0"] {
        assert_eq!(
            gate.ask("GET", "/report", &format!("{good}x-api-key: {key}\r\n"))
                .status,
            200
        );
    }
    // Nor does a valid key help an invalid token.
    let bad = format!("Authorization: Bearer a.b.c\r\n{}", gate.api_key());
    gate.refuses("GET", "/report", &bad, 401, "token_malformed");
    assert_eq!(reported("report"), 4.0);
    let key = gate.api_key();
    for fields in [
        format!("Authorization: Basic dTpw\r\n{key}"),
        format!("Authorization:\r\n{key}"),
        format!("Authorization: Bearer a, Bearer b\r\n{key}"),
        format!("{good}x-api-key:\r\n"),
        format!("{good}x-api-key: a,b\r\n"),
    ] {
        gate.refuses("GET", "/report", &fields, 400, "two_credentials");
    }
    gate.refuses(
        "GET",
        "/report",
        &format!("{good}{good}{key}"),
        400,
        "authorization_repeated",
    );
    gate.refuses("GET", "/report", &format!("{good}{key}{key}"), 400, "api_key_repeated");
    for path in ["/refuse", "/nowhere"] {
        gate.refuses("GET", path, &both, 400, "two_credentials");
    }
    // A single credential is handled as usual, and is forwarded.
    assert_eq!(gate.allows("GET", "/forward", &key).headers_named("x-api-key").len(), 1);
    assert_eq!(reported("forward"), 1.0);
}
