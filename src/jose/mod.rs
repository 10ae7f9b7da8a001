//! JSON object signing: only this module uses the signature crates.

mod base64url;
pub mod json;
pub mod jwk;
pub mod jwks;
pub mod jws;
pub mod pem_file;
mod public_key;
pub mod sign;
pub mod uploaded;
mod verifier;
