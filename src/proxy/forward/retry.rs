//! After which failures may a request be tried again?

use crate::config;
use crate::model::upstream_failure::UpstreamFailure;
use http::Method;

/// The attempts of one request: those that were begun, and those that are left.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    begun: u8,
    connects_left: u8,
    /// After the request was sent.
    retries_left: u8,
    is_replayed: bool,
}

/// The probable cause of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// The endpoint is ill.
    Endpoint,
    /// The endpoint reset one stream of many, as it may (RFC 9113 section 5.4.2).
    Stream,
    /// The endpoint closed an idle connection just before the request arrived, or said that it did not process the request.
    StaleConnection,
}

impl FailureCause {
    /// Returns the cause of a failure on a connection of HTTP/1.1. `is_reused` tells whether the connection had carried a
    /// request before.
    pub const fn of(failure: UpstreamFailure, is_reused: bool) -> Self {
        if is_reused && matches!(failure, UpstreamFailure::Closed | UpstreamFailure::Reset) {
            Self::StaleConnection
        } else {
            Self::Endpoint
        }
    }
}

/// The reason for which a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Its connection was stale, for the first time.
    StaleConnection,
    /// Its endpoint failed it. The retry spends from the budget.
    Failure,
}

impl Attempts {
    /// The attempts of a request that goes to no upstream.
    pub const NONE: Self = Self {
        begun: 0,
        connects_left: 1,
        retries_left: 0,
        is_replayed: false,
    };

    /// Returns the attempts of a request with `method`. 0 `connect_attempts` have the effect of 1.
    pub fn new(settings: &config::Upstream, method: &Method) -> Self {
        Self {
            begun: 0,
            // `config::load` allows few.
            connects_left: u8::try_from(settings.connect_attempts).unwrap_or(u8::MAX),
            retries_left: if method.is_idempotent() {
                u8::try_from(settings.retries.attempts).unwrap_or(u8::MAX)
            } else {
                0
            },
            is_replayed: false,
        }
    }

    /// Counts an attempt: an endpoint was chosen.
    pub const fn begin(&mut self) {
        self.begun = self.begun.saturating_add(1);
    }

    /// Returns the number of attempts, the current one included.
    pub const fn begun(&self) -> u8 {
        self.begun
    }

    /// Counts a failed connection attempt, and returns whether another attempt is left. Nothing was sent to the
    /// upstream, so a retry is safe for every method.
    pub const fn count_connect_failure(&mut self) -> bool {
        self.connects_left = self.connects_left.saturating_sub(1);
        self.connects_left > 0
    }

    /// Returns whether a request that was sent may be sent again after a failure of its endpoint. Only with an idempotent
    /// method (RFC 9110 section 9.2.2): the endpoint may have processed it nevertheless.
    pub const fn has_retry(&self) -> bool {
        self.retries_left > 0
    }

    /// Returns why a request with an idempotent method may be sent again, which no byte of a final response has answered;
    /// `None` if it may not.
    pub const fn retry_after(&self, cause: FailureCause) -> Option<Retry> {
        if matches!(cause, FailureCause::StaleConnection) && !self.is_replayed {
            Some(Retry::StaleConnection)
        } else if self.retries_left > 0 {
            Some(Retry::Failure)
        } else {
            None
        }
    }

    /// Counts a retry.
    pub const fn count(&mut self, retry: Retry) {
        match retry {
            Retry::StaleConnection => self.is_replayed = true,
            Retry::Failure => self.retries_left = self.retries_left.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(connects: u8, retries: u8) -> Attempts {
        Attempts {
            begun: 0,
            connects_left: connects,
            retries_left: retries,
            is_replayed: false,
        }
    }

    #[test]
    fn a_connect_is_tried_as_often_as_configured() {
        for (max, expected) in [(0, 0), (1, 0), (2, 1), (3, 2)] {
            let mut attempts = attempts(max, 0);
            let mut again = 0;
            while attempts.count_connect_failure() {
                again += 1;
            }
            assert_eq!(again, expected, "{max}");
        }
    }

    #[test]
    fn a_stale_connection_is_replaced_once_and_a_failure_retried_as_often_as_configured() {
        let mut attempts = attempts(1, 1);
        let stale = FailureCause::of(UpstreamFailure::Closed, true);
        assert_eq!(attempts.retry_after(stale), Some(Retry::StaleConnection));
        attempts.count(Retry::StaleConnection);
        assert_eq!(
            attempts.retry_after(stale),
            Some(Retry::Failure),
            "it is no longer stale"
        );
        attempts.count(Retry::Failure);
        for (failure, is_reused) in [(UpstreamFailure::Closed, false), (UpstreamFailure::TimedOut, true)] {
            assert_eq!(FailureCause::of(failure, is_reused), FailureCause::Endpoint);
        }
        assert_eq!(attempts.retry_after(FailureCause::Endpoint), None);
    }
}
