//! Which header fields reach the upstream, and which come back to the client? (S079 to S088)

use crate::front::Gate;
use crate::front::closed_port;
use crate::front::get_with;
use crate::front::protected;
use crate::support::ReceivedRequest;
use crate::support::lane::lanes;
use serde_json::json;

const IDENTITY: [&str; 7] = [
    "x-keygate-subject",
    "x-keygate-client-id",
    "x-keygate-organization",
    "x-keygate-scope",
    "x-keygate-credential-type",
    "x-keygate-credential-id",
    "x-keygate-issuer",
];

/// Sends a GET that must pass, and returns the request as the upstream received it.
#[track_caller]
fn forwarded(gate: &Gate, target: &str, fields: &str) -> ReceivedRequest {
    let before = gate.upstream.received().len();
    let response = gate.exchange(get_with(target, fields));
    assert_eq!(response.status, 200, "{target} {fields}\n{}", response.text());
    gate.upstream.wait_received(before + 1).remove(before)
}

#[track_caller]
fn check(request: &ReceivedRequest, name: &str, expected: &[&str]) {
    assert_eq!(request.headers_named(name), expected, "{name} in {:?}", request.headers);
}

lanes!(s079_identity_fields_of_a_client_are_dropped_on_every_route_claim_or_no_claim);
fn s079_identity_fields_of_a_client_are_dropped_on_every_route_claim_or_no_claim() {
    let gate = Gate::start();
    let forged: String = IDENTITY
        .iter()
        .map(|name| format!("{name}: forged\r\n{}: forged\r\n", name.to_uppercase()))
        .collect();
    let forged = format!("{forged}X-Keygate-Anything: forged\r\nx-keygate-: forged\r\n");

    let public = forwarded(&gate, "/open/a", &forged);
    assert!(
        !public
            .raw
            .to_ascii_lowercase()
            .windows(9)
            .any(|part| part == b"x-keygate"),
        "{:?}",
        public.headers
    );

    let all = forwarded(
        &gate,
        "/both/a",
        &format!("{forged}Authorization: Bearer {}\r\n", gate.token),
    );
    for (name, value) in IDENTITY
        .iter()
        .zip(["alice", "shop", "acme", "orders:read", "jwt", "token-1", "main"])
    {
        check(&all, name, &[value]);
    }
    let bare = json!({ "client_id": null, "org": null, "scope": null, "jti": null });
    let few = forwarded(
        &gate,
        "/both/a",
        &format!("Authorization: Bearer {}\r\n{forged}", gate.token_with(bare)),
    );
    for (name, value) in IDENTITY
        .iter()
        .zip([Some("alice"), None, None, None, Some("jwt"), None, Some("main")])
    {
        check(&few, name, value.as_slice());
    }
    let key = forwarded(&gate, "/both/a", &format!("{forged}x-api-key: {}\r\n", gate.key));
    let id = gate.key.split('_').nth(2).unwrap();
    for (name, value) in IDENTITY.iter().zip([
        Some(id),
        None,
        None,
        Some("orders:read"),
        Some("api_key"),
        Some(id),
        None,
    ]) {
        check(&key, name, value.as_slice());
    }
    for request in [&public, &all, &few, &key] {
        assert!(
            !request.raw.windows(6).any(|part| part == b"forged"),
            "{:?}",
            request.headers
        );
    }
}

lanes!(s080_names_that_alias_a_protected_one_are_refused_on_every_route);
fn s080_names_that_alias_a_protected_one_are_refused_on_every_route() {
    let gate = Gate::start();
    let good = format!("Authorization: Bearer {}\r\n", gate.token);
    for name in [
        "X_Keygate_Subject",
        "x-keygate_subject",
        "X_KEYGATE-SCOPE",
        "x_keygate_x",
        "X_Forwarded_For",
        "x-forwarded_host",
        "x_real_ip",
        "content_length",
        "transfer_encoding",
        "proxy_authorization",
    ] {
        for (target, fields) in [("/open/a", ""), ("/both/a", &*good), ("/nowhere", "")] {
            gate.refuses_unread(get_with(target, &format!("{fields}{name}: 1\r\n")), 400, "header_alias");
        }
    }
    // Other names with an underscore are ordinary fields.
    check(&forwarded(&gate, "/open/a", "user_id: 1\r\n"), "user_id", &["1"]);
}

// `Connection` cannot be sent over HTTP/2.
lanes!(s081_connection_cannot_name_what_keygate_says: own, own_tls, filter_http1);
fn s081_connection_cannot_name_what_keygate_says() {
    let gate = Gate::start();
    let good = format!("Authorization: Bearer {}\r\n", gate.token);
    for nominated in [
        "x-keygate-subject",
        "close, X-Keygate-Scope",
        "authorization",
        "x-api-key",
        "keep-alive,x-forwarded-for",
        "x-forwarded-host",
        "forwarded",
        "Host",
        "x_keygate_subject",
        "content-length",
        "transfer-encoding",
    ] {
        for (target, fields) in [("/open/a", ""), ("/both/a", &*good)] {
            let request = get_with(target, &format!("{fields}Connection: {nominated}\r\n"));
            gate.refuses_unread(request, 400, "connection_nomination");
        }
    }
    let apart = format!("{good}Connection: keep-alive\r\nConnection: x-keygate-issuer\r\n");
    gate.refuses_unread(get_with("/both/a", &apart), 400, "connection_nomination");

    let request = forwarded(
        &gate,
        "/both/a",
        &format!(
            "{good}Connection: x-mine, close\r\nX-Mine: 1\r\nX-Other: 2\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\n"
        ),
    );
    check(&request, "x-keygate-subject", &["alice"]);
    check(&request, "x-mine", &[]);
    check(&request, "x-other", &["2"]);
    check(&request, "keep-alive", &[]);
    check(&request, "proxy-connection", &[]);
}

const CLAIMED: &str = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: other.test\r\nX-Forwarded-Prefix: /p\r\nX-Forwarded-Uri: /u\r\nForwarded: for=192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\nTrue-Client-IP: 192.0.2.7\r\nX-Forwarded-Anything: 1\r\n";

// Over TLS, `x-forwarded-proto` is `https`.
lanes!(s082_what_an_untrusted_peer_says_of_the_origin_is_replaced: own, filter_http1, filter_http2);
fn s082_what_an_untrusted_peer_says_of_the_origin_is_replaced() {
    let gate = Gate::start();
    let request = forwarded(&gate, "/open/a", CLAIMED);
    check(&request, "x-forwarded-for", &["127.0.0.1"]);
    check(&request, "x-forwarded-proto", &["http"]);
    check(&request, "x-forwarded-host", &["gate.test"]);
    check(&request, "host", &["gate.test"]);
    for name in [
        "x-forwarded-prefix",
        "x-forwarded-uri",
        "forwarded",
        "x-real-ip",
        "true-client-ip",
        "x-forwarded-anything",
    ] {
        check(&request, name, &[]);
    }
    assert!(
        !request.raw.windows(5).any(|part| part == b"192.0"),
        "{:?}",
        request.headers
    );
    let response = gate.exchange(get_with("/open/a", CLAIMED));
    let record = gate.record(response.header("x-request-id").unwrap());
    assert_eq!(record["client"], "127.0.0.1");
}

lanes!(s082_what_a_trusted_peer_says_of_the_origin_is_kept_and_added_to);
fn s082_what_a_trusted_peer_says_of_the_origin_is_kept_and_added_to() {
    let gate = Gate::start_with(|gate| gate.top("trusted_proxies: [127.0.0.0/8]"));
    let request = forwarded(&gate, "/open/a", CLAIMED);
    check(&request, "x-forwarded-for", &["192.0.2.7, 127.0.0.1"]);
    check(&request, "x-forwarded-proto", &["https"]);
    check(&request, "x-forwarded-host", &["other.test"]);
    check(&request, "x-forwarded-prefix", &["/p"]);
    check(&request, "forwarded", &["for=192.0.2.7"]);
    let several = "X-Forwarded-For: 203.0.113.1, 192.0.2.7\r\nx-forwarded-for: 127.0.0.9\r\n";
    check(
        &forwarded(&gate, "/open/a", several),
        "x-forwarded-for",
        &["203.0.113.1, 192.0.2.7, 127.0.0.9, 127.0.0.1"],
    );
    let response = gate.exchange(get_with("/open/a", several));
    assert_eq!(
        gate.record(response.header("x-request-id").unwrap())["client"],
        "192.0.2.7"
    );
    check(&forwarded(&gate, "/open/a", ""), "x-forwarded-for", &["127.0.0.1"]);
}

lanes!(s082_the_address_of_a_trusted_proxy_does_not_stand_in_for_that_of_its_client);
fn s082_the_address_of_a_trusted_proxy_does_not_stand_in_for_that_of_its_client() {
    let gate = Gate::start_with(|gate| gate.top("trusted_proxies: [127.0.0.0/8]"));
    for (fields, chain) in [
        ("X-Forwarded-For: unknown\r\n", "unknown, 127.0.0.1"),
        (
            "X-Forwarded-For: _hidden, 127.0.0.9\r\n",
            "_hidden, 127.0.0.9, 127.0.0.1",
        ),
        ("X-Forwarded-For:\r\n", "unknown, 127.0.0.1"),
        ("Forwarded: for=_hidden\r\n", "unknown, 127.0.0.1"),
        ("Forwarded: for=unknown;proto=https\r\n", "unknown, 127.0.0.1"),
    ] {
        check(&forwarded(&gate, "/open/a", fields), "x-forwarded-for", &[chain]);
        let response = gate.exchange(get_with("/open/a", fields));
        let record = gate.record(response.header("x-request-id").unwrap());
        // The record has the peer, and no client.
        assert!(
            record.get("client").is_none() && record.get("peer").is_some(),
            "{record:#}"
        );
    }
    // Nor for that of a client whose head was not understood.
    let refused = gate.exchange(get_with("/open/a", "Expect: nothing\r\n"));
    let record = gate.record(refused.json()["request_id"].as_str().unwrap());
    assert_eq!((&record["reason"], record.get("client")), (&json!("expectation"), None));
    let fields = "Forwarded: for=192.0.2.7;\r\n";
    check(
        &forwarded(&gate, "/open/a", fields),
        "x-forwarded-for",
        &["192.0.2.7, 127.0.0.1"],
    );
    let response = gate.exchange(get_with("/open/a", fields));
    assert_eq!(
        gate.record(response.header("x-request-id").unwrap())["client"],
        "192.0.2.7"
    );
}

lanes!(s083_claims_of_any_bytes_become_one_line_each);
fn s083_claims_of_any_bytes_become_one_line_each() {
    let gate = Gate::start();
    for subject in [
        "a\r\nx-keygate-scope: admin",
        "a\0b",
        "a,b",
        "a\tb",
        "\u{1f511}",
        "é",
        "a%b",
        " a ",
        "\u{7f}",
        "a\u{2028}b",
        "\"a\"; b=c",
    ] {
        let token = gate.token_with(json!({ "sub": subject, "org": subject, "jti": subject }));
        let request = forwarded(&gate, "/both/a", &format!("Authorization: Bearer {token}\r\n"));
        for name in ["x-keygate-subject", "x-keygate-organization", "x-keygate-credential-id"] {
            let values = request.headers_named(name);
            assert_eq!(values.len(), 1, "{subject:?}: {:?}", request.headers);
            let plain = values[0]
                .bytes()
                .all(|byte| (0x20..0x7f).contains(&byte) && byte != b',');
            assert!(plain, "{:?}", values[0]);
            assert_eq!(decoded(values[0]), subject, "{:?}", values[0]);
        }
        check(&request, "x-keygate-scope", &["orders:read"]);
    }
}

/// Returns `value` with its percent-escapes decoded.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        (bytes, rest) = match first {
            b'%' => {
                let digits = std::str::from_utf8(&after[..2]).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                (bytes, &after[2..])
            }
            byte => {
                bytes.push(byte);
                (bytes, after)
            }
        };
    }
    String::from_utf8(bytes).unwrap()
}

lanes!(s084_fields_sent_twice_decide_nothing_and_arrive_as_they_came);
fn s084_fields_sent_twice_decide_nothing_and_arrive_as_they_came() {
    let gate = Gate::start();
    let good = format!("Authorization: Bearer {}\r\n", gate.token);
    let request = forwarded(
        &gate,
        "/both/a",
        &format!("role: user\r\n{good}role: admin\r\nx-keygate-scope: orders:write\r\nx-keygate-scope: admin\r\n"),
    );
    check(&request, "role", &["user", "admin"]);
    check(&request, "x-keygate-scope", &["orders:read"]);
    let forged = format!("{good}x-keygate-scope: orders:write\r\nscope: orders:write\r\n");
    gate.refuses(get_with("/scoped/a", &forged), 403, "insufficient_scope");
}

lanes!(s085_no_credential_reaches_the_upstream_also_when_the_first_endpoint_is_dead);
fn s085_no_credential_reaches_the_upstream_also_when_the_first_endpoint_is_dead() {
    let gate = Gate::start_with(|gate| {
        let closed = closed_port();
        let address = gate
            .yaml()
            .split("endpoints: [\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned();
        gate.upstream_with(
            "half-dead",
            &format!("endpoints: [\"{closed}\", \"{address}\"]\nejection: off"),
        )
        .route(
            "retried",
            &protected("retried", "[jwt, api_key]").replace("upstream: up", "upstream: half-dead"),
        )
        .route(
            "kept",
            &format!("{}\nforward_credential: true", protected("kept", "[jwt, api_key]")),
        )
    });
    let credentials = [
        ("authorization", format!("Bearer {}", gate.token), gate.token.clone()),
        ("x-api-key", gate.key.clone(), gate.key.clone()),
    ];
    for (name, value, secret) in &credentials {
        let fields = format!("{}: {value}\r\n", name.to_uppercase());
        // The gate alternates endpoints, so some of four requests try the dead one first.
        for target in ["/both/a", "/retried/a", "/retried/b", "/retried/c", "/retried/d"] {
            let request = forwarded(&gate, target, &fields);
            check(&request, name, &[]);
            assert!(
                !String::from_utf8_lossy(&request.raw).contains(secret.as_str()),
                "{target}"
            );
            check(&request, "x-keygate-scope", &["orders:read"]);
        }
        check(&forwarded(&gate, "/kept/a", &fields), name, &[value]);
        // A public route reads no credential and forwards none.
        check(&forwarded(&gate, "/open/a", &fields), name, &[]);
    }
    let failed = gate
        .running
        .metric("keygate_upstream_connect_failures_total{upstream=\"half-dead\"}");
    assert!(failed >= 2.0, "no retry was seen: {failed}");
}

lanes!(s086_an_upstream_cannot_speak_for_the_gate);
fn s086_an_upstream_cannot_speak_for_the_gate() {
    let gate = Gate::start_with(|gate| {
        gate.limit("some", "by: route\nquota: 2/hour\nburst: 2")
            .route("limited", &format!("{}\nlimits: [some]", protected("limited", "[jwt]")))
    });
    gate.upstream.respond_with(|_| {
        let fields = "WWW-Authenticate: Bearer realm=\"theirs\"\r\nRateLimit: \"theirs\";r=99;t=1\r\nratelimit: \"more\";r=98;t=1\r\nRateLimit-Policy: \"theirs\";q=100;w=1\r\nX-RateLimit-Limit: 100\r\nX-RateLimit-Remaining: 99\r\nX-RateLimit-Reset: 1\r\nX-Request-Id: theirs\r\n";
        format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n").into_bytes()
    });
    let good = format!("Authorization: Bearer {}\r\n", gate.token);
    let through = gate.exchange(get_with("/limited/a", &good));
    assert_eq!(through.status, 200);
    assert_eq!(through.header("ratelimit-policy"), Some("\"some\";q=2;w=3600"));
    assert!(
        through.header("ratelimit").unwrap().starts_with("\"some\";r=1;t="),
        "{:?}",
        through.headers
    );
    assert_eq!(through.header("x-ratelimit-limit"), Some("2"));
    assert_eq!(through.header("x-ratelimit-remaining"), Some("1"));
    assert_ne!(through.header("x-request-id"), Some("theirs"));
    gate.exchange(get_with("/limited/a", &good));
    let refused = gate.refuses(get_with("/limited/a", &good), 429, "limit_spent");
    assert!(refused.headers_named("www-authenticate").is_empty());
    assert!(
        refused.header("ratelimit").unwrap().starts_with("\"some\";r=0;t="),
        "{:?}",
        refused.headers
    );
    let challenged = gate.refuses(get_with("/limited/a", ""), 401, "credential_missing");
    assert_eq!(challenged.header("www-authenticate"), Some("Bearer realm=\"keygate\""));
}

lanes!(s087_fields_that_override_target_or_method_have_no_effect_and_go_no_further);
fn s087_fields_that_override_target_or_method_have_no_effect_and_go_no_further() {
    let gate = Gate::start();
    let fields = "X-Original-URL: /open/a\r\nX-Rewrite-URL: /open/a\r\nX-Original-URI: /open/a\r\nX-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\n";
    gate.refuses_unread(get_with("/both/a", fields), 401, "credential_missing");
    gate.refuses_unread(get_with("/nowhere", fields), 404, "no_route");
    let to_protected = fields.replace("/open/a", "/both/a");
    let request = forwarded(&gate, "/open/b", &to_protected);
    assert_eq!((request.method(), request.target()), ("GET", "/open/b"));
    for name in [
        "x-original-url",
        "x-rewrite-url",
        "x-original-uri",
        "x-http-method-override",
        "x-method-override",
        "x-http-method",
    ] {
        check(&request, name, &[]);
    }
}

lanes!(s080_s087_an_underscore_hides_no_field_that_is_dropped);
/// CGI, WSGI and PHP read `X_HTTP_Method_Override` and `X-HTTP-Method-Override` as one variable.
fn s080_s087_an_underscore_hides_no_field_that_is_dropped() {
    let gate = Gate::start();
    let fields = "X_Original_URL: /both/a\r\nX_HTTP_Method_Override: DELETE\r\nX-HTTP_Method-Override: DELETE\r\nTrue_Client_IP: 10.0.0.1\r\n";
    let request = forwarded(&gate, "/open/a", fields);
    for name in [
        "x_original_url",
        "x_http_method_override",
        "x-http_method-override",
        "true_client_ip",
    ] {
        check(&request, name, &[]);
    }
}

lanes!(s088_trailers_are_dropped);
fn s088_trailers_are_dropped() {
    let gate = Gate::start();
    let fields = "Transfer-Encoding: chunked\r\nTrailer: x-keygate-subject\r\n";
    let trailers =
        "x-keygate-subject: forged\r\nauthorization: Bearer forged\r\nx-api-key: forged\r\nx-other: forged\r\n";
    let head = get_with("/open/a", fields).replace("GET", "POST");
    let response = gate.exchange(format!("{head}2\r\nab\r\n0\r\n{trailers}\r\n"));
    assert_eq!(response.status, 200);
    let request = gate.upstream.only_received();
    assert_eq!(request.body, b"ab");
    let raw = String::from_utf8_lossy(&request.raw).into_owned();
    assert!(!raw.contains("forged"), "{raw}");
    // A credential in a trailer field is not read.
    let request = format!(
        "{}0\r\nAuthorization: Bearer {}\r\n\r\n",
        head.replace("/open/", "/both/"),
        gate.token
    );
    gate.refuses_unread(request, 401, "credential_missing");
}

lanes!(request_ids_and_trace_contexts_are_kept_when_well_formed_and_made_otherwise);
fn request_ids_and_trace_contexts_are_kept_when_well_formed_and_made_otherwise() {
    let gate = Gate::start();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let kept = forwarded(
        &gate,
        "/open/a",
        &format!("X-Request-Id: req-1\r\ntraceparent: {parent}\r\n"),
    );
    check(&kept, "x-request-id", &["req-1"]);
    assert!(kept.headers_named("traceparent")[0].contains("0af7651916cd43dd8448eb211c80319c"));
    for odd in ["a b", "\"quoted\"", "", &"x".repeat(1000)] {
        let request = forwarded(
            &gate,
            "/open/a",
            &format!("X-Request-Id: {odd}\r\ntraceparent: nonsense\r\n"),
        );
        let ids = request.headers_named("x-request-id");
        assert!(
            ids.len() == 1 && ids[0] != odd && ids[0].bytes().all(|byte| byte.is_ascii_graphic()),
            "{ids:?}"
        );
        assert_ne!(request.headers_named("traceparent"), ["nonsense"]);
    }
    let two = forwarded(&gate, "/open/a", "X-Request-Id: one\r\nX-Request-Id: two\r\n");
    assert_eq!(two.headers_named("x-request-id").len(), 1, "{:?}", two.headers);
}
