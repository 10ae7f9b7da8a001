//! How many connections cannot be accepted, and for which reason?

use crate::observe::metrics::registrar::Registrar;
use prometheus::IntCounterVec;

/// Why a connection cannot be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptProblem {
    /// The process has no file descriptor left.
    ProcessDescriptors,
    /// The system has no file descriptor left.
    SystemDescriptors,
    /// The system has no memory left for sockets.
    Memory,
    /// The connection ended before it was accepted.
    ConnectionLost,
    Other,
}

impl AcceptProblem {
    const ALL: [Self; 5] = [
        Self::ProcessDescriptors,
        Self::SystemDescriptors,
        Self::Memory,
        Self::ConnectionLost,
        Self::Other,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProcessDescriptors => "process_descriptors",
            Self::SystemDescriptors => "system_descriptors",
            Self::Memory => "memory",
            Self::ConnectionLost => "connection_lost",
            Self::Other => "other",
        }
    }
}

/// The metrics of connections that cannot be accepted.
pub struct AcceptMetrics {
    errors: IntCounterVec,
}

const LISTENERS: [&str; 2] = ["data", "admin"];

impl AcceptMetrics {
    pub(super) fn new(registrar: &Registrar) -> Self {
        let errors = registrar.counters(
            "keygate_accept_errors_total",
            "Attempts to accept a connection that failed, by listener (data, admin) and reason.",
            &["listener", "reason"],
        );
        for listener in LISTENERS {
            for problem in AcceptProblem::ALL {
                errors.with_label_values(&[listener, problem.as_str()]);
            }
        }
        Self { errors }
    }

    /// Counts one failed attempt of `listener`, which is `data` or `admin`.
    pub fn count_error(&self, listener: &'static str, problem: AcceptProblem) {
        self.errors.with_label_values(&[listener, problem.as_str()]).inc();
    }
}
