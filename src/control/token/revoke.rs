//! How does a client revoke a token of its own (RFC 7009)?

use crate::control::Control;
use crate::control::clients::Client;
use crate::control::token::error::TokenEndpointError;
use crate::control::token::own_tokens;
use crate::control::token::own_tokens::OwnTokenError;
use crate::model::clock::Timestamp;
use crate::observe::access::rfc3339;
use crate::store::Batch;
use crate::store::Write;
use crate::store::record::NewAuditEvent;
use crate::store::record::RevokedTokenRecord;
use crate::store::revocations::Revocation;
use crate::store::within_store_wait;
use serde_json::json;
use std::net::IpAddr;
use std::time::Duration;

/// The time for which an expired token is revoked nevertheless: the clock may be ahead, and the token valid once it is set back.
const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(3 * 86_400);

/// Revokes `token` if it was issued to `client`. When this returns, the revocation is in force, and on disk unless neither the
/// store nor the log of revocations can be written. Succeeds for invalid tokens and long expired ones too (section 2.2).
///
/// # Errors
/// The token belongs to another client, there is no token endpoint, or the process ends while the disk takes no writes.
pub async fn revoke(
    control: &Control,
    client: &Client,
    token: &str,
    from: Option<IpAddr>,
    now: Timestamp,
) -> Result<(), TokenEndpointError> {
    let token = match own_tokens::read_any(control, token) {
        Ok(token) => token,
        Err(OwnTokenError::NoTokenEndpoint) => return Err(TokenEndpointError::NoSigningKey),
        Err(_) => return Ok(()),
    };
    if token.client_id != client.record.id {
        return Err(TokenEndpointError::OthersToken);
    }
    let settings = control.settings.load();
    let skew = settings.token_endpoint.as_ref().map(|endpoint| endpoint.clock_skew);
    let ends_at = token.expires_at.saturating_add(skew.unwrap_or_default());
    if ends_at.saturating_add(CLOCK_AHEAD_MAX) <= now {
        return Ok(());
    }
    let revoked = RevokedTokenRecord {
        id: token.id.clone(),
        // Verifiers accept the token until then.
        expires_at: ends_at,
    };
    let event = NewAuditEvent {
        at: now,
        actor: client.record.id.as_str().to_owned(),
        from,
        action: "token.revoke",
        target: token.id,
        organization: Some(client.record.organization.clone()),
        details: json!({ "expires_at": rfc3339(ends_at).to_string() }),
    };
    let batch = Batch {
        writes: vec![Write::RevokedToken(revoked.clone())],
        event: Some(event.clone()),
        ..Batch::default()
    };
    let Err(problem) = within_store_wait(control.commit(batch)).await else {
        return Ok(());
    };
    let revocation = Revocation::Token(revoked);
    let made = control.revoke_without_store(&revocation, event, &problem);
    made.await.map(drop).map_err(|error| {
        tracing::error!(%error, "Token cannot be revoked");
        TokenEndpointError::StoreUnavailable
    })
}
