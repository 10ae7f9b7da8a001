//! After which failures may a request be tried again?

use http::Method;

/// The remaining connection attempts of one request.
#[derive(Clone, Copy, Debug)]
pub struct ConnectAttempts {
    left: u32,
}

impl ConnectAttempts {
    /// Returns the attempts of a request that may make `attempts_max` in total; 0 has the effect of 1.
    pub const fn new(attempts_max: u32) -> Self {
        Self { left: attempts_max }
    }

    /// Counts a failed connection attempt, and returns whether another attempt is left. Nothing was sent to the
    /// upstream, so a retry is safe for every method.
    pub const fn count_failure(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }
}

/// Returns whether a request may be sent again when its connection closes before a byte of the response.
///
/// Only on a reused connection: the upstream may have closed it as idle just before the request arrived. Only with an
/// idempotent method (RFC 9110 section 9.2.2): the upstream may have processed the request nevertheless.
pub fn may_replay(method: &Method, reused: bool) -> bool {
    reused && method.is_idempotent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_is_tried_as_often_as_configured() {
        for (max, expected) in [(0, 0), (1, 0), (2, 1), (3, 2)] {
            let mut attempts = ConnectAttempts::new(max);
            let mut again = 0;
            while attempts.count_failure() {
                again += 1;
            }
            assert_eq!(again, expected, "{max}");
        }
    }

    #[test]
    fn a_request_that_is_not_idempotent_is_sent_once() {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert!(may_replay(&method, true) && !may_replay(&method, false), "{method}");
        }
        for method in [Method::POST, Method::PATCH, Method::from_bytes(b"PURGE").unwrap()] {
            assert!(!may_replay(&method, true), "{method}");
        }
    }
}
