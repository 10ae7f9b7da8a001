//! Where are the signing keys stored, safe from other users and from half-written
//! files? In a folder beside the database: `keys.json` lists the keys with their
//! stages, and each private key that signs now or later has a file of its own.

use crate::control::signing_keys::SigningKeysError;
use crate::control::signing_keys::schedule::KeyRing;
use crate::control::signing_keys::schedule::RotationKey;
use crate::control::signing_keys::schedule::Schedule;
use crate::control::signing_keys::schedule::Stage;
use crate::control::signing_keys::wrap::WrappingKey;
use crate::jose::sign::SigningKey;
use crate::model::algorithm::Algorithm;
use crate::model::clock::Timestamp;
use crate::model::replacement;
use crate::model::replacement::remove_if_there;
use crate::model::secret::Secret;
use crate::store::record::text;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

const INDEX: &str = "keys.json";
const PLAIN: &str = "pem";
const WRAPPED: &str = "wrapped";
/// The largest file that is read, in bytes: keys and their list are far smaller.
const BYTES_MAX: u64 = 256 * 1024;

/// The folder of the signing keys.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    wrapping: Option<WrappingKey>,
}

/// The content of `keys.json`.
#[derive(Clone, Debug, Default)]
pub struct Index {
    pub ring: KeyRing,
    /// The public halves, by `kid`.
    pub public: BTreeMap<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexText {
    version: u32,
    keys: Vec<KeyText>,
}

#[derive(Serialize, Deserialize)]
struct KeyText {
    kid: String,
    algorithm: String,
    /// In milliseconds since 1970, as all times in the file.
    #[serde(with = "text::millis")]
    published_at: Timestamp,
    #[serde(flatten)]
    stage: Stage,
    public: Value,
}

/// The version of the format of `keys.json`.
const VERSION: u32 = 1;

impl Index {
    /// Returns an index with one key, which signs from `now` on.
    pub fn of_first(key: &SigningKey, schedule: &Schedule, now: Timestamp) -> Self {
        Self {
            ring: KeyRing::default().with_first(key.kid(), schedule, now),
            public: [(key.kid().to_owned(), key.public_jwk())].into(),
        }
    }
}

impl Folder {
    /// Opens the folder, and creates it with mode 0700 if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be created or read, or other users may access it.
    pub fn open(path: PathBuf, wrapping: Option<WrappingKey>) -> Result<Self, SigningKeysError> {
        let failed = |source| unusable(&path, source);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(failed)?;
        let metadata = path.metadata().map_err(failed)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(SigningKeysError::Exposed { path });
        }
        Ok(Self { path, wrapping })
    }

    /// Returns the folder at `path`, to read the list of keys from.
    pub const fn of_list(path: PathBuf) -> Self {
        Self { path, wrapping: None }
    }

    /// Reads the list of keys; the list is empty at the first start.
    ///
    /// # Errors
    /// The list cannot be read or parsed, or other users may access it.
    pub fn index(&self) -> Result<Index, SigningKeysError> {
        let path = self.path.join(INDEX);
        let Some(text) = read(&path)? else {
            return Ok(Index::default());
        };
        let broken = |problem: String| SigningKeysError::Broken {
            path: path.clone(),
            problem,
        };
        let text: IndexText = serde_json::from_str(text.expose()).map_err(|error| broken(error.to_string()))?;
        if text.version != VERSION {
            return Err(broken(format!(
                "it has version {}, and this gate reads {VERSION}",
                text.version
            )));
        }
        let mut states = Vec::new();
        let mut public = BTreeMap::new();
        for key in text.keys {
            // The `kid` becomes part of a file name.
            if key.kid.is_empty() || !key.kid.bytes().all(is_thumbprint_byte) {
                return Err(broken("a `kid` in it is no thumbprint".to_owned()));
            }
            let algorithm = key.algorithm.parse();
            states.push(RotationKey {
                algorithm: algorithm.map_err(|error| broken(format!("key {}: {error}", key.kid)))?,
                published_at: key.published_at,
                stage: key.stage,
                kid: key.kid.clone(),
            });
            public.insert(key.kid, key.public);
        }
        let ring = KeyRing::new(states).map_err(|problem| broken(problem.to_owned()))?;
        Ok(Index { ring, public })
    }

    /// Writes the list of keys. When this returns, the list survives a power loss.
    ///
    /// # Errors
    /// The file cannot be written; the previous list stays valid.
    pub fn write_index(&self, index: &Index) -> Result<(), SigningKeysError> {
        let keys = index.ring.keys().iter().map(|key| KeyText {
            kid: key.kid.clone(),
            algorithm: key.algorithm.as_str().to_owned(),
            published_at: key.published_at,
            stage: key.stage,
            public: index.public.get(&key.kid).cloned().unwrap_or_default(),
        });
        let text = IndexText {
            version: VERSION,
            keys: keys.collect(),
        };
        let mut text = serde_json::to_string_pretty(&text).expect("texts and numbers are JSON");
        text.push('\n');
        self.write(INDEX, &text)
    }

    /// Reads the private half of a key.
    ///
    /// # Errors
    /// The file does not exist, other users may access it, it cannot be
    /// decrypted with the configured key, or it contains another key.
    pub fn private_key(&self, key: &RotationKey) -> Result<SigningKey, SigningKeysError> {
        let (plain, wrapped) = (self.file(&key.kid, PLAIN), self.file(&key.kid, WRAPPED));
        let (path, pem) = if let Some(text) = read(&wrapped)? {
            let wrapping = self
                .wrapping
                .as_ref()
                .ok_or_else(|| SigningKeysError::NoWrappingKey { path: wrapped.clone() })?;
            let unwrapped = wrapping.unwrap(&key.kid, text.expose().as_bytes());
            let pem = unwrapped.map_err(|source| SigningKeysError::Wrapped {
                path: wrapped.clone(),
                source,
            })?;
            (wrapped, pem)
        } else if let Some(pem) = read(&plain)? {
            (plain, pem)
        } else {
            return Err(SigningKeysError::Missing {
                path: match self.wrapping {
                    Some(_) => wrapped,
                    None => plain,
                },
            });
        };
        let signing_key = SigningKey::from_pkcs8_pem(key.algorithm, pem.expose());
        let signing_key = signing_key.map_err(|source| SigningKeysError::Key {
            path: path.clone(),
            source,
        })?;
        if signing_key.kid() == key.kid {
            Ok(signing_key)
        } else {
            Err(SigningKeysError::Broken {
                path,
                problem: "it is not the key that its name says".to_owned(),
            })
        }
    }

    /// Generates a key and writes its private half.
    ///
    /// # Errors
    /// The cryptographic library fails, or the file cannot be written; then no key is stored.
    pub fn generate(&self, algorithm: Algorithm) -> Result<Arc<SigningKey>, SigningKeysError> {
        let key = SigningKey::generate(algorithm).map_err(SigningKeysError::Generate)?;
        self.write_private_key(&key)?;
        Ok(Arc::new(key))
    }

    /// Writes the private half of a key, encrypted if a wrapping key is configured.
    ///
    /// # Errors
    /// The file cannot be written; then no key is stored.
    fn write_private_key(&self, key: &SigningKey) -> Result<(), SigningKeysError> {
        let pem = key.to_pkcs8_pem().map_err(SigningKeysError::Generate)?;
        match &self.wrapping {
            None => self.write(&file_name(key.kid(), PLAIN), pem.expose()),
            Some(wrapping) => {
                let failed = |problem: &str| unusable(&self.path, io::Error::other(problem));
                let text = wrapping.wrap(key.kid(), &pem).map_err(failed)?;
                self.write(&file_name(key.kid(), WRAPPED), &text)
            }
        }
    }

    /// Encrypts the file of a key that was created before a wrapping key was
    /// configured, and removes the plain file. Does nothing for any other key.
    ///
    /// # Errors
    /// One of the two steps fails. At least one of the two files exists at any instant.
    pub fn wrap_if_plain(&self, key: &SigningKey) -> Result<(), SigningKeysError> {
        let plain = self.file(key.kid(), PLAIN);
        if self.wrapping.is_none() || plain.symlink_metadata().is_err() {
            return Ok(());
        }
        self.write_private_key(key)?;
        self.remove(&plain)?;
        tracing::info!(kid = key.kid(), "Signing key encrypted with the wrapping key");
        Ok(())
    }

    /// Removes the private half of a key that no longer signs.
    ///
    /// # Errors
    /// An existing file cannot be removed.
    pub fn forget_private(&self, kid: &str) -> Result<(), SigningKeysError> {
        self.remove(&self.file(kid, PLAIN))?;
        self.remove(&self.file(kid, WRAPPED))
    }

    /// Returns the files of private keys that are not in the list, left by an interrupted step or a restored list. The
    /// caller must not remove them: a key lost from the list may be needed again.
    pub fn unlisted_files(&self, ring: &KeyRing) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(&self.path) else {
            return Vec::new();
        };
        let listed: Vec<String> = ring
            .keys()
            .iter()
            .flat_map(|key| [PLAIN, WRAPPED].map(|ending| file_name(&key.kid, ending)))
            .collect();
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        paths
            .filter(|path| {
                path.extension()
                    .is_some_and(|ending| ending == PLAIN || ending == WRAPPED)
            })
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_none_or(|name| listed.iter().all(|listed| listed != name))
            })
            .collect()
    }

    fn file(&self, kid: &str, ending: &str) -> PathBuf {
        self.path.join(file_name(kid, ending))
    }

    /// Replaces a file atomically; only the owner may read it.
    fn write(&self, name: &str, text: &str) -> Result<(), SigningKeysError> {
        let path = self.path.join(name);
        replacement::replace(&path, text.as_bytes(), 0o600).map_err(|source| unusable(&path, source))
    }

    fn remove(&self, path: &Path) -> Result<(), SigningKeysError> {
        remove_if_there(path).map_err(|source| unusable(path, source))
    }
}

fn file_name(kid: &str, ending: &str) -> String {
    format!("key-{kid}.{ending}")
}

const fn is_thumbprint_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn unusable(path: &Path, source: io::Error) -> SigningKeysError {
    SigningKeysError::Unusable {
        path: path.to_owned(),
        source,
    }
}

/// Reads a file that only the owner may access. Returns `None` if there is no such file.
fn read(path: &Path) -> Result<Option<Secret<String>>, SigningKeysError> {
    let failed = |source| unusable(path, source);
    // Do not follow a symbolic link: its author could choose the file.
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(failed(io::Error::other("not a regular file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let file = File::open(path).map_err(failed)?;
    // Check the mode of the open file: the name may refer to another file by now.
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(SigningKeysError::Exposed { path: path.to_owned() });
    }
    let mut text = String::new();
    let outcome = file.take(BYTES_MAX + 1).read_to_string(&mut text);
    // Wrap the text before the check: it is then wiped even after a partial read.
    let text = Secret::new(text);
    outcome.map_err(failed)?;
    match text.expose().len() as u64 {
        0..=BYTES_MAX => Ok(Some(text)),
        _ => Err(failed(io::Error::other("over 256 KiB"))),
    }
}
