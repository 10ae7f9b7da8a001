//! When has an exchange lasted too long? All time limits of a request, and the end of its stream. Reads no clock.

use crate::gate::denial::Denial;
use crate::proxy::exchange::Interruption;
use crate::proxy::forward::stream_end::StreamEnd;
use std::time::Duration;
use tokio::time::Instant;

/// The time limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// The longest wait for the next part of the request body.
    pub downstream_read: Duration,
    /// The longest wait until the client accepts the next part of the response. A client that does not read its
    /// response also holds a connection of the upstream.
    pub downstream_write: Duration,
    /// The longest wait for the next part of the response, once the client owes nothing of its body.
    pub upstream_read: Duration,
    /// The longest wait until the upstream accepts the next part of the request.
    pub upstream_write: Duration,
    /// The deadline of the whole exchange, except for streams. `None` is never.
    pub total: Option<Instant>,
}

impl TimeLimits {
    /// The limits of a request that goes to no upstream.
    pub const NONE: Self = Self {
        downstream_read: Duration::MAX,
        downstream_write: Duration::MAX,
        upstream_read: Duration::MAX,
        upstream_write: Duration::MAX,
        total: None,
    };
}

/// The event that a lane waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitTarget {
    /// The client accepts the next part of the response.
    ClientReads,
    /// The upstream accepts the next part of the request.
    UpstreamReads,
    /// The client sends the next part of its body. An upstream that waits for the body too is not late.
    RequestBody,
    /// The upstream sends the next part of the response.
    Response,
    /// The upstream sends the next part of the response, or the client the next part of its body, which it need not send
    /// first. Such a client can make any upstream silent, so it is late, with the time of the upstream.
    ResponseOrBody,
    /// An event with a time limit of its own, in pingora: only the exchange as a whole is limited here.
    TimedElsewhere,
}

impl WaitTarget {
    /// Returns the denial of an exchange whose time ends during the wait: the side that is waited for is late, whoever
    /// set the limit.
    pub const fn overdue(self) -> Denial {
        match self {
            Self::ClientReads => Denial::ClientGone,
            Self::RequestBody | Self::ResponseOrBody => Denial::BodyTimeout,
            Self::UpstreamReads | Self::Response | Self::TimedElsewhere => Denial::UpstreamTimeout,
        }
    }
}

/// The activity since the last call, and the event that the lane waits for now.
#[derive(Clone, Copy, Debug)]
pub struct Activity {
    /// The client sent or accepted bytes.
    pub downstream: bool,
    /// The upstream sent or accepted bytes.
    pub upstream: bool,
    pub wait_target: WaitTarget,
}

/// The interval at which the credential of a stream is checked for a revocation.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The deadlines of one exchange.
#[derive(Debug)]
pub struct Deadlines {
    limits: TimeLimits,
    /// `None` until the first call of [`Self::next`].
    wait: Option<Wait>,
    stream: Option<Stream>,
}

/// The wait for one side. A side is not late for the time in which the other one was waited for.
#[derive(Clone, Copy, Debug)]
struct Wait {
    target: WaitTarget,
    /// The beginning of the wait, or the last activity of the side since.
    since: Instant,
}

#[derive(Debug)]
struct Stream {
    /// `None` for a stream without a principal: on a public route, or admitted by an issuer's shadow mode.
    end: Option<StreamEnd>,
    next_check: Instant,
}

impl Deadlines {
    pub const fn new(limits: TimeLimits) -> Self {
        Self {
            limits,
            wait: None,
            stream: None,
        }
    }

    /// Extends every limit by `extra`, except for the end of a stream.
    pub fn extend(&mut self, extra: Duration) {
        let limits = &mut self.limits;
        for limit in [
            &mut limits.downstream_read,
            &mut limits.downstream_write,
            &mut limits.upstream_read,
            &mut limits.upstream_write,
        ] {
            *limit = limit.saturating_add(extra);
        }
        limits.total = limits.total.and_then(|total| total.checked_add(extra));
    }

    /// Limits the wait for the next part of the response from now on.
    pub const fn limit_response_wait(&mut self, limit: Duration) {
        self.limits.upstream_read = limit;
        self.wait = None;
    }

    /// Returns the total deadline, which applies until the response is a stream. `None` is never.
    pub const fn total(&self) -> Option<Instant> {
        self.limits.total
    }

    /// Marks the response as a stream, which has no total deadline. `end` is `None` for a stream without a principal.
    pub fn set_stream(&mut self, end: Option<StreamEnd>, now: Instant) {
        self.stream = Some(Stream {
            end,
            next_check: now + CHECK_INTERVAL,
        });
    }

    /// Returns the next time to check the whole exchange: its total deadline, or for a stream the expiry or the next
    /// check of its credential, whichever is earlier. `None` is never.
    ///
    /// # Errors
    /// The total deadline is reached, or the credential of the stream has expired or was revoked.
    pub fn next_end_check(&mut self, now: Instant) -> Result<Option<Instant>, Interruption> {
        let wait_target = self.wait.map_or(WaitTarget::Response, |wait| wait.target);
        match &mut self.stream {
            Some(stream) => stream.next(now),
            None => check(self.limits.total, now, wait_target),
        }
    }

    /// Records `activity`, and returns the earliest deadline that applies now: the time at which the lane has to call
    /// again. `None` is never.
    ///
    /// # Errors
    /// A deadline is reached, or the credential of the stream has expired or was revoked.
    pub fn next(&mut self, now: Instant, activity: Activity) -> Result<Option<Instant>, Interruption> {
        let target = activity.wait_target;
        let is_active = match target {
            WaitTarget::ClientReads | WaitTarget::RequestBody => activity.downstream,
            WaitTarget::UpstreamReads
            | WaitTarget::Response
            | WaitTarget::ResponseOrBody
            | WaitTarget::TimedElsewhere => activity.upstream,
        };
        let wait = match self.wait {
            Some(wait) if wait.target == target && !is_active => wait,
            Some(_) | None => Wait { target, since: now },
        };
        self.wait = Some(wait);
        let end = self.next_end_check(now)?;
        let limit = match target {
            WaitTarget::ClientReads => self.limits.downstream_write,
            WaitTarget::RequestBody => self.limits.downstream_read,
            WaitTarget::UpstreamReads => self.limits.upstream_write,
            WaitTarget::Response | WaitTarget::ResponseOrBody => self.limits.upstream_read,
            WaitTarget::TimedElsewhere => return Ok(end),
        };
        let overdue_at = check(wait.since.checked_add(limit), now, target)?;
        Ok(earliest(end, overdue_at))
    }
}

impl Stream {
    /// Returns the expiry or the next check of the credential, whichever is earlier.
    ///
    /// # Errors
    /// The credential has expired or was revoked.
    fn next(&mut self, now: Instant) -> Result<Option<Instant>, Interruption> {
        let Some(end) = &self.end else {
            return Ok(None);
        };
        if end.expires_at.is_some_and(|at| at <= now) {
            return Err(Interruption::StreamEnded);
        }
        let Some(still_valid) = &end.still_valid else {
            return Ok(end.expires_at);
        };
        if self.next_check <= now {
            self.next_check = now + CHECK_INTERVAL;
            if !still_valid() {
                return Err(Interruption::StreamEnded);
            }
        }
        Ok(earliest(end.expires_at, Some(self.next_check)))
    }
}

/// Returns `at`, or fails with the denial of an overdue `wait_target` once that time is reached.
fn check(at: Option<Instant>, now: Instant, wait_target: WaitTarget) -> Result<Option<Instant>, Interruption> {
    if at.is_some_and(|at| at <= now) {
        Err(wait_target.overdue().into())
    } else {
        Ok(at)
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn limits(now: Instant) -> TimeLimits {
        TimeLimits {
            downstream_read: secs(1),
            downstream_write: secs(2),
            upstream_read: secs(3),
            upstream_write: secs(4),
            total: Some(now + secs(10)),
        }
    }

    const fn waits(wait_target: WaitTarget) -> Activity {
        Activity {
            downstream: false,
            upstream: false,
            wait_target,
        }
    }

    fn reason(interruption: &Interruption) -> &'static str {
        match interruption {
            Interruption::Denied(denial) => denial.reason(),
            Interruption::StreamEnded => "stream_ended",
        }
    }

    /// Checks that a wait for `wait_target` ends `after` the start with the reason `ends`, and not a nanosecond
    /// earlier.
    #[track_caller]
    fn check(wait_target: WaitTarget, after: Duration, ends: &str) {
        let now = Instant::now();
        let mut deadlines = Deadlines::new(limits(now));
        let next = deadlines.next(now, waits(wait_target)).unwrap();
        assert_eq!(next, Some(now + after), "{wait_target:?}");
        let at = now + after;
        assert!(deadlines.next(at - Duration::from_nanos(1), waits(wait_target)).is_ok());
        assert_eq!(
            reason(&deadlines.next(at, waits(wait_target)).unwrap_err()),
            ends,
            "{wait_target:?}"
        );
    }

    #[test]
    fn each_side_has_a_limit_of_its_own_for_each_part() {
        check(WaitTarget::ClientReads, secs(2), "client_gone");
        check(WaitTarget::UpstreamReads, secs(4), "upstream_timeout");
        check(WaitTarget::RequestBody, secs(1), "body_timeout");
        check(WaitTarget::Response, secs(3), "upstream_timeout");
        check(WaitTarget::TimedElsewhere, secs(10), "upstream_timeout");
    }

    #[test]
    fn every_limit_but_the_end_of_a_stream_can_be_extended() {
        let now = Instant::now();
        for (wait_target, after) in [
            (WaitTarget::ClientReads, 7),
            (WaitTarget::UpstreamReads, 9),
            (WaitTarget::RequestBody, 6),
            (WaitTarget::Response, 8),
        ] {
            let mut deadlines = Deadlines::new(limits(now));
            deadlines.extend(secs(5));
            assert_eq!(
                deadlines.next(now, waits(wait_target)).unwrap(),
                Some(now + secs(after))
            );
            assert_eq!(deadlines.total(), Some(now + secs(15)));
        }
        let mut deadlines = Deadlines::new(TimeLimits::NONE);
        deadlines.extend(secs(5));
        assert_eq!(
            (deadlines.total(), deadlines.limits.upstream_read),
            (None, Duration::MAX)
        );
        deadlines.set_stream(Some(end(Some(now + secs(3)), None)), now);
        assert_eq!(deadlines.next_end_check(now).unwrap(), Some(now + secs(3)));
    }

    #[test]
    fn a_stream_is_checked_first_a_second_after_it_began() {
        let now = Instant::now();
        let mut deadlines = Deadlines::new(limits(now));
        assert_eq!(deadlines.total(), Some(now + secs(10)));
        assert_eq!(deadlines.next_end_check(now).unwrap(), Some(now + secs(10)));
        deadlines.set_stream(Some(end(None, Some(&Arc::new(AtomicBool::new(true))))), now);
        assert_eq!(deadlines.next_end_check(now).unwrap(), Some(now + secs(1)));
        deadlines.set_stream(None, now);
        assert_eq!(deadlines.next_end_check(now).unwrap(), None);
    }

    /// Returns how and when a wait ends whose side does nothing from `now` on.
    fn end_of_wait(deadlines: &mut Deadlines, mut now: Instant, wait_target: WaitTarget) -> (&'static str, Instant) {
        loop {
            match deadlines.next(now, waits(wait_target)) {
                Ok(next) => now = next.expect("there is a total"),
                Err(interruption) => return (reason(&interruption), now),
            }
        }
    }

    #[test]
    fn an_upstream_is_not_late_while_the_client_owes_its_body() {
        let start = Instant::now();
        let slow_client = TimeLimits {
            downstream_read: secs(8),
            ..limits(start)
        };
        let mut deadlines = Deadlines::new(slow_client);
        let found = end_of_wait(&mut deadlines, start, WaitTarget::RequestBody);
        assert_eq!(found, ("body_timeout", start + secs(8)));

        // The upstream has its own limit from the moment when the body is complete.
        let mut deadlines = Deadlines::new(slow_client);
        deadlines.next(start, waits(WaitTarget::RequestBody)).unwrap();
        let found = end_of_wait(&mut deadlines, start + secs(6), WaitTarget::Response);
        assert_eq!(found, ("upstream_timeout", start + secs(9)));
    }

    #[test]
    fn a_side_is_not_late_for_the_time_in_which_the_other_side_was() {
        let start = Instant::now();
        // The client takes a part of the response only after 1.9 s; no byte of the upstream could be read before.
        let mut deadlines = Deadlines::new(limits(start));
        deadlines.next(start, waits(WaitTarget::ClientReads)).unwrap();
        let found = end_of_wait(
            &mut deadlines,
            start + Duration::from_millis(1_900),
            WaitTarget::Response,
        );
        assert_eq!(found, ("upstream_timeout", start + Duration::from_millis(4_900)));
        // The upstream takes a part of the body only after 3.9 s; no byte of the client could be read before.
        let mut deadlines = Deadlines::new(limits(start));
        deadlines.next(start, waits(WaitTarget::UpstreamReads)).unwrap();
        let found = end_of_wait(
            &mut deadlines,
            start + Duration::from_millis(3_900),
            WaitTarget::RequestBody,
        );
        assert_eq!(found, ("body_timeout", start + Duration::from_millis(4_900)));
    }

    #[test]
    fn the_total_ends_with_the_blame_of_the_side_that_is_waited_for() {
        let start = Instant::now();
        let total_first = TimeLimits {
            total: Some(start + secs(1)),
            downstream_read: secs(30),
            downstream_write: secs(30),
            upstream_read: secs(30),
            upstream_write: secs(30),
        };
        for (wait_target, expected) in [
            (WaitTarget::ClientReads, "client_gone"),
            (WaitTarget::RequestBody, "body_timeout"),
            (WaitTarget::UpstreamReads, "upstream_timeout"),
            (WaitTarget::Response, "upstream_timeout"),
            (WaitTarget::TimedElsewhere, "upstream_timeout"),
        ] {
            let mut deadlines = Deadlines::new(total_first);
            let found = end_of_wait(&mut deadlines, start, wait_target);
            assert_eq!(found, (expected, start + secs(1)), "{wait_target:?}");
        }
    }

    #[test]
    fn parts_that_move_renew_their_sides_limit_and_never_the_total() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(limits(start));
        let moves = Activity {
            upstream: true,
            ..waits(WaitTarget::Response)
        };
        for second in 0..10 {
            assert!(deadlines.next(start + secs(second), moves).is_ok(), "{second}");
        }
        assert_eq!(
            reason(&deadlines.next(start + secs(10), moves).unwrap_err()),
            "upstream_timeout"
        );
    }

    fn end(at: Option<Instant>, valid: Option<&Arc<AtomicBool>>) -> StreamEnd {
        StreamEnd {
            expires_at: at,
            still_valid: valid.cloned().map(|valid| {
                let look: Box<dyn Fn() -> bool + Send + Sync> = Box::new(move || valid.load(Ordering::Relaxed));
                look
            }),
        }
    }

    #[test]
    fn s038_a_stream_outlives_the_total_and_ends_with_its_credential() {
        let start = Instant::now();
        let moves = Activity {
            upstream: true,
            ..waits(WaitTarget::Response)
        };
        let mut expiring = Deadlines::new(limits(start));
        expiring.set_stream(Some(end(Some(start + secs(20)), None)), start);
        assert!(expiring.next(start + secs(19), moves).is_ok());
        assert_eq!(
            reason(&expiring.next(start + secs(20), moves).unwrap_err()),
            "stream_ended"
        );

        let valid = Arc::new(AtomicBool::new(true));
        let mut revocable = Deadlines::new(limits(start));
        revocable.set_stream(Some(end(None, Some(&valid))), start);
        assert_eq!(revocable.next(start, moves).unwrap(), Some(start + CHECK_INTERVAL));
        valid.store(false, Ordering::Relaxed);
        let almost = start + CHECK_INTERVAL - Duration::from_nanos(1);
        assert!(revocable.next(almost, moves).is_ok());
        assert_eq!(
            reason(&revocable.next(start + CHECK_INTERVAL, moves).unwrap_err()),
            "stream_ended"
        );

        let mut public = Deadlines::new(limits(start));
        public.set_stream(None, start);
        assert!(public.next(start + secs(1_000), moves).is_ok());
    }

    fn activity() -> impl Strategy<Value = (u64, Activity)> {
        let waiting = prop_oneof![
            Just(WaitTarget::ClientReads),
            Just(WaitTarget::UpstreamReads),
            Just(WaitTarget::RequestBody),
            Just(WaitTarget::Response),
            Just(WaitTarget::TimedElsewhere),
        ];
        (0..5_000_u64, any::<bool>(), any::<bool>(), waiting).prop_map(|(millis, downstream, upstream, waiting)| {
            let activity = Activity {
                downstream,
                upstream,
                wait_target: waiting,
            };
            (millis, activity)
        })
    }

    proptest! {
        /// Without activity, the exchange ends exactly at the returned deadline and not a nanosecond earlier. A
        /// returned deadline is later than `now`.
        #[test]
        fn the_returned_deadline_is_the_one_that_ends_it(steps in prop::collection::vec(activity(), 1..20)) {
            let start = Instant::now();
            let mut deadlines = Deadlines::new(limits(start));
            let mut now = start;
            for (millis, activity) in steps {
                now += Duration::from_millis(millis);
                let Ok(next) = deadlines.next(now, activity) else {
                    break;
                };
                let at = next.expect("there is a total");
                prop_assert!(at > now && at <= start + secs(10));
                let still = waits(activity.wait_target);
                prop_assert!(deadlines.next(at - Duration::from_nanos(1), still).is_ok());
                prop_assert!(deadlines.next(at, still).is_err());
            }
        }
    }
}
