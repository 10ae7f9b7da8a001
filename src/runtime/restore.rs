//! How does a command put a backup in the place of the store? Where no gate runs on it, and with the revocations of its log.

use crate::config::Config;
use crate::control::registry::Actor;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::model::api_key::system_random;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::directory::Directory;
use crate::runtime::first_administrator::SecretPlace;
use crate::runtime::follow_store;
use crate::runtime::follow_store::StoreStartError;
use crate::runtime::local_user;
use crate::store::StoreError;
use crate::store::revocations::ReconciliationReport;
use crate::store::sqlite::restore;
use crate::store::sqlite::restore::ExistingDatabase;
use crate::store::sqlite::restore::RestoreError;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Builder;

/// A store after a backup has taken its place.
#[derive(Debug)]
pub struct RestoredStore {
    /// The new name of the database that stood there.
    pub replaced: Option<PathBuf>,
    /// The revocations and events that the log of revocations had and the backup lacked.
    pub report: ReconciliationReport,
}

/// Why a backup cannot take the place of the store, or cannot be used there.
#[derive(Debug, thiserror::Error)]
pub enum RestoreStoreError {
    #[error("the configuration has no `store`")]
    NoStore,
    #[error("no runtime: {0}")]
    Runtime(std::io::Error),
    #[error(transparent)]
    Restore(RestoreError),
    /// The backup is in its place.
    #[error("the backup is in its place, and no gate can start on it: {0}")]
    Open(StoreStartError),
    #[error("the backup is in its place, and the audit log does not say so: {0}")]
    Audit(RegistryError),
}

impl RestoreStoreError {
    /// Returns whether another process has the store open. A later attempt may then succeed.
    pub const fn is_in_use(&self) -> bool {
        matches!(
            self,
            Self::Restore(RestoreError::InUse(_)) | Self::Open(StoreStartError::Store(StoreError::InUse(_)))
        )
    }
}

/// Puts a copy of `backup` in the place of the store of `config`, revokes what the log of revocations has, and records it.
///
/// # Errors
/// See [`RestoreStoreError`].
pub fn restore_store(
    config: &Config,
    backup: &Path,
    existing: ExistingDatabase,
) -> Result<RestoredStore, RestoreStoreError> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(RestoreStoreError::Runtime)?;
    runtime.block_on(restore_and_open(config, backup, existing))
}

async fn restore_and_open(
    config: &Config,
    backup: &Path,
    existing: ExistingDatabase,
) -> Result<RestoredStore, RestoreStoreError> {
    let store = config.store.as_ref().ok_or(RestoreStoreError::NoStore)?;
    let replaced = restore::restore(backup, &store.path, existing).await;
    let replaced = replaced.map_err(RestoreStoreError::Restore)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let directory = Arc::new(Directory::new());
    let opened = follow_store::open(config, &directory, &clock, SecretPlace::of_stderr(), None).await;
    let opened = opened
        .map_err(RestoreStoreError::Open)?
        .ok_or(RestoreStoreError::NoStore)?;
    let control = opened.control;
    let actor = Actor::local(&local_user::own());
    let registry = Registry::new(Arc::clone(&control), actor, clock.now().wall, system_random);
    let recorded = registry.record_restore(backup).await;
    let _ = control.revocations.record_audit_head(&*control.store).await;
    control.store.close().await;
    recorded.map_err(RestoreStoreError::Audit)?;
    Ok(RestoredStore {
        replaced,
        report: opened.report,
    })
}
