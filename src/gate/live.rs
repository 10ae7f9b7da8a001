//! Which state outlives a reload? Key sets of issuers, buckets, endpoints, verified tokens, credentials.

use crate::config;
use crate::config::EndpointHost;
use crate::config::KeySource;
use crate::config::UpstreamKind;
use crate::config::UpstreamTls;
use crate::gate::answer::control::ControlPlane;
use crate::gate::authenticate::introspection::Introspection;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::authenticate::issuer::Proof;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::authenticate::verified::VerifiedTokens;
use crate::gate::identity_token::IdentityTokens;
use crate::gate::stage::Probe;
use crate::gate::upstream_credential::ClientToken;
use crate::gate::upstream_credential::OwnCredential;
use crate::limit::LimitState;
use crate::model::directory::Directory;
use crate::model::names::Name;
use crate::observe::metrics::Metrics;
use crate::upstream::EndpointSource;
use crate::upstream::Entry;
use crate::upstream::TlsIdentity;
use crate::upstream::Upstream;
use crate::upstream::UpstreamState;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;

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
    upstreams: Mutex<BTreeMap<Name, LiveUpstream>>,
    /// Each with its number: the same settings are the same identity, also of several upstreams and after a reload.
    tls_identities: Mutex<Vec<Arc<TlsIdentity>>>,
    /// The access tokens for upstreams, by the name of the upstream.
    client_tokens: Mutex<BTreeMap<Name, Arc<ClientToken>>>,
}

/// The state of an upstream that outlives a reload.
#[derive(Default)]
struct LiveUpstream {
    state: Arc<UpstreamState>,
    sources: BTreeMap<EndpointHost, Arc<EndpointSource>>,
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
            upstreams: Mutex::default(),
            tls_identities: Mutex::default(),
            client_tokens: Mutex::default(),
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

    /// Returns the upstream of `settings`, with the endpoints that the upstream of this name had before.
    pub fn upstream(&self, settings: &config::Upstream) -> Arc<Upstream> {
        let mut upstreams = lock(&self.upstreams);
        let live = upstreams.entry(settings.name.clone()).or_default();
        let mut entry = |endpoint: &config::Endpoint| {
            let source = live.sources.entry(endpoint.host.clone());
            // Without settings, TLS is verified by the system's authorities: it never becomes plain text.
            let tls = endpoint.is_tls.then(|| settings.tls.clone().unwrap_or_default());
            Entry {
                source: Arc::clone(source.or_insert_with(|| Arc::new(EndpointSource::new(&endpoint.host)))),
                weight: endpoint.weight,
                tls: tls.map(|tls| self.tls_identity(&tls, endpoint)),
            }
        };
        let entries = match &settings.kind {
            UpstreamKind::Endpoints(list) => list.iter().map(entry).collect(),
            UpstreamKind::Echo => vec![entry(&config::Endpoint {
                host: EndpointHost::Inet {
                    host: self.echo.ip().to_string(),
                    port: self.echo.port(),
                },
                is_tls: false,
                weight: 1,
            })],
        };
        Upstream::new(settings.clone(), entries, &live.state)
    }

    /// Returns Keygate's own credential at an upstream; `None` if it has none. A token stays while its client is unchanged.
    pub fn credential(&self, upstream: &config::Upstream) -> Option<OwnCredential> {
        let credential = upstream.credential.as_ref()?;
        let token = credential.oauth_client().map(|client| {
            let mut tokens = lock(&self.client_tokens);
            match tokens.get(&upstream.name) {
                Some(token) if token.settings() == client => Arc::clone(token),
                before => {
                    let token = Arc::new(match before {
                        Some(before) => ClientToken::after(before, client.clone()),
                        None => ClientToken::new(client.clone()),
                    });
                    tokens.insert(upstream.name.clone(), Arc::clone(&token));
                    token
                }
            }
        });
        Some(OwnCredential {
            token,
            metrics: self.metrics.upstream_credentials.of(upstream.name.as_str()),
        })
    }

    /// Returns every access token for an upstream, for the fetchers and for metrics.
    pub fn client_tokens(&self) -> Vec<(Name, Arc<ClientToken>)> {
        lock(&self.client_tokens)
            .iter()
            .map(|(name, token)| (name.clone(), Arc::clone(token)))
            .collect()
    }

    /// Returns the identity for connections to `endpoint` under `settings`.
    fn tls_identity(&self, settings: &Arc<UpstreamTls>, endpoint: &config::Endpoint) -> Arc<TlsIdentity> {
        let server_name = settings.server_name.as_deref().or(endpoint.dns_name());
        let server_name = server_name.expect("config::load refuses an endpoint without a name");
        let mut identities = lock(&self.tls_identities);
        let existing = identities.iter().find(|identity| identity.is(server_name, settings));
        if let Some(existing) = existing {
            return Arc::clone(existing);
        }
        let identity = Arc::new(TlsIdentity::new(server_name, settings));
        identities.push(Arc::clone(&identity));
        identity
    }

    /// Returns the latest upstream of each name.
    pub fn upstreams(&self) -> Vec<Arc<Upstream>> {
        let upstreams = lock(&self.upstreams);
        upstreams.values().filter_map(|live| live.state.latest()).collect()
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
        let has_client = |name: &Name| {
            let credential = config
                .upstreams
                .get(name)
                .and_then(|upstream| upstream.credential.as_ref());
            credential.is_some_and(|credential| credential.oauth_client().is_some())
        };
        lock(&self.client_tokens).retain(|name, _| has_client(name));
        // A snapshot holds a reference to each source and identity that it uses; this state holds one more.
        lock(&self.upstreams).retain(|name, live| {
            live.sources.retain(|_, source| Arc::strong_count(source) > 1);
            config.upstreams.contains_key(name) || !live.sources.is_empty()
        });
        lock(&self.tls_identities).retain(|identity| Arc::strong_count(identity) > 1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::clock::Timestamp;
    use crate::observe::metrics::Reasons;
    use std::path::Path;

    fn live() -> LiveState {
        let reasons = Reasons {
            denials: &[],
            heads: &[],
            connections: &[],
        };
        let metrics = Arc::new(Metrics::new(&reasons, Timestamp::default()));
        LiveState::new(metrics, "127.0.0.1:9".parse().unwrap())
    }

    /// Returns a configuration with `issuer` in the section of its issuer and the endpoints `endpoints`.
    fn config(issuer: &str, endpoints: &str) -> Config {
        let yaml = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\n\
             issuers: {{ main: {{ issuer: \"https://a.test\", audiences: any, {issuer} }} }}\n\
             limits: {{ per-ip: {{ by: ip, quota: 1/s }} }}\n\
             upstreams: {{ api: {{ endpoints: [{endpoints}] }} }}\n\
             routes: [{{ name: a, match: {{ path: / }}, accept: [jwt], limits: [per-ip], upstream: api }}]\n"
        );
        let config = config::parse(&yaml, Path::new("conf/x.yaml"), &|_| None);
        config.unwrap_or_else(|errors| panic!("{errors}"))
    }

    const URL: &str = "jwks_url: \"https://a.test/jwks\"";

    fn issuer(config: &Config) -> &config::Issuer {
        config.issuers.values().next().unwrap()
    }

    fn load(keys: &IssuerKeys) {
        let key = crate::jose::sign::SigningKey::generate_es256().unwrap();
        let set = serde_json::json!({ "keys": [key.public_jwk()] }).to_string();
        let jwks = crate::jose::jwks::Jwks::parse(set.as_bytes()).unwrap();
        let now = crate::model::clock::Now {
            wall: Timestamp::default(),
            tick: crate::model::clock::Tick::ZERO,
        };
        keys.start_attempt(now).succeed(set.as_bytes(), jwks, now);
    }

    #[test]
    fn an_issuer_keeps_its_state_until_its_configuration_changes() {
        let (live, before) = (live(), config(URL, "\"a.test:80\""));
        let first = live.issuer(issuer(&before));
        assert!(Arc::ptr_eq(&first, &live.issuer(issuer(&before))));
        let skewed = config(&format!("{URL}, clock_skew: 5s"), "\"a.test:80\"");
        let second = live.issuer(issuer(&skewed));
        assert_ne!(first.uid(), second.uid());
        assert!(Arc::ptr_eq(&second, &live.issuer(issuer(&skewed))));
    }

    #[test]
    fn a_changed_issuer_keeps_only_keys_from_the_same_place() {
        for (after, same_keys, is_loaded) in [
            (format!("{URL}, clock_skew: 5s"), true, true),
            (format!("{URL}, cooldown: 11s"), false, true),
            ("jwks_url: \"https://a.test/other\"".to_owned(), false, false),
        ] {
            let live = live();
            let before = live.issuer(issuer(&config(URL, "\"a.test:80\"")));
            load(before.keys().unwrap());
            let changed = live.issuer(issuer(&config(&after, "\"a.test:80\"")));
            let (before, keys) = (before.keys().unwrap(), changed.keys().unwrap());
            assert_eq!(Arc::ptr_eq(before, keys), same_keys, "{after}");
            assert_eq!(keys.is_loaded(), is_loaded, "{after}");
        }
    }

    #[test]
    fn a_changed_issuer_that_introspects_forgets_its_verdicts() {
        let introspection = "introspection: { url: \"https://a.test/i\", client_id: kg, client_secret: s }";
        let live = live();
        let before = live.issuer(issuer(&config(introspection, "\"a.test:80\"")));
        assert!(before.introspection().is_some() && before.keys().is_none());
        let after = config(&format!("{introspection}, clock_skew: 5s"), "\"a.test:80\"");
        let after = live.issuer(issuer(&after));
        let verdicts = |state: &IssuerState| Arc::clone(state.introspection().unwrap().verdicts());
        assert!(!Arc::ptr_eq(&verdicts(&before), &verdicts(&after)));
    }

    #[test]
    fn a_limit_keeps_its_buckets() {
        let live = live();
        let (one, other) = ("one".parse().unwrap(), "other".parse().unwrap());
        let first = live.limit(&one);
        assert!(Arc::ptr_eq(&first, &live.limit(&one)));
        assert!(!Arc::ptr_eq(&first, &live.limit(&other)));
        let names: Vec<String> = live.limits().into_iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["one", "other"]);
    }

    #[test]
    fn an_upstream_keeps_the_state_of_its_endpoints_and_shares_it_with_no_other() {
        let live = live();
        let upstream = |endpoints: &str| live.upstream(config(URL, endpoints).upstreams.values().next().unwrap());
        let uids = |upstream: &Upstream| -> Vec<u64> {
            let endpoints = upstream.endpoints();
            endpoints.iter().map(|found| found.endpoint.uid()).collect()
        };
        let first = upstream("\"127.0.0.1:80\", \"127.0.0.1:81\"");
        let second = upstream("{ address: \"127.0.0.1:81\", weight: 2 }, \"127.0.0.1:82\"");
        assert_eq!(uids(&first)[1], uids(&second)[0]);
        let mut other = config(URL, "\"127.0.0.1:80\"").upstreams.into_values().next().unwrap();
        other.name = "other".parse().unwrap();
        assert!(!uids(&first).contains(&uids(&live.upstream(&other))[0]));
    }

    #[test]
    fn equal_tls_settings_are_one_identity() {
        let live = live();
        let identity = |endpoints: &str| {
            let upstream = live.upstream(config(URL, endpoints).upstreams.values().next().unwrap());
            let choice = |upstream: &Upstream| upstream.entries()[0].tls.as_ref().unwrap().uid();
            choice(&upstream)
        };
        let first = identity("\"https://a.test\"");
        assert_eq!(first, identity("\"https://a.test:8443\""));
        assert_ne!(first, identity("\"https://b.test\""));
    }

    #[test]
    fn state_that_the_configuration_no_longer_names_is_dropped() {
        let (live, config) = (live(), config(URL, "\"a.test:80\""));
        let kept = live.issuer(issuer(&config));
        let upstream = live.upstream(config.upstreams.values().next().unwrap());
        live.limit(&"per-ip".parse().unwrap());
        live.limit(&"gone".parse().unwrap());
        live.retain(&config);
        assert!(Arc::ptr_eq(&kept, &live.issuer(issuer(&config))));
        assert_eq!(live.limits().len(), 1);
        let mut without = config.clone();
        without.upstreams.clear();
        live.retain(&without);
        assert_eq!(live.upstreams().len(), 1, "a snapshot has the upstream");
        drop(upstream);
        live.retain(&without);
        assert!(live.upstreams().is_empty());
        let mut other = config.clone();
        other.issuers.clear();
        live.retain(&other);
        assert_ne!(kept.uid(), live.issuer(issuer(&config)).uid());
    }
}
