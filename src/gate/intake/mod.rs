//! Which credential does the request carry, if exactly one? Returns a [`Credential`].

mod api_key;
mod bearer;
mod further;
mod query;

pub use further::WEBSOCKET_PROTOCOL;
pub use further::has_token_entry;
pub use further::offers_websocket_protocol;
pub use further::without_token_entries;
pub use query::redact_query;

use crate::config::AcceptedCredential;
use crate::config::TwoCredentials;
use crate::gate::accept::FieldOccurrence;
use crate::gate::accept::Fields;
use crate::gate::accept::Inbound;
use crate::model::api_key::has_own_form;
use crate::model::reason::reasons;
use http::HeaderName;
use http::HeaderValue;
use std::borrow::Cow;
use std::fmt;

/// The credential of a request: well-formed, but not validated.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential<'r> {
    /// A `token68` (RFC 9110 section 11.2).
    Bearer(Cow<'r, str>),
    /// Visible ASCII without a comma.
    ApiKey(&'r str),
}

/// The place of a request that holds its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Authorization,
    /// The header of API keys.
    ApiKeyHeader,
    /// The header of this index in [`IntakeRules::token_headers`].
    TokenHeader(usize),
    /// `Sec-WebSocket-Protocol`.
    WebSocketProtocols,
}

/// The credential of a request, and its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intake<'r> {
    /// `None` where the request has no credential, and on a public route, which does not read it.
    pub credential: Option<Credential<'r>>,
    /// The place of the credential. On a public route, the place of the credential to forward unread.
    pub place: Option<Place>,
}

impl<'r> Intake<'r> {
    const fn of(place: Place, credential: Credential<'r>) -> Self {
        Self {
            credential: Some(credential),
            place: Some(place),
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
    /// How the API keys of this gate begin, where `Authorization: Bearer` may carry one (`api_keys.bearer`); otherwise `None`.
    pub bearer_key_prefix: Option<Box<str>>,
    /// The headers in which issuers of the route may send their JWTs (`token_header`).
    pub token_headers: Box<[HeaderName]>,
    /// Reads the token of a browser's WebSocket from its subprotocols; refuses one in any other request.
    pub websocket_token: bool,
}

/// The need for a credential on the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAccess {
    /// The route ignores a credential, but refuses two.
    Public,
    /// The route forwards a credential unread, but refuses two.
    PublicForwarding,
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
    #[error("credentials in two places")]
    TwoPlaces,
    #[error("token header is not one token")]
    TokenHeaderMalformed,
    #[error("token header more than once")]
    TokenHeaderRepeated,
    #[error("WebSocket protocol `bearer.…` is not one base64url text of one token")]
    ProtocolMalformed,
    #[error("WebSocket protocol `bearer.…` without `keygate.bearer`")]
    ProtocolAlone,
    #[error("WebSocket protocol `bearer.…` without an upgrade to WebSocket")]
    ProtocolWithoutUpgrade,
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
        Self::TwoPlaces => "credentials_in_two_places",
        Self::TokenHeaderMalformed => "token_header_malformed",
        Self::TokenHeaderRepeated => "token_header_repeated",
        Self::ProtocolMalformed => "websocket_token_malformed",
        Self::ProtocolAlone => "websocket_token_alone",
        Self::ProtocolWithoutUpgrade => "websocket_token_without_upgrade",
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

/// Returns the credential of `inbound` and its place. On a protected route the caller refuses a request without a
/// credential (401, bare challenge). `is_imported` returns whether a text is an imported API key; it is asked only about the
/// text of a bearer token where that may be a key.
///
/// # Errors
/// The first of these: both header fields are present and the route does not report that, the query has a credential,
/// two places have one, a header field is repeated, its value is too long or malformed, the route does not accept the
/// type. Two places come first, so that the response reveals nothing about either of them (S003). On a public route, only
/// the first two are errors, and a repeated field that would be forwarded.
pub fn credential<'r>(
    inbound: &Inbound<'r>,
    rules: &IntakeRules,
    is_imported: impl Fn(&str) -> bool,
) -> Result<Intake<'r>, IntakeError> {
    match rules.two_credentials {
        TwoCredentials::Refuse => at_most_one(inbound)?,
        // Refused below unless both are well-formed, and one is a token.
        TwoCredentials::Report => {}
    }
    check_query(inbound, rules)?;
    let fields = inbound.fields();
    let accepted = match &rules.access {
        RouteAccess::Public => return Ok(Intake::default()),
        RouteAccess::PublicForwarding => return unread(fields),
        RouteAccess::Protected(accepted) => accepted,
    };
    if let Some((place, token)) = further::find(inbound, rules)? {
        let credential = Credential::Bearer(token);
        check_type(&credential, accepted)?;
        return Ok(Intake::of(place, credential));
    }
    let bytes_max = rules.credential_bytes_max;
    let authorization = only(fields.authorization, IntakeError::AuthorizationRepeated)?;
    let key = only(fields.api_key, IntakeError::ApiKeyRepeated)?;
    let (place, credential) = match (authorization, key) {
        (None, None) => return Ok(Intake::default()),
        (None, Some(value)) => (
            Place::ApiKeyHeader,
            Credential::ApiKey(api_key::parse(value, bytes_max)?),
        ),
        (Some(value), None) => {
            let text = bearer::parse(value, bytes_max)?;
            (Place::Authorization, token_or_key(text, rules, accepted, is_imported))
        }
        (Some(value), Some(key)) => {
            let text = bearer_of_two(value, key, rules)?;
            match token_or_key(text, rules, accepted, is_imported) {
                token @ Credential::Bearer(_) => (Place::Authorization, token),
                // Two keys: no client of a migration from one type to the other sends them (S011).
                Credential::ApiKey(_) => return Err(IntakeError::TwoCredentials),
            }
        }
    };
    check_type(&credential, accepted)?;
    Ok(Intake::of(place, credential))
}

/// Returns the place of the credential that a public route forwards unread.
///
/// # Errors
/// The field is repeated, or `Authorization` is a list.
fn unread<'r>(fields: &Fields<'r>) -> Result<Intake<'r>, IntakeError> {
    let authorization = only(fields.authorization, IntakeError::AuthorizationRepeated)?;
    let key = only(fields.api_key, IntakeError::ApiKeyRepeated)?;
    if authorization.is_some_and(bearer::is_list) {
        return Err(IntakeError::AuthorizationRepeated);
    }
    let place = match (authorization, key) {
        (Some(_), _) => Some(Place::Authorization),
        (None, Some(_)) => Some(Place::ApiKeyHeader),
        (None, None) => None,
    };
    Ok(Intake {
        credential: None,
        place,
    })
}

/// Returns the text of `Authorization: Bearer` as a token or, where a key may stand there, as an API key: a text in the
/// form of this gate's own keys, or one that was imported. Where the route accepts keys alone, every text is one, so that a
/// wrong key is answered and counted as a wrong key.
fn token_or_key<'r>(
    text: &'r str,
    rules: &IntakeRules,
    accepted: &[AcceptedCredential],
    is_imported: impl Fn(&str) -> bool,
) -> Credential<'r> {
    let is_key = rules.bearer_key_prefix.as_deref().is_some_and(|prefix| {
        // Also where the route accepts no keys: a wrong type is answered as one.
        !accepted.contains(&AcceptedCredential::Jwt) || has_own_form(text, prefix) || is_imported(text)
    });
    if is_key {
        Credential::ApiKey(text)
    } else {
        Credential::Bearer(Cow::Borrowed(text))
    }
}

fn check_type(credential: &Credential<'_>, accepted: &[AcceptedCredential]) -> Result<(), IntakeError> {
    let needed = match credential {
        Credential::Bearer(_) => AcceptedCredential::Jwt,
        Credential::ApiKey(_) => AcceptedCredential::ApiKey,
    };
    if accepted.contains(&needed) {
        Ok(())
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

/// Returns the text of `Authorization: Bearer` of a request with two credentials, on a route that reports them. The key only
/// has to be well-formed.
///
/// # Errors
/// [`IntakeError::TwoCredentials`] when a field is malformed: such a request was not accepted before the migration
/// either.
fn bearer_of_two<'r>(
    authorization: &'r HeaderValue,
    key: &HeaderValue,
    rules: &IntakeRules,
) -> Result<&'r str, IntakeError> {
    let bytes_max = rules.credential_bytes_max;
    match (
        rules.two_credentials,
        bearer::parse(authorization, bytes_max),
        api_key::parse(key, bytes_max),
    ) {
        (TwoCredentials::Report, Ok(token), Ok(_)) => Ok(token),
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
