//! Which keys sign access tokens, and which one signs now? The first key is generated at the first start. Each later
//! key is published before it signs, and stays published until its last token has expired.
//!
//! Each step is on disk before it takes effect in memory, so a
//! gate that stops at any instant continues from the same state.

pub mod schedule;
pub mod wrap;
pub mod error;
pub mod folder;

pub use error::SigningKeysError;

use crate::config::StoreSettings;
use crate::config::TokenEndpoint;
use crate::control::signing_keys::folder::Folder;
use crate::control::signing_keys::folder::Index;
use crate::control::signing_keys::schedule::RotationKey;
use crate::control::signing_keys::schedule::Schedule;
use crate::control::signing_keys::schedule::SigningPeriod;
use crate::control::signing_keys::schedule::Step;
use crate::control::signing_keys::wrap::WrappingKey;
use crate::jose::jwks::Jwks;
use crate::jose::sign::SigningKey;
use crate::model::clock::Timestamp;
use crate::store::record::client::TokenTtl;
use arc_swap::ArcSwap;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use serde_json::Value;
use serde_json::json;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::watch;

/// Extra time before a retired key is removed, for tokens that were being signed when it retired.
const IN_FLIGHT: Duration = Duration::from_secs(60);

/// The signing keys of the gate; empty if it has no token endpoint.
///
/// Operations that change the keys write to disk and may generate an RSA key, which takes a tenth of a second: do not
/// call them on threads that serve requests. [`Self::list`] waits for them; the other readers take no lock.
pub struct SigningKeys {
    active: ArcSwapOption<SigningKey>,
    /// All published keys, to verify tokens.
    verifying: ArcSwapOption<Jwks>,
    /// The published key set, as JSON.
    document: Arc<ArcSwap<Bytes>>,
    generation: watch::Sender<u64>,
    period: ArcSwapOption<SigningPeriod>,
    loaded: Mutex<Option<LoadedKeys>>,
}

/// The keys and their folder, once read.
struct LoadedKeys {
    folder: Folder,
    schedule: Schedule,
    index: Index,
    active: Arc<SigningKey>,
    next: Option<Arc<SigningKey>>,
}

impl Default for SigningKeys {
    fn default() -> Self {
        Self {
            active: ArcSwapOption::empty(),
            verifying: ArcSwapOption::empty(),
            document: Arc::new(ArcSwap::from_pointee(document(&Index::default()))),
            generation: watch::Sender::new(0),
            period: ArcSwapOption::empty(),
            loaded: Mutex::new(None),
        }
    }
}

impl SigningKeys {
    /// Reads the keys beside the database, generates the first
    /// key if there is none, and performs the steps that are due.
    ///
    /// # Errors
    /// See [`SigningKeysError`]. Files that cannot be read or decrypted stay unchanged.
    pub fn open(store: &StoreSettings, endpoint: &TokenEndpoint, now: Timestamp) -> Result<Self, SigningKeysError> {
        let keys = Self::default();
        keys.start(store, endpoint, now)?;
        Ok(keys)
    }

    /// Reads the published key set beside the database, and changes nothing; the set is empty before the first start.
    ///
    /// # Errors
    /// The list of keys cannot be read.
    pub fn read_public_set(store: &StoreSettings) -> Result<Bytes, SigningKeysError> {
        let folder = Folder::of_list(signing_keys_folder(store));
        folder.index().map(|index| document(&index))
    }

    /// Opens the keys in place, for a token endpoint that was configured after the
    /// gate started. If keys are loaded already, `endpoint` sets the schedule and the
    /// algorithm of new keys; the wrapping key and the folder stay those of the start.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub fn start(
        &self,
        store: &StoreSettings,
        endpoint: &TokenEndpoint,
        now: Timestamp,
    ) -> Result<(), SigningKeysError> {
        let mut loaded = self.lock();
        if let Some(loaded) = loaded.as_mut() {
            loaded.schedule = schedule(endpoint);
            return self.run_due(loaded, now);
        }
        let wrapping = endpoint.wrapping_key.as_ref().map(WrappingKey::new).transpose();
        let wrapping = wrapping.map_err(SigningKeysError::WrappingKey)?;
        let folder = Folder::open(signing_keys_folder(store), wrapping)?;
        let mut ready = LoadedKeys::read(folder, schedule(endpoint), now)?;
        self.run_due(&mut ready, now)?;
        *loaded = Some(ready);
        Ok(())
    }

    /// Returns the key that signs; `None` without a token endpoint.
    pub fn active(&self) -> Option<Arc<SigningKey>> {
        self.active.load_full()
    }

    /// Returns all published keys, to verify tokens; `None` without a token endpoint.
    pub fn verifying(&self) -> Option<Arc<Jwks>> {
        self.verifying.load_full()
    }

    /// Returns the times between which the active key signs; `None` without one.
    pub fn period(&self) -> Option<SigningPeriod> {
        self.period.load().as_deref().copied()
    }

    /// Returns the key set (RFC 7517 section 5) to publish. Its content is replaced whenever the keys change.
    pub fn public_set(&self) -> Arc<ArcSwap<Bytes>> {
        Arc::clone(&self.document)
    }

    /// Returns a counter that rises after each change of [`Self::public_set`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Returns every published key with its times, in the order of publication.
    pub fn list(&self) -> Vec<RotationKey> {
        let loaded = self.lock();
        loaded
            .as_ref()
            .map_or_else(Vec::new, |loaded| loaded.index.ring.keys().to_vec())
    }

    /// Performs the steps that the schedule requires by now. Call this at least once a minute.
    ///
    /// # Errors
    /// A step cannot be written to disk. The step then had no effect: the active key keeps signing.
    pub fn tick(&self, now: Timestamp) -> Result<(), SigningKeysError> {
        match self.lock().as_mut() {
            Some(loaded) => self.run_due(loaded, now),
            None => Ok(()),
        }
    }

    /// Publishes a new key, which signs after `publish_before`. If a next key exists already, returns that key.
    ///
    /// # Errors
    /// There is no token endpoint, or the key cannot be generated or stored.
    pub fn rotate(&self, now: Timestamp) -> Result<RotationKey, SigningKeysError> {
        let mut loaded = self.lock();
        let loaded = loaded.as_mut().ok_or(SigningKeysError::NoTokenEndpoint)?;
        self.run_due(loaded, now)?;
        if loaded.index.ring.next().is_none() {
            loaded.perform(&Step::MakeNext, now)?;
            self.publish(loaded);
        }
        // With a `publish_before` of zero the new key signs already.
        self.run_due(loaded, now)?;
        loaded.newest()
    }

    /// Replaces a leaked private key: a new key signs at once, and all earlier keys are no longer published, so all
    /// tokens signed with them become invalid. Clients get new tokens; a verifier with a cached key set refuses them
    /// until it fetches the set again.
    ///
    /// # Errors
    /// There is no token endpoint, or the key cannot be generated or stored; the earlier keys then stay in force.
    pub fn replace_leaked(&self, now: Timestamp) -> Result<RotationKey, SigningKeysError> {
        let mut loaded = self.lock();
        let loaded = loaded.as_mut().ok_or(SigningKeysError::NoTokenEndpoint)?;
        let before: Vec<String> = loaded.index.ring.keys().iter().map(|key| key.kid.clone()).collect();
        let key = loaded.folder.generate(loaded.schedule.algorithm)?;
        loaded.write(Index::of_first(&key, &loaded.schedule, now))?;
        loaded.active = key;
        loaded.next = None;
        self.publish(loaded);
        for kid in before {
            loaded.forget_private(&kid);
        }
        loaded.newest()
    }

    fn run_due(&self, loaded: &mut LoadedKeys, now: Timestamp) -> Result<(), SigningKeysError> {
        let mut outcome = Ok(());
        while let Some(step) = loaded.index.ring.due(now, &loaded.schedule) {
            outcome = loaded.perform(&step, now);
            if outcome.is_err() {
                break;
            }
        }
        self.publish(loaded);
        outcome
    }

    /// Puts the written state in force.
    fn publish(&self, loaded: &LoadedKeys) {
        let text = document(&loaded.index);
        if **self.document.load() != text {
            let jwks = Jwks::parse(&text).expect("a set of public keys that were made here can be read");
            // A key verifies before it is published, and is published before it signs.
            self.verifying.store(Some(Arc::new(jwks)));
            self.document.store(Arc::new(text));
            self.generation.send_modify(|generation| *generation += 1);
        }
        self.active.store(Some(Arc::clone(&loaded.active)));
        self.period
            .store(loaded.index.ring.period(&loaded.schedule).map(Arc::new));
    }

    fn lock(&self) -> MutexGuard<'_, Option<LoadedKeys>> {
        // After a panic the keys are still usable: each step replaces whole values.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoadedKeys {
    fn read(folder: Folder, schedule: Schedule, now: Timestamp) -> Result<Self, SigningKeysError> {
        let index = folder.index()?;
        let (Some(active), next) = (index.ring.active(), index.ring.next()) else {
            return Self::generate_first(folder, schedule, now);
        };
        let active = Arc::new(folder.private_key(active)?);
        let next = next.map(|(key, _)| folder.private_key(key)).transpose()?.map(Arc::new);
        for key in [Some(&active), next.as_ref()].into_iter().flatten() {
            folder.wrap_if_plain(key)?;
        }
        let loaded = Self {
            folder,
            schedule,
            index,
            active,
            next,
        };
        loaded.clean();
        Ok(loaded)
    }

    fn generate_first(folder: Folder, schedule: Schedule, now: Timestamp) -> Result<Self, SigningKeysError> {
        let key = folder.generate(schedule.algorithm)?;
        let index = Index::of_first(&key, &schedule, now);
        folder.write_index(&index)?;
        tracing::info!(
            kid = key.kid(),
            algorithm = schedule.algorithm.as_str(),
            "First signing key made"
        );
        let loaded = Self {
            folder,
            schedule,
            index,
            active: key,
            next: None,
        };
        loaded.clean();
        Ok(loaded)
    }

    /// Removes the private keys that an interrupted step left behind, and logs unlisted files.
    fn clean(&self) {
        let signs = |kid: &str| self.active.kid() == kid || self.next.as_ref().is_some_and(|next| next.kid() == kid);
        for key in self.index.ring.keys().iter().filter(|key| !signs(&key.kid)) {
            self.forget_private(&key.kid);
        }
        for path in self.folder.unlisted_files(&self.index.ring) {
            tracing::warn!(path = %path.display(), "A private key that keys.json does not name; remove it if nobody misses it");
        }
    }

    /// Performs a step: on disk first, then in memory.
    fn perform(&mut self, step: &Step, now: Timestamp) -> Result<(), SigningKeysError> {
        match step {
            // Never due: loaded keys include an active one.
            Step::MakeFirst => {}
            Step::MakeNext => {
                let key = self.folder.generate(self.schedule.algorithm)?;
                let Index { ring, mut public } = self.index.clone();
                public.insert(key.kid().to_owned(), key.public_jwk());
                let ring = ring.with_next(key.kid(), &self.schedule, now);
                self.write(Index { ring, public })?;
                tracing::info!(kid = key.kid(), "Next signing key published");
                self.next = Some(key);
            }
            Step::Activate => {
                let Some(next) = self.next.clone() else {
                    return Ok(());
                };
                let Index { ring, public } = self.index.clone();
                let ring = ring.activate_next(&self.schedule, now);
                self.write(Index { ring, public })?;
                tracing::info!(kid = next.kid(), retired = self.active.kid(), "Next signing key signs");
                let retired = std::mem::replace(&mut self.active, next);
                self.next = None;
                // The retired key no longer signs. Without its private half nobody can steal it.
                self.forget_private(retired.kid());
            }
            Step::Forget { kid } => {
                let Index { ring, mut public } = self.index.clone();
                public.remove(kid);
                let ring = ring.without(kid);
                self.write(Index { ring, public })?;
                tracing::info!(kid, "Retired signing key forgotten: its last token is over");
            }
        }
        Ok(())
    }

    /// Returns the key that was published last.
    fn newest(&self) -> Result<RotationKey, SigningKeysError> {
        self.index
            .ring
            .keys()
            .last()
            .cloned()
            .ok_or(SigningKeysError::NoTokenEndpoint)
    }

    fn write(&mut self, index: Index) -> Result<(), SigningKeysError> {
        self.folder.write_index(&index)?;
        self.index = index;
        Ok(())
    }

    fn forget_private(&self, kid: &str) {
        if let Err(error) = self.folder.forget_private(kid) {
            tracing::warn!(kid, %error, "The private half of a retired signing key cannot be removed");
        }
    }
}

fn signing_keys_folder(store: &StoreSettings) -> PathBuf {
    store.beside("-signing-keys")
}

fn schedule(endpoint: &TokenEndpoint) -> Schedule {
    let longest = TokenTtl::ALL.map(TokenTtl::duration).into_iter().max();
    Schedule {
        algorithm: endpoint.algorithm,
        rotate_every: endpoint.rotate_every,
        publish_before: endpoint.publish_before,
        tokens_last: longest.unwrap_or_default() + endpoint.clock_skew + IN_FLIGHT,
    }
}

/// Returns the key set as JSON. The active key comes first, because some verifiers read only the first key.
fn document(index: &Index) -> Bytes {
    let active = index.ring.active().map(|key| key.kid.as_str());
    let mut keys: Vec<&RotationKey> = index.ring.keys().iter().collect();
    keys.sort_by_key(|key| Some(key.kid.as_str()) != active);
    let set: Vec<&Value> = keys.iter().filter_map(|key| index.public.get(&key.kid)).collect();
    Bytes::from(json!({ "keys": set }).to_string())
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SigningKeys")
            .field("keys", &self.list())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
