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
use crate::model::directory::opaque::OPAQUE_PREFIX;
use crate::model::names::Name;
use std::sync::Arc;

/// The issuers that one route trusts.
pub struct Trust {
    pub issuers: Box<[Arc<IssuerState>]>,
    /// The issuer of `issuers` that is the gate itself.
    pub own: Option<Arc<IssuerState>>,
    /// The mode of all `issuers`: `config::load` rejects a mixture.
    pub mode: Mode,
    /// The audiences of the route, in place of those of its issuers.
    pub audiences: Option<Box<[String]>>,
}

impl Trust {
    /// Returns the type of `credential` before it is validated. A bearer token is opaque where it has the form of the
    /// gate's opaque tokens, or where an issuer can introspect it and it does not have the three parts of a JWS.
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

    /// Returns the issuer that `credential`, valid or not, belongs to: a JWT names it by `iss`; any other token
    /// belongs to the introspecting issuer.
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

    /// Returns the gate itself where `token`, not validated yet, has the form of the gate's opaque
    /// tokens and the route accepts them.
    pub(super) fn own_opaque(&self, token: &str) -> Option<&Arc<IssuerState>> {
        self.own.as_ref().filter(|_| token.starts_with(OPAQUE_PREFIX))
    }

    /// Returns whether the gate issued the verified token of `identity`. No other issuer has the
    /// gate's name while the gate is an issuer.
    pub(super) fn is_own(&self, identity: &Identity) -> bool {
        let own = self.own.as_ref().map(|issuer| issuer.name());
        own.is_some() && identity.issuer.as_ref() == own
    }

    /// Returns whether `token` could be a signed JWT of another issuer with the same URL as `introspecting`. A verdict
    /// that `introspecting` gave about such a token on another route does not apply here.
    pub(super) fn may_be_signed(&self, token: &str, introspecting: &IssuerState) -> bool {
        let same_url = |issuer: &Arc<IssuerState>| issuer.settings().issuer == introspecting.settings().issuer;
        let mut signing = self.issuers.iter().filter(|issuer| issuer.keys().is_some());
        signing.any(same_url) && has_three_parts(token)
    }

    /// Returns the issuer that introspects tokens; the configuration allows one.
    pub(super) fn introspecting_issuer(&self) -> Option<(&Arc<IssuerState>, &Introspection)> {
        let mut issuers = self.issuers.iter();
        issuers.find_map(|issuer| Some((issuer, issuer.introspection()?)))
    }

    /// Returns the issuer that a JWT names by `iss`. Where an issuer with keys and an introspecting issuer have
    /// the same URL, the issuer with keys.
    pub(super) fn issuer_of(&self, parsed: &ParsedToken<'_>) -> Option<&Arc<IssuerState>> {
        let is_named = |issuer: &&Arc<IssuerState>| issuer.settings().issuer.as_str() == parsed.issuer();
        let issuers = self.issuers.iter().filter(is_named);
        issuers.min_by_key(|issuer| issuer.introspection().is_some())
    }

    /// Returns `identity` where its `aud` contains one of the route's audiences, or one of the issuer's where the route
    /// has none (RFC 7519 section 4.1.3).
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
            Err(Failure::Refused(Refusal::WrongAudience))
        }
    }
}

/// Returns whether `token` has as many parts as a JWS in compact form (RFC 7515 section 3.1).
fn has_three_parts(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}
