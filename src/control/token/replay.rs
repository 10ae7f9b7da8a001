//! Was this assertion used before (RFC 7523 section 3, `jti`)? The store
//! knows, across restarts; a cache of used assertions saves queries.

use crate::control::token::error::TokenEndpointError;
use crate::model::id::ClientId;
use crate::store::AssertionMark;
use crate::store::Store;
use quick_cache::sync::Cache;

/// The number of used assertions in memory; the store is queried for others.
const USED_MAX: usize = 64 * 1024;

/// The cache of used assertions: the client and the SHA-256 of `jti`, in hexadecimal digits.
#[derive(Debug)]
pub struct UsedAssertions(Cache<(ClientId, String), ()>);

impl Default for UsedAssertions {
    fn default() -> Self {
        Self(Cache::new(USED_MAX))
    }
}

impl UsedAssertions {
    /// Marks the assertion as used. Call this after all other checks: an
    /// assertion that is refused for another reason stays usable (S122).
    ///
    /// # Errors
    /// The assertion was used before, possibly before a restart; or the store is not available.
    pub async fn mark(&self, store: &dyn Store, mark: &AssertionMark) -> Result<(), TokenEndpointError> {
        let key = (mark.client.clone(), mark.id.to_hex());
        if self.0.get(&key).is_some() {
            return Err(TokenEndpointError::AssertionReplayed);
        }
        let first = store.mark_assertion(mark).await.map_err(|error| {
            tracing::error!(%error, "Assertion cannot be marked as used; no token is given for it");
            TokenEndpointError::StoreUnavailable
        })?;
        self.0.insert(key, ());
        if first {
            Ok(())
        } else {
            Err(TokenEndpointError::AssertionReplayed)
        }
    }
}
