//! Which state outlives a reload? Key sets of issuers, buckets, endpoints, verified tokens, credentials.

use crate::config;
use crate::config::KeySource;
use crate::config::UpstreamKind;
use crate::gate::answer::control::ControlPlane;
use crate::gate::authenticate::introspection::Introspection;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::authenticate::issuer::Proof;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::authenticate::verified::VerifiedTokens;
use crate::gate::identity_token::IdentityTokens;
use crate::gate::stage::Probe;
use crate::limit::LimitState;
use crate::model::directory::Directory;
use crate::model::names::Name;
use crate::observe::metrics::Metrics;
use crate::upstream::EndpointState;
use crate::upstream::Upstream;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;

/// The state that successive snapshots share. A snapshot takes its issuers, limits and endpoints from here when it is
/// compiled, so that no request waits for the locks of the maps.
pub struct LiveState {
    pub metrics: Arc<Metrics>,
    pub directory: Arc<Directory>,
    pub verified: Arc<VerifiedTokens>,
    pub identity_tokens: IdentityTokens,
    /// The buckets of the limit of failed authentications.
    pub failures: Arc<LimitState>,
    /// The buckets of the token endpoint's limit.
    pub token_requests: Arc<LimitState>,
    /// The control side; set before the first request, and only where the configuration has one.
    pub control: OnceLock<Arc<dyn ControlPlane>>,
    /// Called on entering each stage; `None` in a running gateway.
    pub probe: Option<Probe>,
    /// The address of the built-in echo upstream.
    pub echo: SocketAddr,
    issuers: Mutex<BTreeMap<Name, Arc<IssuerState>>>,
    limits: Mutex<BTreeMap<Name, Arc<LimitState>>>,
    /// The endpoints of all upstreams, by host and port.
    endpoints: Mutex<BTreeMap<(String, u16), Arc<EndpointState>>>,
    /// The round-robin counters of upstreams.
    round_robin: Mutex<BTreeMap<Name, Arc<AtomicUsize>>>,
}

impl LiveState {
    pub fn new(metrics: Arc<Metrics>, echo: SocketAddr) -> Self {
        Self {
            directory: Arc::default(),
            verified: Arc::new(VerifiedTokens::new(VerifiedTokens::DEFAULT_BYTES_MAX)),
            identity_tokens: IdentityTokens::new(Arc::clone(&metrics), IdentityTokens::DEFAULT_BYTES_MAX),
            metrics,
            failures: Arc::default(),
            token_requests: Arc::default(),
            control: OnceLock::new(),
            probe: None,
            echo,
            issuers: Mutex::default(),
            limits: Mutex::default(),
            endpoints: Mutex::default(),
            round_robin: Mutex::default(),
        }
    }

    /// Returns the state of an issuer: the existing state while the issuer's configuration is unchanged, otherwise a
    /// new state, so that no token validated under the old rules is accepted under the new rules. The new state takes
    /// over keys that come from the same place, so that no request waits for a fetch. The new state does not take over
    /// introspection verdicts, because they applied the old rules.
    pub fn issuer(&self, settings: &config::Issuer) -> Arc<IssuerState> {
        let mut issuers = lock(&self.issuers);
        match issuers.get(&settings.name) {
            Some(state) if state.settings() == settings => Arc::clone(state),
            before => {
                let proof = match (&settings.keys, before) {
                    (KeySource::Introspection(introspection), _) => {
                        let metrics = self.metrics.introspection.of(settings.name.as_str());
                        Proof::Introspection(Introspection::new(introspection, metrics))
                    }
                    (source, before) => Proof::Keys(keys(source, before.map(|state| &**state))),
                };
                let state = Arc::new(IssuerState::new(settings.clone(), proof));
                issuers.insert(settings.name.clone(), Arc::clone(&state));
                state
            }
        }
    }

    /// Returns the buckets of the limit `name`: the existing ones, or new ones.
    pub fn limit(&self, name: &Name) -> Arc<LimitState> {
        Arc::clone(lock(&self.limits).entry(name.clone()).or_default())
    }

    /// Returns the upstream of `settings`. Endpoints with the same host and port share their state, also across
    /// upstreams.
    pub fn upstream(&self, settings: &config::Upstream) -> Upstream {
        let mut endpoints = lock(&self.endpoints);
        let mut endpoint = |host: &str, port: u16| {
            let entry = endpoints.entry((host.to_owned(), port));
            Arc::clone(entry.or_insert_with(|| Arc::new(EndpointState::new(host, port))))
        };
        let group = match &settings.kind {
            UpstreamKind::Endpoints(list) => list.iter().map(|item| endpoint(&item.host, item.port)).collect(),
            UpstreamKind::Echo => vec![endpoint(&self.echo.ip().to_string(), self.echo.port())],
        };
        let turn = Arc::clone(lock(&self.round_robin).entry(settings.name.clone()).or_default());
        Upstream::new(settings.clone(), group, turn)
    }

    /// Returns every endpoint with a DNS name to resolve.
    pub fn endpoints_to_resolve(&self) -> Vec<Arc<EndpointState>> {
        lock(&self.endpoints)
            .values()
            .filter(|endpoint| endpoint.is_name())
            .cloned()
            .collect()
    }

    /// Returns the state of every limit, for sweeping and for metrics.
    pub fn limits(&self) -> Vec<(Name, Arc<LimitState>)> {
        lock(&self.limits)
            .iter()
            .map(|(name, state)| (name.clone(), Arc::clone(state)))
            .collect()
    }

    /// Drops the state of issuers, limits and upstreams that the published `config` no longer names, and the endpoints
    /// that no snapshot uses.
    pub fn retain(&self, config: &config::Config) {
        lock(&self.issuers).retain(|name, _| config.issuers.contains_key(name));
        lock(&self.limits).retain(|name, _| config.limits.contains_key(name));
        lock(&self.round_robin).retain(|name, _| config.upstreams.contains_key(name));
        // A snapshot holds a reference to each endpoint that it uses; the map holds one more.
        lock(&self.endpoints).retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // After a panic under the lock, at worst one entry is missing from the map.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the keys of an issuer: the existing keys where they come from the same place, otherwise an empty cache.
fn keys(source: &KeySource, before: Option<&IssuerState>) -> Arc<IssuerKeys> {
    let Some((settings, keys)) = before.and_then(|state| Some((state.settings(), state.keys()?))) else {
        return Arc::new(IssuerKeys::new(source));
    };
    if settings.keys == *source {
        return Arc::clone(keys);
    }
    let new = IssuerKeys::new(source);
    // The intervals or the timeout changed, but not the place: the fetched keys stay valid.
    if let (KeySource::Remote(old), KeySource::Remote(source)) = (&settings.keys, source)
        && source.trusts_like(old)
    {
        new.take_over(keys);
    }
    Arc::new(new)
}
