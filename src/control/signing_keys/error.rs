//! Why can the signing keys not be opened or changed?

use crate::control::signing_keys::wrap::UnwrapError;
use crate::jose::sign::SignError;
use std::io;
use std::path::PathBuf;

/// Why the signing keys cannot be opened or rotated. No error contains a file's content.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeysError {
    #[error("{}: {source}", path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error("{} is readable by others, who could sign tokens as this gate: chmod go= {}", path.display(), path.display())]
    Exposed { path: PathBuf },
    #[error("{} cannot be read: {problem}; nothing was changed", path.display())]
    Broken { path: PathBuf, problem: String },
    #[error(
        "{} is not there, and keys.json beside it names its key: put it back from a backup, or remove the whole folder to begin with a new key (tokens that are out end)",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error("{} is encrypted: set `token_endpoint.wrapping_key` to what it was encrypted with", path.display())]
    NoWrappingKey { path: PathBuf },
    #[error("{}: {source}; nothing was changed", path.display())]
    Wrapped { path: PathBuf, source: UnwrapError },
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: SignError },
    #[error("a signing key cannot be made: {0}")]
    Generate(SignError),
    #[error("`token_endpoint.wrapping_key`: {0}")]
    WrappingKey(&'static str),
    /// No `token_endpoint` is configured.
    #[error("there are no signing keys: set `token_endpoint` in the configuration")]
    NoTokenEndpoint,
}
