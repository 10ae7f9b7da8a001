//! Which types do all modules share? None is async or knows the configuration file; only `replacement` does I/O.

pub mod clock;
pub mod secret;
pub mod hex;
pub mod names;
pub mod certificate;
pub mod identity_field;
pub mod scope;
pub mod claim;
pub mod issuer;
pub mod algorithm;
pub mod id;
pub mod reason;
pub mod upstream_failure;
pub mod resource_shortage;
pub mod replacement;
pub mod lifetime;
pub mod grace;
pub mod address_range;
pub mod client_address;
pub mod public_address;
pub mod query_credential;
pub mod api_key;
pub mod client_secret;
pub mod plan;
pub mod subscription;
pub mod directory;
