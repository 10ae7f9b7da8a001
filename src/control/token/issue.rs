//! What goes into a token, and who signs it (RFC 9068 section 2)? Or, for a client that wants one, a random text that
//! only this gate understands.

use crate::config::TokenEndpoint;
use crate::control::Control;
use crate::control::clients::Client;
use crate::control::token::error::TokenEndpointError;
use crate::control::token::own_tokens::TYP;
use crate::jose::sign::token_id;
use crate::model::api_key::KeyDigest;
use crate::model::api_key::system_random;
use crate::model::clock::Timestamp;
use crate::model::id::random_base62;
use crate::model::scope::ScopeSet;
use crate::model::secret::Secret;
use crate::store::Batch;
use crate::store::Write;
use crate::store::record::OpaqueTokenRecord;
use crate::store::record::client::TokenFormat;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;

/// `kgt_` and 43 characters of `[0-9A-Za-z]`: 256 random bits.
pub const OPAQUE_PREFIX: &str = "kgt_";
const OPAQUE_CHARS: usize = 43;

/// A token, to be shown once.
#[derive(Debug)]
pub struct Issued {
    pub token: Secret<String>,
    pub expires_in: Duration,
    pub scopes: ScopeSet,
}

/// Everything a token says.
struct Content<'a> {
    client: &'a Client,
    scopes: &'a ScopeSet,
    id: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// Makes the token that `client` gets. Of an opaque one the digest is on disk and in force when this returns.
///
/// # Errors
/// There is no key to sign with, or an opaque token cannot be written down.
pub async fn issue(
    control: &Control,
    endpoint: &TokenEndpoint,
    client: &Client,
    scopes: ScopeSet,
    now: Timestamp,
) -> Result<Issued, TokenEndpointError> {
    let lifetime = client.record.token_ttl.duration();
    let issued_at = issued_at(client, now);
    let content = Content {
        client,
        scopes: &scopes,
        id: token_id(),
        issued_at,
        expires_at: issued_at.saturating_add(lifetime),
    };
    let token = match client.record.token_format {
        TokenFormat::Jwt => signed(control, endpoint, &content)?,
        TokenFormat::Opaque => kept(control, endpoint, &content).await?,
    };
    Ok(Issued {
        token,
        expires_in: lifetime,
        scopes,
    })
}

/// Tokens count in whole seconds. One that is issued in the second in which all before it were revoked would count among
/// those, so it is dated to the next.
fn issued_at(client: &Client, now: Timestamp) -> Timestamp {
    let second = Timestamp::from_unix_secs(now.as_unix_secs());
    match client.record.tokens_not_before {
        Some(not_before) if second < not_before && not_before <= now => {
            Timestamp::from_unix_secs(now.as_unix_secs().saturating_add(1))
        }
        Some(_) | None => second,
    }
}

fn signed(
    control: &Control,
    endpoint: &TokenEndpoint,
    content: &Content<'_>,
) -> Result<Secret<String>, TokenEndpointError> {
    let key = control.signing_keys.active().ok_or(TokenEndpointError::NoSigningKey)?;
    let token = key.sign(TYP, &claims(endpoint, content)).map_err(|error| {
        tracing::error!(%error, kid = key.kid(), "Access token cannot be signed");
        TokenEndpointError::SigningFailed
    })?;
    Ok(Secret::new(token))
}

/// RFC 9068 section 2.2; `sub` is the client where no person takes part. `aud` is a plain string where there is one, which
/// is what most readers know.
fn claims(endpoint: &TokenEndpoint, content: &Content<'_>) -> Value {
    let client = content.client.record.id.as_str();
    let audience = match endpoint.audiences.as_slice() {
        [only] => json!(only),
        several => json!(several),
    };
    let mut claims = json!({
        "iss": endpoint.issuer.as_str(),
        "sub": client,
        "client_id": client,
        "aud": audience,
        "iat": content.issued_at.as_unix_secs(),
        "exp": content.expires_at.as_unix_secs(),
        "jti": content.id,
        "org": content.client.record.organization.as_str(),
    });
    // A list of no scopes cannot be written (RFC 6749 section 3.3).
    if !content.scopes.is_empty() {
        claims["scope"] = content.scopes.to_string().into();
    }
    claims
}

async fn kept(
    control: &Control,
    endpoint: &TokenEndpoint,
    content: &Content<'_>,
) -> Result<Secret<String>, TokenEndpointError> {
    let random = Secret::new(random_base62(OPAQUE_CHARS, &mut system_random));
    let token = Secret::new([OPAQUE_PREFIX, random.expose()].concat());
    let record = OpaqueTokenRecord {
        digest: KeyDigest::sha256(token.expose()),
        id: content.id.clone(),
        client: content.client.record.id.clone(),
        scopes: content.scopes.clone(),
        audiences: endpoint.audiences.clone(),
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
