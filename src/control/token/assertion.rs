//! Does this assertion authenticate a client (RFC 7523 section 3)? Its format, its signature, its claims.

use crate::config::TokenEndpoint;
use crate::config::token_endpoint::AssertionAudience;
use crate::control::token::error::TokenEndpointError;
use crate::jose::json;
use crate::jose::jwk::VerifyingKey;
use crate::jose::jwks::KidMeaning;
use crate::jose::jws::Jws;
use crate::jose::jws::JwsError;
use crate::jose::numeric_date;
use crate::jose::numeric_date::Rounding;
use crate::model::algorithm::ASSERTION_ALGORITHMS;
use crate::model::algorithm::Algorithm;
use crate::model::api_key::CredentialDigest;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::names::Name;
use crate::store::AssertionMark;
use crate::store::record::client::CLIENT_KEYS_MAX;
use serde_json::Map;
use serde_json::Value;
use std::time::Duration;

/// The algorithms of assertions, the same as for uploaded keys.
pub const ALGORITHMS: [Algorithm; 4] = ASSERTION_ALGORITHMS;

const JTI_BYTES_MAX: usize = 512;

/// A parsed assertion. Nothing in it is trusted before [`Assertion::signer`] has returned a key.
pub struct Assertion<'a> {
    jws: Jws<'a>,
    claims: Map<String, Value>,
    client: String,
}

/// The endpoint that received the assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivingEndpoint<'a> {
    /// The global token endpoint.
    Token,
    /// The token endpoint of one organization.
    TenantToken { organization: &'a str },
    /// Introspection or revocation. `aud` may also be the URL of the token endpoint: client programs have one setting
    /// for all endpoints of a server.
    Other { path: &'a str },
}

impl<'a> Assertion<'a> {
    /// Parses an assertion without verifying it.
    ///
    /// # Errors
    /// The text is not a signed JWT of an allowed algorithm, or `iss` and `sub` differ.
    pub fn parse(text: &'a str) -> Result<Self, TokenEndpointError> {
        let jws = Jws::parse(text).map_err(|error| match error {
            JwsError::Algorithm => TokenEndpointError::AssertionAlgorithm,
            JwsError::TooLong
            | JwsError::Parts
            | JwsError::Encrypted
            | JwsError::Base64(_)
            | JwsError::Header(_)
            | JwsError::HeaderMember(_)
            | JwsError::Critical
            | JwsError::Nested => TokenEndpointError::MalformedAssertion,
        })?;
        if !ALGORITHMS.contains(&jws.header().algorithm) {
            return Err(TokenEndpointError::AssertionAlgorithm);
        }
        let claims = json::object(jws.payload()).map_err(|_| TokenEndpointError::MalformedAssertion)?;
        let client = match (claims.get("iss"), claims.get("sub")) {
            (Some(Value::String(issuer)), Some(Value::String(subject))) if issuer == subject => issuer.clone(),
            _ => return Err(TokenEndpointError::AssertionSubject),
        };
        Ok(Self { jws, claims, client })
    }

    /// Returns `iss`, which equals `sub`; unverified.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Returns `alg`; a key that fits it has verified the signature once [`Self::signer`] returns one.
    pub const fn algorithm(&self) -> Algorithm {
        self.jws.header().algorithm
    }

    /// Returns `kid`, unverified.
    pub fn kid(&self) -> Option<&str> {
        self.jws.header().kid.as_deref()
    }

    /// Returns the key of `keys` that signed the assertion. `kid` selects the key; without `kid`, or where it says nothing
    /// about these keys, tries at most [`CLIENT_KEYS_MAX`] keys that fit the algorithm.
    pub fn signer<'k>(&self, keys: impl Iterator<Item = &'k VerifyingKey> + Clone) -> Option<&'k VerifyingKey> {
        let kid = self.kid().map(|kid| (kid, KidMeaning::of(kid, keys.clone())));
        let is_meant = |key: &&VerifyingKey| match kid {
            None | Some((_, KidMeaning::Nothing)) => true,
            Some((kid, KidMeaning::Named)) => key.is_named(kid),
            Some((_, KidMeaning::Unknown)) => false,
        };
        let fitting = keys
            .filter(is_meant)
            .filter(|key| key.fits(self.jws.header().algorithm));
        self.jws.signer(fitting.take(CLIENT_KEYS_MAX)).ok()
    }

    /// Validates `typ`, then the claims in the order of RFC 7523 section 3. Returns the mark
    /// to store before a token is issued for the assertion; `None` without `jti`.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check(
        &self,
        rules: &TokenEndpoint,
        endpoint: ReceivingEndpoint<'_>,
        client: &ClientId,
        organization: &Name,
        now: Timestamp,
    ) -> Result<Option<AssertionMark>, TokenEndpointError> {
        self.check_kind()?;
        self.check_audience(rules, endpoint, organization)?;
        let expires_at = self.check_times(rules, now)?;
        let id = match self.claim("jti") {
            None if rules.require_jti => return Err(TokenEndpointError::AssertionIdMissing),
            None => return Ok(None),
            Some(Value::String(id)) if (1..=JTI_BYTES_MAX).contains(&id.len()) => CredentialDigest::sha256(id),
            Some(_) => return Err(TokenEndpointError::AssertionClaim("jti")),
        };
        Ok(Some(AssertionMark {
            client: client.clone(),
            id,
            // The assertion could be replayed until then.
            expires_at: expires_at.saturating_add(rules.clock_skew),
        }))
    }

    /// Checks `typ`: an access token, or a JWT of any other explicit type, is no assertion (RFC 8725 section 3.12,
    /// S125). Case does not matter (RFC 7515 section 4.1.9).
    fn check_kind(&self) -> Result<(), TokenEndpointError> {
        let Some(typ) = &self.jws.header().typ else {
            return Ok(());
        };
        let typ = typ.to_ascii_lowercase();
        let kind = typ.strip_prefix("application/").unwrap_or(&typ);
        match kind {
            "jwt" | "client-authentication+jwt" => Ok(()),
            _ => Err(TokenEndpointError::AssertionKind),
        }
    }

    /// Checks `aud`, which must be one audience: with several, another one of them could replay the assertion here (S119).
    /// An array of exactly one is taken too (RFC 7519 section 4.1.3), because libraries write it, but not in the strict
    /// profile, whose audience is a string (rfc7523bis).
    fn check_audience(
        &self,
        rules: &TokenEndpoint,
        endpoint: ReceivingEndpoint<'_>,
        organization: &Name,
    ) -> Result<(), TokenEndpointError> {
        let audience = match self.claim("aud") {
            Some(Value::String(audience)) => Some(audience),
            Some(Value::Array(audiences)) => match (audiences.as_slice(), rules.assertion_audience) {
                ([Value::String(audience)], AssertionAudience::IssuerOrEndpoint) => Some(audience),
                (_, AssertionAudience::IssuerOrEndpoint | AssertionAudience::Issuer) => None,
            },
            Some(_) | None => None,
        };
        let audience = audience.ok_or(TokenEndpointError::AssertionAudience)?;
        let is_issuer = audience == rules.issuer.as_str();
        // The organization's metadata has an issuer of its own.
        let is_tenant_issuer = |organization: &str| *audience == rules.tenant_issuer(organization);
        let is_tenant_endpoint = |organization: &str| *audience == rules.tenant_token_url(organization);
        let (is_issuer, is_endpoint) = match endpoint {
            ReceivingEndpoint::Token => (is_issuer, *audience == rules.token_url()),
            ReceivingEndpoint::TenantToken { organization } => (
                is_issuer || is_tenant_issuer(organization),
                is_tenant_endpoint(organization),
            ),
            ReceivingEndpoint::Other { path } => (
                is_issuer || is_tenant_issuer(organization.as_str()),
                [rules.url(path), rules.token_url()].contains(audience) || is_tenant_endpoint(organization.as_str()),
            ),
        };
        let is_accepted = match rules.assertion_audience {
            AssertionAudience::IssuerOrEndpoint => is_issuer || is_endpoint,
            AssertionAudience::Issuer => is_issuer,
        };
        if is_accepted {
            Ok(())
        } else {
            Err(TokenEndpointError::AssertionAudience)
        }
    }

    /// Checks `exp`, `nbf` and `iat`, each with the clock skew, and returns `exp`.
    fn check_times(&self, rules: &TokenEndpoint, now: Timestamp) -> Result<Timestamp, TokenEndpointError> {
        let Some(expires_at) = self.time("exp", Rounding::Down)? else {
            return Err(TokenEndpointError::AssertionClaim("exp"));
        };
        let skew = rules.clock_skew;
        if now >= expires_at.saturating_add(skew) {
            return Err(TokenEndpointError::AssertionExpired);
        }
        let longest: Duration = rules.assertion_max_lifetime.saturating_add(skew);
        if expires_at > now.saturating_add(longest) {
            return Err(TokenEndpointError::AssertionLifetime);
        }
        for name in ["nbf", "iat"] {
            if self
                .time(name, Rounding::Up)?
                .is_some_and(|time| time > now.saturating_add(skew))
            {
                return Err(TokenEndpointError::AssertionNotYetValid);
            }
        }
        let issued_at = self.time("iat", Rounding::Up)?.unwrap_or(now);
        if issued_at.saturating_add(longest) < now {
            Err(TokenEndpointError::AssertionTooOld)
        } else {
            Ok(expires_at)
        }
    }

    /// Returns a claim; one that is `null` is absent, as in a token.
    fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name).filter(|value| !value.is_null())
    }

    /// Returns a NumericDate claim, `None` if it is absent: whole or not, as in a token, because libraries write
    /// `time.time() + 300`.
    fn time(&self, name: &'static str, rounding: Rounding) -> Result<Option<Timestamp>, TokenEndpointError> {
        let wrong = TokenEndpointError::AssertionClaim(name);
        match self.claim(name) {
            None => Ok(None),
            Some(Value::Number(number)) => numeric_date::instant(number, rounding).map(Some).ok_or(wrong),
            Some(_) => Err(wrong),
        }
    }
}

#[cfg(test)]
mod tests;
