//! Which issuers does a route trust, and which audiences must their tokens name?

use crate::config::Mode;
use crate::gate::authenticate::CredentialType;
use crate::gate::authenticate::Failure;
use crate::gate::authenticate::Identity;
use crate::gate::authenticate::Refusal;
use crate::gate::authenticate::introspection::Introspection;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::authenticate::token::ParsedToken;
use crate::gate::intake::Credential;
use crate::jose::jws::Jws;
use crate::model::names::Name;
use crate::model::secret::OPAQUE_TOKEN_PREFIX;
use std::sync::Arc;

/// The issuers that one route trusts.
pub struct Trust {
    pub issuers: Box<[Arc<IssuerState>]>,
    /// Keygate's own token endpoint, if it is among `issuers`.
    pub own: Option<Arc<IssuerState>>,
    /// The mode of all `issuers`: `config::load` rejects a mixture.
    pub mode: Mode,
    /// The audiences of the route, in place of those of its issuers.
    pub audiences: Option<Box<[String]>>,
}

impl Trust {
    /// Returns the type of `credential` before validation. A bearer token is opaque if it has the form of Keygate's
    /// opaque tokens, or if an issuer can introspect it and it does not have the three parts of a JWS.
    pub fn credential_type(&self, credential: &Credential<'_>) -> CredentialType {
        match credential {
            Credential::ApiKey(_) => CredentialType::ApiKey,
            Credential::Bearer(token) => {
                let is_introspected = self.introspecting_issuer().is_some() && !has_three_parts(token);
                if is_introspected || self.own_opaque(token).is_some() {
                    CredentialType::Opaque
                } else {
                    CredentialType::Jwt
                }
            }
        }
    }

    /// Returns the issuer that `credential`, valid or not, belongs to: Keygate for a token in the form of its opaque
    /// tokens, for a JWT the issuer in `iss`, for any other token the introspecting issuer. `None` for an API key and
    /// for an issuer that the route does not trust.
    pub fn issuer_named_by(&self, credential: &Credential<'_>) -> Option<&Name> {
        let Credential::Bearer(token) = credential else {
            return None;
        };
        if let Some(own) = self.own_opaque(token) {
            return Some(own.name());
        }
        let jws = Jws::parse(token).ok();
        let issuer = match jws.as_ref().and_then(|jws| ParsedToken::read(jws).ok()) {
            Some(parsed) => self.issuer_of(&parsed)?,
            None => self.introspecting_issuer()?.0,
        };
        Some(issuer.name())
    }

    /// Returns Keygate's own token endpoint if the route trusts it and `token`, not validated yet, has the form of its
    /// opaque tokens.
    pub fn own_opaque(&self, token: &str) -> Option<&Arc<IssuerState>> {
        self.own.as_ref().filter(|_| token.starts_with(OPAQUE_TOKEN_PREFIX))
    }

    /// Returns whether Keygate issued the verified token of `identity`. Names are enough to compare: no other issuer
    /// may have the name of Keygate's own.
    pub(super) fn is_own(&self, identity: &Identity) -> bool {
        let own = self.own.as_ref().map(|issuer| issuer.name());
        own.is_some() && identity.issuer.as_ref() == own
    }

    /// Returns whether `token` could be a signed JWT of another issuer of the route whose `iss` values overlap with those of
    /// `introspecting`. A verdict of `introspecting` about such a token, from another route, does not apply here.
    pub(super) fn may_be_signed(&self, token: &str, introspecting: &IssuerState) -> bool {
        let overlaps = |issuer: &Arc<IssuerState>| issuer.settings().issuer.overlaps(&introspecting.settings().issuer);
        let mut signing = self.issuers.iter().filter(|issuer| issuer.keys().is_some());
        has_three_parts(token) && signing.any(overlaps)
    }

    /// Returns the issuer that introspects tokens. The configuration allows a route at most one.
    pub(super) fn introspecting_issuer(&self) -> Option<(&Arc<IssuerState>, &Introspection)> {
        let mut issuers = self.issuers.iter();
        issuers.find_map(|issuer| Some((issuer, issuer.introspection()?)))
    }

    /// Returns the issuer that a JWT names by `iss`. Prefers an issuer with keys to an introspecting issuer of the same
    /// URL.
    pub(super) fn issuer_of(&self, parsed: &ParsedToken<'_>) -> Option<&Arc<IssuerState>> {
        let is_named = |issuer: &&Arc<IssuerState>| issuer.settings().issuer.is_named_by(parsed.issuer());
        let issuers = self.issuers.iter().filter(is_named);
        issuers.min_by_key(|issuer| issuer.introspection().is_some())
    }

    /// Returns `identity` if its `aud` contains one of the route's audiences or, where the route has none, one of the
    /// issuer's (RFC 7519 section 4.1.3).
    ///
    /// # Errors
    /// The token is for another audience.
    pub(super) fn for_audience(&self, identity: Arc<Identity>, issuer: &IssuerState) -> Result<Arc<Identity>, Failure> {
        let expected = match (&self.audiences, &issuer.settings().audiences) {
            (Some(audiences), _) => &audiences[..],
            (None, Some(audiences)) => &audiences[..],
            // The configuration waives the check with `audiences: any`.
            (None, None) => return Ok(identity),
        };
        let is_meant_for_us = identity
            .audiences
            .iter()
            .any(|audience| expected.iter().any(|name| **name == **audience));
        if is_meant_for_us {
            Ok(identity)
        } else {
            Err(Failure::Refused {
                refusal: Refusal::WrongAudience,
                owner: Some(identity),
            })
        }
    }
}

/// Returns whether `token` has as many parts as a JWS in compact form (RFC 7515 section 3.1).
fn has_three_parts(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}
