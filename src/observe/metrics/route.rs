//! Which counters does a route have? Each counter is looked up when it is first needed. Each count is then an atomic
//! addition, without a look-up by text. There are thousands of routes, and most of them use few of their counters. So
//! the counters of a method, and those of the hundred reasons for which a type of credential is refused, take no memory
//! before the first count.

use crate::observe::metrics::label::AnswerLabel;
use crate::observe::metrics::label::CredentialLabel;
use crate::observe::metrics::label::NONE;
use crate::observe::metrics::label::OTHER;
use crate::observe::metrics::label::STATUS_CLASSES;
use crate::observe::metrics::label::status_class;
use crate::observe::metrics::reasons::ReasonIndices;
use crate::observe::metrics::reasons::indices;
use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::registrar::forget;
use http::Method;
use prometheus::Histogram;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", OTHER,
];

/// The families with a series for each route.
pub(super) struct RouteFamilies {
    denial_reasons: ReasonIndices,
    requests: IntCounterVec,
    decisions: IntCounterVec,
    two_credentials_reported: IntCounterVec,
    duration: HistogramVec,
}

impl RouteFamilies {
    pub(super) fn new(registrar: &Registrar, denial_reasons: &[&'static str]) -> Self {
        Self {
            denial_reasons: indices(denial_reasons),
            requests: registrar.counters(
                "keygate_requests_total",
                "Requests by route, method and class of the status that was answered.",
                &["route", "method", "status_class"],
            ),
            decisions: registrar.counters(
                "keygate_decisions_total",
                "Decisions by route, credential type, outcome (allow, deny; would_deny for what is let through by shadow mode alone; answer for what the gate answers itself) and reason.",
                &["route", "credential_type", "outcome", "reason"],
            ),
            two_credentials_reported: registrar.counters(
                "keygate_two_credentials_reported_total",
                "Requests with two credentials on routes that report them in place of refusing.",
                &["route"],
            ),
            duration: registrar.histograms(
                "keygate_request_duration_seconds",
                "Time from a request's complete head to the end of its answer.",
                "route",
            ),
        }
    }

    pub(super) fn forget_all_but(&self, routes: &HashSet<&str>) {
        forget(&self.requests, "route", routes);
        forget(&self.decisions, "route", routes);
        forget(&self.two_credentials_reported, "route", routes);
        forget(&self.duration, "route", routes);
    }
}

/// The counters of one route. An unused route has no series, and the arrays bound the number of series.
pub struct RouteMetrics {
    route: Box<str>,
    families: Arc<RouteFamilies>,
    requests: [OnceLock<Box<[OnceLock<IntCounter>; STATUS_CLASSES.len()]>>; METHODS.len()],
    allowed: [OnceLock<IntCounter>; CredentialLabel::ALL.len()],
    answered: [OnceLock<IntCounter>; AnswerLabel::ALL.len()],
    denied: ByReason,
    would_denied: ByReason,
    two_credentials_reported: OnceLock<IntCounter>,
    duration: OnceLock<Histogram>,
}

/// Counters by credential type, and then by index of the reason. The last index is that of [`OTHER`]. The counters of a
/// credential type are made with the first of them.
type ByReason = [OnceLock<Box<[OnceLock<IntCounter>]>>; CredentialLabel::ALL.len()];

impl RouteMetrics {
    pub(super) fn new(route: &str, families: &Arc<RouteFamilies>) -> Self {
        Self {
            route: route.into(),
            families: Arc::clone(families),
            requests: Default::default(),
            allowed: Default::default(),
            answered: Default::default(),
            denied: ByReason::default(),
            would_denied: ByReason::default(),
            two_credentials_reported: OnceLock::new(),
            duration: OnceLock::new(),
        }
    }

    /// Counts one request that ended, and its duration since the first byte of its head. `status` is that of the
    /// response; `None` if no response was begun.
    pub fn request(&self, method: &Method, status: Option<u16>, duration: Duration) {
        let method = method_index(method);
        let class = status_class(status);
        self.requests[method].get_or_init(Box::default)[class]
            .get_or_init(|| {
                let labels = [&*self.route, METHODS[method], STATUS_CLASSES[class]];
                self.families.requests.with_label_values(&labels)
            })
            .inc();
        self.duration
            .get_or_init(|| self.families.duration.with_label_values(&[&*self.route]))
            .observe(duration.as_secs_f64());
    }

    /// Counts one request that was admitted, and that would be admitted without shadow mode too.
    pub fn count_allowed(&self, credential: CredentialLabel) {
        self.allowed[credential as usize]
            .get_or_init(|| self.decision(credential, "allow", NONE))
            .inc();
    }

    /// Counts one request that the gate answered itself. Its credential type is `none`, because no credential is
    /// required.
    pub fn count_answered(&self, answer: AnswerLabel) {
        self.answered[answer as usize]
            .get_or_init(|| self.decision(CredentialLabel::None, "answer", answer.as_str()))
            .inc();
    }

    /// Counts one rejected request. `reason` is one of [`crate::observe::metrics::Reasons::denials`]; any other word is
    /// counted as `other`.
    pub fn count_denied(&self, credential: CredentialLabel, reason: &'static str) {
        self.by_reason(&self.denied, credential, "deny", reason);
    }

    /// Counts one request that was admitted but would be rejected for `reason` without shadow mode. Such a request is
    /// not counted by [`Self::count_allowed`].
    pub fn count_would_deny(&self, credential: CredentialLabel, reason: &'static str) {
        self.by_reason(&self.would_denied, credential, "would_deny", reason);
    }

    /// Counts one request with two credentials on a route that reports them.
    pub fn count_two_credentials(&self) {
        self.two_credentials_reported
            .get_or_init(|| {
                let family = &self.families.two_credentials_reported;
                family.with_label_values(&[&*self.route])
            })
            .inc();
    }

    fn by_reason(&self, counters: &ByReason, credential: CredentialLabel, outcome: &str, reason: &'static str) {
        let indices = &self.families.denial_reasons;
        let known = indices.get(reason).copied();
        let counters =
            counters[credential as usize].get_or_init(|| (0..=indices.len()).map(|_| OnceLock::new()).collect());
        counters[known.unwrap_or(indices.len())]
            .get_or_init(|| self.decision(credential, outcome, known.map_or(OTHER, |_| reason)))
            .inc();
    }

    fn decision(&self, credential: CredentialLabel, outcome: &str, reason: &str) -> IntCounter {
        let labels = [&*self.route, credential.as_str(), outcome, reason];
        self.families.decisions.with_label_values(&labels)
    }
}

impl fmt::Debug for RouteMetrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RouteMetrics")
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

/// Returns the index of `method` in [`METHODS`]. Methods are
/// case-sensitive (RFC 9110 section 9.1), so `get` is `other`.
fn method_index(method: &Method) -> usize {
    let known = METHODS[..METHODS.len() - 1]
        .iter()
        .position(|known| *known == method.as_str());
    known.unwrap_or(METHODS.len() - 1)
}
