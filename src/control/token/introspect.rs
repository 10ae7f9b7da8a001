//! Is this token valid, and to which client was it issued (RFC 7662)? Only permitted clients receive the details.
//!
//! A client may introspect tokens of its own organization and tokens that name it in `aud`. Clients of the organization
//! `operators` may introspect all tokens: a resource server for all organizations belongs there. For any other token
//! the response is the same as for an invalid text: `{"active": false}` (section 2.2).

use crate::config::TokenEndpoint;
use crate::control::clients::Client;
use crate::control::token::own_tokens::OwnToken;
use crate::model::plan::OPERATORS;
use serde_json::Value;
use serde_json::json;

/// Returns whether `client` may see the details of `token`.
pub fn may_see(client: &Client, token: &OwnToken) -> bool {
    let record = &client.record;
    record.organization == token.organization
        || record.organization.as_str() == OPERATORS
        || token.audiences.iter().any(|audience| audience == record.id.as_str())
}

/// Returns the response for a token that is not valid, or not visible to the client (section 2.2).
pub fn inactive() -> Value {
    json!({ "active": false })
}

/// Returns the response for a valid token (section 2.2).
pub fn active(endpoint: &TokenEndpoint, token: &OwnToken) -> Value {
    let mut response = token.claims(endpoint);
    response["active"] = true.into();
    response["token_type"] = "Bearer".into();
    response
}
