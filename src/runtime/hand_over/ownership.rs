//! Which process has the store, and answers what needs it?

use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::OwnedRwLockReadGuard;
use tokio::sync::OwnedRwLockWriteGuard;
use tokio::sync::RwLock;

/// The process that has the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOwner {
    This,
    /// It takes calls of the token endpoint at this socket.
    Successor(PathBuf),
}

/// The owner of the store, for calls that need it. They wait while the store changes hands.
#[derive(Clone, Debug)]
pub struct Ownership(Arc<RwLock<StoreOwner>>);

impl Default for Ownership {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(StoreOwner::This)))
    }
}

impl Ownership {
    /// Returns the owner, which stays so until the guard is dropped.
    pub async fn current(&self) -> OwnedRwLockReadGuard<StoreOwner> {
        Arc::clone(&self.0).read_owned().await
    }

    /// Waits until no call uses the store, and lets further ones wait until the guard is dropped.
    pub(super) async fn suspend(&self) -> OwnedRwLockWriteGuard<StoreOwner> {
        Arc::clone(&self.0).write_owned().await
    }
}
