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
    /// it has one. `client_ip` is `None` where the address is in dispute.
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
        if !entry.allows(client_ip) {
            return Err(ApiKeyError::WrongAddress(claim.id));
        }
        entry.note_use(now);
        let binding = SubscriptionBinding::of_key(&entry);
        Ok((self.identity(claim.id, entry), binding))
    }

    /// Returns the identity of a key that was refused after its secret had proved right.
    pub fn owner(&self, error: &ApiKeyError) -> Option<Arc<Identity>> {
        match error {
            ApiKeyError::Revoked(id) | ApiKeyError::Expired(id) | ApiKeyError::WrongAddress(id) => {
                Some(self.identity(*id, self.directory.get(id)?))
            }
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
mod tests {
    use super::*;
    use crate::model::api_key::ApiKeyEnvironment;
    use crate::model::api_key::ApiKeyText;
    use crate::model::api_key::system_random;
    use crate::model::directory::KeyRecord;
    use crate::model::directory::KeyState;
    use crate::model::secret::Secret;

    struct Fixture {
        authenticator: ApiKeyAuthenticator,
        key: ApiKeyText,
        record: KeyRecord,
    }

    fn digester() -> Digester {
        Digester::new(Some(&Secret::new(b"pepper".to_vec())))
    }

    fn fixture(change: impl FnOnce(&mut KeyRecord)) -> Fixture {
        let key = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
        let mut record = KeyRecord {
            expires_at: Some(Timestamp::from_unix_secs(1_000)),
            scopes: Arc::new(ScopeSet::parse_list("orders:read").unwrap()),
            client: Some("billing".into()),
            ..KeyRecord::unrestricted(key.id(), digester().digest(key.expose()))
        };
        change(&mut record);
        let directory = Arc::new(Directory::new());
        directory.replace(vec![record.clone()]);
        Fixture {
            authenticator: ApiKeyAuthenticator::new(directory, digester(), "kg"),
            key,
            record,
        }
    }

    impl Fixture {
        fn authenticate(&self, text: &str, now: u64) -> Result<Arc<Identity>, ApiKeyError> {
            self.authenticator
                .authenticate(text, Some([192, 0, 2, 1].into()), Timestamp::from_unix_secs(now))
                .map(|(identity, _)| identity)
        }

        #[track_caller]
        fn check(&self, text: &str, expected: Result<(), ApiKeyError>) {
            assert_eq!(self.authenticate(text, 500).map(drop), expected);
        }

        fn replace(&self, record: KeyRecord) {
            self.authenticator.directory.replace(vec![record]);
        }
    }

    /// Returns a well-formed key with the id of `key` and another secret.
    fn guess(key: &ApiKeyText) -> String {
        let other = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
        let body = format!("{}{}", &key.expose()[..25], &other.expose()[25..68]);
        let mut crc = crc32fast::hash(body.as_bytes());
        let mut check = String::new();
        for _ in 0..6 {
            let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
            check.insert(0, char::from(digits[(crc % 62) as usize]));
            crc /= 62;
        }
        body + &check
    }

    #[test]
    fn a_valid_key_has_the_identity_of_its_client() {
        let fixture = fixture(|_| {});
        let identity = fixture.authenticate(fixture.key.expose(), 500).unwrap();
        assert_eq!(identity.client_id.as_deref(), Some("billing"));
        assert_eq!(identity.credential_id.as_deref(), Some(fixture.key.id().as_str()));
        assert_eq!(identity.scopes.to_string(), "orders:read");
    }

    #[test]
    fn a_repeated_key_makes_no_second_identity_until_its_entry_changes() {
        let fixture = fixture(|_| {});
        let first = fixture.authenticate(fixture.key.expose(), 500).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &fixture.authenticate(fixture.key.expose(), 500).unwrap()
        ));
        fixture.replace(KeyRecord {
            scopes: Arc::default(),
            ..fixture.record.clone()
        });
        let changed = fixture.authenticate(fixture.key.expose(), 500).unwrap();
        assert!(changed.scopes.is_empty());
    }

    #[test]
    fn s065_a_stored_digest_is_no_key() {
        let fixture = fixture(|_| {});
        let hex = fixture.record.digest.to_hex();
        fixture.check(&hex, Err(ApiKeyError::Unknown));
        fixture.check(&format!("hmac-sha256:{hex}"), Err(ApiKeyError::Unknown));
        fixture.check(fixture.key.id().as_str(), Err(ApiKeyError::Unknown));
    }

    #[test]
    fn s066_a_wrong_checksum_is_refused_before_any_look_up() {
        // The id is in the directory: a look-up would have returned `WrongSecret`.
        let fixture = fixture(|_| {});
        let mut typo = fixture.key.expose().to_owned();
        let last = if typo.pop() == Some('0') { '1' } else { '0' };
        typo.push(last);
        fixture.check(&typo, Err(ApiKeyError::Checksum));
        fixture.check(&typo[..70], Err(ApiKeyError::Malformed));
    }

    #[test]
    fn s067_one_second_after_expiry_a_key_is_refused_and_stays_so() {
        let fixture = fixture(|_| {});
        let refused = Err(ApiKeyError::Expired(fixture.key.id()));
        assert!(fixture.authenticate(fixture.key.expose(), 999).is_ok());
        assert_eq!(fixture.authenticate(fixture.key.expose(), 1_001).map(drop), refused);
        assert_eq!(fixture.authenticate(fixture.key.expose(), 999).map(drop), refused);
    }

    #[test]
    fn a_revocation_holds_from_the_instant_it_is_loaded() {
        let fixture = fixture(|_| {});
        fixture.check(fixture.key.expose(), Ok(()));
        fixture.replace(KeyRecord {
            state: KeyState::Revoked,
            ..fixture.record.clone()
        });
        fixture.check(fixture.key.expose(), Err(ApiKeyError::Revoked(fixture.key.id())));
    }

    #[test]
    fn a_key_is_refused_outside_its_address_ranges() {
        let here = fixture(|record| record.addresses = vec!["192.0.2.0/24".parse().unwrap()].into());
        here.check(here.key.expose(), Ok(()));
        let elsewhere = fixture(|record| record.addresses = vec!["198.51.100.0/24".parse().unwrap()].into());
        elsewhere.check(
            elsewhere.key.expose(),
            Err(ApiKeyError::WrongAddress(elsewhere.key.id())),
        );
    }

    #[test]
    fn s077_without_the_secret_nobody_learns_a_keys_state() {
        let guess_at = |fixture: &Fixture| fixture.authenticate(&guess(&fixture.key), 5_000).map(drop);
        let states = [
            fixture(|_| {}),
            fixture(|record| record.state = KeyState::Revoked),
            fixture(|record| record.expires_at = None),
            fixture(|record| record.addresses = vec!["198.51.100.0/24".parse().unwrap()].into()),
        ];
        for state in &states {
            assert_eq!(guess_at(state), Err(ApiKeyError::WrongSecret));
        }
        let stranger = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
        states[0].check(stranger.expose(), Err(ApiKeyError::Unknown));
    }

    #[test]
    fn an_imported_key_is_found_by_its_whole_text() {
        let text = "sk_old_4f9a";
        let fixture = fixture(|record| {
            record.digest = CredentialDigest::sha256(text);
            record.id = KeyId::of_imported(&record.digest);
            record.origin = ApiKeyOrigin::Imported;
        });
        fixture.check(text, Ok(()));
        fixture.check("sk_old_4f9b", Err(ApiKeyError::Unknown));
        fixture.check(&CredentialDigest::sha256(text).to_hex(), Err(ApiKeyError::Unknown));
    }

    #[test]
    fn an_entry_of_another_origin_proves_nothing() {
        let own = fixture(|record| record.origin = ApiKeyOrigin::Imported);
        own.check(own.key.expose(), Err(ApiKeyError::Unknown));
        let text = "sk_old_4f9a";
        let imported = fixture(|record| {
            record.digest = CredentialDigest::sha256(text);
            record.id = KeyId::of_imported(&record.digest);
        });
        imported.check(text, Err(ApiKeyError::Unknown));
    }

    #[test]
    fn an_imported_key_that_looks_like_ours_is_refused() {
        let fixture = fixture(|_| {});
        let digest = CredentialDigest::sha256(fixture.key.expose());
        fixture.replace(KeyRecord {
            id: KeyId::of_imported(&digest),
            digest,
            origin: ApiKeyOrigin::Imported,
            ..fixture.record.clone()
        });
        fixture.check(fixture.key.expose(), Err(ApiKeyError::Unknown));
    }

    #[test]
    fn a_key_digested_with_another_pepper_is_refused() {
        let fixture = fixture(|_| {});
        for pepper in [None, Some(Secret::new(b"Pepper".to_vec()))] {
            fixture.replace(KeyRecord {
                digest: Digester::new(pepper.as_ref()).digest(fixture.key.expose()),
                ..fixture.record.clone()
            });
            fixture.check(fixture.key.expose(), Err(ApiKeyError::WrongSecret));
        }
    }
}
