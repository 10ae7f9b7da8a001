//! How does a gauge count open connections and requests in flight?

use prometheus::IntGauge;

/// Increments a gauge, and decrements the gauge on drop, also when a panic unwinds.
#[derive(Debug)]
#[must_use = "what is dropped at once was never open"]
pub struct GaugeGuard(IntGauge);

impl GaugeGuard {
    pub(super) fn count(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
