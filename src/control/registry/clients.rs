//! How are clients created, changed and deleted? A client's
//! authentication method is chosen at creation and never changes.

use crate::control::registry::Condition;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::RevocationOutcome;
use crate::control::registry::StoredResponseFn;
use crate::control::registry::change::Succession;
use crate::control::registry::change::check_revision;
use crate::control::registry::change::page_of;
use crate::control::registry::change::retry_on_conflict;
use crate::control::registry::jwks_url::JwksUrl;
use crate::control::registry::placement::CredentialSpec;
use crate::control::registry::placement::check_scopes;
use crate::control::registry::text::Description;
use crate::control::registry::text::Label;
use crate::control::standing::SubscriptionCheckError;
use crate::control::standing::allows_keys;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::client_secret;
use crate::model::grace::Grace;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::plan::CredentialKind;
use crate::model::plan::Plan;
use crate::model::scope::ScopeSet;
use crate::model::secret::Secret;
use crate::model::subscription::Standing;
use crate::store::Filter;
use crate::store::Page;
use crate::store::Revision;
use crate::store::Versioned;
use crate::store::record::ClientChange;
use crate::store::record::ClientError;
use crate::store::record::ClientRecord;
use crate::store::record::IssuedTokens;
use crate::store::record::client::ClientAuthentication;
use crate::store::record::client::ClientSecret;
use crate::store::record::client::ClientState;
use crate::store::record::client::TokenFormat;
use crate::store::record::client::TokenTtl;
use crate::store::record::client_changes::NewClient;
use serde_json::json;

/// The authentication method of a new client.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// A secret that the gate generates.
    ClientSecret,
    /// Keys that are uploaded or generated later.
    Keys,
    /// The key set at a URL.
    JwksUrl(JwksUrl),
}

impl Authentication {
    const fn kind(&self) -> CredentialKind {
        match self {
            Self::ClientSecret => CredentialKind::ClientSecret,
            Self::Keys | Self::JwksUrl(_) => CredentialKind::PrivateKeyJwt,
        }
    }
}

/// The settings of a new client.
#[derive(Clone, Debug)]
pub struct ClientSpec {
    pub name: Label,
    pub description: Description,
    pub authentication: Authentication,
    /// When `None`: the scopes of the plan, or none if the plan sets no limit.
    pub scopes: Option<ScopeSet>,
    pub token_ttl: TokenTtl,
    pub token_format: TokenFormat,
    /// The environment of the subscription when `None`.
    pub environment: Option<ApiKeyEnvironment>,
    /// When `None`: the built-in subscription for operators,
    /// otherwise the only subscription of the actor's organization.
    pub subscription: Option<SubscriptionId>,
}

/// A client and its secret, if it has one, which is shown once.
#[derive(Debug)]
pub struct ClientWithSecret {
    pub client: Versioned<ClientRecord>,
    pub secret: Option<Secret<String>>,
}

/// The fields of a client to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct ClientUpdate {
    pub name: Option<Label>,
    pub description: Option<Description>,
    pub scopes: Option<ScopeSet>,
    pub token_ttl: Option<TokenTtl>,
    pub token_format: Option<TokenFormat>,
    pub jwks_url: Option<JwksUrl>,
    /// `true` for active, `false` for disabled.
    pub active: Option<bool>,
}

impl From<ClientError> for RegistryError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NoSuchKey => Self::NotFound("key"),
            ClientError::NoJwksUrl
            | ClientError::Deleted
            | ClientError::AlreadyDisabled
            | ClientError::AlreadyActive
            | ClientError::NoSecret
            | ClientError::GraceRuns
            | ClientError::KeysFromUrl
            | ClientError::NoKeys
            | ClientError::KeyExists
            | ClientError::KeyRevoked
            | ClientError::TooManyKeys => Self::state_conflict(error.as_str(), error),
        }
    }
}

/// Checks that clients under `plan` may have their keys where `authentication` has them.
///
/// # Errors
/// The plan wants a JWKS URL, and the keys are registered here.
pub(super) fn check_key_place(plan: &Plan, authentication: &ClientAuthentication) -> Result<(), RegistryError> {
    if allows_keys(plan, authentication) {
        return Ok(());
    }
    let detail = format!("plan `{}` wants the keys of its clients behind a JWKS URL", plan.name);
    Err(RegistryError::beyond_plan("/jwks_url", detail))
}

/// Returns the spec of an existing client, to check the client against its plan again.
/// The spec omits the scopes: the caller adds them if it grants them anew.
pub(super) fn credential_spec(client: &ClientRecord) -> CredentialSpec<'_> {
    CredentialSpec {
        subscription: Some(&client.subscription),
        environment: Some(client.environment),
        kind: client.authentication.kind(),
        scopes: None,
    }
}

impl Registry {
    /// Creates a client.
    ///
    /// # Errors
    /// The subscription does not exist or is not in force; its plan does not allow this kind of client or these scopes.
    pub async fn create_client(
        &self,
        spec: &ClientSpec,
        stored_response: StoredResponseFn<'_, ClientRecord>,
    ) -> Result<ClientWithSecret, RegistryError> {
        retry_on_conflict(|| async {
            let placement = self
                .place(CredentialSpec {
                    subscription: spec.subscription.as_ref(),
                    environment: spec.environment,
                    kind: spec.authentication.kind(),
                    scopes: spec.scopes.as_ref(),
                })
                .await?;
            if let Authentication::Keys = spec.authentication {
                check_key_place(&placement.plan, &ClientAuthentication::Keys { keys: Vec::new() })?;
            }
            let (authentication, secret) = match &spec.authentication {
                Authentication::ClientSecret => {
                    let (secret, stored) = self.new_secret();
                    (
                        ClientAuthentication::ClientSecret { secrets: vec![stored] },
                        Some(secret),
                    )
                }
                Authentication::Keys => (ClientAuthentication::Keys { keys: Vec::new() }, None),
                Authentication::JwksUrl(url) => (ClientAuthentication::JwksUrl { url: url.to_string() }, None),
            };
            let subscription = &placement.subscription.record;
            let new = NewClient {
                id: ClientId::generate(&mut { self.random }),
                organization: subscription.organization.clone(),
                subscription: subscription.id.clone(),
                environment: placement.environment,
                name: spec.name.to_string(),
                description: spec.description.clone().into_string(),
                authentication,
                scopes: placement.scopes.clone(),
                token_ttl: spec.token_ttl,
                token_format: spec.token_format,
            };
            let record = ClientRecord::new(new, self.now);
            let client = self
                .insert_in_batch(placement.batch(), "client.create", record, stored_response)
                .await?;
            Ok(ClientWithSecret { client, secret })
        })
        .await
    }

    /// Returns a new secret, and its form in the store.
    fn new_secret(&self) -> (Secret<String>, ClientSecret) {
        let secret = client_secret::generate(&mut { self.random });
        let digest = client_secret::digest(&self.control.settings.load().digester, secret.expose());
        let stored = ClientSecret::new(digest, self.now).with_hint(client_secret::hint(secret.expose()));
        (secret, stored)
    }

    /// Returns the client of this id.
    ///
    /// # Errors
    /// No such client exists, or the actor may not see it.
    pub async fn client(&self, id: &ClientId) -> Result<Versioned<ClientRecord>, RegistryError> {
        let found = self.control.store.client(id).await?;
        self.visible(found.map(|client| self.control.revocations.amend_client(client, self.now)))
    }

    /// Returns a page of clients, sorted by id. Deleted clients
    /// are included, so that a token can be traced to its client.
    ///
    /// # Errors
    /// The filter names an organization that the actor may not see.
    pub async fn clients(
        &self,
        filter: Filter,
        page: &Page,
        condition: Option<Condition<'_, ClientRecord>>,
    ) -> Result<Vec<Versioned<ClientRecord>>, RegistryError> {
        let filter = &self.narrow_filter(filter)?;
        let store = &self.control.store;
        // Amended first: the condition is on the record as it is in force.
        let amend = |client| self.control.revocations.amend_client(client, self.now);
        page_of(
            |page| async move { Ok(store.clients(filter, &page).await?.into_iter().map(amend).collect()) },
            page,
            condition,
        )
        .await
    }

    /// Changes a client. Issued tokens keep the settings that they were issued with.
    ///
    /// # Errors
    /// No such client exists, or it is deleted; the plan does not allow the scopes;
    /// a JWKS URL is set for a client that was created without one.
    pub async fn change_client(
        &self,
        id: &ClientId,
        update: &ClientUpdate,
        expected: Option<Revision>,
    ) -> Result<Versioned<ClientRecord>, RegistryError> {
        retry_on_conflict(|| async {
            let found = check_revision(self.client(id).await?, expected)?;
            if let Some(scopes) = &update.scopes {
                let subscription = self.subscription(&found.record.subscription).await?;
                if let Some(plan) = self.plan(&subscription.record.plan) {
                    check_scopes(&plan, Some(scopes))?;
                }
            }
            let change = ClientChange {
                name: update.name.clone().map(Label::into_string),
                description: update.description.clone().map(Description::into_string),
                scopes: update.scopes.clone(),
                token_ttl: update.token_ttl,
                token_format: update.token_format,
                jwks_url: update.jwks_url.as_ref().map(ToString::to_string),
            };
            let mut changed = found.clone().try_map(|client| client.change(change, self.now))?;
            // The current state is not an error: a client program that writes the whole resource back always sends it.
            changed = match (update.active, changed.record.state) {
                (Some(true), ClientState::Disabled) => changed.try_map(|client| client.enable(self.now))?,
                (Some(false), ClientState::Active) => changed.try_map(|client| client.disable(self.now))?,
                (Some(_) | None, _) => changed,
            };
            let details = json!({ "name": changed.record.name });
            self.replace("client.change", &found.record, changed, details).await
        })
        .await
    }

    /// Deletes a client, also while the store cannot be written. Its tokens stay valid until they expire, or end now with
    /// [`IssuedTokens::End`].
    ///
    /// # Errors
    /// No such client exists, or it is deleted already.
    pub async fn delete_client(
        &self,
        id: &ClientId,
        tokens: IssuedTokens,
        expected: Option<Revision>,
    ) -> Result<RevocationOutcome<ClientRecord>, RegistryError> {
        let details = |name: &str| json!({ "name": name, "revoke_tokens": tokens == IssuedTokens::End });
        let with_store = retry_on_conflict(|| async {
            let found = check_revision(self.client(id).await?, expected)?;
            let deleted = found.clone().try_map(|client| client.delete(tokens, self.now))?;
            let details = details(&deleted.record.name);
            self.replace("client.delete", &found.record, deleted, details).await
        });
        let without_store = || {
            self.revocation_of_client(id, expected, "client.delete", |client| {
                let details = details(&client.name);
                Ok((client.delete(tokens, self.now)?, details))
            })
        };
        self.revoke_always(id.as_str(), with_store, without_store).await
    }

    /// Replaces the secret of a client; its id stays. The old secret ends at once or after the grace period (S071).
    ///
    /// # Errors
    /// No such client exists, it is deleted, or it has no secret; its subscription is cancelled, so that no secret would
    /// ever count; with a grace period: an earlier one has not ended yet.
    pub async fn rotate_client_secret(
        &self,
        id: &ClientId,
        grace: Grace,
        expected: Option<Revision>,
    ) -> Result<ClientWithSecret, RegistryError> {
        retry_on_conflict(|| async {
            let found = check_revision(self.client(id).await?, expected)?;
            let (secret, stored) = self.new_secret();
            let rotated = found
                .clone()
                .try_map(|client| client.rotate_secret(stored.clone(), grace, self.now))?;
            // A subscription that waits is no reason to keep a secret that leaked.
            if self.check_client(&found.record) == Err(SubscriptionCheckError::Standing(Standing::Cancelled)) {
                return Err(RegistryError::Standing(Standing::Cancelled));
            }
            let details = json!({ "grace_seconds": grace.duration().as_secs() });
            let client = self
                .replace("client.rotate_secret", &found.record, rotated, details)
                .await?;
            let secret = Some(secret);
            Ok(ClientWithSecret { client, secret })
        })
        .await
    }

    /// Replaces a client by a new one, with a new id and, if it has a secret, a new secret, and deletes the old one. See
    /// [`ClientRecord::regenerate`] for its keys.
    ///
    /// # Errors
    /// No such client exists, or it is deleted; its subscription is not in force, or the plan no longer
    /// allows the client's kind or scopes.
    pub async fn regenerate_client(
        &self,
        id: &ClientId,
        tokens: IssuedTokens,
        expected: Option<Revision>,
        stored_response: StoredResponseFn<'_, ClientRecord>,
    ) -> Result<ClientWithSecret, RegistryError> {
        retry_on_conflict(|| async {
            let found = check_revision(self.client(id).await?, expected)?;
            let spec = CredentialSpec {
                scopes: Some(&found.record.scopes),
                ..credential_spec(&found.record)
            };
            let placement = self.place(spec).await?;
            check_key_place(&placement.plan, &found.record.authentication)?;
            let (secret, stored) = self.new_secret();
            let new_id = ClientId::generate(&mut { self.random });
            let Versioned {
                record: before,
                revision,
            } = found;
            let (old, new) = before.clone().regenerate(new_id, stored, tokens, self.now)?;
            let details = json!({ "revoke_tokens": tokens == IssuedTokens::End });
            let old = Versioned { record: old, revision };
            let (batch, succession) = (placement.batch(), Succession { old, new });
            let action = "client.regenerate";
            let (_, client) = self
                .insert_successor(batch, action, &before, succession, details, stored_response)
                .await?;
            let secret = match before.authentication.kind() {
                CredentialKind::ClientSecret => Some(secret),
                CredentialKind::PrivateKeyJwt | CredentialKind::ApiKey => None,
            };
            Ok(ClientWithSecret { client, secret })
        })
        .await
    }

    /// Revokes every token that was issued to a client until now, also while the store cannot be written. The client may get
    /// new tokens.
    ///
    /// # Errors
    /// No such client exists.
    pub async fn revoke_client_tokens(
        &self,
        id: &ClientId,
        expected: Option<Revision>,
    ) -> Result<RevocationOutcome<ClientRecord>, RegistryError> {
        let with_store = retry_on_conflict(|| async {
            let found = check_revision(self.client(id).await?, expected)?;
            let ended = found.clone().map(|client| client.revoke_tokens(self.now));
            let details = json!({ "name": ended.record.name });
            self.replace("client.revoke_tokens", &found.record, ended, details)
                .await
        });
        let without_store = || {
            self.revocation_of_client(id, expected, "client.revoke_tokens", |client| {
                let details = json!({ "name": client.name });
                Ok((client.revoke_tokens(self.now), details))
            })
        };
        self.revoke_always(id.as_str(), with_store, without_store).await
    }
}
