//! Was this assertion used before (RFC 7523 section 3, `jti`)? The store knows, over restarts; memory spares asking it
//! again for what is known to be used.

use crate::control::token::error::TokenEndpointError;
use crate::model::id::ClientId;
use crate::store::AssertionMark;
use crate::store::Store;
use quick_cache::sync::Cache;

/// Used assertions remembered here; of the others the store is asked.
const USED_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub struct UsedAssertions(Cache<(ClientId, String), ()>);

impl Default for UsedAssertions {
    fn default() -> Self {
        Self(Cache::new(USED_MAX))
    }
}

impl UsedAssertions {
    /// Marks the assertion as used. To be called when nothing else is in the way of what is given for it: an assertion that
    /// is refused for another reason stays as good as it was (S122).
    ///
    /// # Errors
    /// It was used before, here or before a restart; or the store cannot say.
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
