//! Which records does a new store contain? The built-in organizations
//! with their subscriptions, and the first administrator.

use crate::control::Control;
use crate::control::registry::Actor;
use crate::control::registry::Random;
use crate::control::registry::audit_fields::AuditFields;
use crate::control::registry::default_name;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::client_secret;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::plan::OPERATORS;
use crate::model::scope::ScopeSet;
use crate::model::secret::Secret;
use crate::model::subscription::SubscriptionState;
use crate::store::Batch;
use crate::store::StoreError;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::ClientRecord;
use crate::store::record::NewAuditEvent;
use crate::store::record::OrganizationRecord;
use crate::store::record::SubscriptionRecord;
use crate::store::record::client::ClientAuthentication;
use crate::store::record::client::ClientSecret;
use crate::store::record::client::TokenFormat;
use crate::store::record::client::TokenTtl;
use crate::store::record::client_changes::NewClient;
use serde_json::Map;
use serde_json::Value;

/// The credentials of the first administrator. The operator gets them once, at
/// the gate's first start; the store has only a digest of the secret.
#[derive(Debug)]
pub struct FirstAdministrator {
    pub client_id: ClientId,
    pub client_secret: Secret<String>,
}

/// Returns `sub_default`, the subscription of credentials that operators create without naming a subscription.
pub fn default_subscription_id() -> SubscriptionId {
    "sub_default".parse().expect("it is an id")
}

/// Returns `sub_operators`, the subscription of the gate's administrators.
pub fn operators_subscription_id() -> SubscriptionId {
    "sub_operators".parse().expect("it is an id")
}

/// Returns whether the subscription was created by [`prepare`], and so cannot be cancelled.
pub fn is_built_in(id: &SubscriptionId) -> bool {
    *id == default_subscription_id() || *id == operators_subscription_id()
}

pub(super) fn operators_name() -> Name {
    OPERATORS.parse().expect("it is a name")
}

impl FirstAdministrator {
    pub fn generate(random: Random) -> Self {
        Self {
            client_id: ClientId::generate(&mut { random }),
            client_secret: client_secret::generate(&mut { random }),
        }
    }

    /// Returns the credentials as lines `client_id=…` and `client_secret=…`, which a shell can read.
    pub fn text(&self) -> Secret<String> {
        let (id, secret) = (&self.client_id, self.client_secret.expose());
        Secret::new(format!("client_id={id}\nclient_secret={secret}\n"))
    }

    fn client(&self, control: &Control, now: Timestamp) -> ClientRecord {
        let secret = self.client_secret.expose();
        let digest = client_secret::digest(&control.settings.load().digester, secret);
        let secret = ClientSecret::new(digest, now).with_hint(client_secret::hint(secret));
        ClientRecord::new(
            NewClient {
                id: self.client_id.clone(),
                organization: operators_name(),
                subscription: operators_subscription_id(),
                environment: ApiKeyEnvironment::Live,
                name: "First administrator".to_owned(),
                description: "Made at the first start".to_owned(),
                authentication: ClientAuthentication::ClientSecret { secrets: vec![secret] },
                scopes: "admin:read admin:write".parse::<ScopeSet>().expect("these are scopes"),
                token_ttl: TokenTtl::default(),
                token_format: TokenFormat::default(),
            },
            now,
        )
    }
}

/// Returns whether [`prepare`] has filled the store, in this process or an earlier one.
///
/// # Errors
/// Those of the store.
pub async fn is_prepared(control: &Control) -> Result<bool, StoreError> {
    Ok(control.store.organization(&operators_name()).await?.is_some())
}

/// Creates the organizations `default` and `operators`, their subscriptions and the client of `administrator`, if any,
/// in one transaction.
///
/// # Errors
/// Those of the store; the store is filled already.
pub async fn prepare(
    control: &Control,
    administrator: Option<&FirstAdministrator>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut writes = Vec::new();
    for (name, title, subscription) in [
        (default_name(), "Default", default_subscription_id()),
        (operators_name(), "Operators", operators_subscription_id()),
    ] {
        writes.push(Write::Organization(Versioned::new(OrganizationRecord::new(
            name.clone(),
            title.to_owned(),
            now,
        ))));
        writes.push(Write::Subscription(Versioned::new(SubscriptionRecord {
            id: subscription,
            // The plan of the same name: built in, or from the configuration.
            plan: name.clone(),
            organization: name,
            environment: ApiKeyEnvironment::Live,
            state: SubscriptionState::Active,
            paid: false,
            created_at: now,
            changed_at: now,
        })));
    }
    let mut details = Map::new();
    if let Some(administrator) = administrator {
        let client = administrator.client(control, now);
        details.extend(client.audit_fields());
        details.insert("first_administrator".to_owned(), client.id.as_str().into());
        writes.push(Write::Client(Versioned::new(client)));
    }
    let event = NewAuditEvent {
        at: now,
        actor: Actor::gate().name().to_owned(),
        from: None,
        action: "store.prepare",
        target: administrator.map_or(OPERATORS, |one| one.client_id.as_str()).to_owned(),
        organization: Some(operators_name()),
        details: Value::Object(details),
    };
    let batch = Batch {
        writes,
        event: Some(event),
        ..Batch::default()
    };
    control.commit(batch).await
}
