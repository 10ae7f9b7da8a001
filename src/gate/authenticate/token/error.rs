//! Why is a token refused?

use crate::jose::json::JsonError;
use crate::jose::jws::JwsError;
use crate::model::algorithm::Algorithm;
use crate::model::reason::reasons;

/// Why a bearer token is refused. For operators; clients get fewer details.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("not a token we read")]
    Jws(#[from] JwsError),
    #[error("its payload cannot be read")]
    Payload(#[source] JsonError),
    #[error("its issuer is another one")]
    Issuer,
    #[error("its algorithm {0} is not one of the issuer's")]
    Algorithm(Algorithm),
    #[error("its `typ` is not one of the issuer's")]
    Type,
    /// A newer key set may cure this refusal.
    #[error("the issuer has no key of this id")]
    UnknownKey,
    /// A newer key set may cure this refusal: an issuer that changes its algorithm may keep the name of its key.
    #[error("no key of the issuer fits its algorithm")]
    KeyMismatch,
    #[error("several keys of the issuer fit")]
    AmbiguousKey,
    #[error("signature does not verify")]
    BadSignature,
    #[error("expired {late_secs} s ago")]
    Expired { late_secs: u64 },
    #[error("not valid yet (`nbf`)")]
    NotYetValid,
    #[error("issued in the future (`iat`)")]
    IssuedInFuture,
    #[error("valid for longer than the issuer's `max_lifetime`")]
    Lifetime,
    #[error("claim `{0}` marks an ID token, not an access token")]
    NotAccessToken(&'static str),
    #[error("claim `{0}` says that it is no bearer token")]
    NotBearer(&'static str),
    #[error("claim `{0}` is missing")]
    ClaimMissing(&'static str),
    #[error("claim `{0}` has a wrong type or value")]
    ClaimInvalid(String),
    #[error("claim `{0}` does not have one of the required values")]
    RequiredClaim(String),
}

impl TokenError {
    /// Returns the name of the claim that the refusal is about.
    pub fn claim(&self) -> Option<&str> {
        match self {
            Self::NotAccessToken(claim) | Self::NotBearer(claim) | Self::ClaimMissing(claim) => Some(claim),
            Self::ClaimInvalid(claim) | Self::RequiredClaim(claim) => Some(claim),
            Self::Expired { .. } => Some("exp"),
            Self::NotYetValid => Some("nbf"),
            Self::IssuedInFuture => Some("iat"),
            Self::Jws(_)
            | Self::Payload(_)
            | Self::Issuer
            | Self::Algorithm(_)
            | Self::Type
            | Self::UnknownKey
            | Self::KeyMismatch
            | Self::AmbiguousKey
            | Self::BadSignature
            | Self::Lifetime => None,
        }
    }
}

reasons! {
    TokenError {
        Self::Jws(JwsError::TooLong) => "token_too_long",
        Self::Jws(
            JwsError::Parts | JwsError::Base64(_) | JwsError::Header(_) | JwsError::HeaderMember(_) | JwsError::Nested,
        )
        | Self::Payload(_) => "token_malformed",
        Self::Jws(JwsError::Encrypted) => "token_encrypted",
        Self::Jws(JwsError::Critical) => "token_critical_header",
        Self::Jws(JwsError::Algorithm) | Self::Algorithm(_) => "token_algorithm",
        Self::Type => "token_type",
        Self::Issuer => "token_issuer",
        Self::UnknownKey => "unknown_key",
        Self::KeyMismatch => "key_mismatch",
        Self::AmbiguousKey => "ambiguous_key",
        Self::BadSignature => "bad_signature",
        Self::Expired { .. } => "token_expired",
        Self::NotYetValid => "token_not_yet_valid",
        Self::IssuedInFuture => "token_issued_in_future",
        Self::Lifetime => "token_lifetime",
        Self::NotAccessToken(_) => "not_an_access_token",
        Self::NotBearer(_) => "token_not_bearer",
        Self::ClaimMissing(_) => "token_claim_missing",
        Self::ClaimInvalid(_) => "token_claim_invalid",
        Self::RequiredClaim(_) => "token_required_claim",
    }
}
