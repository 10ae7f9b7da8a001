//! ScaiKey: services with a secret, and tokens at the global endpoint and at the endpoint of a tenant.

use super::ExampleGate;
use super::access_token;
use super::claims;
use super::oauth_error;
use super::problem;
use super::text;
use crate::support::RawClient;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oauth2::AuthType;
use oauth2::ClientId;
use oauth2::ClientSecret;
use oauth2::HttpRequest;
use oauth2::HttpResponse;
use oauth2::IntrospectionUrl;
use oauth2::Scope;
use oauth2::TokenIntrospectionResponse;
use oauth2::TokenResponse;
use oauth2::TokenUrl;
use oauth2::basic::BasicClient;
use serde_json::json;
use std::io;

const GLOBAL: &str = "/api/v1/platform/oauth/token";
const TENANTS: &str = "/api/v1/platform/tenants";

/// Creates an application of type SERVICE and returns its id and secret. An empty `subscription` means no tenant.
#[track_caller]
fn service(system: &ExampleGate, scopes: &[&str], subscription: &str) -> (String, String) {
    let mut body = json!({ "name": "service", "authentication": "client_secret", "scopes": scopes });
    if !subscription.is_empty() {
        body["subscription"] = subscription.into();
    }
    let client = system.admin.create("/clients", body);
    (text(&client["id"]), text(&client["client_secret"]))
}

/// Creates a tenant: the subscription of its services. Returns the id.
#[track_caller]
fn tenant(system: &ExampleGate, slug: &str) -> String {
    system
        .admin
        .create("/organizations", json!({ "id": slug, "name": slug }));
    let subscription = system.admin.create(
        "/subscriptions",
        json!({ "organization": slug, "plan": "default", "environment": "live" }),
    );
    let id = text(&subscription["id"]);
    if subscription["state"] == "pending" {
        system.admin.post(&format!("/subscriptions/{id}/approve"), json!({}));
    }
    id
}

#[test]
fn a_service_gets_a_token_by_its_secret_and_calls_what_its_scopes_allow() {
    let system = ExampleGate::start("scaikey");
    let (id, secret) = service(&system, &["openid", "admin:read"], "");
    let response = system.token_by_secret(GLOBAL, &id, &secret, "");
    let token = access_token(&response);
    assert_eq!(response.json["expires_in"], 3_600, "{response:?}");
    let claims = claims(&token);
    assert_eq!(claims["sub"], id);
    assert_eq!(claims["client_id"], id);
    assert_eq!(claims["iss"], system.url);
    assert_eq!(claims["aud"], system.url);
    assert_eq!(claims["scope"], response.json["scope"]);

    assert_eq!(system.with_token(TENANTS, &token).status, 200);
    let seen = system.upstream.only_received();
    assert_eq!(seen.headers_named("x-keygate-subject"), [&*id]);
    assert_eq!(seen.headers_named("x-keygate-organization"), ["default"]);

    // The same request gives a new token. There is no refresh token.
    assert_ne!(access_token(&system.token_by_secret(GLOBAL, &id, &secret, "")), token);
    let basic = format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{id}:{secret}")));
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", &*token)];
    let response = system.form(GLOBAL, &basic, &refresh);
    assert_eq!(oauth_error(&response, 400).0, "unsupported_grant_type");
}

#[test]
fn a_token_without_either_scope_is_told_both() {
    let system = ExampleGate::start("scaikey");
    let (id, secret) = service(&system, &["openid"], "");
    let token = access_token(&system.token_by_secret(GLOBAL, &id, &secret, ""));
    let received = system.with_token(TENANTS, &token);
    assert_eq!(problem(&received, 403), "insufficient-scope");
    let challenge = received.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    // A client that asks for one scope more than it may have gets no token: the challenge names one.
    assert!(challenge.contains("scope=\"admin:read\""), "{challenge}");
    let told = "One of `admin:read`, `admin:write` is enough.";
    assert!(received.text().contains(told), "{}", received.text());
    // "Go back and add it to the application's allowed scopes."
    let path = format!("/clients/{id}");
    system
        .admin
        .perform("PATCH", &path, Some(json!({ "scopes": ["openid", "admin:read"] })));
    let token = access_token(&system.token_by_secret(GLOBAL, &id, &secret, ""));
    assert_eq!(system.with_token(TENANTS, &token).status, 200);
    // A scope to read does not permit a change.
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let received = system.request("POST", TENANTS, &bearer, "");
    assert_eq!(problem(&received, 403), "insufficient-scope");
    assert!(received.header("www-authenticate").unwrap().contains("admin:write"));
}

#[test]
fn no_token_is_wider_than_its_service_or_its_plan() {
    let system = ExampleGate::start("scaikey");
    let (id, secret) = service(&system, &["openid", "admin:read"], "");
    let response = system.token_by_secret(GLOBAL, &id, &secret, "admin:read");
    assert_eq!(response.json["scope"], "admin:read", "{response:?}");
    for scope in ["admin:write", "admin:read admin:write", "ADMIN:READ", "admin"] {
        let response = system.token_by_secret(GLOBAL, &id, &secret, scope);
        assert_eq!(oauth_error(&response, 400).0, "invalid_scope", "{scope}");
    }
    let wider = json!({ "name": "wider", "authentication": "client_secret", "scopes": ["root"] });
    let response = system.admin.call("POST", "/clients", Some(wider));
    assert!([409, 422].contains(&response.status), "{response:?}");
    // The plan permits client secrets, and no other credential.
    let key = json!({ "name": "key", "expires": "90d" });
    let response = system.admin.call("POST", "/keys", Some(key));
    assert!([409, 422].contains(&response.status), "{response:?}");
}

#[test]
fn a_tenant_has_an_endpoint_that_knows_no_other_services() {
    let system = ExampleGate::start("scaikey");
    let (acme, globex) = (tenant(&system, "acme"), tenant(&system, "globex"));
    let scopes = ["openid", "admin:read"];
    let (id, secret) = service(&system, &scopes, &acme);
    let (other_id, other_secret) = service(&system, &scopes, &globex);
    let (global_id, global_secret) = service(&system, &scopes, "");

    let token = access_token(&system.token_by_secret("/api/v1/auth/tenants/acme/oauth/token", &id, &secret, ""));
    assert_eq!(claims(&token)["org"], "acme");
    for (id, secret) in [(&other_id, &other_secret), (&global_id, &global_secret)] {
        let response = system.token_by_secret("/api/v1/auth/tenants/acme/oauth/token", id, secret, "");
        assert_eq!(
            oauth_error(&response, 401),
            ("invalid_client".to_owned(), "invalid client".to_owned())
        );
    }
    let response = system.token_by_secret("/api/v1/auth/tenants/nobody/oauth/token", &id, &secret, "");
    assert_eq!(oauth_error(&response, 401).0, "invalid_client");

    // A tenant's service gets nothing at the global endpoint, and the paths of other gates are none here.
    let response = system.token_by_secret(GLOBAL, &id, &secret, "");
    assert_eq!(oauth_error(&response, 401).0, "invalid_client");
    for path in ["/oauth/token", "/t/acme/oauth/token"] {
        assert_eq!(system.request("POST", path, "", "").status, 404, "{path}");
    }
    let shown = system.admin.get(&format!("/clients/{id}"));
    let tenant_issuer = format!("{}/api/v1/auth/tenants/acme", system.url);
    assert_eq!(shown["token_endpoint"], format!("{tenant_issuer}/oauth/token"));
    // The tenant's metadata says where, at the places where programs look (RFC 8414 section 3, OpenID Connect Discovery).
    for path in [
        "/.well-known/oauth-authorization-server/api/v1/auth/tenants/acme",
        "/.well-known/openid-configuration/api/v1/auth/tenants/acme",
        "/api/v1/auth/tenants/acme/.well-known/openid-configuration",
    ] {
        let response = system.get(path, "");
        let document: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(document["issuer"], tenant_issuer, "{path}");
        assert_eq!(
            document["token_endpoint"],
            format!("{tenant_issuer}/oauth/token"),
            "{path}"
        );
        assert_eq!(document["jwks_uri"], format!("{}/oauth/jwks", system.url), "{path}");
    }

    let (own, platform) = ("/api/v1/tenant/users", TENANTS);
    assert_eq!(system.with_token(own, &token).status, 200);
    assert_eq!(
        system.upstream.only_received().headers_named("x-keygate-organization"),
        ["acme"]
    );
    assert_eq!(problem(&system.with_token(platform, &token), 403), "not-allowed");
}

#[test]
fn programs_of_a_tenant_find_its_endpoint_in_its_metadata() {
    let system = ExampleGate::start("scaikey");
    let acme = tenant(&system, "acme");
    let (id, secret) = service(&system, &["openid", "admin:read"], &acme);
    let issuer = format!("{}/api/v1/auth/tenants/acme", system.url);
    for discovery in ["oauth2", "oidc"] {
        let report = system
            .oauth4webapi(&id)
            .env("ISSUER", &issuer)
            .env("DISCOVERY", discovery)
            .env("CLIENT_SECRET", &secret)
            .env("SCOPE", "admin:read")
            .env("THEN", "introspect revoke introspect")
            .run()
            .json();
        assert_eq!(report["metadata"]["issuer"], issuer, "{report}");
        assert_eq!(report["token"]["scope"], "admin:read", "{report}");
        assert_eq!(report["then"][0]["active"], true, "{report}");
        assert_eq!(report["then"][2], json!({ "active": false }), "{report}");
    }
    let secret_file = system.file("secret", &secret);
    let command = [
        "token",
        "get",
        "--client-id",
        &id,
        "--secret-file",
        secret_file.to_str().unwrap(),
    ];
    let token = system.program(&[&command[..], &["--issuer", &issuer]].concat());
    assert_eq!(claims(token.trim_end())["org"], "acme");
    assert_eq!(system.with_token("/api/v1/tenant/users", token.trim_end()).status, 200);
}

#[test]
fn the_secret_is_shown_once() {
    let system = ExampleGate::start("scaikey");
    let (id, secret) = service(&system, &["openid"], "");
    assert!(
        secret
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
        "{secret}"
    );
    for path in ["/clients".to_owned(), format!("/clients/{id}"), "/audit".to_owned()] {
        let shown = system.admin.get(&path).to_string();
        assert!(shown.contains(&id), "{path}: {shown}");
        assert!(!shown.contains(&secret), "{path}: {shown}");
    }
}

#[test]
fn every_client_library_gets_a_token_by_its_own_way_of_sending_a_secret() {
    let system = ExampleGate::start("scaikey");
    let (id, secret) = service(&system, &["openid", "admin:read"], "");
    for method in ["client_secret_basic", "client_secret_post"] {
        let report = system
            .oauth4webapi(&id)
            .env("CLIENT_SECRET", &secret)
            .env("AUTHENTICATION", method)
            .env("SCOPE", "admin:read")
            .env("AUDIENCE", &system.url)
            .env("THEN", "introspect revoke introspect")
            .run()
            .json();
        assert_eq!(report["claims"]["scope"], "admin:read", "{method}: {report}");
        assert_eq!(report["then"][0]["active"], true, "{method}: {report}");
        assert_eq!(report["then"][2]["active"], false, "{method}: {report}");
    }
    // Authlib's default is client_secret_basic.
    for method in ["", "client_secret_post"] {
        let mut program = system.authlib(&id).env("CLIENT_SECRET", &secret);
        if !method.is_empty() {
            program = program.env("AUTHENTICATION", method);
        }
        let report = program
            .env("THEN", "introspect revoke introspect")
            .env("SCOPE", "openid admin:read")
            .run()
            .json();
        assert_eq!(report["then"][0]["active"], true, "{method}: {report}");
        assert_eq!(report["then"][1]["revoked"], 200, "{method}: {report}");
        assert_eq!(report["then"][2]["active"], false, "{method}: {report}");
    }
    for method in [AuthType::BasicAuth, AuthType::RequestBody] {
        rust_oauth2(&system, &id, &secret, method);
    }
}

#[test]
fn every_client_library_understands_why_it_is_refused() {
    let system = ExampleGate::start("scaikey");
    let (id, secret) = service(&system, &["openid"], "");
    let report = system.oauth4webapi(&id).env("CLIENT_SECRET", "wrong").run().json();
    assert_eq!(report["refused"]["status"], 401, "{report}");
    let report = system
        .oauth4webapi(&id)
        .env("CLIENT_SECRET", &secret)
        .env("SCOPE", "admin:write")
        .run()
        .json();
    assert_eq!(report["refused"]["error"], "invalid_scope", "{report}");
    let report = system.authlib(&id).env("CLIENT_SECRET", "wrong").run().json();
    assert_eq!(
        report["refused"],
        json!({ "error": "invalid_client", "error_description": "invalid client" })
    );
    let client = BasicClient::new(ClientId::new(id))
        .set_client_secret(ClientSecret::new("wrong".to_owned()))
        .set_token_uri(TokenUrl::new(format!("{}{GLOBAL}", system.url)).unwrap());
    let refused = client
        .exchange_client_credentials()
        .request(&http(&system))
        .unwrap_err();
    let oauth2::RequestTokenError::ServerResponse(refused) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.error().as_ref(), "invalid_client");
}

/// Runs the `oauth2` crate over the tests' raw client.
#[track_caller]
fn rust_oauth2(system: &ExampleGate, id: &str, secret: &str, method: AuthType) {
    let client = BasicClient::new(ClientId::new(id.to_owned()))
        .set_client_secret(ClientSecret::new(secret.to_owned()))
        .set_auth_type(method)
        .set_token_uri(TokenUrl::new(format!("{}{GLOBAL}", system.url)).unwrap())
        .set_introspection_url(IntrospectionUrl::new(format!("{}/oauth/introspect", system.url)).unwrap());
    let http = http(system);
    let token = client
        .exchange_client_credentials()
        .add_scope(Scope::new("admin:read".to_owned()))
        .request(&http)
        .unwrap();
    assert_eq!(token.expires_in().unwrap().as_secs(), 3_600);
    assert!(token.refresh_token().is_none());
    assert_eq!(system.with_token(TENANTS, token.access_token().secret()).status, 200);
    let response = client.introspect(token.access_token()).request(&http).unwrap();
    assert!(response.active());
    assert_eq!(response.client_id().map(|id| id.as_str()), Some(id));
}

fn http(system: &ExampleGate) -> impl Fn(HttpRequest) -> Result<HttpResponse, io::Error> {
    let address = system.gate.data();
    move |request| {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let mut text = format!(
            "{} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
            head.method,
            body.len()
        );
        for (name, value) in &head.headers {
            text.push_str(&format!("{name}: {}\r\n", value.to_str().map_err(io::Error::other)?));
        }
        let bytes = [text.as_bytes(), b"\r\n", &body].concat();
        let received = RawClient::connect(address).send(bytes).try_receive()?;
        let mut response = http::Response::builder().status(received.status);
        for (name, value) in &received.headers {
            response = response.header(name, value);
        }
        response.body(received.body).map_err(io::Error::other)
    }
}
