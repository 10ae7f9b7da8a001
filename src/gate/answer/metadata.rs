//! Which metadata of a resource helps a client to get a token (RFC 9728 section 2)?

use crate::config;
use crate::model::scope::Scope;
use bytes::Bytes;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;

/// Returns the metadata of `resource` as JSON. `issuers` are the issuers that the routes of the resource trust;
/// `scopes` are the scopes that these routes require.
pub fn document(
    resource: &config::Resource,
    issuers: impl Iterator<Item = String>,
    scopes: impl Iterator<Item = Scope>,
) -> Bytes {
    let mut servers: Vec<String> = Vec::new();
    for issuer in issuers {
        if !servers.contains(&issuer) {
            servers.push(issuer);
        }
    }
    let mut metadata = json!({
        "resource": resource.url.as_str(),
        "authorization_servers": servers,
        "bearer_methods_supported": ["header"],
    });
    let scopes: BTreeSet<String> = scopes.map(|scope| scope.as_str().to_owned()).collect();
    if !scopes.is_empty() {
        metadata["scopes_supported"] = Value::from_iter(scopes);
    }
    if let Some(documentation) = &resource.documentation {
        metadata["resource_documentation"] = documentation.as_str().into();
    }
    Bytes::from(metadata.to_string())
}
