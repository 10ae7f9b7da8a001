//! How does a command use the admin API where no gate runs? The command's process opens and locks the store.

use crate::config::Config;
use crate::control::Control;
use crate::control::admin;
use crate::control::admin::AdminDependencies;
use crate::control::admin::access::Access;
use crate::control::admin::access::Peer;
use crate::control::admin::issuers::NoIssuers;
use crate::control::admin::upstreams::NoUpstreams;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::directory::Directory;
use crate::runtime::first_administrator::AdministratorNotice;
use crate::runtime::first_administrator::SecretPlace;
use crate::runtime::follow_store;
use crate::runtime::follow_store::StoreStartError;
use crate::runtime::local_user;
use crate::store::StoreError;
use axum::Extension;
use axum::Router;
use std::sync::Arc;

/// The admin API of a store that no gate has open.
pub struct LocalAdmin {
    pub router: Router,
    pub store: LocalStore,
    /// `Some` if this call created the store with a first administrator.
    pub administrator: Option<AdministratorNotice>,
}

/// The store behind a [`LocalAdmin`], which its process must close.
pub struct LocalStore(Arc<Control>);

impl LocalStore {
    /// Moves the WAL into the database, so that the database alone is the whole store again, and lets other processes in.
    pub async fn close(&self) {
        follow_store::close_store(&self.0).await;
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the configuration has no `store`")]
    NoStore,
    #[error(transparent)]
    Store(#[from] StoreStartError),
}

impl OpenError {
    /// Returns whether another process has the store open. A later attempt may then succeed.
    pub const fn is_in_use(&self) -> bool {
        matches!(self, Self::Store(StoreStartError::Store(StoreError::InUse(_))))
    }
}

/// Opens the store of `config` as a gate does, and returns its admin API. The secret of a first administrator goes to
/// `place`. Requests have the rights of [`Peer::Local`], and are made
/// by the user of this process.
///
/// # Errors
/// `config` has no store, another process has the store open, or the store or its signing keys cannot be read.
pub async fn open(config: &Config, place: SecretPlace) -> Result<LocalAdmin, OpenError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let directory = Arc::new(Directory::new());
    let store = follow_store::open(config, &directory, &clock, place, None).await?;
    let store = store.ok_or(OpenError::NoStore)?;
    // This process ends with its command: a revocation that only it would know is none.
    store.control.revocations.require_log();
    let router = admin::router(AdminDependencies {
        control: Some(Arc::clone(&store.control)),
        issuers: Arc::new(NoIssuers),
        upstreams: Arc::new(NoUpstreams),
        access: Arc::new(Access::new(None)),
        client_jwks: None,
        keys: None,
        clock,
    });
    Ok(LocalAdmin {
        router: router.layer(Extension(Peer::Local(local_user::own()))),
        store: LocalStore(store.control),
        administrator: store.administrator,
    })
}
