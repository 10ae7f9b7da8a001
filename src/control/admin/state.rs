//! What do the handlers work on?

use crate::control::Control;
use crate::control::admin::access::Access;
use crate::control::admin::access::OwnTokens;
use crate::control::admin::issuer_health::Issuers;
use crate::control::token::client_jwks::ClientJwks;
use crate::model::clock::Clock;
use std::sync::Arc;

/// What the API works on.
pub struct Parts {
    /// `None` where the configuration has no `store`: then there are the issuers and nothing else.
    pub control: Option<Arc<Control>>,
    pub issuers: Arc<dyn Issuers>,
    pub access: Arc<Access>,
    /// Fetches the keys behind clients' URLs; `None` where nothing fetches (the command line on a store of its own).
    pub client_jwks: Option<Arc<dyn ClientJwks>>,
    pub clock: Arc<dyn Clock>,
}

/// The state of every handler.
pub(super) struct Api {
    pub(super) parts: Parts,
    pub(super) tokens: Option<Arc<dyn OwnTokens>>,
    /// The description, as JSON.
    pub(super) description: Vec<u8>,
}
