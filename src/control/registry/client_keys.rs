//! How does a client come by its keys here? It uploads a public one, or has a pair made and is given the private half once.

use crate::control::registry::Keep;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::change::settle;
use crate::control::registry::change::unchanged;
use crate::control::registry::clients;
use crate::jose::sign::SignError;
use crate::jose::sign::SigningKey;
use crate::jose::uploaded::UploadedKey;
use crate::model::algorithm::Algorithm;
use crate::model::id::ClientId;
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

/// A key that a client is to have.
#[derive(Debug)]
pub struct ClientKeySpec {
    key: ClientKey,
    private_pem: Option<Secret<String>>,
}

/// A client's new key, and the private half of it where it was made here, to be given once.
#[derive(Debug)]
pub struct ClientKeyWithPrivate {
    pub client: Versioned<ClientRecord>,
    pub key: ClientKey,
    pub private_pem: Option<Secret<String>>,
}

impl Registry {
    /// One that was uploaded.
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

    /// A new pair for `algorithm`. RSA takes a tenth of a second of computing: not for a thread that others wait for.
    ///
    /// # Errors
    /// The cryptographic library makes none.
    pub fn generated_key(&self, algorithm: Algorithm) -> Result<ClientKeySpec, SignError> {
        let pair = SigningKey::generate(algorithm)?;
        Ok(ClientKeySpec {
            key: ClientKey {
                kid: pair.kid().to_owned(),
                public_pem: pair.public_pem(),
                // The one that was asked for alone: a pair is for one algorithm (RFC 8725 section 3.1).
                algorithms: vec![algorithm],
                generated: true,
                created_at: self.now,
                revoked_at: None,
            },
            private_pem: Some(pair.to_pkcs8_pem()?),
        })
    }

    /// Gives a client a key beside those it has.
    ///
    /// # Errors
    /// There is no such client, it is deleted, or has no keys here; its subscription is not in force; the key is there
    /// already, was revoked, or is one too many.
    pub async fn add_client_key(
        &self,
        id: &ClientId,
        asked: ClientKeySpec,
        expected: Option<Revision>,
        keep: Keep<'_, ClientKey>,
    ) -> Result<ClientKeyWithPrivate, RegistryError> {
        let ClientKeySpec { key, private_pem } = asked;
        let client = settle(|| async {
            let found = unchanged(self.client(id).await?, expected)?;
            // What cannot be at all is said before what cannot be now.
            let grown = found.clone().try_map(|client| client.add_key(key.clone(), self.now))?;
            let placement = self.place(clients::spec(&found.record)).await?;
            let details = json!({
                "kid": key.kid,
                "algorithms": key.algorithms.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "generated": key.generated,
            });
            let batch = Batch {
                response: keep(&key),
                ..placement.batch()
            };
            self.replace_in(batch, "client_key.add", grown, details).await
        })
        .await?;
        Ok(ClientKeyWithPrivate {
            client,
            key,
            private_pem,
        })
    }

    /// The keys that a client has here, revoked ones among them.
    ///
    /// # Errors
    /// There is no such client; its keys are behind its URL, or it has a secret.
    pub async fn client_keys(&self, id: &ClientId) -> Result<Vec<ClientKey>, RegistryError> {
        match self.client(id).await?.record.authentication {
            ClientAuthentication::Keys { keys } => Ok(keys),
            ClientAuthentication::JwksUrl { .. } => Err(ClientError::KeysFromUrl.into()),
            ClientAuthentication::ClientSecret { .. } => Err(ClientError::NoKeys.into()),
        }
    }

    /// Ends one key of a client; the others go on. Without any it proves nothing any more (S153).
    ///
    /// # Errors
    /// There is no such client or key; the key is revoked already.
    pub async fn revoke_client_key(
        &self,
        id: &ClientId,
        kid: &str,
        tokens: IssuedTokens,
        expected: Option<Revision>,
    ) -> Result<Versioned<ClientRecord>, RegistryError> {
        settle(|| async {
            let found = unchanged(self.client(id).await?, expected)?;
            let fewer = found.try_map(|client| client.revoke_key(kid, tokens, self.now))?;
            let details = json!({ "kid": kid, "revoke_tokens": tokens == IssuedTokens::End });
            self.replace("client_key.revoke", fewer, details).await
        })
        .await
    }
}
