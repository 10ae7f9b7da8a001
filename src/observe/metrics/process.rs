//! How are the version, panics and resources of the process measured? The names `process_*` are those of the Prometheus
//! client libraries.

use crate::model::clock::Timestamp;
use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::value::count;
use crate::observe::metrics::value::seconds;
use crate::observe::process;
use prometheus::Counter;
use prometheus::IntCounter;
use prometheus::IntGauge;

/// The metrics of panics, and of the resource usage that the operating system reports.
pub struct ProcessMetrics {
    /// Panics; see [`crate::observe::panics`].
    pub panics: IntCounter,
    cpu: Counter,
    resident: IntGauge,
    virtual_memory: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
}

impl ProcessMetrics {
    pub(super) fn new(registrar: &Registrar, started: Timestamp) -> Self {
        registrar
            .gauges("keygate_build_info", "Which version runs; always 1.", &["version"])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        registrar
            .float_gauge("process_start_time_seconds", "When the process started.")
            .set(seconds(started));
        Self {
            panics: registrar.counter(
                "keygate_panics_total",
                "Panics; while a request is decided, one is answered with 500.",
            ),
            cpu: registrar.float_counter(
                "process_cpu_seconds_total",
                "Time the process spent on a processor, user and system.",
            ),
            resident: registrar.gauge("process_resident_memory_bytes", "Resident memory."),
            virtual_memory: registrar.gauge("process_virtual_memory_bytes", "Virtual memory."),
            open_fds: registrar.gauge("process_open_fds", "Open file descriptors."),
            max_fds: registrar.gauge(
                "process_max_fds",
                "File descriptors that may be open; 0 when nothing limits them.",
            ),
        }
    }

    /// Reads the current usage from the operating system. Do not call this concurrently: both calls would add the same
    /// processor time.
    pub(super) fn read(&self) {
        let Some(usage) = process::usage() else { return };
        // A counter cannot be set, so add the difference.
        self.cpu.inc_by((usage.cpu_seconds - self.cpu.get()).max(0.0));
        self.resident.set(count(usage.resident_bytes));
        self.virtual_memory.set(count(usage.virtual_bytes));
        self.open_fds.set(count(usage.open_fds));
        self.max_fds.set(usage.max_fds.map_or(0, count));
    }
}
