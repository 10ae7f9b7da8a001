//! Which one credential does the request carry? Gives [`Credential`].

mod api_key;
mod bearer;
mod query;

pub use query::redact_query;

use crate::config::AcceptedCredential;
use crate::config::TwoCredentials;
use crate::gate::accept::Inbound;
use crate::gate::accept::Single;
use crate::model::reason::reasons;
use http::HeaderValue;
use std::fmt;

/// What the request claims to be entitled by: unproved, but well-formed and the only one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'r> {
    /// A `token68` (RFC 9110 section 11.2).
    Bearer(&'r str),
    /// Visible ASCII without comma.
    ApiKey(&'r str),
}

/// Which header field a credential came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Authorization,
    ApiKey,
}

impl Credential<'_> {
    pub const fn field(&self) -> Field {
        match self {
            Self::Bearer(_) => Field::Authorization,
            Self::ApiKey(_) => Field::ApiKey,
        }
    }
}

/// Says which type it is, never what it holds.
impl fmt::Debug for Credential<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer(_) => out.write_str("Bearer([secret])"),
            Self::ApiKey(_) => out.write_str("ApiKey([secret])"),
        }
    }
}

/// What a route says about credentials.
#[derive(Clone, Debug)]
pub struct IntakeRules {
    pub openness: Openness,
    /// Bytes of a token or a key.
    pub credential_bytes_max: usize,
    pub query_credentials: QueryCredentials,
    pub two_credentials: TwoCredentials,
}

/// Whether the route asks for a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Openness {
    /// Never looks at a credential, but refuses two all the same.
    Public,
    /// One of these types.
    Protected(Vec<AcceptedCredential>),
}

/// What becomes of `access_token`, `api_key` … in the query. They are never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryCredentials {
    /// 400, so that leaks into logs and histories are noticed.
    Reject,
    Ignore,
}

/// Why what the request carries is not one credential of an accepted type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    #[error("authorization and an api key, both")]
    TwoCredentials,
    #[error("authorization more than once")]
    AuthorizationRepeated,
    #[error("api key more than once")]
    ApiKeyRepeated,
    #[error("authorization is not `Bearer` and one token")]
    AuthorizationMalformed,
    #[error("api key is empty or not visible ASCII")]
    ApiKeyMalformed,
    #[error("credential is too long")]
    TooLong,
    #[error("authorization has another scheme than Bearer")]
    OtherScheme,
    #[error("route does not accept this type of credential")]
    TypeNotAccepted,
    #[error("credential in the query")]
    InQuery,
}

reasons! {
    IntakeError {
        Self::TwoCredentials => "two_credentials",
        Self::AuthorizationRepeated => "authorization_repeated",
        Self::ApiKeyRepeated => "api_key_repeated",
        Self::AuthorizationMalformed => "authorization_malformed",
        Self::ApiKeyMalformed => "api_key_header_malformed",
        Self::TooLong => "credential_too_long",
        Self::OtherScheme => "authorization_scheme",
        Self::TypeNotAccepted => "credential_type",
        Self::InQuery => "query_credential",
    }
}

/// Refuses two credentials on any path there is, one without a route among them, before anything is looked up (S003).
///
/// # Errors
/// [`IntakeError::TwoCredentials`] when both header fields are there. Presence counts, not content: an empty or malformed
/// second one is a second one (S002, S004).
pub fn at_most_one(inbound: &Inbound<'_>) -> Result<(), IntakeError> {
    let fields = inbound.fields();
    if fields.authorization.is_present() && fields.api_key.is_present() {
        Err(IntakeError::TwoCredentials)
    } else {
        Ok(())
    }
}

/// The one credential that `inbound` carries; `None` when it carries none, or when the route is public and does not look.
/// On a protected route `None` is for the caller to refuse (401, bare challenge).
///
/// # Errors
/// Anything between none and exactly one good one. The first rule in the order of the table in which it is documented:
/// two header fields come first, so that nothing about either of them shows in the answer (S003).
pub fn credential<'r>(inbound: &Inbound<'r>, rules: &IntakeRules) -> Result<Option<Credential<'r>>, IntakeError> {
    match rules.two_credentials {
        TwoCredentials::Refuse => at_most_one(inbound)?,
        // Below, once it is known that each of them is well-formed.
        TwoCredentials::Report => {}
    }
    check_query(inbound, rules)?;
    let Openness::Protected(accepted) = &rules.openness else {
        return Ok(None);
    };
    let bytes_max = rules.credential_bytes_max;
    let fields = inbound.fields();
    let authorization = only(fields.authorization, IntakeError::AuthorizationRepeated)?;
    let key = only(fields.api_key, IntakeError::ApiKeyRepeated)?;
    let (credential, accept) = match (authorization, key) {
        (Some(value), Some(key)) => (bearer_of_two(value, key, rules)?, AcceptedCredential::Jwt),
        (Some(value), None) => (
            Credential::Bearer(bearer::parse(value, bytes_max)?),
            AcceptedCredential::Jwt,
        ),
        (None, Some(value)) => (
            Credential::ApiKey(api_key::parse(value, bytes_max)?),
            AcceptedCredential::ApiKey,
        ),
        (None, None) => return Ok(None),
    };
    if accepted.contains(&accept) {
        Ok(Some(credential))
    } else {
        Err(IntakeError::TypeNotAccepted)
    }
}

/// Refuses a credential in the query, where the route does not ignore it.
///
/// # Errors
/// [`IntakeError::InQuery`].
pub fn check_query(inbound: &Inbound<'_>, rules: &IntakeRules) -> Result<(), IntakeError> {
    match rules.query_credentials {
        QueryCredentials::Reject => refuse_query_credential(inbound),
        QueryCredentials::Ignore => Ok(()),
    }
}

/// The same where no route could ignore it.
///
/// # Errors
/// [`IntakeError::InQuery`].
pub fn refuse_query_credential(inbound: &Inbound<'_>) -> Result<(), IntakeError> {
    if inbound.query().is_some_and(query::has_credential) {
        Err(IntakeError::InQuery)
    } else {
        Ok(())
    }
}

/// Of two credentials on a route that reports them, the bearer token. The key is never looked at again. What is not two
/// good ones by their looks was never let through by the upstreams that this route is migrated from.
fn bearer_of_two<'r>(
    authorization: &'r HeaderValue,
    key: &HeaderValue,
    rules: &IntakeRules,
) -> Result<Credential<'r>, IntakeError> {
    let bytes_max = rules.credential_bytes_max;
    match (
        rules.two_credentials,
        bearer::parse(authorization, bytes_max),
        api_key::parse(key, bytes_max),
    ) {
        (TwoCredentials::Report, Ok(token), Ok(_)) => Ok(Credential::Bearer(token)),
        (TwoCredentials::Refuse | TwoCredentials::Report, _, _) => Err(IntakeError::TwoCredentials),
    }
}

/// The value of a field that may be there once.
fn only<'r>(field: Single<'r>, repeated: IntakeError) -> Result<Option<&'r HeaderValue>, IntakeError> {
    match field {
        Single::Absent => Ok(None),
        Single::One(value) => Ok(Some(value)),
        Single::Repeated => Err(repeated),
    }
}

#[cfg(test)]
mod tests;
