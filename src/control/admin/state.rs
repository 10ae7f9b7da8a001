//! Which state do the handlers share?

use crate::control::Control;
use crate::control::admin::access::Access;
use crate::control::admin::access::AccessTokenVerifier;
use crate::control::admin::issuer_health::Issuers;
use crate::control::admin::upstream_health::Upstreams;
use crate::control::key_verdict::KeyVerifier;
use crate::control::token::client_jwks::ClientJwks;
use crate::model::clock::Clock;
use std::sync::Arc;

/// The dependencies of the API.
pub struct AdminDependencies {
    /// `None` if the configuration has no `store`: then only the issuers, the upstreams and the API description are available.
    pub control: Option<Arc<Control>>,
    pub issuers: Arc<dyn Issuers>,
    pub upstreams: Arc<dyn Upstreams>,
    pub access: Arc<Access>,
    /// The fetcher of clients' key sets; `None` if nothing fetches (the command line on a store without a gate).
    pub client_jwks: Option<Arc<dyn ClientJwks>>,
    /// The verifier of API keys; `None` without a running gate.
    pub keys: Option<Arc<dyn KeyVerifier>>,
    pub clock: Arc<dyn Clock>,
}

/// The state of every handler.
pub(super) struct Api {
    pub(super) parts: AdminDependencies,
    pub(super) tokens: Option<Arc<dyn AccessTokenVerifier>>,
    /// The API description, as JSON.
    pub(super) description: Vec<u8>,
}
