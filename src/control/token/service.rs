//! Which state do all requests to the token endpoint share?

use crate::config::TokenEndpoint;
use crate::control::Control;
use crate::control::Settings;
use crate::control::token::client_jwks::ClientJwks;
use crate::control::token::error::TokenEndpointError;
use crate::control::token::failures::Failures;
use crate::control::token::replay::UsedAssertions;
use std::sync::Arc;

/// The token endpoint with the state that its requests share.
pub(super) struct Service {
    pub(super) control: Arc<Control>,
    pub(super) client_jwks: Arc<dyn ClientJwks>,
    pub(super) failures: Failures,
    pub(super) used: UsedAssertions,
}

impl Service {
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.control.settings.load_full()
    }
}

/// Returns the configuration of the token endpoint.
///
/// # Errors
/// [`TokenEndpointError::NoSigningKey`] if there is none.
pub(super) fn endpoint(settings: &Settings) -> Result<&TokenEndpoint, TokenEndpointError> {
    settings.token_endpoint.as_ref().ok_or(TokenEndpointError::NoSigningKey)
}
