//! What is known of one address of an upstream: its load, its failures, and whether requests may go there?

use crate::config::Ejection;
use crate::config::HealthCheck;
use crate::model::clock::Tick;
use crate::model::endpoint_address::EndpointAddress;
use crate::model::upstream_failure::UpstreamFailure;
use parking_lot::Mutex;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The time without a failure after which a response shows that an endpoint serves again, where it was never ejected.
/// Without it, an endpoint that fails every second request would change its state, and write to the log, with every
/// request.
const RECOVERY: Duration = Duration::from_secs(10);

/// The time in service after which the next ejection is as short as the first.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// The part of its weight that an endpoint gets at the beginning of its return, in percent.
const FIRST_SHARE: u8 = 10;

/// A reason to keep requests from an endpoint; a bit each, so that several can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Absence {
    /// It failed requests, and was not yet found to answer again.
    Ejected = 1,
    /// It fails its health check.
    CheckFailed = 2,
    /// An operator took it out.
    Drained = 4,
}

/// The state of an endpoint, for people and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    Serving,
    /// It failed requests, and stays in service: failures are too few, or too many other endpoints are out.
    Failing,
    /// It serves again, with a growing part of its requests.
    Returning,
    Ejected,
    CheckFailed,
    Drained,
}

impl EndpointState {
    pub const ALL: [Self; 6] = [
        Self::Serving,
        Self::Failing,
        Self::Returning,
        Self::Ejected,
        Self::CheckFailed,
        Self::Drained,
    ];

    /// Returns the word for metrics, logs and the admin API; the set is closed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Failing => "failing",
            Self::Returning => "returning",
            Self::Ejected => "ejected",
            Self::CheckFailed => "check_failed",
            Self::Drained => "drained",
        }
    }
}

/// One address of an upstream. Its state outlives reloads.
#[derive(Debug)]
pub struct Endpoint {
    /// A number that no other endpoint of this process has; the key of connection pools.
    uid: u64,
    address: EndpointAddress,
    /// The bits of [`Absence`].
    absences: AtomicU8,
    /// The part of its weight that the endpoint gets, in percent; 100 but for an endpoint that returns.
    share: AtomicU8,
    /// The failures since the last response.
    consecutive: AtomicU32,
    /// The failures since the endpoint began to fail; 0 while it serves.
    failures: AtomicU64,
    /// The time of the last failure, as [`Tick::as_nanos`].
    last_failure: AtomicU64,
    in_flight: AtomicU32,
    requests_total: AtomicU64,
    failures_total: AtomicU64,
    ejections_total: AtomicU64,
    /// Changed with the state alone.
    history: Mutex<History>,
    checks: Mutex<Checks>,
}

/// The health checks of an endpoint.
#[derive(Debug, Default)]
struct Checks {
    /// `true` while a check is under way.
    is_running: bool,
    /// `None` before the first one.
    last: Option<Tick>,
    /// The checks in a row whose result contradicts the state of the endpoint.
    contradictions: u32,
    /// The problem of the last failed check.
    problem: Option<String>,
}

/// The ejections of an endpoint.
#[derive(Debug, Default)]
struct History {
    /// The ejections in a row, the current one included.
    ejections: u32,
    /// The time of the next probe of an ejected endpoint.
    probe_at: Tick,
    /// `true` while a probe is under way.
    is_probed: bool,
    /// The time of the last return.
    returned_at: Tick,
    last_failure: Option<UpstreamFailure>,
}

impl Endpoint {
    pub fn new(address: EndpointAddress) -> Self {
        static UIDS: AtomicU64 = AtomicU64::new(0);
        Self {
            uid: UIDS.fetch_add(1, Ordering::Relaxed),
            address,
            absences: AtomicU8::new(0),
            share: AtomicU8::new(100),
            consecutive: AtomicU32::new(0),
            failures: AtomicU64::new(0),
            last_failure: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            requests_total: AtomicU64::new(0),
            failures_total: AtomicU64::new(0),
            ejections_total: AtomicU64::new(0),
            history: Mutex::default(),
            checks: Mutex::default(),
        }
    }

    pub const fn uid(&self) -> u64 {
        self.uid
    }

    pub const fn address(&self) -> &EndpointAddress {
        &self.address
    }

    pub fn state(&self) -> EndpointState {
        if self.has(Absence::Drained) {
            EndpointState::Drained
        } else if self.has(Absence::CheckFailed) {
            EndpointState::CheckFailed
        } else if self.has(Absence::Ejected) {
            EndpointState::Ejected
        } else if self.failures.load(Ordering::Relaxed) > 0 {
            EndpointState::Failing
        } else if self.share() < 100 {
            EndpointState::Returning
        } else {
            EndpointState::Serving
        }
    }

    /// Returns whether nothing keeps requests from the endpoint.
    pub fn is_in_service(&self) -> bool {
        self.absences.load(Ordering::Relaxed) == 0
    }

    pub fn has(&self, absence: Absence) -> bool {
        self.absences.load(Ordering::Relaxed) & absence as u8 != 0
    }

    /// Adds or removes a reason to keep requests from the endpoint. Returns whether that changed anything.
    pub(super) fn set(&self, absence: Absence, holds: bool) -> bool {
        let before = if holds {
            self.absences.fetch_or(absence as u8, Ordering::Relaxed)
        } else {
            self.absences.fetch_and(!(absence as u8), Ordering::Relaxed)
        };
        (before & absence as u8 != 0) != holds
    }

    /// Returns the part of its weight that the endpoint gets, in percent.
    pub(super) fn share(&self) -> u8 {
        self.share.load(Ordering::Relaxed)
    }

    /// Returns the number of requests that the endpoint has now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns the number of requests that were sent to the endpoint, also in further attempts.
    pub fn requests_total(&self) -> u64 {
        self.requests_total.load(Ordering::Relaxed)
    }

    pub fn failures_total(&self) -> u64 {
        self.failures_total.load(Ordering::Relaxed)
    }

    pub fn ejections_total(&self) -> u64 {
        self.ejections_total.load(Ordering::Relaxed)
    }

    /// Returns the last failure; `None` if there was none.
    pub fn last_failure(&self) -> Option<UpstreamFailure> {
        self.history.lock().last_failure
    }

    /// Gives the endpoint a request; returns `false` if it has `max` already.
    pub(super) fn begin_request(&self, max: Option<u32>) -> bool {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        if max.is_some_and(|max| before >= max) {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.requests_total.fetch_add(1, Ordering::Relaxed);
        true
    }

    pub(super) fn end_request(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Records a failed request. Returns the number of failures since the last response.
    pub(super) fn count_failure(&self, failure: UpstreamFailure, now: Tick) -> Failures {
        self.failures_total.fetch_add(1, Ordering::Relaxed);
        self.last_failure.store(now.as_nanos(), Ordering::Relaxed);
        let is_first = self.failures.fetch_add(1, Ordering::Relaxed) == 0;
        if is_first {
            self.history.lock().last_failure = Some(failure);
        }
        Failures {
            consecutive: self.consecutive.fetch_add(1, Ordering::Relaxed).saturating_add(1),
            is_first,
        }
    }

    /// Records a response. Returns the number of failures before it where the endpoint serves again with it.
    pub(super) fn note_response(&self, now: impl FnOnce() -> Tick) -> Option<u64> {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.consecutive.store(0, Ordering::Relaxed);
        // A response to a request that was under way says nothing of new ones.
        if !self.is_in_service() {
            return None;
        }
        let last_failure = Tick::from_nanos(self.last_failure.load(Ordering::Relaxed));
        if now().saturating_since(last_failure) < RECOVERY {
            return None;
        }
        // Of several responses at once, one sees the failures.
        Some(self.failures.swap(0, Ordering::Relaxed)).filter(|failures| *failures > 0)
    }

    /// Takes the endpoint out of service. Returns the time until its first probe.
    pub(super) fn eject(&self, settings: &Ejection, now: Tick) -> Duration {
        let mut history = self.history.lock();
        if now.saturating_since(history.returned_at) >= FORGIVEN_AFTER {
            history.ejections = 0;
        }
        history.ejections = history.ejections.saturating_add(1);
        let time = ejection_time(settings, history.ejections);
        history.probe_at = now.saturating_add(time);
        self.ejections_total.fetch_add(1, Ordering::Relaxed);
        self.set(Absence::Ejected, true);
        time
    }

    /// Returns whether the endpoint is to be probed now; the caller then reports the result.
    pub(super) fn begin_probe(&self, now: Tick) -> bool {
        if !self.has(Absence::Ejected) {
            return false;
        }
        let mut history = self.history.lock();
        let is_due = !history.is_probed && now >= history.probe_at;
        history.is_probed |= is_due;
        is_due
    }

    /// Keeps an ejected endpoint out after a failed probe, for longer than before.
    pub(super) fn prolong_ejection(&self, settings: &Ejection, now: Tick) {
        let mut history = self.history.lock();
        history.is_probed = false;
        history.ejections = history.ejections.saturating_add(1);
        history.probe_at = now.saturating_add(ejection_time(settings, history.ejections));
    }

    /// Puts an ejected endpoint back into service, with a first part of its requests. Returns the number of failures since
    /// it began to fail.
    pub(super) fn readmit(&self, now: Tick) -> u64 {
        let mut history = self.history.lock();
        history.is_probed = false;
        drop(history);
        self.begin_return(now);
        self.consecutive.store(0, Ordering::Relaxed);
        self.set(Absence::Ejected, false);
        self.failures.swap(0, Ordering::Relaxed)
    }

    /// Returns whether the endpoint is to be checked now; the caller then reports the result.
    pub(super) fn begin_check(&self, interval: Duration, now: Tick) -> bool {
        let mut checks = self.checks.lock();
        let is_due = !checks.is_running && checks.last.is_none_or(|last| now.saturating_since(last) >= interval);
        if is_due {
            checks.is_running = true;
            checks.last = Some(now);
        }
        is_due
    }

    /// Records the result of a check. Returns whether the endpoint is healthy where that changes with it.
    pub(super) fn end_check(&self, settings: &HealthCheck, result: Result<(), String>) -> Option<bool> {
        let is_healthy = !self.has(Absence::CheckFailed);
        let mut checks = self.checks.lock();
        checks.is_running = false;
        let has_passed = result.is_ok();
        if let Err(problem) = result {
            checks.problem = Some(problem);
        }
        if has_passed == is_healthy {
            checks.contradictions = 0;
            return None;
        }
        checks.contradictions = checks.contradictions.saturating_add(1);
        let needed = if has_passed {
            settings.successes
        } else {
            settings.failures
        };
        if checks.contradictions < needed {
            return None;
        }
        checks.contradictions = 0;
        Some(has_passed)
    }

    /// Returns the problem of the last failed health check.
    pub fn check_problem(&self) -> Option<String> {
        self.checks.lock().problem.clone()
    }

    /// Begins a return: the endpoint gets a first part of its requests.
    pub(super) fn begin_return(&self, now: Tick) {
        self.history.lock().returned_at = now;
        self.share.store(FIRST_SHARE, Ordering::Relaxed);
    }

    /// Lets the part of its requests grow with the time since the return. Returns whether it has all of them again.
    pub(super) fn grow(&self, return_time: Duration, now: Tick) -> bool {
        if self.share() == 100 {
            return true;
        }
        let since = now.saturating_since(self.history.lock().returned_at);
        let share = match u128::checked_div(since.as_nanos() * 100, return_time.as_nanos()) {
            Some(percent) => u8::try_from(percent.min(100)).unwrap_or(100).max(FIRST_SHARE),
            None => 100,
        };
        self.share.store(share, Ordering::Relaxed);
        share == 100
    }
}

/// The failures of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failures {
    /// Those since the last response.
    pub consecutive: u32,
    /// `true` for the first one since the endpoint served.
    pub is_first: bool,
}

/// Returns the time of the ejection number `ejections` in a row: each one is twice as long as the one before.
fn ejection_time(settings: &Ejection, ejections: u32) -> Duration {
    let factor = 1_u32.checked_shl(ejections.saturating_sub(1)).unwrap_or(u32::MAX);
    settings.time.saturating_mul(factor).min(settings.time_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Ejection = Ejection {
        failures: 1,
        time: Duration::from_secs(1),
        time_max: Duration::from_secs(60),
        return_time: Duration::from_secs(10),
    };

    const fn at(secs: u64) -> Tick {
        Tick::from_nanos(secs * 1_000_000_000)
    }

    fn endpoint() -> Endpoint {
        Endpoint::new(EndpointAddress::Inet(([127, 0, 0, 1], 80).into()))
    }

    fn fail(endpoint: &Endpoint, now: Tick) -> Failures {
        endpoint.count_failure(UpstreamFailure::Closed, now)
    }

    #[test]
    fn an_endpoint_begins_to_fail_once_and_serves_again_after_a_time_without_failures() {
        let endpoint = endpoint();
        assert_eq!(endpoint.note_response(|| at(1)), None);
        assert!(fail(&endpoint, at(2)).is_first);
        assert_eq!(endpoint.note_response(|| at(3)), None, "it fails every second time");
        let second = fail(&endpoint, at(4));
        assert_eq!((second.consecutive, second.is_first), (1, false));
        assert_eq!(endpoint.note_response(|| at(13)), None);
        assert_eq!(endpoint.note_response(|| at(14)), Some(2));
        assert_eq!(endpoint.note_response(|| at(15)), None);
        assert!(fail(&endpoint, at(16)).is_first, "it fails anew");
    }

    #[test]
    fn each_ejection_in_a_row_is_twice_as_long_up_to_the_longest() {
        let endpoint = endpoint();
        let mut now = at(100);
        for secs in [1, 2, 4, 8, 16, 32, 60, 60] {
            let time = endpoint.eject(&SETTINGS, now);
            assert_eq!(time.as_secs(), secs);
            assert!(!endpoint.begin_probe(now.saturating_add(time - Duration::from_nanos(1))));
            now = now.saturating_add(time);
            assert!(endpoint.begin_probe(now));
            assert!(!endpoint.begin_probe(now), "one probe at a time");
            endpoint.readmit(now);
        }
        // After a minute in service the next one is short again.
        now = now.saturating_add(FORGIVEN_AFTER);
        assert_eq!(endpoint.eject(&SETTINGS, now).as_secs(), 1);
    }

    #[test]
    fn a_failed_probe_prolongs_the_ejection() {
        let endpoint = endpoint();
        endpoint.eject(&SETTINGS, at(100));
        assert!(endpoint.begin_probe(at(101)));
        endpoint.prolong_ejection(&SETTINGS, at(101));
        assert!(!endpoint.begin_probe(at(102)) && endpoint.begin_probe(at(103)));
        assert_eq!(endpoint.state(), EndpointState::Ejected);
    }

    #[test]
    fn an_endpoint_that_returns_gets_its_requests_back_slowly() {
        let endpoint = endpoint();
        fail(&endpoint, at(99));
        endpoint.eject(&SETTINGS, at(100));
        assert_eq!(endpoint.readmit(at(110)), 1);
        for (secs, share) in [(110, 10), (111, 10), (112, 20), (115, 50), (119, 90)] {
            assert!(!endpoint.grow(SETTINGS.return_time, at(secs)));
            assert_eq!(endpoint.share(), share, "{secs}");
            assert_eq!(endpoint.state(), EndpointState::Returning);
        }
        assert!(endpoint.grow(SETTINGS.return_time, at(120)));
        assert_eq!(endpoint.state(), EndpointState::Serving);
    }

    #[test]
    fn a_late_response_of_an_ejected_endpoint_puts_it_not_back() {
        let endpoint = endpoint();
        fail(&endpoint, at(1));
        endpoint.eject(&SETTINGS, at(1));
        assert_eq!(endpoint.note_response(|| at(30)), None);
        assert_eq!(endpoint.state(), EndpointState::Ejected);
    }
}
