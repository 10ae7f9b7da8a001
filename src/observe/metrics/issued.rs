//! What does the token endpoint answer, and how do the clients, subscriptions and keys behind it stand?

use crate::model::clock::Timestamp;
use crate::model::subscription::SubscriptionState;
use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::value::count;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;

/// The numbers of clients by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCounts {
    pub active: u64,
    pub disabled: u64,
    pub deleted: u64,
}

/// The metrics of the credentials that the gate issues.
#[derive(Clone, Debug)]
pub struct IssuedMetrics {
    requests: IntCounterVec,
    clients: IntGaugeVec,
    subscriptions: IntGaugeVec,
    signs_since: IntGauge,
    next_rotation: IntGauge,
}

impl IssuedMetrics {
    /// The reason of a request that was not refused.
    const NOT_REFUSED: &'static str = "none";

    pub(super) fn new(registrar: &Registrar) -> Self {
        Self {
            requests: registrar.counters(
                "keygate_token_endpoint_requests_total",
                "Requests to the token endpoint and its siblings (token, introspect, revoke) by the reason of the refusal (none).",
                &["endpoint", "reason"],
            ),
            clients: registrar.gauges(
                "keygate_clients",
                "Clients of the store by state (active, disabled, deleted).",
                &["state"],
            ),
            subscriptions: registrar.gauges(
                "keygate_subscriptions",
                "Subscriptions of the store by state (pending, active, provisioning_failed, cancelled).",
                &["state"],
            ),
            signs_since: registrar.gauge(
                "keygate_signing_key_since_timestamp_seconds",
                "When the key that signs access tokens began to; 0 without one.",
            ),
            next_rotation: registrar.gauge(
                "keygate_signing_key_rotation_timestamp_seconds",
                "When the next key signs access tokens in its place; 0 without one.",
            ),
        }
    }

    /// Counts one request. `endpoint` and `reason` are words of closed sets.
    pub fn count_request(&self, endpoint: &str, reason: Option<&'static str>) {
        let reason = reason.unwrap_or(Self::NOT_REFUSED);
        self.requests.with_label_values(&[endpoint, reason]).inc();
    }

    pub fn set_clients(&self, counts: ClientCounts) {
        for (state, clients) in [
            ("active", counts.active),
            ("disabled", counts.disabled),
            ("deleted", counts.deleted),
        ] {
            self.clients.with_label_values(&[state]).set(count(clients));
        }
    }

    /// Sets the number of subscriptions in each state, in the order of [`SubscriptionState::ALL`].
    pub fn set_subscriptions(&self, counts: [u64; SubscriptionState::ALL.len()]) {
        for (state, subscriptions) in SubscriptionState::ALL.into_iter().zip(counts) {
            self.subscriptions
                .with_label_values(&[state.as_str()])
                .set(count(subscriptions));
        }
    }

    /// Sets the time at which the signing key began to sign, and the time at which the next one will.
    pub fn set_signing_key(&self, since: Timestamp, next: Timestamp) {
        for (gauge, time) in [(&self.signs_since, since), (&self.next_rotation, next)] {
            gauge.set(count(time.as_unix_secs()));
        }
    }
}
