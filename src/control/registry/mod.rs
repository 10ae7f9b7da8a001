//! Every operation on organizations, subscriptions, keys and clients. A change reads records, applies a pure
//! transition, and commits the result with its audit event; when it returns, the change is in force.

pub mod actor;
pub mod text;
pub mod error;
pub mod audit_fields;
pub mod change;
pub mod revoke;
pub mod prepare;
mod placement;
pub mod organizations;
pub mod subscriptions;
pub mod api_keys;
pub mod jwks_url;
pub mod clients;
pub mod client_keys;
pub mod signing_keys;
pub mod audit;
pub mod backup;

pub use actor::Actor;
pub use change::Condition;
pub use change::StoredResponseFn;
pub use error::RegistryError;
pub use error::ValidationError;
pub use error::ValidationErrors;
pub use prepare::FirstAdministrator;
pub use revoke::RevocationOutcome;

use crate::control::Control;
use crate::control::registry::actor::Visibility;
use crate::control::standing::SubscriptionCheckError;
use crate::control::standing::assertion_algorithms;
use crate::control::standing::check_client;
use crate::control::standing::check_subscription;
use crate::control::token::client_jwks::ClientJwks;
use crate::control::token::client_jwks::JwksHealth;
use crate::model::algorithm::Algorithm;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::plan::CredentialKind;
use crate::model::plan::DEFAULT;
use crate::model::plan::Plan;
use crate::model::subscription::Standing;
use crate::store::Filter;
use crate::store::StoredResponse;
use crate::store::record::ApiKeyRecord;
use crate::store::record::ClientRecord;
use crate::store::record::SubscriptionRecord;
use std::net::IpAddr;
use std::sync::Arc;

/// A function that fills its argument with random bytes; outside tests it is [`crate::model::api_key::system_random`].
pub type Random = fn(&mut [u8]);

/// The operations of one actor at one instant.
#[derive(Clone)]
pub struct Registry {
    control: Arc<Control>,
    actor: Actor,
    now: Timestamp,
    random: Random,
    client_jwks: Option<Arc<dyn ClientJwks>>,
}

impl Registry {
    pub const fn new(control: Arc<Control>, actor: Actor, now: Timestamp, random: Random) -> Self {
        Self {
            control,
            actor,
            now,
            random,
            client_jwks: None,
        }
    }

    /// Adds the fetcher of clients' key sets, which knows how they are.
    pub fn with_client_jwks(self, client_jwks: Option<Arc<dyn ClientJwks>>) -> Self {
        Self { client_jwks, ..self }
    }

    /// Returns the health of the key set of `client` at `url`; `None` where nothing fetches.
    pub fn jwks_health(&self, client: &ClientId, url: &str) -> Option<JwksHealth> {
        let client_jwks = self.client_jwks.as_ref()?;
        Some(client_jwks.health(client, url))
    }

    /// Checks that its subscription and its plan allow the use of a key now.
    ///
    /// # Errors
    /// Why they do not.
    pub fn check_key(&self, key: &ApiKeyRecord) -> Result<(), SubscriptionCheckError> {
        let kind = CredentialKind::ApiKey;
        check_subscription(&self.control, &key.subscription, key.environment, kind)
    }

    /// Checks that its subscription and its plan give a client tokens now.
    ///
    /// # Errors
    /// Why they do not.
    pub fn check_client(&self, client: &ClientRecord) -> Result<(), SubscriptionCheckError> {
        check_client(&self.control, client)
    }

    /// Returns the kinds of credential that a subscription's plan gives; none where the plan is gone.
    pub fn credential_kinds(&self, subscription: &SubscriptionRecord) -> Vec<CredentialKind> {
        let plan = self.plan(&subscription.plan);
        let is_given = |kind: &CredentialKind| plan.as_ref().is_some_and(|plan| plan.credentials.contains(*kind));
        CredentialKind::ALL.into_iter().filter(is_given).collect()
    }

    /// Checks that credentials of `environment` can be made and used under a subscription now.
    ///
    /// # Errors
    /// Why they cannot.
    pub fn check_environment(
        &self,
        subscription: &SubscriptionRecord,
        environment: ApiKeyEnvironment,
    ) -> Result<(), SubscriptionCheckError> {
        let plan = self.plan(&subscription.plan);
        match subscription.to_subscription().standing(plan.as_ref(), environment) {
            Standing::Good => Ok(()),
            standing => Err(SubscriptionCheckError::Standing(standing)),
        }
    }

    /// Returns the algorithms that assertions of clients under `subscription` may be signed with.
    pub fn assertion_algorithms(&self, subscription: &SubscriptionId) -> Vec<Algorithm> {
        assertion_algorithms(&self.control, subscription)
    }

    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns the source address of the actor; `None` if the request did not come over the network.
    pub const fn from(&self) -> Option<IpAddr> {
        self.actor.from()
    }

    /// Returns whether the actor may see a key of `organization`; a key without one is for operators.
    pub fn sees_organization(&self, organization: Option<&str>) -> bool {
        match organization.map(str::parse::<Name>) {
            Some(Ok(organization)) => self.actor.sees(&organization),
            Some(Err(_)) | None => self.actor.is_operator(),
        }
    }

    /// Returns `api_keys.prefix`, for showing keys.
    pub fn key_prefix(&self) -> String {
        self.control.settings.load().key_prefix.clone()
    }

    /// Returns whether a client's JWKS URL may be plain http.
    pub fn allows_http_jwks(&self) -> bool {
        let settings = self.control.settings.load();
        settings
            .token_endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.client_jwks.allow_http)
    }

    /// Returns the URL at which clients of `organization` get tokens; `None` without a token endpoint.
    pub fn token_url(&self, organization: &Name) -> Option<String> {
        let settings = self.control.settings.load();
        let endpoint = settings.token_endpoint.as_ref()?;
        Some(if endpoint.global_endpoint.serves(organization) {
            endpoint.token_url()
        } else {
            endpoint.tenant_token_url(organization.as_str())
        })
    }

    /// Returns the response stored under an idempotency key, if any.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn stored_response(&self, key: &str) -> Result<Option<StoredResponse>, RegistryError> {
        Ok(self.control.store.stored_response(key).await?)
    }

    /// Returns the organization to which a list is restricted: the requested
    /// one, or the only one that the actor may see; `None` for all.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if the actor may not see the requested organization.
    fn narrow(&self, organization: Option<Name>) -> Result<Option<Name>, RegistryError> {
        match (self.actor.reach(), organization) {
            (Visibility::All, requested) => Ok(requested),
            (Visibility::Organization(own), Some(requested)) if requested != *own => {
                Err(RegistryError::NotFound("organization"))
            }
            (Visibility::Organization(own), _) => Ok(Some(own.clone())),
        }
    }

    /// Returns `filter`, restricted by [`Self::narrow`].
    fn narrow_filter(&self, filter: Filter) -> Result<Filter, RegistryError> {
        Ok(Filter {
            organization: self.narrow(filter.organization)?,
            ..filter
        })
    }

    /// Returns a plan of the configuration in force.
    fn plan(&self, name: &Name) -> Option<Plan> {
        self.control.settings.load().plans.get(name).cloned()
    }
}

/// Returns the name of the built-in organization `default`.
fn default_name() -> Name {
    DEFAULT.parse().expect("it is a name")
}
