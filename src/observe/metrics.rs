//! Which metrics are there? Each file has one group, which is a field of [`Metrics`]. Units are base units. Labels are
//! names of the configuration or words of the code, never text of a request (S145). The series of a name are looked up
//! when a configuration is compiled, those of a route when they are first counted, so a count needs no look-up by text.

mod registrar;
mod value;
mod label;
mod reasons;
mod open;
mod requests;
mod route;
mod connections;
mod endpoints;
mod accepts;
mod admin;
mod upstream_credentials;
mod upstreams;
mod issued;
mod issuers;
mod client_keys;
mod state;
mod store;
mod tls;
mod introspection;
mod limits;
mod api_keys;
mod reloads;
mod token_cache;
mod identity_tokens;
mod logs;
mod process;

pub use accepts::AcceptProblem;
pub use api_keys::ApiKeyCounts;
pub use client_keys::ClientKeyMetrics;
pub use client_keys::ClientKeySetCounts;
pub use endpoints::EndpointReading;
pub use introspection::CallResult;
pub use introspection::IntrospectionMetrics;
pub use issued::ClientCounts;
pub use issued::IssuedMetrics;
pub use issuers::FetchResult;
pub use issuers::IssuerGauges;
pub use issuers::IssuerMetrics;
pub use label::AnswerLabel;
pub use label::CredentialLabel;
pub use limits::LimitMetrics;
pub use open::GaugeGuard;
pub use reasons::Reasons;
pub use reloads::ReloadResult;
pub use route::RouteMetrics;
pub use state::StateMetrics;
pub use store::StoreMetrics;
pub use store::StoreStatus;
pub use tls::HandshakeResult;
pub use tls::TlsMetrics;
pub use upstream_credentials::CredentialMetrics;
pub use upstream_credentials::TokenFetchResult;
pub use upstream_credentials::TokenMetrics;
pub use upstreams::UpstreamMetrics;

use crate::model::clock::Timestamp;
use crate::observe::metrics::accepts::AcceptMetrics;
use crate::observe::metrics::admin::AdminMetrics;
use crate::observe::metrics::api_keys::ApiKeyMetrics;
use crate::observe::metrics::connections::ConnectionMetrics;
use crate::observe::metrics::endpoints::EndpointFamilies;
use crate::observe::metrics::identity_tokens::IdentityTokenMetrics;
use crate::observe::metrics::introspection::IntrospectionFamilies;
use crate::observe::metrics::issuers::IssuerFamilies;
use crate::observe::metrics::limits::LimitFamilies;
use crate::observe::metrics::logs::LogMetrics;
use crate::observe::metrics::process::ProcessMetrics;
use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::reloads::ReloadMetrics;
use crate::observe::metrics::requests::RequestMetrics;
use crate::observe::metrics::token_cache::TokenCacheMetrics;
use crate::observe::metrics::upstream_credentials::CredentialFamilies;
use crate::observe::metrics::upstreams::UpstreamFamilies;
use prometheus::Registry;
use prometheus::TextEncoder;
use prometheus::core::Collector;
use prometheus::core::Desc;
use prometheus::proto::MetricFamily;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// `Content-Type` of [`Metrics::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The names in the configuration in force. [`Metrics::forget_all_but`] drops the series of all other names.
#[derive(Clone, Debug, Default)]
pub struct ConfiguredNames<'a> {
    pub routes: HashSet<&'a str>,
    pub upstreams: HashSet<&'a str>,
    pub issuers: HashSet<&'a str>,
    pub limits: HashSet<&'a str>,
}

type ScrapeCallback = Box<dyn Fn(&Metrics) + Send + Sync>;

/// All metrics of a process, in a separate registry.
pub struct Metrics {
    pub requests: RequestMetrics,
    pub connections: ConnectionMetrics,
    pub accepts: AcceptMetrics,
    pub admin: AdminMetrics,
    pub tls: TlsMetrics,
    pub upstreams: UpstreamFamilies,
    pub endpoints: EndpointFamilies,
    pub upstream_credentials: CredentialFamilies,
    pub issuers: IssuerFamilies,
    pub client_keys: ClientKeyMetrics,
    pub issued: IssuedMetrics,
    pub introspection: IntrospectionFamilies,
    pub limits: LimitFamilies,
    pub api_keys: ApiKeyMetrics,
    pub token_cache: TokenCacheMetrics,
    pub identity_tokens: IdentityTokenMetrics,
    pub reloads: ReloadMetrics,
    pub state: StateMetrics,
    pub store: StoreMetrics,
    pub logs: LogMetrics,
    pub process: ProcessMetrics,
    registry: Registry,
    on_scrape: Mutex<Vec<ScrapeCallback>>,
}

impl Metrics {
    /// Creates and registers every metric. `started` is the start time of the process.
    pub fn new(reasons: &Reasons<'_>, started: Timestamp) -> Self {
        let registry = Registry::new();
        let registrar = Registrar::new(&registry);
        Self {
            requests: RequestMetrics::new(&registrar, reasons.denials),
            connections: ConnectionMetrics::new(&registrar, reasons),
            accepts: AcceptMetrics::new(&registrar),
            admin: AdminMetrics::new(&registrar),
            tls: TlsMetrics::new(&registrar),
            upstreams: UpstreamFamilies::new(&registrar),
            endpoints: EndpointFamilies::new(&registrar),
            upstream_credentials: CredentialFamilies::new(&registrar),
            issuers: IssuerFamilies::new(&registrar),
            client_keys: ClientKeyMetrics::new(&registrar),
            issued: IssuedMetrics::new(&registrar),
            introspection: IntrospectionFamilies::new(&registrar),
            limits: LimitFamilies::new(&registrar),
            api_keys: ApiKeyMetrics::new(&registrar),
            token_cache: TokenCacheMetrics::new(&registrar),
            identity_tokens: IdentityTokenMetrics::new(&registrar),
            reloads: ReloadMetrics::new(&registrar),
            state: StateMetrics::new(&registrar),
            store: StoreMetrics::new(&registrar),
            logs: LogMetrics::new(&registrar),
            process: ProcessMetrics::new(&registrar, started),
            registry,
            on_scrape: Mutex::default(),
        }
    }

    /// Drops the series of names that are not in `names`, so that renamed routes do not stay in every scrape for years.
    /// Other series keep their counts. Call this after a new configuration is in force. A request that still uses the
    /// previous configuration may create a series again; the next reload drops that series.
    pub fn forget_all_but(&self, names: &ConfiguredNames<'_>) {
        self.requests.forget_all_but(&names.routes);
        self.upstreams.forget_all_but(&names.upstreams);
        self.endpoints.forget_all_but(&names.upstreams);
        self.upstream_credentials.forget_all_but(&names.upstreams);
        self.issuers.forget_all_but(&names.issuers);
        self.introspection.forget_all_but(&names.issuers);
        self.limits.forget_all_but(&names.limits);
    }

    /// Adds a callback that runs before each scrape and sets gauges from other state. The callback must not call
    /// [`Self::text`], which would deadlock.
    pub fn on_scrape(&self, callback: ScrapeCallback) {
        self.callbacks().push(callback);
    }

    /// Adds all metrics to `registry`.
    ///
    /// # Errors
    /// The registry has such a collector already.
    pub fn register(metrics: &Arc<Self>, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(AllMetrics(Arc::clone(metrics))))
    }

    /// Runs the callbacks, and returns all metrics in the Prometheus text format ([`CONTENT_TYPE`]).
    pub fn text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.gather())
            .expect("every family has a name, a type and a metric")
    }

    /// Runs the callbacks, and returns all metrics.
    fn gather(&self) -> Vec<MetricFamily> {
        // Hold the lock until `process.read` has returned: two concurrent scrapes would both add the same processor
        // time.
        let callbacks = self.callbacks();
        for callback in callbacks.iter() {
            callback(self);
        }
        self.process.read();
        drop(callbacks);
        self.registry.gather()
    }

    fn callbacks(&self) -> MutexGuard<'_, Vec<ScrapeCallback>> {
        // Only `on_scrape` changes the list, so the list is intact even after a callback has panicked.
        self.on_scrape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All metrics as one collector of another registry. Its families have no description before they are collected, so the
/// other registry does not check their names.
struct AllMetrics(Arc<Metrics>);

impl Collector for AllMetrics {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.gather()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
