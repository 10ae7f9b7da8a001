//! Which metrics are there? Metrics that belong together have a file, and are a field of [`Metrics`].
//!
//! Base units, and labels from closed sets only: names of the configuration, and words of
//! the code. No label contains text of a request (S145). Counters with labels are looked up
//! once, when a configuration is compiled; a request increments the counters of its route.

mod registrar;
mod value;
mod label;
mod reasons;
mod open;
mod requests;
mod route;
mod connections;
mod upstreams;
mod issuers;
mod state;
mod introspection;
mod limits;
mod api_keys;
mod reloads;
mod token_cache;
mod identity_tokens;
mod logs;
mod process;

pub use api_keys::ApiKeyCounts;
pub use introspection::CallResult;
pub use introspection::IntrospectionMetrics;
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
pub use upstreams::UpstreamMetrics;

use crate::model::clock::Timestamp;
use crate::observe::metrics::api_keys::ApiKeyMetrics;
use crate::observe::metrics::connections::ConnectionMetrics;
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
use crate::observe::metrics::upstreams::UpstreamFamilies;
use prometheus::Registry;
use prometheus::TextEncoder;
use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// `Content-Type` of [`Metrics::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The names in the current configuration; [`Metrics::forget_all_but`] drops the series of all others.
#[derive(Clone, Debug, Default)]
pub struct ConfiguredNames<'a> {
    pub routes: HashSet<&'a str>,
    pub upstreams: HashSet<&'a str>,
    pub issuers: HashSet<&'a str>,
    pub limits: HashSet<&'a str>,
}

type ScrapeCallback = Box<dyn Fn(&Metrics) + Send + Sync>;

/// All metrics, in a registry of their own.
pub struct Metrics {
    pub requests: RequestMetrics,
    pub connections: ConnectionMetrics,
    pub upstreams: UpstreamFamilies,
    pub issuers: IssuerFamilies,
    pub introspection: IntrospectionFamilies,
    pub limits: LimitFamilies,
    pub api_keys: ApiKeyMetrics,
    pub token_cache: TokenCacheMetrics,
    pub identity_tokens: IdentityTokenMetrics,
    pub reloads: ReloadMetrics,
    pub state: StateMetrics,
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
            upstreams: UpstreamFamilies::new(&registrar),
            issuers: IssuerFamilies::new(&registrar),
            introspection: IntrospectionFamilies::new(&registrar),
            limits: LimitFamilies::new(&registrar),
            api_keys: ApiKeyMetrics::new(&registrar),
            token_cache: TokenCacheMetrics::new(&registrar),
            identity_tokens: IdentityTokenMetrics::new(&registrar),
            reloads: ReloadMetrics::new(&registrar),
            state: StateMetrics::new(&registrar),
            logs: LogMetrics::new(&registrar),
            process: ProcessMetrics::new(&registrar, started),
            registry,
            on_scrape: Mutex::default(),
        }
    }

    /// Drops the series of names that are no longer configured. Call it after a new configuration is in force. A name
    /// that stays keeps its counts. Without this, years of renamed routes would stay in memory and in every scrape. A
    /// request that still runs on the old configuration may bring a series back; the next reload drops it.
    pub fn forget_all_but(&self, names: &ConfiguredNames<'_>) {
        self.requests.forget_all_but(&names.routes);
        self.upstreams.forget_all_but(&names.upstreams);
        self.issuers.forget_all_but(&names.issuers);
        self.introspection.forget_all_but(&names.issuers);
        self.limits.forget_all_but(&names.limits);
    }

    /// Adds a callback before each scrape, to set gauges from state elsewhere. It must not scrape.
    pub fn on_scrape(&self, callback: ScrapeCallback) {
        self.callbacks().push(callback);
    }

    /// Returns all metrics in the Prometheus text format, of type [`CONTENT_TYPE`].
    pub fn text(&self) -> String {
        // Locked until the process is read: two concurrent scrapes would both add the same processor time.
        let callbacks = self.callbacks();
        for callback in callbacks.iter() {
            callback(self);
        }
        self.process.read();
        drop(callbacks);
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("every family has a name, a type and a metric")
    }

    fn callbacks(&self) -> MutexGuard<'_, Vec<ScrapeCallback>> {
        // Only pushes change the list: a callback that panicked left it intact.
        self.on_scrape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
