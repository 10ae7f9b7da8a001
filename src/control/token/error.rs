//! Why is there no token, and which error does the client receive (RFC 6749 section 5.2)? One table.

use crate::model::clock::wait_secs;
use crate::model::subscription::Standing;
use http::HeaderMap;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde_json::json;
use std::borrow::Cow;
use std::time::Duration;

/// Why the token endpoint, introspection or revocation refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenEndpointError {
    // The request itself.
    Method,
    Query,
    ContentType,
    TooLong,
    Malformed,
    TooManyParameters,
    Repeated,
    Missing(&'static str),
    SeveralMethods,
    AssertionType,
    GrantType,
    // Client authentication. Until it succeeds, only `BadSignature`, `KeysUnavailable` and `KeysRecent` reveal that the
    // client exists.
    NoAuthentication,
    Scheme,
    MalformedBasic,
    MalformedAssertion,
    AssertionAlgorithm,
    AssertionSubject,
    OtherClient,
    UnknownClient,
    WrongSecret,
    WrongMethod,
    WrongTenant,
    ProofEnded,
    BadSignature,
    AlgorithmNotInPlan,
    // Claims in the assertion of an authenticated client.
    AssertionKind,
    AssertionClaim(&'static str),
    AssertionAudience,
    AssertionExpired,
    AssertionNotYetValid,
    AssertionLifetime,
    AssertionTooOld,
    AssertionIdMissing,
    AssertionReplayed,
    // Permissions of an authenticated client.
    Disabled,
    KindNotInPlan,
    Standing(Standing),
    ScopeMalformed,
    ScopeBeyond,
    ResourceMalformed,
    ResourceUnknown,
    OthersToken,
    // Limits, and failures of the gate.
    TooManyFailures { retry_after: Duration },
    KeysUnavailable { retry_after: Duration },
    KeysRecent { retry_after: Duration },
    StoreUnavailable,
    NoSigningKey,
    SigningFailed,
}

/// The presence of an `Authorization` field, which decides between 400 and 401 (RFC 6749 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    Used,
    Absent,
}

/// One row of the table: the visible form of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// 400 becomes 401 with a challenge if `Authorization` was used and the error is `invalid_client`.
    pub status: StatusCode,
    pub error: &'static str,
    pub description: Cow<'static, str>,
    /// The label in metrics and records; a closed set.
    pub reason: &'static str,
}

impl Row {
    fn new(
        (status, error): (StatusCode, &'static str),
        description: impl Into<Cow<'static, str>>,
        reason: &'static str,
    ) -> Self {
        Self {
            status,
            error,
            description: description.into(),
            reason,
        }
    }
}

const REQUEST: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "invalid_request");
const CLIENT: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "invalid_client");
const UNAUTHORIZED: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "unauthorized_client");
const SCOPE: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "invalid_scope");
const TARGET: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "invalid_target");
// No error code is registered for temporary failures at the token endpoint:
// RFC 6749 section 4.1.2.1 defines this code for the authorization endpoint.
const LATER: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");

impl TokenEndpointError {
    /// Returns the row of this error.
    #[rustfmt::skip]
    pub fn row(self) -> Row {
        let (error, description, reason) = match self {
            // RFC 6749 section 3.2: POST, form, each parameter once; parameters without a value count as omitted.
            Self::Method => (REQUEST, "this endpoint takes POST requests only", "method"),
            Self::Query => (REQUEST, "parameters belong in the body, none in the URL", "query_parameters"),
            Self::ContentType => (REQUEST, "the body must be application/x-www-form-urlencoded", "content_type"),
            Self::TooLong => ((StatusCode::PAYLOAD_TOO_LARGE, "invalid_request"), "the body is longer than 64 KiB", "body_too_long"),
            Self::Malformed => (REQUEST, "the body is not well-formed", "malformed_form"),
            Self::TooManyParameters => (REQUEST, "the body has more than 64 parameters", "too_many_parameters"),
            Self::Repeated => (REQUEST, "a parameter is there more than once", "repeated_parameter"),
            Self::Missing(name) => return Row::new(REQUEST, format!("{name} is missing"), "missing_parameter"),
            // RFC 6749 section 2.3: no more than one method in a request.
            Self::SeveralMethods => (REQUEST, "more than one client authentication: send exactly one of client_secret_basic, client_secret_post, private_key_jwt", "several_methods"),
            // RFC 7521 section 4.2.
            Self::AssertionType => (REQUEST, "client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "assertion_type"),
            Self::GrantType => ((StatusCode::BAD_REQUEST, "unsupported_grant_type"), "the only grant_type is client_credentials", "unsupported_grant_type"),
            // RFC 6749 section 5.2, RFC 7521 section 4.2.1.
            Self::NoAuthentication => (CLIENT, "no client authentication: send client_secret_basic, client_secret_post or private_key_jwt", "no_client_authentication"),
            Self::Scheme => (CLIENT, "the Authorization scheme of clients is Basic", "authorization_scheme"),
            Self::MalformedBasic => (CLIENT, "the Authorization header is not Base64 of client_id:client_secret", "malformed_basic"),
            Self::MalformedAssertion => (CLIENT, "failed to parse JWT", "malformed_assertion"),
            Self::AssertionAlgorithm => (CLIENT, "alg of the assertion must be one of RS256, PS256, ES256, EdDSA", "assertion_algorithm"),
            Self::AssertionSubject => (CLIENT, "iss and sub of the assertion must both be the client id", "assertion_subject"),
            Self::OtherClient => (CLIENT, "client_id is not that of the client authentication", "other_client"),
            // One text for all errors that an unauthenticated client must not tell apart (S133).
            Self::UnknownClient => (CLIENT, "invalid client", "unknown_client"),
            Self::WrongSecret => (CLIENT, "invalid client", "wrong_secret"),
            Self::WrongMethod => (CLIENT, "invalid client", "wrong_method"),
            Self::WrongTenant => (CLIENT, "invalid client", "wrong_tenant"),
            Self::ProofEnded => (CLIENT, "invalid client", "proof_ended"),
            Self::BadSignature => (CLIENT, "invalid JWT signature", "bad_assertion_signature"),
            Self::AlgorithmNotInPlan => (CLIENT, "the plan of the subscription does not take this alg of the assertion", "algorithm_not_in_plan"),
            // RFC 7523 section 3; RFC 8725 section 3.12 for the kind.
            Self::AssertionKind => (CLIENT, "typ of the assertion must be JWT, client-authentication+jwt or left out", "assertion_kind"),
            Self::AssertionClaim(name) => return Row::new(CLIENT, format!("{name} of the assertion is missing or has the wrong type"), "assertion_claim"),
            Self::AssertionAudience => (CLIENT, "aud of the assertion must be one audience, the issuer or where it accepts that the URL of this endpoint", "assertion_audience"),
            Self::AssertionExpired => (CLIENT, "the assertion has expired", "assertion_expired"),
            Self::AssertionNotYetValid => (CLIENT, "the assertion is not valid yet: is the clock right?", "assertion_not_yet_valid"),
            Self::AssertionLifetime => (CLIENT, "exp of the assertion is too far ahead", "assertion_lifetime"),
            Self::AssertionTooOld => (CLIENT, "the assertion was issued too long ago", "assertion_too_old"),
            Self::AssertionIdMissing => (CLIENT, "the assertion needs a jti, a new one each time", "assertion_id_missing"),
            Self::AssertionReplayed => (CLIENT, "the assertion was used before: make a new one, with a new jti, for each request", "assertion_replayed"),
            Self::Disabled => (UNAUTHORIZED, "this client is disabled", "client_disabled"),
            Self::KindNotInPlan => (UNAUTHORIZED, "the plan of the subscription does not allow this kind of credential", "credential_not_in_plan"),
            Self::Standing(standing) => return standing_row(standing),
            Self::ScopeMalformed => (SCOPE, "scope must be scopes separated by single spaces", "scope_malformed"),
            Self::ScopeBeyond => (SCOPE, "a scope was asked for that this client may not have", "scope_beyond_client"),
            // RFC 8707 section 2.
            Self::ResourceMalformed => (TARGET, "resource must be an absolute URI without a fragment", "resource_malformed"),
            Self::ResourceUnknown => (TARGET, "no tokens are issued here for this resource", "resource_unknown"),
            // RFC 7009 section 2.1.
            Self::OthersToken => (UNAUTHORIZED, "the token was issued to another client", "others_token"),
            Self::TooManyFailures { .. } => ((StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable"), "too many failed authentications of this client from this address; nothing was compared", "too_many_failures"),
            Self::KeysUnavailable { .. } => (LATER, "the key set behind the jwks_url of this client cannot be fetched", "client_keys_unavailable"),
            Self::KeysRecent { .. } => (LATER, "no key behind the jwks_url of this client fits the assertion, and they were fetched a moment ago: a new key is found after Retry-After", "client_keys_recent"),
            Self::StoreUnavailable => (LATER, "the store is not available", "store_unavailable"),
            Self::NoSigningKey => (LATER, "there is no key to sign with", "no_signing_key"),
            Self::SigningFailed => ((StatusCode::INTERNAL_SERVER_ERROR, "server_error"), "the token cannot be signed", "signing_failed"),
        };
        Row::new(error, description, reason)
    }

    /// Returns the value of `Retry-After`; `None` for an error that a repeated request does not change.
    fn retry_after(self) -> Option<Duration> {
        if let Self::TooManyFailures { retry_after }
        | Self::KeysUnavailable { retry_after }
        | Self::KeysRecent { retry_after } = self
        {
            return Some(retry_after);
        }
        let soon = matches!(self, Self::StoreUnavailable | Self::NoSigningKey);
        soon.then_some(Duration::from_secs(1))
    }

    /// Returns the response: status, headers, and the body as JSON.
    pub fn response(self, authorization: Authorization) -> (StatusCode, HeaderMap, String) {
        let row = self.row();
        let mut headers = HeaderMap::new();
        let mut status = row.status;
        if row.error == CLIENT.1 && authorization == Authorization::Used {
            status = StatusCode::UNAUTHORIZED;
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        if let Some(retry_after) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait_secs(retry_after)));
        }
        let body = json!({ "error": row.error, "error_description": row.description });
        (status, headers, body.to_string())
    }
}

const CHALLENGE: &str = "Basic realm=\"keygate\"";

#[rustfmt::skip]
fn standing_row(standing: Standing) -> Row {
    let description = match standing {
        Standing::Good => "the subscription is in force",
        Standing::Pending => "the subscription waits for approval",
        Standing::ProvisioningFailed => "the subscription could not be set up; who runs this gate must try again",
        Standing::Cancelled => "the subscription is cancelled",
        Standing::PaymentDue => "the plan must be paid before live credentials work",
        Standing::NotReleased => "the plan is not released: sandbox credentials only",
        Standing::SandboxOnly => "the subscription is for sandbox credentials only",
        Standing::PlanGone => "the plan of the subscription is not offered any more",
    };
    let reason = standing.reason().unwrap_or("subscription");
    Row::new(UNAUTHORIZED, description, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6749_section_5_2_descriptions_have_only_the_characters_it_allows() {
        for error in ALL {
            let row = error.row();
            for text in [row.error, &row.description] {
                let fits = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E);
                assert!(!text.is_empty() && text.bytes().all(fits), "{error:?}");
            }
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(row.reason.bytes().all(plain), "{error:?}");
        }
    }

    #[test]
    fn s132_a_challenge_comes_with_401_and_only_where_authorization_was_used() {
        for error in ALL {
            let (status, headers, _) = error.response(Authorization::Absent);
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{error:?}");
            assert!(!headers.contains_key(header::WWW_AUTHENTICATE), "{error:?}");
            let (status, headers, _) = error.response(Authorization::Used);
            let challenged = headers.contains_key(header::WWW_AUTHENTICATE);
            assert_eq!(challenged, status == StatusCode::UNAUTHORIZED, "{error:?}");
            assert_eq!(challenged, error.row().error == "invalid_client", "{error:?}");
        }
    }

    #[test]
    fn the_table_is_the_golden_one() {
        let lines: Vec<String> = ALL
            .iter()
            .map(|error| {
                let row = error.row();
                let (used, _, _) = error.response(Authorization::Used);
                let status = row.status.as_u16();
                format!(
                    "{status} {} {} {}: {}",
                    used.as_u16(),
                    row.error,
                    row.reason,
                    row.description
                )
            })
            .collect();
        let golden = include_str!("../../../tests/data/token/errors.txt");
        let expected: Vec<&str> = golden.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines, expected, "\n{}\n", lines.join("\n"));
    }

    const ALL: &[TokenEndpointError] = &[
        TokenEndpointError::Method,
        TokenEndpointError::Query,
        TokenEndpointError::ContentType,
        TokenEndpointError::TooLong,
        TokenEndpointError::Malformed,
        TokenEndpointError::TooManyParameters,
        TokenEndpointError::Repeated,
        TokenEndpointError::Missing("grant_type"),
        TokenEndpointError::Missing("client_id"),
        TokenEndpointError::Missing("client_assertion"),
        TokenEndpointError::Missing("client_assertion_type"),
        TokenEndpointError::Missing("token"),
        TokenEndpointError::SeveralMethods,
        TokenEndpointError::AssertionType,
        TokenEndpointError::GrantType,
        TokenEndpointError::NoAuthentication,
        TokenEndpointError::Scheme,
        TokenEndpointError::MalformedBasic,
        TokenEndpointError::MalformedAssertion,
        TokenEndpointError::AssertionAlgorithm,
        TokenEndpointError::AssertionSubject,
        TokenEndpointError::OtherClient,
        TokenEndpointError::UnknownClient,
        TokenEndpointError::WrongSecret,
        TokenEndpointError::WrongMethod,
        TokenEndpointError::WrongTenant,
        TokenEndpointError::ProofEnded,
        TokenEndpointError::BadSignature,
        TokenEndpointError::AlgorithmNotInPlan,
        TokenEndpointError::AssertionKind,
        TokenEndpointError::AssertionClaim("exp"),
        TokenEndpointError::AssertionClaim("iat"),
        TokenEndpointError::AssertionClaim("nbf"),
        TokenEndpointError::AssertionClaim("jti"),
        TokenEndpointError::AssertionAudience,
        TokenEndpointError::AssertionExpired,
        TokenEndpointError::AssertionNotYetValid,
        TokenEndpointError::AssertionLifetime,
        TokenEndpointError::AssertionTooOld,
        TokenEndpointError::AssertionIdMissing,
        TokenEndpointError::AssertionReplayed,
        TokenEndpointError::Disabled,
        TokenEndpointError::KindNotInPlan,
        TokenEndpointError::Standing(Standing::Pending),
        TokenEndpointError::Standing(Standing::ProvisioningFailed),
        TokenEndpointError::Standing(Standing::Cancelled),
        TokenEndpointError::Standing(Standing::PaymentDue),
        TokenEndpointError::Standing(Standing::NotReleased),
        TokenEndpointError::Standing(Standing::SandboxOnly),
        TokenEndpointError::Standing(Standing::PlanGone),
        TokenEndpointError::ScopeMalformed,
        TokenEndpointError::ScopeBeyond,
        TokenEndpointError::ResourceMalformed,
        TokenEndpointError::ResourceUnknown,
        TokenEndpointError::OthersToken,
        TokenEndpointError::TooManyFailures {
            retry_after: Duration::from_millis(1),
        },
        TokenEndpointError::KeysUnavailable {
            retry_after: Duration::from_secs(30),
        },
        TokenEndpointError::KeysRecent {
            retry_after: Duration::from_secs(30),
        },
        TokenEndpointError::StoreUnavailable,
        TokenEndpointError::NoSigningKey,
        TokenEndpointError::SigningFailed,
    ];
}
