//! What can this authorization server do, and where (RFC 8414 section 2)? Every URL is the configured issuer's, whatever
//! host the request named (S136).

use crate::config::TokenEndpoint;
use crate::control::token::assertion;
use crate::control::token::service::TOKEN;
use serde_json::Value;
use serde_json::json;

/// How clients may authenticate, the same everywhere.
const METHODS: [&str; 3] = ["client_secret_basic", "client_secret_post", "private_key_jwt"];

/// The document, which serves OpenID Connect Discovery 1.0 as well: client programs look there for `token_endpoint`.
pub fn document(endpoint: &TokenEndpoint) -> Value {
    let algorithms = assertion::ALGORITHMS.map(|algorithm| algorithm.as_str());
    json!({
        "issuer": endpoint.issuer.as_str(),
        "token_endpoint": endpoint.url(TOKEN),
        "jwks_uri": endpoint.url("/oauth/jwks"),
        "introspection_endpoint": endpoint.url("/oauth/introspect"),
        "revocation_endpoint": endpoint.url("/oauth/revoke"),
        // There is no authorization endpoint. Section 2 requires the member, section 3.2 would leave an empty list out;
        // readers that insist are of the first kind.
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
