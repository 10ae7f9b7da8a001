//! How does the control side get the key set at a client's `jwks_url`? With the fetch code of the data side, from a
//! cache for a limited number of clients.

use crate::config::ConnectSettings;
use crate::control::Control;
use crate::control::token::assertion::ALGORITHMS;
use crate::control::token::client_jwks::BoxFuture;
use crate::control::token::client_jwks::ClientJwks;
use crate::control::token::client_jwks::JwksHealth;
use crate::control::token::client_jwks::JwksKey;
use crate::control::token::client_jwks::JwksState;
use crate::fetch::issuer_key_files::IssuerKeyFileError;
use crate::fetch::issuer_key_files::IssuerKeyFiles;
use crate::fetch::issuer_key_files::KeyOwners;
use crate::fetch::on_demand::FetchContext;
use crate::fetch::on_demand::OnDemandJwks;
use crate::gate::authenticate::jwks_cache::IssuerHealth;
use crate::jose::current_jwks::CurrentJwks;
use crate::jose::current_jwks::JwksUnavailable;
use crate::jose::jwks::Jwks;
use crate::model::id::ClientId;
use crate::observe::log::ErrorChain;
use crate::observe::metrics::ClientKeySetCounts;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::StateMetrics;
use crate::store::record::client::ClientAuthentication;
use crate::store::record::client::ClientState;
use quick_cache::sync::Cache;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The maximum number of cached key sets. With more clients, sets that are rarely used are evicted and fetched again.
const CLIENTS_MAX: usize = 10_000;
/// The maximum number of concurrent fetches. Anybody can trigger a fetch by naming a client, once per client and
/// cooldown.
const FETCHES_MAX: usize = 32;

/// The key sets of the clients of one gate.
pub struct FetchedClientJwks {
    control: Arc<Control>,
    sets: Cache<ClientId, Arc<OnDemandJwks>>,
    fetch_context: Arc<FetchContext>,
    /// The folder that keeps the sets over a restart.
    files: Option<(Arc<IssuerKeyFiles>, StateMetrics)>,
}

impl FetchedClientJwks {
    /// Returns the sets that an earlier process kept in `state_dir`, if any. Fetches use the settings
    /// `token_endpoint.client_jwks` of the configuration in force. Reads from disk: call it at the start.
    pub fn new(control: Arc<Control>, state_dir: Option<&Path>, metrics: &Metrics) -> Self {
        let clock = Arc::clone(&control.clock);
        let fetched = Self {
            control,
            sets: Cache::new(CLIENTS_MAX),
            fetch_context: Arc::new(FetchContext {
                clock,
                metrics: metrics.client_keys.clone(),
                permits: Semaphore::new(FETCHES_MAX),
            }),
            files: state_dir.and_then(|folder| open(folder, &metrics.state)),
        };
        fetched.restore();
        fetched
    }

    /// Restores the kept sets of the clients that have a URL, and removes the files of all others.
    fn restore(&self) {
        let Some((files, _)) = &self.files else {
            return;
        };
        let now = self.fetch_context.clock.now();
        let mut restored: u64 = 0;
        let mut known = HashSet::new();
        self.control.clients.for_each(|client| {
            let record = &client.record;
            let ClientAuthentication::JwksUrl { url } = &record.authentication else {
                return;
            };
            if record.state == ClientState::Deleted || known.len() == CLIENTS_MAX {
                return;
            }
            known.insert(record.id.clone());
            let Ok(set) = self.set(&record.id, url) else {
                return;
            };
            match set.restore(&record.id, files, now) {
                Ok(()) => restored += u64::from(set.health(&*self.fetch_context.clock).keys.is_some()),
                Err(error @ (IssuerKeyFileError::TooOld { .. } | IssuerKeyFileError::OtherSource { .. })) => {
                    tracing::debug!(client = %record.id, error = %ErrorChain(&error), "Client keys on disk are not used");
                }
                Err(error) => {
                    tracing::warn!(client = %record.id, error = %ErrorChain(&error), "Client keys on disk cannot be used");
                }
            }
        });
        if let Err(error) = files.retain(|name| known.contains(name)) {
            tracing::warn!(%error, "Keys of clients that are gone stay on disk");
        }
        if restored > 0 {
            tracing::info!(clients = restored, "Client keys taken from disk until they are fetched");
        }
    }

    /// Returns how many sets there are by the outcome of their last fetch.
    pub fn counts(&self) -> ClientKeySetCounts {
        let mut counts = ClientKeySetCounts::default();
        for (_, set) in self.sets.iter() {
            match state(&set.health(&*self.fetch_context.clock)) {
                JwksState::Ok => counts.ok += 1,
                JwksState::Failing => counts.failing += 1,
                JwksState::NeverFetched => counts.never_fetched += 1,
            }
        }
        counts
    }

    fn connect(&self) -> Option<ConnectSettings> {
        let settings = self.control.settings.load();
        settings
            .token_endpoint
            .as_ref()
            .map(|endpoint| endpoint.client_jwks.clone())
    }

    fn set(&self, client: &ClientId, url: &str) -> Result<Arc<OnDemandJwks>, &'static str> {
        let connect = self.connect().ok_or("no token endpoint is configured")?;
        if let Some(set) = self.sets.get(client).filter(|set| set.has_source(url, &connect)) {
            return Ok(set);
        }
        let mut new_set = OnDemandJwks::new(url, connect.clone())?;
        if let Some((files, metrics)) = &self.files {
            new_set = new_set.keep_in(client, files, metrics.clone());
        }
        let new_set = Arc::new(new_set);
        // If two tasks create a set at the same time, both use the inserted set, so that only one of them fetches.
        let set = self
            .sets
            .get_or_insert_with::<_, &'static str>(client, || Ok(Arc::clone(&new_set)))?;
        if set.has_source(url, &connect) {
            return Ok(set);
        }
        self.sets.insert(client.clone(), Arc::clone(&new_set));
        Ok(new_set)
    }
}

/// Opens the folder of clients' keys in `state_dir`. Returns `None` if it cannot be used, which does not stop the start.
fn open(state_dir: &Path, metrics: &StateMetrics) -> Option<(Arc<IssuerKeyFiles>, StateMetrics)> {
    match IssuerKeyFiles::open(state_dir, KeyOwners::Clients) {
        Ok(files) => Some((Arc::new(files), metrics.clone())),
        Err(error) => {
            metrics.count_write_failure();
            tracing::error!(error = %ErrorChain(&error), "State folder cannot be used; client keys are not kept over a restart");
            None
        }
    }
}

/// The error for a URL that cannot be parsed, or without a token endpoint. Only a change by an operator can help, so
/// the client should not retry soon.
const UNUSABLE_URL: JwksUnavailable = JwksUnavailable::Fetch {
    retry_after: Duration::from_secs(60),
};

impl ClientJwks for FetchedClientJwks {
    fn keys<'a>(
        &'a self,
        client: &'a ClientId,
        url: &'a str,
        kid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<CurrentJwks, JwksUnavailable>> {
        Box::pin(async move {
            let set = self.set(client, url).map_err(|_| UNUSABLE_URL)?;
            set.keys(kid, &self.fetch_context).await
        })
    }

    fn newer<'a>(
        &'a self,
        client: &'a ClientId,
        url: &'a str,
        seen: &'a Arc<Jwks>,
    ) -> BoxFuture<'a, Result<Arc<Jwks>, JwksUnavailable>> {
        Box::pin(async move {
            let set = self.set(client, url).map_err(|_| UNUSABLE_URL)?;
            set.newer(seen, &self.fetch_context).await
        })
    }

    fn health(&self, client: &ClientId, url: &str) -> JwksHealth {
        let connect = self.connect();
        let is_its = |set: &Arc<OnDemandJwks>| connect.is_some_and(|connect| set.has_source(url, &connect));
        let set = self.sets.peek(client).filter(is_its);
        set.map_or_else(JwksHealth::unknown, |set| {
            health(&set.health(&*self.fetch_context.clock))
        })
    }

    fn validate<'a>(&'a self, client: &'a ClientId, url: &'a str) -> BoxFuture<'a, JwksHealth> {
        Box::pin(async move {
            match self.set(client, url) {
                Ok(set) => {
                    set.fetch_now(&self.fetch_context).await;
                    health(&set.health(&*self.fetch_context.clock))
                }
                Err(problem) => JwksHealth {
                    state: JwksState::Failing,
                    last_attempt_at: Some(self.fetch_context.clock.now().wall),
                    last_error: Some(problem.to_owned()),
                    ..JwksHealth::unknown()
                },
            }
        })
    }
}

const fn state(health: &IssuerHealth) -> JwksState {
    match (&health.keys, &health.last_error) {
        (_, Some(_)) => JwksState::Failing,
        (Some(_), None) => JwksState::Ok,
        (None, None) => JwksState::NeverFetched,
    }
}

fn health(health: &IssuerHealth) -> JwksHealth {
    let set = health.keys.as_deref();
    let keys = set.into_iter().flat_map(|set| set.jwks.keys()).map(|key| JwksKey {
        kid: key.kid().map(str::to_owned),
        algorithms: key
            .algorithms()
            .filter(|algorithm| ALGORITHMS.contains(algorithm))
            .map(|algorithm| algorithm.as_str())
            .collect(),
    });
    JwksHealth {
        state: state(health),
        last_good_at: set.map(|set| set.confirmed),
        last_attempt_at: health.last_attempt,
        last_error: health.last_error.as_deref().map(str::to_owned),
        keys: keys.collect(),
        skipped: set.map(|set| set.jwks.skipped().to_vec()).unwrap_or_default(),
    }
}
