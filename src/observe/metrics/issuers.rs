//! How many keys does an issuer have, how old are the keys, and do fetches succeed?

use crate::model::clock::Timestamp;
use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::registrar::forget;
use crate::observe::metrics::value::count;
use crate::observe::metrics::value::seconds;
use prometheus::Gauge;
use prometheus::GaugeVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use std::collections::HashSet;
use std::time::Duration;

/// The families with a series for each issuer with keys, fetched or from files.
pub struct IssuerFamilies {
    fetches: IntCounterVec,
    keys: IntGaugeVec,
    keys_skipped: IntGaugeVec,
    keys_from_disk: IntGaugeVec,
    keys_age: GaugeVec,
    last_success: GaugeVec,
    next_fetch: GaugeVec,
    consecutive_failures: IntGaugeVec,
}

impl IssuerFamilies {
    pub(super) fn new(registrar: &Registrar) -> Self {
        Self {
            fetches: registrar.counters(
                "keygate_issuer_key_fetches_total",
                "Attempts to fetch an issuer's keys by result (success, rejected, private_parts, failure).",
                &["issuer", "result"],
            ),
            keys: registrar.gauges("keygate_issuer_keys", "Usable keys of an issuer.", &["issuer"]),
            keys_skipped: registrar.gauges(
                "keygate_issuer_keys_skipped",
                "Keys in an issuer's set that cannot be used.",
                &["issuer"],
            ),
            keys_from_disk: registrar.gauges(
                "keygate_issuer_keys_from_disk",
                "Whether the keys in use were kept by a process before and not confirmed since.",
                &["issuer"],
            ),
            keys_age: registrar.float_gauges(
                "keygate_issuer_keys_age_seconds",
                "Time since the keys in use were fetched or confirmed.",
                "issuer",
            ),
            last_success: registrar.float_gauges(
                "keygate_issuer_keys_last_success_timestamp_seconds",
                "When the keys in use were last fetched or confirmed; 0 before the first time.",
                "issuer",
            ),
            next_fetch: registrar.float_gauges(
                "keygate_issuer_next_fetch_timestamp_seconds",
                "When an issuer's keys are fetched next; 0 while that is not planned.",
                "issuer",
            ),
            consecutive_failures: registrar.gauges(
                "keygate_issuer_consecutive_failures",
                "Attempts to fetch an issuer's keys that failed since the last good one.",
                &["issuer"],
            ),
        }
    }

    /// Returns the series of one issuer.
    pub fn of(&self, issuer: &str) -> IssuerMetrics {
        let fetches = |result: FetchResult| self.fetches.with_label_values(&[issuer, result.as_str()]);
        IssuerMetrics {
            fetches: FetchResult::ALL.map(fetches),
            keys: self.keys.with_label_values(&[issuer]),
            keys_skipped: self.keys_skipped.with_label_values(&[issuer]),
            keys_from_disk: self.keys_from_disk.with_label_values(&[issuer]),
            keys_age: self.keys_age.with_label_values(&[issuer]),
            last_success: self.last_success.with_label_values(&[issuer]),
            next_fetch: self.next_fetch.with_label_values(&[issuer]),
            consecutive_failures: self.consecutive_failures.with_label_values(&[issuer]),
        }
    }

    pub(super) fn forget_all_but(&self, issuers: &HashSet<&str>) {
        forget(&self.fetches, "issuer", issuers);
        forget(&self.keys, "issuer", issuers);
        forget(&self.keys_skipped, "issuer", issuers);
        forget(&self.keys_from_disk, "issuer", issuers);
        forget(&self.keys_age, "issuer", issuers);
        forget(&self.last_success, "issuer", issuers);
        forget(&self.next_fetch, "issuer", issuers);
        forget(&self.consecutive_failures, "issuer", issuers);
    }
}

/// The outcome of an attempt to fetch an issuer's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchResult {
    /// The response contains a usable set.
    Success,
    /// The document is unusable, for example without a usable key. The keys do not change.
    Rejected,
    /// The document contains private keys, so any reader can sign as the issuer. The keys do not change.
    PrivateParts,
    /// No document, because of the network, TLS, a timeout, the status of the response, or an unreadable file. The keys
    /// do not change.
    Failure,
}

impl FetchResult {
    pub(super) const ALL: [Self; 4] = [Self::Success, Self::Rejected, Self::PrivateParts, Self::Failure];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Rejected => "rejected",
            Self::PrivateParts => "private_parts",
            Self::Failure => "failure",
        }
    }
}

/// The metrics of one issuer's keys and of the attempts to fetch them.
#[derive(Clone, Debug)]
pub struct IssuerMetrics {
    fetches: [IntCounter; FetchResult::ALL.len()],
    keys: IntGauge,
    keys_skipped: IntGauge,
    keys_from_disk: IntGauge,
    keys_age: Gauge,
    last_success: Gauge,
    next_fetch: Gauge,
    consecutive_failures: IntGauge,
}

/// The values of the gauges of one issuer.
#[derive(Clone, Copy, Debug, Default)]
pub struct IssuerGauges {
    pub usable: usize,
    pub skipped: usize,
    /// `None` without keys. The gauge is then infinite, so that an alert on age fires.
    pub age: Option<Duration>,
    /// `true` if a previous process fetched the keys and no fetch has confirmed them since.
    pub from_disk: bool,
    pub last_success: Option<Timestamp>,
    pub next_fetch: Option<Timestamp>,
    pub consecutive_failures: u32,
}

impl IssuerMetrics {
    /// Counts one attempt to fetch the keys.
    pub fn count_fetch(&self, result: FetchResult) {
        self.fetches[result as usize].inc();
    }

    pub fn set(&self, gauges: IssuerGauges) {
        self.keys.set(count(gauges.usable));
        self.keys_skipped.set(count(gauges.skipped));
        self.keys_from_disk.set(gauges.from_disk.into());
        let age = gauges.age.map_or(f64::INFINITY, |age| age.as_secs_f64());
        self.keys_age.set(age);
        self.last_success.set(gauges.last_success.map_or(0.0, seconds));
        self.next_fetch.set(gauges.next_fetch.map_or(0.0, seconds));
        self.consecutive_failures.set(gauges.consecutive_failures.into());
    }
}
