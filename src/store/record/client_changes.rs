//! How may a client change? Creation, changes of fields, secrets and keys, disabling, enabling, deletion.

use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::CredentialDigest;
use crate::model::clock::Timestamp;
use crate::model::grace::Grace;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::scope::ScopeSet;
use crate::store::record::ClientRecord;
use crate::store::record::client::CLIENT_KEYS_MAX;
use crate::store::record::client::ClientAuthentication;
use crate::store::record::client::ClientKey;
use crate::store::record::client::ClientSecret;
use crate::store::record::client::ClientState;
use crate::store::record::client::TokenFormat;
use crate::store::record::client::TokenTtl;
use std::time::Duration;

/// The number of revoked keys that a client's record keeps, so that none of them can be registered again. Beyond it the
/// key that was revoked first is forgotten, because a record must not grow for ever.
const REVOKED_KEYS_MAX: usize = 100;

/// The smallest difference between two times in a record.
const TICK: Duration = Duration::from_millis(1);

/// Why a client cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("the client is deleted, and stays so; make another")]
    Deleted,
    #[error("the client is disabled already")]
    AlreadyDisabled,
    #[error("the client is active already")]
    AlreadyActive,
    #[error("the client proves itself with keys and has no secret")]
    NoSecret,
    #[error("the secret before this one is still in its grace; rotate without grace, or when it is over")]
    GraceRuns,
    #[error("the client's keys are those behind its JWKS URL, for good; change them there")]
    KeysFromUrl,
    #[error("the client proves itself with a secret and has no keys, for good; make another")]
    NoKeys,
    #[error("the client has no JWKS URL; how it proves itself was chosen when it was made, for good")]
    NoJwksUrl,
    #[error("the client has this key already")]
    KeyExists,
    #[error("this key was revoked; make another pair")]
    KeyRevoked,
    #[error("the client has {CLIENT_KEYS_MAX} keys already; revoke one first")]
    TooManyKeys,
    #[error("the client has no such key")]
    NoSuchKey,
}

impl ClientError {
    #[cfg(test)]
    pub const ALL: [Self; 12] = [
        Self::Deleted,
        Self::AlreadyDisabled,
        Self::AlreadyActive,
        Self::NoSecret,
        Self::GraceRuns,
        Self::KeysFromUrl,
        Self::NoKeys,
        Self::NoJwksUrl,
        Self::KeyExists,
        Self::KeyRevoked,
        Self::TooManyKeys,
        Self::NoSuchKey,
    ];

    /// Returns the stable word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "client_deleted",
            Self::AlreadyDisabled => "already_disabled",
            Self::AlreadyActive => "already_active",
            Self::NoSecret => "no_secret",
            Self::GraceRuns => "grace_runs",
            Self::KeysFromUrl => "keys_from_url",
            Self::NoKeys => "no_keys",
            Self::NoJwksUrl => "no_jwks_url",
            Self::KeyExists => "key_exists",
            Self::KeyRevoked => "key_revoked",
            Self::TooManyKeys => "too_many_keys",
            Self::NoSuchKey => "no_such_key",
        }
    }
}

/// The effect on issued tokens when their client is deleted or its key is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuedTokens {
    /// They remain valid until they expire.
    Stay,
    /// All tokens of the client are revoked: no token names the key that it was issued for.
    End,
}

/// The fields of a new client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewClient {
    pub id: ClientId,
    pub organization: Name,
    pub subscription: SubscriptionId,
    pub environment: ApiKeyEnvironment,
    pub name: String,
    pub description: String,
    pub authentication: ClientAuthentication,
    pub scopes: ScopeSet,
    pub token_ttl: TokenTtl,
    pub token_format: TokenFormat,
}

/// A change of a client; `None` leaves a field unchanged. Issued tokens keep their properties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub scopes: Option<ScopeSet>,
    pub token_ttl: Option<TokenTtl>,
    pub token_format: Option<TokenFormat>,
    /// A new URL, for a client that has one.
    pub jwks_url: Option<String>,
}

impl ClientSecret {
    pub const fn new(digest: CredentialDigest, now: Timestamp) -> Self {
        Self {
            digest,
            created_at: now,
            ends_at: None,
            hint: String::new(),
        }
    }

    /// Adds the obfuscated form.
    pub fn with_hint(self, hint: String) -> Self {
        Self { hint, ..self }
    }

    /// Returns whether the secret is valid at `now`. An end beyond every grace period is from when the clock was ahead, and has
    /// passed.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.ends_at.is_none_or(|at| now < at && Grace::may_end_at(at, now))
    }
}

impl ClientKey {
    /// Returns whether the key is valid: a revocation takes effect at once, and if its instant is in the future, the clock was
    /// ahead then.
    pub const fn is_valid(&self) -> bool {
        self.revoked_at.is_none()
    }
}

impl ClientRecord {
    pub fn new(fields: NewClient, now: Timestamp) -> Self {
        Self {
            id: fields.id,
            organization: fields.organization,
            subscription: fields.subscription,
            environment: fields.environment,
            name: fields.name,
            description: fields.description,
            authentication: fields.authentication,
            scopes: fields.scopes,
            token_ttl: fields.token_ttl,
            token_format: fields.token_format,
            state: ClientState::Active,
            tokens_not_before: None,
            token_series: 0,
            created_at: now,
            changed_at: now,
        }
    }

    /// Changes the fields that `change` names.
    ///
    /// # Errors
    /// The client is deleted, or has no JWKS URL to change.
    pub fn change(mut self, change: ClientChange, now: Timestamp) -> Result<Self, ClientError> {
        self.check_not_deleted()?;
        if let Some(new) = change.jwks_url {
            match &mut self.authentication {
                ClientAuthentication::JwksUrl { url } => *url = new,
                ClientAuthentication::ClientSecret { .. } | ClientAuthentication::Keys { .. } => {
                    return Err(ClientError::NoJwksUrl);
                }
            }
        }
        Ok(Self {
            name: change.name.unwrap_or(self.name),
            description: change.description.unwrap_or(self.description),
            scopes: change.scopes.unwrap_or(self.scopes),
            token_ttl: change.token_ttl.unwrap_or(self.token_ttl),
            token_format: change.token_format.unwrap_or(self.token_format),
            changed_at: now,
            ..self
        })
    }

    /// Adds a secret; the current one ends after `grace`, and the id stays (S071). Without a grace
    /// period every older secret ends, even during its own grace period.
    ///
    /// # Errors
    /// The client is deleted or has no secret; or, with a grace period, another one still runs: it would
    /// be unclear which secrets are valid.
    pub fn rotate_secret(mut self, mut new: ClientSecret, grace: Grace, now: Timestamp) -> Result<Self, ClientError> {
        self.check_not_deleted()?;
        let ClientAuthentication::ClientSecret { secrets } = &mut self.authentication else {
            return Err(ClientError::NoSecret);
        };
        // Later than the one before, also if the clock was ahead then: the log of revocations ends secrets that are older than
        // the newest.
        if let Some(before) = secrets.first() {
            new.created_at = new.created_at.max(before.created_at.saturating_add(TICK));
        }
        if grace.is_none() {
            secrets.clear();
        }
        secrets.retain(|secret| secret.is_valid(now));
        if secrets.iter().any(|secret| secret.ends_at.is_some()) {
            return Err(ClientError::GraceRuns);
        }
        for secret in secrets.iter_mut() {
            secret.ends_at = Some(now.saturating_add(grace.duration()));
        }
        secrets.insert(0, new);
        self.changed_at = now;
        Ok(self)
    }

    /// Returns this client, deleted, and a new client with the same rights and another id. A client with a secret gets
    /// `secret`; one with a JWKS URL keeps the URL, whose keys are its own. One with registered keys begins without a
    /// valid key, and none of the old ones can be registered again: nothing of the old credential remains. The successor
    /// of a disabled client is disabled too: a regeneration does not enable a client.
    ///
    /// # Errors
    /// The client is deleted.
    pub fn regenerate(
        self,
        id: ClientId,
        secret: ClientSecret,
        tokens: IssuedTokens,
        now: Timestamp,
    ) -> Result<(Self, Self), ClientError> {
        self.check_not_deleted()?;
        let authentication = match self.authentication.clone() {
            ClientAuthentication::ClientSecret { .. } => ClientAuthentication::ClientSecret { secrets: vec![secret] },
            ClientAuthentication::JwksUrl { url } => ClientAuthentication::JwksUrl { url },
            ClientAuthentication::Keys { mut keys } => {
                revoke_all(&mut keys, now);
                ClientAuthentication::Keys { keys }
            }
        };
        let new = Self {
            id,
            authentication,
            tokens_not_before: None,
            token_series: 0,
            created_at: now,
            changed_at: now,
            ..self.clone()
        };
        Ok((self.delete(tokens, now)?, new))
    }

    /// Disables the client: it gets no tokens until it is enabled.
    ///
    /// # Errors
    /// The client is disabled or deleted.
    pub fn disable(self, now: Timestamp) -> Result<Self, ClientError> {
        match self.state {
            ClientState::Active => Ok(self.into_state(ClientState::Disabled, now)),
            ClientState::Disabled => Err(ClientError::AlreadyDisabled),
            ClientState::Deleted => Err(ClientError::Deleted),
        }
    }

    /// Enables the client: it gets tokens again.
    ///
    /// # Errors
    /// The client is active or deleted.
    pub fn enable(self, now: Timestamp) -> Result<Self, ClientError> {
        match self.state {
            ClientState::Disabled => Ok(self.into_state(ClientState::Active, now)),
            ClientState::Active => Err(ClientError::AlreadyActive),
            ClientState::Deleted => Err(ClientError::Deleted),
        }
    }

    /// Deletes the client: it never gets tokens again. All its secrets and registered keys end, so
    /// that a caller that forgets to check the state cannot authenticate the client with them.
    ///
    /// # Errors
    /// The client is deleted already.
    pub fn delete(mut self, tokens: IssuedTokens, now: Timestamp) -> Result<Self, ClientError> {
        self.check_not_deleted()?;
        match &mut self.authentication {
            ClientAuthentication::ClientSecret { secrets } => secrets.clear(),
            ClientAuthentication::Keys { keys } => revoke_all(keys, now),
            // The URL is not secret, and useful to read afterwards.
            ClientAuthentication::JwksUrl { .. } => {}
        }
        Ok(self.into_state(ClientState::Deleted, now).with_tokens(tokens, now))
    }

    /// Revokes all tokens that were issued before `now`; also for a deleted client, and repeatedly. `iat` of Keygate's
    /// tokens has whole seconds, so tokens of the same second are revoked as well.
    ///
    /// If the tokens are revoked up to a later instant, the clock was ahead then and has been set back. An instant in the future
    /// would revoke the client's next tokens as well, and an earlier one would revive those with a later `iat`: so a new series
    /// of tokens begins.
    pub fn revoke_tokens(self, now: Timestamp) -> Self {
        let token_series = if self.has_future_revocation(now) {
            self.token_series.saturating_add(1)
        } else {
            self.token_series
        };
        Self {
            tokens_not_before: Some(now),
            token_series,
            changed_at: now,
            ..self
        }
    }

    /// Returns whether the tokens are revoked up to an instant after `now`, so that the client's next tokens would be as well.
    pub fn has_future_revocation(&self, now: Timestamp) -> bool {
        self.tokens_not_before.is_some_and(|not_before| not_before > now)
    }

    /// Adds a public key.
    ///
    /// # Errors
    /// The client is deleted or does not use registered keys, the key exists or is revoked, or the maximum is reached.
    pub fn add_key(mut self, key: ClientKey, now: Timestamp) -> Result<Self, ClientError> {
        self.check_not_deleted()?;
        let keys = self.keys_mut()?;
        if let Some(known) = keys.iter().find(|known| known.kid == key.kid) {
            return Err(match known.revoked_at {
                None => ClientError::KeyExists,
                Some(_) => ClientError::KeyRevoked,
            });
        }
        if keys.iter().filter(|key| key.revoked_at.is_none()).count() >= CLIENT_KEYS_MAX {
            return Err(ClientError::TooManyKeys);
        }
        keys.push(key);
        self.changed_at = now;
        Ok(self)
    }

    /// Revokes one key; the others stay. Without its last key the client cannot authenticate (S153).
    ///
    /// # Errors
    /// The client is deleted or does not use registered keys, or the key does not exist or is revoked already.
    pub fn revoke_key(mut self, kid: &str, tokens: IssuedTokens, now: Timestamp) -> Result<Self, ClientError> {
        self.check_not_deleted()?;
        let keys = self.keys_mut()?;
        let known = keys.iter_mut().find(|known| known.kid == kid);
        let known = known.ok_or(ClientError::NoSuchKey)?;
        if known.revoked_at.is_some() {
            return Err(ClientError::KeyRevoked);
        }
        known.revoked_at = Some(now);
        forget_oldest_revoked(keys);
        self.changed_at = now;
        Ok(self.with_tokens(tokens, now))
    }

    /// Returns the client after the effect of `tokens`.
    fn with_tokens(self, tokens: IssuedTokens, now: Timestamp) -> Self {
        match tokens {
            IssuedTokens::Stay => self,
            IssuedTokens::End => self.revoke_tokens(now),
        }
    }

    fn check_not_deleted(&self) -> Result<(), ClientError> {
        match self.state {
            ClientState::Deleted => Err(ClientError::Deleted),
            ClientState::Active | ClientState::Disabled => Ok(()),
        }
    }

    fn into_state(self, state: ClientState, now: Timestamp) -> Self {
        Self {
            state,
            changed_at: now,
            ..self
        }
    }

    /// Returns the registered keys.
    const fn keys_mut(&mut self) -> Result<&mut Vec<ClientKey>, ClientError> {
        match &mut self.authentication {
            ClientAuthentication::Keys { keys } => Ok(keys),
            ClientAuthentication::JwksUrl { .. } => Err(ClientError::KeysFromUrl),
            ClientAuthentication::ClientSecret { .. } => Err(ClientError::NoKeys),
        }
    }
}

fn revoke_all(keys: &mut [ClientKey], now: Timestamp) {
    for key in keys.iter_mut().filter(|key| key.revoked_at.is_none()) {
        key.revoked_at = Some(now);
    }
}

fn forget_oldest_revoked(keys: &mut Vec<ClientKey>) {
    let revoked = keys.iter().filter(|key| key.revoked_at.is_some());
    if revoked.clone().count() <= REVOKED_KEYS_MAX {
        return;
    }
    let oldest = revoked.min_by_key(|key| key.revoked_at).map(|key| key.kid.clone());
    keys.retain(|key| Some(&key.kid) != oldest.as_ref());
}

#[cfg(test)]
mod tests;
