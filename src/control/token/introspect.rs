//! Is this token good, and whose is it (RFC 7662)? Told to clients that may know.
//!
//! A client is told of tokens of its own organization, and of those that name it in `aud`. Clients of the organization
//! `operators` are told of all: that is who a resource server is that serves everybody. Of any other token it is told
//! what it would be told of a text that is none: `{"active": false}` (section 2.2).

use crate::config::TokenEndpoint;
use crate::control::clients::Client;
use crate::control::token::own_tokens::OwnToken;
use crate::model::plan::OPERATORS;
use serde_json::Value;
use serde_json::json;

/// Whether `client` may be told of `token`.
pub fn may_see(client: &Client, token: &OwnToken) -> bool {
    let record = &client.record;
    record.organization == token.organization
        || record.organization.as_str() == OPERATORS
        || token.audiences.iter().any(|audience| audience == record.id.as_str())
}

pub fn inactive() -> Value {
    json!({ "active": false })
}

/// Section 2.2.
pub fn active(endpoint: &TokenEndpoint, token: &OwnToken) -> Value {
    let mut response = token.claims(endpoint);
    response["active"] = true.into();
    response["token_type"] = "Bearer".into();
    response
}
