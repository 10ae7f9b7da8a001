//! Which callers may use the admin API, and with which rights? A caller with the
//! configured token, a client with an access token of this gate and the scope (RFC
//! 6750), or any process that can open the gate's own socket. Wrong tokens are limited, right ones are not.

use crate::config::TokenEndpoint;
use crate::control::Control;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::problem;
use crate::control::registry::Actor;
use crate::control::registry::actor::LocalUser;
use crate::control::token::own_tokens;
use crate::control::token::own_tokens::OwnTokenError;
use crate::limit::key::source_of;
use crate::limit::quota::CompiledQuota;
use crate::limit::refilling::Bucket;
use crate::model::clock::Now;
use crate::model::clock::Tick;
use crate::model::clock::Timestamp;
use crate::model::clock::wait_secs;
use crate::model::names::Name;
use crate::model::plan::Quota;
use crate::model::secret::Secret;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;
use std::collections::HashMap;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

/// The origin of a request. The server of the API must set it; a request without it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    Network(IpAddr),
    /// The gate's own socket, or its own process: such a caller can open the store's files anyway.
    Local(LocalUser),
}

/// The only operation with a body that changes no record.
pub const VERIFY_KEY: &str = "/admin/v1/keys/verify";

/// The right that an operation requires. Writing does not include
/// reading: a program that creates keys need not see all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    Read,
    Write,
}

impl Right {
    /// Returns the right for `method` on `path`. It depends on these alone, so that no handler can forget the check. To
    /// verify a key is to read, and its text does not belong into a URL: a program that verifies must not need the right to
    /// make keys.
    pub fn of(method: &Method, path: &str) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::Read,
            Method::POST if path == VERIFY_KEY => Self::Read,
            _ => Self::Write,
        }
    }

    /// Returns the scope of the right.
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Read => "admin:read",
            Self::Write => "admin:write",
        }
    }
}

/// The client of a verified access token of this gate, with the rights from
/// its scopes. See [`own_tokens::verify`] for the checks that have passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenHolder {
    pub client_id: String,
    pub organization: Name,
    pub read: bool,
    pub write: bool,
}

/// Verifies access tokens of the gate's own token endpoint, from memory.
pub(super) trait AccessTokenVerifier: Send + Sync {
    /// Returns whether this gate issues tokens.
    fn are_issued(&self) -> bool;

    /// Returns the client of a valid token.
    ///
    /// # Errors
    /// Why the token is not valid.
    fn verify(&self, token: &str, now: Timestamp) -> Result<TokenHolder, TokenProblem>;
}

/// Verifies tokens with the keys and records of the control side.
pub(super) struct ControlTokenVerifier(pub Arc<Control>);

impl AccessTokenVerifier for ControlTokenVerifier {
    fn are_issued(&self) -> bool {
        self.0.settings.load().token_endpoint.is_some()
    }

    fn verify(&self, token: &str, now: Timestamp) -> Result<TokenHolder, TokenProblem> {
        let token = own_tokens::verify(&self.0, token, now).map_err(|error| match error {
            OwnTokenError::NoTokenEndpoint | OwnTokenError::NotOurs => TokenProblem::Unknown,
            OwnTokenError::Expired => TokenProblem::Expired,
            OwnTokenError::NotYetValid => TokenProblem::NotYetValid,
            OwnTokenError::Revoked => TokenProblem::Revoked,
            OwnTokenError::ClientGone | OwnTokenError::Standing(_) | OwnTokenError::KindNotInPlan => {
                TokenProblem::ClientRefused
            }
        })?;
        let settings = self.0.settings.load();
        let audiences = settings.token_endpoint.as_ref().map(TokenEndpoint::admin_audiences);
        let is_for_this = |audience: &String| audiences.is_some_and(|own| own.contains(audience));
        if !token.audiences.iter().any(is_for_this) {
            return Err(TokenProblem::OtherAudience);
        }
        let has = |right: Right| token.scopes.iter().any(|scope| scope.as_str() == right.scope());
        Ok(TokenHolder {
            client_id: token.client_id.to_string(),
            organization: token.organization.clone(),
            read: has(Right::Read),
            write: has(Right::Write),
        })
    }
}

/// The limit on unknown tokens from one source.
const GUESSES: Quota = Quota {
    requests: NonZeroU32::MIN,
    period: Duration::from_secs(1),
    burst: NonZeroU32::new(5).expect("it is not zero"),
};
/// The number of sources in memory. Further sources share one
/// count, so that many addresses buy neither guesses nor memory.
const SOURCES_MAX: usize = 1024;
/// The key of the shared count.
const SHARED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No token is configured, and this gate issues none.
    AdminApiOff,
    TooManyFailures {
        retry_after: Duration,
    },
    /// The request does not have exactly one `Authorization: Bearer`.
    Missing,
    Wrong(TokenProblem),
    /// A valid token without the required scope.
    InsufficientScope(Right),
}

/// Why a token is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenProblem {
    /// Neither `admin.token` nor an access token of this gate.
    Unknown,
    Expired,
    NotYetValid,
    Revoked,
    /// It is good for other APIs: one of them could use it here (RFC 9068 section 4).
    OtherAudience,
    /// Its client may not have a token any more.
    ClientRefused,
}

impl TokenProblem {
    /// Returns the text for the client.
    const fn detail(self) -> &'static str {
        match self {
            Self::Unknown => "this is neither the token of `admin.token` nor an access token of this gate",
            Self::Expired => "the access token is expired",
            Self::NotYetValid => "the access token is not valid yet",
            Self::Revoked => "the access token is revoked",
            Self::OtherAudience => {
                "the access token is good for other APIs and not for this one: get it without `resource`, or with the issuer as `resource` where that is among `token_endpoint.audiences`"
            }
            Self::ClientRefused => "the client of the access token may not have one any more",
        }
    }
}

/// The reason of a refusal, in the words of metrics and access records, in the extensions of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalReason(pub &'static str);

impl RefusalReason {
    /// The reasons of this API; the set is closed.
    pub const ALL: &'static [&'static str] = &[
        "admin_api_off",
        "too_many_failures",
        "credential_missing",
        "token_unknown",
        "token_expired",
        "token_not_yet_valid",
        "token_revoked",
        "token_other_audience",
        "token_client_refused",
        "insufficient_scope",
        "no_peer",
    ];
    pub(super) const NO_PEER: Self = Self("no_peer");
}

impl Refusal {
    /// Returns one of [`RefusalReason::ALL`].
    pub(super) const fn reason(self) -> RefusalReason {
        RefusalReason(match self {
            Self::AdminApiOff => "admin_api_off",
            Self::TooManyFailures { .. } => "too_many_failures",
            Self::Missing => "credential_missing",
            Self::Wrong(TokenProblem::Unknown) => "token_unknown",
            Self::Wrong(TokenProblem::Expired) => "token_expired",
            Self::Wrong(TokenProblem::NotYetValid) => "token_not_yet_valid",
            Self::Wrong(TokenProblem::Revoked) => "token_revoked",
            Self::Wrong(TokenProblem::OtherAudience) => "token_other_audience",
            Self::Wrong(TokenProblem::ClientRefused) => "token_client_refused",
            Self::InsufficientScope(_) => "insufficient_scope",
        })
    }

    /// Returns the response, with a challenge if a token could help (RFC 6750 section 3).
    pub(super) fn response(self) -> AdminResponse {
        let challenge = |error: &'static str| (header::WWW_AUTHENTICATE, HeaderValue::from_static(error));
        match self {
            Self::AdminApiOff => problem(
                StatusCode::FORBIDDEN,
                "admin-api-off",
                "the admin API is off: set `admin.token` in the configuration (\"${KEYGATE_ADMIN_TOKEN}\"), or `store` and `token_endpoint` for tokens of its own",
            ),
            Self::TooManyFailures { retry_after } => {
                let detail = "too many wrong tokens came from this address, and this one is wrong too; the right one is let in at any time";
                problem(StatusCode::TOO_MANY_REQUESTS, "too-many-failures", detail)
                    .with(header::RETRY_AFTER, HeaderValue::from(wait_secs(retry_after)))
            }
            Self::Missing => {
                let detail = "send the token of `admin.token`, or an access token with `admin:read` or `admin:write`, as `Authorization: Bearer …`";
                let (name, value) = challenge("Bearer realm=\"keygate admin\"");
                problem(StatusCode::UNAUTHORIZED, "credential-missing", detail).with(name, value)
            }
            Self::Wrong(wrong) => {
                let (name, value) = challenge("Bearer realm=\"keygate admin\", error=\"invalid_token\"");
                problem(StatusCode::UNAUTHORIZED, "invalid-token", wrong.detail()).with(name, value)
            }
            Self::InsufficientScope(right) => {
                let (name, value) = challenge(match right {
                    Right::Read => "Bearer realm=\"keygate admin\", error=\"insufficient_scope\", scope=\"admin:read\"",
                    Right::Write => {
                        "Bearer realm=\"keygate admin\", error=\"insufficient_scope\", scope=\"admin:write\""
                    }
                });
                let detail = format!("this takes an access token with the scope `{}`", right.scope());
                problem(StatusCode::FORBIDDEN, "insufficient-scope", &detail).with(name, value)
            }
        }
    }
}

/// The access check, with the count of wrong tokens.
pub struct Access {
    token: RwLock<Option<Secret<Vec<u8>>>>,
    /// The remaining guesses of each source.
    failures: Mutex<HashMap<IpAddr, Bucket>>,
    guesses: CompiledQuota,
}

impl Access {
    /// Returns an access check; `token` is `admin.token` of the configuration.
    pub fn new(token: Option<Secret<Vec<u8>>>) -> Self {
        Self {
            token: RwLock::new(token),
            failures: Mutex::default(),
            guesses: CompiledQuota::compile(&GUESSES),
        }
    }

    /// Replaces the configured token; the previous token is no longer valid.
    pub fn replace_token(&self, token: Option<Secret<Vec<u8>>>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Returns the actor of an authorized request.
    ///
    /// # Errors
    /// The request does not have exactly one `Authorization: Bearer` with the configured token, or with an access token
    /// of this gate that has the scope of `right`. Only unknown tokens are limited, after the comparison: a stale job at
    /// the same address must not lock an administrator out, and tokens are too long to be guessed at any rate.
    pub(super) fn admit(
        &self,
        headers: &HeaderMap,
        right: Right,
        peer: Peer,
        now: Now,
        own: Option<&dyn AccessTokenVerifier>,
    ) -> Result<Actor, Refusal> {
        let peer = match peer {
            Peer::Local(user) => return Ok(Actor::local(&user)),
            Peer::Network(peer) => peer,
        };
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        let own = own.filter(|own| own.are_issued());
        if token.is_none() && own.is_none() {
            return Err(Refusal::AdminApiOff);
        }
        let Some(credential) = bearer(headers) else {
            return Err(Refusal::Missing);
        };
        let credential = Secret::new(credential.to_vec());
        if token.as_ref().is_some_and(|token| credential == *token) {
            return Ok(Actor::admin_token(peer));
        }
        let holder = match (own, std::str::from_utf8(credential.expose())) {
            (Some(own), Ok(text)) => own.verify(text, now.wall),
            (None, _) | (_, Err(_)) => Err(TokenProblem::Unknown),
        };
        let holder = holder.map_err(|wrong| match wrong {
            TokenProblem::Unknown => self.count_failure(wrong, source_of(peer), now.tick),
            // This gate issued the token, so it is no guess. Its client gets a new one if it learns this one's state.
            TokenProblem::Expired
            | TokenProblem::NotYetValid
            | TokenProblem::Revoked
            | TokenProblem::OtherAudience
            | TokenProblem::ClientRefused => Refusal::Wrong(wrong),
        })?;
        let is_allowed = match right {
            Right::Read => holder.read,
            Right::Write => holder.write,
        };
        if !is_allowed {
            return Err(Refusal::InsufficientScope(right));
        }
        Ok(Actor::client(&holder.client_id, &holder.organization, peer))
    }

    /// Counts an unknown token from `source`, and returns the refusal.
    fn count_failure(&self, wrong: TokenProblem, source: IpAddr, now: Tick) -> Refusal {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= SOURCES_MAX {
            failures.retain(|_, bucket| !bucket.is_full(now));
        }
        let full = failures.len() >= SOURCES_MAX && !failures.contains_key(&source);
        let bucket = failures.entry(if full { SHARED } else { source }).or_default();
        match bucket.wait(&self.guesses, now) {
            Some(retry_after) => Refusal::TooManyFailures { retry_after },
            None => {
                *bucket = bucket.spend(&self.guesses, now);
                Refusal::Wrong(wrong)
            }
        }
    }
}

/// Returns the credential of the only `Authorization` field, if its scheme is Bearer.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
mod tests;
