//! How is a credential validated? API keys and Keygate's opaque tokens are looked up in the directory; other tokens are
//! verified by their signature or introspected.

use crate::gate::authenticate::Failure;
use crate::gate::authenticate::Identity;
use crate::gate::authenticate::MissingProof;
use crate::gate::authenticate::Need;
use crate::gate::authenticate::Principal;
use crate::gate::authenticate::Refusal;
use crate::gate::authenticate::api_key::ApiKeyAuthenticator;
use crate::gate::authenticate::introspection::Introspection;
use crate::gate::authenticate::introspection::IssuerVerdict;
use crate::gate::authenticate::introspection::RefusedToken;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::authenticate::issuer::Proof;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::authenticate::jwks_cache::UnknownKid;
use crate::gate::authenticate::own_token;
use crate::gate::authenticate::own_token::OpaqueTokens;
use crate::gate::authenticate::token::ParsedToken;
use crate::gate::authenticate::token::TokenError;
use crate::gate::authenticate::trust::Trust;
use crate::gate::authenticate::verified::VerifiedToken;
use crate::gate::authenticate::verified::VerifiedTokens;
use crate::gate::intake::Credential;
use crate::jose::jws::Jws;
use crate::model::clock::Now;
use crate::model::directory::Directory;
use crate::model::secret::Secret;
use crate::observe::metrics::Metrics;
use std::net::IpAddr;
use std::sync::Arc;

/// The state that credentials are validated with, for all routes of a snapshot.
pub struct Authenticator {
    pub api_keys: ApiKeyAuthenticator,
    pub opaque_tokens: OpaqueTokens,
    pub verified: Arc<VerifiedTokens>,
    pub directory: Arc<Directory>,
    pub metrics: Arc<Metrics>,
}

impl Authenticator {
    /// Validates `credential` for a route with `trust` and returns its principal. `client_ip` is `None` where the
    /// address is unknown. `verdict` is the introspection that an earlier decision on this request needed.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn authenticate(
        &self,
        credential: &Credential<'_>,
        trust: &Trust,
        client_ip: Option<IpAddr>,
        verdict: Option<&IssuerVerdict>,
        now: Now,
    ) -> Result<Principal, Failure> {
        let (identity, binding) = match credential {
            Credential::ApiKey(text) => {
                let authenticated = self.api_keys.authenticate(text, client_ip, now.wall);
                authenticated.map_err(|error| Failure::Refused {
                    owner: self.api_keys.owner(&error),
                    refusal: Refusal::ApiKey(error),
                })?
            }
            Credential::Bearer(token) => {
                let identity = match trust.own_opaque(token) {
                    Some(issuer) => {
                        let found = self.opaque_tokens.authenticate(token, issuer, now.wall);
                        let identity = found.map_err(|(error, owner)| Failure::Refused {
                            refusal: Refusal::Own(error),
                            owner,
                        })?;
                        trust.for_audience(identity, issuer)?
                    }
                    None => self.authenticate_bearer(token, trust, verdict, now)?,
                };
                // Look up client and token on every request, even for a cached token: a revocation applies at once.
                let binding = if trust.is_own(&identity) {
                    let binding = own_token::find_binding(&identity, &self.directory);
                    Some(binding.map_err(|error| Failure::Refused {
                        refusal: Refusal::Own(error),
                        owner: Some(Arc::clone(&identity)),
                    })?)
                } else {
                    None
                };
                (identity, binding)
            }
        };
        Ok(Principal { identity, binding })
    }

    /// Validates a bearer token: by the cache if the same issuer configuration and the same keys verified the token
    /// before, otherwise by its signature or by introspection. The audiences of the route are checked every time
    /// (S058).
    fn authenticate_bearer(
        &self,
        token: &str,
        trust: &Trust,
        verdict: Option<&IssuerVerdict>,
        now: Now,
    ) -> Result<Arc<Identity>, Failure> {
        // A token that is cached for an issuer that the route does not trust is parsed again: the configuration may
        // have changed since, and only the text names the issuer to use now.
        if let Some(cached) = self.verified.get(token, now.wall)
            && let Some(issuer) = trust.issuers.iter().find(|issuer| issuer.uid() == cached.issuer)
            && let Some(keys) = issuer.keys()
        {
            let generation = keys.current_generation(now);
            if generation.map_err(|_| Failure::Unverifiable(MissingProof::Keys))? == cached.generation {
                self.metrics.token_cache.hits.inc();
                return trust.for_audience(cached.identity, issuer);
            }
            self.verified.forget(token);
        }
        // Before parsing: there is a verdict only if an earlier decision parsed the token and chose this issuer for it.
        let introspecting = trust.introspecting_issuer();
        if let Some((issuer, introspection)) = introspecting
            && !trust.may_be_signed(token, issuer)
            && let Some(outcome) = introspected(token, issuer, introspection, verdict, now)
        {
            return trust.for_audience(outcome?, issuer);
        }
        let jws = Jws::parse(token).map_err(TokenError::from);
        let parsed = jws.as_ref().map_err(TokenError::clone).and_then(ParsedToken::read);
        match (parsed, introspecting) {
            (Ok(parsed), _) => self.verify_jwt(token, &parsed, trust, now),
            // An API key in the place of a token, where that is none: the issuer must not get to know it.
            (Err(error), Some(_)) if self.api_keys.is_key(token) => Err(Failure::refused(Refusal::Token(error))),
            // Not a JWT that Keygate can parse: the introspecting issuer decides.
            (Err(_), Some((issuer, introspection))) => match introspected(token, issuer, introspection, verdict, now) {
                Some(outcome) => trust.for_audience(outcome?, issuer),
                None => Err(needs_introspection(token, issuer, introspection)),
            },
            (Err(error), None) => {
                self.metrics.token_cache.misses.inc();
                Err(Failure::refused(Refusal::Token(error)))
            }
        }
    }

    /// Validates a JWT by the issuer that its `iss` names, and by no other issuer. If that issuer introspects its JWTs,
    /// there is no verdict about this JWT yet.
    fn verify_jwt(
        &self,
        token: &str,
        parsed: &ParsedToken<'_>,
        trust: &Trust,
        now: Now,
    ) -> Result<Arc<Identity>, Failure> {
        let Some(issuer) = trust.issuer_of(parsed) else {
            self.metrics.token_cache.misses.inc();
            return Err(Failure::refused(Refusal::UnknownIssuer));
        };
        match issuer.proof() {
            Proof::Introspection(introspection) => Err(needs_introspection(token, issuer, introspection)),
            Proof::Keys(keys) => {
                self.metrics.token_cache.misses.inc();
                let cached = verify(parsed, issuer, keys, now)?;
                let identity = Arc::clone(&cached.identity);
                self.verified.remember(token, cached);
                trust.for_audience(identity, issuer)
            }
        }
    }
}

/// Returns the result of the introspection: `verdict` if it is from this issuer, otherwise the cached verdict, if any.
fn introspected(
    token: &str,
    issuer: &IssuerState,
    introspection: &Introspection,
    verdict: Option<&IssuerVerdict>,
    now: Now,
) -> Option<Result<Arc<Identity>, Failure>> {
    let refused = |refused: RefusedToken| Failure::Refused {
        refusal: Refusal::Introspection(refused.refusal),
        owner: refused.owner,
    };
    if let Some(verdict) = verdict.filter(|verdict| verdict.issuer == issuer.uid()) {
        return Some(match &verdict.outcome {
            Ok(outcome) => outcome.clone().map_err(refused),
            Err(unavailable) => Err(Failure::Unverifiable(MissingProof::Introspection(*unavailable))),
        });
    }
    let cached = introspection.verdicts().get(token, now)?;
    introspection.verdicts().metrics.hit();
    Some(cached.map_err(refused))
}

fn needs_introspection(token: &str, issuer: &Arc<IssuerState>, introspection: &Introspection) -> Failure {
    introspection.verdicts().metrics.count_miss();
    Failure::Needs(Need::Introspection {
        issuer: Arc::clone(issuer),
        token: Secret::new(token.to_owned()),
    })
}

fn verify(
    parsed: &ParsedToken<'_>,
    issuer: &IssuerState,
    keys: &Arc<IssuerKeys>,
    now: Now,
) -> Result<VerifiedToken, Failure> {
    let refused = |error| Failure::refused(Refusal::Token(error));
    let rules = issuer.rules();
    let current = keys
        .current(now)
        .map_err(|_| Failure::Unverifiable(MissingProof::Keys))?;
    match parsed.check_signature(rules, &current.jwks) {
        Ok(signed) => match signed.check_claims(rules, now.wall) {
            Ok(verified) => Ok(VerifiedToken {
                usable_until: verified.usable_until,
                identity: Arc::new(Identity::of_token(issuer.name().clone(), verified)),
                issuer: issuer.uid(),
                generation: current.generation,
            }),
            Err(error) => Err(Failure::Refused {
                refusal: Refusal::Token(error),
                owner: Some(Arc::new(Identity::of_token(issuer.name().clone(), signed.owner(rules)))),
            }),
        },
        // A newer key set may contain the key.
        Err(missing @ (TokenError::UnknownKey | TokenError::KeyMismatch | TokenError::BadSignature)) => {
            // Some issuers replace a key by one of the same name. A forged signature proves nothing about the name, so the
            // key of this name is not recorded as absent.
            let kid = parsed.kid().filter(|_| missing != TokenError::BadSignature);
            match keys.unknown_kid(&current, kid, now) {
                UnknownKid::Absent | UnknownKid::Recent { .. } => Err(refused(missing)),
                UnknownKid::Fetch { attempt, wait } => Err(Failure::Needs(Need::Keys {
                    keys: Arc::clone(keys),
                    attempt,
                    wait,
                })),
                UnknownKid::Unavailable { .. } if missing == TokenError::BadSignature => Err(refused(missing)),
                UnknownKid::Unavailable { .. } => Err(Failure::Unverifiable(MissingProof::Keys)),
            }
        }
        Err(error) => Err(refused(error)),
    }
}

#[cfg(test)]
mod tests;
