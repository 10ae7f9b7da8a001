//! Which credential does the request carry, if exactly one? Returns a [`Credential`].

mod api_key;
mod bearer;
mod query;

pub use query::redact_query;

use crate::config::AcceptedCredential;
use crate::config::TwoCredentials;
use crate::gate::accept::FieldOccurrence;
use crate::gate::accept::Inbound;
use crate::model::reason::reasons;
use http::HeaderValue;
use std::fmt;

/// The credential of a request: well-formed, but not validated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'r> {
    /// A `token68` (RFC 9110 section 11.2).
    Bearer(&'r str),
    /// Visible ASCII without a comma.
    ApiKey(&'r str),
}

/// The header field of a credential.
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

/// Prints the type of the credential, never its text.
impl fmt::Debug for Credential<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer(_) => out.write_str("Bearer([secret])"),
            Self::ApiKey(_) => out.write_str("ApiKey([secret])"),
        }
    }
}

/// The rules of a route for the credential of a request.
#[derive(Clone, Debug)]
pub struct IntakeRules {
    pub access: RouteAccess,
    /// The longest token or key in bytes.
    pub credential_bytes_max: usize,
    pub query_credentials: QueryCredentials,
    pub two_credentials: TwoCredentials,
}

/// The need for a credential on the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAccess {
    /// The route ignores a credential, but refuses two.
    Public,
    /// The route needs a credential of one of these types.
    Protected(Vec<AcceptedCredential>),
}

/// The treatment of a credential in the query (`access_token`, `api_key` …). It never admits a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryCredentials {
    /// Respond with 400, so that the client's developer notices that the credential leaks into logs and histories.
    Reject,
    Ignore,
}

/// Why a request does not carry one credential of an accepted type.
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

/// Checks that `inbound` has at most one of the two credential fields. Needs no route, so that two credentials get the
/// same response on a path without a route (S003).
///
/// # Errors
/// [`IntakeError::TwoCredentials`] when both header fields are present. Their content does not matter: an empty or
/// malformed field is present too (S002, S004).
pub fn at_most_one(inbound: &Inbound<'_>) -> Result<(), IntakeError> {
    let fields = inbound.fields();
    if fields.authorization.is_present() && fields.api_key.is_present() {
        Err(IntakeError::TwoCredentials)
    } else {
        Ok(())
    }
}

/// Returns the credential of `inbound`; `None` without a credential, and on a public route, which ignores it. On a
/// protected route the caller refuses `None` (401, bare challenge).
///
/// # Errors
/// The first of these: both header fields are present and the route does not report that, the query has a credential,
/// a header field is repeated, its value is too long or malformed, the route does not accept the type. Two header
/// fields come first, so that the response reveals nothing about either of them (S003). On a public route, only the
/// first two are errors.
pub fn credential<'r>(inbound: &Inbound<'r>, rules: &IntakeRules) -> Result<Option<Credential<'r>>, IntakeError> {
    match rules.two_credentials {
        TwoCredentials::Refuse => at_most_one(inbound)?,
        // `bearer_of_two` refuses them unless both are well-formed.
        TwoCredentials::Report => {}
    }
    check_query(inbound, rules)?;
    let RouteAccess::Protected(accepted) = &rules.access else {
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

/// Refuses a credential in the query, unless the route ignores it.
///
/// # Errors
/// [`IntakeError::InQuery`].
pub fn check_query(inbound: &Inbound<'_>, rules: &IntakeRules) -> Result<(), IntakeError> {
    match rules.query_credentials {
        QueryCredentials::Reject => refuse_query_credential(inbound),
        QueryCredentials::Ignore => Ok(()),
    }
}

/// Refuses a credential in the query. For a path of Keygate's own; [`check_query`] is for a path with a route.
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

/// Returns the bearer token of a request with two credentials, on a route that reports them. The key only has to be
/// well-formed.
///
/// # Errors
/// [`IntakeError::TwoCredentials`] when a field is malformed: such a request was not accepted before the migration
/// either.
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

/// Returns the value of a field that may occur at most once, or the error `repeated`.
fn only<'r>(field: FieldOccurrence<'r>, repeated: IntakeError) -> Result<Option<&'r HeaderValue>, IntakeError> {
    match field {
        FieldOccurrence::Absent => Ok(None),
        FieldOccurrence::One(value) => Ok(Some(value)),
        FieldOccurrence::Repeated => Err(repeated),
    }
}

#[cfg(test)]
mod tests;
