//! How is something counted for as long as it lives?

use prometheus::IntGauge;

/// Something that is open as long as this lives; dropping counts it as closed, also while a panic unwinds.
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
