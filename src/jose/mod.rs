//! How are JSON tokens and keys parsed, verified and signed? Only this module calls the signature libraries.

pub mod base64url;
pub mod json;
pub mod jwk;
pub mod jwks;
pub mod current_jwks;
pub mod jws;
pub mod numeric_date;
pub mod pem_file;
mod public_key;
pub mod sign;
pub mod uploaded;
mod verifier;
