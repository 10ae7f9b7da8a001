//! Which client does an API key prove, and is the key valid?

use crate::gate::authenticate::ApiKeyIdentity;
use crate::gate::authenticate::Identity;
use crate::gate::authenticate::SubscriptionBinding;
use crate::model::api_key;
use crate::model::api_key::ApiKeyTextError;
use crate::model::api_key::CredentialDigest;
use crate::model::api_key::Digester;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::directory::ApiKeyOrigin;
use crate::model::directory::Directory;
use crate::model::directory::KeyEntry;
use crate::model::reason::reasons;
use crate::model::scope::ScopeSet;
use foldhash::fast::RandomState;
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;
use quick_cache::sync::DefaultLifecycle;
use std::net::IpAddr;
use std::sync::Arc;

/// The largest number of cached identities, about 1 KB each. A key without a cached identity costs about a microsecond
/// more.
const IDENTITIES_MAX: usize = 32_768;

/// Why an API key is refused. For operators; clients get the same response for every variant (S077).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    #[error("the API key is not well-formed")]
    Malformed,
    #[error("the API key's checksum is wrong")]
    Checksum,
    #[error("no API key has this id or text")]
    Unknown,
    #[error("the API key's id is known but its secret is wrong")]
    WrongSecret,
    #[error("API key {0} is revoked")]
    Revoked(KeyId),
    #[error("API key {0} is expired")]
    Expired(KeyId),
    #[error("API key {0} is disabled")]
    Disabled(KeyId),
    #[error("API key {0} may not be used from this address")]
    WrongAddress(KeyId),
}

reasons! {
    ApiKeyError {
        Self::Malformed => "api_key_malformed",
        Self::Checksum => "api_key_checksum",
        Self::Unknown => "api_key_unknown",
        Self::WrongSecret => "api_key_wrong_secret",
        Self::Revoked(_) => "api_key_revoked",
        Self::Expired(_) => "api_key_expired",
        Self::Disabled(_) => "api_key_disabled",
        Self::WrongAddress(_) => "api_key_wrong_address",
    }
}

/// Validates API keys against a [`Directory`].
#[derive(Debug)]
pub struct ApiKeyAuthenticator {
    directory: Arc<Directory>,
    digester: Digester,
    prefix: Box<str>,
    /// The identities of keys, so that a repeated request allocates no identity. A cached identity is valid only while
    /// the directory has the same `KeyEntry`.
    ///
    /// Only validated keys are cached, and clients cannot choose key ids: no client can fill the cache with colliding
    /// ids, so a fast hash is enough.
    identities: Cache<KeyId, CachedKey, UnitWeighter, RandomState>,
}

#[derive(Clone, Debug)]
struct CachedKey {
    entry: Arc<KeyEntry>,
    identity: Arc<Identity>,
}

impl ApiKeyAuthenticator {
    pub fn new(directory: Arc<Directory>, digester: Digester, prefix: &str) -> Self {
        Self {
            directory,
            digester,
            prefix: prefix.into(),
            identities: Cache::with(
                IDENTITIES_MAX,
                IDENTITIES_MAX as u64,
                UnitWeighter,
                RandomState::default(),
                DefaultLifecycle::default(),
            ),
        }
    }

    /// Validates the key `text`, used from `client_ip`, and returns its identity and its binding to a subscription, if
    /// it has one. `client_ip` is `None` where the address is unknown.
    ///
    /// An unknown id and a wrong secret cost the same: one digest and one comparison in constant time. State, expiry
    /// and address are checked only after the secret, so that only the key's holder can learn them.
    ///
    /// # Errors
    /// The first check to fail. A malformed key and a wrong checksum are refused without a look-up (S066).
    pub fn authenticate(
        &self,
        text: &str,
        client_ip: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<(Arc<Identity>, Option<SubscriptionBinding>), ApiKeyError> {
        let claim = self.claim(text)?;
        let entry = self
            .directory
            .get(&claim.id)
            .filter(|entry| entry.origin() == claim.origin);
        let expected = entry.as_ref().map_or(CredentialDigest::DUMMY, |entry| entry.digest());
        let proved = expected == claim.digest;
        let entry = match entry {
            Some(entry) if proved => entry,
            Some(_) => return Err(ApiKeyError::WrongSecret),
            None => return Err(ApiKeyError::Unknown),
        };
        if entry.is_revoked(now) {
            return Err(ApiKeyError::Revoked(claim.id));
        }
        if entry.is_expired(now) {
            return Err(ApiKeyError::Expired(claim.id));
        }
        if entry.is_disabled() {
            return Err(ApiKeyError::Disabled(claim.id));
        }
        if !entry.allows(client_ip) {
            return Err(ApiKeyError::WrongAddress(claim.id));
        }
        entry.note_use(now);
        let binding = SubscriptionBinding::of_key(&entry);
        Ok((self.identity(claim.id, entry), binding))
    }

    /// Returns the identity of a key that was refused although its secret is right.
    pub fn owner(&self, error: &ApiKeyError) -> Option<Arc<Identity>> {
        match error {
            ApiKeyError::Revoked(id)
            | ApiKeyError::Expired(id)
            | ApiKeyError::Disabled(id)
            | ApiKeyError::WrongAddress(id) => Some(self.identity(*id, self.directory.get(id)?)),
            ApiKeyError::Malformed | ApiKeyError::Checksum | ApiKeyError::Unknown | ApiKeyError::WrongSecret => None,
        }
    }

    /// Returns whether `text` is an imported key, expired and revoked ones too. Does no look-up where there is none.
    pub fn is_imported(&self, text: &str) -> bool {
        self.directory.has_imported_keys()
            && self
                .directory
                .get(&KeyId::of_imported(&CredentialDigest::sha256(text)))
                .is_some_and(|entry| entry.origin() == ApiKeyOrigin::Imported)
    }

    /// Returns whether `text` is an API key, valid or not: it begins like one of this gate, or was imported.
    pub fn is_key(&self, text: &str) -> bool {
        api_key::has_own_form(text, &self.prefix) || self.is_imported(text)
    }

    /// Returns the id and the origin that `text` claims, and the digest that the directory must have for them.
    fn claim(&self, text: &str) -> Result<Claim, ApiKeyError> {
        match api_key::parse(text, &self.prefix) {
            Ok(key) => Ok(Claim {
                id: key.id,
                origin: ApiKeyOrigin::Own,
                digest: self.digester.digest(key.text),
            }),
            Err(ApiKeyTextError::Foreign) => {
                let digest = CredentialDigest::sha256(text);
                Ok(Claim {
                    id: KeyId::of_imported(&digest),
                    origin: ApiKeyOrigin::Imported,
                    digest,
                })
            }
            Err(ApiKeyTextError::Malformed) => Err(ApiKeyError::Malformed),
            Err(ApiKeyTextError::Checksum) => Err(ApiKeyError::Checksum),
        }
    }

    fn identity(&self, id: KeyId, entry: Arc<KeyEntry>) -> Arc<Identity> {
        if let Some(cached) = self.identities.get(&id)
            && Arc::ptr_eq(&cached.entry, &entry)
        {
            return cached.identity;
        }
        let identity = Arc::new(Identity::of_api_key(ApiKeyIdentity {
            key_id: id.to_string(),
            client_id: entry.client().map(str::to_owned),
            organization: entry.organization().map(str::to_owned),
            scopes: ScopeSet::clone(entry.scopes()),
            expires_at: entry.expires_at(),
        }));
        self.identities.insert(
            id,
            CachedKey {
                entry,
                identity: Arc::clone(&identity),
            },
        );
        identity
    }
}

struct Claim {
    id: KeyId,
    origin: ApiKeyOrigin,
    digest: CredentialDigest,
}

#[cfg(test)]
mod tests;
