//! What may this client have (RFC 6749 section 4.4)? Whether it and its subscription count now, and which scopes.

use crate::control::Control;
use crate::control::clients::Client;
use crate::control::token::client_auth::AuthenticatedClient;
use crate::control::token::error::TokenEndpointError;
use crate::control::token::request::Form;
use crate::model::clock::Timestamp;
use crate::model::scope::ScopeSet;
use crate::model::subscription::Standing;
use crate::store::record::client::ClientState;
use std::sync::Arc;

const CLIENT_CREDENTIALS: &str = "client_credentials";

/// Only one grant is there, so nothing of another one has any effect (S131, S141).
///
/// # Errors
/// Another one, or none.
pub fn check_type(form: &Form) -> Result<(), TokenEndpointError> {
    match form.get("grant_type") {
        Some(CLIENT_CREDENTIALS) => Ok(()),
        Some(_) => Err(TokenEndpointError::GrantType),
        None => Err(TokenEndpointError::Missing("grant_type")),
    }
}

/// The client as it is at this instant, if it still counts, and its subscription with it (S134).
///
/// # Errors
/// It is disabled or deleted, its proof is none any more, its plan does not allow what it is, or its subscription is not
/// in force.
pub fn client_in_force(
    control: &Control,
    authenticated: &AuthenticatedClient,
    now: Timestamp,
) -> Result<Arc<Client>, TokenEndpointError> {
    let client = control
        .clients
        .get(authenticated.id())
        .ok_or(TokenEndpointError::UnknownClient)?;
    match client.record.state {
        ClientState::Active => {}
        ClientState::Disabled => return Err(TokenEndpointError::Disabled),
        ClientState::Deleted => return Err(TokenEndpointError::UnknownClient),
    }
    if !authenticated.still_holds(&client, now) {
        return Err(TokenEndpointError::ProofEnded);
    }
    match check_subscription(control, &client) {
        Ok(()) => Ok(client),
        Err(SubscriptionCheckError::Standing(standing)) => Err(TokenEndpointError::Standing(standing)),
        Err(SubscriptionCheckError::KindNotInPlan) => Err(TokenEndpointError::KindNotInPlan),
    }
}

/// Why a client has nothing to hold its credentials with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionCheckError {
    Standing(Standing),
    KindNotInPlan,
}

/// Whether the client's subscription is in force, and its plan allows what the client is. From memory.
///
/// # Errors
/// Why not. A client without its subscription is none that was made here, and has what one of a cancelled one has.
pub fn check_subscription(control: &Control, client: &Client) -> Result<(), SubscriptionCheckError> {
    let record = &client.record;
    let subscription = control.directory.subscription(&record.subscription);
    let subscription = subscription.ok_or(SubscriptionCheckError::Standing(Standing::Cancelled))?;
    let settings = control.settings.load();
    let plan = settings.plans.get(&subscription.plan);
    match subscription.standing(plan, record.environment) {
        Standing::Good => {}
        standing => return Err(SubscriptionCheckError::Standing(standing)),
    }
    let kind = record.authentication.kind();
    if plan.is_some_and(|plan| plan.credentials.contains(kind)) {
        Ok(())
    } else {
        Err(SubscriptionCheckError::KindNotInPlan)
    }
}

/// The scopes that are asked for; where none are, all that the client may have (RFC 6749 section 3.3). Never more, and
/// never silently fewer (S130).
///
/// # Errors
/// A text that is no list of scopes, or one that the client may not have.
pub fn scopes(form: &Form, client: &Client) -> Result<ScopeSet, TokenEndpointError> {
    let allowed = &client.record.scopes;
    let Some(requested) = form.get("scope") else {
        return Ok(allowed.clone());
    };
    let requested = ScopeSet::parse_list(requested).map_err(|_| TokenEndpointError::ScopeMalformed)?;
    if requested.iter().all(|scope| allowed.contains(scope)) {
        Ok(requested)
    } else {
        Err(TokenEndpointError::ScopeBeyond)
    }
}
