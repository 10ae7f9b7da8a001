//! Which endpoint gets a request, and is the request sent again when the endpoint fails?

use crate::config::Balance;
use crate::config::Timeouts;
use crate::gate::decide::Permit;
use crate::gate::denial::Denial;
use crate::gate::destination::HashSource;
use crate::model::upstream_failure::UpstreamFailure;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward::retry::FailureCause;
use crate::proxy::forward::retry::Retry;
use crate::upstream::NoChoice;
use crate::upstream::StateChange;
use crate::upstream::Upstream;
use http::StatusCode;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::timeout_at;

impl Exchange {
    /// Chooses an endpoint of `upstream`, which [`Self::endpoint`] returns from then on. Waits for one that can have the
    /// request, for as long as the settings say. Returns the time that is left to connect.
    ///
    /// # Errors
    /// Those of [`Self::choose_endpoint`].
    pub async fn wait_for_endpoint(&mut self, upstream: &Upstream) -> Result<Duration, Denial> {
        match self.choose_endpoint(upstream) {
            // On the heap: few requests wait, and the others need no room for it.
            Err(Denial::EndpointsBusy) => Box::pin(self.wait_for_room(upstream)).await,
            chosen => chosen,
        }
    }

    /// Waits for an endpoint that can have the request.
    async fn wait_for_room(&mut self, upstream: &Upstream) -> Result<Duration, Denial> {
        let give_up_at = Instant::now().checked_add(upstream.settings.queue_time);
        let give_up_at = give_up_at.into_iter().chain(self.deadlines.total()).min();
        loop {
            let mut room = pin!(upstream.room());
            // From here on, no end of a request is missed.
            room.as_mut().enable();
            match self.choose_endpoint(upstream) {
                Err(Denial::EndpointsBusy) => {}
                chosen => return chosen,
            }
            match give_up_at {
                Some(at) => timeout_at(at, room).await.map_err(|_| Denial::EndpointsBusy)?,
                None => room.await,
            }
        }
    }

    /// Chooses an endpoint of `upstream`, which [`Self::endpoint`] returns from then on. Returns the time that is left to
    /// connect.
    ///
    /// # Errors
    /// No endpoint has an address, all are drained or busy, or the total time is over.
    pub fn choose_endpoint(&mut self, upstream: &Upstream) -> Result<Duration, Denial> {
        let total = self.deadlines.total();
        let left = total.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(Denial::ConnectTimeout);
        }
        // The endpoint of the attempt before has the request no more.
        self.endpoint = None;
        self.has_begun = false;
        let source = HashSource {
            principal: self.permit.as_ref().and_then(Permit::principal),
            headers: &self.request.headers,
            address: self.client_ip.unwrap_or_else(|| self.connection.peer.ip()),
        };
        let mut buffer = [0; 16];
        let key = match &upstream.settings.balance {
            Balance::RoundRobin | Balance::Random | Balance::LeastRequests => &[],
            Balance::ConsistentHash(key) => source.bytes(key, &mut buffer),
        };
        let choice = upstream.choose(key, self.avoided.as_deref());
        self.endpoint = Some(choice.map_err(|reason| match reason {
            NoChoice::NoEndpoint => Denial::NoEndpoint,
            NoChoice::Busy => Denial::EndpointsBusy,
        })?);
        self.attempts.begin();
        Ok(left)
    }

    /// Limits the wait for the response's head to the time of one try: where another try is left, to `try_timeout`. Only for a
    /// lane that has no time limits besides those of the exchange.
    pub fn begin_try(&mut self, upstream: &Upstream, timeouts: &Timeouts) {
        if let Some(limit) = upstream.settings.retries.try_timeout {
            let has_retry = self.attempts.has_retry();
            let limit = if has_retry {
                limit.min(timeouts.read)
            } else {
                timeouts.read
            };
            self.deadlines.limit_response_wait(limit);
        }
    }

    /// Lifts the limit of [`Self::begin_try`]: a response has begun.
    pub fn end_try(&mut self) {
        if let Some(permit) = &self.permit
            && permit.destination().upstream.settings.retries.try_timeout.is_some()
        {
            self.deadlines.limit_response_wait(permit.destination().timeouts.read);
        }
    }

    /// Returns how the endpoint failed; `None` if it did not.
    pub const fn upstream_failure(&self) -> Option<UpstreamFailure> {
        self.upstream_failure
    }

    /// Records what the endpoint did in place of a whole response. Where it is the `cause`, it may be ejected for that.
    pub fn note_upstream_failure(&mut self, failure: UpstreamFailure, cause: FailureCause) {
        match cause {
            FailureCause::Endpoint => self.record_failure(failure, None),
            FailureCause::Stream | FailureCause::StaleConnection => self.count_failure(failure),
        }
    }

    fn count_failure(&mut self, failure: UpstreamFailure) {
        self.upstream_failure = Some(failure);
        if let Some(permit) = &self.permit {
            permit.destination().metrics.count_failure(failure);
        }
    }

    /// Records a failure. The first one of an endpoint is logged, further ones are counted.
    fn record_failure(&mut self, failure: UpstreamFailure, problem: Option<&str>) {
        self.count_failure(failure);
        let (Some(permit), Some(choice)) = (&self.permit, &self.endpoint) else {
            return;
        };
        if failure == UpstreamFailure::NoResources {
            return;
        }
        let upstream = &permit.destination().upstream;
        let change = upstream.note_failure(&choice.endpoint, failure, self.gate.clock.now().tick);
        let ejected_secs = match change {
            Some(StateChange::Ejected { time }) => Some(time.as_secs_f64()),
            Some(StateChange::Fails) => None,
            Some(StateChange::Serves { .. }) | None => return,
        };
        tracing::warn!(
            upstream = upstream.name().as_str(),
            endpoint = %choice.endpoint.address(),
            failure = failure.as_str(),
            problem,
            ejected_secs,
            "Endpoint fails"
        );
    }

    /// Records that the endpoint has sent the head of a response, also of an interim one.
    pub fn note_upstream_head(&mut self) {
        self.has_begun = true;
        self.upstream_failure = None;
        let (Some(permit), Some(choice)) = (&self.permit, &self.endpoint) else {
            return;
        };
        let upstream = &permit.destination().upstream;
        let now = || self.gate.clock.now().tick;
        if let Some(StateChange::Serves { failures }) = upstream.note_response(&choice.endpoint, now) {
            tracing::info!(
                upstream = upstream.name().as_str(),
                endpoint = %choice.endpoint.address(),
                failures,
                "Endpoint serves again"
            );
        }
    }

    /// Counts a failed connection attempt, and returns whether the upstream's `connect_attempts` allow another one.
    /// `problem` says more of it, for the operator.
    pub fn count_connect_failure(&mut self, failure: UpstreamFailure, problem: Option<&str>) -> bool {
        self.record_failure(failure, problem);
        if let (Some(permit), Some(choice)) = (&self.permit, &self.endpoint) {
            permit.destination().metrics.count_connect_failure();
            permit.destination().upstream.want_lookup(choice);
        }
        self.avoid_endpoint();
        self.attempts.count_connect_failure()
    }

    /// Has the next attempt use another endpoint, if there is one.
    fn avoid_endpoint(&mut self) {
        self.avoided = self.endpoint.as_ref().map(|choice| Arc::clone(&choice.endpoint));
    }

    /// Returns whether the endpoint of the last attempt has begun a response: it works on the request, which must not be sent again.
    pub const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Returns whether the request may be sent again after a failure of its endpoint, as far as its own attempts go.
    pub const fn has_retry(&self) -> bool {
        self.attempts.has_retry()
    }

    /// Returns whether the request may be sent again after an endpoint did not answer in the time of one try. Without such a
    /// time it may not: a request that takes long would take as long again.
    pub fn retries_timeouts(&self) -> bool {
        let has_time = |permit: &Permit| permit.destination().upstream.settings.retries.try_timeout.is_some();
        self.attempts.has_retry() && self.permit.as_ref().is_some_and(has_time)
    }

    /// Returns whether a request with an idempotent method is sent again, because `failure` came in place of its response.
    /// Records the failure.
    pub fn retries_after(&mut self, failure: UpstreamFailure, cause: FailureCause) -> bool {
        let retry = self.attempts.retry_after(cause);
        if retry == Some(Retry::StaleConnection) {
            self.attempts.count(Retry::StaleConnection);
            return true;
        }
        self.note_upstream_failure(failure, cause);
        self.avoid_endpoint();
        retry.is_some() && self.withdraw_retry()
    }

    /// Returns whether a request with an idempotent method is sent again in place of the response with `status`.
    pub fn retries_status(&mut self, status: StatusCode) -> bool {
        let listed = |permit: &Permit| {
            permit
                .destination()
                .upstream
                .settings
                .retries
                .statuses
                .contains(&status)
        };
        if !self.attempts.has_retry() || !self.permit.as_ref().is_some_and(listed) || !self.withdraw_retry() {
            return false;
        }
        self.avoid_endpoint();
        true
    }

    /// Spends one retry of the request and of the upstream's budget; returns `false` if the budget is spent.
    fn withdraw_retry(&mut self) -> bool {
        let Some(permit) = &self.permit else {
            return false;
        };
        let is_allowed = permit.destination().upstream.withdraw_retry();
        permit.destination().metrics.count_retry(is_allowed);
        if is_allowed {
            self.attempts.count(Retry::Failure);
        }
        is_allowed
    }
}
