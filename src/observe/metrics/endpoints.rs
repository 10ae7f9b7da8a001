//! How are the endpoints of upstreams? All of it is read at a scrape, so that requests count in no family.

use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::registrar::forget;
use prometheus::IntCounterVec;
use prometheus::IntGaugeVec;
use std::collections::HashSet;

/// The endpoints of one upstream that have series of their own. A name with more addresses is still counted by state.
const SERIES_MAX: usize = 64;

/// The families about endpoints.
pub struct EndpointFamilies {
    states: IntGaugeVec,
    panic: IntGaugeVec,
    in_service: IntGaugeVec,
    in_flight: IntGaugeVec,
    requests: IntCounterVec,
    failures: IntCounterVec,
    ejections: IntCounterVec,
}

/// An endpoint as it is at a scrape.
#[derive(Clone, Debug)]
pub struct EndpointReading {
    pub address: String,
    /// A word of a closed set.
    pub state: &'static str,
    pub is_in_service: bool,
    pub in_flight: u32,
    pub requests: u64,
    pub failures: u64,
    pub ejections: u64,
}

impl EndpointFamilies {
    pub(super) fn new(registrar: &Registrar) -> Self {
        let labels = &["upstream", "endpoint"];
        Self {
            states: registrar.gauges(
                "keygate_upstream_endpoints",
                "Endpoints of an upstream by state (serving, failing, returning, ejected, check_failed, drained).",
                &["upstream", "state"],
            ),
            panic: registrar.gauges(
                "keygate_upstream_panic",
                "1 where more than half of an upstream's endpoints fail their health check, so that all are used.",
                &["upstream"],
            ),
            in_service: registrar.gauges(
                "keygate_upstream_endpoint_in_service",
                "1 where an endpoint may get requests: it is not ejected, not drained and passes its health check.",
                labels,
            ),
            in_flight: registrar.gauges(
                "keygate_upstream_endpoint_requests_in_flight",
                "Requests that an endpoint has now.",
                labels,
            ),
            requests: registrar.counters(
                "keygate_upstream_endpoint_requests_total",
                "Attempts to have an endpoint answer a request.",
                labels,
            ),
            failures: registrar.counters(
                "keygate_upstream_endpoint_failures_total",
                "Failed connection attempts and responses of an endpoint.",
                labels,
            ),
            ejections: registrar.counters(
                "keygate_upstream_endpoint_ejections_total",
                "Times an endpoint was left out because it failed requests.",
                labels,
            ),
        }
    }

    /// Sets the series of one upstream. `states` are all words that there are.
    pub fn set(&self, upstream: &str, states: &[&str], is_in_panic: bool, endpoints: &[EndpointReading]) {
        for state in states {
            let count = endpoints.iter().filter(|endpoint| endpoint.state == *state).count();
            let gauge = self.states.with_label_values(&[upstream, state]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.panic.with_label_values(&[upstream]).set(is_in_panic.into());
        for endpoint in endpoints.iter().take(SERIES_MAX) {
            let labels = [upstream, endpoint.address.as_str()];
            self.in_service
                .with_label_values(&labels)
                .set(endpoint.is_in_service.into());
            self.in_flight.with_label_values(&labels).set(endpoint.in_flight.into());
            for (family, total) in [
                (&self.requests, endpoint.requests),
                (&self.failures, endpoint.failures),
                (&self.ejections, endpoint.ejections),
            ] {
                let counter = family.with_label_values(&labels);
                // The address came back as a new endpoint, and counts from 0.
                if total < counter.get() {
                    counter.reset();
                }
                counter.inc_by(total - counter.get());
            }
        }
    }

    /// Drops the series of addresses that no upstream has any more.
    pub fn keep_addresses(&self, addresses: &HashSet<&str>) {
        for family in [&self.in_service, &self.in_flight] {
            forget(family, "endpoint", addresses);
        }
        for family in [&self.requests, &self.failures, &self.ejections] {
            forget(family, "endpoint", addresses);
        }
    }

    pub(super) fn forget_all_but(&self, upstreams: &HashSet<&str>) {
        for family in [&self.states, &self.panic, &self.in_service, &self.in_flight] {
            forget(family, "upstream", upstreams);
        }
        for family in [&self.requests, &self.failures, &self.ejections] {
            forget(family, "upstream", upstreams);
        }
    }
}
