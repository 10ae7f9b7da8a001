//! How is a gate assembled from its parts, and which gauges are set at each scrape?

use crate::config::LogFormat;
use crate::config::Observe;
use crate::fetch::issuer_key_files::IssuerKeyFiles;
use crate::gate::Gate;
use crate::gate::accept::AcceptError;
use crate::gate::accept::HeadError;
use crate::gate::accept::matcher::MatcherError;
use crate::gate::authenticate::jwks_cache::KeySetOrigin;
use crate::gate::denial::ConnectionError;
use crate::gate::denial::Denial;
use crate::gate::live::LiveState;
use crate::model::clock::Clock;
use crate::model::clock::Timestamp;
use crate::observe::access::AccessLog;
use crate::observe::log::Format;
use crate::observe::metrics::EndpointReading;
use crate::observe::metrics::IssuerGauges;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::Reasons;
use crate::observe::metrics::ReloadResult;
use crate::observe::ready::Readiness;
use crate::runtime::config_files::LoadedConfig;
use crate::runtime::install;
use crate::runtime::issuer_key_files;
use crate::upstream::EndpointState;
use crate::upstream::ListedEndpoint;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;

/// Compiles `loaded`, and restores the kept keys of issuers. Returns the gate and, if `state_dir` can be used, the
/// folder of these keys.
///
/// # Errors
/// Two routes are indistinguishable.
pub fn gate(
    loaded: &mut LoadedConfig,
    live: Arc<LiveState>,
    clock: Arc<dyn Clock>,
    access: AccessLog,
    readiness: &Readiness,
) -> Result<(Arc<Gate>, Option<Arc<IssuerKeyFiles>>), MatcherError> {
    let now = clock.now();
    let snapshot = install::compile_and_install(loaded, &live, now)?;
    let key_files = issuer_key_files::open(&loaded.config, &live.metrics);
    if let Some(key_files) = &key_files {
        issuer_key_files::restore(&snapshot, key_files, now);
    }
    live.metrics.reloads.count(ReloadResult::Success, now.wall);
    readiness.config_loaded();
    let gate = Gate::new(snapshot, live, clock, access);
    register_scrape_gauges(&gate);
    Ok((gate, key_files))
}

/// Returns an access log that writes records to `out` in the format of `observe`. Dropped records are counted in
/// `metrics`.
///
/// # Errors
/// The system cannot start a thread.
pub fn access_log(out: impl io::Write + Send + 'static, observe: &Observe, metrics: &Metrics) -> io::Result<AccessLog> {
    let dropped = metrics.logs.access_records_dropped.clone();
    AccessLog::start(out, log_format(observe.format), dropped)
}

/// Converts the log format of the configuration.
pub const fn log_format(format: LogFormat) -> Format {
    match format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
    }
}

/// Returns the metrics of a process, with a counter for each reason of a rejection. `now` is the start time of the
/// process.
pub fn metrics(now: Timestamp) -> Arc<Metrics> {
    // `head::check` no longer rejects a head for `framing`, but has more specific reasons. Keep the label: dashboards
    // may use it.
    let heads = [HeadError::REASONS, &[AcceptError::Framing.reason()]].concat();
    Arc::new(Metrics::new(
        &Reasons {
            denials: Denial::REASONS,
            heads: &heads,
            connections: ConnectionError::REASONS,
        },
        now,
    ))
}

/// Sets the metrics of the endpoints of all upstreams.
fn set_endpoint_gauges(live: &LiveState, metrics: &Metrics) {
    let upstreams = live.upstreams();
    let states = EndpointState::ALL.map(EndpointState::as_str);
    let mut addresses = HashSet::new();
    for upstream in &upstreams {
        let endpoints = upstream.endpoints();
        let readings: Vec<EndpointReading> = endpoints
            .iter()
            .map(|ListedEndpoint { endpoint, .. }| EndpointReading {
                address: endpoint.address().to_string(),
                state: endpoint.state().as_str(),
                is_in_service: endpoint.is_in_service(),
                in_flight: endpoint.in_flight(),
                requests: endpoint.requests_total(),
                failures: endpoint.failures_total(),
                ejections: endpoint.ejections_total(),
            })
            .collect();
        metrics
            .endpoints
            .set(upstream.name().as_str(), &states, upstream.is_in_panic(), &readings);
        addresses.extend(readings.into_iter().map(|reading| reading.address));
    }
    let addresses = addresses.iter().map(String::as_str).collect();
    metrics.endpoints.keep_addresses(&addresses);
}

/// Registers a callback that sets the gauges of caches, limits and issuers at each scrape, so that requests do not have
/// to update these gauges. The callback looks at no single entry of a cache, limit or directory.
fn register_scrape_gauges(gate: &Arc<Gate>) {
    let weak = Arc::downgrade(gate);
    gate.live.metrics.on_scrape(Box::new(move |metrics| {
        let Some(gate) = weak.upgrade() else {
            return;
        };
        let now = gate.clock.now();
        let live = &gate.live;
        let (verified, identity_tokens) = (&live.verified, &live.identity_tokens);
        metrics.token_cache.set_cache_size(verified.len(), verified.bytes());
        metrics
            .identity_tokens
            .set_cache_size(identity_tokens.len(), identity_tokens.bytes());
        for (name, limit) in live.limits() {
            metrics.limits.of(name.as_str()).set_buckets(limit.len());
        }
        set_endpoint_gauges(live, metrics);
        for (name, token) in live.client_tokens() {
            let metrics = metrics.upstream_credentials.of_token(name.as_str());
            metrics.set_remaining(token.remaining(now.tick));
        }
        for issuer in &gate.snapshot().issuers {
            if let Some(introspection) = issuer.introspection() {
                let memory = introspection.verdicts();
                let ((good, refused), (good_bytes, refused_bytes)) = (memory.entries(), memory.bytes());
                memory.metrics.set_cache_size(good, refused, good_bytes + refused_bytes);
            }
            let Some(keys) = issuer.keys() else {
                continue;
            };
            let health = keys.health(now);
            let keys = health.keys.as_ref();
            // A set that is older than `max_stale` verifies no token.
            let usable = keys.filter(|_| health.usable.is_ok());
            metrics.issuers.of(issuer.name().as_str()).set(IssuerGauges {
                usable: usable.map_or(0, |keys| keys.jwks.len()),
                skipped: keys.map_or(0, |keys| keys.jwks.skipped().len()),
                age: keys.map(|keys| keys.age(now)),
                from_disk: keys.is_some_and(|keys| keys.origin == KeySetOrigin::Disk),
                last_success: keys.map(|keys| keys.confirmed),
                next_fetch: health.next_fetch,
                consecutive_failures: health.consecutive_failures,
            });
        }
    }));
}
