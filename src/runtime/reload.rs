//! How does a changed configuration come into force? It is loaded and compiled
//! aside and swapped as a whole; an invalid one is logged and changes nothing.
//!
//! The file check and SIGHUP often report the same change. Files with the content
//! of the last load are not compiled again, so that a change is one reload.

use crate::config;
use crate::config::Config;
use crate::config::ConfigErrors;
use crate::config::IdentityToken;
use crate::config::Includes;
use crate::config::KeySource;
use crate::config::ReadLog;
use crate::config::introspection::ClientAuthentication;
use crate::fetch::file;
use crate::fetch::introspect;
use crate::fetch::issuer_key_files::IssuerKeyFiles;
use crate::fetch::issuer_key_files::IssuerKeySaver;
use crate::fetch::outcome::SourceError;
use crate::fetch::source;
use crate::gate::Gate;
use crate::gate::accept::matcher::MatcherError;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::authenticate::issuer::Proof;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::identity_token::published::SigningKeyOrigin;
use crate::gate::live::Live;
use crate::gate::snapshot::Snapshot;
use crate::jose::jwks::Jwks;
use crate::jose::sign::SigningKey;
use crate::keys_file;
use crate::keys_file::KeysFileError;
use crate::model::api_key::DigestScheme;
use crate::model::clock::Now;
use crate::model::directory::Directory;
use crate::model::directory::KeyRecord;
use crate::model::names::Name;
use crate::observe::log::ErrorChain;
use crate::observe::metrics::ConfiguredNames;
use crate::observe::metrics::ReloadResult;
use crate::observe::ready::Condition;
use crate::observe::ready::Readiness;
use crate::runtime::issuer_key_files;
use crate::runtime::signing_key;
use crate::runtime::signing_key::SigningKeyError;
use crate::runtime::watch::WatchedFiles;
use std::collections::BTreeMap;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::AbortHandle;

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
}

/// A configuration and the key material of its files: all of it is valid.
pub struct LoadedConfig {
    pub config: Config,
    pems: BTreeMap<Name, (Vec<u8>, Jwks)>,
    keys: Vec<KeyRecord>,
    signing_key: Option<(SigningKey, SigningKeyOrigin)>,
    files: Files,
}

/// The files of a configuration, with their fingerprints from before
/// they were read: a change during the read is then noticed afterwards.
#[derive(Default)]
struct Files {
    /// The configuration and the key files that belong to it.
    config: WatchedFiles,
    api_keys: WatchedFiles,
    content: ContentHashes,
}

/// Hashes of the content that was read. A new fingerprint shows
/// that a file was written, a new hash that its content differs.
#[derive(Default)]
struct ContentHashes {
    /// The configuration, secrets and key files.
    config: DefaultHasher,
    api_keys: DefaultHasher,
}

impl ReadLog for Files {
    fn included(&mut self, includes: &Includes, files: &[PathBuf]) {
        self.config.include(includes, files);
    }

    fn read(&mut self, path: &Path, content: &[u8]) {
        (path, content).hash(&mut self.content.config);
    }
}

/// The content of the files and the outcome of loading them. Equal outcomes belong to one change.
#[derive(Debug, PartialEq, Eq)]
struct LoadOutcome {
    config: u64,
    api_keys: u64,
    /// The reason for the refusal; `None` where the configuration is in force.
    refusal: Option<String>,
}

impl LoadOutcome {
    fn new(content: &ContentHashes, refusal: Option<String>) -> Self {
        Self {
            config: content.config.finish(),
            api_keys: content.api_keys.finish(),
            refusal,
        }
    }

    /// Records a load of the API keys alone. Returns whether it equals the last one.
    fn replace_keys(&mut self, api_keys: u64, refusal: Option<String>) -> bool {
        let config = self.config;
        let before = std::mem::replace(
            self,
            Self {
                config,
                api_keys,
                refusal,
            },
        );
        before == *self
    }
}

/// Reads the configuration at `path` and every file that it names. Changes nothing.
///
/// # Errors
/// All errors of the configuration at once, or the first key file that cannot be used.
pub fn load(path: &Path) -> Result<LoadedConfig, LoadError> {
    load_checked(path, |_| Ok(()))
}

/// Loads like [`load`], and refuses a configuration that `check` refuses.
///
/// # Errors
/// Those of [`load`] and of `check`.
pub fn load_checked(path: &Path, check: ConfigCheck) -> Result<LoadedConfig, LoadError> {
    load_logged(path, &mut Files::default(), check)
}

/// A further check of a configuration, for a process that cannot serve every one.
pub type ConfigCheck = fn(&Config) -> Result<(), LoadError>;

/// Loads like [`load`], and notes in `files` all files that the configuration names, also where an error came first.
fn load_logged(path: &Path, files: &mut Files, check: ConfigCheck) -> Result<LoadedConfig, LoadError> {
    files.config.add([path.to_owned()]);
    let config = config::load_logged(path, files).map_err(LoadError::Config)?;
    check(&config)?;
    for issuer in config.issuers.values() {
        match &issuer.keys {
            KeySource::Pem(paths) => files.config.add(paths.clone()),
            KeySource::Introspection(introspection) => {
                if let ClientAuthentication::PrivateKey(key) = &introspection.authentication {
                    files.config.add([key.file.clone()]);
                }
            }
            KeySource::File(_) | KeySource::Remote(_) | KeySource::Own => {}
        }
    }
    files.config.add(
        config
            .identity_token
            .iter()
            .flat_map(|settings| settings.signing_key_file.clone()),
    );
    files.api_keys.add(config.api_keys.file.clone());
    let mut pems = BTreeMap::new();
    for (name, issuer) in &config.issuers {
        let failed = |error: SourceError| LoadError::Issuer {
            issuer: name.clone(),
            problem: ErrorChain(&error).to_string(),
        };
        match &issuer.keys {
            KeySource::Pem(paths) => {
                let (text, jwks) = file::read_pems(paths).map_err(failed)?;
                (name, &text).hash(&mut files.content.config);
                pems.insert(name.clone(), (text, jwks));
            }
            // A background task reads this file. It is read here as
            // well, so that an error shows before anything starts.
            KeySource::File(path) => drop(file::read_set(path).map_err(failed)?),
            KeySource::Remote(_) | KeySource::Own => {}
            KeySource::Introspection(introspection) => {
                introspect::check_key(introspection, &issuer.issuer).map_err(|error| LoadError::Issuer {
                    issuer: name.clone(),
                    problem: ErrorChain(&error).to_string(),
                })?
            }
        }
    }
    let keys = read_keys(&config, &mut files.content.api_keys)?;
    let signing_key = config
        .identity_token
        .as_ref()
        .map(|settings| signing_key::load(settings, config.state_dir.as_deref()))
        .transpose()?;
    // A generated key is not part of the configuration: it keeps signing, even if `state_dir` changes.
    if let Some((key, SigningKeyOrigin::File)) = &signing_key {
        key.public_jwk().to_string().hash(&mut files.content.config);
    }
    Ok(LoadedConfig {
        config,
        pems,
        keys,
        signing_key,
        files: std::mem::take(files),
    })
}

fn log_refusal(error: &LoadError) {
    tracing::error!(error = %one_line(error), "Configuration refused; the one before goes on serving");
}

/// Joins all errors on one line: the log escapes line ends, which makes many errors unreadable.
fn one_line(error: &LoadError) -> String {
    error
        .to_string()
        .replace("\n    hint: ", "; hint: ")
        .replace('\n', " | ")
}

/// Reads the file of API keys, and hashes its text into `content`.
fn read_keys(config: &Config, content: &mut DefaultHasher) -> Result<Vec<KeyRecord>, LoadError> {
    let Some(path) = &config.api_keys.file else {
        return Ok(Vec::new());
    };
    let text = keys_file::text(path).map_err(LoadError::KeysFile)?;
    text.hash(content);
    keys_file::parse_file(path, &text, digest_scheme(config)).map_err(LoadError::KeysFile)
}

/// Returns the scheme that digests API keys under `config`.
pub fn digest_scheme(config: &Config) -> DigestScheme {
    match config.api_keys.pepper {
        Some(_) => DigestScheme::HmacSha256,
        None => DigestScheme::Sha256,
    }
}

/// The number of file checks after which a refused configuration is tried again.
const CHECKS_PER_RETRY: u32 = 8;

/// Applies a configuration to another part of the process than the gate: the control side.
pub trait Follower: Send {
    /// Applies `config`; its `snapshot` is published right after. Returns
    /// whether all of it could be applied; if not, the next SIGHUP tries again.
    fn apply(&self, config: &Config, snapshot: &Snapshot, now: Now) -> bool;
}

/// Keeps a gate up to date with its files.
pub struct Reloader {
    path: PathBuf,
    gate: Arc<Gate>,
    readiness: Arc<Readiness>,
    generation: u64,
    config: Config,
    files: Files,
    /// The outcome of the last load; `None` where a later step failed, so that the next SIGHUP tries again.
    last_outcome: Option<LoadOutcome>,
    /// The number of file checks since the last configuration was refused; `None` while it is in force.
    checks_since_refusal: Option<u32>,
    /// The folder that keeps issuers' keys over a restart.
    key_files: Option<Arc<IssuerKeyFiles>>,
    /// The other part of the process that applies configurations.
    follower: Option<Box<dyn Follower>>,
    check: ConfigCheck,
    /// The background task of each issuer, by the issuer's unique number; `None` for a task that ends by itself.
    issuers: BTreeMap<u64, Option<AbortHandle>>,
}

impl Reloader {
    /// Returns a reloader for a gate that runs on `loaded`, and starts the issuers' background tasks.
    pub fn new(
        path: PathBuf,
        loaded: LoadedConfig,
        gate: Arc<Gate>,
        readiness: Arc<Readiness>,
        key_files: Option<Arc<IssuerKeyFiles>>,
        follower: Option<Box<dyn Follower>>,
        check: ConfigCheck,
    ) -> Self {
        let mut reloader = Self {
            key_files,
            follower,
            check,
            path,
            gate,
            readiness,
            generation: 1,
            last_outcome: Some(LoadOutcome::new(&loaded.files.content, None)),
            files: loaded.files,
            checks_since_refusal: None,
            config: loaded.config,
            issuers: BTreeMap::new(),
        };
        reloader.follow_issuers();
        reloader
    }

    /// Checks the files, and reloads the changed ones.
    pub fn check_files(&mut self) {
        if self.files.config.changed() {
            self.reload();
        } else if self.files.api_keys.changed() {
            self.reload_keys();
        } else if let Some(checks) = &mut self.checks_since_refusal {
            *checks += 1;
            // A missing file or secret may be there now. A refused configuration
            // does not name the files that it needs, so all are read.
            if checks.is_multiple_of(CHECKS_PER_RETRY) && load_checked(&self.path, self.check).is_ok() {
                self.reload();
            }
        }
    }

    /// Loads, compiles and publishes the configuration; an error keeps the
    /// running one. Does not compile or count a load that equals the last one.
    pub fn reload(&mut self) {
        let mut files = Files::default();
        let loaded = load_logged(&self.path, &mut files, self.check);
        let outcome = match &loaded {
            Ok(loaded) => LoadOutcome::new(&loaded.files.content, None),
            Err(error) => LoadOutcome::new(&files.content, Some(error.to_string())),
        };
        if self.last_outcome.as_ref() == Some(&outcome) {
            self.log_unchanged(loaded, files);
        } else {
            self.put_in_force(loaded, files, outcome);
        }
    }

    /// Logs the outcome of a load that equals the last one, so that each SIGHUP leaves a line.
    fn log_unchanged(&mut self, loaded: Result<LoadedConfig, LoadError>, files: Files) {
        match loaded {
            Ok(loaded) => {
                self.files = loaded.files;
                self.retry_saving_signing_key();
                tracing::info!(generation = self.generation, "Configuration unchanged");
            }
            Err(error) => {
                self.files.config = files.config;
                log_refusal(&error);
            }
        }
    }

    /// Keeps a generated signing key, in case `state_dir` could not be written before.
    fn retry_saving_signing_key(&self) {
        let made = |settings: &IdentityToken| settings.signing_key_file.is_none();
        let snapshot = self.gate.snapshot();
        if self.config.identity_token.as_ref().is_some_and(made)
            && let (Some(signer), Some(folder)) = (&snapshot.signer, &self.config.state_dir)
        {
            signing_key::keep(signer.key(), Some(folder));
        }
    }

    /// Compiles and publishes a loaded configuration, or logs its refusal.
    fn put_in_force(&mut self, loaded: Result<LoadedConfig, LoadError>, files: Files, outcome: LoadOutcome) {
        let metrics = Arc::clone(&self.gate.live.metrics);
        let now = self.gate.clock.now();
        let compiled = loaded.and_then(|mut loaded| {
            let snapshot = install(&mut loaded, &self.gate.live, now)?;
            // An issuer that is new here may be a renamed one with kept keys.
            if let Some(key_files) = &self.key_files {
                issuer_key_files::restore(&snapshot, key_files, now);
            }
            Ok((loaded, snapshot))
        });
        match compiled {
            Ok((loaded, snapshot)) => {
                self.warn_about_restart(&loaded.config);
                log_warnings(&loaded.config);
                self.generation += 1;
                self.last_outcome = Some(outcome);
                let routes = snapshot.routes.len();
                if let Some(follower) = &self.follower
                    && !follower.apply(&loaded.config, &snapshot, now)
                {
                    self.last_outcome = None;
                }
                self.gate.current.publish(snapshot);
                self.gate.live.retain(&loaded.config);
                metrics.forget_all_but(&configured_names(&loaded.config));
                self.config = loaded.config;
                self.files = loaded.files;
                self.checks_since_refusal = None;
                self.follow_issuers();
                self.readiness.forget(KEYS_FILE);
                metrics.reloads.count(ReloadResult::Success, now.wall);
                self.readiness.config_loaded();
                tracing::info!(generation = self.generation, routes, "Configuration reloaded");
            }
            Err(error) => {
                self.checks_since_refusal = Some(0);
                self.last_outcome = Some(LoadOutcome {
                    refusal: Some(error.to_string()),
                    ..outcome
                });
                self.files.config = files.config;
                metrics.reloads.count(ReloadResult::Failure, now.wall);
                self.readiness.config_reload_failed(&error.to_string());
                log_refusal(&error);
            }
        }
    }

    fn reload_keys(&mut self) {
        let mut content = DefaultHasher::default();
        let read = read_keys(&self.config, &mut content);
        // A refused load may have stopped before the API keys, so its outcome does not cover them.
        let last_outcome = self
            .last_outcome
            .as_mut()
            .filter(|_| self.checks_since_refusal.is_none());
        let refusal = read.as_ref().err().map(ToString::to_string);
        let unchanged = last_outcome.is_some_and(|outcome| outcome.replace_keys(content.finish(), refusal));
        match read {
            Ok(_) if unchanged => tracing::info!("API keys unchanged"),
            Ok(keys) => {
                let count = keys.len();
                replace_keys(&self.gate.live.directory, keys);
                self.readiness.set(KEYS_FILE, Condition::Ok, format!("{count} keys"));
                // Valid keys do not make a refused configuration valid.
                if self.checks_since_refusal.is_none() {
                    let now = self.gate.clock.now().wall;
                    self.gate.live.metrics.reloads.count(ReloadResult::Success, now);
                }
                tracing::info!(keys = count, "API keys reloaded");
            }
            Err(error) => {
                self.readiness.set(
                    KEYS_FILE,
                    Condition::Ok,
                    format!("refused, the one before serves: {error}"),
                );
                if !unchanged {
                    let now = self.gate.clock.now().wall;
                    self.gate.live.metrics.reloads.count(ReloadResult::Failure, now);
                }
                tracing::error!(error = %one_line(&error), "Keys file refused; the keys before go on serving");
            }
        }
    }

    /// Runs one background task for each issuer of the configuration in force.
    fn follow_issuers(&mut self) {
        let snapshot = self.gate.snapshot();
        let in_use: BTreeMap<u64, &Arc<IssuerState>> =
            snapshot.issuers.iter().map(|issuer| (issuer.uid(), issuer)).collect();
        self.issuers.retain(|uid, task| {
            let keep = in_use.contains_key(uid);
            if let Some(task) = task
                && !keep
            {
                task.abort();
            }
            keep
        });
        for (uid, issuer) in in_use {
            self.issuers
                .entry(uid)
                .or_insert_with(|| follow_issuer(issuer, &self.gate, &self.readiness, self.key_files.as_ref()));
        }
        let names: Vec<String> = self.config.issuers.keys().map(condition_name).collect();
        self.readiness
            .keep_only(CONDITION_PREFIX, &names.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn warn_about_restart(&self, new: &Config) {
        let before = &self.config;
        let address = |config: &Config| config.admin.as_ref().map(|admin| admin.address);
        let changed = [
            ("listeners", before.listeners != new.listeners),
            ("admin.address", address(before) != address(new)),
            ("log", before.observe != new.observe),
            ("state_dir", before.state_dir != new.state_dir),
            ("store", before.store != new.store),
        ];
        for (key, _) in changed.into_iter().filter(|(_, changed)| *changed) {
            tracing::warn!(key, "This part of the configuration takes effect after a restart");
        }
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        for task in self.issuers.values().flatten() {
            task.abort();
        }
    }
}

/// Logs the warnings that `keygate check` would print.
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

/// Returns the names that metrics may have as labels.
fn configured_names(config: &Config) -> ConfiguredNames<'_> {
    ConfiguredNames {
        routes: {
            let own = config.built_ins.iter().map(|built_in| built_in.name.as_str());
            config
                .routes
                .iter()
                .map(|route| route.name.as_str())
                .chain(own)
                .collect()
        },
        upstreams: config.upstreams.keys().map(Name::as_str).collect(),
        issuers: config.issuers.keys().map(Name::as_str).collect(),
        limits: config.limits.keys().map(Name::as_str).collect(),
    }
}

/// The name of the keys file's condition in `/readyz`, once the file has changed.
const KEYS_FILE: &str = "keys_file";

const CONDITION_PREFIX: &str = "issuer:";

/// Returns the name of an issuer's condition in `/readyz`.
fn condition_name(issuer: &Name) -> String {
    format!("{CONDITION_PREFIX}{issuer}")
}

fn follow_issuer(
    issuer: &Arc<IssuerState>,
    gate: &Arc<Gate>,
    readiness: &Arc<Readiness>,
    key_files: Option<&Arc<IssuerKeyFiles>>,
) -> Option<AbortHandle> {
    match issuer.proof() {
        Proof::Keys(keys) => Some(follow_keys(issuer, keys, gate, readiness, key_files)),
        Proof::Introspection(introspection) => {
            readiness.set(&condition_name(issuer.name()), Condition::Ok, "asked about each token");
            let inbox = introspection.take_inbox()?;
            let memory = Arc::clone(introspection.verdicts());
            // Not aborted when the configuration changes: requests in flight still introspect under the previous one.
            tokio::spawn(introspect::run(
                issuer.settings().clone(),
                inbox,
                memory,
                Arc::clone(&gate.clock),
            ));
            None
        }
    }
}

fn follow_keys(
    issuer: &Arc<IssuerState>,
    keys: &Arc<IssuerKeys>,
    gate: &Arc<Gate>,
    readiness: &Arc<Readiness>,
    key_files: Option<&Arc<IssuerKeyFiles>>,
) -> AbortHandle {
    let keys = Arc::clone(keys);
    let (issuer, clock, readiness) = (Arc::clone(issuer), Arc::clone(&gate.clock), Arc::clone(readiness));
    let metrics = gate.live.metrics.issuers.of(issuer.name().as_str());
    let saver = key_files
        .and_then(|key_files| IssuerKeySaver::new(key_files, issuer.settings(), gate.live.metrics.state.clone()));
    let name = condition_name(issuer.name());
    if keys.is_loaded() {
        readiness.set(&name, Condition::Ok, "keys loaded");
    } else {
        readiness.set(&name, Condition::Failed, "keys not there yet");
    }
    tokio::spawn(async move {
        let watch = async {
            keys.loaded().await;
            readiness.set(&name, Condition::Ok, "keys loaded");
        };
        // The task is ended by aborting it, so nothing is ever sent.
        let (_never, stop) = tokio::sync::watch::channel(false);
        match issuer.settings().keys {
            KeySource::Pem(_) | KeySource::Introspection(_) | KeySource::Own => watch.await,
            KeySource::File(_) | KeySource::Remote(_) => {
                tokio::join!(
                    watch,
                    source::run(
                        issuer.settings().clone(),
                        Arc::clone(&keys),
                        clock,
                        metrics,
                        saver,
                        stop
                    )
                );
            }
        }
    })
    .abort_handle()
}

/// Replaces the keys of the keys file, and warns where the file tries to undo a revocation.
fn replace_keys(directory: &Directory, keys: Vec<KeyRecord>) {
    let still_revoked = directory.replace(keys);
    if still_revoked > 0 {
        tracing::warn!(
            keys = still_revoked,
            "Keys that were revoked came back as active; they stay revoked"
        );
    }
}

/// Compiles `loaded`, and puts its key material in place once nothing can fail any more.
///
/// # Errors
/// Two routes are indistinguishable; `config::load` reports this first, and with better names.
pub fn install(loaded: &mut LoadedConfig, live: &Live, now: Now) -> Result<Snapshot, MatcherError> {
    let mut snapshot = Snapshot::compile(&loaded.config, live)?;
    let signing = loaded.config.identity_token.as_ref().zip(loaded.signing_key.take());
    let published = &live.identity_tokens.published;
    let signer = signing.map(|(settings, (key, origin))| (published.signer(settings, key, origin), origin));
    snapshot.signer = signer.as_ref().map(|(signer, _)| Arc::clone(signer));
    if let Some((signer, SigningKeyOrigin::Generated)) = &signer {
        signing_key::keep(signer.key(), loaded.config.state_dir.as_deref());
    }
    published.replace(signer, now.wall);
    for issuer in &snapshot.issuers {
        if let Some((text, jwks)) = loaded.pems.remove(issuer.name())
            && let Some(keys) = issuer.keys()
        {
            keys.start_attempt(now).succeed(&text, jwks, now);
        }
    }
    replace_keys(&live.directory, std::mem::take(&mut loaded.keys));
    Ok(snapshot)
}
