//! Which private key signs identity tokens? A key from a file that is valid and closed to other users, or a new key.

use crate::config::IdentityToken;
use crate::gate::identity_token::published::SigningKeyOrigin;
use crate::jose::sign::SignError;
use crate::jose::sign::SigningKey;
use crate::model::replacement::Replacement;
use crate::model::secret::Secret;
use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

/// Why no signing key can be loaded or generated.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is readable by others, who could sign as this gateway: chmod o= {}", path.display(), path.display())]
    Exposed { path: PathBuf },
    #[error("{} can be written by its group: chmod g-w {}", path.display(), path.display())]
    Writable { path: PathBuf },
    #[error("{}: {source}{}", path.display(), hint(*source))]
    Key { path: PathBuf, source: SignError },
    #[error("{} is not a regular file that nobody else may touch (mode 0600); remove it, and a new key is made", path.display())]
    NotOurs { path: PathBuf },
    #[error("a signing key cannot be made: {0}")]
    Made(SignError),
}

/// The maximum size of a key file.
const BYTES_MAX: u64 = 64 * 1024;

/// Returns the key from `signing_key_file` if `settings` has that file, otherwise the key that [`keep`] saved in
/// `state_dir`, otherwise a new key. Writes nothing.
///
/// # Errors
/// See [`SigningKeyError`]. No error contains a part of a file's content.
pub fn load(
    settings: &IdentityToken,
    state_dir: Option<&Path>,
) -> Result<(SigningKey, SigningKeyOrigin), SigningKeyError> {
    if let Some(path) = &settings.signing_key_file {
        return Ok((parse(settings, path, &read(path)?)?, SigningKeyOrigin::File));
    }
    let kept = state_dir.map(kept_path).filter(|path| path.symlink_metadata().is_ok());
    let key = match kept {
        Some(path) => {
            let metadata = path.symlink_metadata().map_err(|source| unreadable(&path, source))?;
            if !metadata.is_file() || metadata.mode() & 0o077 != 0 {
                return Err(SigningKeyError::NotOurs { path });
            }
            parse(settings, &path, &read(&path)?)?
        }
        None => SigningKey::generate_es256().map_err(SigningKeyError::Made)?,
    };
    Ok((key, SigningKeyOrigin::Generated))
}

/// Saves a generated key in `state_dir`, so that the key still signs after a restart. The write is atomic, and only the
/// owner may read the file. Does not replace an existing file.
///
/// Only logs if the file cannot be written: after a restart, upstreams see an unknown key and fetch the key set again.
pub fn keep(key: &SigningKey, state_dir: Option<&Path>) {
    let Some(folder) = state_dir else {
        tracing::info!("The key of identity tokens is not kept over a restart: set `state_dir` or `signing_key_file`");
        return;
    };
    let path = kept_path(folder);
    if path.symlink_metadata().is_ok() {
        return;
    }
    if let Err(error) = write(key, folder, &path) {
        tracing::error!(path = %path.display(), %error, "The key of identity tokens cannot be kept");
    }
}

fn write(key: &SigningKey, folder: &Path, path: &Path) -> io::Result<()> {
    let pem = key.to_pkcs8_pem().map_err(io::Error::other)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    Replacement::create_shared(path, 0o600)?.finish(pem.expose().as_bytes())?;
    Ok(())
}

const KEPT_NAME: &str = "identity_token.pem";

fn kept_path(state_dir: &Path) -> PathBuf {
    state_dir.join(KEPT_NAME)
}

fn parse(settings: &IdentityToken, path: &Path, text: &Secret<String>) -> Result<SigningKey, SigningKeyError> {
    let key = SigningKey::from_pkcs8_pem(settings.algorithm, text.expose());
    key.map_err(|source| SigningKeyError::Key {
        path: path.to_owned(),
        source,
    })
}

fn unreadable(path: &Path, source: io::Error) -> SigningKeyError {
    SigningKeyError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

/// Returns the text of a private key file. Rejects a file that its group can write or that others can access. The group
/// may read the file, because orchestrators mount secrets that way for a process that is not root.
fn read(path: &Path) -> Result<Secret<String>, SigningKeyError> {
    let unreadable = |source| unreadable(path, source);
    // Opening a named pipe would wait for its writer forever.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::other("not a file")));
    }
    let file = File::open(path).map_err(unreadable)?;
    // Check the mode of the opened file: the path may refer to another file by now.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(SigningKeyError::Exposed { path: path.to_owned() });
    }
    if mode & 0o020 != 0 {
        return Err(SigningKeyError::Writable { path: path.to_owned() });
    }
    let mut text = String::new();
    let outcome = file.take(BYTES_MAX + 1).read_to_string(&mut text);
    // `Secret` wipes the text on drop, also after a partial read.
    let text = Secret::new(text);
    outcome.map_err(unreadable)?;
    match text.expose().len() as u64 {
        0..=BYTES_MAX => Ok(text),
        _ => Err(unreadable(io::Error::other("over 64 KiB"))),
    }
}

/// Returns a hint for a file that is not a usable key: some OpenSSL commands do not write PKCS #8.
fn hint(error: SignError) -> &'static str {
    match error {
        SignError::Pem(_) | SignError::Key(_) => {
            " (for ES256: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256)"
        }
        SignError::Library => "",
    }
}
