//! What signs access tokens, and when is it replaced? Operators see it, and may not wait for the schedule.

use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::signing_keys::SigningKeysError;
use crate::control::signing_keys::schedule::KeyState;
use serde_json::json;
use std::sync::Arc;

/// How soon the new key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Once it has been published for as long as anybody may keep the set: nothing valid is refused meanwhile.
    Published,
    /// At once, and the keys before it are published no more: for a private key that others have. Every token that is
    /// out ends.
    Leaked,
}

impl Registry {
    /// Every key that is published.
    ///
    /// # Errors
    /// Not an operator; there is no token endpoint.
    pub fn signing_keys(&self) -> Result<Vec<KeyState>, RegistryError> {
        self.actor.operators_only()?;
        if self.control.settings.load().token_endpoint.is_none() {
            return Err(RegistryError::Off(
                "there are no signing keys: set `token_endpoint` in the configuration",
            ));
        }
        Ok(self.control.signing_keys.list())
    }

    /// Makes the next key, or replaces all.
    ///
    /// # Errors
    /// Not an operator; there is no token endpoint; the key cannot be made or kept.
    pub async fn rotate_signing_keys(&self, rotation: Rotation) -> Result<KeyState, RegistryError> {
        self.signing_keys()?;
        let (control, now) = (Arc::clone(&self.control), self.now);
        // Writes to disk, and may look for an RSA key.
        let rotated = tokio::task::spawn_blocking(move || match rotation {
            Rotation::Published => control.signing_keys.rotate(now),
            Rotation::Leaked => control.signing_keys.replace_leaked(now),
        });
        let key = match rotated.await {
            Ok(rotated) => rotated.map_err(|error: SigningKeysError| RegistryError::SigningKeys(error.to_string()))?,
            Err(error) => return Err(RegistryError::SigningKeys(error.to_string())),
        };
        let details = json!({ "leaked": rotation == Rotation::Leaked, "algorithm": key.algorithm.as_str() });
        // Afterwards: the keys are in files of their own, and a rotation that failed is none.
        self.write_event("signing_key.rotate", &key.kid, details).await?;
        Ok(key)
    }
}
