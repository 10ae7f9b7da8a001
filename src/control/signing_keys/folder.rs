//! Where are the signing keys, whole and for nobody else to read? In a folder beside the database: `keys.json` says which
//! keys there are and when they sign, and the private half of each key that signs or will is in a file of its own.

use crate::control::signing_keys::SigningKeysError;
use crate::control::signing_keys::schedule::KeyRing;
use crate::control::signing_keys::schedule::KeyState;
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
/// More is no key, and no list of keys.
const BYTES_MAX: u64 = 256 * 1024;

#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    wrapping: Option<WrappingKey>,
}

/// What `keys.json` says.
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
    /// All times are milliseconds since 1970.
    #[serde(with = "text::millis")]
    published_at: Timestamp,
    #[serde(flatten)]
    stage: Stage,
    public: Value,
}

/// Version of the form of `keys.json`.
const VERSION: u32 = 1;

impl Index {
    /// Returns the index of one key alone, which signs from `now` on.
    pub fn of_first(key: &SigningKey, schedule: &Schedule, now: Timestamp) -> Self {
        Self {
            ring: KeyRing::default().with_first(key.kid(), schedule, now),
            public: [(key.kid().to_owned(), key.public_jwk())].into(),
        }
    }
}

impl Folder {
    /// Makes the folder if there is none.
    ///
    /// # Errors
    /// It cannot be made or read, or others may look into it.
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

    /// Which keys there are; none at the first start.
    ///
    /// # Errors
    /// The list cannot be read, is not ours alone, or does not say what it should.
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
            // It becomes the name of a file.
            if key.kid.is_empty() || !key.kid.bytes().all(is_thumbprint_byte) {
                return Err(broken("a `kid` in it is no thumbprint".to_owned()));
            }
            let algorithm = key.algorithm.parse();
            states.push(KeyState {
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

    /// Writes down which keys there are. When this returns it holds over a loss of power.
    ///
    /// # Errors
    /// The file cannot be written; then what was written down before still holds.
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

    /// The private half of a key.
    ///
    /// # Errors
    /// It is not there, is not ours alone, cannot be opened with the configured key, or is another key.
    pub fn private_key(&self, key: &KeyState) -> Result<SigningKey, SigningKeysError> {
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

    /// Makes a key, and keeps its private half.
    ///
    /// # Errors
    /// The cryptographic library makes none, or the file cannot be written; then there is none.
    pub fn generate(&self, algorithm: Algorithm) -> Result<Arc<SigningKey>, SigningKeysError> {
        let key = SigningKey::generate(algorithm).map_err(SigningKeysError::Generate)?;
        self.write_private_key(&key)?;
        Ok(Arc::new(key))
    }

    /// Keeps the private half of a key, encrypted where that is configured.
    ///
    /// # Errors
    /// The file cannot be written; then there is none.
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

    /// Where a wrapping key is configured now and was not when this key was made: encrypts it, and removes what can be
    /// read.
    ///
    /// # Errors
    /// Either cannot be done; the key is there in one of the two forms at any instant.
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

    /// Removes the private half of a key that signs no more.
    ///
    /// # Errors
    /// A file that is there cannot be removed.
    pub fn forget_private(&self, kid: &str) -> Result<(), SigningKeysError> {
        self.remove(&self.file(kid, PLAIN))?;
        self.remove(&self.file(kid, WRAPPED))
    }

    /// Private keys that nothing names: of a start that was interrupted, or a list that was put back. They are left alone,
    /// because a key that was lost from the list may be wanted again.
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

    /// Whole or not at all, and for us alone.
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

/// The text of a file that nobody else may touch; `None` where there is no such file.
fn read(path: &Path) -> Result<Option<Secret<String>>, SigningKeysError> {
    let failed = |source| unusable(path, source);
    // Not followed: a link would let whoever made it choose the file.
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(failed(io::Error::other("not a regular file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let file = File::open(path).map_err(failed)?;
    // Of what was opened, not of what the name may stand for by now.
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(SigningKeysError::Exposed { path: path.to_owned() });
    }
    let mut text = String::new();
    let outcome = file.take(BYTES_MAX + 1).read_to_string(&mut text);
    // Wiped when it goes, also where only half of it came.
    let text = Secret::new(text);
    outcome.map_err(failed)?;
    match text.expose().len() as u64 {
        0..=BYTES_MAX => Ok(Some(text)),
        _ => Err(failed(io::Error::other("over 256 KiB"))),
    }
}
