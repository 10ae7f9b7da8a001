//! Which identity does a JWT prove? The checks are those of RFC 7519 section 7.2, RFC 8725 and RFC 9068 section 4.

mod claims;
mod error;

pub use claims::Claims;
pub use error::TokenError;

use crate::config;
use crate::gate::authenticate::ClaimPicks;
use crate::gate::authenticate::CredentialType;
use crate::gate::authenticate::TokenIdentity;
use crate::jose::json::Members;
use crate::jose::jwks::Jwks;
use crate::jose::jwks::KeyCandidates;
use crate::jose::jwks::KeyLookupError;
use crate::jose::jws::Jws;
use crate::jose::numeric_date::Rounding;
use crate::model::algorithm::Algorithm;
use crate::model::clock::Timestamp;
use crate::model::issuer::TokenIssuer;
use std::time::Duration;

/// The rules for an issuer's tokens, compiled from its configuration.
#[derive(Clone, Debug)]
pub struct TokenRules {
    issuer: TokenIssuer,
    algorithms: Box<[Algorithm]>,
    /// The accepted types in lower case; the empty text stands for an absent `typ`.
    types: Box<[String]>,
    audience: Audience,
    clock_skew: Duration,
    max_lifetime: Duration,
    required_claims: Box<[(String, Vec<String>)]>,
    scope_claims: Box<[String]>,
    client_id_claims: Box<[String]>,
    organization_claim: String,
    picks: ClaimPicks,
}

/// The rule for the presence of `aud`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    Required,
    /// The explicit waiver `audiences: any`.
    Waived,
}

/// A token with a signature of its issuer; its claims are not checked.
pub struct SignedToken<'p, 'a> {
    parsed: &'p ParsedToken<'a>,
    token_type: TokenType,
}

/// A parsed token; its claims are not verified.
pub struct ParsedToken<'a> {
    jws: &'a Jws<'a>,
    claims: Claims<'a>,
}

impl TokenRules {
    pub fn compile(issuer: &config::Issuer) -> Self {
        let audience = match issuer.audiences {
            Some(_) => Audience::Required,
            None => Audience::Waived,
        };
        Self {
            issuer: issuer.issuer.clone(),
            algorithms: issuer.algorithms.clone().into(),
            types: issuer.types.iter().map(|typ| typ.to_ascii_lowercase()).collect(),
            audience,
            clock_skew: issuer.clock_skew,
            max_lifetime: issuer.max_lifetime,
            required_claims: issuer.required_claims.clone().into(),
            scope_claims: issuer.scope_claims.clone().into(),
            client_id_claims: issuer.client_id_claims.clone().into(),
            organization_claim: issuer.organization_claim.clone(),
            picks: ClaimPicks::compile(issuer),
        }
    }

    /// Returns the last instant at which a token that expires at `expires_at` is accepted: `exp` plus the issuer's
    /// skew, to the millisecond. After that instant, a cached token is refused like any other (S037).
    pub fn usable_until(&self, expires_at: Timestamp) -> Timestamp {
        expires_at.saturating_add(self.clock_skew)
    }

    /// Checks an introspection response (RFC 7662 section 2.2) by the rules for the claims of a JWT, and returns the
    /// identity and `exp`. `iss` and `exp` may be absent, because Keygate chose the issuer and the issuer reported the
    /// token as active. Without `exp`, returns [`Timestamp::MAX`], and the identity expires after `max_lifetime`.
    ///
    /// # Errors
    /// The first check to fail.
    pub fn check_introspection(
        &self,
        claims: &Claims<'_>,
        now: Timestamp,
    ) -> Result<(TokenIdentity, Timestamp), TokenError> {
        let issuer = claims.nonempty_text("iss")?;
        if issuer.is_some_and(|issuer| !self.issuer.is_named_by(issuer)) {
            return Err(TokenError::Issuer);
        }
        let exp = self.check_times(claims, now)?;
        self.check_required(claims)?;
        let expires_at = exp.unwrap_or_else(|| now.saturating_add(self.max_lifetime));
        let identity = self.identity(CredentialType::Opaque, claims, expires_at)?;
        Ok((identity, exp.unwrap_or(Timestamp::MAX)))
    }

    /// Checks `exp`, `nbf` and `iat` (RFC 7519 sections 4.1.4 to 4.1.6) and the lifetime. Returns `exp`, where present.
    fn check_times(&self, claims: &Claims<'_>, now: Timestamp) -> Result<Option<Timestamp>, TokenError> {
        let expires_at = claims.time("exp", Rounding::Down)?;
        let not_before = claims.time("nbf", Rounding::Up)?;
        let issued_at = claims.time("iat", Rounding::Up)?;
        if let Some(expires_at) = expires_at
            && now > self.usable_until(expires_at)
        {
            let late_secs = now.saturating_since(expires_at).as_secs();
            return Err(TokenError::Expired { late_secs });
        }
        let horizon = now.saturating_add(self.clock_skew);
        if not_before.is_some_and(|not_before| not_before > horizon) {
            return Err(TokenError::NotYetValid);
        }
        if issued_at.is_some_and(|issued_at| issued_at > horizon) {
            return Err(TokenError::IssuedInFuture);
        }
        // Without `iat`, assume that the token was issued now, by a clock that is ahead of Keygate's by the skew.
        let issued_at = issued_at.unwrap_or(horizon);
        if expires_at.is_some_and(|expires_at| expires_at.saturating_since(issued_at) > self.max_lifetime) {
            return Err(TokenError::Lifetime);
        }
        Ok(expires_at)
    }

    /// Returns the `iss`, where the issuer is a template of many.
    fn tenant_issuer(&self, claims: &Claims<'_>) -> Result<Option<String>, TokenError> {
        match self.issuer {
            TokenIssuer::Template(_) => Ok(claims.text("iss")?.map(str::to_owned)),
            TokenIssuer::Url(_) | TokenIssuer::Text(_) => Ok(None),
        }
    }

    /// Returns the identity in `claims` that were refused, as far as they can be read. For the access record: the token admits
    /// nothing.
    pub fn owner(&self, credential_type: CredentialType, claims: &Claims<'_>) -> TokenIdentity {
        let name = |claim: &str| claims.name(claim).ok().flatten();
        TokenIdentity {
            credential_type,
            tenant_issuer: self.tenant_issuer(claims).ok().flatten(),
            subject: name("sub"),
            client_id: claims.first_name(&self.client_id_claims).ok().flatten(),
            organization: name(&self.organization_claim),
            token_id: name("jti"),
            ..TokenIdentity::default()
        }
    }

    fn check_required(&self, claims: &Claims<'_>) -> Result<(), TokenError> {
        for (name, allowed) in &self.required_claims {
            claims.check_required(name, allowed)?;
        }
        Ok(())
    }

    /// Returns the identity in `claims`, which are those of a JWT or of an introspection response.
    fn identity(
        &self,
        credential_type: CredentialType,
        claims: &Claims<'_>,
        expires_at: Timestamp,
    ) -> Result<TokenIdentity, TokenError> {
        // Bound to a key or a certificate that the request does not prove (RFC 7800 section 3.1).
        if claims.has("cnf") {
            return Err(TokenError::NotBearer("cnf"));
        }
        let audiences = claims.audiences()?;
        if audiences.is_empty() && self.audience == Audience::Required {
            return Err(TokenError::ClaimMissing("aud"));
        }
        Ok(TokenIdentity {
            credential_type,
            tenant_issuer: self.tenant_issuer(claims)?,
            subject: claims.name("sub")?,
            client_id: claims.first_name(&self.client_id_claims)?,
            organization: claims.name(&self.organization_claim)?,
            token_id: claims.name("jti")?,
            scopes: claims.scopes(&self.scope_claims)?,
            audiences,
            claims: claims.picked(&self.picks)?,
            // Rounded down: a token that was issued before a revocation must not look newer.
            issued_at: claims.time("iat", Rounding::Down)?,
            expires_at,
            usable_until: self.usable_until(expires_at),
        })
    }
}

impl<'a> ParsedToken<'a> {
    /// Parses the claims of `jws` strictly; needs no key.
    ///
    /// # Errors
    /// The payload is not one JSON object, or does not name its issuer by one string.
    pub fn read(jws: &'a Jws<'a>) -> Result<Self, TokenError> {
        let claims = Claims::new(Members::parse(jws.payload()).map_err(TokenError::Payload)?);
        claims.text("iss")?.ok_or(TokenError::ClaimMissing("iss"))?;
        Ok(Self { jws, claims })
    }

    /// Returns the unverified `iss`. Use it only to choose the issuer's keys.
    pub fn issuer(&self) -> &str {
        self.claims.text("iss").ok().flatten().unwrap_or_default()
    }

    /// Returns the unverified `kid`.
    pub fn kid(&self) -> Option<&str> {
        self.jws.header().kid.as_deref()
    }

    /// Returns the unverified `alg`.
    pub const fn algorithm(&self) -> Algorithm {
        self.jws.header().algorithm
    }

    /// Verifies the token by `rules` and `jwks` and returns its identity: [`Self::check_signature`], then
    /// [`SignedToken::check_claims`].
    ///
    /// # Errors
    /// The first check to fail.
    #[cfg(any(test, feature = "internals", feature = "gateway"))]
    pub fn verify(&self, rules: &TokenRules, jwks: &Jwks, now: Timestamp) -> Result<TokenIdentity, TokenError> {
        self.check_signature(rules, jwks)?.check_claims(rules, now)
    }

    /// Checks header, issuer, key and signature.
    ///
    /// # Errors
    /// The first check to fail. Only [`TokenError::UnknownKey`] and [`TokenError::KeyMismatch`] may be cured by fetching the
    /// issuer's keys.
    pub fn check_signature(&self, rules: &TokenRules, jwks: &Jwks) -> Result<SignedToken<'_, 'a>, TokenError> {
        if !rules.issuer.is_named_by(self.issuer()) {
            return Err(TokenError::Issuer);
        }
        if !rules.algorithms.contains(&self.algorithm()) {
            return Err(TokenError::Algorithm(self.algorithm()));
        }
        let token_type = self.check_type(rules)?;
        let signer = self.jws.signer(self.candidates(jwks)?.iter());
        signer.map_err(|_| TokenError::BadSignature)?;
        Ok(SignedToken {
            parsed: self,
            token_type,
        })
    }

    fn candidates<'k>(&self, jwks: &'k Jwks) -> Result<KeyCandidates<'k>, TokenError> {
        jwks.find(self.kid(), self.algorithm()).map_err(|none| match none {
            KeyLookupError::UnknownKid => TokenError::UnknownKey,
            KeyLookupError::NoneFits => TokenError::KeyMismatch,
            KeyLookupError::Ambiguous => TokenError::AmbiguousKey,
        })
    }

    /// Checks `typ`, without regard to case (RFC 7515 section 4.1.9).
    fn check_type(&self, rules: &TokenRules) -> Result<TokenType, TokenError> {
        let written = self.jws.header().typ.as_deref();
        let typ = written.unwrap_or_default();
        // In `rules.types`, the empty text stands for an absent `typ`. An empty `typ` must not match it.
        let written_empty = typ.is_empty() && written.is_some();
        let is = |known: &str| typ.eq_ignore_ascii_case(known);
        if written_empty || !rules.types.iter().any(|known| is(known)) {
            return Err(TokenError::Type);
        }
        if is("at+jwt") || is("application/at+jwt") {
            Ok(TokenType::AccessToken)
        } else {
            Ok(TokenType::Unspecified)
        }
    }

    /// Refuses a token with claims that only ID tokens have (OpenID Connect Core section 3.3.2.11, RFC 8725 section
    /// 3.12). For a `typ` that does not mark an access token.
    fn refuse_id_token(&self) -> Result<(), TokenError> {
        let marks = ["nonce", "at_hash", "c_hash"];
        match marks.into_iter().find(|name| self.claims.has(name)) {
            Some(mark) => Err(TokenError::NotAccessToken(mark)),
            None => Ok(()),
        }
    }
}

impl SignedToken<'_, '_> {
    /// Checks the claims and returns the identity of the token. `exp` and `nbf` are compared with `now`, with the issuer's skew on
    /// either side.
    ///
    /// The caller must check on every request whether `audiences` contains one that the route accepts.
    ///
    /// # Errors
    /// The first check to fail.
    pub fn check_claims(&self, rules: &TokenRules, now: Timestamp) -> Result<TokenIdentity, TokenError> {
        let claims = &self.parsed.claims;
        let expires_at = rules.check_times(claims, now)?;
        let expires_at = expires_at.ok_or(TokenError::ClaimMissing("exp"))?;
        if self.token_type == TokenType::Unspecified {
            self.parsed.refuse_id_token()?;
        }
        rules.check_required(claims)?;
        rules.identity(CredentialType::Jwt, claims, expires_at)
    }

    /// Returns the identity of a token that [`Self::check_claims`] refused; see [`TokenRules::owner`].
    pub fn owner(&self, rules: &TokenRules) -> TokenIdentity {
        rules.owner(CredentialType::Jwt, &self.parsed.claims)
    }
}

/// The type that `typ` states (RFC 9068 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenType {
    AccessToken,
    Unspecified,
}

#[cfg(test)]
mod tests;
