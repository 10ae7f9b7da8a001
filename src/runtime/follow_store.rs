//! How does a gate use its store? Opens the store and puts its content in force before a connection is accepted,
//! maintains the store while the gate runs, and closes the store.

use crate::config::Config;
use crate::control::Control;
use crate::control::Settings;
use crate::control::admin::access::Access;
use crate::control::clients::Clients;
use crate::control::enforce;
use crate::control::signing_keys::SigningKeys;
use crate::control::signing_keys::SigningKeysError;
use crate::gate::Gate;
use crate::gate::live::LiveState;
use crate::gate::snapshot::Snapshot;
use crate::jose::jwks::Jwks;
use crate::model::api_key::Digester;
use crate::model::api_key::KeyId;
use crate::model::api_key::system_random;
use crate::model::clock::Clock;
use crate::model::clock::Now;
use crate::model::clock::Timestamp;
use crate::model::directory::ApiKeyOrigin;
use crate::model::directory::Directory;
use crate::observe::log::ErrorChain;
use crate::observe::metrics::ClientCounts;
use crate::runtime::first_administrator;
use crate::runtime::first_administrator::AdministratorNotice;
use crate::runtime::first_administrator::FirstAdministratorError;
use crate::runtime::first_administrator::SecretPlace;
use crate::runtime::limit_counts::LimitCountWriter;
use crate::runtime::reload::Follower;
use crate::runtime::steady_time::SteadyTime;
use crate::runtime::store_watch;
use crate::runtime::ticks::every;
use crate::store::Contents;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::record::client::ClientAuthentication;
use crate::store::record::client::ClientState;
use crate::store::revocations::ReconciliationReport;
use crate::store::revocations::RevocationLog;
use crate::store::sqlite;
use crate::store::sqlite::SqliteStore;
use crate::store::within_store_wait;
use arc_swap::ArcSwap;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

/// Why the store cannot be opened. The gate does not start without its store: it would reject valid API keys, or accept
/// revoked ones.
#[derive(Debug, thiserror::Error)]
pub enum StoreStartError {
    #[error("store: {0}")]
    Store(#[from] StoreError),
    #[error("signing keys of the token endpoint: {0}")]
    SigningKeys(#[from] SigningKeysError),
    #[error("first administrator: {0}")]
    FirstAdministrator(#[from] FirstAdministratorError),
    #[error(transparent)]
    Pepper(#[from] PepperError),
}

/// The pepper is not the one that the credentials in the store were made with: all of them would be refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "api_keys.pepper is not the one that the keys and client secrets in the store were made with (those are {stored}, the \
     configuration gives {configured}), so every one of them would be refused; put the earlier pepper back or, if it is lost, begin with another `store.path`"
)]
pub struct PepperError {
    stored: String,
    configured: String,
}

/// An open store whose content is in force.
pub struct OpenStore {
    pub control: Arc<Control>,
    /// `Some` if the store is new and has a first administrator.
    pub administrator: Option<AdministratorNotice>,
    /// The revocations and events that the log of revocations had and the store lacked.
    pub report: ReconciliationReport,
}

/// Opens the store of `config`, and puts its content in force. Creates the store and the first administrator at the
/// first start, whose secret goes to `place`. Returns `None` if `config` has no store. The log of revocations keeps
/// revocations in force even if the database was restored from an older backup (S078). `lock` is that of a process that has the
/// store open and writes nothing any more.
///
/// # Errors
/// See [`StoreStartError`].
pub async fn open(
    config: &Config,
    directory: &Arc<Directory>,
    clock: &Arc<dyn Clock>,
    place: SecretPlace,
    lock: Option<File>,
) -> Result<Option<OpenStore>, StoreStartError> {
    let Some(settings) = settings(config) else {
        return Ok(None);
    };
    let now = clock.now().wall;
    let path = &settings.store.path;
    let store: Arc<dyn Store> = Arc::new(match lock {
        Some(lock) => SqliteStore::open_shared(path, lock).await?,
        None => SqliteStore::open(path).await?,
    });
    let revocations = RevocationLog::open(&settings.store.beside(REVOCATIONS_SUFFIX), now)?;
    // Each part of the content is in force once it is read. A partial load does no harm: no connection is accepted yet,
    // and the gate does not start if a later part cannot be read.
    let clients = Clients::default();
    let (mut key_count, mut client_count) = (0, 0);
    let mut has_digests = false;
    let mut reconciliation = revocations.reconcile(now);
    store
        .read(&mut |mut part| {
            reconciliation.apply(&mut part);
            key_count += part.api_keys.len();
            client_count += part.clients.len();
            has_digests |= needs_pepper(&part, now);
            enforce::load(part, directory, &clients, now);
        })
        .await?;
    // Before anything is written: the gate may be started with the wrong pepper by mistake.
    check_pepper(&*store, &settings.digester, has_digests).await?;
    let (report, forgotten) = reconciliation.settle(&*store).await?;
    for token in forgotten {
        directory.revoke_token(&token.id, token.expires_at);
    }
    let signing_keys = match &settings.token_endpoint {
        Some(endpoint) => SigningKeys::open(&settings.store, endpoint, now)?,
        None => SigningKeys::default(),
    };
    let control = Arc::new(Control {
        store,
        directory: Arc::clone(directory),
        clients,
        signing_keys,
        revocations,
        settings: ArcSwap::from_pointee(settings),
        clock: Arc::clone(clock),
    });
    let administrator = first_administrator::introduce(&control, config, place, now, system_random).await?;
    tracing::info!(keys = key_count, clients = client_count, "Store opened");
    Ok(Some(OpenStore {
        control,
        administrator,
        report,
    }))
}

/// Returns whether a credential in `contents` that may still be used has a digest that depends on the pepper.
fn needs_pepper(contents: &Contents, now: Timestamp) -> bool {
    let mut keys = contents.api_keys.iter().map(|key| &key.record);
    let mut clients = contents.clients.iter().map(|client| &client.record.authentication);
    keys.any(|key| key.origin == ApiKeyOrigin::Own && !key.is_revoked(now) && !key.is_expired(now))
        || clients.any(|authentication| match authentication {
            ClientAuthentication::ClientSecret { secrets } => secrets.iter().any(|secret| secret.is_valid(now)),
            ClientAuthentication::Keys { .. } | ClientAuthentication::JwksUrl { .. } => false,
        })
}

/// Checks that the digests in the store were made with the configured pepper. A store of before, or without digests, takes the
/// configured one.
async fn check_pepper(store: &dyn Store, digester: &Digester, has_digests: bool) -> Result<(), StoreStartError> {
    let configured = digester.scheme().to_string();
    let stored = store.digest_scheme().await?;
    match stored {
        Some(stored) if stored == configured => Ok(()),
        Some(stored) if has_digests => Err(PepperError { stored, configured }.into()),
        Some(_) | None => {
            // A disk that takes no write now is no reason not to serve.
            if let Err(error) = store.replace_digest_scheme(configured).await {
                tracing::warn!(error = %ErrorChain(&error), "Fingerprint of the pepper not stored; the next start tries again");
            }
            Ok(())
        }
    }
}

/// The path of the revocation log is the path of the database with this suffix.
const REVOCATIONS_SUFFIX: &str = ".revocations";

/// Returns the settings of the control side; `None` if `config` has no store.
fn settings(config: &Config) -> Option<Settings> {
    Some(Settings {
        store: config.store.clone()?,
        token_endpoint: config.token_endpoint.clone(),
        plans: config.plans.clone(),
        key_prefix: config.api_keys.prefix.clone(),
        digester: Digester::new(config.api_keys.pepper.as_ref()),
    })
}

/// Puts the settings of a reloaded `config` in force, except for the store, which stays open. Changes nothing if
/// `config` has no store.
///
/// # Errors
/// The signing keys of a new token endpoint cannot be opened, so the endpoint issues nothing; or a step that is due for
/// the present signing keys cannot be written, so the active key keeps signing. The settings are in force either way.
pub fn reconfigure(control: &Control, config: &Config, now: Timestamp) -> Result<(), SigningKeysError> {
    let before = control.settings.load_full();
    let Some(settings) = settings(config) else {
        return Ok(());
    };
    let settings = Settings {
        store: before.store.clone(),
        ..settings
    };
    let started = match &settings.token_endpoint {
        Some(endpoint) => control.signing_keys.start(&settings.store, endpoint, now),
        None => Ok(()),
    };
    control.settings.store(Arc::new(settings));
    started
}

/// Passes the public keys of access tokens to the data side, which publishes these keys and verifies tokens with them.
pub fn install_keys(control: &Control, live: &LiveState, snapshot: &Snapshot, now: Now) {
    install_public_set(&control.signing_keys.public_set().load_full(), live, snapshot, now);
}

fn install_public_set(document: &[u8], live: &LiveState, snapshot: &Snapshot, now: Now) {
    let own = snapshot.issuers.iter().find(|issuer| issuer.is_own());
    let set: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
    let jwks = set["keys"].as_array().cloned().unwrap_or_default();
    live.identity_tokens.published.replace_access_keys(jwks, now.wall);
    let Some(keys) = own.and_then(|issuer| issuer.keys()) else {
        return;
    };
    // If `reconfigure` could not open the signing keys, the set is empty and `Jwks::parse` rejects it.
    if let Ok(jwks) = Jwks::parse(document) {
        keys.start_attempt(now).succeed(document, jwks, now);
    }
}

/// Puts the content of the store of `config` in force on `live`, as it is, without a lock and without a change: a gate may
/// have the store open. Does nothing if `config` has no store. For a process that accepts no connections.
///
/// # Errors
/// The store, its log of revocations or its signing keys cannot be read, or its digests were made with another pepper. A part of
/// the content may be in force then.
pub fn read_only(config: &Config, live: &LiveState, snapshot: &Snapshot, now: Now) -> Result<(), StoreStartError> {
    let Some(store) = &config.store else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| StoreError::Unavailable(format!("no runtime: {error}")))?;
    let revocations = RevocationLog::read(&store.beside(REVOCATIONS_SUFFIX), now.wall)?;
    let clients = Clients::default();
    let mut has_digests = false;
    let mut reconciliation = revocations.reconcile(now.wall);
    let stored_scheme = runtime.block_on(sqlite::read_only(&store.path, &mut |mut part| {
        reconciliation.apply(&mut part);
        has_digests |= needs_pepper(&part, now.wall);
        enforce::load(part, &live.directory, &clients, now.wall);
    }))?;
    for token in reconciliation.forgotten() {
        live.directory.revoke_token(&token.id, token.expires_at);
    }
    if config.token_endpoint.is_some() {
        install_public_set(&SigningKeys::read_public_set(store)?, live, snapshot, now);
    }
    // Last: a token of the gate itself is verified without the pepper.
    let configured = Digester::new(config.api_keys.pepper.as_ref()).scheme().to_string();
    match stored_scheme {
        Some(stored) if has_digests && stored != configured => Err(PepperError { stored, configured }.into()),
        Some(_) | None => Ok(()),
    }
}

/// The interval at which due steps of the signing keys are performed.
const ROTATION_INTERVAL: Duration = Duration::from_secs(10);
/// The interval at which the last uses of API keys and the counts of limits are written. A last use has a resolution of a
/// minute.
const FLUSH_INTERVAL: Duration = Duration::from_secs(60);
/// The interval at which expired records and revocations are removed, and the end of the audit chain is recorded.
const SWEEP_INTERVAL: Duration = Duration::from_secs(300);

/// Maintains the store, rotates the signing keys, and passes changed signing keys to the data side. Runs until aborted.
pub async fn follow(control: Arc<Control>, gate: Arc<Gate>) {
    let mut limit_counts = LimitCountWriter::new(&control.store, &gate);
    let (mut tick, mut flush, mut sweep) = (every(ROTATION_INTERVAL), every(FLUSH_INTERVAL), every(SWEEP_INTERVAL));
    let mut changes = control.signing_keys.changes();
    let mut time = SteadyTime::new(gate.clock.now());
    loop {
        tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => install_keys(&control, &gate.live, &gate.snapshot(), gate.clock.now()),
                // Unreachable: `control` holds the sender.
                Err(_) => return,
            },
            _ = tick.tick() => {
                gate.live.metrics.issued.set_clients(count_clients(&control));
                // A clock that is ahead must not withdraw keys whose tokens will be valid once it is set back.
                let (control, now) = (Arc::clone(&control), time.at(gate.clock.now()));
                // Use a blocking thread: generating an RSA key takes a tenth of a second.
                let ticked = tokio::task::spawn_blocking(move || control.signing_keys.tick(now)).await;
                if let Ok(Err(error)) = ticked {
                    tracing::error!(error = %ErrorChain(&error), "Signing keys not rotated; those before go on signing");
                }
            }
            _ = flush.tick() => {
                record_key_use(&control).await;
                limit_counts.write().await;
            }
            _ = sweep.tick() => {
                let now = time.at(gate.clock.now());
                if let Err(error) = control.store.sweep(now).await {
                    tracing::warn!(error = %ErrorChain(&error), "Store not swept");
                }
                if let Err(error) = control.revocations.sweep(now).await {
                    tracing::warn!(error = %ErrorChain(&error), "Log of revocations not swept");
                }
                record_audit_end(&control).await;
            }
        }
    }
}

fn count_clients(control: &Control) -> ClientCounts {
    let mut counts = ClientCounts::default();
    control.clients.for_each(|client| match client.record.state {
        ClientState::Active => counts.active += 1,
        ClientState::Disabled => counts.disabled += 1,
        ClientState::Deleted => counts.deleted += 1,
    });
    counts
}

/// Writes the last use of each API key that was used since the last call. A crash or a failed write loses the uses
/// since the last call.
pub async fn record_key_use(control: &Arc<Control>) {
    let directory = Arc::clone(&control.directory);
    let taken = tokio::task::spawn_blocking(move || directory.take_used()).await;
    let used: Vec<(KeyId, Timestamp)> = taken.unwrap_or_default();
    if used.is_empty() {
        return;
    }
    if let Err(error) = control.store.record_key_use(&used).await {
        tracing::warn!(error = %ErrorChain(&error), keys = used.len(), "Last use of keys not noted");
    }
}

/// Records the end of the audit chain in the log of revocations, outside the database, so that
/// a truncation of the chain is noticed (S154).
async fn record_audit_end(control: &Control) {
    if let Err(error) = control.revocations.record_audit_head(&*control.store).await {
        tracing::warn!(error = %ErrorChain(&error), "End of the audit chain not noted");
    }
}

/// Writes the pending revocations, the last uses of API keys, the counts of limits and the end of the audit chain, and closes the
/// store. Logs the revocations that the store lacks. From now on, a revocation that neither the store nor the log takes is refused.
pub async fn close(control: &Arc<Control>, gate: &Gate) {
    control.revocations.require_log();
    let _ = within_store_wait(control.write_pending_revocations()).await;
    store_watch::report_pending(control);
    record_key_use(control).await;
    LimitCountWriter::new(&control.store, gate).write().await;
    close_store(control).await;
}

/// Writes everything that another process needs to go on with the store: revocations, last uses of API keys, counts of limits and
/// the end of the audit chain. The store stays open.
///
/// # Errors
/// A revocation is in force here and cannot be written.
pub async fn flush(control: &Arc<Control>, gate: &Gate) -> Result<(), StoreError> {
    within_store_wait(control.write_pending_revocations()).await?;
    record_key_use(control).await;
    LimitCountWriter::new(&control.store, gate).write().await;
    record_audit_end(control).await;
    Ok(())
}

/// Puts what the store has now in force, after another process had it.
///
/// # Errors
/// The store cannot be read.
pub async fn read_again(control: &Control) -> Result<(), StoreError> {
    let now = control.clock.now().wall;
    let mut load = |part| enforce::load(part, &control.directory, &control.clients, now);
    control.store.read(&mut load).await
}

/// Records the end of the audit chain, and closes the store. Does not wait for ever: a disk may hang, and the next start reads
/// the WAL.
pub async fn close_store(control: &Control) {
    let closed = within_store_wait(async {
        record_audit_end(control).await;
        control.store.close().await;
        Ok::<_, StoreError>(())
    });
    if let Err(error) = closed.await {
        tracing::warn!(error = %ErrorChain(&error), "Store not closed; the next start reads its WAL");
    }
}

/// Applies a reload to the control side: its settings, its signing keys, and the token of the admin API.
pub struct ControlFollower {
    /// `None` without a store.
    pub control: Option<Arc<Control>>,
    pub access: Arc<Access>,
    pub live: Arc<LiveState>,
}

impl Follower for ControlFollower {
    fn check(&self, config: &Config) -> Result<(), String> {
        let Some(control) = &self.control else {
            return Ok(());
        };
        let configured = Digester::new(config.api_keys.pepper.as_ref()).scheme();
        let in_force = control.settings.load().digester.scheme();
        if configured == in_force {
            return Ok(());
        }
        let (stored, configured) = (in_force.to_string(), configured.to_string());
        Err(PepperError { stored, configured }.to_string())
    }

    fn apply(&self, config: &Config, snapshot: &Snapshot, now: Now) -> Result<(), String> {
        let mut applied = Ok(());
        if let Some(control) = &self.control {
            if let Err(error) = reconfigure(control, config, now.wall) {
                let error = ErrorChain(&error).to_string();
                tracing::error!(error, "The token endpoint has no keys and issues nothing");
                applied = Err(format!("the token endpoint has no keys and issues nothing: {error}"));
            }
            install_keys(control, &self.live, snapshot, now);
        }
        let token = config.admin.as_ref().and_then(|admin| admin.token.clone());
        self.access.replace_token(token);
        applied
    }
}
