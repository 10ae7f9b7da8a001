//! How are API keys created, read and revoked? A key's text is in the response that created it and nowhere else.

use crate::control::key_verdict::KeyVerdict;
use crate::control::registry::Condition;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::RevocationOutcome;
use crate::control::registry::StoredResponseFn;
use crate::control::registry::change::Succession;
use crate::control::registry::change::check_revision;
use crate::control::registry::change::for_each_record;
use crate::control::registry::change::page_of;
use crate::control::registry::change::retry_on_conflict;
use crate::control::registry::placement::CredentialSpec;
use crate::control::registry::placement::Placement;
use crate::control::registry::placement::check_scopes;
use crate::control::registry::text::Label;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::ApiKeyText;
use crate::model::api_key::CredentialDigest;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::directory::ApiKeyOrigin;
use crate::model::grace::Grace;
use crate::model::id::SubscriptionId;
use crate::model::plan::CredentialKind;
use crate::model::scope::ScopeSet;
use crate::store::Batch;
use crate::store::Filter;
use crate::store::Page;
use crate::store::Revision;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::ApiKeyChange;
use crate::store::record::ApiKeyError;
use crate::store::record::ApiKeyRecord;
use crate::store::record::ApiKeyState;
use crate::store::record::api_key::NewApiKey;
use ipnet::IpNet;
use serde_json::json;
use std::ops::ControlFlow;

/// The settings of a new key.
#[derive(Clone, Debug)]
pub struct ApiKeySpec {
    pub name: Label,
    /// `None` for never. There is no default: the request must say so.
    pub expires_at: Option<Timestamp>,
    /// When `None`: the scopes of the plan, or none if the plan sets no limit.
    pub scopes: Option<ScopeSet>,
    /// The addresses from which the key may be used; all when empty.
    pub addresses: Vec<IpNet>,
    /// The environment of the subscription when `None`.
    pub environment: Option<ApiKeyEnvironment>,
    /// When `None`: the built-in subscription for operators,
    /// otherwise the only subscription of the actor's organization.
    pub subscription: Option<SubscriptionId>,
}

/// The fields of a key to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyUpdate {
    pub name: Option<Label>,
    pub scopes: Option<ScopeSet>,
    /// The addresses from which the key may be used; all when empty.
    pub addresses: Option<Vec<IpNet>>,
    /// `Some(None)` is never.
    pub expires_at: Option<Option<Timestamp>>,
    /// `true` for active, `false` for disabled.
    pub active: Option<bool>,
}

/// A new key and its text, which is shown once.
#[derive(Debug)]
pub struct ApiKeyWithText {
    pub key: Versioned<ApiKeyRecord>,
    pub text: ApiKeyText,
}

/// A new key and the key that it replaces.
#[derive(Debug)]
pub struct ApiKeyReplacement {
    pub new: ApiKeyWithText,
    pub replaced: Versioned<ApiKeyRecord>,
}

impl From<ApiKeyError> for RegistryError {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::ExpiresInThePast | ApiKeyError::ExpiresTooLate => Self::invalid("/expires", error),
            ApiKeyError::AlreadyRevoked
            | ApiKeyError::AlreadyReplaced
            | ApiKeyError::AlreadyExpired
            | ApiKeyError::AlreadyDisabled
            | ApiKeyError::AlreadyActive => Self::state_conflict(error.as_str(), error),
        }
    }
}

impl Registry {
    /// Creates a key.
    ///
    /// # Errors
    /// The subscription does not exist or is not in force; its plan allows no API keys, not these scopes, or no more
    /// keys; the expiry is past or more than 730 days away.
    pub async fn create_api_key(
        &self,
        spec: &ApiKeySpec,
        stored_response: StoredResponseFn<'_, ApiKeyRecord>,
    ) -> Result<ApiKeyWithText, RegistryError> {
        retry_on_conflict(|| async {
            let placement = self.place_key(spec).await?;
            let (text, digest) = self.new_text(placement.environment);
            let record = self.new_record(spec, &placement, text.id(), digest, ApiKeyOrigin::Own)?;
            let key = self
                .write_new_key("api_key.create", record, &placement, stored_response)
                .await?;
            Ok(ApiKeyWithText { key, text })
        })
        .await
    }

    /// Imports a key of another system by the SHA-256 of its text. The owner keeps using the same text.
    ///
    /// # Errors
    /// Those of [`Self::create_api_key`]; the key exists already.
    pub async fn import_api_key(
        &self,
        spec: &ApiKeySpec,
        sha256: CredentialDigest,
        stored_response: StoredResponseFn<'_, ApiKeyRecord>,
    ) -> Result<Versioned<ApiKeyRecord>, RegistryError> {
        retry_on_conflict(|| async {
            let placement = self.place_key(spec).await?;
            let id = KeyId::of_imported(&sha256);
            // Also if the existing key belongs to another organization: a key has only one owner.
            if self.control.store.api_key(&id).await?.is_some() {
                return Err(RegistryError::Exists("key"));
            }
            let record = self.new_record(spec, &placement, id, sha256, ApiKeyOrigin::Imported)?;
            self.write_new_key("api_key.import", record, &placement, stored_response)
                .await
        })
        .await
    }

    async fn place_key(&self, spec: &ApiKeySpec) -> Result<Placement, RegistryError> {
        self.place(CredentialSpec {
            subscription: spec.subscription.as_ref(),
            environment: spec.environment,
            kind: CredentialKind::ApiKey,
            scopes: spec.scopes.as_ref(),
        })
        .await
    }

    /// Returns the text of a new key, and its digest.
    fn new_text(&self, environment: ApiKeyEnvironment) -> (ApiKeyText, CredentialDigest) {
        let settings = self.control.settings.load();
        let text = ApiKeyText::generate(&settings.key_prefix, environment, &mut { self.random });
        let digest = settings.digester.digest(text.expose());
        (text, digest)
    }

    fn new_record(
        &self,
        spec: &ApiKeySpec,
        placement: &Placement,
        id: KeyId,
        digest: CredentialDigest,
        origin: ApiKeyOrigin,
    ) -> Result<ApiKeyRecord, RegistryError> {
        let subscription = &placement.subscription.record;
        let new = NewApiKey {
            id,
            digest,
            origin,
            environment: placement.environment,
            name: spec.name.to_string(),
            organization: subscription.organization.clone(),
            subscription: subscription.id.clone(),
            scopes: placement.scopes.clone(),
            addresses: spec.addresses.clone(),
            expires_at: spec.expires_at,
        };
        Ok(ApiKeyRecord::new(new, self.now)?)
    }

    async fn write_new_key(
        &self,
        action: &'static str,
        record: ApiKeyRecord,
        placement: &Placement,
        stored_response: StoredResponseFn<'_, ApiKeyRecord>,
    ) -> Result<Versioned<ApiKeyRecord>, RegistryError> {
        let batch = self.reserve_slot(placement, None).await?;
        self.insert_in_batch(batch, action, record, stored_response).await
    }

    /// Checks that the subscription allows one more key, and returns a batch that conflicts with any concurrent change
    /// of the subscription. The key `instead_of` is not counted: the new key replaces it.
    async fn reserve_slot(&self, placement: &Placement, instead_of: Option<KeyId>) -> Result<Batch, RegistryError> {
        let Some(max) = placement.plan.keys_max else {
            return Ok(placement.batch());
        };
        let used = self.count_slots(&placement.subscription.record.id, instead_of).await?;
        if used >= max as usize {
            return Err(RegistryError::KeySlotsFull { max });
        }
        // Rewrite the unchanged subscription: of two concurrent requests for the last slot, the second one conflicts.
        Ok(Batch {
            writes: vec![Write::Subscription(placement.subscription.clone())],
            ..Batch::default()
        })
    }

    async fn count_slots(&self, subscription: &SubscriptionId, except: Option<KeyId>) -> Result<usize, RegistryError> {
        let store = &self.control.store;
        let filter = &Filter {
            organization: None,
            subscription: Some(subscription.clone()),
        };
        let mut used = 0;
        for_each_record(
            |page| async move { store.api_keys(filter, &page).await },
            |key| {
                used += usize::from(key.record.counts_against_plan(self.now) && Some(key.record.id) != except);
                ControlFlow::Continue(())
            },
        )
        .await?;
        Ok(used)
    }

    /// Returns the key of this id.
    ///
    /// # Errors
    /// No such key exists, or the actor may not see it.
    pub async fn api_key(&self, id: &KeyId) -> Result<Versioned<ApiKeyRecord>, RegistryError> {
        let found = self.control.store.api_key(id).await?;
        self.visible(found.map(|key| self.control.revocations.amend_key(key)))
    }

    /// Returns a page of keys, sorted by id.
    ///
    /// # Errors
    /// The filter names an organization that the actor may not see.
    pub async fn api_keys(
        &self,
        filter: Filter,
        page: &Page,
        condition: Option<Condition<'_, ApiKeyRecord>>,
    ) -> Result<Vec<Versioned<ApiKeyRecord>>, RegistryError> {
        let filter = &self.narrow_filter(filter)?;
        let store = &self.control.store;
        // Amended first: the condition is on the record as it is in force.
        let amend = |key| self.control.revocations.amend_key(key);
        page_of(
            |page| async move { Ok(store.api_keys(filter, &page).await?.into_iter().map(amend).collect()) },
            page,
            condition,
        )
        .await
    }

    /// Records that a key was verified, with the verdict. The target of a key that is not known is `unknown`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn record_verification(&self, verdict: &KeyVerdict) -> Result<(), RegistryError> {
        let key = verdict.key.as_ref();
        let id = key.and_then(|key| key.id).map(|id| id.to_string());
        let organization = key.and_then(|key| key.organization.as_deref()?.parse().ok());
        let details = json!({ "valid": verdict.reason.is_none(), "reason": verdict.reason });
        let target = id.as_deref().unwrap_or("unknown");
        let batch = Batch {
            event: Some(self.event("api_key.verify", target, organization.as_ref(), details)),
            ..Batch::default()
        };
        Ok(self.control.commit(batch).await?)
    }

    /// Changes a key. A disabled key is refused until it is enabled.
    ///
    /// # Errors
    /// No such key exists, or it is revoked; the plan does not allow the scopes; the expiry is past, more than 730 days
    /// away, or of a key that is expired.
    pub async fn change_api_key(
        &self,
        id: &KeyId,
        update: &ApiKeyUpdate,
        expected: Option<Revision>,
    ) -> Result<Versioned<ApiKeyRecord>, RegistryError> {
        retry_on_conflict(|| async {
            let found = check_revision(self.api_key(id).await?, expected)?;
            if let Some(scopes) = &update.scopes {
                let subscription = self.subscription(&found.record.subscription).await?;
                if let Some(plan) = self.plan(&subscription.record.plan) {
                    check_scopes(&plan, Some(scopes))?;
                }
            }
            let change = ApiKeyChange {
                name: update.name.clone().map(Label::into_string),
                scopes: update.scopes.clone(),
                addresses: update.addresses.clone(),
                expires_at: update.expires_at,
            };
            let mut changed = found.clone().try_map(|key| key.change(change, self.now))?;
            // The current state is not an error, as with clients.
            changed = match (update.active, changed.record.state) {
                (Some(true), ApiKeyState::Disabled) => changed.try_map(|key| key.enable(self.now))?,
                (Some(false), ApiKeyState::Active) => changed.try_map(|key| key.disable(self.now))?,
                (Some(_) | None, _) => changed,
            };
            let details = json!({ "name": changed.record.name });
            self.replace("api_key.change", &found.record, changed, details).await
        })
        .await
    }

    /// Revokes a key now and ends its grace period, also while the store cannot be written.
    ///
    /// # Errors
    /// No such key exists, or it is revoked already.
    pub async fn revoke_api_key(
        &self,
        id: &KeyId,
        expected: Option<Revision>,
    ) -> Result<RevocationOutcome<ApiKeyRecord>, RegistryError> {
        let with_store = retry_on_conflict(|| async {
            let found = check_revision(self.api_key(id).await?, expected)?;
            let revoked = found.clone().try_map(|key| key.revoke(self.now))?;
            let details = json!({ "name": revoked.record.name });
            self.replace("api_key.revoke", &found.record, revoked, details).await
        });
        let without_store = || self.revocation_of_key(id, expected);
        self.revoke_always(id.as_str(), with_store, without_store).await
    }

    /// Replaces a key by a new one. The old key ends at once or after the grace period (S070). Without `expires_at` the
    /// new key gets the lifetime that the old key was created with; `Some(None)` is never.
    ///
    /// # Errors
    /// No such key exists; it was revoked or regenerated before; its subscription is not in force, or the plan no
    /// longer allows the key's kind or scopes, or no more keys; the expiry is past or more than 730 days away.
    pub async fn regenerate_api_key(
        &self,
        id: &KeyId,
        grace: Grace,
        expires_at: Option<Option<Timestamp>>,
        expected: Option<Revision>,
        stored_response: StoredResponseFn<'_, ApiKeyRecord>,
    ) -> Result<ApiKeyReplacement, RegistryError> {
        retry_on_conflict(|| async {
            let found = check_revision(self.api_key(id).await?, expected)?;
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
            let Versioned {
                record: before,
                revision,
            } = found;
            let replacement = before
                .clone()
                .regenerate(text.id(), digest, expires_at, grace, self.now);
            let (old, new) = replacement?;
            let details = json!({ "grace_seconds": grace.duration().as_secs() });
            let batch = self.reserve_slot(&placement, Some(*id)).await?;
            let old = Versioned { record: old, revision };
            let succession = Succession { old, new };
            let action = "api_key.regenerate";
            let (replaced, key) = self
                .insert_successor(batch, action, &before, succession, details, stored_response)
                .await?;
            let new = ApiKeyWithText { key, text };
            Ok(ApiKeyReplacement { new, replaced })
        })
        .await
    }
}
