//! How are the counts of limits stored? All buckets of a limit in one record, which the store does not look into.

use crate::model::names::Name;
use crate::model::secret::Secret;

/// The requests that one limit has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitCounts {
    pub limit: Name,
    /// The key of the hashes by which the buckets are named.
    pub hash_key: Secret<Vec<u8>>,
    /// The buckets, in the format of `limit::saved`.
    pub buckets: Vec<u8>,
}
