//! What comes of the store while the gate runs: opened and put in force before anything listens, kept in order, closed.

use crate::config::Config;
use crate::control::Control;
use crate::control::Settings;
use crate::control::admin::access::Access;
use crate::control::clients::Clients;
use crate::control::enforce;
use crate::control::registry::prepare::FirstAdministrator;
use crate::control::registry::prepare::prepare;
use crate::control::signing_keys::SigningKeys;
use crate::control::signing_keys::SigningKeysError;
use crate::gate::Gate;
use crate::gate::live::Live;
use crate::gate::snapshot::Snapshot;
use crate::jose::jwks::Jwks;
use crate::model::api_key::Digester;
use crate::model::api_key::KeyId;
use crate::model::api_key::system_random;
use crate::model::clock::Clock;
use crate::model::clock::Now;
use crate::model::clock::Timestamp;
use crate::model::directory::Directory;
use crate::observe::log::ErrorChain;
use crate::runtime::reload::Follower;
use crate::runtime::ticks::every;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::revocations::RevocationLog;
use crate::store::sqlite::SqliteStore;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;

/// Why the gate cannot start on its store. It does not start without: it would refuse keys that are good, or take some
/// that were revoked.
#[derive(Debug, thiserror::Error)]
pub enum StoreStartError {
    #[error("store: {0}")]
    Store(#[from] StoreError),
    #[error("signing keys of the token endpoint: {0}")]
    SigningKeys(#[from] SigningKeysError),
}

/// A store that was opened and is in force.
pub struct OpenStore {
    pub control: Arc<Control>,
    /// Made at the first start, to be shown once.
    pub first_administrator: Option<FirstAdministrator>,
}

/// Opens the store of `config`, where it has one, and puts everything in it in force: what was revoked is so again, also
/// where the database was put back from before that (S078). Makes what there is at the first start.
///
/// # Errors
/// See [`StoreStartError`].
pub async fn open(
    config: &Config,
    directory: &Arc<Directory>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<OpenStore>, StoreStartError> {
    let Some(settings) = settings(config) else {
        return Ok(None);
    };
    let now = clock.now().wall;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&settings.store.path).await?);
    let revocations = RevocationLog::open(&settings.store.beside(REVOCATIONS), now)?;
    // Put in force as it is read, and nothing listens yet: should any of it fail, the gate does not start.
    let clients = Clients::default();
    let (mut keys, mut held) = (0, 0);
    let mut reconciliation = revocations.reconcile(now);
    store
        .read(&mut |mut part| {
            reconciliation.apply(&mut part);
            keys += part.api_keys.len();
            held += part.clients.len();
            enforce::load(part, directory, &clients, now);
        })
        .await?;
    let (_, forgotten) = reconciliation.settle(&*store).await?;
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
    let first_administrator = prepare(&control, now, system_random).await?;
    tracing::info!(keys, clients = held, "Store opened");
    Ok(Some(OpenStore {
        control,
        first_administrator,
    }))
}

/// Beside the database.
const REVOCATIONS: &str = ".revocations";

/// What the configuration says to the control side; `None` where it has no store.
fn settings(config: &Config) -> Option<Settings> {
    Some(Settings {
        store: config.store.clone()?,
        token_endpoint: config.token_endpoint.clone(),
        plans: config.plans.clone(),
        key_prefix: config.api_keys.prefix.clone(),
        digester: Digester::new(config.api_keys.pepper.as_ref()),
    })
}

/// Puts what a reload brought in force. The store stays the one of the start.
///
/// # Errors
/// A token endpoint that is new here cannot have its keys; then it issues nothing.
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

/// Puts the keys that access tokens are signed with where tokens are verified, and among those that are published.
pub fn install_keys(control: &Control, live: &Live, snapshot: &Snapshot, now: Now) {
    let document = control.signing_keys.public_set().load_full();
    let own = snapshot.issuers.iter().find(|issuer| issuer.is_own());
    let set: serde_json::Value = serde_json::from_slice(&document).unwrap_or_default();
    let jwks = set["keys"].as_array().cloned().unwrap_or_default();
    live.identity_tokens.published.replace_access_keys(jwks, now.wall);
    let Some(keys) = own.and_then(|issuer| issuer.keys()) else {
        return;
    };
    // A gate without a token endpoint has no keys, and an empty set is none.
    if let Ok(jwks) = Jwks::parse(&document) {
        keys.start_attempt(now).succeed(&document, jwks, now);
    }
}

/// How often it is looked whether a signing key is to be made, used or let go.
const TICK_EVERY: Duration = Duration::from_secs(10);
/// How often it is noted which keys were used, which is told to the minute.
const FLUSH_EVERY: Duration = Duration::from_secs(60);
/// How often what is over is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(300);

/// Keeps the store in order, and the keys of the data side those that sign. Ends when it is aborted.
pub async fn follow(control: Arc<Control>, gate: Arc<Gate>) {
    let (mut tick, mut flush, mut sweep) = (every(TICK_EVERY), every(FLUSH_EVERY), every(SWEEP_EVERY));
    let mut changes = control.signing_keys.changes();
    loop {
        tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => install_keys(&control, &gate.live, &gate.snapshot(), gate.clock.now()),
                // The sender is in `control`.
                Err(_) => return,
            },
            _ = tick.tick() => {
                let (control, now) = (Arc::clone(&control), gate.clock.now().wall);
                // An RSA key takes a tenth of a second to make, and others wait for this thread.
                let ticked = tokio::task::spawn_blocking(move || control.signing_keys.tick(now)).await;
                if let Ok(Err(error)) = ticked {
                    tracing::error!(error = %ErrorChain(&error), "Signing keys not rotated; those before go on signing");
                }
            }
            _ = flush.tick() => note_use(&control).await,
            _ = sweep.tick() => {
                let now = gate.clock.now().wall;
                if let Err(error) = control.store.sweep(now).await {
                    tracing::warn!(error = %ErrorChain(&error), "Store not swept");
                }
                if let Err(error) = control.revocations.sweep(now).await {
                    tracing::warn!(error = %ErrorChain(&error), "Log of revocations not swept");
                }
                anchor(&control).await;
            }
        }
    }
}

/// Writes down which keys were used since the last time. What is lost by a crash is a minute of it.
pub async fn note_use(control: &Arc<Control>) {
    let directory = Arc::clone(&control.directory);
    let taken = tokio::task::spawn_blocking(move || directory.take_used()).await;
    let used: Vec<(KeyId, Timestamp)> = taken.unwrap_or_default();
    if used.is_empty() {
        return;
    }
    if let Err(error) = control.store.keys_used(&used).await {
        tracing::warn!(error = %ErrorChain(&error), keys = used.len(), "Last use of keys not noted");
    }
}

/// Notes beside the store where its audit chain ends, for the day on which somebody shortens it (S154).
async fn anchor(control: &Control) {
    if let Err(error) = control.revocations.anchor(&*control.store).await {
        tracing::warn!(error = %ErrorChain(&error), "End of the audit chain not noted");
    }
}

/// Writes what is still to be written, and lets go of the store.
pub async fn close(control: &Arc<Control>) {
    note_use(control).await;
    anchor(control).await;
    control.store.close().await;
}

/// The control side as a reload changes it: what it issues by, and whose token the admin API takes.
pub struct ControlFollower {
    /// `None` without a store.
    pub control: Option<Arc<Control>>,
    pub access: Arc<Access>,
    pub live: Arc<Live>,
}

impl Follower for ControlFollower {
    fn take_up(&self, config: &Config, snapshot: &Snapshot, now: Now) -> bool {
        let mut taken_up = true;
        if let Some(control) = &self.control {
            if let Err(error) = reconfigure(control, config, now.wall) {
                taken_up = false;
                tracing::error!(error = %ErrorChain(&error), "The token endpoint has no keys and issues nothing");
            }
            install_keys(control, &self.live, snapshot, now);
        }
        let token = config.admin.as_ref().and_then(|admin| admin.token.clone());
        self.access.replace_token(token);
        taken_up
    }
}
