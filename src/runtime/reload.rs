//! How does a changed configuration come into force? It is loaded and compiled, and then replaces the previous one as a
//! whole. An invalid configuration is logged and changes nothing. The file check and SIGHUP often report the same
//! change: content that equals the last load is not compiled again, so that one change is one reload.

use crate::config::Config;
use crate::config::IdentityToken;
use crate::config::KeySource;
use crate::config::MainFile;
#[cfg(feature = "gateway")]
use crate::config::Shutdown;
use crate::fetch::client_token;
use crate::fetch::introspect;
use crate::fetch::issuer_key_files::IssuerKeyFiles;
use crate::fetch::issuer_key_files::IssuerKeySaver;
use crate::fetch::source;
use crate::gate::Gate;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::authenticate::issuer::Proof;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::snapshot::Snapshot;
use crate::gate::upstream_credential::ClientToken;
use crate::model::clock::Now;
use crate::model::names::Name;
use crate::observe::metrics::ConfiguredNames;
use crate::observe::metrics::ReloadResult;
use crate::observe::ready::Condition;
use crate::observe::ready::Readiness;
use crate::runtime::config_files::ConfigCheck;
use crate::runtime::config_files::ContentHashes;
use crate::runtime::config_files::EmptyKeysFile;
use crate::runtime::config_files::Files;
use crate::runtime::config_files::LoadError;
use crate::runtime::config_files::LoadedConfig;
use crate::runtime::config_files::load_logged;
use crate::runtime::config_files::log_warnings;
use crate::runtime::config_files::read_keys;
use crate::runtime::install::compile_and_install;
use crate::runtime::install::replace_keys;
use crate::runtime::issuer_key_files;
use crate::runtime::restart::RestartNeed;
use crate::runtime::restart::StartSettings;
use crate::runtime::signing_key;
use std::collections::BTreeMap;
use std::hash::DefaultHasher;
use std::hash::Hasher;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::AbortHandle;

/// The hashes of the files' content, and the outcome of loading that content. Loads with equal outcomes are one change.
#[derive(Debug, PartialEq, Eq)]
struct LoadOutcome {
    config: u64,
    api_keys: u64,
    /// Why the configuration was rejected; `None` if it was accepted.
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

    /// Records a load of only the API keys. Returns whether its outcome equals the last one.
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

fn log_refusal(error: &LoadError) {
    tracing::error!(error = %one_line(error), "Configuration refused; the one before goes on serving");
}

/// Returns all errors in one line. The log would escape line breaks, and escaped line breaks are hard to read.
fn one_line(error: &LoadError) -> String {
    error
        .to_string()
        .replace("\n    hint: ", "; hint: ")
        .replace('\n', " | ")
}

/// The number of file checks (2 s) after which a rejected configuration is loaded again.
const CHECKS_PER_RETRY: u32 = 8;

/// A part of the process besides the gate that uses the configuration: the control side, the TLS of the listeners.
pub trait Follower: Send {
    /// Checks `config` before any of it is in force.
    ///
    /// # Errors
    /// Why the reload must be refused, for people.
    fn check(&self, _config: &Config) -> Result<(), String> {
        Ok(())
    }

    /// Applies `config`. `snapshot` was compiled from `config` and is published right afterwards.
    ///
    /// # Errors
    /// Why a part of `config` could not be applied, for people. The follower has logged it. The next SIGHUP applies the
    /// configuration again, even if it is unchanged.
    fn apply(&self, config: &Config, snapshot: &Snapshot, now: Now) -> Result<(), String>;
}

/// The process around the gate: the gateway, or a program that embeds a gate.
pub struct HostProcess {
    pub followers: Vec<Box<dyn Follower>>,
    pub start_settings: StartSettings,
    /// Rejects a configuration that the process does not support.
    pub check: ConfigCheck,
}

/// Reloads the configuration of a gate.
pub struct Reloader {
    path: PathBuf,
    gate: Arc<Gate>,
    readiness: Arc<Readiness>,
    generation: u64,
    config: Config,
    /// `true` if the keys file in force has keys.
    has_keys: bool,
    files: Files,
    /// The outcome of the last load; `None` if a follower failed, so that the next SIGHUP applies the same content.
    last_outcome: Option<LoadOutcome>,
    /// The number of file checks since a configuration was rejected; `None` while the last configuration is in force.
    checks_since_refusal: Option<u32>,
    /// The folder that keeps issuers' keys over a restart.
    key_files: Option<Arc<IssuerKeyFiles>>,
    host: HostProcess,
    /// The settings of the configuration in force that wait for a restart.
    restart_needs: Vec<RestartNeed>,
    /// The background task of each issuer, by [`IssuerState::uid`]; `None` for a task that ends without an abort.
    issuers: BTreeMap<u64, Option<AbortHandle>>,
    /// The access tokens for upstreams, each with its fetcher.
    client_tokens: Vec<(Arc<ClientToken>, AbortHandle)>,
}

impl Reloader {
    /// Returns a reloader for a gate that runs on `loaded`, and starts the issuers' background tasks.
    pub fn new(
        path: PathBuf,
        loaded: LoadedConfig,
        gate: Arc<Gate>,
        readiness: Arc<Readiness>,
        key_files: Option<Arc<IssuerKeyFiles>>,
        host: HostProcess,
    ) -> Self {
        let mut reloader = Self {
            key_files,
            host,
            restart_needs: Vec::new(),
            path,
            gate,
            readiness,
            generation: 1,
            last_outcome: Some(LoadOutcome::new(&loaded.files.content, None)),
            files: loaded.files,
            checks_since_refusal: None,
            config: loaded.config,
            has_keys: loaded.has_keys,
            issuers: BTreeMap::new(),
            client_tokens: Vec::new(),
        };
        reloader.follow_issuers();
        reloader.report_restart_needs();
        reloader
    }

    /// Returns why the last load was refused; `None` if it is in force.
    #[cfg(feature = "gateway")]
    pub fn refusal(&self) -> Option<&str> {
        self.last_outcome
            .as_ref()
            .and_then(|outcome| outcome.refusal.as_deref())
    }

    /// Returns how the configuration in force wants the process to end.
    #[cfg(feature = "gateway")]
    pub const fn shutdown(&self) -> Shutdown {
        self.config.shutdown
    }

    /// Returns the number of connections that the configuration in force allows.
    #[cfg(feature = "gateway")]
    pub const fn connections_max(&self) -> usize {
        self.config.requests.connections_max
    }

    /// Reloads the configuration or the API keys if a file has changed. Loads a rejected configuration again from time
    /// to time.
    pub fn check_files(&mut self) {
        if self.files.config.changed() {
            self.reload();
        } else if self.files.api_keys.changed() {
            self.reload_keys();
        } else if let Some(checks) = &mut self.checks_since_refusal {
            *checks += 1;
            // A missing file or secret may exist now. A load that failed early did not find all files, so `files` is
            // incomplete: read everything again.
            if checks.is_multiple_of(CHECKS_PER_RETRY) && self.load(&mut Files::default()).is_ok() {
                self.reload();
            }
        }
    }

    fn load(&self, files: &mut Files) -> Result<LoadedConfig, LoadError> {
        load_logged(
            MainFile::Path(&self.path),
            files,
            self.host.check,
            self.empty_keys_file(),
        )
    }

    fn empty_keys_file(&self) -> EmptyKeysFile {
        if self.has_keys {
            EmptyKeysFile::Refused
        } else {
            EmptyKeysFile::Accepted
        }
    }

    /// Loads, compiles and publishes the configuration. After an error, the previous configuration stays in force. A
    /// load that equals the last one is neither compiled nor counted in the metrics.
    pub fn reload(&mut self) {
        let mut files = Files::default();
        let loaded = self.load(&mut files);
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

    /// Logs the outcome of a load that equals the last one, so that each SIGHUP is logged. Stores the new fingerprints.
    fn log_unchanged(&mut self, loaded: Result<LoadedConfig, LoadError>, files: Files) {
        match loaded {
            Ok(loaded) => {
                self.files = loaded.files;
                self.retry_saving_signing_key();
                self.warn_about_restart();
                tracing::info!(generation = self.generation, "Configuration unchanged");
            }
            Err(error) => {
                self.files.config = files.config;
                log_refusal(&error);
            }
        }
    }

    /// Saves a generated signing key, in case `state_dir` could not be written before.
    fn retry_saving_signing_key(&self) {
        let made = |settings: &IdentityToken| settings.signing_key_file.is_none();
        let snapshot = self.gate.snapshot();
        if self.config.identity_token.as_ref().is_some_and(made)
            && let (Some(signer), Some(folder)) = (&snapshot.signer, &self.config.state_dir)
        {
            signing_key::keep(signer.key(), Some(folder));
        }
    }

    /// Compiles and publishes a loaded configuration, or records and logs the error.
    fn put_in_force(&mut self, loaded: Result<LoadedConfig, LoadError>, files: Files, outcome: LoadOutcome) {
        let metrics = Arc::clone(&self.gate.live.metrics);
        let now = self.gate.clock.now();
        let compiled = loaded.and_then(|mut loaded| {
            for follower in &self.host.followers {
                follower.check(&loaded.config).map_err(LoadError::Unusable)?;
            }
            let snapshot = compile_and_install(&mut loaded, &self.gate.live, now)?;
            // An issuer that this reload adds may have kept keys from an earlier configuration.
            if let Some(key_files) = &self.key_files {
                issuer_key_files::restore(&snapshot, key_files, now);
            }
            Ok((loaded, snapshot))
        });
        match compiled {
            Ok((loaded, snapshot)) => {
                self.restart_needs = self.host.start_settings.needs(&loaded.config);
                self.warn_about_restart();
                log_warnings(&loaded.config);
                self.generation += 1;
                let routes = snapshot.routes.len();
                // Every follower applies the configuration, also after one of them has failed.
                let applied = self.host.followers.iter();
                let applied = applied.map(|follower| follower.apply(&loaded.config, &snapshot, now));
                let problems: Vec<String> = applied.filter_map(Result::err).collect();
                self.last_outcome = problems.is_empty().then_some(outcome);
                self.gate.current.publish(snapshot);
                self.gate.live.retain(&loaded.config);
                metrics.forget_all_but(&configured_names(&loaded.config));
                self.config = loaded.config;
                self.has_keys = loaded.has_keys;
                self.files = loaded.files;
                self.checks_since_refusal = None;
                self.follow_issuers();
                self.readiness.remove(KEYS_FILE);
                self.report_restart_needs();
                if problems.is_empty() {
                    self.readiness.config_loaded();
                } else {
                    self.readiness.config_loaded_in_part(&problems.join("; "));
                }
                metrics.reloads.count(self.result_in_force(), now.wall);
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
        let read = read_keys(&self.config, &mut content, self.empty_keys_file());
        // A rejected load may have stopped before it read the API keys: do not compare with its outcome.
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
                self.has_keys = count > 0;
                replace_keys(&self.gate.live.directory, keys);
                self.readiness.set(KEYS_FILE, Condition::Ok, format!("{count} keys"));
                // While a configuration is rejected, the metric must keep showing a failed reload.
                if self.checks_since_refusal.is_none() {
                    let now = self.gate.clock.now().wall;
                    self.gate.live.metrics.reloads.count(self.result_in_force(), now);
                }
                tracing::info!(keys = count, "API keys reloaded");
            }
            Err(error) => {
                self.readiness.set(
                    KEYS_FILE,
                    Condition::Degraded,
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

    /// Runs one background task for each issuer of the configuration in force, and ends those of other issuers.
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
        self.follow_client_tokens();
        let names: Vec<String> = self.config.issuers.keys().map(condition_name).collect();
        self.readiness
            .keep_only(CONDITION_PREFIX, &names.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Runs one fetcher for each access token of the configuration in force, and ends those of other tokens.
    fn follow_client_tokens(&mut self) {
        let tokens = self.gate.live.client_tokens();
        self.client_tokens.retain(|(token, task)| {
            let keep = tokens.iter().any(|(_, current)| Arc::ptr_eq(current, token));
            if !keep {
                task.abort();
            }
            keep
        });
        let names: Vec<String> = tokens
            .iter()
            .map(|(name, _)| client_token::condition_name(name.as_str()))
            .collect();
        self.readiness.keep_only(
            client_token::CONDITION_PREFIX,
            &names.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        for (name, token) in tokens {
            if self.client_tokens.iter().any(|(known, _)| Arc::ptr_eq(known, &token)) {
                continue;
            }
            let metrics = self.gate.live.metrics.upstream_credentials.of_token(name.as_str());
            let (clock, readiness) = (Arc::clone(&self.gate.clock), Arc::clone(&self.readiness));
            let fetched = Arc::clone(&token);
            let task = tokio::spawn(async move {
                client_token::run(name.as_str(), fetched, clock, metrics, readiness).await;
            });
            self.client_tokens.push((token, task.abort_handle()));
        }
    }

    /// Returns how a load that was put in force is counted.
    fn result_in_force(&self) -> ReloadResult {
        if self.last_outcome.is_none() {
            ReloadResult::Incomplete
        } else if self.restart_needs.is_empty() {
            ReloadResult::Success
        } else {
            ReloadResult::RestartNeeded
        }
    }

    fn warn_about_restart(&self) {
        for RestartNeed { setting, effect } in &self.restart_needs {
            tracing::warn!(
                key = setting,
                effect,
                "This part of the configuration takes effect after a restart"
            );
        }
    }

    /// Shows in `/readyz` and in the metrics which settings wait for a restart.
    fn report_restart_needs(&self) {
        let needs = &self.restart_needs;
        let settings = RestartNeed::SETTINGS.iter();
        let settings = settings.map(|setting| (*setting, needs.iter().any(|need| need.setting == *setting)));
        self.gate.live.metrics.reloads.set_restart_needed(settings);
        if needs.is_empty() {
            self.readiness.remove(RESTART);
        } else {
            let needs = needs.iter().map(|need| format!("{} ({})", need.setting, need.effect));
            let needs = needs.collect::<Vec<_>>().join("; ");
            let detail = format!("restart Keygate to put the rest of the configuration in force: {needs}");
            self.readiness.set(RESTART, Condition::Degraded, detail);
        }
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        let tokens = self.client_tokens.iter().map(|(_, task)| task);
        for task in self.issuers.values().flatten().chain(tokens) {
            task.abort();
        }
    }
}

/// Returns the names in `config`. Their metrics stay after a reload.
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

/// The condition in `/readyz` that settings wait for a restart. It exists as long as they do.
const RESTART: &str = "restart";

/// The condition of `api_keys.file` in `/readyz`. It exists after a reload of only the API keys, until the next reload
/// of the configuration.
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
            // Do not abort this task when the configuration changes: requests in flight still introspect under the
            // previous configuration. The task ends when the last sender of `inbox` is dropped.
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
        readiness.set(&name, Condition::Failing, "keys not there yet");
    }
    tokio::spawn(async move {
        let watch = async {
            keys.loaded().await;
            readiness.set(&name, Condition::Ok, "keys loaded");
        };
        // The reloader aborts this task, so `source::run` needs no stop signal.
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
