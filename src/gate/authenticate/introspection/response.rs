//! Which verdict does an introspection response give (RFC 7662 section 2.2)? The token is active or refused, or the
//! response is unusable.

use crate::gate::authenticate::CredentialType;
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

/// The longest response that is read, in bytes; the members of a token fit in a few kilobytes.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// The verdict about a token, after the issuer's rules were applied to the response.
#[derive(Clone, Debug)]
pub enum Verdict {
    Active(ActiveToken),
    Refused(RefusedToken),
}

/// A token that is refused.
#[derive(Clone, Debug)]
pub struct RefusedToken {
    pub refusal: IntrospectionRefusal,
    /// The identity of an active token that the issuer's rules refuse. For the access record alone.
    pub owner: Option<Arc<Identity>>,
}

/// An active token.
#[derive(Clone, Debug)]
pub struct ActiveToken {
    pub identity: Arc<Identity>,
    /// The first instant at which the verdict may not be used from the cache: `exp`, or [`Timestamp::MAX`] where the
    /// response has none.
    pub ends: Timestamp,
}

impl Verdict {
    /// Returns the identity of an active token.
    ///
    /// # Errors
    /// The refusal.
    pub fn into_identity(self) -> Result<Arc<Identity>, RefusedToken> {
        match self {
            Self::Active(active) => Ok(active.identity),
            Self::Refused(refused) => Err(refused),
        }
    }
}

/// Why an introspected token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntrospectionRefusal {
    #[error("its issuer says that it is not active")]
    Inactive,
    #[error(transparent)]
    Token(TokenError),
}

reasons! {
    IntrospectionRefusal {
        Self::Inactive => "token_inactive",
    }
    of { Token(TokenError) }
}

/// Why a response is unusable: the token is then neither valid nor invalid, and the request gets 503 (S056).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    #[error("the answer is not an introspection response")]
    Json(#[source] JsonError),
    #[error("`active` is not there, or neither true nor false")]
    NoActive,
}

/// Parses the body of a response and returns the verdict. `active` must be a boolean (RFC 7662 section 2.2). The other
/// members must meet the issuer's rules like the claims of a JWT: `iss`, where present, times, required claims, scopes.
///
/// The caller must check on every request whether `aud` contains an audience that the route accepts.
///
/// # Errors
/// The body is not an introspection response.
pub fn read(body: &[u8], issuer: &Name, rules: &TokenRules, now: Timestamp) -> Result<Verdict, ResponseError> {
    let members = Members::parse(body).map_err(ResponseError::Json)?;
    match members.get("active") {
        Some(Json::Bool(true)) => {}
        Some(Json::Bool(false)) => {
            return Ok(Verdict::Refused(RefusedToken {
                refusal: IntrospectionRefusal::Inactive,
                owner: None,
            }));
        }
        Some(_) | None => return Err(ResponseError::NoActive),
    }
    let claims = Claims::new(members);
    Ok(match check_active(&claims, issuer, rules, now) {
        Ok(active) => Verdict::Active(active),
        Err(error) => Verdict::Refused(RefusedToken {
            refusal: IntrospectionRefusal::Token(error),
            owner: Some(Arc::new(Identity::of_token(
                issuer.clone(),
                rules.owner(CredentialType::Opaque, &claims),
            ))),
        }),
    })
}

fn check_active(
    claims: &Claims<'_>,
    issuer: &Name,
    rules: &TokenRules,
    now: Timestamp,
) -> Result<ActiveToken, TokenError> {
    // A token that is bound to a key (DPoP, RFC 9449) or issued for another use must not pass as a bearer token.
    if let Some(kind) = claims.nonempty_text("token_type")?
        && !kind.eq_ignore_ascii_case("bearer")
    {
        return Err(TokenError::NotBearer("token_type"));
    }
    // Some servers also introspect refresh and ID tokens, and report the kind in `token_use`.
    if let Some(purpose) = claims.nonempty_text("token_use")?
        && purpose != "access_token"
        && purpose != "access"
    {
        return Err(TokenError::NotAccessToken("token_use"));
    }
    let (identity, ends) = rules.check_introspection(claims, now)?;
    Ok(ActiveToken {
        identity: Arc::new(Identity::of_token(issuer.clone(), identity)),
        ends,
    })
}
