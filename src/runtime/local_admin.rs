//! How is the admin API asked where no gate runs? On the store itself, opened in this process and locked against every
//! other.

use crate::config::Config;
use crate::control::admin;
use crate::control::admin::Parts;
use crate::control::admin::access::Access;
use crate::control::admin::access::Peer;
use crate::control::admin::issuers::NoIssuers;
use crate::control::registry::FirstAdministrator;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::directory::Directory;
use crate::runtime::follow_store;
use crate::runtime::follow_store::StoreStartError;
use crate::store::StoreError;
use axum::Extension;
use axum::Router;
use std::sync::Arc;

/// The admin API of a store that no gate has open.
pub struct LocalAdmin {
    pub router: Router,
    /// To be shown once: the store was not there before.
    pub first_administrator: Option<FirstAdministrator>,
}

/// Why a store cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the configuration has no `store`")]
    NoStore,
    #[error(transparent)]
    Store(#[from] StoreStartError),
}

impl OpenError {
    /// Whether somebody else has it, so that trying again later may help.
    pub const fn is_in_use(&self) -> bool {
        matches!(self, Self::Store(StoreStartError::Store(StoreError::InUse(_))))
    }
}

/// Opens the store of `config` as a gate would, and gives its admin API. Whoever holds it is `local`.
///
/// # Errors
/// A store that another process has open or that cannot be read, signing keys that cannot be read.
pub async fn open(config: &Config) -> Result<LocalAdmin, OpenError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let directory = Arc::new(Directory::new());
    let store = follow_store::open(config, &directory, &clock).await?;
    let store = store.ok_or(OpenError::NoStore)?;
    let router = admin::router(Parts {
        control: Some(store.control),
        issuers: Arc::new(NoIssuers),
        access: Arc::new(Access::new(None)),
        client_jwks: None,
        clock,
    });
    Ok(LocalAdmin {
        router: router.layer(Extension(Peer::Local)),
        first_administrator: store.first_administrator,
    })
}
