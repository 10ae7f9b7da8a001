//! How do TLS handshakes with clients end, and when do the listeners' certificates expire?

use crate::model::clock::Timestamp;
use crate::observe::metrics::registrar::Registrar;
use prometheus::IntCounter;
use prometheus::IntGaugeVec;

/// The result of a TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeResult {
    Success,
    Failure,
    Timeout,
}

impl HandshakeResult {
    const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Timeout];

    const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Timeout => "timeout",
        }
    }
}

/// The metrics of TLS on the data listeners.
pub struct TlsMetrics {
    handshakes: [IntCounter; HandshakeResult::ALL.len()],
    expiry: IntGaugeVec,
}

impl TlsMetrics {
    pub(super) fn new(registrar: &Registrar) -> Self {
        let handshakes = registrar.counters(
            "keygate_tls_handshakes_total",
            "TLS handshakes with clients by result (success, failure, timeout).",
            &["result"],
        );
        Self {
            handshakes: HandshakeResult::ALL.map(|result| handshakes.with_label_values(&[result.label()])),
            expiry: registrar.gauges(
                "keygate_tls_certificate_expiry_timestamp_seconds",
                "When a certificate of a listener expires; certificate is its first name.",
                &["listener", "certificate"],
            ),
        }
    }

    /// Counts one handshake that ended.
    pub fn count_handshake(&self, result: HandshakeResult) {
        self.handshakes[result as usize].inc();
    }

    /// Replaces the certificates, each with its listener's address, its first name and its expiry.
    pub fn set_certificates(&self, certificates: impl Iterator<Item = (String, String, Timestamp)>) {
        self.expiry.reset();
        for (listener, name, expiry) in certificates {
            let secs = i64::try_from(expiry.as_unix_secs()).unwrap_or(i64::MAX);
            self.expiry.with_label_values(&[&listener, &name]).set(secs);
        }
    }
}
