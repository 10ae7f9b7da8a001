//! The OAuth 2.0 Authorization Framework (RFC 6749): client authentication and the client credentials grant.

use super::fixture::*;
use axum::body::Body;
use http::Method;
use http::Request;
use http::StatusCode;
use keygate::model::algorithm::Algorithm;
use keygate::store::record::client::TokenTtl;

const SECRET: &str = "kgs_secret-of-a";

fn gate() -> Gate {
    let gate = Gate::new();
    gate.secret_client("a");
    gate
}

#[track_caller]
fn check_refused(response: &TokenResponse, expected: (u16, &str, &str)) {
    assert_eq!(response.error(), expected, "{}", response.text);
    assert!(response.json.get("access_token").is_none());
}

#[test]
fn section_5_1_a_token_comes_with_its_type_lifetime_and_scope() {
    let response = gate().with_secret("a", SECRET);
    assert_eq!(response.status, StatusCode::OK, "{}", response.text);
    assert_eq!(response.json["token_type"], "Bearer");
    assert_eq!(response.json["expires_in"], 3_600);
    assert_eq!(response.json["scope"], "orders:read orders:write");
    assert_eq!(response.headers["content-type"], "application/json");
    assert_eq!(response.outcome.client_id.as_deref(), Some("a"));
    assert_eq!(response.outcome.reason, None);
}

#[test]
fn s132_section_5_1_and_5_2_no_answer_is_kept() {
    let gate = gate();
    let missing = gate.post(TOKEN, &[]);
    for response in [gate.with_secret("a", SECRET), gate.with_secret("a", "wrong"), missing] {
        assert_eq!(response.headers["cache-control"], "no-store");
        assert_eq!(response.headers["pragma"], "no-cache");
        assert!(!response.headers.contains_key("access-control-allow-origin"));
    }
}

#[test]
fn s131_section_4_4_3_there_is_no_refresh_token() {
    let gate = gate();
    let mut form = with_secret("a", SECRET);
    form.push(("access_type", "offline"));
    form.push(("scope", "orders:read"));
    let response = gate.post(TOKEN, &form);
    response.token();
    assert!(response.json.get("refresh_token").is_none());
}

#[test]
fn s131_section_4_other_grants_are_not_there() {
    let gate = gate();
    for grant in [
        "authorization_code",
        "password",
        "refresh_token",
        "implicit",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:device_code",
        "Client_Credentials",
        "client_credentials ",
    ] {
        let form = [("grant_type", grant), ("client_id", "a"), ("client_secret", SECRET)];
        let expected = (
            400,
            "unsupported_grant_type",
            "the only grant_type is client_credentials",
        );
        check_refused(&gate.post(TOKEN, &form), expected);
    }
    let form = [("client_id", "a"), ("client_secret", SECRET)];
    check_refused(
        &gate.post(TOKEN, &form),
        (400, "invalid_request", "grant_type is missing"),
    );
}

#[test]
fn s141_section_3_2_what_is_not_known_has_no_effect() {
    let gate = gate();
    let plain = gate.with_secret("a", SECRET).claims();
    let mut form = with_secret("a", SECRET);
    for unknown in [
        "subject_token",
        "subject_token_type",
        "actor_token",
        "requested_token_type",
        "requested_subject",
        "audience",
        "username",
        "assertion",
        "code",
        "aud",
        "sub",
        "org",
        "expires_in",
        "token_format",
        "cnf",
    ] {
        form.push((unknown, "https://evil.example"));
    }
    let mut claims = gate.post(TOKEN, &form).claims();
    claims["jti"] = plain["jti"].clone();
    assert_eq!(claims, plain);
}

#[test]
fn s129_section_3_2_only_a_posted_form_counts_and_nothing_of_the_url() {
    let gate = gate();
    let body = encoded(&with_secret("a", SECRET));
    let ask = |method: Method, uri: &str, content_type: &str, body: &str| {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", content_type);
        gate.send(request.body(Body::from(body.to_owned())).unwrap())
    };
    ask(Method::POST, TOKEN, FORM, &body).token();
    let in_the_url = format!("{TOKEN}?{body}");
    for (method, uri, content_type, body) in [
        (Method::GET, in_the_url.as_str(), FORM, ""),
        (Method::GET, TOKEN, FORM, body.as_str()),
        (Method::PUT, TOKEN, FORM, &body),
        (Method::POST, &in_the_url, FORM, ""),
        (Method::POST, "/oauth/token?scope=orders:read", FORM, &body),
        (
            Method::POST,
            TOKEN,
            "application/json",
            "{\"grant_type\":\"client_credentials\"}",
        ),
        (Method::POST, TOKEN, "application/json", &body),
        (Method::POST, TOKEN, "text/plain", &body),
        (Method::POST, TOKEN, FORM, &format!("{body}&scope=a&scope=b")),
        (Method::POST, TOKEN, FORM, &format!("{body}&client_secret={SECRET}")),
        (Method::POST, TOKEN, FORM, &format!("{body}&x=%zz")),
    ] {
        let response = ask(method.clone(), uri, content_type, body);
        let (status, error, _) = response.error();
        assert_eq!(
            (status, error),
            (400, "invalid_request"),
            "{method} {uri} {content_type} {body}"
        );
    }
    let long = format!("{body}&x={}", "x".repeat(64 * 1024));
    assert_eq!(
        ask(Method::POST, TOKEN, FORM, &long).status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[test]
fn section_2_3_1_a_secret_comes_in_the_header_or_in_the_body() {
    let gate = gate();
    gate.basic("a", SECRET).token();
    gate.with_secret("a", SECRET).token();
    // Encoded as the section requires, with the id repeated in the form.
    let form = [("grant_type", "client_credentials"), ("client_id", "a")];
    let encoded = basic("%61", "kgs%5Fsecret%2dof-a");
    gate.send(post(TOKEN, &form, &[("authorization", &encoded)])).token();
    let lower = basic("a", SECRET).replace("Basic ", "bAsIc ");
    gate.send(post(TOKEN, &form, &[("authorization", &lower)])).token();
}

#[test]
fn section_2_3_1_a_header_that_is_no_basic_is_refused_with_a_challenge() {
    let gate = gate();
    let form = [("grant_type", "client_credentials")];
    for (value, description) in [
        ("Bearer abc", "the Authorization scheme of clients is Basic"),
        ("Basic", "the Authorization scheme of clients is Basic"),
        ("", "the Authorization scheme of clients is Basic"),
        ("BasicYTpi", "the Authorization scheme of clients is Basic"),
        (
            "Basic ",
            "the Authorization header is not Base64 of client_id:client_secret",
        ),
        (
            "Basic !!!!",
            "the Authorization header is not Base64 of client_id:client_secret",
        ),
        (
            "Basic YQ==",
            "the Authorization header is not Base64 of client_id:client_secret",
        ),
        // `a:%zz`
        (
            "Basic YTolenp6",
            "the Authorization header is not Base64 of client_id:client_secret",
        ),
    ] {
        let response = gate.send(post(TOKEN, &form, &[("authorization", value)]));
        check_refused(&response, (401, "invalid_client", description));
        assert_eq!(response.headers["www-authenticate"], "Basic realm=\"keygate\"");
    }
}

#[test]
fn s128_section_2_3_more_than_one_method_is_refused() {
    let gate = gate();
    let key = gate.key_client("b", Algorithm::Es256);
    let assertion = signed(&key, &claims("b"));
    let header = basic("a", SECRET);
    let secret = with_secret("a", SECRET);
    let both = [asserting(&assertion), vec![("client_id", "b"), ("client_secret", "x")]].concat();
    let only_type = [secret.clone(), vec![("client_assertion_type", ASSERTION_TYPE)]].concat();
    let grant = vec![("grant_type", "client_credentials")];
    for (form, headers) in [
        (secret, vec![("authorization", header.as_str())]),
        (asserting(&assertion), vec![("authorization", header.as_str())]),
        (both, vec![]),
        (only_type, vec![]),
        (
            grant,
            vec![("authorization", header.as_str()), ("authorization", &header)],
        ),
    ] {
        let response = gate.send(post(TOKEN, &form, &headers));
        let (status, error, _) = response.error();
        assert_eq!((status, error), (400, "invalid_request"), "{form:?}: {}", response.text);
        assert_eq!(response.outcome.reason, Some("several_methods"));
    }
}

#[test]
fn section_3_2_a_parameter_without_a_value_counts_as_left_out() {
    let gate = gate();
    let header = basic("a", SECRET);
    let form = [
        ("grant_type", "client_credentials"),
        ("client_secret", ""),
        ("client_assertion", ""),
        ("scope", ""),
    ];
    let response = gate.send(post(TOKEN, &form, &[("authorization", &header)]));
    assert_eq!(response.claims()["scope"], "orders:read orders:write");
    let form = [("grant_type", ""), ("client_id", "a"), ("client_secret", SECRET)];
    check_refused(
        &gate.post(TOKEN, &form),
        (400, "invalid_request", "grant_type is missing"),
    );
}

#[test]
fn section_5_2_no_authentication_at_all_is_an_invalid_client() {
    let gate = gate();
    let described = "no client authentication: send client_secret_basic, client_secret_post or private_key_jwt";
    for form in [
        vec![("grant_type", "client_credentials")],
        vec![("grant_type", "client_credentials"), ("client_id", "a")],
    ] {
        check_refused(&gate.post(TOKEN, &form), (400, "invalid_client", described));
    }
    let form = [("grant_type", "client_credentials"), ("client_secret", SECRET)];
    check_refused(
        &gate.post(TOKEN, &form),
        (400, "invalid_request", "client_id is missing"),
    );
}

#[test]
fn s132_section_5_2_a_challenge_is_for_who_used_the_header() {
    let gate = gate();
    let response = gate.basic("a", "wrong");
    check_refused(&response, (401, "invalid_client", "invalid client"));
    assert_eq!(response.headers["www-authenticate"], "Basic realm=\"keygate\"");
    let response = gate.with_secret("a", "wrong");
    check_refused(&response, (400, "invalid_client", "invalid client"));
    assert!(!response.headers.contains_key("www-authenticate"));
}

#[test]
fn s133_section_5_2_an_unknown_client_and_a_wrong_secret_look_the_same() {
    let gate = gate();
    gate.key_client("keys", Algorithm::Es256);
    gate.secret_client("deleted");
    gate.change("deleted", |record| {
        record.state = keygate::store::record::client::ClientState::Deleted
    });
    for via_header in [true, false] {
        let ask = |id: &str, secret: &str| {
            if via_header {
                gate.basic(id, secret)
            } else {
                gate.with_secret(id, secret)
            }
        };
        let wrong = ask("a", "wrong");
        for other in [
            ask("nobody", SECRET),
            ask("keys", SECRET),
            ask("deleted", "kgs_secret-of-deleted"),
            ask("not an id", SECRET),
            ask("a", "x"),
        ] {
            assert_eq!(
                (other.status, &other.headers, &other.text),
                (wrong.status, &wrong.headers, &wrong.text)
            );
            assert_eq!(other.outcome.client_id, None);
        }
    }
    // The operator's reasons differ.
    assert_eq!(gate.with_secret("nobody", "x").outcome.reason, Some("unknown_client"));
    assert_eq!(gate.with_secret("a", "x").outcome.reason, Some("wrong_secret"));
    assert_eq!(gate.with_secret("keys", "x").outcome.reason, Some("wrong_method"));
}

#[test]
fn s123_section_3_2_1_another_client_id_beside_the_proof_is_refused() {
    let gate = gate();
    gate.secret_client("b");
    let form = [("grant_type", "client_credentials"), ("client_id", "b")];
    let header = basic("a", SECRET);
    let response = gate.send(post(TOKEN, &form, &[("authorization", &header)]));
    let described = "client_id is not that of the client authentication";
    check_refused(&response, (401, "invalid_client", described));
}

#[test]
fn s071_a_rotated_secret_is_refused_at_its_instant() {
    let gate = Gate::new();
    let ends_at = keygate::model::clock::Timestamp::from_unix_secs(START + 10);
    gate.client("a", gate.secrets(&[("new", None), ("old", Some(ends_at))]));
    gate.with_secret("a", "new").token();
    gate.with_secret("a", "old").token();
    gate.advance(9);
    gate.with_secret("a", "old").token();
    gate.advance(1);
    check_refused(&gate.with_secret("a", "old"), (400, "invalid_client", "invalid client"));
    gate.with_secret("a", "new").token();
    gate.change("a", |record| record.authentication = gate.secrets(&[]));
    check_refused(&gate.with_secret("a", "new"), (400, "invalid_client", "invalid client"));
}

#[test]
fn s130_section_3_3_scopes_are_a_part_of_the_clients_or_refused() {
    let gate = gate();
    let ask = |scope: &str| {
        let mut form = with_secret("a", SECRET);
        form.push(("scope", scope));
        gate.post(TOKEN, &form)
    };
    for (requested, given) in [
        ("orders:read", "orders:read"),
        ("orders:write orders:read", "orders:read orders:write"),
        ("orders:read orders:read", "orders:read"),
    ] {
        let response = ask(requested);
        assert_eq!(response.claims()["scope"], given);
        assert_eq!(response.json["scope"], given);
    }
    for beyond in [
        "admin",
        "orders:read admin",
        "orders",
        "Orders:read",
        "orders:read:x",
        "*",
    ] {
        let described = "a scope was asked for that this client may not have";
        check_refused(&ask(beyond), (400, "invalid_scope", described));
    }
    for malformed in [
        " orders:read",
        "orders:read ",
        "orders:read  orders:write",
        "a\"b",
        "a\\b",
        "\u{e9}",
        "a\tb",
    ] {
        let described = "scope must be scopes separated by single spaces";
        check_refused(&ask(malformed), (400, "invalid_scope", described));
    }
}

#[test]
fn a_client_without_scopes_gets_a_token_without_any() {
    let gate = gate();
    gate.change("a", |record| record.scopes = scopes(""));
    let response = gate.with_secret("a", SECRET);
    assert!(response.json.get("scope").is_none() && response.claims().get("scope").is_none());
    let mut form = with_secret("a", SECRET);
    form.push(("scope", "orders:read"));
    assert_eq!(gate.post(TOKEN, &form).error().1, "invalid_scope");
}

#[test]
fn a_clients_lifetime_is_that_of_its_tokens() {
    let gate = gate();
    for (ttl, secs) in TokenTtl::ALL.into_iter().zip([60_u64, 300, 3_600, 86_400]) {
        gate.change("a", |record| record.token_ttl = ttl);
        let response = gate.with_secret("a", SECRET);
        let claims = response.claims();
        assert_eq!(response.json["expires_in"], secs);
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), secs);
    }
}

#[test]
fn a_tenants_endpoint_is_for_its_own_clients() {
    let gate = gate();
    let form = with_secret("a", SECRET);
    gate.post("/t/acme/oauth/token", &form).token();
    let unknown = gate.post("/t/acme/oauth/token", &with_secret("nobody", SECRET));
    for other in [
        "/t/other/oauth/token",
        "/t/operators/oauth/token",
        "/t/ACME/oauth/token",
        "/t/a%20b/oauth/token",
    ] {
        let response = gate.post(other, &form);
        check_refused(&response, (400, "invalid_client", "invalid client"));
        assert_eq!((&response.text, &response.headers), (&unknown.text, &unknown.headers));
    }
}

#[test]
fn a_secret_is_printed_nowhere_in_an_answer() {
    let gate = gate();
    for response in [
        gate.with_secret("a", SECRET),
        gate.with_secret("b", SECRET),
        gate.basic("a", "kgs_wrong"),
    ] {
        assert!(!response.text.contains("kgs_"), "{}", response.text);
        assert!(!format!("{:?}{:?}", response.headers, response.outcome).contains("kgs_"));
    }
}
