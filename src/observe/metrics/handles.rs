//! What does a request, an issuer or a limit hold in its hand to count with?
//!
//! Each is made once for a name; counting is then an atomic addition, without a look-up by text.

use crate::model::clock::Timestamp;
use crate::observe::metrics::NONE;
use crate::observe::metrics::OTHER;
use crate::observe::metrics::count;
use crate::observe::metrics::seconds;
use foldhash::fast::FixedState;
use http::Method;
use prometheus::Gauge;
use prometheus::Histogram;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", OTHER,
];
/// `none` when the client left before it was answered.
const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", NONE];

/// How a request tried to prove itself, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialLabel {
    None,
    Jwt,
    Opaque,
    ApiKey,
}

impl CredentialLabel {
    const ALL: [Self; 4] = [Self::None, Self::Jwt, Self::Opaque, Self::ApiKey];

    const fn as_str(self) -> &'static str {
        match self {
            Self::None => NONE,
            Self::Jwt => "jwt",
            Self::Opaque => "opaque",
            Self::ApiKey => "api_key",
        }
    }
}

/// What the gate answered itself, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerLabel {
    /// A browser's question whether a page may send a request.
    Preflight,
    /// A public document on a path of the gate's own.
    Document,
    /// What the control side says, such as the token endpoint: also that it refuses.
    Endpoint,
}

impl AnswerLabel {
    const ALL: [Self; 3] = [Self::Preflight, Self::Document, Self::Endpoint];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Document => "document",
            Self::Endpoint => "endpoint",
        }
    }
}

/// How an attempt to fetch an issuer's keys ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchResult {
    /// A usable set came.
    Success,
    /// An answer came that changes nothing: too big, no usable key, not a key set.
    Rejected,
    /// The answer holds private keys: whoever reads it can sign as the issuer. It changes nothing here.
    PrivateParts,
    /// No answer came: network, TLS, time, status.
    Failure,
}

/// What requests of one route count in. Each counter is looked up when it is first needed, so a thousand routes nobody
/// calls cost no series; how many there can be is fixed by the arrays.
pub struct RouteMetrics {
    route: Box<str>,
    denial_reasons: Arc<Places>,
    request_family: IntCounterVec,
    decision_family: IntCounterVec,
    reported_family: IntCounterVec,
    duration_family: HistogramVec,
    requests: [[OnceLock<IntCounter>; STATUS_CLASSES.len()]; METHODS.len()],
    allowed: [OnceLock<IntCounter>; CredentialLabel::ALL.len()],
    answered: [OnceLock<IntCounter>; AnswerLabel::ALL.len()],
    /// By credential type, then by what `denial_reasons` says; the last is [`OTHER`].
    denied: ByReason,
    would_denied: ByReason,
    reported: OnceLock<IntCounter>,
    duration: OnceLock<Histogram>,
}

/// The words of a closed set, each with its place. There are a hundred, and a refusal asks for one.
pub(super) type Places = HashMap<&'static str, usize, FixedState>;

pub(super) fn places(words: &[&'static str]) -> Places {
    let mut places = Places::default();
    for word in words {
        let next = places.len();
        places.entry(*word).or_insert(next);
    }
    places
}

type ByReason = [Box<[OnceLock<IntCounter>]>; CredentialLabel::ALL.len()];

impl RouteMetrics {
    pub(super) fn new(
        route: &str,
        denial_reasons: &Arc<Places>,
        requests: &IntCounterVec,
        decisions: &IntCounterVec,
        reported: &IntCounterVec,
        durations: &HistogramVec,
    ) -> Self {
        let by_reason =
            || -> ByReason { std::array::from_fn(|_| (0..=denial_reasons.len()).map(|_| OnceLock::new()).collect()) };
        Self {
            route: route.into(),
            denial_reasons: denial_reasons.clone(),
            request_family: requests.clone(),
            decision_family: decisions.clone(),
            reported_family: reported.clone(),
            duration_family: durations.clone(),
            requests: Default::default(),
            allowed: Default::default(),
            answered: Default::default(),
            denied: by_reason(),
            would_denied: by_reason(),
            reported: OnceLock::new(),
            duration: OnceLock::new(),
        }
    }

    /// One request ended. `status` is what the client was answered, `None` when it left before.
    pub fn request(&self, method: &Method, status: Option<u16>, duration: Duration) {
        let method = method_place(method);
        let class = match status {
            Some(status @ 100..=599) => usize::from(status / 100 - 1),
            Some(_) | None => STATUS_CLASSES.len() - 1,
        };
        self.requests[method][class]
            .get_or_init(|| {
                let labels = [&*self.route, METHODS[method], STATUS_CLASSES[class]];
                self.request_family.with_label_values(&labels)
            })
            .inc();
        self.duration
            .get_or_init(|| self.duration_family.with_label_values(&[&*self.route]))
            .observe(duration.as_secs_f64());
    }

    pub fn allowed(&self, credential: CredentialLabel) {
        self.allowed[credential as usize]
            .get_or_init(|| self.decision(credential, "allow", NONE))
            .inc();
    }

    /// Answered out of memory; nothing was proved, because nothing was asked for.
    pub fn answered(&self, answer: AnswerLabel) {
        self.answered[answer as usize]
            .get_or_init(|| self.decision(CredentialLabel::None, "answer", answer.as_str()))
            .inc();
    }

    /// `reason` is one of [`crate::observe::metrics::Reasons::denials`]; any other word counts as `other`.
    pub fn denied(&self, credential: CredentialLabel, reason: &'static str) {
        self.by_reason(&self.denied, credential, "deny", reason);
    }

    /// The same words for what was let through and would not have been, were everything enforced.
    pub fn would_denied(&self, credential: CredentialLabel, reason: &'static str) {
        self.by_reason(&self.would_denied, credential, "would_deny", reason);
    }

    /// Two credentials came, and the route reports that.
    pub fn two_credentials_reported(&self) {
        self.reported
            .get_or_init(|| self.reported_family.with_label_values(&[&*self.route]))
            .inc();
    }

    fn by_reason(&self, counters: &ByReason, credential: CredentialLabel, outcome: &str, reason: &'static str) {
        let known = self.denial_reasons.get(reason).copied();
        let place = known.unwrap_or(self.denial_reasons.len());
        counters[credential as usize][place]
            .get_or_init(|| self.decision(credential, outcome, known.map_or(OTHER, |_| reason)))
            .inc();
    }

    fn decision(&self, credential: CredentialLabel, outcome: &str, reason: &str) -> IntCounter {
        let labels = [&*self.route, credential.as_str(), outcome, reason];
        self.decision_family.with_label_values(&labels)
    }
}

impl fmt::Debug for RouteMetrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RouteMetrics")
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

/// Methods are case-sensitive (RFC 9110 section 9.1): `get` is another one.
fn method_place(method: &Method) -> usize {
    let known = METHODS[..METHODS.len() - 1]
        .iter()
        .position(|known| *known == method.as_str());
    known.unwrap_or(METHODS.len() - 1)
}

/// What requests to one upstream count in.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    pub(super) duration: Histogram,
    pub(super) connect_failures: IntCounter,
}

impl UpstreamMetrics {
    pub fn answered(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }

    pub fn connect_failed(&self) {
        self.connect_failures.inc();
    }
}

/// What is known about one issuer's keys.
#[derive(Clone, Debug)]
pub struct IssuerMetrics {
    pub(super) keys_age: Gauge,
    pub(super) keys: IntGauge,
    pub(super) keys_skipped: IntGauge,
    pub(super) keys_from_disk: IntGauge,
    pub(super) last_success: Gauge,
    pub(super) next_fetch: Gauge,
    pub(super) consecutive_failures: IntGauge,
    pub(super) fetch_successes: IntCounter,
    pub(super) fetch_rejections: IntCounter,
    pub(super) fetch_private_parts: IntCounter,
    pub(super) fetch_failures: IntCounter,
}

/// An issuer's keys at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct IssuerGauges {
    pub usable: usize,
    pub skipped: usize,
    /// `None` while there are no keys; the gauge then reads as infinitely old, so that an alert on age fires.
    pub age: Option<Duration>,
    /// A process before this one fetched them, and none of its successors has yet.
    pub from_disk: bool,
    pub last_success: Option<Timestamp>,
    pub next_fetch: Option<Timestamp>,
    pub consecutive_failures: u32,
}

impl IssuerMetrics {
    pub fn fetched(&self, result: FetchResult) {
        match result {
            FetchResult::Success => self.fetch_successes.inc(),
            FetchResult::Rejected => self.fetch_rejections.inc(),
            FetchResult::PrivateParts => self.fetch_private_parts.inc(),
            FetchResult::Failure => self.fetch_failures.inc(),
        }
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

/// What keeping state on disk counts in.
#[derive(Clone, Debug)]
pub struct StateMetrics(pub(super) IntCounter);

impl StateMetrics {
    pub fn write_failed(&self) {
        self.0.inc();
    }
}

/// How a call to an introspection endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// The token is good.
    Active,
    /// The issuer says that it is not.
    Inactive,
    /// The issuer says that it is, and what else it says does not meet our rules.
    Refused,
    /// An answer came that says nothing: not 200, too long, no introspection response.
    Rejected,
    /// No answer came: network, TLS, time.
    Failure,
}

impl CallResult {
    pub(super) const ALL: [Self; 5] = [
        Self::Active,
        Self::Inactive,
        Self::Refused,
        Self::Rejected,
        Self::Failure,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Failure => "failure",
        }
    }
}

/// What is known about asking one issuer about its tokens.
#[derive(Clone, Debug)]
pub struct IntrospectionMetrics {
    pub(super) calls: [IntCounter; CallResult::ALL.len()],
    pub(super) duration: Histogram,
    pub(super) hits: IntCounter,
    pub(super) misses: IntCounter,
    pub(super) suspended: IntGauge,
    pub(super) good_entries: IntGauge,
    pub(super) refused_entries: IntGauge,
    pub(super) bytes: IntGauge,
}

impl IntrospectionMetrics {
    pub fn called(&self, result: CallResult, duration: Duration) {
        self.calls[result as usize].inc();
        self.duration.observe(duration.as_secs_f64());
    }

    /// A remembered answer was used.
    pub fn hit(&self) {
        self.hits.inc();
    }

    /// The issuer has to be asked.
    pub fn missed(&self) {
        self.misses.inc();
    }

    /// Whether the endpoint is left alone for now.
    pub fn set_suspended(&self, suspended: bool) {
        self.suspended.set(i64::from(suspended));
    }

    pub fn is_suspended(&self) -> bool {
        self.suspended.get() != 0
    }

    pub fn set_remembered(&self, good: usize, refused: usize, bytes: u64) {
        self.good_entries.set(count(good));
        self.refused_entries.set(count(refused));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// What one limit counts in.
#[derive(Clone, Debug)]
pub struct LimitMetrics {
    pub(super) allowed: IntCounter,
    pub(super) denied: IntCounter,
    pub(super) would_denied: IntCounter,
    pub(super) buckets: IntGauge,
}

impl LimitMetrics {
    pub fn allowed(&self) {
        self.allowed.inc();
    }

    pub fn denied(&self) {
        self.denied.inc();
    }

    pub fn would_denied(&self) {
        self.would_denied.inc();
    }

    pub fn set_buckets(&self, buckets: usize) {
        self.buckets.set(count(buckets));
    }
}

/// Something that is open as long as this lives; dropping counts it as closed, also while a panic unwinds.
#[derive(Debug)]
#[must_use = "what is dropped at once was never open"]
pub struct Open(IntGauge);

impl Open {
    pub(super) fn count(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One counter for each word of a closed set, there from the start, so that a graph shows the first one as an increase.
pub(super) struct ReasonCounters {
    known: Vec<(&'static str, IntCounter)>,
    other: IntCounter,
}

impl ReasonCounters {
    pub(super) fn new(family: IntCounterVec, reasons: &[&'static str]) -> Self {
        Self {
            known: reasons
                .iter()
                .map(|reason| (*reason, family.with_label_values(&[reason])))
                .collect(),
            other: family.with_label_values(&[OTHER]),
        }
    }

    pub(super) fn inc(&self, reason: &'static str) {
        let known = self.known.iter().find(|(known, _)| *known == reason);
        known.map_or(&self.other, |(_, counter)| counter).inc();
    }
}
