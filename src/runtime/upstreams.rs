//! How does the admin API read the state of upstreams? As the control side's own types, converted from the data side's.

use crate::config::Balance;
use crate::control::admin::upstreams::DrainOutcome;
use crate::control::admin::upstreams::EndpointHealth;
use crate::control::admin::upstreams::EndpointStateView;
use crate::control::admin::upstreams::NameHealth;
use crate::control::admin::upstreams::UpstreamHealth;
use crate::control::admin::upstreams::Upstreams;
use crate::gate::Gate;
use crate::model::names::Name;
use crate::model::upstream_failure::UpstreamFailure;
use crate::upstream::EndpointState;
use crate::upstream::Entry;
use crate::upstream::ListedEndpoint;
use crate::upstream::Upstream;
use std::sync::Arc;

/// The upstreams of the configuration in force.
pub struct GateUpstreams(pub Arc<Gate>);

impl Upstreams for GateUpstreams {
    fn all(&self) -> Vec<UpstreamHealth> {
        self.0
            .live
            .upstreams()
            .iter()
            .map(|upstream| health(upstream))
            .collect()
    }

    fn one(&self, name: &Name) -> Option<UpstreamHealth> {
        self.upstream(name).map(|upstream| health(&upstream))
    }

    fn drain(&self, name: &Name, endpoint: &str, is_drained: bool) -> DrainOutcome {
        let Some(upstream) = self.upstream(name) else {
            return DrainOutcome::UnknownUpstream;
        };
        let mut found = upstream.endpoints().into_iter().map(|found| found.endpoint);
        let Some(found) = found.find(|found| found.address().to_string() == endpoint) else {
            return DrainOutcome::UnknownEndpoint;
        };
        let has_changed = upstream.drain(&found, is_drained, self.0.clock.now().tick);
        if has_changed {
            let message = if is_drained {
                "Endpoint drained"
            } else {
                "Endpoint gets requests again"
            };
            tracing::info!(upstream = name.as_str(), endpoint, "{message}");
        }
        DrainOutcome::Done {
            upstream: health(&upstream),
            has_changed,
        }
    }
}

impl GateUpstreams {
    fn upstream(&self, name: &Name) -> Option<Arc<Upstream>> {
        let upstreams = self.0.live.upstreams();
        upstreams.into_iter().find(|upstream| upstream.name() == name)
    }
}

fn health(upstream: &Upstream) -> UpstreamHealth {
    let endpoints = upstream.endpoints();
    UpstreamHealth {
        name: upstream.name().as_str().to_owned(),
        balance: match upstream.settings.balance {
            Balance::RoundRobin => "round_robin",
            Balance::Random => "random",
            Balance::LeastRequests => "least_requests",
            Balance::ConsistentHash(_) => "consistent_hash",
        },
        panic: upstream.is_in_panic(),
        endpoints: endpoints.iter().map(endpoint_health).collect(),
        names: upstream.entries().iter().filter_map(name_health).collect(),
    }
}

/// Returns the look-ups of an entry; `None` for an address.
fn name_health(entry: &Entry) -> Option<NameHealth> {
    let source = &entry.source;
    source.host().name()?;
    Some(NameHealth {
        name: source.host().to_string(),
        addresses: source.endpoints().len(),
        problem: source.problem(),
    })
}

fn endpoint_health(listed: &ListedEndpoint) -> EndpointHealth {
    let endpoint = &listed.endpoint;
    EndpointHealth {
        address: endpoint.address().to_string(),
        server_name: listed.tls.as_ref().map(|tls| tls.server_name().to_owned()),
        weight: listed.weight,
        priority: listed.priority,
        state: match endpoint.state() {
            EndpointState::Serving => EndpointStateView::Serving,
            EndpointState::Failing => EndpointStateView::Failing,
            EndpointState::Returning => EndpointStateView::Returning,
            EndpointState::Ejected => EndpointStateView::Ejected,
            EndpointState::CheckFailed => EndpointStateView::CheckFailed,
            EndpointState::Drained => EndpointStateView::Drained,
        },
        in_flight: endpoint.in_flight(),
        requests: endpoint.requests_total(),
        failures: endpoint.failures_total(),
        ejections: endpoint.ejections_total(),
        last_failure: endpoint.last_failure().map(UpstreamFailure::as_str),
        check_problem: endpoint.check_problem(),
    }
}
