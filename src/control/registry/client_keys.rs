//! How does a client get its registered keys? It uploads a public key,
//! or the gate generates a pair and returns the private half once.

use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::RevocationOutcome;
use crate::control::registry::StoredResponseFn;
use crate::control::registry::change::check_revision;
use crate::control::registry::change::retry_on_conflict;
use crate::control::registry::clients;
use crate::jose::sign::SignError;
use crate::jose::sign::SigningKey;
use crate::jose::uploaded::UploadedKey;
use crate::model::algorithm::ASSERTION_ALGORITHMS;
use crate::model::algorithm::Algorithm;
use crate::model::id::ClientId;
use crate::model::plan::Plan;
use crate::model::secret::Secret;
use crate::store::Batch;
use crate::store::Revision;
use crate::store::Versioned;
use crate::store::record::ClientError;
use crate::store::record::ClientRecord;
use crate::store::record::IssuedTokens;
use crate::store::record::client::ClientAuthentication;
use crate::store::record::client::ClientKey;
use serde_json::json;

/// A key to add to a client.
#[derive(Debug)]
pub struct ClientKeySpec {
    key: ClientKey,
    private_pem: Option<Secret<String>>,
}

/// A client's new key, with the private half if the gate generated it. The private half is shown once.
#[derive(Debug)]
pub struct ClientKeyWithPrivate {
    pub client: Versioned<ClientRecord>,
    pub key: ClientKey,
    pub private_pem: Option<Secret<String>>,
}

/// Checks that `plan` allows an algorithm of the key.
fn check_algorithms(plan: &Plan, key: &ClientKey) -> Result<(), RegistryError> {
    if key
        .algorithms
        .iter()
        .any(|algorithm| plan.allows_assertions(*algorithm))
    {
        return Ok(());
    }
    let allowed = ASSERTION_ALGORITHMS.iter();
    let allowed: Vec<&str> = allowed
        .filter(|algorithm| plan.allows_assertions(**algorithm))
        .map(|algorithm| algorithm.as_str())
        .collect();
    let detail = format!(
        "plan `{}` takes assertions with {} alone",
        plan.name,
        allowed.join(", ")
    );
    let pointer = if key.generated { "/generate" } else { "/public_key" };
    Err(RegistryError::beyond_plan(pointer, detail))
}

impl Registry {
    /// Returns the spec of an uploaded key.
    pub fn uploaded_key(&self, uploaded: UploadedKey) -> ClientKeySpec {
        ClientKeySpec {
            key: ClientKey {
                kid: uploaded.kid,
                public_pem: uploaded.pem,
                algorithms: uploaded.algorithms,
                generated: false,
                created_at: self.now,
                revoked_at: None,
            },
            private_pem: None,
        }
    }

    /// Generates a pair for `algorithm`. An RSA pair takes a tenth of a second
    /// of computing: do not call this on a thread that serves requests.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub fn generate_key(&self, algorithm: Algorithm) -> Result<ClientKeySpec, SignError> {
        let pair = SigningKey::generate(algorithm)?;
        Ok(ClientKeySpec {
            key: ClientKey {
                kid: pair.kid().to_owned(),
                public_pem: pair.public_pem(),
                // A key pair is for one algorithm (RFC 8725 section 3.1).
                algorithms: vec![algorithm],
                generated: true,
                created_at: self.now,
                revoked_at: None,
            },
            private_pem: Some(pair.to_pkcs8_pem()?),
        })
    }

    /// Adds a key to a client.
    ///
    /// # Errors
    /// No such client exists, it is deleted, or it does not use registered keys; its subscription is not in force; the
    /// key exists, was revoked, or exceeds the maximum.
    pub async fn add_client_key(
        &self,
        id: &ClientId,
        spec: ClientKeySpec,
        expected: Option<Revision>,
        stored_response: StoredResponseFn<'_, ClientKey>,
    ) -> Result<ClientKeyWithPrivate, RegistryError> {
        let ClientKeySpec { key, private_pem } = spec;
        let client = retry_on_conflict(|| async {
            let found = check_revision(self.client(id).await?, expected)?;
            // Report a permanent problem (a deleted client) before a
            // temporary one (a subscription that is not in force).
            let changed = found.clone().try_map(|client| client.add_key(key.clone(), self.now))?;
            let placement = self.place(clients::credential_spec(&found.record)).await?;
            clients::check_key_place(&placement.plan, &found.record.authentication)?;
            check_algorithms(&placement.plan, &key)?;
            let details = json!({
                "kid": key.kid,
                "algorithms": key.algorithms.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "generated": key.generated,
            });
            let batch = Batch {
                response: stored_response(&key),
                ..placement.batch()
            };
            self.replace_in_batch(batch, "client_key.add", &found.record, changed, details)
                .await
        })
        .await?;
        Ok(ClientKeyWithPrivate {
            client,
            key,
            private_pem,
        })
    }

    /// Returns the registered keys of a client, including revoked ones.
    ///
    /// # Errors
    /// No such client exists; it has a JWKS URL or a secret instead.
    pub async fn client_keys(&self, id: &ClientId) -> Result<Vec<ClientKey>, RegistryError> {
        match self.client(id).await?.record.authentication {
            ClientAuthentication::Keys { keys } => Ok(keys),
            ClientAuthentication::JwksUrl { .. } => Err(ClientError::KeysFromUrl.into()),
            ClientAuthentication::ClientSecret { .. } => Err(ClientError::NoKeys.into()),
        }
    }

    /// Revokes one key of a client, also while the store cannot be written; its other keys stay valid. A client without a valid
    /// key cannot authenticate (S153).
    ///
    /// # Errors
    /// No such client or key exists, the client is deleted or has no registered keys, or the key is revoked already.
    pub async fn revoke_client_key(
        &self,
        id: &ClientId,
        kid: &str,
        tokens: IssuedTokens,
        expected: Option<Revision>,
    ) -> Result<RevocationOutcome<ClientRecord>, RegistryError> {
        let details = || json!({ "kid": kid, "revoke_tokens": tokens == IssuedTokens::End });
        let with_store = retry_on_conflict(|| async {
            let found = check_revision(self.client(id).await?, expected)?;
            let changed = found
                .clone()
                .try_map(|client| client.revoke_key(kid, tokens, self.now))?;
            self.replace("client_key.revoke", &found.record, changed, details())
                .await
        });
        let without_store = || {
            self.revocation_of_client(id, expected, "client_key.revoke", |client| {
                Ok((client.revoke_key(kid, tokens, self.now)?, details()))
            })
        };
        self.revoke_always(id.as_str(), with_store, without_store).await
    }
}
