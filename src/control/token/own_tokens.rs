//! Is this an access token of this gate, and is it valid? For introspection, revocation and the admin API.

use crate::config::TokenEndpoint;
use crate::control::Control;
use crate::control::standing;
use crate::control::standing::SubscriptionCheckError;
use crate::jose::json as jose_json;
use crate::jose::jws::Jws;
use crate::model::api_key::CredentialDigest;
use crate::model::clock::Timestamp;
use crate::model::directory::client::accepts_token;
use crate::model::id::ClientId;
use crate::model::names::Name;
use crate::model::scope::ScopeSet;
use crate::model::secret::OPAQUE_TOKEN_PREFIX;
use crate::model::subscription::Standing;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// The `typ` of access tokens (RFC 9068 section 2.1).
pub const TYP: &str = "at+jwt";

/// The content of an access token of this gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnToken {
    pub client_id: ClientId,
    pub organization: Name,
    pub scopes: ScopeSet,
    pub audiences: Vec<String>,
    /// `jti`.
    pub id: String,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

impl OwnToken {
    /// Returns the claims of the JWT, which are also the introspection response (RFC 9068 section 2.2, RFC 7662 section
    /// 2.2). `sub` is the client, since no person takes part; a single `aud` is a plain string, as most readers expect.
    pub fn claims(&self, endpoint: &TokenEndpoint) -> Value {
        let client = self.client_id.as_str();
        let audience = match self.audiences.as_slice() {
            [only] => json!(only),
            several => json!(several),
        };
        let mut claims = json!({
            "iss": endpoint.issuer.as_str(),
            "sub": client,
            "client_id": client,
            "aud": audience,
            "iat": self.issued_at.as_unix_secs(),
            "exp": self.expires_at.as_unix_secs(),
            "jti": self.id,
            "org": self.organization.as_str(),
        });
        // The syntax has no empty list of scopes (RFC 6749 section 3.3).
        if !self.scopes.is_empty() {
            claims["scope"] = self.scopes.to_string().into();
        }
        claims
    }
}

/// Why a token was not issued by this gate, or is no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OwnTokenError {
    #[error("no token endpoint is configured")]
    NoTokenEndpoint,
    #[error("not one of our tokens")]
    NotOurs,
    #[error("expired")]
    Expired,
    #[error("not valid yet")]
    NotYetValid,
    #[error("revoked")]
    Revoked,
    #[error("its client is not there any more")]
    ClientGone,
    #[error("its client may not have tokens: {}", .0.reason().unwrap_or("subscription"))]
    Standing(Standing),
    #[error("the plan of the subscription does not allow this kind of credential any more")]
    KindNotInPlan,
}

/// Verifies an access token and returns its content (RFC 9068 section 4). Checks type, signature,
/// issuer and audience of a JWT or looks up an opaque token; then checks times, revocation, and
/// the subscription of the client. Tokens of a disabled or deleted client stay valid.
///
/// Reads memory only.
///
/// # Errors
/// The first check that fails.
pub fn verify(control: &Control, token: &str, now: Timestamp) -> Result<OwnToken, OwnTokenError> {
    let settings = control.settings.load();
    let endpoint = settings.token_endpoint.as_ref().ok_or(OwnTokenError::NoTokenEndpoint)?;
    let token = read(control, endpoint, token)?;
    if now >= token.expires_at.saturating_add(endpoint.clock_skew) {
        return Err(OwnTokenError::Expired);
    }
    if token.issued_at > now.saturating_add(endpoint.clock_skew) {
        return Err(OwnTokenError::NotYetValid);
    }
    check_client(control, &token)?;
    Ok(token)
}

/// Returns the token as issued, even if it has expired or was revoked: for revocation (RFC 7009 section 2.1).
///
/// # Errors
/// The token was not issued by this gate, the client of an opaque token is unknown, or there is no token endpoint.
pub fn read_any(control: &Control, token: &str) -> Result<OwnToken, OwnTokenError> {
    let settings = control.settings.load();
    let endpoint = settings.token_endpoint.as_ref().ok_or(OwnTokenError::NoTokenEndpoint)?;
    read(control, endpoint, token)
}

fn check_client(control: &Control, token: &OwnToken) -> Result<(), OwnTokenError> {
    if control.directory.is_token_revoked(&token.id) {
        return Err(OwnTokenError::Revoked);
    }
    let client = control.clients.get(&token.client_id).ok_or(OwnTokenError::ClientGone)?;
    let record = &client.record;
    if record.organization != token.organization {
        return Err(OwnTokenError::NotOurs);
    }
    if !accepts_token(
        record.token_series,
        record.tokens_not_before,
        &token.id,
        token.issued_at,
    ) {
        return Err(OwnTokenError::Revoked);
    }
    standing::check_client(control, record).map_err(|error| match error {
        SubscriptionCheckError::Standing(standing) => OwnTokenError::Standing(standing),
        SubscriptionCheckError::KindNotInPlan => OwnTokenError::KindNotInPlan,
    })
}

fn read(control: &Control, endpoint: &TokenEndpoint, token: &str) -> Result<OwnToken, OwnTokenError> {
    if token.starts_with(OPAQUE_TOKEN_PREFIX) {
        from_directory(control, token)
    } else {
        from_jwt(control, endpoint, token)
    }
}

/// Looks up an opaque token by its digest. Response times reveal nothing: the text has 256 random bits.
fn from_directory(control: &Control, token: &str) -> Result<OwnToken, OwnTokenError> {
    let entry = control.directory.opaque(&CredentialDigest::sha256(token));
    let entry = entry.ok_or(OwnTokenError::NotOurs)?;
    let client = control.clients.get(&entry.client).ok_or(OwnTokenError::ClientGone)?;
    Ok(OwnToken {
        client_id: entry.client.clone(),
        organization: client.record.organization.clone(),
        scopes: (*entry.scopes).clone(),
        audiences: entry.audiences.to_vec(),
        id: entry.id.as_ref().to_owned(),
        issued_at: entry.issued_at,
        expires_at: entry.expires_at,
    })
}

fn from_jwt(control: &Control, endpoint: &TokenEndpoint, token: &str) -> Result<OwnToken, OwnTokenError> {
    let jws = Jws::parse(token).map_err(|_| OwnTokenError::NotOurs)?;
    let header = jws.header();
    let is_access = header.typ.as_deref().is_some_and(|typ| typ.eq_ignore_ascii_case(TYP));
    if !is_access {
        return Err(OwnTokenError::NotOurs);
    }
    let keys = control.signing_keys.verifying().ok_or(OwnTokenError::NoTokenEndpoint)?;
    let candidates = keys.find(header.kid.as_deref(), header.algorithm);
    let candidates = candidates.map_err(|_| OwnTokenError::NotOurs)?;
    jws.signer(candidates.iter()).map_err(|_| OwnTokenError::NotOurs)?;
    // The signature is this gate's, but the issuer or the audiences may have changed since in the configuration.
    let claims = jose_json::object(jws.payload()).map_err(|_| OwnTokenError::NotOurs)?;
    from_claims(endpoint, &claims).ok_or(OwnTokenError::NotOurs)
}

fn from_claims(endpoint: &TokenEndpoint, claims: &Map<String, Value>) -> Option<OwnToken> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let time = |name: &str| claims.get(name).and_then(Value::as_u64).map(Timestamp::from_unix_secs);
    if text("iss")? != endpoint.issuer.as_str() {
        return None;
    }
    let audiences: Vec<String> = match claims.get("aud")? {
        Value::String(only) => vec![only.clone()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
    };
    if !audiences.iter().any(|audience| endpoint.audiences.contains(audience)) {
        return None;
    }
    Some(OwnToken {
        client_id: text("client_id").filter(|id| text("sub") == Some(*id))?.parse().ok()?,
        organization: text("org")?.parse().ok()?,
        scopes: ScopeSet::parse_list(text("scope").unwrap_or_default()).ok()?,
        audiences,
        id: text("jti")?.to_owned(),
        issued_at: time("iat")?,
        expires_at: time("exp")?,
    })
}
