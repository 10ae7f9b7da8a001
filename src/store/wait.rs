//! How long does a revocation wait for the disk?

use crate::store::StoreError;
use std::time::Duration;

const STORE_WAIT: Duration = Duration::from_secs(5);

/// Returns the outcome of `work` on the store, or an error once [`STORE_WAIT`] is over: a revocation must take effect although the
/// disk hangs. The store may still do later what `work` has sent to it.
///
/// # Errors
/// Those of `work`; [`StoreError::Unavailable`] after the wait.
pub async fn within_store_wait<T, E: From<StoreError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    match tokio::time::timeout(STORE_WAIT, work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let waited = STORE_WAIT.as_secs();
            Err(StoreError::Unavailable(format!("no answer within {waited} s")).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_is_not_available_after_a_while() {
        let outcome = within_store_wait(std::future::pending::<Result<(), StoreError>>()).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
        assert!(within_store_wait(async { Ok::<_, StoreError>(1) }).await.is_ok());
    }
}
