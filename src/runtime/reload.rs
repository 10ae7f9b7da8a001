//! A configuration is loaded aside, compiled aside, and swapped in whole; a broken one changes nothing and says so.
//!
//! The look at the files notices a change, and SIGHUP often tells of the same one. It is one reload: files whose content is
//! that of the last reading are not compiled again.

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
use crate::fetch::kept::Keeper;
use crate::fetch::kept::KeptKeys;
use crate::fetch::outcome::SourceError;
use crate::fetch::source;
use crate::gate::Gate;
use crate::gate::accept::matcher::MatcherError;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::authenticate::issuer::Proof;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::identity_token::published::KeyOrigin;
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
use crate::runtime::kept;
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
    #[error(transparent)]
    Routes(#[from] MatcherError),
}

/// A configuration and the key material that its files hold: everything that can fail has not.
pub struct LoadedConfig {
    pub config: Config,
    pems: BTreeMap<Name, (Vec<u8>, Jwks)>,
    keys: Vec<KeyRecord>,
    signing_key: Option<(SigningKey, KeyOrigin)>,
    files: Files,
}

/// The files of a configuration, as they looked before they were read: what changes while they are read is then seen
/// as a change afterwards, and not missed.
#[derive(Default)]
struct Files {
    /// Configuration and the key files that are part of it.
    config: WatchedFiles,
    api_keys: WatchedFiles,
    content: ContentHashes,
}

/// Hashes of what was read. A new fingerprint tells that a file was written, these whether its content is another.
#[derive(Default)]
struct ContentHashes {
    /// Configuration, secrets and key files.
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

/// The content of the files and the outcome of loading them. Two that are equal are one change at most.
#[derive(Debug, PartialEq, Eq)]
struct LoadOutcome {
    config: u64,
    api_keys: u64,
    /// Why it was refused; `None` where it is in force.
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

    /// Takes over a reading of the API keys alone. Returns whether it equals the one before.
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

/// Reads the file and every file it names. Changes nothing.
///
/// # Errors
/// Every mistake in the configuration at once; or the first key file that cannot be used.
pub fn load(path: &Path) -> Result<LoadedConfig, LoadError> {
    load_noting(path, &mut Files::default())
}

/// `files` are those that were read, and those that would have been, where an error came first.
fn load_noting(path: &Path, files: &mut Files) -> Result<LoadedConfig, LoadError> {
    files.config.add([path.to_owned()]);
    let config = config::load_logged(path, files).map_err(LoadError::Config)?;
    for issuer in config.issuers.values() {
        match &issuer.keys {
            KeySource::Pem(paths) => files.config.add(paths.clone()),
            KeySource::Introspection(asked) => {
                if let ClientAuthentication::PrivateKey(key) = &asked.authentication {
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
            // Its own task reads it; here it is only tried, so that a mistake shows before anything starts.
            KeySource::File(path) => drop(file::read_set(path).map_err(failed)?),
            KeySource::Remote(_) | KeySource::Own => {}
            KeySource::Introspection(asked) => {
                introspect::check_key(asked, &issuer.issuer).map_err(|error| LoadError::Issuer {
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
    // A key that was made here is not part of the configuration: it signs on, whatever is in `state_dir`.
    if let Some((key, KeyOrigin::File)) = &signing_key {
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

fn say_refused(error: &LoadError) {
    tracing::error!(error = %one_line(error), "Configuration refused; the one before goes on serving");
}

/// Every mistake on one line, for the log: there a line end is written as an escape, and many of them cannot be read.
fn one_line(error: &LoadError) -> String {
    error
        .to_string()
        .replace("\n    hint: ", "; hint: ")
        .replace('\n', " | ")
}

/// Reads the file of API keys, and adds its content to `content`.
fn read_keys(config: &Config, content: &mut DefaultHasher) -> Result<Vec<KeyRecord>, LoadError> {
    let Some(path) = &config.api_keys.file else {
        return Ok(Vec::new());
    };
    let text = keys_file::text(path).map_err(LoadError::KeysFile)?;
    text.hash(content);
    keys_file::parse_file(path, &text, digest_scheme(config)).map_err(LoadError::KeysFile)
}

/// How a configuration's keys are digested.
pub fn digest_scheme(config: &Config) -> DigestScheme {
    match config.api_keys.pepper {
        Some(_) => DigestScheme::HmacSha256,
        None => DigestScheme::Sha256,
    }
}

/// A refused configuration is tried again after so many looks at its files.
const LOOKS_BETWEEN_TRIES: u32 = 8;

/// What takes up a configuration beside the gate: the control side, where there is one.
pub trait Follower: Send {
    /// Takes up `config`, whose `snapshot` is published right after. Returns whether all of it could be taken up; the next
    /// SIGHUP tries again what could not.
    fn take_up(&self, config: &Config, snapshot: &Snapshot, now: Now) -> bool;
}

/// Keeps a gate up to date with its files.
pub struct Reloader {
    path: PathBuf,
    gate: Arc<Gate>,
    readiness: Arc<Readiness>,
    generation: u64,
    config: Config,
    files: Files,
    /// The last one; `None` where a step after it failed, which the next SIGHUP tries again.
    reading: Option<LoadOutcome>,
    /// How many looks ago the configuration that was read last was refused; `None` while it is the one in use.
    refused: Option<u32>,
    /// Where issuers' keys are kept over a restart.
    kept: Option<Arc<KeptKeys>>,
    /// What else takes up a configuration.
    follower: Option<Box<dyn Follower>>,
    /// The background work of each issuer, by the issuer's unique number; `None` for work that ends by itself.
    issuers: BTreeMap<u64, Option<AbortHandle>>,
}

impl Reloader {
    /// Takes over a gate that runs on `loaded`, and starts the issuers' background work.
    pub fn new(
        path: PathBuf,
        loaded: LoadedConfig,
        gate: Arc<Gate>,
        readiness: Arc<Readiness>,
        kept: Option<Arc<KeptKeys>>,
        follower: Option<Box<dyn Follower>>,
    ) -> Self {
        let mut reloader = Self {
            kept,
            follower,
            path,
            gate,
            readiness,
            generation: 1,
            reading: Some(LoadOutcome::new(&loaded.files.content, None)),
            files: loaded.files,
            refused: None,
            config: loaded.config,
            issuers: BTreeMap::new(),
        };
        reloader.follow();
        reloader
    }

    /// Looks at the files; reloads what changed.
    pub fn look(&mut self) {
        if self.files.config.changed() {
            self.reload();
        } else if self.files.api_keys.changed() {
            self.reload_keys();
        } else if let Some(looks) = &mut self.refused {
            *looks += 1;
            // A file that it lacked may have come, or a secret; and which ones it lacks, a refused file does not say.
            if looks.is_multiple_of(LOOKS_BETWEEN_TRIES) && load(&self.path).is_ok() {
                self.reload();
            }
        }
    }

    /// Loads, compiles, publishes; on any error keeps what runs. Compiles and counts nothing when content and outcome are
    /// those of the last reading.
    pub fn reload(&mut self) {
        let mut files = Files::default();
        let loaded = load_noting(&self.path, &mut files);
        let reading = match &loaded {
            Ok(loaded) => LoadOutcome::new(&loaded.files.content, None),
            Err(error) => LoadOutcome::new(&files.content, Some(error.to_string())),
        };
        if self.reading.as_ref() == Some(&reading) {
            self.answer_unchanged(loaded, files);
        } else {
            self.put_in_force(loaded, files, reading);
        }
    }

    /// Logs the outcome of a reading that equals the last one, so that each SIGHUP is answered.
    fn answer_unchanged(&mut self, loaded: Result<LoadedConfig, LoadError>, files: Files) {
        match loaded {
            Ok(loaded) => {
                self.files = loaded.files;
                self.retry_keeping_the_signing_key();
                tracing::info!(generation = self.generation, "Configuration unchanged");
            }
            Err(error) => {
                self.files.config = files.config;
                say_refused(&error);
            }
        }
    }

    /// Keeps a signing key that was made here, in case `state_dir` could not be written before.
    fn retry_keeping_the_signing_key(&self) {
        let made = |settings: &IdentityToken| settings.signing_key_file.is_none();
        let snapshot = self.gate.snapshot();
        if self.config.identity_token.as_ref().is_some_and(made)
            && let (Some(signer), Some(folder)) = (&snapshot.signer, &self.config.state_dir)
        {
            signing_key::keep(signer.key(), Some(folder));
        }
    }

    /// Compiles and publishes what was loaded, or says why it is refused.
    fn put_in_force(&mut self, loaded: Result<LoadedConfig, LoadError>, files: Files, reading: LoadOutcome) {
        let metrics = Arc::clone(&self.gate.live.metrics);
        let now = self.gate.clock.now();
        let compiled = loaded.and_then(|mut loaded| {
            let snapshot = install(&mut loaded, &self.gate.live, now)?;
            // An issuer that is new here may be an old one under its old name.
            if let Some(kept) = &self.kept {
                kept::restore(&snapshot, kept, now);
            }
            Ok((loaded, snapshot))
        });
        match compiled {
            Ok((loaded, snapshot)) => {
                self.warn_of_what_needs_a_restart(&loaded.config);
                say_warnings(&loaded.config);
                self.generation += 1;
                self.reading = Some(reading);
                let routes = snapshot.routes.len();
                if let Some(follower) = &self.follower
                    && !follower.take_up(&loaded.config, &snapshot, now)
                {
                    self.reading = None;
                }
                self.gate.current.publish(snapshot);
                self.gate.live.retain(&loaded.config);
                metrics.forget_all_but(&names(&loaded.config));
                self.config = loaded.config;
                self.files = loaded.files;
                self.refused = None;
                self.follow();
                self.readiness.forget(KEYS_FILE);
                metrics.reloads.ended(ReloadResult::Success, now.wall);
                self.readiness.config_loaded();
                tracing::info!(generation = self.generation, routes, "Configuration reloaded");
            }
            Err(error) => {
                self.refused = Some(0);
                self.reading = Some(LoadOutcome {
                    refusal: Some(error.to_string()),
                    ..reading
                });
                self.files.config = files.config;
                metrics.reloads.ended(ReloadResult::Failure, now.wall);
                self.readiness.config_reload_failed(&error.to_string());
                say_refused(&error);
            }
        }
    }

    fn reload_keys(&mut self) {
        let mut content = DefaultHasher::default();
        let read = read_keys(&self.config, &mut content);
        // Loading a refused configuration may have stopped before its keys: the reading does not cover them.
        let reading = self.reading.as_mut().filter(|_| self.refused.is_none());
        let refusal = read.as_ref().err().map(ToString::to_string);
        let unchanged = reading.is_some_and(|reading| reading.replace_keys(content.finish(), refusal));
        match read {
            Ok(_) if unchanged => tracing::info!("API keys unchanged"),
            Ok(keys) => {
                let count = keys.len();
                replace_keys(&self.gate.live.directory, keys);
                self.readiness.set(KEYS_FILE, Condition::Ok, format!("{count} keys"));
                // Good keys do not make a refused configuration good.
                if self.refused.is_none() {
                    let now = self.gate.clock.now().wall;
                    self.gate.live.metrics.reloads.ended(ReloadResult::Success, now);
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
                    self.gate.live.metrics.reloads.ended(ReloadResult::Failure, now);
                }
                tracing::error!(error = %one_line(&error), "Keys file refused; the keys before go on serving");
            }
        }
    }

    /// Runs one background task for each issuer of the configuration in use.
    fn follow(&mut self) {
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
                .or_insert_with(|| follow_issuer(issuer, &self.gate, &self.readiness, self.kept.as_ref()));
        }
        let names: Vec<String> = self.config.issuers.keys().map(condition).collect();
        self.readiness
            .keep_only(CONDITION_PREFIX, &names.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn warn_of_what_needs_a_restart(&self, new: &Config) {
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

/// Puts into the log what `keygate check` would warn of.
pub fn say_warnings(config: &Config) {
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

/// What metrics may be about.
fn names(config: &Config) -> ConfiguredNames<'_> {
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

/// What the keys file is called in `/readyz`, once it has changed.
const KEYS_FILE: &str = "keys_file";

const CONDITION_PREFIX: &str = "issuer:";

/// What an issuer's keys are called in `/readyz`.
fn condition(issuer: &Name) -> String {
    format!("{CONDITION_PREFIX}{issuer}")
}

fn follow_issuer(
    issuer: &Arc<IssuerState>,
    gate: &Arc<Gate>,
    readiness: &Arc<Readiness>,
    kept: Option<&Arc<KeptKeys>>,
) -> Option<AbortHandle> {
    match issuer.proof() {
        Proof::Keys(keys) => Some(follow_keys(issuer, keys, gate, readiness, kept)),
        Proof::Introspection(introspection) => {
            readiness.set(&condition(issuer.name()), Condition::Ok, "asked about each token");
            let inbox = introspection.take_inbox()?;
            let memory = Arc::clone(introspection.verdicts());
            // Not aborted when the configuration changes: requests under way still ask under the one of before.
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
    kept: Option<&Arc<KeptKeys>>,
) -> AbortHandle {
    let keys = Arc::clone(keys);
    let (issuer, clock, readiness) = (Arc::clone(issuer), Arc::clone(&gate.clock), Arc::clone(readiness));
    let metrics = gate.live.metrics.issuers.of(issuer.name().as_str());
    let keeper = kept.and_then(|kept| Keeper::new(kept, issuer.settings(), gate.live.metrics.state.clone()));
    let name = condition(issuer.name());
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
        // Ended by aborting this task, so nobody ever sends.
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
                        keeper,
                        stop
                    )
                );
            }
        }
    })
    .abort_handle()
}

/// Makes `keys` the ones that count, and says so when a file tries to undo a revocation.
fn replace_keys(directory: &Directory, keys: Vec<KeyRecord>) {
    let held = directory.replace(keys);
    if held > 0 {
        tracing::warn!(
            keys = held,
            "Keys that were revoked came back as active; they stay revoked"
        );
    }
}

/// Compiles, and puts key material in place once nothing can fail any more.
///
/// # Errors
/// Two routes that nothing tells apart; `config::load` names them better, and first.
pub fn install(loaded: &mut LoadedConfig, live: &Live, now: Now) -> Result<Snapshot, MatcherError> {
    let mut snapshot = Snapshot::compile(&loaded.config, live)?;
    let signing = loaded.config.identity_token.as_ref().zip(loaded.signing_key.take());
    let published = &live.identity_tokens.published;
    let signer = signing.map(|(settings, (key, origin))| (published.signer(settings, key, origin), origin));
    snapshot.signer = signer.as_ref().map(|(signer, _)| Arc::clone(signer));
    if let Some((signer, KeyOrigin::Generated)) = &signer {
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
