//! What does an identity token say, and how long is it good for?

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

/// `typ` of an identity token. Of a type of its own it is taken for an access token nowhere (RFC 8725 section 3.11): not
/// by this gate, whose issuers have other types, nor by an API that checks what RFC 9068 section 4 asks for.
pub const TYP: &str = "keygate-identity+jwt";

/// In whose name tokens are signed, and with what key.
pub struct Signer {
    uid: u64,
    issuer: Box<str>,
    ttl: Duration,
    key: Arc<SigningKey>,
}

/// When a token was made and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLifetime {
    /// `iat`.
    pub at: Timestamp,
    /// `exp`.
    pub until: Timestamp,
    /// The last instant at which it is sent.
    send_until: Timestamp,
}

impl TokenLifetime {
    /// Whether an upstream may still be given it. Not before it was made either: a clock that was set back would make it
    /// good for longer than tokens are.
    pub fn may_be_sent_at(&self, now: Timestamp) -> bool {
        self.at <= now && now <= self.send_until
    }

    /// Whether nobody accepts it any more.
    pub fn is_over_at(&self, now: Timestamp) -> bool {
        self.until < now || now < self.at
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

    /// Told apart from every other signer of this process.
    pub const fn uid(&self) -> u64 {
        self.uid
    }

    pub const fn key(&self) -> &Arc<SigningKey> {
        &self.key
    }

    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Whether tokens of this one are like those of a signer with these settings and key.
    pub fn is_like(&self, settings: &config::IdentityToken, key: &SigningKey) -> bool {
        *self.issuer == *settings.issuer.as_str()
            && self.ttl == settings.ttl
            && self.key.kid() == key.kid()
            && self.key.algorithm() == key.algorithm()
    }

    /// How long a token for `identity` would be good from `now` on, in whole seconds as `iat` and `exp` are.
    ///
    /// Never past the credential's own expiry. A credential that only counts any more because clocks may differ
    /// (`clock_skew`) ends when it counts no more: a token that is over already would vouch for nobody.
    pub fn lifetime(&self, identity: &Identity, now: Timestamp) -> TokenLifetime {
        let second = |time: Timestamp| Timestamp::from_unix_secs(time.as_unix_secs());
        let at = second(now);
        let full = at.saturating_add(self.ttl);
        let end = identity
            .expires_at
            .filter(|end| *end > now)
            .or(identity.usable_until)
            .map(second);
        match end.filter(|end| *end < full) {
            // A later one would end no later.
            Some(end) => TokenLifetime {
                at,
                until: end,
                send_until: end,
            },
            None => TokenLifetime {
                at,
                until: full,
                send_until: full.saturating_sub(self.ttl / 2),
            },
        }
    }

    /// Signs what is known about `identity`: `iss`, `aud`, `iat`, `exp`, `jti` and, where they are known, `sub`,
    /// `client_id`, `scope` and `org` as in an access token (RFC 9068 section 2.2); and what proved it, as
    /// `credential_type`, `credential_id` and `credential_issuer`, the words of the `x-keygate-*` headers. Nothing that
    /// the credential could be made from again.
    ///
    /// # Errors
    /// The library cannot sign.
    pub fn sign(&self, identity: &Identity, audience: &str, lifetime: &TokenLifetime) -> Result<String, SignError> {
        let mut claims = Map::new();
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("iss", (*self.issuer).into());
        set("aud", audience.into());
        set("iat", lifetime.at.as_unix_secs().into());
        set("exp", lifetime.until.as_unix_secs().into());
        set("jti", sign::token_id().into());
        let scope = (!identity.scopes.is_empty()).then(|| identity.scopes.to_string());
        let known = [
            ("sub", identity.subject.as_deref()),
            ("client_id", identity.client_id.as_deref()),
            ("org", identity.organization.as_deref()),
            ("scope", scope.as_deref()),
            ("credential_type", Some(identity.credential_type.as_str())),
            ("credential_id", identity.credential_id.as_deref()),
            (
                "credential_issuer",
                identity.issuer.as_ref().map(|issuer| issuer.as_str()),
            ),
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
