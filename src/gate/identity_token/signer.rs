//! Which claims does an identity token have, and how long is it valid?

use crate::config;
use crate::gate::authenticate::Identity;
use crate::jose::sign;
use crate::jose::sign::SignError;
use crate::jose::sign::SigningKey;
use crate::model::clock::Timestamp;
use serde_json::Map;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The `typ` of an identity token. Because the type is distinct (RFC 8725 section 3.11), an identity token is not
/// accepted as an access token: neither by this gate, unless an issuer lists the type, nor by an API that follows RFC
/// 9068 section 4.
pub const TYP: &str = "keygate-identity+jwt";

/// The issuer, lifetime and key of identity tokens.
pub struct Signer {
    uid: u64,
    issuer: Box<str>,
    ttl: Duration,
    key: Arc<SigningKey>,
}

/// The times of issue and expiry of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLifetime {
    /// The `iat`.
    pub issued_at: Timestamp,
    /// The `exp`.
    pub expires_at: Timestamp,
    /// The last instant at which the token is sent to an upstream.
    send_until: Timestamp,
}

impl TokenLifetime {
    /// Returns whether the token may be sent to an upstream at `now`. Returns `false` before the time of issue: the clock
    /// was set back, and the token would be valid for longer than `ttl`.
    pub fn may_be_sent_at(&self, now: Timestamp) -> bool {
        self.issued_at <= now && now <= self.send_until
    }

    /// Returns whether the token can be forgotten: it has expired, or `now` is before the time of issue, because the
    /// clock was set back.
    pub fn is_over_at(&self, now: Timestamp) -> bool {
        self.expires_at < now || now < self.issued_at
    }
}

impl Signer {
    pub fn new(settings: &config::IdentityToken, key: Arc<SigningKey>) -> Self {
        static NEXT_UID: AtomicU64 = AtomicU64::new(0);
        Self {
            uid: NEXT_UID.fetch_add(1, Ordering::Relaxed),
            issuer: settings.issuer.as_str().into(),
            ttl: settings.ttl,
            key,
        }
    }

    /// Returns the unique id of this signer in this process.
    pub const fn uid(&self) -> u64 {
        self.uid
    }

    pub const fn key(&self) -> &Arc<SigningKey> {
        &self.key
    }

    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Returns whether a signer with `settings` and `key` would make the same tokens as this signer.
    pub fn is_like(&self, settings: &config::IdentityToken, key: &SigningKey) -> bool {
        *self.issuer == *settings.issuer.as_str()
            && self.ttl == settings.ttl
            && self.key.kid() == key.kid()
            && self.key.algorithm() == key.algorithm()
    }

    /// Returns the lifetime of a token for `identity` that is made at `now`, in whole seconds like `iat` and `exp`.
    ///
    /// The token never outlives its credential. For a credential that has expired but is accepted within `clock_skew`,
    /// the token expires at the end of the skew, because an upstream would reject an expired token.
    pub fn lifetime(&self, identity: &Identity, now: Timestamp) -> TokenLifetime {
        let second = |time: Timestamp| Timestamp::from_unix_secs(time.as_unix_secs());
        let issued_at = second(now);
        let full = issued_at.saturating_add(self.ttl);
        let end = identity
            .expires_at
            .filter(|end| *end > now)
            .or(identity.usable_until)
            .map(second);
        match end.filter(|end| *end < full) {
            // Sent until its end, because a new token would end at the same time.
            Some(end) => TokenLifetime {
                issued_at,
                expires_at: end,
                send_until: end,
            },
            None => TokenLifetime {
                issued_at,
                expires_at: full,
                send_until: full.saturating_sub(self.ttl / 2),
            },
        }
    }

    /// Returns a signed token with the known facts about `identity`: `iss`, `aud`, `iat`, `exp`, `jti` and, where
    /// known, `sub`, `client_id` and `scope` (RFC 9068 section 2.2); also `org`, `credential_type`, `credential_id` and
    /// `credential_issuer`, as in the `x-keygate-*` headers. The claims do not allow the credential to be
    /// reconstructed.
    ///
    /// # Errors
    /// The cryptographic library cannot sign.
    pub fn sign(&self, identity: &Identity, audience: &str, lifetime: &TokenLifetime) -> Result<String, SignError> {
        let mut claims = Map::new();
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("iss", (*self.issuer).into());
        set("aud", audience.into());
        set("iat", lifetime.issued_at.as_unix_secs().into());
        set("exp", lifetime.expires_at.as_unix_secs().into());
        set("jti", sign::token_id().into());
        let scope = (!identity.scopes.is_empty()).then(|| identity.scopes.to_string());
        let known = [
            ("sub", identity.subject.as_deref()),
            ("client_id", identity.client_id.as_deref()),
            ("org", identity.organization.as_deref()),
            ("scope", scope.as_deref()),
            ("credential_type", Some(identity.credential_type.as_str())),
            ("credential_id", identity.credential_id.as_deref()),
            ("credential_issuer", identity.issuer_text()),
        ];
        for (name, value) in known {
            if let Some(value) = value {
                set(name, value.into());
            }
        }
        self.key.sign(TYP, &Value::Object(claims))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Signer")
            .field("issuer", &self.issuer)
            .field("kid", &self.key.kid())
            .finish_non_exhaustive()
    }
}
