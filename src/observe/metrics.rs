//! Every metric: name, help, labels.
//!
//! Base units, and labels from closed sets only: names that stand in the configuration, and words that stand in the
//! code. Nothing a request says becomes a label (S145). Counters with labels are looked up once, when a configuration
//! is compiled; a request increments what it finds in its route.

mod handles;

pub use handles::AnswerLabel;
pub use handles::CallResult;
pub use handles::CredentialLabel;
pub use handles::FetchResult;
pub use handles::IntrospectionMetrics;
pub use handles::IssuerGauges;
pub use handles::IssuerMetrics;
pub use handles::LimitMetrics;
pub use handles::Open;
pub use handles::RouteMetrics;
pub use handles::StateMetrics;
pub use handles::UpstreamMetrics;

use crate::model::clock::Timestamp;
use crate::observe::metrics::handles::Places;
use crate::observe::metrics::handles::ReasonCounters;
use crate::observe::process;
use prometheus::Counter;
use prometheus::Gauge;
use prometheus::GaugeVec;
use prometheus::HistogramOpts;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use prometheus::Opts;
use prometheus::Registry;
use prometheus::TextEncoder;
use prometheus::core::Collector;
use prometheus::core::MetricVec;
use prometheus::core::MetricVecBuilder;
use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// `Content-Type` of [`Metrics::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// `route` of requests that no route was found for.
const NO_ROUTE: &str = "none";
/// `reason` of what was let through, and `credential_type` of who showed none.
const NONE: &str = "none";
/// For words that are not in the set they should be from. Seen in a graph, it is a mistake of ours.
const OTHER: &str = "other";

/// From a remembered token on loopback to a slow report.
const DURATION_BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The closed sets of `reason` labels, which their stages own.
#[derive(Clone, Copy, Debug)]
pub struct Reasons {
    /// Of `keygate_decisions_total`.
    pub denials: &'static [&'static str],
    /// Of `keygate_heads_refused_total`.
    pub heads: &'static [&'static str],
    /// Of `keygate_connections_refused_total`.
    pub connections: &'static [&'static str],
}

/// What came of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    Success,
    Failure,
}

/// API keys by state. One that expires within 7 days is active too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiKeyCounts {
    pub active: u64,
    pub revoked: u64,
    pub expired: u64,
    pub expiring_soon: u64,
}

/// Names that the configuration in force gives; series of all others are dropped by [`Metrics::forget_all_but`].
#[derive(Clone, Debug, Default)]
pub struct ConfiguredNames<'a> {
    pub routes: HashSet<&'a str>,
    pub upstreams: HashSet<&'a str>,
    pub issuers: HashSet<&'a str>,
    pub limits: HashSet<&'a str>,
}

type ScrapeCallback = Box<dyn Fn(&Metrics) + Send + Sync>;

/// All of them, in a registry of their own.
pub struct Metrics {
    registry: Registry,
    on_scrape: Mutex<Vec<ScrapeCallback>>,
    denial_reasons: Arc<Places>,
    requests: IntCounterVec,
    decisions: IntCounterVec,
    two_credentials_reported: IntCounterVec,
    request_duration: HistogramVec,
    upstream_duration: HistogramVec,
    upstream_connect_failures: IntCounterVec,
    in_flight: IntGauge,
    connections_open: IntGauge,
    connections_refused: ReasonCounters,
    heads_refused: ReasonCounters,
    issuer_keys_age: GaugeVec,
    issuer_key_fetches: IntCounterVec,
    issuer_keys: IntGaugeVec,
    issuer_keys_skipped: IntGaugeVec,
    issuer_keys_from_disk: IntGaugeVec,
    issuer_last_success: GaugeVec,
    issuer_next_fetch: GaugeVec,
    issuer_consecutive_failures: IntGaugeVec,
    state_write_failures: IntCounter,
    introspection_calls: IntCounterVec,
    introspection_duration: HistogramVec,
    introspection_cache: IntCounterVec,
    introspection_suspended: IntGaugeVec,
    introspection_cache_entries: IntGaugeVec,
    introspection_cache_bytes: IntGaugeVec,
    api_keys: IntGaugeVec,
    limit_decisions: IntCounterVec,
    limit_buckets: IntGaugeVec,
    config_reloads: IntCounterVec,
    config_last_reload_success: IntGauge,
    config_last_reload_success_timestamp: Gauge,
    process: ProcessMetrics,
    no_route: Arc<RouteMetrics>,
    pub token_cache_hits: IntCounter,
    pub token_cache_misses: IntCounter,
    pub token_cache_entries: IntGauge,
    pub token_cache_bytes: IntGauge,
    pub identity_tokens_signed: IntCounter,
    pub identity_token_cache_entries: IntGauge,
    pub identity_token_cache_bytes: IntGauge,
    /// See [`crate::observe::panics`].
    pub panics: IntCounter,
    /// See [`crate::observe::access::AccessLog`].
    pub access_records_dropped: IntCounter,
}

impl Metrics {
    /// `started` is when the process did.
    pub fn new(reasons: &Reasons, started: Timestamp) -> Self {
        let make = Maker(Registry::new());
        let requests = make.counters(
            "keygate_requests_total",
            "Requests by route, method and class of the status that was answered.",
            &["route", "method", "status_class"],
        );
        let decisions = make.counters(
            "keygate_decisions_total",
            "Decisions by route, credential type, outcome (allow, deny; would_deny for what is let through by shadow mode alone; answer for what the gate answers itself) and reason.",
            &["route", "credential_type", "outcome", "reason"],
        );
        let two_credentials_reported = make.counters(
            "keygate_two_credentials_reported_total",
            "Requests with two credentials on routes that report them in place of refusing.",
            &["route"],
        );
        let request_duration = make.histograms(
            "keygate_request_duration_seconds",
            "Time from a request's complete head to the end of its answer.",
            "route",
        );
        let denial_reasons = Arc::new(handles::places(reasons.denials));
        let no_route = Arc::new(RouteMetrics::new(
            NO_ROUTE,
            &denial_reasons,
            &requests,
            &decisions,
            &two_credentials_reported,
            &request_duration,
        ));
        let metrics = Self {
            on_scrape: Mutex::default(),
            denial_reasons,
            requests,
            decisions,
            two_credentials_reported,
            request_duration,
            no_route,
            upstream_duration: make.histograms(
                "keygate_upstream_duration_seconds",
                "Time from the first connection attempt to an upstream to the end of its answer.",
                "upstream",
            ),
            upstream_connect_failures: make.counters(
                "keygate_upstream_connect_failures_total",
                "Connection attempts to an upstream that failed.",
                &["upstream"],
            ),
            in_flight: make.gauge("keygate_requests_in_flight", "Requests being worked on."),
            connections_open: make.gauge("keygate_connections_open", "Connections from clients that are open."),
            connections_refused: ReasonCounters::new(
                make.counters(
                    "keygate_connections_refused_total",
                    "Connections that were closed before a request was read.",
                    &["reason"],
                ),
                reasons.connections,
            ),
            heads_refused: ReasonCounters::new(
                make.counters(
                    "keygate_heads_refused_total",
                    "Request heads that were refused before a route was looked for.",
                    &["reason"],
                ),
                reasons.heads,
            ),
            issuer_keys_age: make.float_gauges(
                "keygate_issuer_keys_age_seconds",
                "Time since the keys in use were fetched or confirmed.",
                "issuer",
            ),
            issuer_key_fetches: make.counters(
                "keygate_issuer_key_fetches_total",
                "Attempts to fetch an issuer's keys by result (success, rejected, private_parts, failure).",
                &["issuer", "result"],
            ),
            issuer_keys: make.gauges("keygate_issuer_keys", "Usable keys of an issuer.", "issuer"),
            issuer_keys_skipped: make.gauges(
                "keygate_issuer_keys_skipped",
                "Keys in an issuer's set that cannot be used.",
                "issuer",
            ),
            issuer_keys_from_disk: make.gauges(
                "keygate_issuer_keys_from_disk",
                "Whether the keys in use were kept by a process before and not confirmed since.",
                "issuer",
            ),
            issuer_last_success: make.float_gauges(
                "keygate_issuer_keys_last_success_timestamp_seconds",
                "When the keys in use were last fetched or confirmed; 0 before the first time.",
                "issuer",
            ),
            issuer_next_fetch: make.float_gauges(
                "keygate_issuer_next_fetch_timestamp_seconds",
                "When an issuer's keys are fetched next; 0 while that is not planned.",
                "issuer",
            ),
            issuer_consecutive_failures: make.gauges(
                "keygate_issuer_consecutive_failures",
                "Attempts to fetch an issuer's keys that failed since the last good one.",
                "issuer",
            ),
            state_write_failures: make.counter(
                "keygate_state_write_failures_total",
                "Attempts to keep something in state_dir that failed.",
            ),
            introspection_calls: make.counters(
                "keygate_introspection_calls_total",
                "Calls to an issuer's introspection endpoint by result (active, inactive, refused, rejected, failure).",
                &["issuer", "result"],
            ),
            introspection_duration: make.histograms(
                "keygate_introspection_duration_seconds",
                "Time from a call to an issuer's introspection endpoint to the end of its answer.",
                "issuer",
            ),
            introspection_cache: make.counters(
                "keygate_introspection_cache_total",
                "Opaque tokens that an answer was remembered for (hit), or that their issuer had to be asked about (miss).",
                &["issuer", "result"],
            ),
            introspection_suspended: make.gauges(
                "keygate_introspection_suspended",
                "Whether an issuer's introspection endpoint failed so often that it is left alone for a while.",
                "issuer",
            ),
            introspection_cache_entries: make.register(
                IntGaugeVec::new(
                    Opts::new(
                        "keygate_introspection_cache_entries",
                        "Remembered answers of an issuer, that tokens are good (active) or not (refused).",
                    ),
                    &["issuer", "kind"],
                )
                .expect(NAMES_HOLD),
            ),
            introspection_cache_bytes: make.gauges(
                "keygate_introspection_cache_bytes",
                "Memory that an issuer's remembered answers take, about.",
                "issuer",
            ),
            api_keys: make.gauges(
                "keygate_api_keys",
                "API keys by state (active, revoked, expired); expiring_soon are the active ones with less than 7 days.",
                "state",
            ),
            limit_decisions: make.counters(
                "keygate_limit_decisions_total",
                "Requests that a limit let through or refused, by outcome (allow, deny, would_deny); would_deny was allowed.",
                &["limit", "outcome"],
            ),
            limit_buckets: make.gauges("keygate_limit_buckets", "Buckets a limit keeps in memory.", "limit"),
            config_reloads: make.counters(
                "keygate_config_reloads_total",
                "Attempts to load a configuration by result (success, failure).",
                &["result"],
            ),
            config_last_reload_success: make.gauge(
                "keygate_config_last_reload_success",
                "Whether the last attempt to load a configuration succeeded.",
            ),
            config_last_reload_success_timestamp: make.float_gauge(
                "keygate_config_last_reload_success_timestamp_seconds",
                "When a configuration was last put in force.",
            ),
            process: ProcessMetrics::new(&make, started),
            token_cache_hits: make.counter(
                "keygate_token_cache_hits_total",
                "Tokens that were verified before and are remembered.",
            ),
            token_cache_misses: make.counter("keygate_token_cache_misses_total", "Tokens that had to be verified."),
            token_cache_entries: make.gauge("keygate_token_cache_entries", "Verified tokens that are remembered."),
            token_cache_bytes: make.gauge("keygate_token_cache_bytes", "Memory that remembered tokens take, about."),
            identity_tokens_signed: make.counter(
                "keygate_identity_tokens_signed_total",
                "Identity tokens that were signed for upstreams; the others were remembered.",
            ),
            identity_token_cache_entries: make.gauge(
                "keygate_identity_token_cache_entries",
                "Identity tokens that are remembered.",
            ),
            identity_token_cache_bytes: make.gauge(
                "keygate_identity_token_cache_bytes",
                "Memory that remembered identity tokens take, about.",
            ),
            panics: make.counter("keygate_panics_total", "Panics; while a request is decided, one is answered with 500."),
            access_records_dropped: make.counter(
                "keygate_access_records_dropped_total",
                "Access records that were not written because their reader is too slow or gone.",
            ),
            registry: make.0.clone(),
        };
        make.gauges("keygate_build_info", "Which version runs; always 1.", "version")
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        for result in ["success", "failure"] {
            metrics.config_reloads.with_label_values(&[result]);
        }
        metrics
    }

    /// Counters of one route. For the snapshot's compilation: what is prepared is the same for the same name, so counts
    /// go on over a reload.
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        Arc::new(RouteMetrics::new(
            name,
            &self.denial_reasons,
            &self.requests,
            &self.decisions,
            &self.two_credentials_reported,
            &self.request_duration,
        ))
    }

    /// Counters of requests that no route was found for.
    pub fn no_route(&self) -> &Arc<RouteMetrics> {
        &self.no_route
    }

    pub fn upstream(&self, name: &str) -> UpstreamMetrics {
        UpstreamMetrics {
            duration: self.upstream_duration.with_label_values(&[name]),
            connect_failures: self.upstream_connect_failures.with_label_values(&[name]),
        }
    }

    pub fn issuer(&self, name: &str) -> IssuerMetrics {
        let fetches = |result| self.issuer_key_fetches.with_label_values(&[name, result]);
        IssuerMetrics {
            keys_age: self.issuer_keys_age.with_label_values(&[name]),
            keys: self.issuer_keys.with_label_values(&[name]),
            keys_skipped: self.issuer_keys_skipped.with_label_values(&[name]),
            keys_from_disk: self.issuer_keys_from_disk.with_label_values(&[name]),
            last_success: self.issuer_last_success.with_label_values(&[name]),
            next_fetch: self.issuer_next_fetch.with_label_values(&[name]),
            consecutive_failures: self.issuer_consecutive_failures.with_label_values(&[name]),
            fetch_successes: fetches("success"),
            fetch_rejections: fetches("rejected"),
            fetch_private_parts: fetches("private_parts"),
            fetch_failures: fetches("failure"),
        }
    }

    pub fn state(&self) -> StateMetrics {
        StateMetrics(self.state_write_failures.clone())
    }

    pub fn introspection(&self, issuer: &str) -> IntrospectionMetrics {
        let cache = |result| self.introspection_cache.with_label_values(&[issuer, result]);
        let entries = |kind| self.introspection_cache_entries.with_label_values(&[issuer, kind]);
        let calls = |result: CallResult| self.introspection_calls.with_label_values(&[issuer, result.as_str()]);
        IntrospectionMetrics {
            calls: CallResult::ALL.map(calls),
            duration: self.introspection_duration.with_label_values(&[issuer]),
            hits: cache("hit"),
            misses: cache("miss"),
            suspended: self.introspection_suspended.with_label_values(&[issuer]),
            good_entries: entries("active"),
            refused_entries: entries("refused"),
            bytes: self.introspection_cache_bytes.with_label_values(&[issuer]),
        }
    }

    pub fn limit(&self, name: &str) -> LimitMetrics {
        LimitMetrics {
            allowed: self.limit_decisions.with_label_values(&[name, "allow"]),
            denied: self.limit_decisions.with_label_values(&[name, "deny"]),
            would_denied: self.limit_decisions.with_label_values(&[name, "would_deny"]),
            buckets: self.limit_buckets.with_label_values(&[name]),
        }
    }

    /// Counts one request as being worked on until the guard goes, however that happens.
    pub fn request_started(&self) -> Open {
        Open::count(&self.in_flight)
    }

    /// Counts one connection as open until the guard goes.
    pub fn connection_opened(&self) -> Open {
        Open::count(&self.connections_open)
    }

    pub fn connection_refused(&self, reason: &'static str) {
        self.connections_refused.inc(reason);
    }

    pub fn head_refused(&self, reason: &'static str) {
        self.heads_refused.inc(reason);
    }

    pub fn set_api_keys(&self, counts: ApiKeyCounts) {
        for (state, count) in [
            ("active", counts.active),
            ("revoked", counts.revoked),
            ("expired", counts.expired),
            ("expiring_soon", counts.expiring_soon),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.api_keys.with_label_values(&[state]).set(count);
        }
    }

    /// The first load counts too.
    pub fn config_reloaded(&self, result: ReloadResult, now: Timestamp) {
        match result {
            ReloadResult::Success => {
                self.config_reloads.with_label_values(&["success"]).inc();
                self.config_last_reload_success.set(1);
                self.config_last_reload_success_timestamp.set(seconds(now));
            }
            ReloadResult::Failure => {
                self.config_reloads.with_label_values(&["failure"]).inc();
                self.config_last_reload_success.set(0);
            }
        }
    }

    /// Drops the series of names that no configuration has any more; to be called after a new one is in force. A name
    /// that stays keeps its counts. Without this, years of renamed routes would stay in memory and in every scrape. A
    /// request still running on the old configuration may bring a series back; the next reload drops it.
    pub fn forget_all_but(&self, names: &ConfiguredNames<'_>) {
        let mut routes = names.routes.clone();
        routes.insert(NO_ROUTE);
        forget(&self.requests, "route", &routes);
        forget(&self.decisions, "route", &routes);
        forget(&self.two_credentials_reported, "route", &routes);
        forget(&self.request_duration, "route", &routes);
        forget(&self.upstream_duration, "upstream", &names.upstreams);
        forget(&self.upstream_connect_failures, "upstream", &names.upstreams);
        forget(&self.issuer_keys_age, "issuer", &names.issuers);
        forget(&self.issuer_key_fetches, "issuer", &names.issuers);
        forget(&self.issuer_keys, "issuer", &names.issuers);
        forget(&self.issuer_keys_skipped, "issuer", &names.issuers);
        forget(&self.issuer_keys_from_disk, "issuer", &names.issuers);
        forget(&self.issuer_last_success, "issuer", &names.issuers);
        forget(&self.issuer_next_fetch, "issuer", &names.issuers);
        forget(&self.issuer_consecutive_failures, "issuer", &names.issuers);
        forget(&self.introspection_calls, "issuer", &names.issuers);
        forget(&self.introspection_duration, "issuer", &names.issuers);
        forget(&self.introspection_cache, "issuer", &names.issuers);
        forget(&self.introspection_suspended, "issuer", &names.issuers);
        forget(&self.introspection_cache_entries, "issuer", &names.issuers);
        forget(&self.introspection_cache_bytes, "issuer", &names.issuers);
        forget(&self.limit_decisions, "limit", &names.limits);
        forget(&self.limit_buckets, "limit", &names.limits);
    }

    /// Adds something to do before each scrape: setting gauges whose truth lives elsewhere. It must not scrape itself.
    pub fn on_scrape(&self, callback: ScrapeCallback) {
        self.callbacks().push(callback);
    }

    /// Everything in the Prometheus text format, of type [`CONTENT_TYPE`].
    pub fn text(&self) -> String {
        // Held to the end of the readings: two scrapes at once would both add the same processor time.
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

    fn callbacks(&self) -> std::sync::MutexGuard<'_, Vec<ScrapeCallback>> {
        // Only pushes happen under the lock that change it: a callback that panicked left the list whole.
        self.on_scrape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What client libraries everywhere call `process_*`.
struct ProcessMetrics {
    cpu: Counter,
    resident: IntGauge,
    virtual_memory: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
}

impl ProcessMetrics {
    fn new(make: &Maker, started: Timestamp) -> Self {
        make.float_gauge("process_start_time_seconds", "When the process started.")
            .set(seconds(started));
        Self {
            cpu: make.register(
                Counter::new(
                    "process_cpu_seconds_total",
                    "Time the process spent on a processor, user and system.",
                )
                .expect(NAMES_HOLD),
            ),
            resident: make.gauge("process_resident_memory_bytes", "Resident memory."),
            virtual_memory: make.gauge("process_virtual_memory_bytes", "Virtual memory."),
            open_fds: make.gauge("process_open_fds", "Open file descriptors."),
            max_fds: make.gauge(
                "process_max_fds",
                "File descriptors that may be open; 0 when nothing limits them.",
            ),
        }
    }

    fn read(&self) {
        let Some(usage) = process::usage() else { return };
        // A counter cannot be set, so what it lacks is added.
        self.cpu.inc_by((usage.cpu_seconds - self.cpu.get()).max(0.0));
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.resident.set(count(usage.resident_bytes));
        self.virtual_memory.set(count(usage.virtual_bytes));
        self.open_fds.set(count(usage.open_fds));
        self.max_fds.set(usage.max_fds.map_or(0, count));
    }
}

/// Makes and registers. Every name is a literal in this file, and a test makes them all.
struct Maker(Registry);

const NAMES_HOLD: &str = "names and labels in this file are well-formed, and each name stands once";

impl Maker {
    fn register<C: Collector + Clone + 'static>(&self, metric: C) -> C {
        self.0.register(Box::new(metric.clone())).expect(NAMES_HOLD);
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help).expect(NAMES_HOLD))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help).expect(NAMES_HOLD))
    }

    fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::new(name, help).expect(NAMES_HOLD))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels).expect(NAMES_HOLD))
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), &[label]).expect(NAMES_HOLD))
    }

    fn float_gauges(&self, name: &str, help: &str, label: &str) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(name, help), &[label]).expect(NAMES_HOLD))
    }

    fn histograms(&self, name: &str, help: &str, label: &str) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
        self.register(HistogramVec::new(options, &[label]).expect(NAMES_HOLD))
    }
}

/// Removes every series of `family` whose `label` is not in `keep`.
fn forget<B: MetricVecBuilder>(family: &MetricVec<B>, label: &str, keep: &HashSet<&str>) {
    for metric in family.collect().iter().flat_map(|it| it.get_metric()) {
        let labels: HashMap<&str, &str> = metric.get_label().iter().map(|it| (it.name(), it.value())).collect();
        if !labels.get(label).is_some_and(|name| keep.contains(name)) {
            // Gone already when another reload was faster; gone is what was wanted.
            let _ = family.remove(&labels);
        }
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_unix_millis() as f64 / 1000.0
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
