//! Which single credential does a request carry? (S001 to S013, S022)

use crate::front::Gate;
use crate::front::get_with;
use crate::support::Binary;
use crate::support::lane::lanes;
use serde_json::json;

lanes!(s001_s002_s004_two_credential_fields_are_refused_on_every_path_whatever_is_in_them);
fn s001_s002_s004_two_credential_fields_are_refused_on_every_path_whatever_is_in_them() {
    let gate = Gate::start();
    let (token, key) = (&gate.token, &gate.key);
    let authorizations = [
        format!("Bearer {token}"),
        "Bearer x".to_owned(),
        String::new(),
        "Basic dTpw".to_owned(),
        "Negotiate x".to_owned(),
        "nonsense, more".to_owned(),
    ];
    let keys = [key.clone(), String::new(), "x".to_owned(), format!("{key},{key}")];
    for authorization in &authorizations {
        for key in &keys {
            let fields = format!("Authorization: {authorization}\r\nx-api-key: {key}\r\n");
            for path in ["/both/a", "/open/a", "/nowhere"] {
                let response = gate.refuses_unread(get_with(path, &fields), 400, "two_credentials");
                assert_eq!(response.json()["error"], "invalid_request", "{fields}");
                let record = gate.record(response.header("x-request-id").unwrap());
                let route = record.get("route").and_then(|route| route.as_str());
                assert_eq!(route, path.strip_suffix("/a").map(|path| &path[1..]), "{record:#}");
            }
        }
    }
    let fields = format!("X-API-KEY: {key}\r\naUTHORIZATION: Bearer {token}\r\n");
    for path in [
        "/both/a",
        "/jwt/a",
        "/key/a",
        "/scoped/a",
        "/open/a",
        "/nowhere",
        "/both/a?access_token=x",
    ] {
        let detail = gate
            .refuses_unread(get_with(path, &fields), 400, "two_credentials")
            .json()["detail"]
            .clone();
        let detail = detail.as_str().unwrap();
        assert!(
            detail.contains("Authorization") && detail.contains("x-api-key"),
            "{detail}"
        );
    }
    assert!(gate.upstream.received().is_empty());
}

lanes!(s003_two_bad_credentials_look_like_two_good_ones);
fn s003_two_bad_credentials_look_like_two_good_ones() {
    let gate = Gate::start();
    let refusal = |authorization: &str, key: &str| {
        let fields = format!("Authorization: {authorization}\r\nx-api-key: {key}\r\n");
        let mut response = gate.refuses_unread(get_with("/both/a", &fields), 400, "two_credentials");
        let mut problem = response.json();
        problem["request_id"] = "".into();
        response
            .headers
            .retain(|(name, _)| !name.eq_ignore_ascii_case("date") && !name.eq_ignore_ascii_case("x-request-id"));
        (problem, response.headers)
    };
    let good = refusal(&format!("Bearer {}", gate.token), &gate.key);
    for (authorization, key) in [
        (format!("Bearer {}x", gate.token), format!("{}x", gate.key)),
        (format!("Bearer {}", gate.token), "kg_live_x".to_owned()),
        ("Bearer a.b.c".to_owned(), gate.key.clone()),
        (String::new(), String::new()),
    ] {
        assert_eq!(refusal(&authorization, &key), good, "{authorization} {key}");
    }
}

lanes!(the_two_fields_are_counted_by_the_configured_name);
fn the_two_fields_are_counted_by_the_configured_name() {
    let gate = Gate::start_as("X-Shop-Key", |gate| gate);
    let (token, key) = (&gate.token, &gate.key);
    let both = format!("Authorization: Bearer {token}\r\nx-shop-key: {key}\r\n");
    let response = gate.refuses_unread(get_with("/both/a", &both), 400, "two_credentials");
    assert!(response.text().contains("x-shop-key"), "{}", response.text());
    gate.refuses_unread(
        get_with("/both/a", &format!("x-api-key: {key}\r\n")),
        401,
        "credential_missing",
    );
    let alias = format!("x_shop-key: {key}\r\n");
    gate.refuses_unread(get_with("/both/a", &alias), 400, "header_alias");
    assert_eq!(
        gate.exchange(get_with("/both/a", &format!("X-SHOP-KEY: {key}\r\n")))
            .status,
        200
    );
}

lanes!(s005_authorization_is_there_once);
fn s005_authorization_is_there_once() {
    let gate = Gate::start();
    let good = format!("Bearer {}", gate.token);
    for (one, other) in [
        (&*good, &*good),
        (&*good, "Bearer x"),
        ("Bearer x", &*good),
        ("", &*good),
        (&*good, ""),
        ("Basic x", &*good),
    ] {
        let fields = format!("Authorization: {one}\r\nauthorization: {other}\r\n");
        let response = gate.refuses_unread(get_with("/both/a", &fields), 400, "authorization_repeated");
        assert_eq!(response.json()["error"], "invalid_request");
    }
    for list in [
        format!("{good}, {good}"),
        format!("{good},Bearer x"),
        format!("Basic x, {good}"),
        format!("{good}, Bearer"),
    ] {
        gate.refuses_unread(
            get_with("/both/a", &format!("Authorization: {list}\r\n")),
            400,
            "authorization_repeated",
        );
    }
    assert_eq!(
        gate.exchange(get_with("/both/a", &format!("Authorization: {good}\r\n")))
            .status,
        200
    );
}

lanes!(s006_an_api_key_is_there_once);
fn s006_an_api_key_is_there_once() {
    let gate = Gate::start();
    let key = &gate.key;
    for fields in [
        format!("x-api-key: {key}\r\nx-api-key: {key}\r\n"),
        format!("x-api-key: {key}\r\nX-Api-Key: other\r\n"),
        format!("x-api-key: other\r\nx-api-key: {key}\r\n"),
        format!("x-api-key:\r\nx-api-key: {key}\r\n"),
        format!("x-api-key: {key},{key}\r\n"),
        format!("x-api-key: {key}, other\r\n"),
        format!("x-api-key: {key},\r\n"),
    ] {
        gate.refuses_unread(get_with("/both/a", &fields), 400, "api_key_repeated");
    }
    assert_eq!(
        gate.exchange(get_with("/both/a", &format!("x-api-key: {key}\r\n")))
            .status,
        200
    );
}

// It is about bytes of a head that frames cannot carry.
lanes!(s007_other_spellings_of_the_key_header_are_refused_beside_a_good_token_and_alone: own, own_tls, filter_http1);
fn s007_other_spellings_of_the_key_header_are_refused_beside_a_good_token_and_alone() {
    let gate = Gate::start();
    let (token, key) = (&gate.token, &gate.key);
    let good = format!("Authorization: Bearer {token}\r\n");
    for beside in ["", &good] {
        for name in ["X_Api_Key", "x_api-key", "X-API_KEY"] {
            for path in ["/both/a", "/open/a", "/nowhere"] {
                let fields = format!("{beside}{name}: {key}\r\n");
                gate.refuses_unread(get_with(path, &fields), 400, "header_alias");
            }
        }
        for field in [
            format!("X-Api-Key : {key}"),
            format!("x-api-key\t: {key}"),
            format!("x-api key: {key}"),
        ] {
            gate.refuses_unread(get_with("/both/a", &format!("{beside}{field}\r\n")), 400, "header_name");
        }
        gate.refuses_unread(
            get_with("/both/a", &format!("{beside}X: 1\r\n x-api-key: {key}\r\n")),
            400,
            "header_folded",
        );
    }
}

// It is about bytes of a head that frames cannot carry.
lanes!(s008_odd_bytes_in_a_credential_are_no_absent_credential: own, own_tls, filter_http1);
fn s008_odd_bytes_in_a_credential_are_no_absent_credential() {
    let gate = Gate::start();
    let with = |before: &str, bytes: &[u8], after: &str| {
        let mut request = format!("GET /both/a HTTP/1.1\r\nHost: gate.test\r\n{before}").into_bytes();
        request.extend_from_slice(bytes);
        request.extend_from_slice(format!("{after}\r\n\r\n").as_bytes());
        request
    };
    let (token, key) = (&gate.token, &gate.key);
    for bytes in [&b"\x80"[..], b"\xff", b"\xc3\xa9", "\u{200b}".as_bytes()] {
        for (before, after) in [("", ""), ("", &**token), (&**token, "")] {
            let request = with(&format!("Authorization: Bearer {before}"), bytes, after);
            gate.refuses_unread(request, 400, "authorization_malformed");
        }
        let request = with(&format!("x-api-key: {key}"), bytes, "");
        gate.refuses_unread(request, 400, "api_key_header_malformed");
        gate.refuses_unread(with("x-api-key: ", bytes, ""), 400, "api_key_header_malformed");
        gate.refuses_unread(with("Authorization: ", bytes, ""), 400, "authorization_malformed");
    }
    for byte in [0, 1, 0x0b, 0x1b, 0x7f] {
        for before in [format!("Authorization: Bearer {token}"), format!("x-api-key: {key}")] {
            gate.refuses_unread(with(&before, &[byte], ""), 400, "header_value");
        }
    }
    for inside in [" ", "\t", "a b"] {
        let request = get_with("/both/a", &format!("x-api-key: {key}{inside}{key}\r\n"));
        gate.refuses_unread(request, 400, "api_key_header_malformed");
    }
    gate.refuses_unread(get_with("/both/a", "x-api-key:\r\n"), 400, "api_key_header_malformed");
}

lanes!(s009_credentials_in_the_query_are_refused_and_never_written);
fn s009_credentials_in_the_query_are_refused_and_never_written() {
    let gate = Gate::<Binary>::serve("x-api-key", |gate| {
        let lenient =
            "match: { path: \"/lenient/{*rest}\" }\naccept: [jwt, api_key]\nquery_credentials: ignore\nupstream: up";
        gate.route("lenient", lenient)
    });
    let (token, key) = (&gate.token, &gate.key);
    let good = format!("Authorization: Bearer {token}\r\n");
    for query in [
        format!("access_token={token}"),
        format!("api_key={key}"),
        format!("x=1&API-Key={key}"),
        format!("%61ccess_token={token}"),
        format!("key={key}&x=1"),
    ] {
        // RFC 6750 section 2.3 allows `access_token` in the query; the gate refuses it, alone or beside a valid header.
        for fields in ["", &good] {
            for path in ["/both/a", "/open/a"] {
                let response =
                    gate.refuses_unread(get_with(&format!("{path}?{query}"), fields), 400, "query_credential");
                assert!(!response.text().contains(token) && !response.text().contains(key));
            }
        }
        let target = format!("/lenient/a?{query}");
        gate.refuses_unread(get_with(&target, ""), 401, "credential_missing");
        let response = gate.exchange(get_with(&target, &good));
        assert_eq!(response.status, 200, "{query}");
        let id = response.header("x-request-id").unwrap();
        let recorded = gate.record(id)["query"].as_str().unwrap().to_owned();
        assert!(recorded.contains("=[redacted]"), "{recorded}");
    }
    let output = gate.running.output();
    assert!(
        !output.contains(token) && !output.contains(key),
        "a credential is in the log"
    );
}

lanes!(s010_bearer_is_one_scheme_one_space_one_token);
fn s010_bearer_is_one_scheme_one_space_one_token() {
    let gate = Gate::start();
    let token = &gate.token;
    for good in [
        format!("Bearer {token}"),
        format!("bearer {token}"),
        format!("BEARER {token}"),
    ] {
        assert_eq!(
            gate.exchange(get_with("/both/a", &format!("Authorization: {good}\r\n")))
                .status,
            200,
            "{good}"
        );
    }
    for bad in [
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer  {token}"),
        format!("Bearer\t{token}"),
        format!("Bearer \t{token}"),
        format!("Bearer {token} b"),
        "Bearer a b".to_owned(),
        format!("xBearer {token}"),
        format!("Bearer: {token}"),
        format!("Bearer{token}"),
        format!("\"Bearer\" {token}"),
        format!("Bearer \"{token}\""),
        format!("Bearer {token};"),
        format!("Bearer ={token}"),
        String::new(),
    ] {
        let request = get_with("/both/a", &format!("Authorization: {bad}\r\n"));
        let response = gate.refuses_unread(request, 400, "authorization_malformed");
        assert_eq!(response.json()["error"], "invalid_request", "{bad:?}");
    }
}

lanes!(s011_a_credential_in_the_other_ones_field_is_none_and_goes_nowhere);
fn s011_a_credential_in_the_other_ones_field_is_none_and_goes_nowhere() {
    let gate = Gate::<Binary>::serve("x-api-key", |gate| gate);
    let (token, key) = (&gate.token, &gate.key);
    for path in ["/both/a", "/key/a"] {
        let response = gate.refuses(
            get_with(path, &format!("x-api-key: {token}\r\n")),
            401,
            "api_key_unknown",
        );
        assert!(!response.text().contains(token));
    }
    for path in ["/both/a", "/jwt/a"] {
        let response = gate.refuses(
            get_with(path, &format!("Authorization: Bearer {key}\r\n")),
            401,
            "token_malformed",
        );
        assert!(!response.text().contains(key));
    }
    // Where the route does not accept the type of credential, the field is not parsed.
    for (path, fields) in [
        ("/key/a", format!("Authorization: Bearer {token}\r\n")),
        ("/jwt/a", format!("x-api-key: {key}\r\n")),
    ] {
        gate.refuses_unread(get_with(path, &fields), 401, "credential_type");
    }
    let output = gate.running.output();
    assert!(
        !output.contains(token) && !output.contains(key),
        "a credential is in the log"
    );
}

lanes!(s012_other_schemes_are_refused_whatever_they_say);
fn s012_other_schemes_are_refused_whatever_they_say() {
    let gate = Gate::start();
    // Basic with `user:pw`, `a@b:c@d:e`, `admin@example.com.evil.test:x`, `:` and nothing; then other schemes.
    for other in [
        "Basic dXNlcjpwdw==",
        "Basic YUBiOmNAZDpl",
        "Basic YWRtaW5AZXhhbXBsZS5jb20uZXZpbC50ZXN0Ong=",
        "Basic Og==",
        "Basic",
        "Digest username=\"a\", realm=\"b\"",
        "Negotiate YII",
        "ApiKey x",
        "Token x",
        "DPoP x",
    ] {
        let request = get_with("/both/a", &format!("Authorization: {other}\r\n"));
        let response = gate.refuses_unread(request, 401, "authorization_scheme");
        assert_eq!(response.json().get("error"), None, "{other}");
    }
    let key_as_basic = get_with("/both/a", &format!("Authorization: Basic {}\r\n", gate.key));
    gate.refuses_unread(key_as_basic, 401, "authorization_scheme");
}

lanes!(s013_unsigned_and_altered_tokens_are_refused);
fn s013_unsigned_and_altered_tokens_are_refused() {
    let gate = Gate::start();
    let parts: Vec<&str> = gate.token.split('.').collect();
    // {"alg":"none","typ":"at+jwt"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";
    let other = gate.token_with(json!({ "sub": "mallory" }));
    let other_payload = other.split('.').nth(1).unwrap();
    for (token, reason) in [
        (format!("{none}.{}.", parts[1]), "token_algorithm"),
        (format!("{none}.{}.{}", parts[1], parts[2]), "token_algorithm"),
        (format!("{}.{}.", parts[0], parts[1]), "bad_signature"),
        (format!("{}.{other_payload}.{}", parts[0], parts[2]), "bad_signature"),
        (format!("{}.{}", parts[0], parts[1]), "token_malformed"),
    ] {
        gate.refuses(
            get_with("/both/a", &format!("Authorization: Bearer {token}\r\n")),
            401,
            reason,
        );
    }
}

lanes!(s022_long_credentials_are_refused_before_anything_is_decoded);
fn s022_long_credentials_are_refused_before_anything_is_decoded() {
    let gate = Gate::start();
    let bearer = |token: &str| get_with("/both/a", &format!("Authorization: Bearer {token}\r\n"));
    let key = |key: &str| get_with("/both/a", &format!("x-api-key: {key}\r\n"));
    for over in [".".repeat(10_000), "a".repeat(8 * 1024 + 1), ".".repeat(8 * 1024 + 1)] {
        gate.refuses_unread(bearer(&over), 400, "credential_too_long");
        gate.refuses_unread(key(&over), 400, "credential_too_long");
    }
    for at_most in ["a".repeat(8 * 1024), ".".repeat(8 * 1024)] {
        gate.refuses(bearer(&at_most), 401, "token_malformed");
        gate.refuses(key(&at_most), 401, "api_key_unknown");
    }
}

lanes!(a_token_may_be_as_long_as_the_configuration_says);
fn a_token_may_be_as_long_as_the_configuration_says() {
    let gate = Gate::start_with(|gate| gate.top("requests: { credential_bytes: 16KiB }"));
    let bearer = |token: &str| get_with("/both/a", &format!("Authorization: Bearer {token}\r\n"));
    let long = gate.token_with(json!({ "groups": "g".repeat(8 * 1024) }));
    assert!(long.len() > 8 * 1024 && long.len() <= 16 * 1024, "{}", long.len());
    assert_eq!(gate.exchange(bearer(&long)).status, 200);
    gate.refuses(bearer(&"a".repeat(16 * 1024)), 401, "token_malformed");
    gate.refuses_unread(bearer(&"a".repeat(16 * 1024 + 1)), 400, "credential_too_long");
}

lanes!(whoever_sends_no_credential_is_told_which_ones_are_taken_and_no_error_code);
fn whoever_sends_no_credential_is_told_which_ones_are_taken_and_no_error_code() {
    let gate = Gate::start();
    for (path, expected) in [
        (
            "/both/a",
            &[
                "Bearer realm=\"keygate\"",
                "ApiKey realm=\"keygate\", header=\"x-api-key\"",
            ][..],
        ),
        ("/jwt/a", &["Bearer realm=\"keygate\""]),
        ("/key/a", &["ApiKey realm=\"keygate\", header=\"x-api-key\""]),
    ] {
        let response = gate.refuses_unread(get_with(path, ""), 401, "credential_missing");
        assert_eq!(response.headers_named("www-authenticate"), expected, "{path}");
        assert_eq!(response.json().get("error"), None, "{path}");
    }
}
