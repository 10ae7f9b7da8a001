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
use crate::control::token::client_jwks::Unavailable;
use crate::fetch::on_demand::FetchContext;
use crate::fetch::on_demand::OnDemandJwks;
use crate::gate::authenticate::jwks_cache::IssuerHealth;
use crate::jose::jwks::Jwks;
use crate::model::id::ClientId;
use quick_cache::sync::Cache;
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
}

impl FetchedClientJwks {
    /// Returns an empty cache. Fetches use the settings `token_endpoint.client_jwks` of the configuration in force.
    pub fn new(control: Arc<Control>) -> Self {
        let clock = Arc::clone(&control.clock);
        Self {
            control,
            sets: Cache::new(CLIENTS_MAX),
            fetch_context: Arc::new(FetchContext {
                clock,
                permits: Semaphore::new(FETCHES_MAX),
            }),
        }
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
        let new_set = Arc::new(OnDemandJwks::new(url, connect.clone())?);
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

    /// Returns the health of the key set of `client`; `None` if the set is not cached.
    #[cfg(any(test, feature = "internals"))]
    pub fn health(&self, client: &ClientId) -> Option<JwksHealth> {
        let set = self.sets.peek(client)?;
        Some(health(&set.health(&*self.fetch_context.clock)))
    }
}

/// The error for a URL that cannot be parsed, or without a token endpoint. Only a change by an operator can help, so
/// the client should not retry soon.
const UNUSABLE_URL: Unavailable = Unavailable {
    retry_after: Duration::from_secs(60),
};

impl ClientJwks for FetchedClientJwks {
    fn keys<'a>(
        &'a self,
        client: &'a ClientId,
        url: &'a str,
        kid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Arc<Jwks>, Unavailable>> {
        Box::pin(async move {
            let set = self.set(client, url).map_err(|_| UNUSABLE_URL)?;
            let keys = set.keys(kid, &self.fetch_context).await;
            keys.map_err(|unavailable| Unavailable {
                retry_after: unavailable.retry_after,
            })
        })
    }

    fn newer<'a>(
        &'a self,
        client: &'a ClientId,
        url: &'a str,
        seen: &'a Arc<Jwks>,
    ) -> BoxFuture<'a, Option<Arc<Jwks>>> {
        Box::pin(async move {
            let set = self.set(client, url).ok()?;
            set.newer(seen, &self.fetch_context).await
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
                    last_good_at: None,
                    last_attempt_at: Some(self.fetch_context.clock.now().wall),
                    last_error: Some(problem.to_owned()),
                    keys: Vec::new(),
                },
            }
        })
    }
}

fn health(health: &IssuerHealth) -> JwksHealth {
    let set = health.keys.as_deref();
    let state = match (set, &health.last_error) {
        (_, Some(_)) => JwksState::Failing,
        (Some(_), None) => JwksState::Ok,
        (None, None) => JwksState::NeverFetched,
    };
    let keys = set.into_iter().flat_map(|set| set.jwks.keys()).map(|key| JwksKey {
        kid: key.kid().map(str::to_owned),
        algorithms: key
            .algorithms()
            .filter(|algorithm| ALGORITHMS.contains(algorithm))
            .map(|algorithm| algorithm.as_str())
            .collect(),
    });
    JwksHealth {
        state,
        last_good_at: set.map(|set| set.confirmed),
        last_attempt_at: health.last_attempt,
        last_error: health.last_error.as_deref().map(str::to_owned),
        keys: keys.collect(),
    }
}
