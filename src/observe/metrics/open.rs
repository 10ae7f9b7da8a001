//! How is an open thing counted until it is dropped?

use prometheus::IntGauge;

/// Counts a thing as open until the guard is dropped, also while a panic unwinds.
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
