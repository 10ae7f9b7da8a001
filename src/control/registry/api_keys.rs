//! How are API keys made, looked at and ended? A key's text exists in the answer that made it and nowhere else.

use crate::control::registry::CHUNK;
use crate::control::registry::Keep;
use crate::control::registry::Place;
use crate::control::registry::Placed;
use crate::control::registry::Refused;
use crate::control::registry::Registry;
use crate::control::registry::after;
use crate::control::registry::check_revision;
use crate::control::registry::settle;
use crate::control::registry::text::Label;
use crate::model::api_key::ApiKeyText;
use crate::model::api_key::KeyDigest;
use crate::model::api_key::KeyEnvironment;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::directory::KeyOrigin;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
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

/// A key that is asked for.
#[derive(Clone, Debug)]
pub struct AskedKey {
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
pub struct MadeKey {
    pub key: Versioned<ApiKeyRecord>,
    pub text: ApiKeyText,
}

/// A key in the place of another.
#[derive(Debug)]
pub struct RegeneratedKey {
    pub made: MadeKey,
    pub replaced: Versioned<ApiKeyRecord>,
}

impl From<ApiKeyError> for Refused {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::ExpiresInThePast | ApiKeyError::ExpiresTooLate => Self::invalid("/expires", error),
            ApiKeyError::AlreadyRevoked | ApiKeyError::AlreadyReplaced => Self::Already {
                word: error.as_str(),
                detail: error.to_string(),
            },
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
    pub async fn create_api_key(&self, asked: &AskedKey, keep: Keep<'_, ApiKeyRecord>) -> Result<MadeKey, Refused> {
        settle!(self.try_create_api_key(asked, keep).await)
    }

    async fn try_create_api_key(&self, asked: &AskedKey, keep: Keep<'_, ApiKeyRecord>) -> Result<MadeKey, Refused> {
        let placed = self.place_key(asked).await?;
        let (text, digest) = self.new_text(placed.environment);
        let record = self.new_record(asked, &placed, text.id(), digest, KeyOrigin::Own)?;
        let key = self.write_new_key("api_key.create", record, &placed, keep).await?;
        Ok(MadeKey { key, text })
    }

    /// Takes a key of another system, by the SHA-256 of its text; its owner goes on using it.
    ///
    /// # Errors
    /// Those of making one; the key is there already.
    pub async fn import_api_key(
        &self,
        asked: &AskedKey,
        sha256: KeyDigest,
        keep: Keep<'_, ApiKeyRecord>,
    ) -> Result<Versioned<ApiKeyRecord>, Refused> {
        settle!(self.try_import_api_key(asked, sha256, keep).await)
    }

    async fn try_import_api_key(
        &self,
        asked: &AskedKey,
        sha256: KeyDigest,
        keep: Keep<'_, ApiKeyRecord>,
    ) -> Result<Versioned<ApiKeyRecord>, Refused> {
        let placed = self.place_key(asked).await?;
        let id = KeyId::of_imported(&sha256);
        // Also where it is somebody else's: two owners of one key would be one too many.
        if self.control.store.api_key(&id).await?.is_some() {
            return Err(Refused::Exists("key"));
        }
        let record = self.new_record(asked, &placed, id, sha256, KeyOrigin::Imported)?;
        self.write_new_key("api_key.import", record, &placed, keep).await
    }

    async fn place_key(&self, asked: &AskedKey) -> Result<Placed, Refused> {
        self.place(Place {
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
        asked: &AskedKey,
        placed: &Placed,
        id: KeyId,
        digest: KeyDigest,
        origin: KeyOrigin,
    ) -> Result<ApiKeyRecord, Refused> {
        let subscription = &placed.subscription.record;
        let new = NewApiKey {
            id,
            digest,
            origin,
            environment: placed.environment,
            name: asked.name.to_string(),
            organization: subscription.organization.clone(),
            subscription: subscription.id.clone(),
            scopes: placed.scopes.clone(),
            addresses: asked.addresses.clone(),
            expires_at: asked.expires_at,
        };
        Ok(ApiKeyRecord::new(new, self.now)?)
    }

    async fn write_new_key(
        &self,
        action: &'static str,
        record: ApiKeyRecord,
        placed: &Placed,
        keep: Keep<'_, ApiKeyRecord>,
    ) -> Result<Versioned<ApiKeyRecord>, Refused> {
        let made = Versioned {
            record: record.clone(),
            revision: after(Revision::NEW),
        };
        let mut batch = Batch {
            event: Some(self.event(action, record.id.as_str(), Some(&record.organization), details(&record))),
            answer: keep(&made),
            ..Batch::default()
        };
        self.take_place(placed, None, &mut batch).await?;
        batch.writes.push(Write::ApiKey(Versioned::new(record)));
        self.control.commit(batch).await?;
        Ok(made)
    }

    /// Makes sure that the subscription has room for one more key, and that it still has when `batch` is written.
    /// `instead_of` leaves its place to the new one.
    async fn take_place(&self, placed: &Placed, instead_of: Option<KeyId>, batch: &mut Batch) -> Result<(), Refused> {
        let Some(max) = placed.plan.keys_max else {
            batch.unchanged.push(placed.still_so());
            return Ok(());
        };
        let taken = self.places_taken(&placed.subscription.record.id, instead_of).await?;
        if taken >= max as usize {
            return Err(Refused::KeySlotsFull { max });
        }
        // Written as it is: of two that take the last place at the same time, one finds it changed.
        batch.writes.push(Write::Subscription(placed.subscription.clone()));
        Ok(())
    }

    async fn places_taken(&self, subscription: &SubscriptionId, but: Option<KeyId>) -> Result<usize, Refused> {
        let filter = Filter {
            organization: None,
            subscription: Some(subscription.clone()),
        };
        let (mut taken, mut after) = (0, None);
        loop {
            let page = Page { after, limit: CHUNK };
            let found = self.control.store.api_keys(&filter, &page).await?;
            let holding =
                |key: &&Versioned<ApiKeyRecord>| key.record.holds_place(self.now) && Some(key.record.id) != but;
            taken += found.iter().filter(holding).count();
            after = found.last().map(|last| last.record.id.to_string());
            if found.len() < CHUNK as usize {
                return Ok(taken);
            }
        }
    }

    /// # Errors
    /// There is none, or not for this actor.
    pub async fn api_key(&self, id: &KeyId) -> Result<Versioned<ApiKeyRecord>, Refused> {
        let found = self.control.store.api_key(id).await?;
        found
            .filter(|found| self.actor.sees(&found.record.organization))
            .ok_or(Refused::NotFound("key"))
    }

    /// Sorted by id.
    ///
    /// # Errors
    /// An organization that is not there for this actor.
    pub async fn api_keys(
        &self,
        organization: Option<Name>,
        subscription: Option<SubscriptionId>,
        page: &Page,
    ) -> Result<Vec<Versioned<ApiKeyRecord>>, Refused> {
        let filter = self.filter(organization, subscription)?;
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
    ) -> Result<Versioned<ApiKeyRecord>, Refused> {
        settle!(self.try_revoke_api_key(id, expected).await)
    }

    async fn try_revoke_api_key(
        &self,
        id: &KeyId,
        expected: Option<Revision>,
    ) -> Result<Versioned<ApiKeyRecord>, Refused> {
        let found = self.api_key(id).await?;
        check_revision(&found, expected)?;
        let revoked = found.try_map(|key| key.revoke(self.now))?;
        let record = &revoked.record;
        let batch = Batch {
            event: Some(self.event(
                "api_key.revoke",
                id.as_str(),
                Some(&record.organization),
                json!({ "name": record.name }),
            )),
            writes: vec![Write::ApiKey(revoked.clone())],
            ..Batch::default()
        };
        self.control.commit(batch).await?;
        Ok(Versioned {
            revision: after(revoked.revision),
            ..revoked
        })
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
    ) -> Result<RegeneratedKey, Refused> {
        settle!(self.try_regenerate(id, grace, expires_at, expected, keep).await)
    }

    async fn try_regenerate(
        &self,
        id: &KeyId,
        grace: Grace,
        expires_at: Option<Option<Timestamp>>,
        expected: Option<Revision>,
        keep: Keep<'_, ApiKeyRecord>,
    ) -> Result<RegeneratedKey, Refused> {
        let found = self.api_key(id).await?;
        check_revision(&found, expected)?;
        let placed = self
            .place(Place {
                subscription: Some(&found.record.subscription),
                environment: Some(found.record.environment),
                kind: CredentialKind::ApiKey,
                scopes: Some(&found.record.scopes),
            })
            .await?;
        let (text, digest) = self.new_text(placed.environment);
        let expires_at = expires_at.unwrap_or_else(|| found.record.renewed_expiry(self.now));
        let revision = found.revision;
        let (old, new) = found
            .record
            .regenerate(text.id(), digest, expires_at, grace, self.now)?;
        let made = Versioned {
            record: new.clone(),
            revision: after(Revision::NEW),
        };
        let old = Versioned { record: old, revision };
        let mut more = details(&new);
        more["replaced_by"] = new.id.as_str().into();
        more["grace_seconds"] = grace.duration().as_secs().into();
        let mut batch = Batch {
            event: Some(self.event("api_key.regenerate", id.as_str(), Some(&new.organization), more)),
            answer: keep(&made),
            ..Batch::default()
        };
        self.take_place(&placed, Some(*id), &mut batch).await?;
        batch.writes.push(Write::ApiKey(old.clone()));
        batch.writes.push(Write::ApiKey(Versioned::new(new)));
        self.control.commit(batch).await?;
        Ok(RegeneratedKey {
            made: MadeKey { key: made, text },
            replaced: Versioned {
                revision: after(old.revision),
                ..old
            },
        })
    }
}
