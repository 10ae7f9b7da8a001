//! Which features and URLs does this authorization server have (RFC 8414 section 2)? Every URL is based on the
//! configured issuer, regardless of the request's host (S136).

use crate::config::TokenEndpoint;
use crate::control::token::assertion;
use crate::model::names::Name;
use serde_json::Value;
use serde_json::json;

/// The client authentication methods of every endpoint.
const METHODS: [&str; 3] = ["client_secret_basic", "client_secret_post", "private_key_jwt"];

/// Returns the metadata document, of the gate or of one organization. The same document serves OpenID Connect
/// Discovery 1.0, where client programs look for `token_endpoint`.
///
/// An organization's document has the issuer that its URL says (section 3.3), which its clients compare. The tokens are of
/// the gate's issuer all the same: whoever verifies them knows one issuer.
pub fn document(endpoint: &TokenEndpoint, organization: Option<&Name>) -> Value {
    let algorithms = assertion::ALGORITHMS.map(|algorithm| algorithm.as_str());
    let (issuer, token_url) = match organization.map(Name::as_str) {
        None => (endpoint.issuer.as_str().to_owned(), endpoint.token_url()),
        Some(organization) => (
            endpoint.tenant_issuer(organization),
            endpoint.tenant_token_url(organization),
        ),
    };
    json!({
        "issuer": issuer,
        "token_endpoint": token_url,
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
