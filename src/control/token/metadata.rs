//! Which features and URLs does this authorization server have (RFC 8414 section 2)? Every URL is based on the
//! configured issuer, regardless of the request's host (S136).

use crate::config::TokenEndpoint;
use crate::control::token::assertion;
use crate::control::token::service::TOKEN;
use serde_json::Value;
use serde_json::json;

/// The client authentication methods of every endpoint.
const METHODS: [&str; 3] = ["client_secret_basic", "client_secret_post", "private_key_jwt"];

/// Returns the metadata document. The same document serves OpenID Connect
/// Discovery 1.0, where client programs look for `token_endpoint`.
pub fn document(endpoint: &TokenEndpoint) -> Value {
    let algorithms = assertion::ALGORITHMS.map(|algorithm| algorithm.as_str());
    json!({
        "issuer": endpoint.issuer.as_str(),
        "token_endpoint": endpoint.url(TOKEN),
        "jwks_uri": endpoint.url("/oauth/jwks"),
        "introspection_endpoint": endpoint.url("/oauth/introspect"),
        "revocation_endpoint": endpoint.url("/oauth/revoke"),
        // Empty, because there is no authorization endpoint. Section 2 requires the member,
        // section 3.2 omits empty lists; strict readers follow section 2.
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": METHODS,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": METHODS,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
    })
}
