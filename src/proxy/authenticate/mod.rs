//! Whose credential it is; gives [`Principal`].

pub mod identity;
pub mod picked;
pub mod token;
pub mod verified;
pub mod issuer;
pub mod jwks_cache;
pub mod api_key;

pub use identity::ApiKeyIdentity;
pub use identity::BucketKeys;
pub use identity::CredentialType;
pub use identity::Identity;
pub use identity::IdentityHeaders;
pub use identity::TokenIdentity;
pub use identity::bucket_key;
pub use identity::header_value;
pub use picked::ClaimPicks;
pub use picked::PickedClaims;

use crate::model::clock::Now;
use crate::model::names::Name;
use crate::proxy::authenticate::api_key::ApiKeyError;
use crate::proxy::authenticate::issuer::IssuerState;
use crate::proxy::authenticate::jwks_cache::UnknownKid;
use crate::proxy::authenticate::token::ParsedToken;
use crate::proxy::authenticate::token::TokenError;
use crate::proxy::authenticate::verified::Remembered;
use crate::proxy::intake::Credential;
use crate::proxy::live::Live;
use crate::proxy::snapshot::Route;
use crate::proxy::snapshot::Snapshot;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Who a credential was proved to belong to. Only this stage can make one, so holding it proves that the stage ran.
#[derive(Clone, Debug)]
pub struct Principal {
    identity: Arc<Identity>,
}

impl Principal {
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The same, for who remembers something about it.
    pub fn shared(&self) -> &Arc<Identity> {
        &self.identity
    }
}

/// Why there is no [`Principal`].
#[derive(Debug)]
pub enum Failure {
    /// The credential is not good; its bearer is told little, the operator exactly.
    Refused(Refusal),
    /// An issuer may have published a key that is not known here yet.
    Needs(Need),
    /// The keys to judge it by are not there: ours to answer for, never the caller's.
    CannotTell,
}

/// What is wrong with a credential.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Token(TokenError),
    #[error(transparent)]
    ApiKey(ApiKeyError),
    #[error("the token names an issuer that this route does not trust")]
    UnknownIssuer,
    #[error("the token is meant for another audience")]
    WrongAudience,
}

impl Refusal {
    /// The word for it in metrics, records and the refusal table; a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Token(error) => error.reason(),
            Self::ApiKey(error) => error.reason(),
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongAudience => "wrong_audience",
        }
    }
}

/// The keys of an issuer, fetched once more.
pub struct Need {
    pub issuer: Arc<IssuerState>,
    /// The fetch that may bring the key, and how long it is worth waiting for.
    pub attempt: u64,
    pub wait: Duration,
}

impl std::fmt::Debug for Need {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Need").field("issuer", self.issuer.name()).finish()
    }
}

/// Proves whose `credential` is. `client_ip` is `None` where it is in dispute.
///
/// # Errors
/// See [`Failure`].
pub fn authenticate(
    credential: &Credential<'_>,
    route: &Route,
    snapshot: &Snapshot,
    live: &Live,
    client_ip: Option<IpAddr>,
    now: Now,
) -> Result<Principal, Failure> {
    let identity = match credential {
        Credential::ApiKey(text) => {
            let authenticated = snapshot.api_keys.authenticate(text, client_ip, now.wall);
            authenticated.map_err(|error| Failure::Refused(Refusal::ApiKey(error)))?
        }
        Credential::Bearer(token) => bearer(token, route, live, now)?,
    };
    Ok(Principal { identity })
}

/// The issuer of the route that `credential` names, whether or not it is good.
pub fn named_issuer<'r>(credential: &Credential<'_>, route: &'r Route) -> Option<&'r Name> {
    let Credential::Bearer(token) = credential else {
        return None;
    };
    let parsed = ParsedToken::parse(token).ok()?;
    let mut issuers = route.issuers.iter();
    let named = issuers.find(|issuer| issuer.settings().issuer.as_str() == parsed.issuer());
    named.map(|issuer| issuer.name())
}

/// A JWT: from memory when it was verified before, under the same issuer configuration and the same keys; else by its
/// signature. The route's own rules, the audience among them, are checked every time.
fn bearer(token: &str, route: &Route, live: &Live, now: Now) -> Result<Arc<Identity>, Failure> {
    // Remembered of an issuer that is not the route's, the token is read again: that issuer's configuration may have
    // changed since, and only the text says whose token it is now.
    if let Some(remembered) = live.verified.get(token, now.wall)
        && let Some(issuer) = route.issuers.iter().find(|issuer| issuer.uid() == remembered.issuer)
    {
        let keys = issuer.keys().current(now).map_err(|_| Failure::CannotTell)?;
        if keys.generation == remembered.generation {
            live.metrics.token_cache_hits.inc();
            return for_audience(remembered.identity, issuer, route);
        }
        live.verified.forget(token);
    }
    live.metrics.token_cache_misses.inc();
    let (issuer, remembered) = verify(token, route, now)?;
    let identity = Arc::clone(&remembered.identity);
    live.verified.remember(token, remembered);
    for_audience(identity, issuer, route)
}

fn verify<'r>(token: &str, route: &'r Route, now: Now) -> Result<(&'r Arc<IssuerState>, Remembered), Failure> {
    let refused = |error| Failure::Refused(Refusal::Token(error));
    let parsed = ParsedToken::parse(token).map_err(refused)?;
    let issuer = route
        .issuers
        .iter()
        .find(|issuer| issuer.settings().issuer.as_str() == parsed.issuer());
    let issuer = issuer.ok_or(Failure::Refused(Refusal::UnknownIssuer))?;
    let keys = issuer.keys().current(now).map_err(|_| Failure::CannotTell)?;
    match parsed.verify(issuer.rules(), &keys.jwks, now.wall) {
        Ok(verified) => {
            let remembered = Remembered {
                usable_until: verified.usable_until,
                identity: Arc::new(Identity::of_token(issuer.name().clone(), verified)),
                issuer: issuer.uid(),
                generation: keys.generation,
            };
            Ok((issuer, remembered))
        }
        // A newer set may hold the key.
        Err(TokenError::UnknownKey) => match issuer.keys().unknown_kid(&keys, parsed.kid(), now) {
            UnknownKid::Absent => Err(refused(TokenError::UnknownKey)),
            UnknownKid::Ask { attempt, wait } => Err(Failure::Needs(Need {
                issuer: Arc::clone(issuer),
                attempt,
                wait,
            })),
            UnknownKid::CannotTell { .. } => Err(Failure::CannotTell),
        },
        Err(error) => Err(refused(error)),
    }
}

/// `aud` must hold one of the route's audiences, or of the issuer's where the route names none (RFC 7519 section 4.1.3).
fn for_audience(identity: Arc<Identity>, issuer: &IssuerState, route: &Route) -> Result<Arc<Identity>, Failure> {
    let expected = match (&route.audiences, &issuer.settings().audiences) {
        (Some(audiences), _) => &audiences[..],
        (None, Some(audiences)) => &audiences[..],
        // `audiences: any`, which the file has to say.
        (None, None) => return Ok(identity),
    };
    let meant_for_us = identity
        .audiences
        .iter()
        .any(|audience| expected.iter().any(|name| **name == **audience));
    if meant_for_us {
        Ok(identity)
    } else {
        Err(Failure::Refused(Refusal::WrongAudience))
    }
}
