//! Which keys verify the tokens that are still good? The one that signs, and those that signed before until their last
//! token is over.

use crate::config;
use crate::gate::identity_token::Signer;
use crate::jose::sign::SigningKey;
use crate::model::clock::Timestamp;
use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

/// A request that was decided before a reload may sign after it: so much longer a key is kept than its tokens live.
const IN_FLIGHT: Duration = Duration::from_secs(60);

/// Where a signing key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The operator's file: whenever it changes, the key does.
    File,
    /// Made here: the one that signs goes on signing.
    Generated,
}

/// The key set (RFC 7517 section 5) that upstreams verify identity tokens with, and others access tokens of ours.
#[derive(Debug)]
pub struct PublishedKeys {
    document: Arc<ArcSwap<Bytes>>,
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    current: Option<(Arc<Signer>, KeyOrigin)>,
    retired: Vec<RetiredKey>,
    /// Those that access tokens of the gate's own are signed with.
    access: Vec<Value>,
}

#[derive(Debug)]
struct RetiredKey {
    jwk: Value,
    until: Timestamp,
}

impl Default for PublishedKeys {
    fn default() -> Self {
        Self {
            document: Arc::new(ArcSwap::from_pointee(document(&Keys::default()))),
            keys: Mutex::default(),
        }
    }
}

impl PublishedKeys {
    /// The signer for these settings: the one there is, as long as it would sign alike, so that its tokens stay
    /// remembered. `key` is what the configuration brings along; one that was made is only taken where there is none.
    pub fn signer(&self, settings: &config::IdentityToken, key: SigningKey, origin: KeyOrigin) -> Arc<Signer> {
        let keys = self.lock();
        let current = keys.current.as_ref();
        let generated = current.filter(|(_, before)| (*before, origin) == (KeyOrigin::Generated, KeyOrigin::Generated));
        let key = generated.map_or_else(|| Arc::new(key), |(signer, _)| Arc::clone(signer.key()));
        match current {
            Some((signer, _)) if signer.is_like(settings, &key) => Arc::clone(signer),
            Some(_) | None => Arc::new(Signer::new(settings, key)),
        }
    }

    /// From now on `signer` signs, if anybody does. The key before it stays until its last token is over.
    pub fn replace(&self, signer: Option<(Arc<Signer>, KeyOrigin)>, now: Timestamp) {
        let mut keys = self.lock();
        if let Some((before, _)) = keys.current.take() {
            let until = now.saturating_add(before.ttl()).saturating_add(IN_FLIGHT);
            keys.retired.push(RetiredKey {
                jwk: before.key().public_jwk(),
                until,
            });
        }
        keys.current = signer;
        let jwk = keys.current.as_ref().map(|(signer, _)| signer.key().public_jwk());
        keys.retired.retain(|retired| Some(&retired.jwk) != jwk.as_ref());
        self.publish(&mut keys, now);
    }

    /// Publishes the keys that access tokens are signed with beside the others, in place of those before.
    pub fn replace_access_keys(&self, keys: Vec<Value>, now: Timestamp) {
        let mut current = self.lock();
        current.access = keys;
        self.publish(&mut current, now);
    }

    /// Forgets the keys whose last token is over.
    pub fn sweep(&self, now: Timestamp) {
        let mut keys = self.lock();
        if keys.retired.iter().any(|retired| retired.until < now) {
            self.publish(&mut keys, now);
        }
    }

    /// The key set, as it is served.
    pub fn document(&self) -> Arc<ArcSwap<Bytes>> {
        Arc::clone(&self.document)
    }

    fn publish(&self, keys: &mut Keys, now: Timestamp) {
        keys.retired.retain(|retired| retired.until >= now);
        self.document.store(Arc::new(document(keys)));
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        // Taken on reload and by the sweep, never by a request. A panic in between leaves a list that is whole.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn document(keys: &Keys) -> Bytes {
    let current = keys.current.as_ref().map(|(signer, _)| signer.key().public_jwk());
    let retired = keys.retired.iter().map(|retired| retired.jwk.clone());
    let set: Vec<Value> = current
        .into_iter()
        .chain(retired)
        .chain(keys.access.iter().cloned())
        .collect();
    Bytes::from(json!({ "keys": set }).to_string())
}
