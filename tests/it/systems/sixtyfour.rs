//! Sixtyfour: OAuth clients with RS256 keys, at a URL of the customer or uploaded.

use super::Customer;
use super::ExampleGate;
use super::access_token;
use super::claims;
use super::oauth_error;
use super::problem;
use super::rsa_key;
use super::text;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use serde_json::Value;
use serde_json::json;

const API: &str = "/v1/enrich-lead";

fn rs256() -> SigningKey {
    rsa_key(Algorithm::Rs256)
}

/// Creates a client whose keys are at the customer's URL. Returns its id.
#[track_caller]
fn client_with_url(system: &ExampleGate, customer: &Customer) -> String {
    let client = system.admin.create(
        "/clients",
        json!({
            "name": "my-production-app", "authentication": "private_key_jwt", "jwks_url": customer.url(),
            "scopes": ["full_access"],
        }),
    );
    text(&client["id"])
}

/// Creates a client whose keys are uploaded. Returns its id.
#[track_caller]
fn client_with_uploads(system: &ExampleGate) -> String {
    let client = system.admin.create(
        "/clients",
        json!({ "name": "my-production-app", "authentication": "private_key_jwt", "scopes": ["full_access"] }),
    );
    text(&client["id"])
}

/// Performs the documented step "Validate JWKS".
#[track_caller]
fn validate(system: &ExampleGate, client: &str) -> Value {
    system
        .admin
        .post(&format!("/clients/{client}/jwks/validate"), json!({}))
}

#[track_caller]
fn upload(system: &ExampleGate, client: &str, key: &SigningKey) -> Value {
    system.admin.create(
        &format!("/clients/{client}/keys"),
        json!({ "public_key": key.public_pem() }),
    )
}

#[test]
fn a_certified_client_discovers_authenticates_by_a_jwks_url_and_calls_the_api() {
    let customer = Customer::start();
    let key = rs256();
    customer.publish(&[&key]);
    let system = ExampleGate::start_for("sixtyfour", &customer);
    let client = client_with_url(&system, &customer);

    let health = validate(&system, &client);
    assert_eq!(health["state"], "ok", "{health}");
    assert!(health["last_good_at"].is_string(), "{health}");
    assert_eq!(health["keys"][0]["kid"], key.kid(), "{health}");
    let shown = system.admin.get(&format!("/clients/{client}"));
    assert_eq!(shown["jwks"], health, "{shown}");

    let pem = key.to_pkcs8_pem().unwrap();
    let key_path = system.file("client.pem", pem.expose());
    for discovery in ["oauth2", "oidc"] {
        let report = system
            .oauth4webapi(&client)
            .env("DISCOVERY", discovery)
            .env("KEY_PATH", &key_path)
            .env("ALGORITHM", "RS256")
            .env("KID", key.kid())
            .env("SCOPE", "full_access")
            .env("AUDIENCE", &system.url)
            .env("THEN", "introspect revoke introspect")
            .run()
            .json();
        let metadata = &report["metadata"];
        assert_eq!(metadata["token_endpoint"], format!("{}/oauth/token", system.url));
        for method in ["private_key_jwt", "client_secret_basic", "client_secret_post"] {
            let methods = metadata["token_endpoint_auth_methods_supported"].as_array().unwrap();
            assert!(methods.contains(&method.into()), "{metadata}");
        }
        let algorithms = &metadata["token_endpoint_auth_signing_alg_values_supported"];
        assert!(algorithms.as_array().unwrap().contains(&"RS256".into()), "{metadata}");
        assert_eq!(report["cache_control"], "no-store");
        assert_eq!(report["token"]["scope"], "full_access", "{report}");
        assert_eq!(report["claims"]["sub"], client, "{report}");
        assert_eq!(report["then"][0]["active"], true, "{report}");
        assert_eq!(report["then"][0]["client_id"], client, "{report}");
        assert_eq!(report["then"][2], json!({ "active": false }), "{report}");
        let revoked = text(&report["token"]["access_token"]);
        assert_eq!(problem(&system.with_token(API, &revoked), 401), "invalid-token");
    }

    let token = access_token(&system.token_by_key(&client, &key, Some(key.kid())));
    assert_eq!(system.with_token(API, &token).status, 200);
    let seen = system.upstream.only_received();
    assert_eq!(seen.headers_named("x-keygate-client-id"), [&*client]);
    assert_eq!(seen.headers_named("x-keygate-subject"), [&*client]);
    assert_eq!(seen.headers_named("x-keygate-scope"), ["full_access"]);
    assert_eq!(seen.headers_named("authorization"), [""; 0]);
}

#[test]
fn authlib_with_its_defaults_gets_tokens_by_assertions_that_live_for_an_hour() {
    let system = ExampleGate::start("sixtyfour");
    let client = client_with_uploads(&system);
    let key = rs256();
    upload(&system, &client, &key);
    let key_path = system.file("client.pem", key.to_pkcs8_pem().unwrap().expose());
    for integration in ["requests", "httpx"] {
        let report = system
            .authlib(&client)
            .env("INTEGRATION", integration)
            .env("KEY_PATH", &key_path)
            .env("THEN", "introspect")
            .env("API", format!("{}{API}", system.url))
            .run()
            .json();
        assert_eq!(report["token"]["token_type"], "Bearer", "{report}");
        assert_eq!(report["then"][0]["active"], true, "{report}");
        assert_eq!(report["api"], 200, "{report}");
    }
}

#[test]
fn the_key_set_behind_a_url_is_rotated_by_validating() {
    let customer = Customer::start();
    let (old, new) = (rs256(), rs256());
    customer.publish(&[&old]);
    let system = ExampleGate::start_for("sixtyfour", &customer);
    let client = client_with_url(&system, &customer);
    let issued = access_token(&system.token_by_key(&client, &old, Some(old.kid())));

    // Both keys, then the new one alone.
    customer.publish(&[&old, &new]);
    assert_eq!(validate(&system, &client)["keys"].as_array().unwrap().len(), 2);
    for key in [&old, &new] {
        access_token(&system.token_by_key(&client, key, Some(key.kid())));
        access_token(&system.token_by_key(&client, key, None));
    }
    customer.publish(&[&new]);
    validate(&system, &client);
    let refused = system.token_by_key(&client, &old, Some(old.kid()));
    assert_eq!(oauth_error(&refused, 400).0, "invalid_client");
    access_token(&system.token_by_key(&client, &new, Some(new.kid())));
    // Tokens issued for the old key stay valid.
    assert_eq!(system.with_token(API, &issued).status, 200);
}

#[test]
fn a_failing_key_set_shows_in_its_health_and_the_last_good_one_serves_on() {
    let customer = Customer::start();
    let key = rs256();
    customer.publish(&[&key]);
    let system = ExampleGate::start_for("sixtyfour", &customer);
    let client = client_with_url(&system, &customer);
    let good = validate(&system, &client);
    customer.server.forget_all();
    let failing = validate(&system, &client);
    assert_eq!(failing["state"], "failing", "{failing}");
    assert_eq!(failing["last_good_at"], good["last_good_at"], "{failing}");
    assert!(
        failing["last_error"].as_str().is_some_and(|error| !error.is_empty()),
        "{failing}"
    );
    access_token(&system.token_by_key(&client, &key, Some(key.kid())));
}

#[test]
fn where_the_keys_come_from_is_chosen_once() {
    let customer = Customer::start();
    let key = rs256();
    customer.publish(&[&key]);
    let system = ExampleGate::start_for("sixtyfour", &customer);
    let (url, uploads) = (client_with_url(&system, &customer), client_with_uploads(&system));
    let upload = json!({ "public_key": key.public_pem() });
    for body in [upload, json!({ "generate": "RS256" })] {
        let response = system.admin.call("POST", &format!("/clients/{url}/keys"), Some(body));
        assert!([409, 422].contains(&response.status), "{response:?}");
    }
    for (client, body) in [
        (&uploads, json!({ "jwks_url": customer.url() })),
        (&url, json!({ "authentication": "client_secret" })),
    ] {
        let response = system
            .admin
            .call("PATCH", &format!("/clients/{client}"), Some(body.clone()));
        assert!([400, 409, 422].contains(&response.status), "{body}: {response:?}");
    }
    // A URL with plain HTTP is rejected at creation.
    let plain = json!({
        "name": "plain", "authentication": "private_key_jwt", "jwks_url": "http://app.example.com/jwks",
    });
    system
        .admin
        .expect_refusal("POST", "/clients", Some(plain), 422, "invalid-request");
}

#[test]
fn an_uploaded_key_is_rotated_by_a_second_one() {
    let system = ExampleGate::start("sixtyfour");
    let client = client_with_uploads(&system);
    let (old, new) = (rs256(), rs256());
    let response = oauth_error(&system.token_by_key(&client, &old, None), 400);
    assert_eq!(response.0, "invalid_client", "no key yet");

    let (first, second) = (upload(&system, &client, &old), upload(&system, &client, &new));
    let (old_kid, new_kid) = (text(&first["kid"]), text(&second["kid"]));
    assert_ne!(old_kid, new_kid);
    assert!(text(&first["fingerprint"]).contains(old.kid()), "RFC 7638: {first}");
    assert_eq!(first.get("private_key"), None, "{first}");
    let issued = access_token(&system.token_by_key(&client, &old, Some(&old_kid)));
    access_token(&system.token_by_key(&client, &new, Some(&new_kid)));
    // The id of one key with the signature of another.
    let crossed = system.token_by_key(&client, &new, Some(&old_kid));
    assert_eq!(
        oauth_error(&crossed, 400),
        ("invalid_client".to_owned(), "invalid JWT signature".to_owned())
    );

    system
        .admin
        .perform("DELETE", &format!("/clients/{client}/keys/{old_kid}"), None);
    for kid in [Some(&*old_kid), None] {
        let refused = system.token_by_key(&client, &old, kid);
        assert_eq!(oauth_error(&refused, 400).0, "invalid_client", "{kid:?}");
    }
    access_token(&system.token_by_key(&client, &new, Some(&new_kid)));
    assert_eq!(
        system.with_token(API, &issued).status,
        200,
        "stays valid until it expires"
    );
}

#[test]
fn what_is_no_public_key_is_not_uploaded() {
    let system = ExampleGate::start("sixtyfour");
    let client = client_with_uploads(&system);
    let key = rs256();
    let private = key.to_pkcs8_pem().unwrap();
    let two = key.public_pem() + &rs256().public_pem();
    for pem in [
        private.expose(),
        &two,
        include_str!("../../data/jose/p256.certificate.pem"),
        include_str!("../../data/jose/rsa1024.public.pem"),
        "public.pem",
        "",
    ] {
        let body = json!({ "public_key": pem });
        let response = system
            .admin
            .call("POST", &format!("/clients/{client}/keys"), Some(body));
        assert_eq!(response.status, 422, "{pem}: {response:?}");
        // A private key uploaded by mistake is not repeated in the response.
        assert!(
            !response.json.to_string().contains("PRIVATE KEY-----\\n"),
            "{response:?}"
        );
    }
    let keys = system.admin.get(&format!("/clients/{client}/keys"));
    assert_eq!(keys["items"], json!([]), "{keys}");
}

#[test]
fn tokens_live_for_one_of_four_times() {
    let system = ExampleGate::start("sixtyfour");
    let client = client_with_uploads(&system);
    let key = rs256();
    upload(&system, &client, &key);
    let path = format!("/clients/{client}");
    for (ttl, secs) in [("60s", 60), ("5m", 300), ("1h", 3_600), ("24h", 86_400), ("1m", 60)] {
        system.admin.perform("PATCH", &path, Some(json!({ "token_ttl": ttl })));
        let response = system.token_by_key(&client, &key, None);
        assert_eq!(response.json["expires_in"], secs, "{response:?}");
        let token = access_token(&response);
        let claims = claims(&token);
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), secs);
        assert_eq!(system.with_token(API, &token).status, 200, "{ttl}");
    }
    for ttl in ["59s", "2h", "48h", "", "never"] {
        let response = system.admin.call("PATCH", &path, Some(json!({ "token_ttl": ttl })));
        assert!([400, 422].contains(&response.status), "{ttl}: {response:?}");
    }
}

#[test]
fn both_headers_are_refused_wherever_they_are_sent() {
    let system = ExampleGate::start("sixtyfour");
    let client = client_with_uploads(&system);
    let key = rs256();
    upload(&system, &client, &key);
    let token = access_token(&system.token_by_key(&client, &key, None));
    let api_key = system.admin.create(
        "/keys",
        json!({ "name": "ci", "expires": "30d", "scopes": ["full_access"] }),
    );
    let api_key = text(&api_key["key"]);
    assert_eq!(system.with_token(API, &token).status, 200);
    assert_eq!(system.with_key(API, &api_key).status, 200);
    // Each credential alone is valid.
    let both = format!("Authorization: Bearer {token}\r\nx-api-key: {api_key}\r\n");
    let response = system.get(API, &both);
    assert_eq!(problem(&response, 400), "two-credentials");
    for name in ["Authorization", "x-api-key"] {
        assert!(response.text().contains(name), "{}", response.text());
    }
    let response = system.request("POST", "/oauth/token", &both, "");
    assert_eq!(response.status, 400, "{}", response.text());
    assert_eq!(system.upstream.received().len(), 2);
}
