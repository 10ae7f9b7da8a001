//! Is this one of our own access tokens, and good? For introspection, and for who may administer.

use crate::config::TokenEndpoint;
use crate::control::Control;
use crate::control::token::grant;
use crate::control::token::grant::NoHolding;
use crate::control::token::issue::OPAQUE_PREFIX;
use crate::jose::json;
use crate::jose::jws::Jws;
use crate::model::api_key::KeyDigest;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::names::Name;
use crate::model::scope::ScopeSet;
use crate::model::subscription::Standing;
use serde_json::Map;
use serde_json::Value;

/// RFC 9068 section 2.1.
pub const TYP: &str = "at+jwt";

/// A good token: who has it, and what it may.
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

/// Why a token is not one of ours, or no good any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGood {
    #[error("no token endpoint is configured")]
    Off,
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

/// Checks a token of ours, JWT or opaque: signature or digest, kind, issuer, audience, times, revocation; whether its
/// client may still have tokens, and since when (RFC 9068 section 4).
///
/// Touches memory only.
///
/// # Errors
/// The first thing that does not hold.
pub fn verify(control: &Control, token: &str, now: Timestamp) -> Result<OwnToken, NotGood> {
    let settings = control.settings.load();
    let endpoint = settings.token_endpoint.as_ref().ok_or(NotGood::Off)?;
    let token = read(control, endpoint, token)?;
    if now >= token.expires_at.saturating_add(endpoint.clock_skew) {
        return Err(NotGood::Expired);
    }
    if token.issued_at > now.saturating_add(endpoint.clock_skew) {
        return Err(NotGood::NotYetValid);
    }
    check_client(control, &token)?;
    Ok(token)
}

/// The token as it was issued, whatever has become of it since: for revoking it (RFC 7009 section 2.1).
///
/// # Errors
/// [`NotGood::NotOurs`], or there is no token endpoint.
pub fn read_any(control: &Control, token: &str) -> Result<OwnToken, NotGood> {
    let settings = control.settings.load();
    let endpoint = settings.token_endpoint.as_ref().ok_or(NotGood::Off)?;
    read(control, endpoint, token)
}

fn check_client(control: &Control, token: &OwnToken) -> Result<(), NotGood> {
    if control.directory.is_token_revoked(&token.id) {
        return Err(NotGood::Revoked);
    }
    let client = control.clients.get(&token.client_id).ok_or(NotGood::ClientGone)?;
    let record = &client.record;
    if record.organization != token.organization {
        return Err(NotGood::NotOurs);
    }
    if record
        .tokens_not_before
        .is_some_and(|not_before| token.issued_at < not_before)
    {
        return Err(NotGood::Revoked);
    }
    grant::holding(control, &client).map_err(|error| match error {
        NoHolding::Standing(standing) => NotGood::Standing(standing),
        NoHolding::KindNotInPlan => NotGood::KindNotInPlan,
    })
}

fn read(control: &Control, endpoint: &TokenEndpoint, token: &str) -> Result<OwnToken, NotGood> {
    match token.starts_with(OPAQUE_PREFIX) {
        true => from_directory(control, token),
        false => from_jwt(control, endpoint, token),
    }
}

/// 256 random bits are looked up by their digest: whoever measures that learns nothing of one.
fn from_directory(control: &Control, token: &str) -> Result<OwnToken, NotGood> {
    let known = control.directory.opaque(&KeyDigest::sha256(token));
    let known = known.ok_or(NotGood::NotOurs)?;
    let client = control.clients.get(&known.client).ok_or(NotGood::ClientGone)?;
    Ok(OwnToken {
        client_id: known.client.clone(),
        organization: client.record.organization.clone(),
        scopes: (*known.scopes).clone(),
        audiences: known.audiences.to_vec(),
        id: known.id.as_ref().to_owned(),
        issued_at: known.issued_at,
        expires_at: known.expires_at,
    })
}

fn from_jwt(control: &Control, endpoint: &TokenEndpoint, token: &str) -> Result<OwnToken, NotGood> {
    let jws = Jws::parse(token).map_err(|_| NotGood::NotOurs)?;
    let header = jws.header();
    let is_access = header.typ.as_deref().is_some_and(|typ| typ.eq_ignore_ascii_case(TYP));
    if !is_access {
        return Err(NotGood::NotOurs);
    }
    let keys = control.signing_keys.verifying().ok_or(NotGood::Off)?;
    let key = keys.find(header.kid.as_deref(), header.algorithm);
    let key = key.map_err(|_| NotGood::NotOurs)?;
    jws.verify(key).map_err(|_| NotGood::NotOurs)?;
    // We signed it, so it says what we write; what it does not say is not ours all the same.
    let claims = json::object(jws.payload()).map_err(|_| NotGood::NotOurs)?;
    from_claims(endpoint, &claims).ok_or(NotGood::NotOurs)
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
