//! What does an introspection answer say (RFC 7662 section 2.2)? Whose the token is, that it is not good, or nothing.

use crate::gate::authenticate::Identity;
use crate::gate::authenticate::token::Claims;
use crate::gate::authenticate::token::TokenError;
use crate::gate::authenticate::token::TokenRules;
use crate::jose::json::Json;
use crate::jose::json::JsonError;
use crate::jose::json::Members;
use crate::model::clock::Timestamp;
use crate::model::names::Name;
use crate::model::reason::reasons;
use std::sync::Arc;

/// A longer answer is not read: what a token says fits in some kilobytes.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// What an issuer said of a token, after its rules were applied to it.
#[derive(Clone, Debug)]
pub enum Verdict {
    Active(ActiveToken),
    Refused(IntrospectionRefusal),
}

/// Whose an active token is.
#[derive(Clone, Debug)]
pub struct ActiveToken {
    pub identity: Arc<Identity>,
    /// `exp`; [`Timestamp::MAX`] where the answer has none. The answer is not believed from then on.
    pub ends: Timestamp,
}

impl Verdict {
    /// What of it counts for a request.
    pub fn into_identity(self) -> Result<Arc<Identity>, IntrospectionRefusal> {
        match self {
            Self::Active(active) => Ok(active.identity),
            Self::Refused(refused) => Err(refused),
        }
    }
}

/// Why a token that was asked about does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntrospectionRefusal {
    #[error("its issuer says that it is not active")]
    Inactive,
    #[error("its issuer says that it is of another type than Bearer")]
    NotBearer,
    #[error(transparent)]
    Token(TokenError),
}

reasons! {
    IntrospectionRefusal {
        Self::Inactive => "token_inactive",
        Self::NotBearer => "token_not_bearer",
    }
    of { Token(TokenError) }
}

/// Why an answer says nothing: Keygate cannot tell, and the token is neither good nor bad (S056).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    #[error("the answer is not an introspection response")]
    Json(#[source] JsonError),
    #[error("`active` is not there, or neither true nor false")]
    NoActive,
}

/// Reads the body of an answer. Of `active` only the boolean counts (RFC 7662 section 2.2); what the answer says beside
/// it meets the issuer's rules as the claims of a JWT do: `iss`, where it has one, times, required claims, scopes.
///
/// Whether `aud` holds what the route asks for is for the caller to check, on every request.
///
/// # Errors
/// An answer that is none.
pub fn read(body: &[u8], issuer: &Name, rules: &TokenRules, now: Timestamp) -> Result<Verdict, ResponseError> {
    let members = Members::parse(body).map_err(ResponseError::Json)?;
    match members.get("active") {
        Some(Json::Bool(true)) => {}
        Some(Json::Bool(false)) => return Ok(Verdict::Refused(IntrospectionRefusal::Inactive)),
        Some(_) | None => return Err(ResponseError::NoActive),
    }
    Ok(match check_active(&Claims::new(members), issuer, rules, now) {
        Ok(active) => Verdict::Active(active),
        Err(refused) => Verdict::Refused(refused),
    })
}

fn check_active(
    claims: &Claims<'_>,
    issuer: &Name,
    rules: &TokenRules,
    now: Timestamp,
) -> Result<ActiveToken, IntrospectionRefusal> {
    // Bound to a key (DPoP, RFC 9449) or for another use: whoever merely bears it must not pass.
    if let Some(kind) = claims.text("token_type").map_err(IntrospectionRefusal::Token)?
        && !kind.eq_ignore_ascii_case("bearer")
    {
        return Err(IntrospectionRefusal::NotBearer);
    }
    // Some servers also answer about refresh and ID tokens, and say so here.
    if let Some(purpose) = claims.text("token_use").map_err(IntrospectionRefusal::Token)?
        && purpose != "access_token"
        && purpose != "access"
    {
        return Err(IntrospectionRefusal::Token(TokenError::NotAccessToken("token_use")));
    }
    let (identity, ends) = rules
        .check_introspection(claims, now)
        .map_err(IntrospectionRefusal::Token)?;
    Ok(ActiveToken {
        identity: Arc::new(Identity::of_token(issuer.clone(), identity)),
        ends,
    })
}
