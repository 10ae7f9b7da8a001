//! How is an access token made (RFC 9068 section 2)? As a signed JWT or, for
//! clients configured so, as random text that only this gate can look up.

use crate::config::TokenEndpoint;
use crate::control::Control;
use crate::control::clients::Client;
use crate::control::registry::audit_fields::AuditFields;
use crate::control::registry::audit_fields::changes;
use crate::control::token::error::TokenEndpointError;
use crate::control::token::own_tokens::OwnToken;
use crate::control::token::own_tokens::TYP;
use crate::jose::sign::token_id;
use crate::model::api_key::CredentialDigest;
use crate::model::api_key::system_random;
use crate::model::clock::Timestamp;
use crate::model::directory::client::token_id_in_series;
use crate::model::id::random_base62;
use crate::model::scope::ScopeSet;
use crate::model::secret::OPAQUE_TOKEN_PREFIX;
use crate::model::secret::Secret;
use crate::store::Batch;
use crate::store::StoreError;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::NewAuditEvent;
use crate::store::record::OpaqueTokenRecord;
use crate::store::record::client::TokenFormat;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// After the prefix: 256 random bits of `[0-9A-Za-z]`.
const OPAQUE_CHARS: usize = 43;

/// A new access token. The client receives `text` once.
#[derive(Debug)]
pub struct AccessToken {
    pub text: Secret<String>,
    pub expires_in: Duration,
    pub scopes: ScopeSet,
}

/// Returns `client`; if its tokens are revoked up to an instant after `now`, the client with a new series of tokens. The clock
/// was ahead when they were revoked: a token that is issued now would be refused until that instant.
///
/// # Errors
/// The store cannot be written.
pub async fn with_valid_series(
    control: &Control,
    client: Arc<Client>,
    now: Timestamp,
) -> Result<Arc<Client>, TokenEndpointError> {
    let Some(not_before) = client
        .record
        .tokens_not_before
        .filter(|_| client.record.has_future_revocation(now))
    else {
        return Ok(client);
    };
    let ahead_secs = not_before.saturating_since(now).as_secs();
    let record = client.record.clone().revoke_tokens(now);
    let changes = changes(&client.record.audit_fields(), &record.audit_fields());
    let id = record.id.clone();
    tracing::warn!(
        client_id = id.as_str(),
        ahead_secs,
        "Tokens of a client are revoked up to an instant in the future: the clock was ahead; its new tokens are told apart"
    );
    let event = NewAuditEvent {
        at: now,
        actor: "gate".to_owned(),
        from: None,
        action: "client.revoke_tokens",
        target: id.to_string(),
        organization: Some(record.organization.clone()),
        details: json!({ "name": record.name, "revoked_in_future_secs": ahead_secs, "changes": changes }),
    };
    let batch = Batch {
        writes: vec![Write::Client(Versioned {
            record,
            revision: client.revision,
        })],
        event: Some(event),
        ..Batch::default()
    };
    match control.commit(batch).await {
        // On a conflict, another request has done the same, or the client tries again.
        Ok(()) | Err(StoreError::Conflict(_)) => {}
        Err(error) => {
            tracing::error!(%error, "Client cannot get a new series of tokens");
            return Err(TokenEndpointError::StoreUnavailable);
        }
    }
    let client = control.clients.get(&id).ok_or(TokenEndpointError::UnknownClient)?;
    if client.record.has_future_revocation(now) {
        return Err(TokenEndpointError::StoreUnavailable);
    }
    Ok(client)
}

/// Issues a token to `client`, good for `audiences`. When this returns, the digest of an opaque token is on disk and in force.
///
/// # Errors
/// There is no signing key, signing fails, or an opaque token cannot be stored.
pub async fn issue(
    control: &Control,
    endpoint: &TokenEndpoint,
    client: &Client,
    scopes: ScopeSet,
    audiences: Vec<String>,
    now: Timestamp,
) -> Result<AccessToken, TokenEndpointError> {
    let record = &client.record;
    let expires_in = record.token_ttl.duration();
    let issued_at = issued_at(client, now);
    let content = OwnToken {
        client_id: record.id.clone(),
        organization: record.organization.clone(),
        scopes,
        audiences,
        id: token_id_in_series(record.token_series, token_id()),
        issued_at,
        expires_at: issued_at.saturating_add(expires_in),
    };
    let text = match record.token_format {
        TokenFormat::Jwt => sign(control, endpoint, &content)?,
        TokenFormat::Opaque => store_opaque(control, &content).await?,
    };
    Ok(AccessToken {
        text,
        expires_in,
        scopes: content.scopes,
    })
}

/// Returns `now` in whole seconds, or the next second if the client's tokens were revoked within this second: otherwise
/// the new token would be revoked too.
fn issued_at(client: &Client, now: Timestamp) -> Timestamp {
    let second = Timestamp::from_unix_secs(now.as_unix_secs());
    match client.record.tokens_not_before {
        Some(not_before) if second < not_before && not_before <= now => {
            Timestamp::from_unix_secs(now.as_unix_secs().saturating_add(1))
        }
        Some(_) | None => second,
    }
}

fn sign(control: &Control, endpoint: &TokenEndpoint, content: &OwnToken) -> Result<Secret<String>, TokenEndpointError> {
    let key = control.signing_keys.active().ok_or(TokenEndpointError::NoSigningKey)?;
    let token = key.sign(TYP, &content.claims(endpoint)).map_err(|error| {
        tracing::error!(%error, kid = key.kid(), "Access token cannot be signed");
        TokenEndpointError::SigningFailed
    })?;
    Ok(Secret::new(token))
}

async fn store_opaque(control: &Control, content: &OwnToken) -> Result<Secret<String>, TokenEndpointError> {
    let random = Secret::new(random_base62(OPAQUE_CHARS, &mut system_random));
    let token = Secret::new([OPAQUE_TOKEN_PREFIX, random.expose()].concat());
    let record = OpaqueTokenRecord {
        digest: CredentialDigest::sha256(token.expose()),
        id: content.id.clone(),
        client: content.client_id.clone(),
        scopes: content.scopes.clone(),
        audiences: content.audiences.clone(),
        issued_at: content.issued_at,
        expires_at: content.expires_at,
    };
    let batch = Batch {
        writes: vec![Write::OpaqueToken(record)],
        ..Batch::default()
    };
    control.commit(batch).await.map_err(|error| {
        tracing::error!(%error, "Opaque token cannot be kept; it is not given");
        TokenEndpointError::StoreUnavailable
    })?;
    Ok(token)
}
