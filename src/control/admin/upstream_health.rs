//! Which endpoints do the upstreams have, and how are they? `runtime` provides the state.

use crate::model::names::Name;
use serde::Serialize;
use utoipa::ToSchema;

/// The upstreams of the gate. `runtime` implements this trait.
pub trait Upstreams: Send + Sync {
    /// Returns the upstreams of the configuration in force, sorted by name.
    fn all(&self) -> Vec<UpstreamHealth>;

    /// Returns the upstream of this name, if the configuration in force has one.
    fn one(&self, name: &Name) -> Option<UpstreamHealth>;

    /// Takes an endpoint out of service, or puts it back. `endpoint` is an address of the list.
    fn drain(&self, name: &Name, endpoint: &str, is_drained: bool) -> DrainOutcome;
}

/// No upstreams, for a store without a running gate.
pub struct NoUpstreams;

impl Upstreams for NoUpstreams {
    fn all(&self) -> Vec<UpstreamHealth> {
        Vec::new()
    }

    fn one(&self, _: &Name) -> Option<UpstreamHealth> {
        None
    }

    fn drain(&self, _: &Name, _: &str, _: bool) -> DrainOutcome {
        DrainOutcome::UnknownUpstream
    }
}

/// The outcome of draining an endpoint, or of the contrary.
#[derive(Debug)]
pub enum DrainOutcome {
    UnknownUpstream,
    UnknownEndpoint,
    /// With `has_changed` it was not so before.
    Done {
        upstream: UpstreamHealth,
        has_changed: bool,
    },
}

/// What operators see of one upstream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UpstreamHealth {
    pub name: String,
    pub balance: &'static str,
    /// More than half of the endpoints fail their health check, so that all are used.
    pub panic: bool,
    pub endpoints: Vec<EndpointHealth>,
    /// The names that the configuration has in place of addresses.
    pub names: Vec<NameHealth>,
}

/// A name of `endpoints`, and its last look-up.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = EndpointName)]
pub struct NameHealth {
    /// `host:port`, or the name of SRV records.
    pub name: String,
    /// The number of addresses that it stands for now.
    pub addresses: usize,
    /// Why it did not resolve, or not all of it; addresses that it had stay in use.
    pub problem: Option<String>,
}

/// One address of an upstream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EndpointHealth {
    /// `host:port`, or `unix:` and a path. Of a DNS name, each address is an endpoint.
    pub address: String,
    /// The name that its certificate must have; `null` without TLS.
    pub server_name: Option<String>,
    pub weight: u32,
    /// Endpoints get requests while none with a lower priority can serve. 0 without SRV records.
    pub priority: u16,
    pub state: EndpointStateView,
    /// Requests that it has now.
    pub in_flight: u32,
    /// Since the process started.
    pub requests: u64,
    pub failures: u64,
    pub ejections: u64,
    /// What it did when it last began to fail; `null` if it never did.
    pub last_failure: Option<&'static str>,
    /// Why it last failed its health check.
    pub check_problem: Option<String>,
}

/// How an endpoint is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EndpointState)]
pub enum EndpointStateView {
    Serving,
    /// It failed requests, and stays in service: failures are too few, or too many other endpoints are out.
    Failing,
    /// It answers again, and gets a growing part of its requests.
    Returning,
    /// It failed requests, and is asked now and then whether it answers.
    Ejected,
    CheckFailed,
    Drained,
}
