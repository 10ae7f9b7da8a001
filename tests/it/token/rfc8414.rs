//! Authorization server metadata (RFC 8414).

use super::fixture::*;
use axum::body::Body;
use http::Request;
use http::StatusCode;
use keygate::config::token_paths::GlobalEndpoint;
use serde_json::Value;
use serde_json::json;

fn get(gate: &Gate, path: &str, host: &str) -> TokenResponse {
    gate.send(Request::get(path).header("host", host).body(Body::empty()).unwrap())
}

#[test]
fn section_2_both_documents_say_where_and_how() {
    let gate = Gate::new();
    let methods = json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]);
    let algorithms = json!(["RS256", "PS256", "ES256", "EdDSA"]);
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    ] {
        let response = get(&gate, path, "auth.example.com");
        assert_eq!(response.status, StatusCode::OK);
        assert_eq!(response.headers["content-type"], "application/json");
        let expected = json!({
            "issuer": ISSUER,
            "token_endpoint": TOKEN_URL,
            "jwks_uri": "https://auth.example.com/oauth/jwks",
            "introspection_endpoint": "https://auth.example.com/oauth/introspect",
            "revocation_endpoint": "https://auth.example.com/oauth/revoke",
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": methods,
            "token_endpoint_auth_signing_alg_values_supported": algorithms,
            "introspection_endpoint_auth_methods_supported": methods,
            "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
            "revocation_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        });
        assert_eq!(response.json, expected);
    }
}

#[test]
fn s136_section_3_the_document_is_the_configured_issuers_whatever_the_host() {
    let gate = Gate::new();
    let path = "/.well-known/oauth-authorization-server";
    let plain = get(&gate, path, "auth.example.com");
    for host in ["evil.example", "auth.example.com:1", ""] {
        assert_eq!(get(&gate, path, host).text, plain.text);
    }
    let forwarded = Request::get(path)
        .header("x-forwarded-host", "evil.example")
        .header("forwarded", "host=evil.example")
        .body(Body::empty())
        .unwrap();
    assert_eq!(gate.send(forwarded).text, plain.text);
}

#[test]
fn section_3_1_an_issuer_with_a_path_has_its_document_where_readers_look() {
    let gate = Gate::with(|endpoint| endpoint.issuer = "https://example.com/auth/".parse().unwrap());
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/auth",
        "/.well-known/openid-configuration",
        "/auth/.well-known/openid-configuration",
    ] {
        let response = get(&gate, path, "example.com");
        assert_eq!(response.json["issuer"], "https://example.com/auth/", "{path}");
        assert_eq!(response.json["token_endpoint"], "https://example.com/auth/oauth/token");
    }
    let secret = gate.secret_client("a");
    let form = with_secret("a", &secret);
    for path in ["/oauth/token", "/auth/oauth/token", "/auth/t/acme/oauth/token"] {
        gate.post(path, &form).token();
    }
}

#[test]
fn section_3_3_an_organizations_document_has_the_issuer_that_its_url_says() {
    let gate = Gate::new();
    let path = "/t/acme/.well-known/oauth-authorization-server";
    let document = get(&gate, path, "auth.example.com").json;
    assert_eq!(document["issuer"], "https://auth.example.com/t/acme");
    assert_eq!(
        document["token_endpoint"],
        "https://auth.example.com/t/acme/oauth/token"
    );
    assert_eq!(
        document["introspection_endpoint"],
        "https://auth.example.com/oauth/introspect"
    );
    // Nobody finds out which organizations there are.
    let other = get(&gate, &path.replace("acme", "nobody"), "auth.example.com");
    assert_eq!(
        (other.status, other.text),
        (StatusCode::OK, document.to_string().replace("acme", "nobody"))
    );
    assert_eq!(
        get(&gate, &path.replace("acme", "A%20B"), "x").status,
        StatusCode::NOT_FOUND
    );
}

#[test]
fn clients_of_an_organization_get_tokens_at_its_endpoint_alone_where_the_configuration_says_so() {
    let gate = Gate::with(|endpoint| endpoint.global_endpoint = GlobalEndpoint::BuiltInOrganizations);
    let secret = gate.secret_client("a");
    let form = with_secret("a", &secret);
    assert_eq!(
        gate.post(TOKEN, &form).error(),
        (400, "invalid_client", "invalid client")
    );
    gate.post("/t/acme/oauth/token", &form).token();
    let secret = "kgs_secret-of-b";
    gate.client_with("b", gate.secrets(&[(secret, None)]), |record| {
        record.organization = "default".parse().unwrap();
        record.subscription = "sub_default".parse().unwrap();
    });
    gate.post(TOKEN, &with_secret("b", secret)).token();
}

#[test]
fn without_a_token_endpoint_there_is_nothing() {
    let gate = Gate::new();
    let secret = gate.secret_client("a");
    gate.reconfigure(|settings| settings.token_endpoint = None);
    let response = get(&gate, "/.well-known/oauth-authorization-server", "x");
    assert_eq!((response.status, response.json), (StatusCode::NOT_FOUND, Value::Null));
    assert_eq!(gate.with_secret("a", &secret).status, StatusCode::SERVICE_UNAVAILABLE);
}
