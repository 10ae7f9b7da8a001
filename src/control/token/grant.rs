//! Which scopes does this client get (RFC 6749 section 4.4)?
//! Only an active client with a subscription in force gets any.

use crate::config::TokenEndpoint;
use crate::config::token_endpoint::resource_of;
use crate::control::Control;
use crate::control::clients::Client;
use crate::control::standing;
use crate::control::standing::SubscriptionCheckError;
use crate::control::token::client_auth::AuthenticatedClient;
use crate::control::token::error::TokenEndpointError;
use crate::control::token::request::Form;
use crate::model::clock::Timestamp;
use crate::model::scope::ScopeSet;
use crate::store::record::client::ClientState;
use std::sync::Arc;

const CLIENT_CREDENTIALS: &str = "client_credentials";

/// Checks the grant type. Only one grant is supported, so parameters of other grants have no effect (S131, S141).
///
/// # Errors
/// The grant type is missing, or is not `client_credentials`.
pub fn check_type(form: &Form) -> Result<(), TokenEndpointError> {
    match form.get("grant_type") {
        Some(CLIENT_CREDENTIALS) => Ok(()),
        Some(_) => Err(TokenEndpointError::GrantType),
        None => Err(TokenEndpointError::Missing("grant_type")),
    }
}

/// Returns the latest revision of the client, if the client, its proof and its subscription are still in force (S134).
///
/// # Errors
/// The client is disabled or deleted, its proof is no longer valid, its plan does
/// not allow its kind of credential, or its subscription is not in force.
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
    match standing::check_client(control, &client.record) {
        Ok(()) => Ok(client),
        Err(SubscriptionCheckError::Standing(standing)) => Err(TokenEndpointError::Standing(standing)),
        Err(SubscriptionCheckError::KindNotInPlan) => Err(TokenEndpointError::KindNotInPlan),
    }
}

/// Returns what the token is good for: the configured audiences that `resource` chooses, or the default ones without it
/// (RFC 8707 section 2).
///
/// # Errors
/// A `resource` is not an absolute URI without a fragment, or is none of the configured audiences.
pub fn audiences(form: &Form, endpoint: &TokenEndpoint) -> Result<Vec<String>, TokenEndpointError> {
    let mut chosen: Vec<&String> = Vec::new();
    for resource in form.resources() {
        let resource = resource_of(resource).ok_or(TokenEndpointError::ResourceMalformed)?;
        let named = |audience: &&String| resource_of(audience) == Some(resource);
        let audience = endpoint.audiences.iter().find(named);
        chosen.push(audience.ok_or(TokenEndpointError::ResourceUnknown)?);
    }
    if chosen.is_empty() {
        return Ok(endpoint.default_audiences.clone());
    }
    // Each once, and in the order of the configuration: a repeated `resource` changes nothing.
    let audiences = endpoint.audiences.iter().filter(|audience| chosen.contains(audience));
    Ok(audiences.cloned().collect())
}

/// Returns the requested scopes, or all scopes of the client if none are requested (RFC 6749 section 3.3). Never grants
/// more, and never silently fewer (S130).
///
/// # Errors
/// The parameter is not a list of scopes, or names a scope that the client does not have.
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
