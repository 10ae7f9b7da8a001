//! Who may use the admin API, and for what? Whoever has the configured token, a client with a token of ours and the scope
//! for it (RFC 6750), or whoever may open the gate's own socket. Guesses are few.

use crate::control::Control;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::problem;
use crate::control::registry::Actor;
use crate::control::token::own_tokens;
use crate::control::token::own_tokens::OwnTokenError;
use crate::limit::key::source_of;
use crate::limit::keyed::Bucket;
use crate::limit::quota::CompiledQuota;
use crate::model::clock::Now;
use crate::model::clock::Tick;
use crate::model::clock::Timestamp;
use crate::model::clock::secs_rounded_up;
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

/// How a request came. Whoever serves the API says so; without it a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Network(IpAddr),
    /// Over the gate's own socket, or in its own process: from somebody who may open the store's files.
    Local,
}

/// What an operation takes. Reading is not part of writing: a program that makes keys need not see everybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    Read,
    Write,
}

impl Right {
    /// Of the operation that `method` stands for. By its method, so that no handler can forget to ask.
    pub fn of(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::Read,
            _ => Self::Write,
        }
    }

    /// The scope that it takes.
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Read => "admin:read",
            Self::Write => "admin:write",
        }
    }
}

/// A token of ours that was verified: signature, audience, expiry, the client's state, revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenHolder {
    pub client_id: String,
    pub organization: Name,
    pub read: bool,
    pub write: bool,
}

/// Verifies access tokens of the gate's own token endpoint, from memory.
pub(super) trait OwnTokens: Send + Sync {
    /// Whether there can be any.
    fn are_issued(&self) -> bool;

    /// # Errors
    /// What is wrong with it, for whoever sent it.
    fn verify(&self, token: &str, now: Timestamp) -> Result<TokenHolder, &'static str>;
}

/// Those of this gate.
pub(super) struct ControlTokens(pub Arc<Control>);

impl OwnTokens for ControlTokens {
    fn are_issued(&self) -> bool {
        self.0.settings.load().token_endpoint.is_some()
    }

    fn verify(&self, token: &str, now: Timestamp) -> Result<TokenHolder, &'static str> {
        let token = own_tokens::verify(&self.0, token, now).map_err(|error| match error {
            OwnTokenError::Off | OwnTokenError::NotOurs => NOT_THE_TOKEN,
            OwnTokenError::Expired => "the access token is expired",
            OwnTokenError::NotYetValid => "the access token is not valid yet",
            OwnTokenError::Revoked => "the access token is revoked",
            OwnTokenError::ClientGone | OwnTokenError::Standing(_) | OwnTokenError::KindNotInPlan => {
                "the client of the access token may not have one any more"
            }
        })?;
        let has = |right: Right| token.scopes.iter().any(|scope| scope.as_str() == right.scope());
        Ok(TokenHolder {
            client_id: token.client_id.to_string(),
            organization: token.organization.clone(),
            read: has(Right::Read),
            write: has(Right::Write),
        })
    }
}

/// Wrong tokens from one source.
const GUESSES: Quota = Quota {
    requests: NonZeroU32::MIN,
    period: Duration::from_secs(1),
    burst: NonZeroU32::new(5).expect("it is not zero"),
};
/// Sources remembered. Beyond it they share one count, so that many addresses buy no more guesses and no more memory.
const SOURCES_MAX: usize = 1024;
const SHARED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Why a request may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No token is configured, so nobody may.
    Off,
    TooManyFailures {
        retry_after: Duration,
    },
    Missing,
    /// With what is wrong, where the token is one of ours.
    Wrong(&'static str),
    /// A good token without the scope.
    InsufficientScope(Right),
}

const NOT_THE_TOKEN: &str = "this is neither the token of `admin.token` nor an access token of this gate";

impl Refusal {
    pub(super) fn response(self) -> AdminResponse {
        let challenge = |error: &'static str| (header::WWW_AUTHENTICATE, HeaderValue::from_static(error));
        match self {
            Self::Off => problem(
                StatusCode::FORBIDDEN,
                "admin-api-off",
                "the admin API is off: set `admin.token` in the configuration (\"${KEYGATE_ADMIN_TOKEN}\"), or `store` and `token_endpoint` for tokens of its own",
            ),
            Self::TooManyFailures { retry_after } => {
                let secs = secs_rounded_up(retry_after);
                let detail = "too many wrong tokens came from this address; nothing was compared";
                problem(StatusCode::TOO_MANY_REQUESTS, "too-many-failures", detail)
                    .with(header::RETRY_AFTER, HeaderValue::from(secs.max(1)))
            }
            Self::Missing => {
                let detail = "send the token of `admin.token`, or an access token with `admin:read` or `admin:write`, as `Authorization: Bearer …`";
                let (name, value) = challenge("Bearer realm=\"keygate admin\"");
                problem(StatusCode::UNAUTHORIZED, "credential-missing", detail).with(name, value)
            }
            Self::Wrong(detail) => {
                let (name, value) = challenge("Bearer realm=\"keygate admin\", error=\"invalid_token\"");
                problem(StatusCode::UNAUTHORIZED, "invalid-token", detail).with(name, value)
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

/// Who is let in, and how many guesses everybody has left.
pub struct Access {
    token: RwLock<Option<Secret<Vec<u8>>>>,
    /// By source: the guesses that are left.
    failures: Mutex<HashMap<IpAddr, Bucket>>,
    guesses: CompiledQuota,
}

impl Access {
    /// `token` is `admin.token` of the configuration.
    pub fn new(token: Option<Secret<Vec<u8>>>) -> Self {
        Self {
            token: RwLock::new(token),
            failures: Mutex::default(),
            guesses: CompiledQuota::compile(&GUESSES),
        }
    }

    /// From now on this is the token, and the one before is not.
    pub fn replace_token(&self, token: Option<Secret<Vec<u8>>>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Who asks, if they may.
    ///
    /// # Errors
    /// Anything but exactly one `Authorization: Bearer` with the token of the configuration, or with a token of ours that
    /// has the scope for `method`. A source whose guesses are spent is refused without a look, also with a good token:
    /// else guessing could simply go on.
    pub(super) fn admit(
        &self,
        headers: &HeaderMap,
        method: &Method,
        peer: Peer,
        now: Now,
        own: Option<&dyn OwnTokens>,
    ) -> Result<Actor, Refusal> {
        let peer = match peer {
            Peer::Local => return Ok(Actor::local()),
            Peer::Network(peer) => peer,
        };
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        let own = own.filter(|own| own.are_issued());
        if token.is_none() && own.is_none() {
            return Err(Refusal::Off);
        }
        let source = source_of(peer);
        if let Some(retry_after) = self.retry_after(source, now.tick) {
            return Err(Refusal::TooManyFailures { retry_after });
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
            (None, _) | (_, Err(_)) => Err(NOT_THE_TOKEN),
        };
        let holder = holder.map_err(|detail| {
            self.count_failure(source, now.tick);
            Refusal::Wrong(detail)
        })?;
        let right = Right::of(method);
        let is_allowed = match right {
            Right::Read => holder.read,
            Right::Write => holder.write,
        };
        if !is_allowed {
            return Err(Refusal::InsufficientScope(right));
        }
        Ok(Actor::client(&holder.client_id, &holder.organization, peer))
    }

    /// How long until `source` may guess again; `None` when it may now.
    fn retry_after(&self, source: IpAddr, now: Tick) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = if failures.len() >= SOURCES_MAX && !failures.contains_key(&source) {
            failures.get(&SHARED)
        } else {
            failures.get(&source)
        };
        bucket?.wait(&self.guesses, now)
    }

    fn count_failure(&self, source: IpAddr, now: Tick) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= SOURCES_MAX {
            failures.retain(|_, bucket| !bucket.is_full(now));
        }
        let full = failures.len() >= SOURCES_MAX && !failures.contains_key(&source);
        let bucket = failures.entry(if full { SHARED } else { source }).or_default();
        *bucket = bucket.spend(&self.guesses, now);
    }
}

/// What follows the scheme of the one `Authorization`.
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
