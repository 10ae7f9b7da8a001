//! How long can Keygate's own credential at an upstream be used, and is it accepted?

use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::registrar::forget;
use prometheus::Gauge;
use prometheus::GaugeVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use std::collections::HashSet;
use std::time::Duration;

/// The families with a series for each upstream that receives a credential of its own.
pub struct CredentialFamilies {
    fetches: IntCounterVec,
    refusals: IntCounterVec,
    remaining: GaugeVec,
}

impl CredentialFamilies {
    pub(super) fn new(registrar: &Registrar) -> Self {
        Self {
            fetches: registrar.counters(
                "keygate_upstream_credential_fetches_total",
                "Attempts to fetch an access token for an upstream by result (success, rejected, failure).",
                &["upstream", "result"],
            ),
            refusals: registrar.counters(
                "keygate_upstream_credential_refusals_total",
                "Responses of an upstream with status 401 to requests with its own credential.",
                &["upstream"],
            ),
            remaining: registrar.float_gauges(
                "keygate_upstream_credential_remaining_seconds",
                "Time until the access token for an upstream expires; 0 without a token.",
                "upstream",
            ),
        }
    }

    /// Returns the series of one upstream.
    pub fn of(&self, upstream: &str) -> CredentialMetrics {
        CredentialMetrics {
            refusals: self.refusals.with_label_values(&[upstream]),
        }
    }

    /// Returns the series of one upstream with an OAuth client.
    pub fn of_token(&self, upstream: &str) -> TokenMetrics {
        let fetches = |result: TokenFetchResult| self.fetches.with_label_values(&[upstream, result.as_str()]);
        TokenMetrics {
            fetches: TokenFetchResult::ALL.map(fetches),
            remaining: self.remaining.with_label_values(&[upstream]),
        }
    }

    pub(super) fn forget_all_but(&self, upstreams: &HashSet<&str>) {
        forget(&self.fetches, "upstream", upstreams);
        forget(&self.refusals, "upstream", upstreams);
        forget(&self.remaining, "upstream", upstreams);
    }
}

/// The metrics of one upstream's credential.
#[derive(Clone, Debug)]
pub struct CredentialMetrics {
    refusals: IntCounter,
}

impl CredentialMetrics {
    /// Counts one response with status 401.
    pub fn count_refusal(&self) {
        self.refusals.inc();
    }
}

/// The metrics of the access token for one upstream.
#[derive(Clone, Debug)]
pub struct TokenMetrics {
    fetches: [IntCounter; TokenFetchResult::ALL.len()],
    remaining: Gauge,
}

/// The outcome of an attempt to fetch an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFetchResult {
    Success,
    /// The server refused the client, or its response is no token response.
    Rejected,
    /// No response: the network, TLS, a timeout, or a status that says nothing about the client.
    Failure,
}

impl TokenFetchResult {
    const ALL: [Self; 3] = [Self::Success, Self::Rejected, Self::Failure];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Rejected => "rejected",
            Self::Failure => "failure",
        }
    }
}

impl TokenMetrics {
    /// Counts one attempt to fetch a token.
    pub fn count_fetch(&self, result: TokenFetchResult) {
        self.fetches[result as usize].inc();
    }

    /// Sets the time until the token expires; `None` where its server does not say.
    pub fn set_remaining(&self, remaining: Option<Duration>) {
        self.remaining
            .set(remaining.map_or(f64::INFINITY, |remaining| remaining.as_secs_f64()));
    }
}
