//! How are API keys made, looked at and ended? A key's text exists in the answer that made it and nowhere else.

use crate::control::registry::Keep;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::change::each;
use crate::control::registry::change::settle;
use crate::control::registry::change::unchanged;
use crate::control::registry::placement::CredentialSpec;
use crate::control::registry::placement::Placement;
use crate::control::registry::text::Label;
use crate::model::api_key::ApiKeyText;
use crate::model::api_key::KeyDigest;
use crate::model::api_key::KeyEnvironment;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::directory::KeyOrigin;
use crate::model::id::SubscriptionId;
use crate::model::plan::CredentialKind;
use crate::model::scope::ScopeSet;
use crate::store::Batch;
use crate::store::Filter;
use crate::store::Page;
use crate::store::Revision;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::ApiKeyError;
use crate::store::record::ApiKeyRecord;
use crate::store::record::api_key::NewApiKey;
use crate::store::record::grace::Grace;
use ipnet::IpNet;
use serde_json::Value;
use serde_json::json;
use std::ops::ControlFlow;

/// A key that is asked for.
#[derive(Clone, Debug)]
pub struct ApiKeySpec {
    pub name: Label,
    /// `None` for never, which somebody has to say.
    pub expires_at: Option<Timestamp>,
    /// Those of the plan when `None`.
    pub scopes: Option<ScopeSet>,
    /// Where it may be used from; everywhere when empty.
    pub addresses: Vec<IpNet>,
    /// That of the subscription when `None`.
    pub environment: Option<KeyEnvironment>,
    /// The built-in one, or the only one of the actor's organization, when `None`.
    pub subscription: Option<SubscriptionId>,
}

/// A key, and its text to be shown once.
#[derive(Debug)]
pub struct ApiKeyWithText {
    pub key: Versioned<ApiKeyRecord>,
    pub text: ApiKeyText,
}

/// A key in the place of another.
#[derive(Debug)]
pub struct ApiKeyReplacement {
    pub new: ApiKeyWithText,
    pub replaced: Versioned<ApiKeyRecord>,
}

impl From<ApiKeyError> for RegistryError {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::ExpiresInThePast | ApiKeyError::ExpiresTooLate => Self::invalid("/expires", error),
            ApiKeyError::AlreadyRevoked | ApiKeyError::AlreadyReplaced => Self::already(error.as_str(), error),
        }
    }
}

fn details(record: &ApiKeyRecord) -> Value {
    json!({
        "name": record.name,
        "subscription": record.subscription.as_str(),
        "environment": record.environment.as_str(),
        "scopes": record.scopes.to_string(),
        "expires_at": record.expires_at.map(Timestamp::as_unix_secs),
        "addresses": record.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

impl Registry {
    /// Makes a key.
    ///
    /// # Errors
    /// Its subscription is not there or not in force, its plan gives no keys, not these scopes, or no more keys; its
    /// expiry is past or more than 730 days away.
    pub async fn create_api_key(
        &self,
        asked: &ApiKeySpec,
        keep: Keep<'_, ApiKeyRecord>,
    ) -> Result<ApiKeyWithText, RegistryError> {
        settle(|| async {
            let placement = self.place_key(asked).await?;
            let (text, digest) = self.new_text(placement.environment);
            let record = self.new_record(asked, &placement, text.id(), digest, KeyOrigin::Own)?;
            let key = self.write_new_key("api_key.create", record, &placement, keep).await?;
            Ok(ApiKeyWithText { key, text })
        })
        .await
    }

    /// Takes a key of another system, by the SHA-256 of its text; its owner goes on using it.
    ///
    /// # Errors
    /// Those of making one; the key is there already.
    pub async fn import_api_key(
        &self,
        asked: &ApiKeySpec,
        sha256: KeyDigest,
        keep: Keep<'_, ApiKeyRecord>,
    ) -> Result<Versioned<ApiKeyRecord>, RegistryError> {
        settle(|| async {
            let placement = self.place_key(asked).await?;
            let id = KeyId::of_imported(&sha256);
            // Also where it is somebody else's: two owners of one key would be one too many.
            if self.control.store.api_key(&id).await?.is_some() {
                return Err(RegistryError::Exists("key"));
            }
            let record = self.new_record(asked, &placement, id, sha256, KeyOrigin::Imported)?;
            self.write_new_key("api_key.import", record, &placement, keep).await
        })
        .await
    }

    async fn place_key(&self, asked: &ApiKeySpec) -> Result<Placement, RegistryError> {
        self.place(CredentialSpec {
            subscription: asked.subscription.as_ref(),
            environment: asked.environment,
            kind: CredentialKind::ApiKey,
            scopes: asked.scopes.as_ref(),
        })
        .await
    }

    fn new_text(&self, environment: KeyEnvironment) -> (ApiKeyText, KeyDigest) {
        let settings = self.control.settings.load();
        let text = ApiKeyText::generate(&settings.key_prefix, environment, &mut { self.random });
        let digest = settings.digester.digest(text.expose());
        (text, digest)
    }

    fn new_record(
        &self,
        asked: &ApiKeySpec,
        placement: &Placement,
        id: KeyId,
        digest: KeyDigest,
        origin: KeyOrigin,
    ) -> Result<ApiKeyRecord, RegistryError> {
        let subscription = &placement.subscription.record;
        let new = NewApiKey {
            id,
            digest,
            origin,
            environment: placement.environment,
            name: asked.name.to_string(),
            organization: subscription.organization.clone(),
            subscription: subscription.id.clone(),
            scopes: placement.scopes.clone(),
            addresses: asked.addresses.clone(),
            expires_at: asked.expires_at,
        };
        Ok(ApiKeyRecord::new(new, self.now)?)
    }

    async fn write_new_key(
        &self,
        action: &'static str,
        record: ApiKeyRecord,
        placement: &Placement,
        keep: Keep<'_, ApiKeyRecord>,
    ) -> Result<Versioned<ApiKeyRecord>, RegistryError> {
        let details = details(&record);
        let batch = self.take_place(placement, None).await?;
        self.insert_in(batch, action, record, details, keep).await
    }

    /// Makes sure that the subscription has room for one more key, and that it still has when the batch that this returns is
    /// written. `instead_of` leaves its place to the new one.
    async fn take_place(&self, placement: &Placement, instead_of: Option<KeyId>) -> Result<Batch, RegistryError> {
        let Some(max) = placement.plan.keys_max else {
            return Ok(placement.batch());
        };
        let taken = self.places_taken(&placement.subscription.record.id, instead_of).await?;
        if taken >= max as usize {
            return Err(RegistryError::KeySlotsFull { max });
        }
        // Written as it is: of two that take the last place at the same time, one finds it changed.
        Ok(Batch {
            writes: vec![Write::Subscription(placement.subscription.clone())],
            ..Batch::default()
        })
    }

    async fn places_taken(&self, subscription: &SubscriptionId, but: Option<KeyId>) -> Result<usize, RegistryError> {
        let store = &self.control.store;
        let filter = &Filter {
            organization: None,
            subscription: Some(subscription.clone()),
        };
        let mut taken = 0;
        each(
            |page| async move { store.api_keys(filter, &page).await },
            |key| {
                taken += usize::from(key.record.counts_against_plan(self.now) && Some(key.record.id) != but);
                ControlFlow::Continue(())
            },
        )
        .await?;
        Ok(taken)
    }

    /// # Errors
    /// There is none, or not for this actor.
    pub async fn api_key(&self, id: &KeyId) -> Result<Versioned<ApiKeyRecord>, RegistryError> {
        self.seen(self.control.store.api_key(id).await?)
    }

    /// Sorted by id.
    ///
    /// # Errors
    /// An organization that is not there for this actor.
    pub async fn api_keys(&self, asked: Filter, page: &Page) -> Result<Vec<Versioned<ApiKeyRecord>>, RegistryError> {
        let filter = self.filter(asked)?;
        Ok(self.control.store.api_keys(&filter, page).await?)
    }

    /// Ends a key now, whatever grace it had.
    ///
    /// # Errors
    /// There is none; it is revoked already.
    pub async fn revoke_api_key(
        &self,
        id: &KeyId,
        expected: Option<Revision>,
    ) -> Result<Versioned<ApiKeyRecord>, RegistryError> {
        settle(|| async {
            let found = unchanged(self.api_key(id).await?, expected)?;
            let revoked = found.try_map(|key| key.revoke(self.now))?;
            let details = json!({ "name": revoked.record.name });
            self.replace("api_key.revoke", revoked, details).await
        })
        .await
    }

    /// Makes a key in the place of another, which ends at once, or after a grace that was asked for (S070). Without
    /// `expires_at` the new one lives as long as the old one was made for.
    ///
    /// # Errors
    /// There is none; it is revoked or regenerated already; its subscription is not in force, or its plan does not give
    /// what the key has any more.
    pub async fn regenerate_api_key(
        &self,
        id: &KeyId,
        grace: Grace,
        expires_at: Option<Option<Timestamp>>,
        expected: Option<Revision>,
        keep: Keep<'_, ApiKeyRecord>,
    ) -> Result<ApiKeyReplacement, RegistryError> {
        settle(|| async {
            let found = unchanged(self.api_key(id).await?, expected)?;
            let placement = self
                .place(CredentialSpec {
                    subscription: Some(&found.record.subscription),
                    environment: Some(found.record.environment),
                    kind: CredentialKind::ApiKey,
                    scopes: Some(&found.record.scopes),
                })
                .await?;
            let (text, digest) = self.new_text(placement.environment);
            let expires_at = expires_at.unwrap_or_else(|| found.record.renewed_expiry(self.now));
            let revision = found.revision;
            let (old, new) = found
                .record
                .regenerate(text.id(), digest, expires_at, grace, self.now)?;
            let mut more = details(&new);
            more["replaced_by"] = new.id.as_str().into();
            more["grace_seconds"] = grace.duration().as_secs().into();
            let batch = self.take_place(&placement, Some(*id)).await?;
            let old = Versioned { record: old, revision };
            let (replaced, key) = self
                .succeed_in(batch, "api_key.regenerate", old, new, more, keep)
                .await?;
            let new = ApiKeyWithText { key, text };
            Ok(ApiKeyReplacement { new, replaced })
        })
        .await
    }
}
