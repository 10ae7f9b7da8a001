//! Whose credential it is; gives [`Principal`].

mod identity;
pub mod jwks_cache;

pub use identity::{
    ApiKeyIdentity, BucketKeys, CredentialType, Identity, IdentityHeaders, TokenIdentity, bucket_key, header_value,
};

use std::sync::Arc;

/// Who a credential was proved to belong to. Only this stage can make one, so holding it proves that the stage ran.
#[derive(Clone, Debug)]
pub struct Principal {
    identity: Arc<Identity>,
}

impl Principal {
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}
