//! How many API keys are there, by state? The gauges are those of the last count.

use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::value::count;
use prometheus::IntGaugeVec;

/// The numbers of API keys by state. `active` includes `expiring_soon`, the keys that expire within 7 days, and
/// `expiring_within_30_days`, which includes them too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiKeyCounts {
    pub active: u64,
    pub disabled: u64,
    pub revoked: u64,
    pub expired: u64,
    pub expiring_soon: u64,
    pub expiring_within_30_days: u64,
}

/// The gauges of API keys.
pub struct ApiKeyMetrics {
    keys: IntGaugeVec,
}

impl ApiKeyMetrics {
    pub(super) fn new(registrar: &Registrar) -> Self {
        Self {
            keys: registrar.gauges(
                "keygate_api_keys",
                "API keys by state (active, disabled, revoked, expired); expiring_soon are the active ones with less than 7 days, expiring_within_30_days those with less than 30.",
                &["state"],
            ),
        }
    }

    pub fn set(&self, counts: ApiKeyCounts) {
        for (state, keys) in [
            ("active", counts.active),
            ("disabled", counts.disabled),
            ("revoked", counts.revoked),
            ("expired", counts.expired),
            ("expiring_soon", counts.expiring_soon),
            ("expiring_within_30_days", counts.expiring_within_30_days),
        ] {
            self.keys.with_label_values(&[state]).set(count(keys));
        }
    }
}
