//! Whose credential it is; gives [`Principal`].

pub mod identity;
pub mod picked;
pub mod token;
pub mod verified;
pub mod introspection;
pub mod issuer;
pub mod jwks_cache;
pub mod api_key;
pub mod holding;
pub mod own;

pub use holding::Holding;
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

use crate::gate::authenticate::api_key::ApiKeyError;
use crate::gate::authenticate::introspection::Answer;
use crate::gate::authenticate::introspection::Answered;
use crate::gate::authenticate::introspection::Introspection;
use crate::gate::authenticate::introspection::NotGood;
use crate::gate::authenticate::introspection::Unavailable;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::authenticate::issuer::Proof;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::authenticate::jwks_cache::UnknownKid;
use crate::gate::authenticate::own::OwnTokenError;
use crate::gate::authenticate::token::ParsedToken;
use crate::gate::authenticate::token::TokenError;
use crate::gate::authenticate::verified::Remembered;
use crate::gate::intake::Credential;
use crate::gate::live::Live;
use crate::gate::snapshot::Route;
use crate::gate::snapshot::Snapshot;
use crate::jose::jws::Jws;
use crate::model::clock::Now;
use crate::model::clock::Timestamp;
use crate::model::directory::Directory;
use crate::model::names::Name;
use crate::model::secret::Secret;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Who a credential was proved to belong to. Only this stage can make one, so holding it proves that the stage ran.
#[derive(Clone, Debug)]
pub struct Principal {
    identity: Arc<Identity>,
    holding: Option<Holding>,
}

impl Principal {
    /// The subscription that the credential is under; `None` for one that Keygate did not issue, and for keys of the keys
    /// file.
    pub const fn holding(&self) -> Option<&Holding> {
        self.holding.as_ref()
    }

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
    /// Its issuer knows something that is not known here yet.
    Needs(Need),
    /// What to judge it by is not there: ours to answer for, never the caller's.
    CannotTell(Lack),
}

/// What there is nothing to judge a credential by for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The issuer's keys were never loaded, or are too old.
    Keys,
    /// The issuer's word.
    Answer(Unavailable),
}

/// What is wrong with a credential.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Token(TokenError),
    #[error(transparent)]
    Asked(NotGood),
    #[error(transparent)]
    ApiKey(ApiKeyError),
    #[error(transparent)]
    Own(OwnTokenError),
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
            Self::Asked(refused) => refused.reason(),
            Self::ApiKey(error) => error.reason(),
            Self::Own(error) => error.reason(),
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongAudience => "wrong_audience",
        }
    }
}

/// What has to be brought before a credential can be judged.
pub enum Need {
    /// The keys of an issuer, fetched once more.
    Keys {
        keys: Arc<IssuerKeys>,
        /// The fetch that may bring the key, and how long it is worth waiting for.
        attempt: u64,
        wait: Duration,
    },
    /// An issuer's word about a token.
    Answer {
        issuer: Arc<IssuerState>,
        token: Secret<String>,
    },
}

impl Need {
    /// What is lacking as long as the need is not met.
    pub const fn lack(&self) -> Lack {
        match self {
            Self::Keys { .. } => Lack::Keys,
            Self::Answer { .. } => Lack::Answer(Unavailable::NoAnswer),
        }
    }
}

impl std::fmt::Debug for Need {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keys { attempt, .. } => out
                .debug_struct("Keys")
                .field("attempt", attempt)
                .finish_non_exhaustive(),
            Self::Answer { issuer, .. } => out
                .debug_struct("Answer")
                .field("issuer", issuer.name())
                .finish_non_exhaustive(),
        }
    }
}

/// Which kind of credential is shown, before it is proved: a bearer token is opaque where somebody can be asked about it and
/// it does not have the three parts of a JWS.
pub fn kind_of(credential: &Credential<'_>, route: &Route) -> CredentialType {
    match credential {
        Credential::ApiKey(_) => CredentialType::ApiKey,
        Credential::Bearer(token) => {
            let asked = asked_issuer(route).is_some() && !has_three_parts(token);
            match asked || own::is_opaque(token, route) {
                true => CredentialType::Opaque,
                false => CredentialType::Jwt,
            }
        }
    }
}

/// Proves whose `credential` is. `client_ip` is `None` where it is in dispute; `answered` is the word of an issuer that was
/// asked for this request.
///
/// # Errors
/// See [`Failure`].
pub fn authenticate(
    credential: &Credential<'_>,
    route: &Route,
    snapshot: &Snapshot,
    live: &Live,
    client_ip: Option<IpAddr>,
    answered: Option<&Answered>,
    now: Now,
) -> Result<Principal, Failure> {
    let (identity, holding) = match credential {
        Credential::ApiKey(text) => {
            let authenticated = snapshot.api_keys.authenticate(text, client_ip, now.wall);
            authenticated.map_err(|error| Failure::Refused(Refusal::ApiKey(error)))?
        }
        Credential::Bearer(token) => {
            let identity = match &route.own_issuer {
                Some(issuer) if own::is_opaque(token, route) => {
                    let found = snapshot.opaque_tokens.authenticate(token, issuer, now.wall);
                    let identity = found.map_err(|error| Failure::Refused(Refusal::Own(error)))?;
                    for_audience(identity, issuer, route)?
                }
                Some(_) | None => bearer(token, route, live, answered, now)?,
            };
            // Remembered or not: whether the client and the token are still believed is looked up each time.
            let holding = match own::is_own(&identity, route) {
                true => Some(
                    own::holding(&identity, &live.directory).map_err(|error| Failure::Refused(Refusal::Own(error)))?,
                ),
                false => None,
            };
            (identity, holding)
        }
    };
    Ok(Principal { identity, holding })
}

/// Whether a principal's credential was not revoked since. Keys of the keys file can be, and whatever Keygate issued.
pub fn still_believed(principal: &Principal, directory: &Directory, now: Timestamp) -> bool {
    match (principal.identity.api_key_id(), &principal.holding) {
        (Some(id), _) => directory.get(&id).is_some_and(|entry| !entry.is_revoked(now)),
        (None, Some(_)) => own::holding(&principal.identity, directory).is_ok(),
        (None, None) => true,
    }
}

/// The issuer of the route that `credential` names, whether or not it is good: a JWT by its `iss`, any other token because
/// only one issuer can be asked about it.
pub fn named_issuer<'r>(credential: &Credential<'_>, route: &'r Route) -> Option<&'r Name> {
    let Credential::Bearer(token) = credential else {
        return None;
    };
    if let Some(own) = &route.own_issuer
        && own::is_opaque(token, route)
    {
        return Some(own.name());
    }
    let jws = Jws::parse(token).ok();
    let issuer = match jws.as_ref().and_then(|jws| ParsedToken::read(jws).ok()) {
        Some(parsed) => issuer_named(&parsed, route)?,
        None => asked_issuer(route)?.0,
    };
    Some(issuer.name())
}

/// A bearer token: from memory when it was judged before, under the same issuer configuration and the same keys; else by
/// its signature or its issuer's word. The route's own rules, the audience among them, are checked every time (S058).
fn bearer(
    token: &str,
    route: &Route,
    live: &Live,
    answered: Option<&Answered>,
    now: Now,
) -> Result<Arc<Identity>, Failure> {
    // Remembered of an issuer that is not the route's, the token is read again: that issuer's configuration may have
    // changed since, and only the text says whose token it is now.
    if let Some(remembered) = live.verified.get(token, now.wall)
        && let Some(issuer) = route.issuers.iter().find(|issuer| issuer.uid() == remembered.issuer)
        && let Some(keys) = issuer.keys()
    {
        let generation = keys.current_generation(now);
        if generation.map_err(|_| Failure::CannotTell(Lack::Keys))? == remembered.generation {
            live.metrics.token_cache_hits.inc();
            return for_audience(remembered.identity, issuer, route);
        }
        live.verified.forget(token);
    }
    // Before the token is read: what is remembered here was found to be this issuer's when it was first asked about.
    let asked = asked_issuer(route);
    if let Some((issuer, introspection)) = asked
        && !may_be_signed(token, issuer, route)
        && let Some(known) = known(token, issuer, introspection, answered, now)
    {
        return for_audience(known?, issuer, route);
    }
    let jws = Jws::parse(token).map_err(TokenError::from);
    let parsed = jws.as_ref().map_err(TokenError::clone).and_then(ParsedToken::read);
    match (parsed, asked) {
        (Ok(parsed), _) => of_named_issuer(token, &parsed, route, live, now),
        // No JWT that we read; the one issuer that can be asked says whose it is.
        (Err(_), Some((issuer, introspection))) => match known(token, issuer, introspection, answered, now) {
            Some(known) => for_audience(known?, issuer, route),
            None => Err(needs_answer(token, issuer, introspection)),
        },
        (Err(error), None) => {
            live.metrics.token_cache_misses.inc();
            Err(Failure::Refused(Refusal::Token(error)))
        }
    }
}

/// Whether the token could be a JWT that another issuer of the route vouches for under the same URL, by its keys. Of such a
/// one nothing may come from what the asked one said of it for another route.
fn may_be_signed(token: &str, asked: &IssuerState, route: &Route) -> bool {
    let same_url = |issuer: &Arc<IssuerState>| issuer.settings().issuer == asked.settings().issuer;
    let mut signing = route.issuers.iter().filter(|issuer| issuer.keys().is_some());
    signing.any(same_url) && has_three_parts(token)
}

/// As a JWS has, in its compact form (RFC 7515 section 3.1).
fn has_three_parts(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The issuer of the route that tokens can be asked about; the configuration allows one.
fn asked_issuer(route: &Route) -> Option<(&Arc<IssuerState>, &Introspection)> {
    let mut asked = route.issuers.iter();
    asked.find_map(|issuer| Some((issuer, issuer.introspection()?)))
}

/// What the issuer said of the token: for this request, or for one before.
fn known(
    token: &str,
    issuer: &IssuerState,
    introspection: &Introspection,
    answered: Option<&Answered>,
    now: Now,
) -> Option<Result<Arc<Identity>, Failure>> {
    let refused = |refused| Failure::Refused(Refusal::Asked(refused));
    if let Some(answered) = answered.filter(|answered| answered.issuer == issuer.uid()) {
        return Some(match &answered.answer {
            Ok(judged) => judged.clone().map_err(refused),
            Err(unavailable) => Err(Failure::CannotTell(Lack::Answer(*unavailable))),
        });
    }
    let known = introspection.memory().get(token, now)?;
    introspection.memory().metrics.hit();
    Some(known.map_err(refused))
}

fn needs_answer(token: &str, issuer: &Arc<IssuerState>, introspection: &Introspection) -> Failure {
    introspection.memory().metrics.missed();
    Failure::Needs(Need::Answer {
        issuer: Arc::clone(issuer),
        token: Secret::new(token.to_owned()),
    })
}

/// The issuer that a JWT names by `iss`: the one with keys, where one that is asked has the same URL.
fn issuer_named<'r>(parsed: &ParsedToken<'_>, route: &'r Route) -> Option<&'r Arc<IssuerState>> {
    let named = |issuer: &&Arc<IssuerState>| issuer.settings().issuer.as_str() == parsed.issuer();
    let issuers = route.issuers.iter().filter(named);
    issuers.min_by_key(|issuer| issuer.introspection().is_some())
}

/// A JWT goes to the issuer that its `iss` names, and to no other; also where that one is asked about its JWTs.
fn of_named_issuer(
    token: &str,
    parsed: &ParsedToken<'_>,
    route: &Route,
    live: &Live,
    now: Now,
) -> Result<Arc<Identity>, Failure> {
    let Some(issuer) = issuer_named(parsed, route) else {
        live.metrics.token_cache_misses.inc();
        return Err(Failure::Refused(Refusal::UnknownIssuer));
    };
    match issuer.proof() {
        Proof::Introspection(introspection) => Err(needs_answer(token, issuer, introspection)),
        Proof::Keys(keys) => {
            live.metrics.token_cache_misses.inc();
            let remembered = verify(parsed, issuer, keys, now)?;
            let identity = Arc::clone(&remembered.identity);
            live.verified.remember(token, remembered);
            for_audience(identity, issuer, route)
        }
    }
}

fn verify(
    parsed: &ParsedToken<'_>,
    issuer: &IssuerState,
    keys: &Arc<IssuerKeys>,
    now: Now,
) -> Result<Remembered, Failure> {
    let refused = |error| Failure::Refused(Refusal::Token(error));
    let current = keys.current(now).map_err(|_| Failure::CannotTell(Lack::Keys))?;
    match parsed.verify(issuer.rules(), &current.jwks, now.wall) {
        Ok(verified) => Ok(Remembered {
            usable_until: verified.usable_until,
            identity: Arc::new(Identity::of_token(issuer.name().clone(), verified)),
            issuer: issuer.uid(),
            generation: current.generation,
        }),
        // A newer set may hold the key.
        Err(TokenError::UnknownKey) => match keys.unknown_kid(&current, parsed.kid(), now) {
            UnknownKid::Absent => Err(refused(TokenError::UnknownKey)),
            UnknownKid::Ask { attempt, wait } => Err(Failure::Needs(Need::Keys {
                keys: Arc::clone(keys),
                attempt,
                wait,
            })),
            UnknownKid::CannotTell { .. } => Err(Failure::CannotTell(Lack::Keys)),
        },
        Err(error) => Err(refused(error)),
    }
}

impl Need {
    /// Brings what is needed, within the issuer's bounds. What an issuer said is for the next decision on the same request.
    pub async fn meet(self) -> Option<Answered> {
        match self {
            Self::Keys { keys, attempt, wait } => {
                keys.wait_for_attempt(attempt, wait).await;
                None
            }
            Self::Answer { issuer, token } => {
                let answer: Answer = match issuer.introspection() {
                    Some(introspection) => introspection.ask(token).await,
                    None => Err(Unavailable::NoAnswer),
                };
                let issuer = issuer.uid();
                Some(Answered { issuer, answer })
            }
        }
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
