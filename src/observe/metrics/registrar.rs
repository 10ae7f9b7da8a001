//! How are metrics created and registered, and how are series removed?

use prometheus::Counter;
use prometheus::Gauge;
use prometheus::GaugeVec;
use prometheus::HistogramOpts;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use prometheus::Opts;
use prometheus::Registry;
use prometheus::core::Collector;
use prometheus::core::MetricVec;
use prometheus::core::MetricVecBuilder;
use std::collections::HashMap;
use std::collections::HashSet;

/// The upper bounds of histogram buckets, in seconds: from a cached token on loopback to beyond the timeouts, which are a minute
/// by default.
const DURATION_BUCKETS: [f64; 17] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];

const NAMES_ARE_VALID: &str = "names and labels in this folder are well-formed, and each name stands once";

/// Creates and registers metrics. Panics on an invalid or repeated name: every name is a literal in this folder, and a
/// test creates all metrics.
pub(super) struct Registrar(Registry);

impl Registrar {
    pub(super) fn new(registry: &Registry) -> Self {
        Self(registry.clone())
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    pub(super) fn float_counter(&self, name: &str, help: &str) -> Counter {
        self.register(Counter::new(name, help))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    pub(super) fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::new(name, help))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn float_gauges(&self, name: &str, help: &str, label: &str) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(name, help), &[label]))
    }

    pub(super) fn histograms(&self, name: &str, help: &str, label: &str) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
        self.register(HistogramVec::new(options, &[label]))
    }

    fn register<C: Collector + Clone + 'static>(&self, metric: prometheus::Result<C>) -> C {
        let metric = metric.expect(NAMES_ARE_VALID);
        self.0.register(Box::new(metric.clone())).expect(NAMES_ARE_VALID);
        metric
    }
}

/// Removes every series of `family` whose `label` is not in `keep`.
pub(super) fn forget<B: MetricVecBuilder>(family: &MetricVec<B>, label: &str, keep: &HashSet<&str>) {
    for metric in family.collect().iter().flat_map(|it| it.get_metric()) {
        let labels: HashMap<&str, &str> = metric.get_label().iter().map(|it| (it.name(), it.value())).collect();
        if !labels.get(label).is_some_and(|name| keep.contains(name)) {
            // An error means that the series is already removed.
            let _ = family.remove(&labels);
        }
    }
}
