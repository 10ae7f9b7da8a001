//! Which keys sign access tokens, and when are they replaced?
//! Operators read the keys, and can rotate them ahead of schedule.

use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::signing_keys::SigningKeysError;
use crate::control::signing_keys::schedule::RotationKey;
use crate::control::signing_keys::schedule::Stage;
use crate::observe::access::rfc3339;
use serde_json::json;
use std::sync::Arc;

/// When the new key begins to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// After the new key was published for as long as verifiers may cache the set: no valid token is refused meanwhile.
    Published,
    /// At once, for a leaked private key. The earlier keys are no
    /// longer published, so all tokens issued so far become invalid.
    Leaked,
}

impl Registry {
    /// Returns every published key, in the order of publication.
    ///
    /// # Errors
    /// The actor is not an operator; there is no token endpoint.
    pub fn signing_keys(&self) -> Result<Vec<RotationKey>, RegistryError> {
        self.actor.operators_only()?;
        if self.control.settings.load().token_endpoint.is_none() {
            return Err(RegistryError::NoTokenEndpoint(
                "there are no signing keys: set `token_endpoint` in the configuration",
            ));
        }
        Ok(self.control.signing_keys.list())
    }

    /// Publishes the next key, or replaces all keys. Returns the new key.
    ///
    /// # Errors
    /// The actor is not an operator; there is no token endpoint; the key cannot be generated or stored; the store cannot be
    /// written, and leaked keys are replaced nevertheless.
    pub async fn rotate_signing_keys(&self, rotation: Rotation) -> Result<RotationKey, RegistryError> {
        self.signing_keys()?;
        match rotation {
            // Without the store, the keys would be rotated and the event missing.
            Rotation::Published => self.control.store.probe().await?,
            // Urgent: the new keys are in force even if the event cannot be written.
            Rotation::Leaked => {}
        }
        let (control, now) = (Arc::clone(&self.control), self.now);
        // Rotation writes to disk and may generate an RSA key.
        let rotated = tokio::task::spawn_blocking(move || match rotation {
            Rotation::Published => control.signing_keys.rotate(now),
            Rotation::Leaked => control.signing_keys.replace_leaked(now),
        });
        let key = match rotated.await {
            Ok(rotated) => rotated.map_err(|error: SigningKeysError| RegistryError::SigningKeys(error.to_string()))?,
            Err(error) => return Err(RegistryError::SigningKeys(error.to_string())),
        };
        let RotationKey {
            kid: _,
            algorithm,
            published_at: _,
            stage,
        } = &key;
        let details = json!({
            "leaked": rotation == Rotation::Leaked,
            "algorithm": algorithm.as_str(),
            "signs_from": match stage {
                Stage::Next { signs_from } => Some(rfc3339(*signs_from).to_string()),
                Stage::Active { since } => Some(rfc3339(*since).to_string()),
                Stage::Retired { .. } => None,
            },
        });
        // Write the event afterwards: the keys are in files outside the transaction, and a failed rotation is no event.
        self.write_event("signing_key.rotate", &key.kid, details).await?;
        Ok(key)
    }
}
