//! What outlives a reload: issuers' key sets, buckets, endpoints, verified tokens, API keys.

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

/// State by name. A snapshot takes what it needs when it is compiled; requests never look anything up here.
pub struct Live {
    pub metrics: Arc<Metrics>,
    pub directory: Arc<Directory>,
    pub verified: Arc<VerifiedTokens>,
    pub identity_tokens: IdentityTokens,
    pub failures: Arc<LimitState>,
    /// What the limit of the token endpoint has counted.
    pub token_requests: Arc<LimitState>,
    /// Who answers on the paths of the control side's; put in before the first request.
    pub control: OnceLock<Arc<dyn ControlPlane>>,
    /// `None` in the binary.
    pub probe: Option<Probe>,
    /// Where the built-in echo upstream listens.
    pub echo: SocketAddr,
    issuers: Mutex<BTreeMap<Name, Arc<IssuerState>>>,
    limits: Mutex<BTreeMap<Name, Arc<LimitState>>>,
    endpoints: Mutex<BTreeMap<(String, u16), Arc<EndpointState>>>,
    turns: Mutex<BTreeMap<Name, Arc<AtomicUsize>>>,
}

impl Live {
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
            turns: Mutex::default(),
        }
    }

    /// The state of an issuer: the one there is, as long as its configuration is the same. A changed configuration gets
    /// a new one, so that nothing verified under the old is believed under the new; the keys themselves go over to it
    /// as long as they come from the same place, so that no request waits for a fetch. Remembered answers of an issuer that
    /// is asked do not go over: they were judged by the rules of before.
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

    pub fn limit(&self, name: &Name) -> Arc<LimitState> {
        Arc::clone(lock(&self.limits).entry(name.clone()).or_default())
    }

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
        let turn = Arc::clone(lock(&self.turns).entry(settings.name.clone()).or_default());
        Upstream::new(settings.clone(), group, turn)
    }

    /// Every endpoint that has a name to resolve.
    pub fn endpoints_to_resolve(&self) -> Vec<Arc<EndpointState>> {
        lock(&self.endpoints)
            .values()
            .filter(|endpoint| endpoint.is_name())
            .cloned()
            .collect()
    }

    /// Every limit's state, for sweeping and for metrics.
    pub fn limits(&self) -> Vec<(Name, Arc<LimitState>)> {
        lock(&self.limits)
            .iter()
            .map(|(name, state)| (name.clone(), Arc::clone(state)))
            .collect()
    }

    /// Forgets what the configuration that was just published no longer names.
    pub fn retain(&self, config: &config::Config) {
        lock(&self.issuers).retain(|name, _| config.issuers.contains_key(name));
        lock(&self.limits).retain(|name, _| config.limits.contains_key(name));
        lock(&self.turns).retain(|name, _| config.upstreams.contains_key(name));
        // An endpoint that some snapshot still uses is held by that snapshot as well.
        lock(&self.endpoints).retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps of shared state: a panic while the lock is held leaves at worst one entry less.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The keys of an issuer: those there are, as long as they come from the same place.
fn keys(source: &KeySource, before: Option<&IssuerState>) -> Arc<IssuerKeys> {
    let Some((settings, keys)) = before.and_then(|state| Some((state.settings(), state.keys()?))) else {
        return Arc::new(IssuerKeys::new(source));
    };
    if settings.keys == *source {
        return Arc::clone(keys);
    }
    let new = IssuerKeys::new(source);
    // Other intervals, same place: what it published is as good as before.
    if let (KeySource::Remote(old), KeySource::Remote(source)) = (&settings.keys, source)
        && source.trusts_like(old)
    {
        new.take_over(keys);
    }
    Arc::new(new)
}
