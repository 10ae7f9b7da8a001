//! Which configuration do the files hold, and which key material with it? Loading changes nothing.

use crate::config;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::ConfigErrors;
use crate::config::ConfigWarning;
use crate::config::Includes;
use crate::config::KeySource;
use crate::config::MainFile;
use crate::config::ReadLog;
use crate::config::ReferencedFiles;
use crate::config::file_need::Need;
use crate::config::introspection::ClientAuthentication;
use crate::fetch::file;
use crate::fetch::introspect;
use crate::fetch::outcome::SourceError;
use crate::gate::accept::matcher::MatcherError;
use crate::gate::identity_token::published::SigningKeyOrigin;
use crate::jose::jwk::VerifyingKey;
use crate::jose::jwks::Jwks;
use crate::jose::sign::SigningKey;
use crate::keys_file;
use crate::keys_file::KeysFileError;
use crate::model::api_key::DigestScheme;
use crate::model::api_key::Digester;
use crate::model::directory::KeyRecord;
use crate::model::names::Name;
use crate::observe::log::ErrorChain;
use crate::runtime::signing_key;
use crate::runtime::signing_key::SigningKeyError;
use crate::runtime::watch::WatchedFiles;
use std::collections::BTreeMap;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::path::Path;
use std::path::PathBuf;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{0}")]
    Config(ConfigErrors),
    #[error("issuers.{issuer}: {problem}")]
    Issuer { issuer: Name, problem: String },
    #[error("{0}")]
    KeysFile(KeysFileError),
    #[error("identity_token: {0}")]
    SigningKey(#[from] SigningKeyError),
    #[error("{path}: {need}, which is served by the program `keygate` alone")]
    Unsupported { path: String, need: &'static str },
    #[error(transparent)]
    Routes(#[from] MatcherError),
    /// A part of the running process cannot use the configuration.
    #[error("{0}")]
    Unusable(String),
}

/// A valid configuration with the key material from its files.
pub struct LoadedConfig {
    pub config: Config,
    pub(in crate::runtime) key_sets: BTreeMap<Name, (Vec<u8>, Jwks)>,
    pub(in crate::runtime) keys: Vec<KeyRecord>,
    /// `true` if the keys file has keys, also after they were put in force.
    pub(in crate::runtime) has_keys: bool,
    pub(in crate::runtime) signing_key: Option<(SigningKey, SigningKeyOrigin)>,
    pub(in crate::runtime) files: Files,
}

/// The files of a configuration. Fingerprints are taken before a file is read, so that the next check notices a change
/// during the read. The exception is the private key of an introspection client, which `config::load_logged` reads
/// first.
#[derive(Default)]
pub(in crate::runtime) struct Files {
    /// The configuration, its included files, its key files and the files of its secrets.
    pub(in crate::runtime) config: WatchedFiles,
    pub(in crate::runtime) api_keys: WatchedFiles,
    pub(in crate::runtime) content: ContentHashes,
}

/// Hashes of the content that was read. A new fingerprint shows that a file was written; a new hash shows that the
/// content differs.
#[derive(Default)]
pub(in crate::runtime) struct ContentHashes {
    /// The configuration, its included files, secrets and key files. JWK set files are read by background tasks
    /// instead.
    pub(in crate::runtime) config: DefaultHasher,
    pub(in crate::runtime) api_keys: DefaultHasher,
}

impl ReadLog for Files {
    fn included(&mut self, includes: &Includes, files: &[PathBuf]) {
        self.config.include(includes, files);
    }

    fn secret_file(&mut self, path: &Path) {
        self.config.add([path.to_owned()]);
    }

    fn read(&mut self, path: &Path, content: &[u8]) {
        (path, content).hash(&mut self.content.config);
    }
}

/// Reads the configuration `main`, its included files and its key files. Changes nothing.
///
/// # Errors
/// All errors of the configuration at once, or the first key file that cannot be used.
pub fn load<'m>(main: impl Into<MainFile<'m>>) -> Result<LoadedConfig, LoadError> {
    load_logged(main.into(), &mut Files::default(), |_| Ok(()), EmptyKeysFile::Accepted)
}

/// Loads like [`load`], and also rejects a configuration that `check` rejects.
///
/// # Errors
/// Those of [`load`] and of `check`.
pub fn load_checked(path: &Path, check: ConfigCheck) -> Result<LoadedConfig, LoadError> {
    load_logged(path.into(), &mut Files::default(), check, EmptyKeysFile::Accepted)
}

/// Loads like [`load`], without the parts whose variables are unset. Also returns the mistakes about these parts.
///
/// # Errors
/// Those of [`load`] about the other parts.
pub fn load_with_unset<'m>(main: impl Into<MainFile<'m>>) -> Result<(LoadedConfig, Vec<ConfigError>), LoadError> {
    let partial = config::load_partial(main, ReferencedFiles::MustExist, ConfigError::is_unset_variable)
        .map_err(LoadError::Config)?;
    let (mut config, unset) = partial.into_parts();
    if unset.iter().any(|error| error.path.starts_with("api_keys")) {
        // Without the pepper, the digests in the keys file would seem to be of another kind.
        config.api_keys.file = None;
    }
    let loaded = read_files(config, &mut Files::default(), EmptyKeysFile::Accepted)?;
    Ok((loaded, unset))
}

/// A further check of a configuration, for a process that does not support every feature.
pub type ConfigCheck = fn(&Config) -> Result<(), LoadError>;

/// Loads like [`load_checked`]. After an error, `files` contains the files that were found before the error; after a
/// success, `files` is empty and the returned value contains the files.
pub(in crate::runtime) fn load_logged(
    main: MainFile<'_>,
    files: &mut Files,
    check: ConfigCheck,
    empty_keys_file: EmptyKeysFile,
) -> Result<LoadedConfig, LoadError> {
    if let MainFile::Path(path) = main {
        files.config.add([path.to_owned()]);
    }
    let config = config::load_logged(main, files).map_err(LoadError::Config)?;
    check(&config)?;
    read_files(config, files, empty_keys_file)
}

/// Reads the files with keys to which `config` refers. `files` is as in [`load_logged`].
fn read_files(
    mut config: Config,
    files: &mut Files,
    empty_keys_file: EmptyKeysFile,
) -> Result<LoadedConfig, LoadError> {
    for issuer in config.issuers.values() {
        match &issuer.keys {
            KeySource::Pem(paths) => files.config.add(paths.clone()),
            KeySource::Introspection(introspection) => {
                if let ClientAuthentication::PrivateKey { key, .. } = &introspection.authentication {
                    files.config.add([key.file.clone()]);
                }
            }
            KeySource::File(path) => files.config.add_presence(path.clone()),
            KeySource::Remote(_) | KeySource::Own => {}
        }
    }
    files.config.add(config.tls_files().cloned());
    files.config.add(
        config
            .identity_token
            .iter()
            .flat_map(|settings| settings.signing_key_file.clone()),
    );
    files.api_keys.add(config.api_keys.file.clone());
    let mut key_sets = BTreeMap::new();
    for (name, issuer) in &config.issuers {
        let failed = |error: SourceError| LoadError::Issuer {
            issuer: name.clone(),
            problem: ErrorChain(&error).to_string(),
        };
        match &issuer.keys {
            KeySource::Pem(paths) => {
                let (text, jwks) = file::read_pems(paths).map_err(failed)?;
                (name, &text).hash(&mut files.content.config);
                key_sets.insert(name.clone(), (text, jwks));
            }
            // A background task watches this file. It is read here as well, so that an invalid file stops the start or the
            // reload, and that its keys are there before the first request.
            KeySource::File(path) => {
                key_sets.insert(name.clone(), file::read_set(path).map_err(failed)?);
            }
            KeySource::Remote(_) | KeySource::Own => {}
            KeySource::Introspection(introspection) => {
                introspect::check_key(introspection, &issuer.issuer).map_err(|error| LoadError::Issuer {
                    issuer: name.clone(),
                    problem: ErrorChain(&error).to_string(),
                })?
            }
        }
    }
    let keys = read_keys(&config, &mut files.content.api_keys, empty_keys_file)?;
    warn_of_files(&mut config, &keys, &key_sets);
    let signing_key = config
        .identity_token
        .as_ref()
        .map(|settings| signing_key::load(settings, config.state_dir.as_deref()))
        .transpose()?;
    // Do not hash a generated key: `PublishedKeys::signer` keeps the current generated key, so `key` may be unused.
    if let Some((key, SigningKeyOrigin::File)) = &signing_key {
        key.public_jwk().to_string().hash(&mut files.content.config);
    }
    Ok(LoadedConfig {
        config,
        key_sets,
        has_keys: !keys.is_empty(),
        keys,
        signing_key,
        files: std::mem::take(files),
    })
}

/// Adds the warnings of needs that the files with keys do not meet. A keys file without keys is one that is yet to be
/// filled.
fn warn_of_files(config: &mut Config, keys: &[KeyRecord], key_sets: &BTreeMap<Name, (Vec<u8>, Jwks)>) {
    let is_met = |need: &Need| match need {
        Need::ApiKey(fact) => keys.is_empty() || keys.iter().any(|key| fact.holds(key)),
        Need::IssuerKey(name) => {
            let algorithms = config.issuers.get(name).map(|issuer| &issuer.algorithms);
            let fits = |key: &VerifyingKey| algorithms.into_iter().flatten().any(|algorithm| key.fits(*algorithm));
            key_sets.get(name).is_none_or(|(_, set)| set.keys().any(fits))
        }
    };
    let unmet = config.file_needs.iter().filter(|file| !is_met(&file.need));
    let warnings: Vec<ConfigWarning> = unmet.map(|file| file.warning.clone()).collect();
    config.warnings.extend(warnings);
}

/// The treatment of a keys file that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum EmptyKeysFile {
    /// It has no keys yet.
    Accepted,
    /// There were keys before: a file is also empty while it is written, and when the disk is full.
    Refused,
}

/// Reads the API keys from `api_keys.file`, and hashes the text into `content`. Returns no keys if there is no such
/// setting.
pub(in crate::runtime) fn read_keys(
    config: &Config,
    content: &mut DefaultHasher,
    empty: EmptyKeysFile,
) -> Result<Vec<KeyRecord>, LoadError> {
    let Some(path) = &config.api_keys.file else {
        return Ok(Vec::new());
    };
    let text = keys_file::text(path).map_err(LoadError::KeysFile)?;
    text.hash(content);
    if empty == EmptyKeysFile::Refused {
        keys_file::refuse_empty(path, &text).map_err(LoadError::KeysFile)?;
    }
    keys_file::parse_file(path, &text, digest_scheme(config)).map_err(LoadError::KeysFile)
}

/// Returns the digest scheme for API keys: HMAC with the pepper of `config`, if there is one.
pub fn digest_scheme(config: &Config) -> DigestScheme {
    Digester::new(config.api_keys.pepper.as_ref()).scheme()
}

/// Logs the warnings that `keygate check` prints.
pub fn log_warnings(config: &Config) {
    for warning in &config.warnings {
        let warning = &warning.0;
        tracing::warn!(
            code = warning.code,
            file = %warning.file.display(),
            path = %warning.path,
            line = warning.place.map(|place| place.line),
            warning = %warning.problem,
            "The configuration protects less than it looks"
        );
    }
}
